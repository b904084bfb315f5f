"""The three kinds of stage and what the framework promises each of them.

A stage *is* its config: its fields are its options, declared once, with type, default and description; the
parser, the error messages and the reference follow from them.

    class Drop404(Filter):
        \"\"\"Drop answers of one status code.\"\"\"

        code: Annotated[int, Meta(description="The status code.")] = 404

        def reads(self) -> Iterable[str]:
            return ["responseStatus.code"]

        def apply(self, batch: Batch) -> None:
            batch.keep([code != self.code for code in batch["responseStatus.code"]])

What an option alone cannot say (`a` excludes `b`, a template that does not parse) is checked in
`__post_init__`, which raises `OptionError`. State that is needed while running is made in `open`.

An event that can never be processed goes to the dead letter: a filter says `batch.reject(index, reason)`, a
`RecordFilter` raises `BadEvent`. In every stage `Retry`, and every `OSError`, means that the outside world failed:
the framework closes all stages of the pipeline, waits, and opens them again from the checkpoint, exactly as after a
crash. Any other exception is a bug: the pipeline stops, nothing is committed, the other pipelines go on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from tailrace.batch import Batch, Position
from tailrace.context import Context
from tailrace.finding import Finding, Surroundings
from tailrace.records import Record
from tailrace.reject import Reject
from tailrace.span import Span


class BadEvent(Exception):  # noqa: N818 - the field's word; it is about the event, not about the code
    """Raised by `RecordFilter.process`: this event goes to the dead letter, with the message as the reason."""


class Retry(Exception):  # noqa: N818
    """The outside world failed; close everything, wait, and recover as after a crash."""


class EndOfInput(Exception):  # noqa: N818
    """The source will never give another event."""


class Damaged(Exception):  # noqa: N818
    """What is on disk contradicts the checkpoint; the pipeline stops and a person decides. Names the file."""


Match = Annotated[
    str | None,
    Meta(description="Only events whose tag matches this pattern: `*` is one part, `**` any number, `{a,b}` either."),
]


class OptionError(ValueError):
    """An option has the right type and still cannot work; `option` is its name."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


class Measure(NamedTuple):
    """One figure for `/metrics`, without the prefix `tailrace_` and the label `pipeline`, which the framework adds.

    A counter's name ends in `_total`, a size's in `_bytes`, a time's in `_seconds` (Prometheus naming). Labels never
    hold values that come from events.
    """

    name: str
    help: str  # one sentence
    kind: Literal["counter", "gauge"]
    value: float
    labels: Mapping[str, str] = MappingProxyType({})


class Stage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, dict=True, eq=False):
    """A source, a filter or a sink."""

    def attach(self, context: Context) -> None:
        """Take what the framework provides (disk, clock, log, directory); called once, before `open`."""
        self.context = context

    def reads(self) -> Iterable[str]:
        """Name the fields whose values this stage reads; they are decoded, and no others."""
        return ()

    def writes(self) -> Iterable[str]:
        """Name the fields that this stage sets or deletes, so that it is known cheaply which lines have them."""
        return ()

    def loaded(self) -> Iterable[str]:
        """Give the text of the files that were read when this stage was made; a reload sees whether it changed.

        What a stage reads in `__post_init__` belongs to it like its options: keep it on the way to a worker.
        """
        return ()

    def measures(self) -> Iterable[Measure]:
        """Give the figures of this stage's own for `/metrics`; called by another thread, at any time."""
        return ()

    def descriptors(self) -> int:
        """Say how many files it may hold open at once, at most; a start warns if the process may not have so many."""
        return 0

    def examine(self, surroundings: Surroundings) -> Iterable[Finding]:
        """Say whether what should reach this stage, or leave it, does, as far as it can be seen from outside.

        Asked by `tailrace doctor` of a stage that was only made, perhaps while a service runs with the same options:
        it changes nothing, waits for nobody, and reads so much at most that a person would wait for it.
        """
        return ()

    def close(self) -> None:
        """Let go of descriptors and threads. May be called at any time and twice; nothing correct depends on it."""


