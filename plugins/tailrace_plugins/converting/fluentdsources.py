"""fluentd's sources `tail` and `http`, as those of tailrace."""

from __future__ import annotations

import contextlib
import json
from typing import Final, NamedTuple

from tailrace import parse_field
from tailrace.auditevent import has_field
from tailrace_plugins.converting.fluentdparsing import Param, Section
from tailrace_plugins.converting.listening import listen
from tailrace_plugins.converting.outcome import NewStage, Outcome, Untranslatable
from tailrace_plugins.converting.tagflow import Flow
from tailrace_plugins.converting.texts import plain

_OWN_STATE: Final = "positions are part of the checkpoint in the state directory; --import-positions takes them over"
_LOOKS: Final = "how files are looked for and watched needs no setting here"
_READS: Final = "what is read at once needs no setting here; what waits for the sinks is bounded"
_PROCESS: Final = "it is about fluentd's own process"
_LINES: Final = "lines pass as the bytes that came, so there is nothing to parse them with"

_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

NEEDLESS: Final = {
    "@id": "pipelines have names instead",
    "@log_level": _PROCESS,
    "log_level": _PROCESS,
}
"""Parameters that any plugin may have."""

_TAIL: Final = {
    "pos_file": _OWN_STATE,
    "pos_file_compaction_interval": _OWN_STATE,
    "refresh_interval": _LOOKS,
    "skip_refresh_on_startup": _LOOKS,
    "enable_watch_timer": _LOOKS,
    "enable_stat_watcher": _LOOKS,
    "follow_inodes": "a file is known by its inode and its content, whatever its name",
    "open_on_every_update": _LOOKS,
    "ignore_repeated_permission_error": "what cannot be read is said once",
    "rotate_wait": "a rotated file is read to its end, however long that takes",
    "read_lines_limit": _READS,
    "emit_unmatched_lines": "a line that is no JSON goes to the dead letter if a stage has to read it, and else passes",
    "path_timezone": "dates in the path stand for any date",
}
_PARSE: Final = {
    "time_format": "times of audit events are RFC 3339",
    "time_type": "times of audit events are RFC 3339",
    "keep_time_key": "no field is taken out of the events",
    "json_parser": _LINES,
    "stream_buffer_size": _LINES,
    "estimate_current_event": "an event without a time goes to a slice _unparsed of its own",
    "utc": "times of audit events say that they are UTC",
    "localtime": "times of audit events say that they are UTC",
    "timezone": "times of audit events say that they are UTC",
}
_HTTP: Final = {
    "keepalive_timeout": "connections are kept for as long as they behave",
    "backlog": "how many connections may wait needs no setting here",
    "dump_error_log": "what is refused is logged",
    "respond_with_empty_img": "an answer is text",
    "use_204_response": "an answer is 200",
}


class FoundSource(NamedTuple):
    """A source, the events that it gives, and where they go first."""

    stage: NewStage
    flow: Flow
    label: str
    time_fields: list[str]  # of the events, if not those of audit events


def translate(section: Section, outcome: Outcome) -> FoundSource:
    """Translate a `<source>`. Raises Untranslatable."""
    section.seen = True
    kind = section.take("@type", "type")
    label = section.take("@label")
    if kind is None or kind.text not in ("tail", "http"):
        what = "it has no @type" if kind is None else f"there is no source like {kind.text}"
        raise Untranslatable(f"{what}; there are tail and webhook (for http)")
    found = _tail(section, outcome) if kind.text == "tail" else _http(section, outcome)
    spare(section, {**NEEDLESS, **(_TAIL if kind.text == "tail" else _HTTP)}, outcome)
    return found._replace(label=label.text if label else "")


def spare(section: Section, needless: dict[str, str], outcome: Outcome) -> None:
    """Say of parameters why they are not needed."""
    for param in section.params:
        if not param.seen and param.key in needless:
            outcome.spare(param, needless[param.key])


def listed(param: Param) -> list[str]:
    """Give the members of a list: JSON, or with commas between them."""
    if param.text.startswith("["):
        with contextlib.suppress(ValueError):  # it was in quotes, and only begins like a list
            return [str(each) for each in json.loads(param.text)]
    return [each.strip() for each in param.text.split(",") if each.strip()]


def in_bytes(param: Param) -> int:
    """Read a size like `8m`. Raises Untranslatable."""
    number, unit = param.text[:-1], param.text[-1:].lower()
    if unit.isdigit():
        number, unit = param.text, ""
    if not number.isdecimal() or unit not in _UNITS:
        raise Untranslatable(f"`{param.key}` of line {param.place.line} is no size")
    return int(number) * _UNITS[unit]


def is_true(param: Param | None) -> bool:
    """Tell whether a parameter says yes; one without a value does."""
    return param is not None and param.text.lower() in ("true", "yes", "")


