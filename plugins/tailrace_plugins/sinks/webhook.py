"""The webhook sink: events to whoever takes what the API server's audit webhook backend sends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tailrace import (
    Batch,
    Context,
    Measure,
    OptionError,
    Payload,
    Position,
    Reject,
    Retry,
    Sink,
    parse_duration,
)
from tailrace_plugins.checking import checked
from tailrace_plugins.loaded import LoadedFile, load
from tailrace_plugins.sending.backoff import Backoff
from tailrace_plugins.sending.catchup import CatchUp
from tailrace_plugins.sending.client import Client
from tailrace_plugins.sending.cutting import Cutter, Item, borders_of
from tailrace_plugins.sending.delivery import Delivery, Figures
from tailrace_plugins.sending.kubeconfig import KubeconfigError, read_kubeconfig
from tailrace_plugins.sending.options import check_headers, is_open, make_target
from tailrace_plugins.sending.pace import Pace
from tailrace_plugins.sending.target import Target

_SAID_BY_KUBECONFIG: Final = (
    "token", "token_file", "user", "password", "password_file", "ca", "client_cert", "client_key", "server_name",
    "insecure", "proxy",
)  # fmt: skip


class Webhook(Sink, kw_only=True):
    """Send events as the API server's audit webhook backend does: by POST, as an `EventList` of audit.k8s.io.

        - type: webhook
          kubeconfig: /etc/tailrace/siem-kubeconfig.yaml

    The other side is named by `url`, or by the kubeconfig that `--audit-webhook-config-file` of the API server takes.
    Items are the events' own bytes. The options from `mode` to `truncate_max_batch_size` are flags of the API server:
    `--audit-webhook-` and the name, with its defaults. What it does in other ways: batches are sent in order, one at a
    time, and nothing is ever dropped, so nothing corresponds to `batch-buffer-size`. What is not taken in five tries is
    read again from the source, for as long as it takes. `truncate-max-event-size` is the filter `truncate`.

    Any answer of 2xx takes a batch. After 400, 413 and 422 it is halved until it is known which events are refused;
    those go to the dead letter, unless nothing at all is taken. After anything else the same body is sent again, as
    `Retry-After` says or with pauses that grow. A redirect is not followed.

    Give it a pipeline of its own: other sinks of the same one wait with it, for `batch_max_wait` and while the receiver
    takes nothing. A list has one version: an event whose own `apiVersion` is another one goes to the dead letter; put
    the filter `upgrade` in front.

    At least once: what was sent since the last commit is sent again after a crash. In mode `batch` the same bodies are
    sent again, to the byte, which our source `webhook` recognises; so it takes each event once, as long as the options
    stay the same, the events are sent again within 30 s, and no stop interrupts that. A commit comes when a batch is
    full, or after `batch_max_wait`; under load once in the pipeline's `commit_interval`. The first one after a start
    comes after 5 s at the earliest, so that it does not cut a batch in two that was sent before.
    """

    url: Annotated[str | None, Meta(description="Where to send to, like `https://siem.example/k8s/audit`.")] = None
    kubeconfig: Annotated[
        str | None,
        Meta(
            description="A kubeconfig that says where to send to, and how, instead of `url` and what belongs to that."
        ),
    ] = None
    kube_context: Annotated[str | None, Meta(description="The context of the kubeconfig; none: its current one.")] = (
        msgspec.field(default=None, name="context")
    )
    mode: Annotated[
        Literal["batch", "blocking"],
        Meta(description="`batch`: wait for enough events to send. `blocking`: send at once, as fast as it goes."),
    ] = "batch"
    version: Annotated[
        Literal["audit.k8s.io/v1", "audit.k8s.io/v1beta1", "audit.k8s.io/v1alpha1"],
        Meta(description="The version of the lists, and of events that say theirs."),
    ] = "audit.k8s.io/v1"
    batch_max_size: Annotated[int, Meta(ge=1, le=100_000, description="Most events of a request.")] = 400
    batch_max_wait: Annotated[
        str | float, Meta(description="So long the first event of a batch waits for others (mode `batch`).")
    ] = "30s"
    throttle_enable: Annotated[bool, Meta(description="Limit the rate of requests (mode `batch`).")] = True
    throttle_qps: Annotated[float, Meta(gt=0, description="Most requests a second, on average.")] = 10.0
    throttle_burst: Annotated[int, Meta(ge=1, description="So many at once, after a pause.")] = 15
    initial_backoff: Annotated[
        str | float, Meta(description="The pause before a body is sent again; 1.5 times as long each further time.")
    ] = "10s"
    truncate_max_batch_size: Annotated[
        int,
        Meta(
            ge=1, description="Most bytes of a batch, counted as the API server counts them; a larger event goes alone."
        ),
    ] = 10_485_760
    timeout: Annotated[float, Meta(gt=0, le=3600, description="Seconds that an answer may take, also at a stop.")] = (
        30.0
    )
    token: Annotated[str | None, Meta(description="Bearer token; take it from the environment: `${TOKEN}`.")] = None
    token_file: Annotated[
        str | None, Meta(description="File that holds the token; it is read anew when it changes.")
    ] = None
    user: Annotated[str | None, Meta(description="User of basic authentication.")] = None
    password: Annotated[str | None, Meta(description="Its password, from the environment.")] = None
    password_file: Annotated[str | None, Meta(description="File that holds it.")] = None
    headers: Annotated[dict[str, str], Meta(description="More headers for each request.")] = {}
    ca: Annotated[
        str | None, Meta(description="Authorities (PEM) that the receiver's certificate is from; none: the system's.")
    ] = None
    client_cert: Annotated[str | None, Meta(description="Client certificate (PEM).")] = None
    client_key: Annotated[str | None, Meta(description="The certificate's key (PEM).")] = None
    server_name: Annotated[str | None, Meta(description="Name in the receiver's certificate, if not the host's.")] = (
        None
    )
    insecure: Annotated[bool, Meta(description="Do not verify the receiver's certificate.")] = False
    proxy: Annotated[str | None, Meta(description="URL of an HTTP proxy; the environment's is not used.")] = None
    compress: Annotated[bool, Meta(description="Compress bodies (gzip), which the API server never does.")] = False

    def __post_init__(self) -> None:
        """Check what the types cannot say, and read the kubeconfig."""
        if (self.url is None) == (self.kubeconfig is None):
            option, message = (
                ("url", "give url or kubeconfig") if self.url is None else ("kubeconfig", "url is given too")
            )
            raise OptionError(option, f"{message}; one of them says where to send to")
        self._max_wait = _seconds("batch_max_wait", self.batch_max_wait)
        self._initial = _seconds("initial_backoff", self.initial_backoff)
        self._warnings: Sequence[str] = ()
        self._target = self._from_options(self.url) if self.url is not None else self._from_kubeconfig()
        if is_open(self._target):
            self._warnings = [*self._warnings, "events cross the network in the clear; send them to an https:// URL"]

    def _from_options(self, url: str) -> Target:
        if self.kube_context is not None:
            raise OptionError("context", "a context is one of a kubeconfig; name that as well")
        return make_target(url, self)

    def _from_kubeconfig(self) -> Target:
        for name in _SAID_BY_KUBECONFIG:
            if getattr(self, name):
                raise OptionError(name, "the kubeconfig says this; leave it out, or give url instead of kubeconfig")
        check_headers(self.headers)
        assert self.kubeconfig is not None
        is_first = not isinstance(self.kubeconfig, LoadedFile)  # and not on its way to a worker
        self.kubeconfig = loaded = load("kubeconfig", self.kubeconfig)
        try:
            target, self._warnings = read_kubeconfig(
                loaded.text,
                loaded,
                context=self.kube_context,
                timeout=self.timeout,
                try_files=is_first,
            )
        except KubeconfigError as error:
            text = "the kubeconfig cannot be used:" + f"\n{error}".replace("\n", "\n  ")
            raise OptionError("kubeconfig", text) from None
        return replace(target, headers=self.headers, gzip=self.compress)

    def loaded(self) -> Iterable[str]:
        """Give the text of the kubeconfig: if it is another one, the pipeline is."""
        return [self.kubeconfig.text] if isinstance(self.kubeconfig, LoadedFile) else []

    def attach(self, context: Context) -> None:
        """Take clock and log."""
        super().attach(context)
        self._figures = Figures()
        self._backoff = Backoff(context.clock, initial=self._initial)
        self._client: Client | None = None
        self._catch_up = CatchUp()

    def reads(self) -> Iterable[str]:
        """An event's version."""
        return ["apiVersion"]

    def open(self, position: Position | None) -> None:
        """Begin to count from the last commit on; what is sent cannot be taken back. Raises Retry."""
        self.close()
        for warning in self._warnings:
            self.context.log.warning("what is configured is not done in all points", extra={"cause": warning})
        self._warnings = ()  # once is enough
        try:
            self._client = Client(self.context, self._target)
        except ValueError as error:
            raise Retry(str(error)) from None
        self._backoff.open()
        is_paced = self.mode == "batch" and self.throttle_enable
        pace = Pace(self.context.clock, self.throttle_qps, self.throttle_burst) if is_paced else None
        self._delivery = Delivery(self.context, self._client, self._backoff, pace, self.version, self._figures)
        self._mismatched: list[Reject] = []
        self._cutter = self._make_cutter(borders_of(position))
        self._catch_up.open(self._cutter.borders)

    def _make_cutter(self, borders: Iterable[int] = ()) -> Cutter:
        return Cutter(self.batch_max_size, self.truncate_max_batch_size, borders)

    def encode(self, batch: Batch) -> Payload:
        """Pair events with what was read, and put aside those of another version."""
        items = list(map(Item, batch.encoded(), batch.originals()))
        versions = batch["apiVersion"]
        if versions.count(None) + versions.count(self.version) == len(versions):
            return items, []
        fitting, mismatched = [], []
        for item, version in zip(items, versions, strict=True):
            if version is None or version == self.version:
                fitting.append(item)
            else:
                reason = f"an event of apiVersion {version!r:.80}, and the list is of {self.version}"
                mismatched.append(item.original.rejected(f"{reason}; put the filter upgrade in front of the sink"))
        return fitting, mismatched

    def write(self, payload: Payload) -> None:
        """Send the batches that are full; in mode `blocking` all."""
        begun = self.context.clock.monotonic()
        items, mismatched = payload
        self._mismatched += mismatched
        for batch in self._cutter.add(items):
            self._catch_up.reach(self._cutter.count)
            self._delivery.send(batch)
        if self.mode == "blocking" and self._cutter.waiting:
            self._delivery.send(self._cutter.rest())
        self._catch_up.note_sending(self.context.clock.monotonic() - begun)

    def held(self) -> int:
        """Bytes of the events that wait for others."""
        return self._cutter.held

    def linger(self) -> float:
        """Wait for others, until a batch was full; but first until there is all that was sent since the last commit."""
        if self.mode == "blocking":
            return 0.0
        if wait := self._catch_up.wait(self._cutter.count):
            return max(self._max_wait, wait)
        return 0.0 if self._cutter.has_cut else self._max_wait

    def wake(self) -> None:
        """Wait no longer for the receiver."""
        self._backoff.wake()

    def prepare(self) -> Position:
        """Record where the last batch ends, so that it is the same one if it is sent again."""
        cutter = self._cutter
        if not cutter.waiting or cutter.count in cutter.borders:
            return {}
        return {"borders": [*cutter.borders, cutter.count]}

    def flush(self) -> Position:
        """Send what is left."""
        cutter = self._cutter
        if not cutter.count:  # no event came again yet: what is known of before still holds
            return {}
        had_borders = bool(cutter.borders or cutter.waiting)
        if cutter.waiting:
            self._delivery.send(cutter.rest())
        self._cutter = self._make_cutter()
        self._catch_up.flush()
        return {"borders": None} if had_borders else {}

    def commit(self, position: Position) -> None:
        """What was sent is not sent again."""
        self._catch_up.commit()

    def refused(self) -> Sequence[Reject]:
        """Give what was refused, or is of another version."""
        refused = [*self._mismatched, *self._delivery.refused]
        self._mismatched, self._delivery.refused = [], []
        return refused

    def measures(self) -> Iterable[Measure]:
        """Say what was sent, and what it took."""
        return self._figures.measures(self._backoff.waited)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()


def _seconds(option: str, value: str | float) -> float:
    if isinstance(value, str):
        return checked(option, parse_duration, value)
    if value < 0:
        raise OptionError(option, "a time is not less than 0")
    return float(value)