class Source(Stage, kw_only=True):
    """Where events come from: a log that can be read again from a position.

    `open`, `start`, `read`, `commit`, `close` and `stop` are called by one thread. `lag`, `wake` and `refusing` may be
    called by another at any time, also before `open`; `incomplete` after `close`.
    """

    gives_spans: ClassVar[bool] = False
    """Whether `find` gives spans; else there can be one worker only."""

    def open(self, position: Position | None) -> None:
        """Start right after `position`; None is a first start. Also called again, after `close`, to recover.

        `position` is the merger of all positions up to the checkpoint.
        """
        raise NotImplementedError

    def start(self) -> None:
        """Begin to receive, for a source that others send to; called after each `open`, so it may have begun already.

        Receiving goes on through `close` and the next `open`, so that a full disk or a failing sink does not turn
        senders away; `stop` ends it. With `--once` it is not called: only what is there already is read.
        """

    def stop(self) -> None:
        """Receive no more: the pipeline has ended. May be called at any time and twice."""

    def once_only(self) -> str | None:
        """Say why it can be read with `--once` only, to the end of what is there; None if it can be followed."""
        return None

    def refusing(self) -> str | None:
        """Say why what is sent to it is refused at present; None if it is not."""
        return None

    def read(self, timeout: float) -> Batch | None:
        """Give the next events, in order, or None if within `timeout` seconds there were none.

        Raises EndOfInput if there never will be any again. `batch.position` is a delta (see `Position`). With
        `timeout` 0 it does not wait. A batch without events asks for its position to be recorded at once; at a
        first start that makes sure that there never is another one.
        """
        raise NotImplementedError

    def find(self, timeout: float, span_bytes: int) -> Batch | Span | None:
        """Give the next events as `read` does, or, where there are many, a span of at most so many bytes."""
        return self.read(timeout)

    def refuse(self, span: Span) -> None:
        """What this span holds could not be read as it was found: give it in batches after the next `open`."""

    def take_note(self, name: str, *values: Any) -> None:
        """Say or count what a worker noticed while it read a span."""

    def commit(self, position: Position) -> None:
        """All events up to `position` are durable, twice over: they will not be asked for again."""

    def lag(self) -> int:
        """Say how many bytes there are to read beyond what `read` has given."""
        return 0

    def incomplete(self) -> Sequence[str]:
        """Say why what is there could not all be read (asked at the end of a run with `--once`)."""
        return ()

    def wake(self) -> None:
        """Make a waiting `read` return soon."""


def needs_one_worker(stage: Stage) -> bool:
    """Tell whether the events that this stage sees cannot be shared out among several processes."""
    if isinstance(stage, Source):
        return not stage.gives_spans
    return isinstance(stage, Filter) and stage.one_worker


class Filter(Stage, kw_only=True):
    """What happens to events on their way. Filters keep nothing back, and no state that matters but what `state` gives.

    A filter whose answer depends on the events before (a rate, what was seen already) is `one_worker`. What it
    remembers is part of the checkpoint, beside the positions of source and sinks, so after a crash it goes on as if
    nothing had happened. Its answers may depend on nothing else: on the time of events and not on the clock, and
    not on where a batch ends.
    """

    one_worker: ClassVar[bool] = False
    """Whether it has to see all events, in order, in one process: then there can be one worker only."""

    match: Match = None

    def apply(self, batch: Batch) -> None:
        """Change the batch in place: columns, tags, `keep`, `reject`. Same batch, same result, in any process.

        Of a filter that is `one_worker`: the same after the same `restore`, and the same batches since then.
        """
        raise NotImplementedError

    def restore(self, state: Position | None) -> None:
        """Remember what `state` gave, merged up to the checkpoint, and nothing else; None is a first start.

        Called before the first batch, and again to recover. Only for a filter that is `one_worker`.
        """

    def state(self) -> Position:
        """Say what there is to remember now, as a delta to what it gave, or was restored from, before (see `Position`).

        Called at each commit, after all batches that it covers. Its size is written each time: keep it small.
        """
        return {}


