"""The elasticsearch sink: events into indices or data streams of Elasticsearch or OpenSearch, byte for byte.

It speaks the bulk API itself: the client libraries of either product refuse the other one, and write documents anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

from tailrace import (
    EVENT_TIME_FIELDS,
    Batch,
    Measure,
    OptionError,
    Payload,
    Position,
    Reject,
    Retry,
    Sink,
    TimeSlicer,
    parse_size,
)
from tailrace_plugins.checking import checked
from tailrace_plugins.indexing.answers import FILTER_PATH
from tailrace_plugins.indexing.documents import Documents, joined
from tailrace_plugins.indexing.encoding import TIMESTAMP, Encoder
from tailrace_plugins.indexing.hosts import Hosts
from tailrace_plugins.indexing.lanes import Lanes
from tailrace_plugins.indexing.names import index_template
from tailrace_plugins.indexing.options import make_targets
from tailrace_plugins.indexing.sender import Figures, Sender
from tailrace_plugins.sending.backoff import Backoff
from tailrace_plugins.sending.options import is_open

_FIRST_WAIT: Final = 0.25  # seconds before what the cluster has no time for is sent again, for the first time
_TRIES: Final = 8  # in vain, one after the other; that takes half a minute
_MEASURES: Final = {  # by the figure of a sender
    "indexed": "Events that were taken.",
    "present": "Events that were there already, with the same id.",
    "refused": "Events that will never be taken.",
    "retried": "Events that were sent again after a pause, each time.",
    "requests": "Requests that were sent.",
    "sent_bytes": "Bytes of their bodies, as they were sent.",
}


class Elasticsearch(Sink, kw_only=True):
    """Send events to Elasticsearch or OpenSearch, each as it is, into indices or a data stream.

    ```yaml
    sinks:
      - type: elasticsearch
        hosts: [https://es-1:9200, https://es-2:9200]
        index: audit-{objectRef.namespace}-%Y.%m.%d
        api_key: ${ES_API_KEY}
    ```

    In `index`, `{field}`, `{tag}` and `%Y %m %d %H %M %S` stand for what they do in the path of the sink `file`; a name
    keeps `a-z 0-9 . _ -` of a value, and `~xx` stands for each other byte, upper case included. Where a field is
    missing it is `_none`; where there is no time, `_unparsed`. Each new value is another index, also one that a client
    made up for a request that was refused: let the server create them, for the pipeline waits where it does not.

    An event's id is made of its bytes as they were read. So what is sent again, after a crash or a lost answer, is not
    there twice, nor is an event that two collectors read; but neither are two events that are equal to the byte, which
    events of an audit log never are. There is one exception: a data stream that rolled over in between knows the ids of
    its newest index only. With `id: none` the server makes ids, which costs it less, and what is sent again is there
    twice.

    What the server will never take (a field of another type than the index has, say) goes to the dead letter with the
    server's reason. What it cannot take now is sent again, and the source waits: also while an index is missing or
    blocked, or the credentials are not accepted, for that is no event's fault.
    """

    hosts: Annotated[
        list[str],
        Meta(
            min_length=1,
            description="URLs of nodes, like `https://es-1:9200`; in turn, and past those that do not answer.",
        ),
    ]
    index: Annotated[str | None, Meta(description="Template of the index's name; it begins with fixed text.")] = None
    data_stream: Annotated[
        str | None,
        Meta(description="Name of a data stream instead, or a template of it without times: `logs-audit-default`."),
    ] = None
    id: Annotated[
        Literal["content", "none"],
        Meta(
            description="`content`: ids are made of the events, so nothing is there twice. `none`: the server does it."
        ),
    ] = "content"
    add_timestamp: Annotated[
        bool | None,
        Meta(
            description="Add the event's time as `@timestamp`, which changes its bytes; not where it has that key, and "
            "without a time it goes to the dead letter. By default for data streams, which need it; not needed if an "
            "ingest pipeline does it."
        ),
    ] = None
    time_fields: Annotated[
        list[str],
        Meta(min_length=1, description="Where the event's time is; the first that is there counts."),
    ] = msgspec.field(default_factory=lambda: list(EVENT_TIME_FIELDS))
    timezone: Annotated[str, Meta(description="Time zone of the times in the index's name.")] = "UTC"
    pipeline: Annotated[str | None, Meta(description="Ingest pipeline that events go through.")] = None
    require_data_stream: Annotated[
        bool,
        Meta(description="Let nothing be created that is no data stream. OpenSearch does not know that."),
    ] = False
    user: Annotated[str | None, Meta(description="User of basic authentication.")] = None
    password: Annotated[
        str | None, Meta(description="Its password; take it from the environment: `${ES_PASSWORD}`.")
    ] = None
    password_file: Annotated[
        str | None, Meta(description="File that holds the password; it is read anew when it changes.")
    ] = None
    api_key: Annotated[str | None, Meta(description="API key of Elasticsearch, encoded: `${ES_API_KEY}`.")] = None
    api_key_file: Annotated[str | None, Meta(description="File that holds it.")] = None
    token: Annotated[str | None, Meta(description="Bearer token: `${ES_TOKEN}`.")] = None
    token_file: Annotated[str | None, Meta(description="File that holds it.")] = None
    headers: Annotated[dict[str, str], Meta(description="More headers for each request.")] = {}
    ca: Annotated[
        str | None, Meta(description="Authorities (PEM) that the nodes' certificates are from; none: the system's.")
    ] = None
    client_cert: Annotated[str | None, Meta(description="Client certificate (PEM).")] = None
    client_key: Annotated[str | None, Meta(description="The certificate's key (PEM).")] = None
    server_name: Annotated[
        str | None, Meta(description="Name in the nodes' certificates, if it is not the host's.")
    ] = None
    insecure: Annotated[bool, Meta(description="Do not verify the nodes' certificates.")] = False
    proxy: Annotated[str | None, Meta(description="URL of an HTTP proxy; the environment's is not used.")] = None
    compress: Annotated[bool, Meta(description="Compress requests (gzip).")] = True
    timeout: Annotated[float, Meta(gt=0, le=3600, description="Seconds that an answer may take.")] = 60.0
    bulk_max_size: Annotated[str | int, Meta(description="Most bytes of a request, before compression.")] = "5MiB"
    bulk_max_events: Annotated[int, Meta(ge=1, description="Most events of a request.")] = 10_000
    requests: Annotated[
        int, Meta(ge=1, le=32, description="How many requests may be under way at once; each event is in one.")
    ] = 2
    flush_interval: Annotated[
        float,
        Meta(ge=0, le=300, description="Seconds that events may wait for others, so that requests are not small."),
    ] = 1.0

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if (self.index is None) == (self.data_stream is None):
            raise OptionError("index", "give either index or data_stream")
        if self.require_data_stream and self.data_stream is None:
            raise OptionError("require_data_stream", "there is no data_stream that could be required")
        where = "index" if self.data_stream is None else "data_stream"
        text = (self.data_stream if self.index is None else self.index) or ""
        template = checked(where, index_template, text, time=where == "index")
        self._encoder = Encoder(
            template,
            checked("timezone", TimeSlicer, template.time_directives, self.timezone),
            self.time_fields,
            has_ids=self.id == "content",
            adds_timestamp=self._adds_timestamp,
        )
        self._most_bytes = checked("bulk_max_size", parse_size, self.bulk_max_size)
        self._targets = make_targets(self)
        self._figures = [Figures() for _ in range(self.requests)]
        self._lanes = Lanes([])  # those that count are made in `open`
        self._is_warned = False

    def __repr__(self) -> str:
        return f"<Elasticsearch {self.index or self.data_stream}>"  # nothing that is secret

    @property
    def _adds_timestamp(self) -> bool:
        return self.data_stream is not None if self.add_timestamp is None else self.add_timestamp

    def reads(self) -> Iterable[str]:
        """The template's fields, and the time fields if the time is used."""
        return self._encoder.reads()

    def writes(self) -> Iterable[str]:
        """The key that is added."""
        return [TIMESTAMP] if self._adds_timestamp else []

    def open(self, position: Position | None) -> None:
        """Begin to send; nothing that was sent can be undone, and need not be.

        Raises Retry if a file of certificates or secrets cannot be used.
        """
        self._pending: list[Documents] = []
        self._size = self._count = 0
        self._unfit: list[Reject] = []
        for target in filter(is_open, self._targets if not self._is_warned else ()):
            self.context.log.warning(
                "events cross the network in the clear", extra={"url": target.url, "do": "send them to an https:// URL"}
            )
        self._is_warned = True
        try:
            self._lanes = Lanes([self._sender(number) for number in range(self.requests)])
        except ValueError as error:
            raise Retry(str(error)) from None

    def _sender(self, number: int) -> Sender:
        path = f"/_bulk?filter_path={FILTER_PATH}"
        if self.pipeline:
            path += f"&pipeline={quote(self.pipeline, safe='')}"
        if self.require_data_stream:
            path += "&require_data_stream=true"
        return Sender(
            self.context,
            Hosts(self.context, self._targets, number),
            Backoff(self.context.clock, initial=_FIRST_WAIT, factor=2.0, tries=_TRIES),
            self._figures[number],
            path=path,
            compress=self.compress,
        )

    def close(self) -> None:
        """Wait for the requests that are under way, and close the connections."""
        self._lanes.close()

    def encode(self, batch: Batch) -> Payload:
        """Give the documents, and apart from them what the protocol cannot carry."""
        return self._encoder.encode(batch)

    def write(self, payload: Payload) -> None:
        """Keep the events until there are enough for a request, and send it then."""
        documents, rejects = payload
        self._unfit += rejects
        for part in documents.within(self._most_bytes, self.bulk_max_events):
            size = part.size
            if self._size + size > self._most_bytes or self._count + len(part) > self.bulk_max_events:
                self._send()
            self._pending.append(part)
            self._size += size
            self._count += len(part)

    def _send(self) -> None:
        pending, self._pending = self._pending, []
        count, self._count, self._size = self._count, 0, 0
        if count:
            self._lanes.send(joined(pending))

    def held(self) -> int:
        """What waits, and what is under way."""
        return self._size + self._lanes.held

    def linger(self) -> float:
        """Commits of few events would make small requests."""
        return self.flush_interval

    def wake(self) -> None:
        """Wait for better times no more."""
        self._lanes.wake()

    def flush(self) -> Position:
        """Send what is left, and wait until every event is there, or refused."""
        self._send()
        self._lanes.finish()
        return {}

    def refused(self) -> Sequence[Reject]:
        """Give what the protocol cannot carry, and what the server will never take."""
        refused, self._unfit = self._unfit, []
        return [*refused, *self._lanes.take_refused()]

    def measures(self) -> Iterable[Measure]:
        """Count what became of events, and what it took."""
        for name, about in _MEASURES.items():
            value = sum(getattr(figures, name) for figures in self._figures)
            yield Measure(f"elasticsearch_{name}_total", about, "counter", value)
