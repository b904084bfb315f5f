"""The source `webhook`."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from tailrace import Batch, Context, Damaged, Measure, OptionError, Position, Retry, Source
from tailrace.serving import Address, HttpServer, parse_address
from tailrace_plugins.checking import checked
from tailrace_plugins.receiving.access import Access, Files
from tailrace_plugins.receiving.app import make_app
from tailrace_plugins.receiving.bodies import Admission
from tailrace_plugins.receiving.kinds import restore_kind
from tailrace_plugins.receiving.reader import Reader
from tailrace_plugins.receiving.receiver import Receiver, Rules
from tailrace_plugins.receiving.record import Record
from tailrace_plugins.receiving.spool import Place, Spool
from tailrace_plugins.receiving.tags import TagTemplate


class Webhook(Source, kw_only=True):
    """Receive what the API server's audit webhook backend sends, and acknowledge only what is on disk.

        - type: webhook
          listen: 127.0.0.1:8888

    Takes an `EventList` of audit.k8s.io by POST and gives its items one by one, as the bytes that came. A single
    event, an array, and one event a line are taken too; bodies may be gzip. Before 200 is answered the events are
    synced to a spool in the state directory, which the pipeline empties. A body that is sent again, because our answer
    was lost, is recognised if it is an EventList or Event of audit.k8s.io. An item that is no event goes to the dead
    letter; the others of its list go on.

    When there is no room (spool or disk full) the answer is 503 with `Retry-After`, at once. `/livez`, `/readyz` and
    `/metrics` are served on the same address. `tailrace kubeconfig` makes the file that the API server needs.

    Where several of a client certificate, a token and a password may prove who sends, one of them is enough. All these
    files are read anew within some seconds when they change; one that cannot be used leaves the former in force. A
    connection that began under a former certificate ends with the answer to its next request.
    """

    listen: Annotated[str, Meta(description="The address to listen on, like `127.0.0.1:8888`.")] = "127.0.0.1:8888"
    path: Annotated[str, Meta(description="Events are taken at this path and below; others are 404.")] = "/"
    tag: Annotated[
        str,
        Meta(
            description="The tag of events; `{path[1]}` is the second part of the request's path (`/clusters/east` "
            "gives `east`), `{client}` the name that the client's certificate or password proved. A dot in one makes "
            "several parts of a tag; so take it back with `{tag[1:]}`."
        ),
    ] = "audit"
    restore_kind: Annotated[
        bool, Meta(description="Put `kind` and `apiVersion` back in front of the items of a list, as in the log.")
    ] = False
    tls_cert: Annotated[
        str | None, Meta(description="The server's certificate, with those above it (PEM); none: no TLS.")
    ] = None
    tls_key: Annotated[str | None, Meta(description="The certificate's key (PEM).")] = None
    client_ca: Annotated[
        str | None,
        Meta(description="Authorities (PEM) whose client certificates are accepted; none: nobody is asked for one."),
    ] = None
    client_names: Annotated[
        list[str],
        Meta(description="Accept only client certificates with one of these common or alternative names."),
    ] = []
    token_file: Annotated[
        str | None,
        Meta(description="Bearer tokens, one a line, as they are or as `sha256:<hex>`; any of them will do."),
    ] = None
    password_file: Annotated[
        str | None,
        Meta(description="`user:password` a line for basic authentication; `sha256:<hex>` for a password's hash."),
    ] = None
    insecure: Annotated[
        bool, Meta(description="Listen without authentication on an address that other machines can reach.")
    ] = False
    max_body_bytes: Annotated[int, Meta(ge=1024, description="A longer body, unpacked, is answered with 413.")] = (
        67_108_864
    )
    spool_bytes: Annotated[
        int, Meta(ge=1024, description="With so many bytes waiting for the sinks, requests are answered with 503.")
    ] = 1_073_741_824
    repeat_window: Annotated[
        float, Meta(ge=0, description="For so many seconds a body that is sent again is recognised.")
    ] = 600.0

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        self._address = checked("listen", parse_address, self.listen)
        self._tag = checked("tag", TagTemplate, self.tag)
        if not self.path.startswith("/"):
            raise OptionError("path", "a path begins with /")
        if bool(self.tls_cert) != bool(self.tls_key):
            missing = "tls_key" if self.tls_cert else "tls_cert"
            raise OptionError(missing, "TLS needs both a certificate (tls_cert) and its key (tls_key)")
        if self.client_ca and not self.tls_cert:
            raise OptionError("client_ca", "client certificates need TLS: set tls_cert and tls_key")
        if self.client_names and not self.client_ca:
            raise OptionError("client_names", "names of client certificates need client_ca, or nobody is asked for one")
        if not (self._address.is_loopback or self.client_ca or self.token_file or self.password_file or self.insecure):
            raise OptionError(
                "listen",
                f"other machines can reach {self._address}, and nobody would have to prove who he is; set client_ca, "
                "token_file or password_file, listen on 127.0.0.1, or write insecure: true",
            )

    def attach(self, context: Context) -> None:
        """Take clock, log and directory."""
        super().attach(context)
        self._more = threading.Event()  # there is something to read
        self._interrupted = False
        self._spool: Spool | None = None
        self._reader: Reader | None = None
        self._server: HttpServer | None = None
        self._receiver: Receiver | None = None
        files = Files(self.tls_cert, self.tls_key, self.client_ca, self.token_file, self.password_file)
        self._access = Access(context, files, self.client_names)

    def reads(self) -> Iterable[str]:
        """Every event is looked at, be it only to know that it is one."""
        return ["auditID"]

    def open(self, position: Position | None) -> None:
        """Find what is in the spool, and go on reading it at `position`."""
        place = _parse(position)
        if self._spool is None:
            spool = Spool(self.context, limit=self.spool_bytes, window=self.repeat_window, wake=self._more.set)
            spool.open(place)
            self._spool = spool
        self._reader = Reader(self.context, self._spool, place, self._lines)

    def _lines(self, record: Record, lines: list[bytes]) -> list[bytes]:
        version = record.request.version
        return restore_kind(lines, version) if self.restore_kind and version else lines

    def start(self) -> None:
        """Listen, if that has not begun yet."""
        if self._server is not None or self._spool is None:
            return
        try:
            tls = self._access.load()
        except ValueError as error:
            raise Retry(str(error)) from None
        rules = Rules(self.path, self._tag, self.max_body_bytes)
        receiver = Receiver(self.context, rules, self._access.credentials, self._spool, Admission())
        server = HttpServer(
            make_app(self.context, receiver, self._spool),
            self._address,
            name=f"{self.context.pipeline}-http",
            tls=tls,
            tick=lambda: self._access.refresh(server.renew),
            refused=receiver.figures.turned_away,
        )
        self._spool.start()
        server.start()
        self._receiver, self._server = receiver, server
        self.context.log.info(
            "listening",
            extra={"url": f"{'https' if tls else 'http'}://{server.address}{self.path}", "proof": self._ways()},
        )

    def _ways(self) -> str:
        ways = {
            "certificate": self.client_ca,
            "token": self.token_file,
            "password": self.password_file,
        }
        return ", ".join(way for way, is_open in ways.items() if is_open) or "none"

    def stop(self) -> None:
        """Receive no more; what was acknowledged stays in the spool."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._spool is not None:
            self._spool.stop()

    def read(self, timeout: float) -> Batch | None:
        """Give the events of the next request."""
        assert self._reader is not None
        if self._server is not None:
            self._server.check()
        deadline = self.context.clock.monotonic() + timeout
        while True:
            self._more.clear()
            batch = self._reader.next()
            remaining = deadline - self.context.clock.monotonic()
            if batch is not None:
                return batch
            if remaining <= 0 or self._interrupted:
                self._interrupted = False
                return None
            self._more.wait(remaining)

    def commit(self, position: Position) -> None:
        """Delete the segments that are committed."""
        place = _parse(position)
        if self._spool is not None and place is not None:
            self._spool.release(place)

    def lag(self) -> int:
        """Give the number of bytes in the spool that were not read yet."""
        return self._reader.lag() if self._reader is not None else 0

    def refusing(self) -> str | None:
        """Say why requests are refused."""
        return self._spool.refusal() if self._spool is not None else None

    def measures(self) -> Iterable[Measure]:
        """Give what was received, and how full the spool is."""
        if self._receiver is not None:
            yield from self._receiver.figures.measures()
        if self._spool is not None:
            oldest = self._spool.oldest()
            age = 0.0 if oldest is None else max(0.0, self.context.clock.time() - oldest)
            yield Measure("spool_bytes", "Bytes that wait for the sinks to commit.", "gauge", self._spool.used())
            yield Measure("spool_limit_bytes", "From so many bytes on requests are refused.", "gauge", self.spool_bytes)
            yield Measure("spool_age_seconds", "Since when the oldest of them has been waiting.", "gauge", age)

    def wake(self) -> None:
        """Let a waiting `read` look once more and return."""
        self._interrupted = True
        self._more.set()

    def close(self) -> None:
        """Close what is read; receiving goes on until `stop`."""
        if self._reader is not None:
            self._reader.close()

    @property
    def address(self) -> Address:
        """Where it listens; with port 0, which port that is."""
        return self._server.address if self._server is not None else self._address


class _Position(msgspec.Struct, forbid_unknown_fields=True):
    segment: int
    offset: int
    path: str  # of the segment, for `tailrace state show`


def _parse(position: Position | None) -> Place | None:
    if not position:
        return None
    try:
        found = msgspec.convert(position, _Position)
    except msgspec.ValidationError as error:
        raise Damaged(f"the checkpoint's position in the spool cannot be understood: {error}") from None
    return Place(found.segment, found.offset)
