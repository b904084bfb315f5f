"""A server that speaks the bulk protocol of Elasticsearch and OpenSearch, and is strict about it.

It keeps documents by index and id, as bytes, and refuses what a real one refuses: framing, unknown parameters, names of
indices, ids, all but `create`, documents without `@timestamp` in a data stream, documents that Jackson cannot read.
What was wrong with a request as a whole is in `violations`. It can be told to fail in many ways.

    python bulk_server.py       says its port, serves until its input ends, and then says how many documents it keeps
"""

from __future__ import annotations

import gzip
import json
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from jackson import read_as_jackson

PARAMETERS = {"filter_path", "pipeline", "require_data_stream", "refresh", "routing", "timeout", "require_alias"}
META = {"_index", "_id", "routing", "pipeline", "require_alias", "require_data_stream"}

Failure = tuple[int, str, str]
"""A status, and the type and reason of an error."""


@dataclass(frozen=True)
class Item:
    """One document of a request."""

    index: str
    id: str | None
    source: bytes


class Request(NamedTuple):
    """What came."""

    path: str
    headers: dict[str, str]
    parameters: dict[str, list[str]]
    items: list[Item]
    size: int  # bytes of the body, as it came


class Lost(Exception):  # noqa: N818
    """Raised by a script: close the connection without an answer."""


