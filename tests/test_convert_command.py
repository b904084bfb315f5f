"""The command `tailrace convert`: what it says, how it ends, what it does not touch."""

from __future__ import annotations

from pathlib import Path

import pytest
from converting import EXAMPLES, convert, tailrace


def test_without_an_output_the_config_goes_to_standard_output(tmp_path: Path) -> None:
    result = convert(EXAMPLES / "by-user.conf")
    assert result.returncode == 0
    assert result.stdout.startswith(f"# Made by `tailrace convert` of {EXAMPLES / 'by-user.conf'} (logstash).\n")
    (tmp_path / "new.yaml").write_text(result.stdout)
    assert tailrace("check", tmp_path / "new.yaml").returncode == 0
    assert "state_dir: '${STATE_DIR:-/var/lib/tailrace}'\n" in result.stdout


def test_what_is_there_is_replaced_only_if_that_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "new.yaml"
    out.write_text("mine\n")
    result = convert(EXAMPLES / "by-user.conf", "-o", out)
    assert (result.returncode, result.stderr) == (
        2,
        f"{out}: there already; give another name, or --force to replace\n",
    )
    assert out.read_text() == "mine\n"
    assert convert(EXAMPLES / "by-user.conf", "-o", out, "--force").returncode == 0
    assert out.stat().st_mode & 0o777 == 0o640
    old = tmp_path / "old.conf"
    old.write_text((EXAMPLES / "by-user.conf").read_text())
    assert "is the old config itself" in convert(old, "-o", old, "--force").stderr
    assert old.read_text() == (EXAMPLES / "by-user.conf").read_text()


def test_what_is_not_translated_stands_in_the_config_and_ends_with_3(tmp_path: Path) -> None:
    old = tmp_path / "old.conf"
    old.write_text((EXAMPLES / "by-user.conf").read_text() + 'output { elasticsearch { password => "hunter2" } }\n')
    out = tmp_path / "new.yaml"
    result = convert(old, "-o", out)
    assert result.returncode == 3
    why = "elasticsearch: its options are not translated; write it by hand, with the sink elasticsearch"
    assert f"not translated: {old}:22:10: {why}\n" in result.stderr
    assert f"# NOT TRANSLATED:\n#   line 22: {why}\n" in out.read_text()
    assert "hunter2" not in result.stderr + out.read_text()
    assert tailrace("check", out).returncode == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<source>\n", ":1:9: unexpected the end of the file"),
        ("# c\ninput { http { port => } }\n", ":2:24: unexpected }"),
        ("apiVersion: v1\nkind: [\n", ":3:1: not YAML"),
    ],
)
def test_what_cannot_be_read_ends_with_2_and_says_where(tmp_path: Path, text: str, words: str) -> None:
    old = tmp_path / "old"
    old.write_text(text)
    result = convert(old, "-o", tmp_path / "new.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{old}{words}")
    assert not (tmp_path / "new.yaml").exists()


def test_bad_files_and_bad_usage_end_with_2(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"<source>\n  path /caf\xe9\n")
    result = convert(tmp_path / "latin")
    assert result.returncode == 2
    assert f"{tmp_path / 'latin'}:2:12: not UTF-8" in result.stderr
    assert convert(tmp_path / "missing").returncode == 2
    assert convert().returncode == 2
    assert "give -o OUT" in convert(EXAMPLES / "auditsink.yaml").stderr


def test_a_config_of_which_nothing_is_left_gives_none(tmp_path: Path) -> None:
    old = tmp_path / "old.conf"
    old.write_text("<source>\n  @type forward\n</source>\n<match **>\n  @type s3\n</match>\n")
    result = convert(old, "-o", tmp_path / "new.yaml")
    assert result.returncode == 3
    assert "nothing of it could be translated" in result.stderr
    assert not (tmp_path / "new.yaml").exists()


def test_a_config_that_begins_like_none_can_be_named(tmp_path: Path) -> None:
    old = tmp_path / "old.conf"
    old.write_text("workers 2\n" + (EXAMPLES / "by-namespace.conf").read_text())
    result = convert(old, "--from", "fluentd")
    assert "not translated" in result.stderr
    assert result.returncode == 3
    assert convert(old, "--from", "logstash").returncode == 2
