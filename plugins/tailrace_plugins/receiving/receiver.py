"""A request from its head to its answer.

The order is that in which it costs: who sends, whether there is room, what the head says; only then is the body read,
cut, stored and, once that is durable, acknowledged. A refusal for want of room comes with `Retry-After`, on which the
API server sends the same body again for minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from tailrace import Context
from tailrace_plugins.receiving.bodies import Admission, Busy, NotGzip, TooLarge, TooSlow, read
from tailrace_plugins.receiving.credentials import Caller, Credentials, Denied
from tailrace_plugins.receiving.events import BadBody, Events, cut, cut_plain
from tailrace_plugins.receiving.figures import Figures
from tailrace_plugins.receiving.record import Request, encode_all, shorten
from tailrace_plugins.receiving.spool import Refused, Spool
from tailrace_plugins.receiving.tags import TagTemplate

RETRY_AFTER: Final = "2"  # seconds; client-go then repeats within its time-out instead of giving up the attempt

_LINES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_JSON: Final = frozenset({"", "application/json", *_LINES})
_QUICK: Final = 64 << 10  # a bigger body that is not plain is worked on beside other requests; it may take seconds


class Refusal(Exception):  # noqa: N818 - it is an answer
    """The request is answered with an error; the message says why and what to do."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True)
class Rules:
    """What is received, and how it is marked."""

    path: str  # requests to it, or to what lies below it, bring events
    tag: TagTemplate
    max_body_bytes: int


class _Ready(NamedTuple):
    """What is to be stored of a body."""

    data: bytes
    events: int
    digest: bytes | None
    received: float


class Receiver:
    """Takes requests that bring events, in the thread of the server; what takes long is done in others."""

    def __init__(
        self, context: Context, rules: Rules, credentials: Credentials, spool: Spool, admission: Admission
    ) -> None:
        self.figures = Figures(context)
        self._context = context
        self._rules = rules
        self._credentials = credentials
        self._spool = spool
        self._admission = admission

    async def post(self, http: HttpRequest) -> Response:
        """Answer a request that brings events."""
        client = http.client.host if http.client else ""
        try:
            response = await self._receive(http, client)
        except Refusal as refusal:
            response = answer({"error": str(refusal)}, refusal.status, refusal.headers)
            self.figures.answered(refusal.status)
            self.figures.refused(refusal.status, str(refusal), client, shorten(http.scope["path"]))
        else:
            self.figures.answered(response.status_code)
        return response

    def authorize(self, http: HttpRequest) -> Caller:
        """Tell who sends. Raises Refusal."""
        peer: Mapping[str, Any] | None = http.scope.get("extensions", {}).get("tls", {}).get("peer")
        try:
            return self._credentials.check(http.headers.get("authorization"), peer, self._context.clock.time())
        except Denied as denied:
            headers = {"WWW-Authenticate": 'Bearer realm="tailrace", Basic realm="tailrace"'}
            if denied.must_reconnect:
                headers["Connection"] = "close"
            raise Refusal(denied.status, str(denied), headers if denied.status == 401 else None) from None

    async def _receive(self, http: HttpRequest, client: str) -> Response:
        caller = self.authorize(http)
        if http.headers.get("origin") or http.headers.get("sec-fetch-site"):
            raise Refusal(403, "a browser sent this; a page that it shows must not be able to write events")
        path: str = http.scope["path"]  # that of the URL is escaped anew
        below = self._rules.path.rstrip("/")
        if path != below and not path.startswith(below + "/"):
            raise Refusal(404, f"events are received at {self._rules.path} and below")
        kind, gzip, size = self._check_head(http.headers)
        self._check_room(max(size, 1))
        try:
            async with self._admission.enter(size) as stack:
                chunks = read(http.stream(), self._admission, stack, gzip=gzip, limit=self._rules.max_body_bytes)
                tag = self._rules.tag.render(http.scope["raw_path"].decode(), caller.name)
                return await self._store(await chunks, kind in _LINES, client, path, tag)
        except TooLarge:
            raise self._too_large() from None
        except NotGzip as error:
            raise Refusal(400, f"the body is not the gzip that Content-Encoding says it is: {error}") from None
        except TooSlow:
            raise Refusal(408, "the body did not arrive in time", {"Connection": "close"}) from None
        except Busy:
            raise _busy("too many bodies at once") from None
        except ClientDisconnect:
            raise Refusal(400, "the client went away before the body was complete") from None

    def _check_head(self, headers: Mapping[str, str]) -> tuple[str, bool, int]:
        """Give media type, whether it is gzip, and the announced size of the body (0: not known)."""
        if "upgrade" in headers and "upgrade" in headers.get("connection", "").lower():
            raise Refusal(400, "Upgrade: the body of such a request cannot be read; send it without")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JSON:
            raise Refusal(415, f"Content-Type {kind!r:.80}: send application/json or application/x-ndjson")
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            message = f"Content-Encoding {encoding!r:.80}: send gzip, or the body as it is"
            raise Refusal(415, message, {"Accept-Encoding": "gzip, identity"})
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            raise Refusal(411, "send Content-Length, or the body in chunks")
        size = int(length or 0)
        if size > self._rules.max_body_bytes:
            raise self._too_large()
        gzip = encoding != "identity"
        return kind, gzip, 0 if gzip else size

    def _check_room(self, size: int) -> None:
        reason = self._spool.refusal(size)
        if reason is not None:
            raise _busy(reason)

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body has more than {self._rules.max_body_bytes} bytes (max_body_bytes), unpacked")

    async def _store(self, body: bytes, lines: bool, client: str, path: str, tag: str) -> Response:
        size = len(body)
        plain = None if lines else cut_plain(body)
        prepare = partial(self._prepare, lines=lines, client=client, path=path, tag=tag)
        try:
            if plain is None and size > _QUICK:
                ready = await asyncio.to_thread(prepare, body)
            else:
                ready = prepare(body, plain)
        except BadBody as error:
            raise Refusal(413 if error.too_many else 400, str(error)) from None
        if ready is None:
            return answer({"accepted": 0})
        data, events, digest, received = ready
        del body, plain, ready  # what waits for the disk is in memory once, not three times
        try:
            storing = self._spool.append(data, digest, received)
            del data
            await asyncio.wrap_future(storing.stored)
        except Refused as error:
            raise _busy(str(error)) from None
        if storing.repeated:
            self.figures.repeated(events)
            return answer({"accepted": 0, "repeated": events})
        self.figures.accepted(events, size)
        return answer({"accepted": events})

    def _digest(self, body: bytes, tag: str) -> bytes:
        """Tell bodies apart; the same body for another cluster is another one."""
        digest = hashlib.sha256(tag.encode() + b"\0")
        digest.update(body)
        return digest.digest()

    def _prepare(
        self, body: bytes, events: Events | None = None, *, lines: bool, client: str, path: str, tag: str
    ) -> _Ready | None:
        """Make of a body what is stored of it; None if it holds no event. Raises BadBody."""
        events = events or cut(body, lines=lines)
        if not events.items:
            return None
        digest = self._digest(body, tag) if events.audit else None
        received = self._context.clock.time()
        request = Request(
            tag=tag,
            received=received,
            client=client,
            path=shorten(path),
            version=events.version,
            digest=digest.hex() if digest else "",
        )
        return _Ready(encode_all(request, events.items, are_json=events.are_json), len(events.items), digest, received)


def _busy(reason: str) -> Refusal:
    return Refusal(503, f"{reason}; send it again", {"Retry-After": RETRY_AFTER})


def answer(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a JSON object."""
    return Response(orjson.dumps(content), status, dict(headers or {}), "application/json")
