"""One event, from bytes to bytes, with what is secret in it hidden."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tailrace_plugins.redaction.objects import QUOTATION, Objects, Rule
from tailrace_plugins.redaction.spelling import has_repeated_keys, respell
from tailrace_plugins.redaction.uri import Arguments, hide_arguments

_ADMISSION: Final = "patch.webhook.admission.k8s.io/"
_open = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode


def hide_secrets(line: bytes, objects: Objects, rule: Rule | None, arguments: Arguments | None) -> bytes:
    """Hide what is secret in an event; one in which nothing is comes back as the very same bytes.

    `rule` is that of what the request was for, `arguments` are those of its URI that are secret. Where a key is there
    twice, the first is taken away, for nobody has looked at it. Raises ValueError and RecursionError for what cannot
    be read.
    """
    event = _open(line)
    repeated = has_repeated_keys(line)
    is_patch = "verb" in event and _decode(event["verb"]) == "patch"
    parts: Mapping[str, Callable[[Any], Any]] = {
        "requestObject": lambda body: objects.body(body, rule, is_patch),
        "responseObject": lambda body: objects.body(body, rule),
        "requestURI": lambda uri: _uri(uri, objects, arguments),
        "responseStatus": lambda status: status if rule is None else _status(status, objects),
        "annotations": lambda annotations: _annotations(annotations, objects, rule),
    }
    changed: dict[str, bytes] = {}
    for name in event.keys() & parts:
        before = _decode(event[name])
        after = parts[name](before)
        if repeated:
            changed[name] = msgspec.json.encode(after)
        elif after is not before:
            changed[name] = respell(bytes(event[name]), before, after)
    if not changed:
        return line
    ending = line[len(line.rstrip()) :]
    return msgspec.json.encode(event | {name: msgspec.Raw(raw) for name, raw in changed.items()}) + ending


def _uri(uri: Any, objects: Objects, arguments: Arguments | None) -> Any:
    if arguments is None or not isinstance(uri, str):
        return uri
    return hide_arguments(uri, arguments, objects.hiding)


def _status(status: Any, objects: Objects) -> Any:
    message = status.get("message") if isinstance(status, dict) else None
    if not isinstance(message, str) or QUOTATION not in message:
        return status
    return {**status, "message": objects.message(message)}


def _annotations(annotations: Any, objects: Objects, rule: Rule | None) -> Any:
    if not isinstance(annotations, dict):
        return annotations
    hidden = {
        key: objects.admission_patch(text, rule)
        for key, text in annotations.items()
        if key.startswith(_ADMISSION) and isinstance(text, str)
    }
    same = all(text is annotations[key] for key, text in hidden.items())
    return annotations if same else {**annotations, **hidden}
