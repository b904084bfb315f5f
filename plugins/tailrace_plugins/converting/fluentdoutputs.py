"""fluentd's outputs `file`, `forest`, `stdout` and `null`, as sinks of tailrace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tailrace import TimeSlicer, parse_duration
from tailrace_plugins.converting.fluentdfilters import accessor, tag_or_host
from tailrace_plugins.converting.fluentdparsing import Param, Section
from tailrace_plugins.converting.fluentdsources import NEEDLESS, is_true, spare
from tailrace_plugins.converting.outcome import NewStage, Outcome, Untranslatable, no_sink
from tailrace_plugins.converting.tagflow import Flow
from tailrace_plugins.converting.texts import fill, place, timed

_BUFFER: Final = "there is no buffer: after a crash, what was not committed is read again from its source"
_RETRY: Final = "what cannot be written is tried again for as long as it takes, and nothing is read meanwhile"
_FILE: Final = {
    "append": "files are always appended to",
    "recompress": "events are compressed once",
    "buffer_path": _BUFFER,
    "buffer_type": _BUFFER,
    "buffer_chunk_limit": _BUFFER,
    "buffer_queue_limit": _BUFFER,
    "buffer_queue_full_action": _BUFFER,
    "flush_interval": _BUFFER,
    "flush_at_shutdown": _BUFFER,
    "try_flush_interval": _BUFFER,
    "queued_chunk_flush_interval": _BUFFER,
    "time_slice_wait": "a late event goes to the slice of its time, however late it is",
    "num_threads": "a commit writes and syncs many files at once",
    "retry_limit": _RETRY,
    "retry_wait": _RETRY,
    "max_retry_wait": _RETRY,
    "disable_retry_limit": _RETRY,
    "slow_flush_log_threshold": "/metrics says how long commits take",
}
_FOREST: Final = {"escape_tag_separator": "dots in tags stay dots"}
_FORMAT: Final = {
    "time_format": "the time is written as RFC 3339",
    "time_type": "the time is written as RFC 3339",
    "time_as_epoch": "the time is written as RFC 3339",
    "keep_time_key": "no field is taken out of the events",
    "add_newline": "every event ends with a newline",
    "json_parser": "lines pass as the bytes that came",
    "newline": "every event ends with a newline",
    "delimiter": "there is nothing before the event",
    "output_type": "lines pass as the bytes that came",
    "output_time": "there is nothing before the event",
    "output_tag": "there is nothing before the event",
    "localtime": "the time is written in UTC",
    "utc": "the time is written in UTC",
}
_DAY: Final = 86_400


def translate(section: Section, flow: Flow, time_fields: list[str], outcome: Outcome) -> NewStage:
    """Translate a terminal `<match>` or `<store>`. Raises Untranslatable."""
    section.seen = True
    kind = section.take("@type", "type")
    name = kind.text if kind else ""
    if name == "forest":
        stage = _forest(section, flow, time_fields, outcome)
    elif name == "file":
        stage = _file([section], flow, time_fields, outcome, 0)
    elif name in ("stdout", "null"):
        stage = NewStage({"type": name})
        for child in section.children("format"):
            if (form := child.take("@type")) is not None:
                outcome.spare(form, "events are written as the bytes that came")
        if name == "stdout" and not flow.prefix:
            stage.options["tag"] = True
        spare(section, {**NEEDLESS, **_FILE}, outcome)
    else:
        raise Untranslatable(no_sink(name or "one without @type", translated="file, stdout and null"))
    return stage


def _forest(section: Section, flow: Flow, time_fields: list[str], outcome: Outcome) -> NewStage:
    subtype = section.take("subtype")
    if subtype is None or subtype.text != "file":
        raise Untranslatable(f"forest makes {subtype.text if subtype else 'nothing'} of each tag; only file is known")
    removed = section.take("remove_prefix")
    cut = flow.without(removed.text) if removed is not None else 0
    outcome.note(
        section,
        "forest, which its author gave up, makes an output of each tag; here one sink makes a file of each",
    )
    stage = _file(section.children("template"), flow, time_fields, outcome, cut)
    spare(section, {**NEEDLESS, **_FOREST}, outcome)
    return stage


def _file(places: list[Section], flow: Flow, time_fields: list[str], outcome: Outcome, cut: int) -> NewStage:
    buffers = [child for section in places for child in section.children("buffer")]
    path = _take(places, "path")
    if path is None or path.ruby:
        raise Untranslatable("its path is missing, or has Ruby in it")
    zone, times = _times(places, buffers, path, outcome)
    packed = _suffix(_take(places, "compress"), outcome)
    template = _with_times(path, places, times, packed, outcome)

    def value(name: str) -> str:
        if name.partition("[")[0] in ("tag", "tag_parts", "tag_prefix", "tag_suffix", "hostname"):
            text = tag_or_host(name, flow, outcome, cut)
            if name.startswith(("tag[", "tag_parts[")) and ":" in text:
                outcome.note(path, f"{text} for ${{{name}}}: else a value with dots would be taken for another one")
            return text
        if name == "chunk_id":
            raise Untranslatable("${chunk_id} has no counterpart, for there are no chunks")
        return place(accessor(name))

    text = template.replace("__TAG__", "${tag}").replace("__HOSTNAME__", "${hostname}")
    stage = NewStage({"type": "file", "path": fill(text, timed, value)})
    if not packed and template.endswith((".gz", ".zst")):
        stage.options["compression"] = "none"
    if zone:
        stage.options["timezone"] = zone
    if time_fields:
        stage.options["time_fields"] = list(time_fields)
    _formats(places, stage, flow, outcome)
    for section in places:
        spare(section, {**NEEDLESS, **_FILE}, outcome)
        for secondary in section.children("secondary"):
            outcome.spare(secondary, _RETRY)
            secondary.see_all()
    for buffer in buffers:
        outcome.spare(buffer, _BUFFER)
        buffer.see_all()
    return stage


def _suffix(compress: Param | None, outcome: Outcome) -> str:
    """Give what a compressed file's name ends with."""
    how = compress.text if compress else "text"
    suffix = {"gz": ".gz", "gzip": ".gz", "zstd": ".zst", "text": ""}.get(how)
    if suffix is None and compress is not None:
        outcome.fail(compress, f"there is no compression like {how}; there are gzip and zstd")
    return suffix or ""


