"""logstash's outputs `file` and `stdout`, as sinks of tailrace."""

from __future__ import annotations

from typing import Final

from tailrace_plugins.converting.logstashfilters import Events
from tailrace_plugins.converting.logstashinputs import NEEDLESS, spare
from tailrace_plugins.converting.logstashparsing import Attribute, Plugin
from tailrace_plugins.converting.logstashtexts import template
from tailrace_plugins.converting.outcome import NewStage, Outcome, Untranslatable, no_sink

_FILE: Final = {
    "create_if_deleted": "a file that somebody removes while it is written stops the pipeline and is named",
    "flush_interval": "a commit writes and syncs what there is, each second",
    "stale_cleanup_interval": "files are open only while they are written",
    "filename_failure": "no value leaves its place in a path, so there is no such failure",
    "workers": "`workers` of the pipeline is for several processes",
}


def translate(plugin: Plugin, events: Events, outcome: Outcome) -> NewStage:
    """Translate an output. Raises Untranslatable."""
    plugin.seen = True
    if plugin.name == "file":
        stage = _file(plugin, events, outcome)
    elif plugin.name == "stdout":
        stage = NewStage({"type": "stdout"})
        codec = plugin.take("codec")
        if codec is None or codec.text() == "rubydebug":
            outcome.note(codec or plugin, "events are written as JSON, one a line")
        else:
            _codec(codec, outcome)
    else:
        raise Untranslatable(no_sink(plugin.name, translated="file and stdout"))
    spare(plugin, {**NEEDLESS, **_FILE}, outcome)
    return stage


def _file(plugin: Plugin, events: Events, outcome: Outcome) -> NewStage:
    path = plugin.take("path")
    if path is None or not path.text():
        raise Untranslatable("its path is missing")
    text = template(path.text(), events.resolve, time=True)
    stage = NewStage({"type": "file", "path": text})
    outcome.note(
        path,
        "values in it are percent-encoded where a file name could not hold them; where a field is missing its name is "
        "_none, not %{…}",
    )
    if "%{+" in path.text() and not events.time_fields:
        outcome.note(path, "logstash puts in the time at which it receives an event; this is the event's own, in UTC")
    if events.time_fields:
        stage.options["time_fields"] = list(events.time_fields)
    zipped = plugin.take("gzip")
    packed = zipped is not None and zipped.is_true()
    if packed != text.endswith(".gz"):
        if packed:
            stage.options["compression"] = "gzip"
        elif text.endswith((".gz", ".zst")):
            stage.options["compression"] = "none"
    mode, behaviour = plugin.take("file_mode"), plugin.take("write_behavior")
    if mode is not None and set(mode.text()) <= set("01234567"):
        stage.options["mode"] = f"0{mode.text()}"
    elif mode is not None:
        outcome.fail(mode, "a mode has octal digits, like 0640")
    if behaviour is not None and behaviour.text() != "append":
        outcome.fail(behaviour, "files are appended to")
    codec = plugin.take("codec")
    if codec is not None:
        _codec(codec, outcome)
    outcome.note(
        codec or plugin,
        "lines are the audit events as they came, without what logstash puts around them and into them",
    )
    return stage


def _codec(codec: Attribute, outcome: Outcome) -> None:
    form = None
    for each in codec.value.attributes if isinstance(codec.value, Plugin) else ():
        if each.name == "format":
            form = each
        elif each.name == "charset" and each.text().upper() in ("UTF-8", "UTF8"):
            outcome.spare(each, "events are UTF-8")
        else:
            outcome.fail(each, f"the codec {codec.text()} has no such option here")
    if codec.text() in ("json", "json_lines") or (form is not None and form.text() == "%{message}"):
        outcome.spare(codec, "lines are the events as they came, in JSON")
    else:
        outcome.fail(codec, "lines are the events as they came, in JSON; there is no other form")
