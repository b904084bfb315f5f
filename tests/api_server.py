"""What an API server does with the kubeconfig of its audit webhook, as it was seen at one of version 1.36."""

from __future__ import annotations

import base64
import http.client
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import yaml
from posting import SECONDS


class ApiServer:
    """Reads a kubeconfig once, at its start; `scratch` is a directory for what OpenSSL takes from files alone."""

    def __init__(self, kubeconfig: str, scratch: Path) -> None:
        document = yaml.safe_load(kubeconfig)
        context = _named(document["contexts"], "context", document["current-context"])
        cluster = _named(document["clusters"], "cluster", context["cluster"])
        user = _named(document["users"], "user", context["user"]) if context["user"] else {}
        url = urlsplit(cluster["server"])
        self.path = f"{url.path.rstrip('/') or '/'}?timeout=30s"
        self.headers = {
            "User-Agent": "Go-http-client/1.1",
            "Accept": "application/json, */*",
            "Content-Type": "application/json",
            "Accept-Encoding": "gzip",
        }
        assert url.hostname is not None
        if url.scheme == "http":  # no credentials are loaded for it
            self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=SECONDS)
            return
        tls = ssl.create_default_context(cadata=_content(cluster, "certificate-authority").decode())
        tls.set_alpn_protocols(["h2", "http/1.1"])
        if "client-certificate" in user or "client-certificate-data" in user:
            pair = scratch / "pair.pem"
            pair.write_bytes(_content(user, "client-certificate") + _content(user, "client-key"))
            tls.load_cert_chain(pair)
        self.connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=SECONDS, context=tls)
        token = user.get("token") or (Path(user["tokenFile"]).read_text() if "tokenFile" in user else "")
        if token:
            self.headers["Authorization"] = f"Bearer {token.strip()}"

    def __enter__(self) -> ApiServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.connection.close()

    def send(self, body: bytes) -> int:
        """Post a batch; give the status, for all that it looks at is whether that is 2xx."""
        self.connection.request("POST", self.path, body, self.headers)
        response = self.connection.getresponse()
        response.read()
        return response.status


def _named(entries: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (entry[kind] for entry in entries if entry["name"] == name)
    assert isinstance(found, dict)
    return found


def _content(entry: dict[str, Any], field: str) -> bytes:
    """Give what a field holds, or what the file holds that it names."""
    data = entry.get(f"{field}-data")
    return Path(entry[field]).read_bytes() if data is None else base64.b64decode(data)
