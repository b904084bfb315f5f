"""The configs of the Kubernetes audit documentation, converted and run: every event where it belongs, to the byte."""

from __future__ import annotations

import gzip
import http.client
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from converting import example, tailrace
from test_audit_by_user import BODIES, cut
from test_main_job import SAMPLE, split
from test_webhook_kill import free_port
from waiting import wait_until

from tailrace.names import encode_name


@pytest.mark.parametrize("name", ["by-namespace.conf", "by-namespace-buffered.conf"])
def test_the_fluentd_example_gives_each_namespace_its_events(tmp_path: Path, name: str) -> None:
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)[:1500]
    (tmp_path / "kube-audit").write_bytes(b"".join(lines))
    config = tmp_path / "new.yaml"
    result = tailrace("convert", example(name, tmp_path), "-o", config, "--state-dir", tmp_path / "state")
    assert result.returncode == 0, result.stderr
    assert "not translated" not in result.stderr
    assert tailrace("check", config).stdout == "ok: audit: tail -> extract -> rewrite_tag -> drop_keys -> file\n"
    result = tailrace("run", "--once", config)
    assert result.returncode == 0, result.stderr
    found = {path.name: gzip.decompress(path.read_bytes()) for path in tmp_path.glob("audit-*.gz")}
    expected = split(lines)
    assert found == expected
    assert len(expected) > 20


def test_the_logstash_example_gives_each_user_their_events(tmp_path: Path) -> None:
    port = free_port()
    old = example("by-user.conf", tmp_path)
    old.write_text(old.read_text().replace("8888", str(port)))
    config = tmp_path / "new.yaml"
    result = tailrace("convert", old, "-o", config, "--state-dir", tmp_path / "state")
    assert result.returncode == 0, result.stderr
    assert "not translated" not in result.stderr
    assert "lets everybody send who can reach it" in result.stderr
    assert tailrace("check", config).stdout == "ok: audit: webhook -> file\n"
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", "run", str(config)], stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    expected: dict[str, list[bytes]] = defaultdict(list)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

        def is_up() -> bool:
            try:
                connection.connect()
            except OSError:
                return False
            return True

        wait_until(is_up)
        for path in BODIES:
            body = gzip.decompress(path.read_bytes())
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, bool(response.read())) == (200, True)
            for user, item in cut(body.decode()):
                expected[encode_name(user)].append(item)
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert tailrace("run", "--once", config).returncode == 0
    found = {
        path.parent.name.removeprefix("kube-audit-"): sorted(path.read_bytes().splitlines())
        for path in tmp_path.glob("kube-audit-*/audit")
    }
    assert found == {user: sorted(items) for user, items in expected.items()}
    assert len(found) > 20
    assert found["_none"], "failed logins"
