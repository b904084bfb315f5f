"""The filter `truncate`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from tailrace import Batch, Filter
from tailrace_plugins.canonical import canonical_size, fits

_BODIES = ("requestObject", "responseObject")
_WITH_BODIES = ("Request", "RequestResponse")
_ANNOTATION = "audit.k8s.io/truncated"

_Event = dict[str, msgspec.Raw]
_open = msgspec.json.Decoder(_Event).decode
_text = msgspec.json.Decoder(str | None).decode
_texts = msgspec.json.Decoder(dict[str, str] | None).decode


class Truncate(Filter, kw_only=True):
    """Take the bodies off events that are too large, as the API server's `--audit-log-truncate-enabled` does.

        - type: truncate
          max_event_size: 102400

    An event of level Request or RequestResponse that is larger loses `requestObject` and `responseObject` and gets
    the annotation `audit.k8s.io/truncated: "true"` (unless it has that key already). One that is still too large, or
    is of a lower level, is rejected with its size, where the API server would drop it. An event that fits keeps its
    bytes.

    Sizes are those that the API server counts, of the event as it writes it, with a newline; so they do not depend
    on who wrote the event. A line that is no audit event counts as it is, and one that cannot be taken apart (a lone
    surrogate somewhere) is rejected if it is too large. `max_event_size` is the API server's
    `--audit-log-truncate-max-event-size` and `--audit-webhook-truncate-max-event-size`. Nothing corresponds to its
    `max-batch-size`: events that go to a file are not sent in batches.
    """

    max_event_size: Annotated[int, Meta(gt=0, description="Bytes that an event may have: `max-event-size`.")] = 102400

    def apply(self, batch: Batch) -> None:
        """Replace, or reject, those that are too large."""
        changed: dict[int, bytes] = {}
        for index, line in enumerate(batch.encoded()):
            if fits(line, self.max_event_size):
                continue
            shorter = _truncated(line)
            if shorter is None:
                size = canonical_size(line)
                batch.reject(index, f"too large: {size} bytes, and at most {self.max_event_size} may be")
            elif (size := canonical_size(shorter)) > self.max_event_size:
                batch.reject(
                    index,
                    f"too large: {canonical_size(line)} bytes, {size} without its bodies, and at most "
                    f"{self.max_event_size} may be",
                )
            else:
                changed[index] = shorter
        batch.replace(changed)


def _truncated(line: bytes) -> bytes | None:
    """Take the bodies off; None if the event is of a level that has none, or is no audit event."""
    try:
        event = _open(line)
        if "level" not in event or _text(event["level"]) not in _WITH_BODIES:
            return None
        annotations = (_texts(event["annotations"]) if "annotations" in event else None) or {}
    except (ValueError, RecursionError):
        return None
    for body in _BODIES:
        event.pop(body, None)
    annotations.setdefault(_ANNOTATION, "true")
    event["annotations"] = msgspec.Raw(msgspec.json.encode(annotations, order="sorted"))
    return msgspec.json.encode(event)