def _tail(section: Section, outcome: Outcome) -> FoundSource:
    path = section.take("path")
    if path is None or path.ruby or not listed(path):
        raise Untranslatable("its path is missing, or has Ruby in it")
    options = NewStage({"type": "tail", "paths": [_any_date(each, path, outcome) for each in listed(path)]})
    excluded = section.take("exclude_path")
    if excluded is not None:
        options.options["exclude"] = [_any_date(each, excluded, outcome) for each in listed(excluded)]
    tag = _tag(section, outcome)
    options.options["tag"] = plain(tag)
    head = section.take("read_from_head")
    if head is not None and not is_true(head):
        options.options["read_from"] = "end"
    else:
        outcome.note(
            head or path,
            "at its first start fluentd reads the live file alone, and that from its end unless read_from_head is "
            "true; this reads all there is, rotated files too (`read_from` says otherwise)",
        )
    longest = section.take("max_line_size")
    if longest is not None:
        options.options["max_line_bytes"] = in_bytes(longest)
    time_key, time_fields = _parser(section, outcome)
    return FoundSource(options, Flow((tuple(tag.split(".")),), time_key=time_key), "", time_fields)


def _any_date(path: str, param: Param, outcome: Outcome) -> str:
    """Write a path in which fluentd puts today's date with a `*` in its place."""
    if "%" not in path:
        return plain(path)
    outcome.note(param, "fluentd puts today's date into it; here a * stands for any date, and all are read")
    made = ""
    while path:
        text, sign, path = path.partition("%")
        made += text
        if sign:
            made += "" if made.endswith("*") else "*"
            path = path[1:]
    return plain(made)


def _tag(section: Section, outcome: Outcome) -> str:
    tag = section.take("tag")
    if tag is None or tag.ruby or not tag.text:
        raise Untranslatable("its tag is missing, or has Ruby in it")
    if "*" in tag.text:
        outcome.fail(
            tag, "the path cannot be part of a tag, so the * is left out; give each path a pipeline of its own"
        )
    return ".".join(part for part in tag.text.split(".") if part and part != "*") or "log"


def _parser(section: Section, outcome: Outcome) -> tuple[str, list[str]]:
    """Look at how lines are parsed; give the field with the time, and where the sinks find it."""
    places = [section, *section.children("parse")]
    form, time_key, keep = (
        next((param for place in places if (param := place.take(*names))), None)
        for names in (("format",), ("time_key",), ("keep_time_key",))
    )
    for place in places[1:]:
        form = place.take("@type") or form
    if form is None or form.text not in ("json", "json5", "none"):
        said = "none" if form is None else form.text
        outcome.fail(form or section, f"lines are not parsed as {said}: they are taken for JSON, as they are")
    elif form.text == "none":
        outcome.note(form, "a line is not put into a field `message`: it is the event")
    else:
        outcome.spare(form, _LINES)
    for place in places:
        spare(place, _PARSE, outcome)
    key = time_key.text if time_key else "time"
    if keep is not None:
        outcome.spare(keep, _PARSE["keep_time_key"])
    taken = "" if is_true(keep) and keep is not None else key
    try:
        is_audit = has_field(parse_field(key))
    except ValueError:
        is_audit = False
    if not is_audit:
        outcome.note(
            time_key or form or section,
            f"audit events have no field `{key}`, so fluentd takes the time at which it reads them; "
            "here it is the event's own (stageTimestamp)",
        )
        return taken, []
    assert time_key is not None
    outcome.note(time_key, "fluentd takes this field out of the events, unless keep_time_key is true; here it stays")
    return taken, [] if key == "stageTimestamp" else [key]


def _http(section: Section, outcome: Outcome) -> FoundSource:
    port, bind = section.take("port"), section.take("bind")
    stage = NewStage({"type": "webhook"})
    for transport in section.children("transport"):
        _transport(transport, stage, outcome)
    listen(stage, bind.text if bind else "0.0.0.0", port.text if port else "9880", port or section, outcome)  # noqa: S104
    stage.options["tag"] = "{path[0]}"
    outcome.note(
        section,
        "fluentd makes a tag of several parts of the URL's path; this one is of the first part alone ({path[0]}), "
        "and events are answered for when they are on disk",
    )
    limit = section.take("body_size_limit")
    if limit is not None:
        stage.options["max_body_bytes"] = in_bytes(limit)
    parses = any(param.key == "format" for param in section.params) or section.children("parse")
    _, time_fields = _parser(section, outcome) if parses else ("", [])
    return FoundSource(stage, Flow(((None,),)), "", time_fields)


def _transport(section: Section, stage: NewStage, outcome: Outcome) -> None:
    if section.argument != "tls":
        return
    for theirs, ours in (("cert_path", "tls_cert"), ("private_key_path", "tls_key"), ("ca_path", "client_ca")):
        param = section.take(theirs)
        if param is not None:
            stage.options[ours] = plain(param.text)
    verify = section.take("client_cert_auth")
    if not is_true(verify) or verify is None:
        stage.options.pop("client_ca", None)
    for param in section.params:
        if not param.seen:
            outcome.fail(param, "it has no counterpart in the source webhook")