def _take(places: list[Section], *names: str) -> Param | None:
    return next((param for place in places if (param := place.take(*names))), None)


def _times(places: list[Section], buffers: list[Section], path: Param, outcome: Outcome) -> tuple[str, str]:
    """Give the time zone, and the directives that fluentd puts into a path that has none."""
    keys = [each.strip() for buffer in buffers for each in buffer.argument.split(",")]
    timekey = _take(buffers, "timekey")
    slices = _take(places, "time_slice_format")
    everywhere = [*places, *buffers]
    utc, zone = _take(everywhere, "timekey_use_utc", "utc"), _take(everywhere, "timekey_zone", "timezone")
    local = _take(everywhere, "localtime")
    _take(buffers, "timekey_wait")
    times = slices.text if slices else ""
    if not slices and (not buffers or "time" in keys):
        try:
            seconds = parse_duration(timekey.text) if timekey else _DAY
        except ValueError as error:
            raise Untranslatable(f"`timekey`: {error}") from None
        bounds = ((60, "%Y%m%d%H%M%S"), (3600, "%Y%m%d%H%M"), (_DAY, "%Y%m%d%H"))
        times = next((made for bound, made in bounds if seconds < bound), "%Y%m%d")
        if timekey is not None:
            outcome.spare(timekey, "the finest part of the time in the path is the length of a slice")
    if ("%" in path.text or times) and zone is None and not is_true(utc):
        outcome.note(
            local or path,
            "fluentd cuts slices by the local time at which it collects; these are cut by the events' own time, "
            "in UTC (`timezone` says otherwise)",
        )
    return (_zone(zone.text) if zone else ""), times


def _zone(text: str) -> str:
    """Write `Asia/Tokyo` or `+09:00` as a time zone's name."""
    digits = text.replace(":", "")
    if digits in ("Z", "+0000", "-0000"):
        return "UTC"
    if digits[:1] in "+-" and digits[1:].isdecimal() and digits.endswith("00") and len(digits) == 5:
        return f"Etc/GMT{'-' if digits[0] == '+' else '+'}{int(digits[1:3])}"
    try:
        TimeSlicer("", text)
    except ValueError as error:
        raise Untranslatable(str(error)) from None
    return text


def _with_times(path: Param, places: list[Section], times: str, packed: str, outcome: Outcome) -> str:
    """Give the path as fluentd puts it together, without the number that keeps it from overwriting a file."""
    adds, given = _take(places, "add_path_suffix"), _take(places, "path_suffix")
    suffix = (given.text if given else ".log") if adds is None or is_true(adds) else ""
    outcome.note(path, "fluentd adds _0, _1, … where a file is there already; here a slice is one file")
    if "*" in path.text:
        if not times:
            raise Untranslatable("the path has a * for a time, and `buffer` does not name `time`")
        return path.text.replace("*", times) + packed
    if times and not any(f"%{letter}" in path.text for letter in "YmdHMS"):
        return f"{path.text}.{times}{suffix}{packed}"
    return path.text + suffix + packed


def _formats(places: list[Section], stage: NewStage, flow: Flow, outcome: Outcome) -> None:
    """Look at how lines are written, and at what is put into events."""
    formats = [child for section in places for child in section.children("format")]
    injects = [child for section in places for child in section.children("inject")]
    form = _take(formats, "@type") or _take(places, "format")
    if form is None or form.text != "json":
        outcome.fail(
            form or places[0],
            f"lines are not written as {form.text if form else 'time, tag and event (out_file)'}: they are the events",
        )
    else:
        outcome.spare(form, "lines are written as the bytes that came")
    for key, tag_key in _injected(places, injects, outcome):
        if tag_key is not None:
            if flow.prefix:
                outcome.fail(tag_key, "tags have another first part here, which tells events apart")
            else:
                stage.options["include_tag_key"] = tag_key.text or "tag"
        elif key is not None:
            name = key.text if key.key == "time_key" and key.text else "time"
            if name == flow.time_key:
                outcome.spare(
                    key,
                    f"fluentd takes `{name}` out of an event and puts it back here; events stay as they are",
                )
            else:
                stage.options["include_time_key"] = name
    for section in (*places, *formats, *injects):
        spare(section, {**NEEDLESS, **_FORMAT}, outcome)


def _injected(
    places: list[Section], injects: list[Section], outcome: Outcome
) -> Iterator[tuple[Param | None, Param | None]]:
    """Give the parameters that put the time, or the tag, into events."""
    for key, asked in (("time_key", "include_time_key"), ("tag_key", "include_tag_key")):
        given = _take(injects, key)
        old, wanted = _take(places, key), _take(places, asked)
        if old is not None and not is_true(wanted):
            outcome.spare(old, "nothing is put into events")
        if given is None and is_true(wanted):
            given = old or wanted
            if given is wanted and wanted is not None:
                given = Param(wanted.key, "", wanted.place)
        if given is not None:
            yield (given, None) if key == "time_key" else (None, given)
