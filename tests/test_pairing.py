"""The command `tailrace kubeconfig`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import base64
import os
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from handshake import shake_hands
from typer.testing import CliRunner, Result

from tailrace.cli import app

SECRETS = {"server.key", "client.key", "token", "kubeconfig.yaml"}
KIT = {"ca.crt", "server.crt", "client.crt", *SECRETS}


def kubeconfig(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["kubeconfig", *map(str, arguments)], catch_exceptions=False)


def refusal(*arguments: object) -> str:
    """Run the command, which must refuse, and give what it says."""
    result = kubeconfig(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A directory as --init makes it."""
    assert kubeconfig("--init", tmp_path / "kit").exit_code == 0
    return tmp_path / "kit"


def credentials(kit: Path) -> list[object]:
    names = {"--ca": "ca.crt", "--cert": "client.crt", "--key": "client.key", "--token-file": "token"}
    return [part for option, name in names.items() for part in (option, kit / name)]


# Writing a kubeconfig


def test_stdout_is_the_kubeconfig_and_nothing_else(kit: Path) -> None:
    result = kubeconfig("--server", "https://audit.example:8888", *credentials(kit))
    assert result.exit_code == 0
    made = yaml.safe_load(result.stdout)
    assert made["clusters"][0]["cluster"] == {
        "server": "https://audit.example:8888",
        "certificate-authority": str(kit / "ca.crt"),
    }
    assert made["users"][0]["user"] == {
        "client-certificate": str(kit / "client.crt"),
        "client-key": str(kit / "client.key"),
        "tokenFile": str(kit / "token"),
    }


def test_flags_of_the_api_server_and_why_go_to_stderr(tmp_path: Path) -> None:
    result = kubeconfig("--server", "http://127.0.0.1:8888", "-o", tmp_path / "audit.yaml")
    flags = re.findall(r"^  --(\S+)\n      \S", result.stderr, re.MULTILINE)
    assert flags == [
        f"audit-webhook-config-file={tmp_path}/audit.yaml",
        "audit-policy-file=POLICY",
        "audit-webhook-initial-backoff=30s",
        "audit-webhook-batch-max-wait=5s",
    ]
    assert "301 or 302" in result.stderr
    assert "warning" not in result.stderr


def test_each_warning_goes_to_stderr() -> None:
    result = kubeconfig("--server", "https://audit.example/a/?cluster=dev")
    assert result.exit_code == 0
    assert len(re.findall(r"^warning: ", result.stderr, re.MULTILINE)) == 3


def test_output_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)
    try:
        result = kubeconfig("--server", "http://127.0.0.1:8888", "-o", "audit.yaml")
    finally:
        os.umask(before)
    assert (result.exit_code, result.stdout) == (0, "")
    assert yaml.safe_load((tmp_path / "audit.yaml").read_text())["current-context"] == "audit"
    assert mode(tmp_path / "audit.yaml") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["audit.yaml"]


def test_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "audit.yaml"
    path.write_text("precious")
    path.chmod(0o644)
    arguments = ["--server", "http://127.0.0.1:8888", "-o", path]
    assert refusal(*arguments) == f"--output {path} is already there; --force replaces it\n"
    assert path.read_text() == "precious"
    assert kubeconfig(*arguments, "--force").exit_code == 0
    assert "apiVersion" in path.read_text()
    assert mode(path) == 0o600


def test_what_is_no_plain_file_is_not_replaced_even_by_force(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "link", tmp_path):
        said = refusal("--server", "http://127.0.0.1:8888", "-o", path, "--force")
        assert said == f"--output {path} is no plain file, which --force does not replace; name another\n"


def test_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    said = refusal("--server", "http://127.0.0.1:8888", "-o", tmp_path / "nowhere" / "audit.yaml")
    assert said.startswith(f"{tmp_path}/nowhere/audit.yaml.tmp cannot be written: No such file or directory;")


def test_bad_url_and_bad_file_are_bad_usage(tmp_path: Path) -> None:
    assert "names no host" in refusal("--server", "https://")
    assert "cannot be read" in refusal("--server", "https://audit.example", "--ca", tmp_path / "nowhere")
    assert "--server URL is missing" in refusal("--embed")