class BulkServer:
    """Serves in threads of its own. `fail` and `fail_item` decide over requests and documents, before any is stored."""

    def __init__(
        self,
        *,
        port: int = 0,
        streams: str = "logs-*",
        limit: int = 100 << 20,
        authorization: str | None = None,
        tls: ssl.SSLContext | None = None,
        knows_streams: bool = True,
    ) -> None:
        self.documents: dict[tuple[str, str], bytes] = {}
        self.requests: list[Request] = []
        self.violations: list[str] = []
        self.fail: Callable[[Request], Failure | bytes | None] = lambda request: None  # bytes: a body in place of ours
        self.fail_item: Callable[[Item], Failure | None] = lambda item: None
        self.lose: Callable[[Request], bool] = lambda request: False  # store all, and close the connection
        self.streams, self.limit, self.authorization = streams, limit, authorization
        self.parameters = PARAMETERS if knows_streams else PARAMETERS - {"require_data_stream"}
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._http = _Quiet(("127.0.0.1", port), Handler)
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port: int = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), name="bulk-server")
        self._thread.start()

    def __enter__(self) -> BulkServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Be gone."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def sources(self, index: str = "*") -> list[bytes]:
        """Give the documents of some indices, in order of their bytes."""
        with self.lock:
            return sorted(source for (name, _), source in self.documents.items() if fnmatch(name, index))

    def indices(self) -> set[str]:
        """Name the indices."""
        with self.lock:
            return {index for index, _ in self.documents}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Take one request from its head to its answer."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        try:
            status, content = self._respond(handler, body)
        except Lost:
            handler.close_connection = True
            return
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _respond(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        if self.authorization is not None and handler.headers["Authorization"] != self.authorization:
            return _error(401, "security_exception", "unable to authenticate user for REST request [/_bulk]")
        plain = gzip.decompress(body) if handler.headers["Content-Encoding"] == "gzip" else body
        if max(len(body), len(plain)) > self.limit:
            return 413, b""  # as Netty does: without a word
        url = urlsplit(handler.path)
        parameters = parse_qs(url.query, keep_blank_values=True)
        try:
            if url.path.rsplit("/", 1)[-1] != "_bulk":
                raise ValueError(f"no handler for {url.path}")
            unknown = set(parameters) - self.parameters
            if unknown:
                raise ValueError(f"request [/_bulk] contains unrecognized parameter: {sorted(unknown)}")
            if handler.headers["Content-Type"] != "application/x-ndjson":
                raise ValueError(f"Content-Type [{handler.headers['Content-Type']}] is not supported")
            items = parse_body(plain)
        except ValueError as error:
            self.violations.append(str(error))
            return _error(400, "illegal_argument_exception", str(error))
        request = Request(url.path, dict(handler.headers.items()), parameters, items, len(body))
        with self.lock:
            self.requests.append(request)
        failure = self.fail(request)
        if isinstance(failure, bytes):
            return 200, failure
        if failure is not None:
            return _error(*failure)
        with self.lock:
            answers = [self._store(item) for item in items]
        if self.lose(request):
            raise Lost
        answer: dict[str, Any] = {"took": 1, "errors": any("error" in each for each in answers)}
        answer |= {"items": [{"create": each} for each in answers]}
        for path in parameters.get("filter_path", [])[:1]:
            patterns = [pattern.split(".") for pattern in path.split(",")]
            answer = _filtered(answer, patterns) or {}
        return 200, json.dumps(answer).encode()

    def _store(self, item: Item) -> dict[str, Any]:
        place = {"_index": item.index, "_id": item.id}
        failure = self.fail_item(item) or self._refusal(item)
        if failure is not None:
            status, kind, reason = failure
            return place | {"status": status, "error": {"type": kind, "reason": reason}}
        key = (item.index, item.id if item.id is not None else f"auto-{len(self.documents)}")
        if key in self.documents:
            reason = f"[{key[1]}]: version conflict, document already exists (current version [1])"
            return place | {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": reason}}
        self.documents[key] = item.source.removesuffix(b"\r")
        shards = {"total": 2, "successful": 1, "failed": 0}
        return {"_index": key[0], "_id": key[1], "_version": 1, "result": "created"} | {
            "_shards": shards,
            "_seq_no": len(self.documents),
            "_primary_term": 1,
            "status": 201,
        }

    def _refusal(self, item: Item) -> Failure | None:
        try:
            document = read_as_jackson(item.source)
        except (ValueError, RecursionError) as error:
            return 400, "document_parsing_exception", f"[1:1] failed to parse: {error}"
        if fnmatch(item.index, self.streams) and "@timestamp" not in document:
            return 400, "illegal_argument_exception", "data stream timestamp field [@timestamp] is missing"
        return None


class _Quiet(ThreadingHTTPServer):
    """A server that does not complain of peers that are gone, or trust another authority."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def _error(status: int, kind: str, reason: str) -> tuple[int, bytes]:
    cause = {"type": kind, "reason": reason}
    return status, json.dumps({"error": {"root_cause": [cause], **cause}, "status": status}).encode()


def parse_body(body: bytes) -> list[Item]:
    """Cut a body into documents. Raises ValueError, with what a real server says."""
    if not body.endswith(b"\n"):
        raise ValueError("The bulk request must be terminated by a newline [\\n]")
    lines = body.split(b"\n")[:-1]
    if len(lines) % 2:
        raise ValueError("an action without its document")
    items = []
    for number in range(0, len(lines), 2):
        action = json.loads(lines[number])
        if not isinstance(action, dict) or list(action) != ["create"] or not isinstance(action["create"], dict):
            raise ValueError(f"Malformed action/metadata line [{number + 1}]: {lines[number]!r}")
        meta = action["create"]
        if set(meta) - META:
            raise ValueError(f"Action/metadata line [{number + 1}] contains an unknown parameter: {meta}")
        check_name(meta["_index"])
        identifier = meta.get("_id")
        if identifier is not None and not 1 <= len(identifier.encode()) <= 512:
            raise ValueError("id is too long, must be no longer than 512 bytes")
        if not lines[number + 1].removesuffix(b"\r"):
            raise ValueError("Validation Failed: 1: source is missing;")
        items.append(Item(meta["_index"], identifier, lines[number + 1]))
    return items


def check_name(name: str) -> None:
    """Refuse the name of an index, as Elasticsearch and OpenSearch do. Raises ValueError."""
    forbidden = set('\\/*?"<>| ,#:')
    if name != name.lower() or set(name) & forbidden or name[:1] in ("-", "_", "+", "") or name in (".", ".."):
        raise ValueError(f"Invalid index name [{name}]")
    if len(name.encode()) > 255:
        raise ValueError(f"index name is too long, ({len(name.encode())} > 255)")


def _filtered(value: Any, patterns: list[list[str]]) -> Any:
    """Apply `filter_path`; None if nothing is left."""
    if [] in patterns:
        return value
    if isinstance(value, list):
        kept = [left for each in value if (left := _filtered(each, patterns)) is not None]
        return kept or None
    if not isinstance(value, dict):
        return None
    left = {}
    for key, inner in value.items():
        rest = [pattern[1:] for pattern in patterns if fnmatch(key, pattern[0])]
        if rest and (part := _filtered(inner, rest)) is not None:
            left[key] = part
    return left or None


if __name__ == "__main__":
    with BulkServer() as running:
        print(running.port, flush=True)
        sys.stdin.read()
        print(len(running.documents), len(running.requests), running.violations[:3], flush=True)