class RecordFilter(Filter, kw_only=True):
    """The easy way to write a filter: one dict in, one dict or None out.

    Costs a full decode of each event. An event that comes back unchanged keeps its bytes.
    """

    def apply(self, batch: Batch) -> None:
        """Call `process` for each event."""
        batch.records()
        batch.keep([True] * len(batch))  # those that cannot be decoded are rejected, and gone now
        records = batch.records()
        kept = [True] * len(records)
        for index, record in enumerate(records):
            try:
                result = self.process(record)
            except BadEvent as error:
                batch.reject(index, str(error))
                continue
            if result is None:
                kept[index] = False
            else:
                records[index] = result
        batch.keep(kept)

    def process(self, record: Record) -> Record | None:
        """Give the record as it shall go on (changed in place, or another), or None to drop the event.

        Raises BadEvent to put the event aside as it was read.
        """
        raise NotImplementedError


Payload = Any
"""What a sink's `encode` makes of a batch and its `write` takes; only that sink looks inside."""


class Packer:
    """Collects what a sink's `encode` makes of the batches of one span."""

    def __init__(self) -> None:
        self._payloads: list[Payload] = []

    def add(self, payload: Payload) -> None:
        """Take the next payload."""
        self._payloads.append(payload)

    def packed(self) -> Payload:
        """Give all of it, once; it is pickled."""
        return self._payloads


class Sink(Stage, kw_only=True):
    """Where events go.

    The commit, as a sink sees it: `prepare` (say what will be written to that the checkpoint does not know yet;
    it is recorded), `flush` (write and make durable; the new position is recorded), `refused` (those that cannot go
    there), `commit` (publish). All is called by one thread, but `wake` may be called by another.

    A sink that sends events away has sent them when `flush` returns. What it had sent when it raises Retry, or dies,
    it sends again.
    """

    match: Match = None

    def open(self, position: Position | None) -> None:
        """Undo whatever was written after `position`; None is a first start. Also called again, to recover.

        Raises Damaged if what `position` speaks of is not there any more.
        """
        raise NotImplementedError

    def encode(self, batch: Batch) -> Payload:
        """Turn a batch into what `write` takes. Pure: no state is touched, and it may run in another process."""
        raise NotImplementedError

    def packer(self) -> Packer:
        """Give what joins the payloads of a span for the way from a worker to `write_packed`; pure, as `encode` is.

        A sink that compresses does it there, in the worker.
        """
        return Packer()

    def write(self, payload: Payload) -> None:
        """Take a payload, in source order. It may stay in memory until `flush`; the framework bounds how much."""
        raise NotImplementedError

    def write_packed(self, packed: Payload) -> None:
        """Take what a packer gave, likewise."""
        for payload in packed:
            self.write(payload)

    def held(self) -> int | None:
        """Say how many bytes wait in memory for `flush`; None: as many as the events had that were written."""
        return None

    def linger(self) -> float:
        """Say how many seconds a commit may wait for more events, from the first that it holds on; 0: not for any.

        For a sink that would rather send many at once. They wait in vain for nobody: a stop commits.
        """
        return 0.0

    def wake(self) -> None:
        """The pipeline shall stop: a `write` or `flush` that waits for better times raises Retry soon."""

    def prepare(self) -> Position:
        """Say, before `flush`, the present position of everything that it will touch for the first time.

        It is durable before `flush` is called, in both generations of the checkpoint, so that recovery always knows
        where to cut. Nothing new: `{}`.
        """
        return {}

    def flush(self) -> Position:
        """Make all that was written durable and say how far that is (a delta, see `Position`)."""
        raise NotImplementedError

    def refused(self) -> Sequence[Reject]:
        """Give, after `flush` and once, what will never be taken where this sink writes; it goes to the dead letter.

        `Batch.originals` has each event as it was read, for `encode` to keep beside its bytes.
        """
        return ()

    def commit(self, position: Position) -> None:
        """The checkpoint that holds `position` is on disk: publish. Idempotent, for it is repeated after a crash."""

    def is_due(self) -> bool:
        """Tell whether there is something to record or to publish without a new event: then there is a commit of none.

        Asked a few times per second while nothing is read.
        """
        return False

    def finish(self, stop: threading.Event) -> Iterator[None]:
        """All events of a run with `--once` are committed: complete what goes on beside the commits.

        Each time that it yields there is a commit, if one `is_due`. Gives up waiting soon after `stop` is set.
        """
        yield from ()

    def incomplete(self) -> Sequence[str]:
        """Say what could not be completed (asked at the end of a run with `--once`, after `close`)."""
        return ()