def test_embedded_kubeconfig_holds_what_the_files_hold(kit: Path) -> None:
    output = kit.parent / "audit.yaml"
    assert kubeconfig("--server", "https://localhost", *credentials(kit), "--embed", "-o", output).exit_code == 0
    made = yaml.safe_load(output.read_text())
    cluster, user = made["clusters"][0]["cluster"], made["users"][0]["user"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == (kit / "ca.crt").read_bytes()
    assert base64.b64decode(user["client-certificate-data"]) == (kit / "client.crt").read_bytes()
    assert base64.b64decode(user["client-key-data"]) == (kit / "client.key").read_bytes()
    assert user["token"] == (kit / "token").read_text().strip()
    assert str(kit) not in output.read_text()


# Making all that both sides need


def receiver(source: dict[str, Any]) -> ssl.SSLContext:
    """The TLS of a webhook source with these options."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=source["client_ca"])
    context.load_cert_chain(source["tls_cert"], source["tls_key"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def api_server(kubeconfig: Any) -> ssl.SSLContext:
    """The TLS of an API server with this kubeconfig."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    return context


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "audit.example"])
def test_api_server_and_receiver_trust_each_other_by_what_init_made(host: str, tmp_path: Path) -> None:
    result = kubeconfig("--init", tmp_path / "kit", "--server", "https://audit.example:9443/dev")
    assert result.exit_code == 0
    source = yaml.safe_load(result.stdout)
    made = yaml.safe_load((tmp_path / "kit" / "kubeconfig.yaml").read_text())
    outcome = shake_hands(receiver(source), api_server(made), host)
    assert (outcome.server, outcome.client) == (None, None)
    (name,) = source["client_names"]
    assert f"(('commonName', '{name}'),)" in outcome.seen
    assert Path(made["users"][0]["user"]["tokenFile"]).read_text().strip() in Path(source["token_file"]).read_text()


def test_api_server_of_another_init_is_refused(kit: Path, tmp_path: Path) -> None:
    result = kubeconfig("--init", tmp_path / "other")
    made = yaml.safe_load((kit / "kubeconfig.yaml").read_text())
    theirs = api_server(made)
    theirs.load_verify_locations(tmp_path / "other" / "ca.crt")
    assert (
        shake_hands(receiver(yaml.safe_load(result.stdout)), theirs, "localhost").server == "CERTIFICATE_VERIFY_FAILED"
    )


def test_secrets_of_init_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kubeconfig("--init", tmp_path / "new" / "kit")
    finally:
        os.umask(before)
    kit = tmp_path / "new" / "kit"
    assert {path.name for path in kit.iterdir()} == KIT
    assert mode(kit) == 0o700
    assert {path.name: mode(path) for path in kit.iterdir()} == {
        name: 0o600 if name in SECRETS else 0o644 for name in KIT
    }


def test_init_says_what_it_made_and_shows_no_secret(tmp_path: Path) -> None:
    result = kubeconfig("--init", tmp_path / "kit", "--embed")
    made = yaml.safe_load((tmp_path / "kit" / "kubeconfig.yaml").read_text())
    said = result.stdout + result.stderr
    for name in KIT:
        assert re.search(rf"^  {re.escape(name)} ", result.stderr, re.MULTILINE)
    assert f"--audit-webhook-config-file={tmp_path}/kit/kubeconfig.yaml\n" in result.stderr
    assert made["users"][0]["user"]["token"] not in said
    assert made["users"][0]["user"]["client-key-data"] not in said
    assert "PRIVATE KEY" not in said
    assert "warning" not in said


@pytest.mark.parametrize(
    ("server", "listen"),
    [
        ([], "127.0.0.1:8888"),
        (["--server", "https://localhost:9443/dev"], "localhost:9443"),
        (["--server", "https://[::1]:9443"], "[::1]:9443"),
        (["--server", "https://audit.example"], "0.0.0.0:443"),
    ],
)
def test_init_says_where_the_receiver_should_listen(server: list[str], listen: str, tmp_path: Path) -> None:
    source = yaml.safe_load(kubeconfig("--init", tmp_path / "kit", *server).stdout)
    assert source["listen"] == listen


def test_dollar_in_a_path_begins_no_variable_in_the_config_of_the_source(tmp_path: Path) -> None:
    source = yaml.safe_load(kubeconfig("--init", tmp_path / "${HOME}").stdout)
    assert source["tls_cert"] == f"{tmp_path}/$${{HOME}}/server.crt"


@pytest.mark.parametrize("name", sorted(KIT))
def test_init_replaces_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    assert refusal("--init", tmp_path).startswith(f"--init {tmp_path} holds {name} already, and nothing is replaced;")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_init_into_what_is_no_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal("--init", tmp_path / "file").startswith(f"{tmp_path}/file cannot be written: ")


def test_init_for_plain_http_is_an_error(tmp_path: Path) -> None:
    assert "give an https:// URL" in refusal("--init", tmp_path / "kit", "--server", "http://127.0.0.1:8888")
    assert not (tmp_path / "kit").exists()


def test_init_takes_no_files_of_others(tmp_path: Path) -> None:
    for option in ("--ca", "--cert", "--key", "--token-file", "--output"):
        assert "it takes --server and --embed" in refusal("--init", tmp_path / "kit", option, tmp_path / "x")


def test_without_cryptography_init_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['cryptography'] = None; from tailrace.cli import main; main()"
    command = [sys.executable, "-c", code, "kubeconfig", "--init", str(tmp_path / "kit")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("pip install 'tailrace[tls]'\n")
    assert not (tmp_path / "kit").exists()


def test_command_line_starts_without_what_only_this_command_needs() -> None:
    code = "import sys, tailrace.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"cryptography", "ssl", "tailrace.kubeconfig", "tailrace.kit"} & set(done.stdout.split())
