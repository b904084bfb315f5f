"""A kubeconfig as the target of the webhook sink: what it means, and all that is wrong with one."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from authority import Authority, write_all
from test_webhook_kit import make_kit

from tailrace.stage import OptionError
from tailrace_plugins.sending.authorization import make_header
from tailrace_plugins.sending.kubeconfig import KubeconfigError, read_kubeconfig
from tailrace_plugins.sending.target import Credential, Tls
from tailrace_plugins.sending.tls import read
from tailrace_plugins.sinks.webhook import Webhook

AUTHORITY = Authority()
PAIR = AUTHORITY.sign("sender")
FILES = [("ca.crt", AUTHORITY.ca), ("c.crt", PAIR.certificate), ("c.key", PAIR.key), ("token", b"t0ken\n")]
SERVER = {"server": "https://siem.example:8443/k8s/audit"}


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def written(directory: Path, cluster: dict[str, Any], user: dict[str, Any] | None = None, **more: Any) -> Path:
    write_all(directory, FILES)
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "siem", "cluster": cluster}],
        "users": [] if user is None else [{"name": "sender", "user": user}],
        "contexts": [{"name": "audit", "context": {"cluster": "siem", "user": "" if user is None else "sender"}}],
        "current-context": "audit",
    }
    path = directory / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(document | more, sort_keys=False))
    return path


def problems(path: Path, context: str | None = None) -> list[str]:
    """Give what is wrong, with line and column."""
    with pytest.raises(KubeconfigError) as caught:
        read_kubeconfig(path.read_text(), str(path), context=context)
    return [f"{found.line}:{found.column} {found.message}" for found in caught.value.problems]


def test_paths_are_relative_to_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"client-certificate": "c.crt", "client-key": "./c.key", "tokenFile": f"{tmp_path}/token"}
    path = written(tmp_path, SERVER | {"certificate-authority": "ca.crt", "tls-server-name": "siem"}, user)
    monkeypatch.chdir("/")
    target, warnings = read_kubeconfig(path.read_text(), str(path), timeout=12)
    assert target.url == "https://siem.example:8443/k8s/audit?timeout=12s"
    assert target.tls == Tls(f"{tmp_path}/ca.crt", f"{tmp_path}/c.crt", f"{tmp_path}/./c.key", "siem")
    assert target.credential == Credential(file=f"{tmp_path}/token")
    assert target.timeout == 12
    assert warnings == ()


def test_what_is_given_as_data_is_taken_as_it_is(tmp_path: Path) -> None:
    cluster = SERVER | {"certificate-authority-data": base64_of(AUTHORITY.ca), "proxy-url": "http://proxy:3128"}
    user = {
        "client-certificate-data": base64_of(PAIR.certificate),
        "client-key-data": base64_of(PAIR.key),
        "token": "t",
    }
    path = written(tmp_path, cluster, user)
    target, _ = read_kubeconfig(path.read_text(), str(path))
    assert target.tls == Tls(AUTHORITY.ca, PAIR.certificate, PAIR.key)
    assert target.credential == Credential("t")
    assert target.proxy == "http://proxy:3128"


@pytest.mark.parametrize(
    ("user", "credential"),
    [
        ({"username": "me", "password": "p"}, Credential("p", user="me")),
        ({"username": "me"}, Credential("", user="me")),
        ({"token": "", "username": None}, None),
        (None, None),
    ],
)
def test_users(tmp_path: Path, user: dict[str, Any] | None, credential: Credential | None) -> None:
    path = written(tmp_path, SERVER | {"insecure-skip-tls-verify": True}, user)
    target, _ = read_kubeconfig(path.read_text(), str(path))
    assert target.credential == credential
    assert target.tls.insecure


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("https://x", "https://x/?timeout=30s"),
        ("https://x/a/b/c/?x=1&y=2", "https://x/a/b/c?timeout=30s"),
        ("https://x/a#b", "https://x/a?timeout=30s"),
        ("https://[::1]:1/", "https://[::1]:1/?timeout=30s"),
    ],
)
def test_the_url_is_the_one_that_the_api_server_would_post_to(tmp_path: Path, server: str, url: str) -> None:
    path = written(tmp_path, {"server": server})
    target, warnings = read_kubeconfig(path.read_text(), str(path))
    assert target.url == url
    assert list(warnings) == (
        [f"what follows ? or # in the server's URL is not sent ({path}:6); put it into the path"]
        if "?" in server or "#" in server
        else []
    )


def test_over_http_nothing_secret_is_sent_as_the_api_server_does_it(tmp_path: Path) -> None:
    path = written(tmp_path, {"server": "http://x:8888", "certificate-authority": "ca.crt"}, {"tokenFile": "token"})
    target, (warning,) = read_kubeconfig(path.read_text(), str(path))
    assert (target.credential, target.tls) == (None, Tls())
    assert "over http:// no credentials are sent" in warning


def test_another_context_can_be_named(tmp_path: Path) -> None:
    clusters = [{"name": name, "cluster": {"server": f"https://{name}"}} for name in ("one", "two")]
    contexts = [{"name": f"to-{name}", "context": {"cluster": name}} for name in ("one", "two")]
    more: dict[str, Any] = {"clusters": clusters, "contexts": contexts, "current-context": "to-one"}
    path = written(tmp_path, {}, **more)
    text = path.read_text()
    assert read_kubeconfig(text, str(path)).target.url == "https://one/?timeout=30s"
    assert read_kubeconfig(text, str(path), context="to-two").target.url == "https://two/?timeout=30s"
    assert problems(path, "to-too") == [
        '1:1 there is no context "to-too"; did you mean "to-two"? (there are: to-one, to-two)'
    ]


@pytest.mark.parametrize(
    ("cluster", "user", "said"),
    [
        ({}, None, ["5:12 the cluster has no server; give its URL"]),
        (
            {"sever": "https://x"},
            None,
            ['6:5 a cluster has no key "sever"; did you mean "server"?', "6:5 the cluster has no"],
        ),
        ({"server": "x:1"}, None, ["6:13 server: 'x:1' is not a URL; write https://HOST:PORT/PATH"]),
        (
            {"server": "https://me:secret@x"},
            None,
            ["6:13 server: the URL holds a @; a user and password would show up"],
        ),
        ({"server": 7}, None, ["6:13 server must be a string; put it in quotes"]),
        (
            SERVER | {"certificate-authority": "gone"},
            None,
            ["7:28 CA {}/gone cannot be read: No such file or directory"],
        ),
        (SERVER | {"certificate-authority": "token"}, None, ["7:28 CA {}/token holds no PEM certificate"]),
        (SERVER | {"certificate-authority-data": "%"}, None, ["7:33 certificate-authority-data is not base64"]),
        (SERVER | {"certificate-authority-data": "aGk="}, None, ["7:33 CA (given as data) holds no PEM certificate"]),
        (
            SERVER | {"certificate-authority": "ca.crt", "certificate-authority-data": "aGk="},
            None,
            ["8:33 certificate-authority and certificate-authority-data are both given", "7:28 CA (given as data)"],
        ),
        (
            SERVER | {"certificate-authority": "ca.crt", "insecure-skip-tls-verify": True},
            None,
            ["8:31 a server that is not verified needs no certificate-authority; remove one of the two"],
        ),
        (SERVER | {"insecure-skip-tls-verify": "yes"}, None, ["7:31 insecure-skip-tls-verify is true or false"]),
        (
            SERVER | {"proxy-url": "socks5://x:1"},
            None,
            ["7:16 proxy-url: 'socks5://x:1': events are sent over https://"],
        ),
        (SERVER, {"client-certificate": "c.crt"}, ["10:25 client-certificate is given without client-key"]),
        (SERVER, {"client-key": "c.key"}, ["10:17 client-key is given without client-certificate"]),
        (
            SERVER,
            {"client-certificate": "ca.crt", "client-key": "c.key"},
            ["10:25 its key {}/c.key does not belong to client certificate {}/ca.crt"],
        ),
        (SERVER, {"tokenFile": "gone"}, ["10:16 {}/gone cannot be read: No such file or directory"]),
        (SERVER, {"token": "a b"}, ["10:12 what is given does not hold one token and nothing else"]),
        (SERVER, {"token": "a", "username": "b"}, ["11:15 there are a token and a password; remove one of the two"]),
        (
            SERVER,
            {"exec": {"command": "aws"}, "tokn": "x"},
            [
                "11:7 exec: programs that make credentials are not run here; give a client certificate, or a tokenFile",
                '12:5 a user has no key "tokn"; did you mean "token"?',
            ],
        ),
        (SERVER, {"auth-provider": {"name": "gcp"}}, ["11:7 auth-provider: no kubectl plugin makes credentials here"]),
        (SERVER, {"as": "root"}, ["10:9 as: nobody is impersonated; leave it out"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any] | None, said: list[str]
) -> None:
    path = written(tmp_path, cluster, user)
    found = problems(path)
    assert len(found) == len(said), found
    for each, begin in zip(sorted(found), sorted(said), strict=True):
        assert each.startswith(begin.replace("{}", str(tmp_path))), found
    assert "secret" not in " ".join(found)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "Pod"}, "this is a Pod, and a kubeconfig is a Config"),
        ({"current-context": ""}, "there is no current-context; name the one to use"),
        ({"current-context": "adit"}, 'there is no context "adit"; did you mean "audit"? (there are: audit)'),
        ({"contexts": []}, 'there is no context "audit" (there are none)'),
        ({"contexts": {"audit": 1}}, "contexts is a list of entries with a name and a context"),
        ({"contexts": [{"name": "audit", "context": {"user": "x"}}]}, 'the context "audit" names no cluster'),
        ({"contexts": [{"name": "audit", "context": {"cluster": "x"}}]}, 'there is no cluster "x" (there are: siem)'),
        (
            {"contexts": [{"name": "audit", "context": {"cluster": "siem", "user": "x"}}]},
            'there is no user "x" (there are none)',
        ),
        ({"clusters": [{"name": "siem", "cluster": SERVER}] * 2}, 'there are two clusters named "siem"; remove one'),
        ({"curent-context": "x"}, 'a kubeconfig has no key "curent-context"; did you mean "current-context"?'),
    ],
)
def test_names_that_lead_nowhere(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    assert any(found.endswith(said) for found in problems(written(tmp_path, SERVER, **more)))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "the file is empty"), ("{", "not YAML"), ("- 1", "this is no kubeconfig"), ("a: !!x b", "the tag")],
)
def test_what_is_no_kubeconfig(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert any(said in found for found in problems(path))


def test_a_dollar_in_it_is_a_dollar(tmp_path: Path) -> None:
    path = written(tmp_path, SERVER, {"token": "${HOME}$$"})
    assert read_kubeconfig(path.read_text(), str(path)).target.credential == Credential("${HOME}$$")


@pytest.mark.parametrize("options", [[], ["--embed"]])
def test_what_we_write_for_an_api_server_is_read_as_it_is(tmp_path: Path, options: list[str]) -> None:
    kit = tmp_path / "kit"
    make_kit(kit, "https://127.0.0.1:8443/k8s/audit", *options)
    path = kit / "kubeconfig.yaml"
    target, warnings = read_kubeconfig(path.read_text(), str(path))
    assert target.url == "https://127.0.0.1:8443/k8s/audit?timeout=30s"
    contents = [(kit / name).read_bytes() for name in ("ca.crt", "client.crt", "client.key")]
    assert [read(name, pem) for name, pem in zip("abc", target.tls[:3], strict=True) if pem] == contents
    assert target.credential is not None
    assert make_header(target.credential) == {"Authorization": f"Bearer {(kit / 'token').read_text().strip()}"}
    assert warnings == ()


def test_check_says_all_that_is_wrong_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"server": "x:1", "certificate-authority": "gone"}, {"exec": {"command": "aws"}})
    config = tmp_path / "tailrace.yaml"
    sinks = [{"type": "webhook", "kubeconfig": str(path)}]
    source = {"type": "tail", "paths": [str(tmp_path / "log")]}
    config.write_text(
        yaml.safe_dump({"state_dir": str(tmp_path), "pipelines": {"a": {"source": source, "sinks": sinks}}})
    )
    command = [sys.executable, "-m", "tailrace", "check", str(config)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    for place in ("6:13: server: ", "7:28: CA ", "12:7: exec: "):
        assert f"\n  {path}:{place}" in result.stderr + result.stdout
    assert f"{config}:4:" in result.stderr + result.stdout


def test_the_sink_keeps_what_it_read_also_for_a_worker(tmp_path: Path) -> None:
    path = written(tmp_path, SERVER | {"certificate-authority": "ca.crt"}, {"tokenFile": "token"})
    text = path.read_text()
    sink = Webhook(kubeconfig=str(path))
    assert list(sink.loaded()) == [text]
    for file in tmp_path.iterdir():
        file.unlink()
    other = pickle.loads(pickle.dumps(sink))
    assert list(other.loaded()) == [text]
    with pytest.raises(OptionError, match=f"cannot read {path}: No such file or directory"):
        Webhook(kubeconfig=str(path))
    assert list(Webhook(url="https://x").loaded()) == []


@pytest.mark.parametrize("option", ["token", "token_file", "ca", "proxy", "server_name", "password"])
def test_what_the_kubeconfig_says_is_not_said_twice(tmp_path: Path, option: str) -> None:
    path = written(tmp_path, SERVER)
    options: dict[str, Any] = {"kubeconfig": str(path), option: "https://x"}
    with pytest.raises(OptionError, match="the kubeconfig says this"):
        Webhook(**options)
