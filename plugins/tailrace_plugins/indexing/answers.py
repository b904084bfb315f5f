"""What the answer to a bulk request means for each event.

A request as a whole is answered with 200 also where every single event failed; the flag `errors` says only what the
items say as well, and they are what counts. Items come in the order of the request. What an item's status means:

* 200, 201: it is there now.
* 409, for an id that is made of the event's own bytes: it was there already.
* 429, 5xx, and rejected executions: the cluster has too much to do, or is being repaired. Again, later.
* 401, 403, 404, and what says that a setting is missing: no event is at fault. Somebody has to change something.
* every other 4xx: this event will never be taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

_SHOWN: Final = 500  # characters of what a server says that are repeated
FILTER_PATH: Final = "errors,items.*.status,items.*._id,items.*._index,items.*.error.type,items.*.error.reason," + (
    "items.*.error.caused_by.type,items.*.error.caused_by.reason"
)
"""What of an answer is needed; without this parameter it would be three times as long."""

_LATER: Final = frozenset({"es_rejected_execution_exception", "rejected_execution_exception"}) | {
    "circuit_breaking_exception",
    "resource_already_exists_exception",  # two requests made the index at the same time
}
_NOT_THE_EVENT: Final = {  # what the reason of a status 400 says, and what to do
    # from end to end, for reasons repeat parts of events, and no event shall be able to hold up its neighbours
    re.compile(r"pipeline with id \[[^\]]*\] does not exist"): (
        "create the ingest pipeline, or correct the option pipeline"
    ),
    re.compile(r"Validation Failed: \d+: this action would add .* shards open;.*"): (
        "delete indices, or allow more shards (cluster.max_shards_per_node)"
    ),
    re.compile(r"data stream timestamp field \[@timestamp\] is missing"): (
        "this is a data stream: set the option data_stream instead of index, or add_timestamp: true"
    ),
    re.compile(r"_id must be unset or set to \[[^\]]*\] but was .* is in time_series mode"): "set the option id: none",
    re.compile(r"Document ID is not supported in create/index operation request"): "set the option id: none",
}
_HINTS: Final = {
    401: "check user, password, API key or token",
    403: "the user needs the privilege create_doc on the index, and auto_configure where it has to be created; "
    "or the index is blocked for writing",
    404: "create the index or the template of the data stream, or allow that it is created (action.auto_create_index)",
}


class Cause(msgspec.Struct):
    """What is behind an error."""

    type: str = ""
    reason: str | None = None


class Error(Cause):
    """Why an event was not taken."""

    caused_by: Cause | None = None

    def text(self) -> str:
        """Say it in a line."""
        parts = [f"{self.type}: {self.reason or 'no reason given'}"]
        if self.caused_by is not None and self.caused_by.reason:
            parts.append(f"{self.caused_by.type}: {self.caused_by.reason}")
        return shown("; ".join(parts))


class Item(msgspec.Struct):
    """The answer for one event."""

    status: Annotated[int, Meta(ge=100, le=599)]
    id: str | None = msgspec.field(default=None, name="_id")
    index: str | None = msgspec.field(default=None, name="_index")
    error: Error | str | None = None


class _Created(msgspec.Struct):
    create: Item


class _Answer(msgspec.Struct):
    items: list[_Created]


class Verdict(NamedTuple):
    """What became of the events of a request, by their places in it."""

    taken: int  # how many are there now
    present: int  # how many were there already
    again: list[int]
    refused: dict[int, str]  # with the reason
    trouble: str  # why some have to be sent again
    blocked: str  # why none of some can be taken before somebody changes something; "" if there are none


class NotTheProtocol(Exception):  # noqa: N818
    """The answer is not what the bulk API gives; the message says what it is."""


_decode = msgspec.json.Decoder(_Answer).decode


def judge(body: bytes, ids: Sequence[str] | None, count: int) -> Verdict:
    """Judge the answer with status 200 to a request of `count` events, whose ids were given, or left to the server.

    Raises NotTheProtocol.
    """
    try:
        items = [each.create for each in _decode(body).items]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotTheProtocol(f"{error}; it begins with {shown(body[:100].decode('utf-8', 'replace'))!r}") from None
    if len(items) != count:
        raise NotTheProtocol(f"it has {len(items)} items for {count} events")
    if ids is not None and [item.id for item in items] != list(ids):
        raise NotTheProtocol("its items are for other events, or in another order")
    if [(item.status, item.error) for item in items].count((201, None)) == count:  # nearly always
        return Verdict(count, 0, [], {}, "", "")
    return _sort(items, has_ids=ids is not None)


def _sort(items: Sequence[Item], *, has_ids: bool) -> Verdict:
    taken = present = 0
    again: list[int] = []
    refused: dict[int, str] = {}
    trouble = blocked = ""
    for place, item in enumerate(items):
        if item.status in (200, 201) and item.error is None:
            taken += 1
        elif item.status == 409 and has_ids:
            present += 1
        elif item.status == 429 or item.status >= 500 or _type(item) in _LATER:
            again.append(place)
            trouble = trouble or _text(item)
        elif hint := _hint(item):
            again.append(place)
            blocked = blocked or f"{_text(item)}; {hint}"
        elif item.status >= 400:
            refused[place] = _text(item)
        else:
            raise NotTheProtocol(f"an item has the status {item.status}")
    return Verdict(taken, present, again, refused, trouble, blocked)


def failure(status: int, body: bytes) -> str:
    """Say why a request as a whole was not taken, and what to do."""
    try:
        error = msgspec.json.decode(body, type=dict[str, Any])["error"]
        said = error if isinstance(error, str) else msgspec.convert(error, Error).text()
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        said = shown(body.decode("utf-8", "replace")).strip()
    hint = _HINTS.get(status) or ("is this the address of the cluster?" if status < 400 else "")
    return "; ".join(filter(None, (f"status {status}: {said}" if said else f"status {status}", hint)))


def shown(text: str) -> str:
    """Give the beginning of what a server says, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _hint(item: Item) -> str:
    """Say what to do where no event is at fault; nothing where it is."""
    if item.status in _HINTS:
        return _HINTS[item.status]
    if not isinstance(item.error, Error):
        return ""
    if item.error.type == "index_closed_exception":
        return "open the index, or send such events elsewhere"
    reasons = [cause.reason or "" for cause in (item.error, item.error.caused_by) if cause is not None]
    return next((hint for words, hint in _NOT_THE_EVENT.items() if any(map(words.fullmatch, reasons))), "")


def _type(item: Item) -> str:
    return item.error.type if isinstance(item.error, Error) else ""


def _text(item: Item) -> str:
    said = item.error.text() if isinstance(item.error, Error) else shown(item.error or "no reason given")
    return f"{said} (status {item.status}, index {shown(item.index or 'unknown')})"
