"""The kubeconfig as a document, and what is said of a receiver's URL."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from tailrace.kubeconfig import Credentials, File, KubeconfigError, parse_server, render, warnings

FILES = Credentials(
    ca=File("/etc/tls/ca.crt", b"the CA"),
    cert=File("/etc/tls/client.crt", b"the certificate"),
    key=File("/etc/tls/client.key", b"the key"),
    token=File("/etc/tls/token", b"t0ken\n"),
)


def document(server: str, credentials: Credentials, *, embed: bool = False) -> Any:
    return yaml.safe_load(render(parse_server(server), credentials, embed=embed))


def test_kubeconfig_has_the_shape_that_client_go_wants() -> None:
    assert document("https://audit.example:8888/dev", FILES) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "tailrace",
                "cluster": {
                    "server": "https://audit.example:8888/dev",
                    "certificate-authority": "/etc/tls/ca.crt",
                },
            }
        ],
        "users": [
            {
                "name": "kube-apiserver",
                "user": {
                    "client-certificate": "/etc/tls/client.crt",
                    "client-key": "/etc/tls/client.key",
                    "tokenFile": "/etc/tls/token",
                },
            }
        ],
        "contexts": [{"name": "audit", "context": {"cluster": "tailrace", "user": "kube-apiserver"}}],
        "current-context": "audit",
    }


def test_embedded_files_stand_in_the_kubeconfig_with_all_that_they_hold() -> None:
    made = document("https://audit.example", FILES, embed=True)
    assert made["clusters"][0]["cluster"] == {
        "server": "https://audit.example",
        "certificate-authority-data": base64.b64encode(b"the CA").decode(),
    }
    assert made["users"][0]["user"] == {
        "client-certificate-data": base64.b64encode(b"the certificate").decode(),
        "client-key-data": base64.b64encode(b"the key").decode(),
        "token": "t0ken",
    }


def test_without_credentials_there_is_still_a_user() -> None:
    made = document("http://127.0.0.1:8888", Credentials())
    assert made["clusters"] == [{"name": "tailrace", "cluster": {"server": "http://127.0.0.1:8888"}}]
    assert made["users"] == [{"name": "kube-apiserver", "user": {}}]


def test_token_that_looks_like_a_number_to_go_is_quoted() -> None:
    text = render(parse_server("https://audit.example"), Credentials(token=File("/token", b"12e34")), embed=True)
    assert 'token: "12e34"\n' in text


@pytest.mark.parametrize("path", ["/tls/a b: c # d.crt", "/tls/" + "long name " * 20, "/tls/schlüssel"])
def test_odd_paths_come_back_as_they_were(path: str) -> None:
    made = document("https://audit.example", Credentials(ca=File(path, b"")))
    assert made["clusters"][0]["cluster"]["certificate-authority"] == path


# What the API server makes of a URL


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("127.0.0.1:8888", "write https:// (or http://) before it"),
        ("localhost:8888", "write https:// (or http://) before it"),
        ("", "write https:// (or http://) before it"),
        ("ftp://audit.example", "over https:// and http:// only"),
        ("https://", "names no host"),
        ("https://:8888", "names no host"),
        ("https:///path", "names no host"),
        ("https://audit.example:0", "names no host and port"),
        ("http://<ip_of_logstash>:8888", "names no host"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://[::g]", "write https://HOST:PORT/PATH"),
        ("https://audit.example:99999", "write https://HOST:PORT/PATH"),
        ("https://audit.example:port", "write https://HOST:PORT/PATH"),
        ("https://audit.example/a b", "must be encoded"),
        ("https://audit.example/a\nb", "must be encoded"),
        ("https://prüfung.example/", "must be encoded"),
        ("https://audit.example/100%", "write it %25"),
    ],
)
def test_url_that_the_api_server_cannot_use_is_an_error(url: str, complaint: str) -> None:
    with pytest.raises(KubeconfigError) as caught:
        parse_server(url)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://user:secret@audit.example/", "user:secret@audit.example", "http://u:secret/@x"]
)
def test_password_in_the_url_is_an_error_that_does_not_show_it(url: str) -> None:
    with pytest.raises(KubeconfigError, match="--token-file") as caught:
        parse_server(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://audit.example:8888",
        "https://audit.example/clusters/dev",
        "https://[2001:db8::1]:8888/a%20b",
        "https://a_b-c.svc.cluster.local./",
        "https://x",
        "http://127.0.0.1:8888/",
        "http://localhost/",
        "http://[::1]:8888",
    ],
)
def test_plain_url_gives_no_warning(url: str) -> None:
    given = ["--ca"] if url.startswith("https") else []
    assert warnings(parse_server(url), given) == []


def only_warning(url: str, *given: str) -> str:
    (warning,) = warnings(parse_server(url), given)
    return warning


def test_credentials_over_plain_http_are_warned_of() -> None:
    warning = only_warning("http://127.0.0.1:8888", *FILES.options)
    assert warning.startswith("--ca, --cert, --key, --token-file will not be used: over http://")
    assert "give an https:// URL" in warning


@pytest.mark.parametrize("host", ["audit.example", "10.0.0.1", "[2001:db8::1]", "localhost.example"])
def test_plain_http_to_another_machine_is_warned_of(host: str) -> None:
    assert "in the clear" in only_warning(f"http://{host}:8888")


def test_https_without_a_ca_is_warned_of() -> None:
    assert "system's trust store; give the CA" in only_warning("https://audit.example", "--token-file")


@pytest.mark.parametrize("end", ["?cluster=dev", "#dev"])
def test_query_is_warned_of(end: str) -> None:
    warning = only_warning(f"https://audit.example:8888/{end}", "--ca")
    assert "drops what follows ? or #" in warning
    assert warning.endswith("https://audit.example:8888/NAME")


def test_slash_at_the_end_of_a_path_is_warned_of() -> None:
    assert only_warning("https://audit.example/a/b/", "--ca").endswith("let the receiver expect /a/b")
