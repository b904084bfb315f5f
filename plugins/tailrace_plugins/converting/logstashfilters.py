"""logstash's filters, as those of tailrace, and where in logstash's events the audit event lies.

logstash wraps what it receives: after the documentation's `split` the audit event is what lies under `items`, and
beside it are headers, host and what else there was of the list. Here an event is the event. So a name is looked up
under the place where the event lies at that moment, and what lies beside it is not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tailrace.document import Plain
from tailrace_plugins.converting.logstashinputs import NEEDLESS, spare
from tailrace_plugins.converting.logstashparsing import Attribute, Plugin, selector
from tailrace_plugins.converting.logstashtexts import template
from tailrace_plugins.converting.outcome import NewStage, Outcome, Untranslatable, is_secret
from tailrace_plugins.converting.texts import field_name, field_value

_ADDED: Final = frozenset(("@timestamp", "@version", "@metadata", "host", "headers", "message", "path", "log", "event"))
_MUTATE: Final = (
    *("coerce", "rename", "update", "replace", "convert", "gsub", "uppercase", "capitalize", "lowercase", "strip"),
    *("split", "join", "merge", "copy"),
)
"""The order in which mutate does what it is told."""

Path = tuple[str, ...]


class Events:
    """What is known of the events of one input, at one place of the config."""

    def __init__(self, is_received: bool, added: Iterable[str]) -> None:
        self.is_received = is_received  # by HTTP
        self.root: Path = ()  # where the audit event lies
        self.made: set[str] = set(added)  # fields that are there besides
        self.time_fields: list[str] = []

    def resolve(self, path: Path) -> Path:
        """Give the field that a name means. Raises Untranslatable."""
        named = "".join(f"[{key}]" for key in path)
        if path[0] in self.made:
            return path
        if self.root and path[: len(self.root)] == self.root and len(path) > len(self.root):
            return path[len(self.root) :]
        if self.root or path[0] in _ADDED:
            raise Untranslatable(f"{named} is no field of the audit event, but of what logstash puts around it")
        return path


def translate(plugin: Plugin, events: Events, outcome: Outcome) -> list[NewStage]:
    """Translate a filter; `events` is brought to what is true behind it. Raises Untranslatable."""
    plugin.seen = True
    if plugin.name == "split":
        stages = _split(plugin, events, outcome)
    elif plugin.name == "mutate":
        stages = _mutate(plugin, events, outcome)
    elif plugin.name == "date":
        stages = _date(plugin, events, outcome)
    elif plugin.name == "json":
        stages = _json(plugin, outcome)
    elif plugin.name == "drop":
        if plugin.take("percentage") is not None:
            raise Untranslatable("`percentage` goes by chance; the filter `sample` keeps a share, chosen by a field")
        stages = [NewStage({"type": "drop", "when": "true"})]
    else:
        raise Untranslatable(f"there is no filter like {plugin.name}; there are split, mutate, date, json and drop")
    stages += _common(plugin, events, outcome)
    spare(plugin, NEEDLESS, outcome)
    return stages


def _split(plugin: Plugin, events: Events, outcome: Outcome) -> list[NewStage]:
    given, target = plugin.take("field"), plugin.take("target")
    field = selector(given.text()) if given else ("message",)
    if not events.is_received or events.root or field != ("items",):
        raise Untranslatable("only the `items` of a list that is received by http are split, which the source does")
    events.root = selector(target.text()) if target else field
    outcome.note(given or plugin, "the source gives the events of a list one by one")
    return []


def _json(plugin: Plugin, outcome: Outcome) -> list[NewStage]:
    source, target = plugin.take("source"), plugin.take("target")
    if source is None or source.text() not in ("message", "[message]") or target is not None:
        raise Untranslatable("only a `message` that is the event itself is taken for JSON")
    outcome.spare(source, "events are JSON, and their fields are at hand")
    return []


def _date(plugin: Plugin, events: Events, outcome: Outcome) -> list[NewStage]:
    match, target = plugin.take("match"), plugin.take("target")
    texts = match.texts() if match else []
    if match is None or len(texts) < 2 or (target is not None and target.text() != "@timestamp"):
        raise Untranslatable("a date is read for @timestamp alone, from a field in a format")
    if set(texts[1:]) != {"ISO8601"}:
        raise Untranslatable("times of audit events are RFC 3339, which is ISO8601; no other format is read")
    events.time_fields = [field_value(events.resolve(selector(texts[0])))]
    outcome.spare(match, "sinks read the time in the event (`time_fields`)")
    for name in ("timezone", "locale", "tag_on_failure"):
        option = plugin.take(name)
        if option is not None:
            outcome.spare(option, "times of audit events say their offset; one that has none goes to a slice _unparsed")
    return []


def _mutate(plugin: Plugin, events: Events, outcome: Outcome) -> list[NewStage]:
    stages: list[NewStage] = []
    for name in _MUTATE:
        option = plugin.take(name)
        if option is None:
            continue
        try:
            if name == "rename":
                stages += _rename(option, events, outcome)
            elif name == "replace":
                stages += _set(option, events, outcome)
            elif name == "copy":
                stages += _copy(option, events)
            else:
                raise Untranslatable(f"`{name}` has no counterpart; rename, replace and copy have")
        except Untranslatable as error:
            outcome.fail(option, str(error))
    return stages


def _rename(option: Attribute, events: Events, outcome: Outcome) -> list[NewStage]:
    keys: dict[str, Plain] = {}
    for old_name, new_name in option.pairs().items():
        old, new = selector(old_name), selector(str(new_name))
        if events.root and old == events.root:
            outcome.spare(option, "an event here is the event itself, whatever the place where logstash has it")
            events.root = new
            continue
        source = events.resolve(old)
        target = new[len(events.root) :] if new[: len(events.root)] == events.root else new
        keys[field_name(source)] = field_value(target)
        if target == new:
            events.made.add(new[0])
    return [NewStage({"type": "rename_keys", "keys": keys})] if keys else []


def _copy(option: Attribute, events: Events) -> list[NewStage]:
    stages = []
    for old, new in option.pairs().items():
        source, target = events.resolve(selector(old)), selector(str(new))
        stages.append(NewStage({"type": "extract", "field": field_value(source), "into": field_value(target)}))
        events.made.add(target[0])
    return stages


def _set(option: Attribute, events: Events, outcome: Outcome) -> list[NewStage]:
    fields: dict[str, Plain] = {}
    for name, value in option.pairs().items():
        path = selector(name)
        try:
            path = events.resolve(path)
        except Untranslatable:
            if path[0].startswith("@"):
                raise
        fields[field_name(path)] = _value(path[-1], value, option, events, outcome)
        events.made.add(path[0])
    return [NewStage({"type": "set", "fields": fields})] if fields else []


def _value(name: str, value: object, option: Attribute, events: Events, outcome: Outcome) -> Plain:
    if not isinstance(value, str):
        if isinstance(value, (int, float)):
            return value
        raise Untranslatable(f"the value of {name} is neither a text nor a number")
    if is_secret(name) and "{" not in value:
        variable = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
        outcome.variables[variable] = f"the value of `{name}` (line {option.place.line} of the old config)"
        outcome.note(option, f"`{name}` looks like a secret and is not copied: set the environment variable {variable}")
        return f"${{{variable}}}"
    if "%{" in value:
        outcome.note(option, f"where a field is missing `{name}` is shorter, and not with %{{…}} in it")
    return template(value, events.resolve, time=False)


def _common(plugin: Plugin, events: Events, outcome: Outcome) -> list[NewStage]:
    """Translate what any filter can do besides."""
    stages = add_fields(plugin, events, outcome)
    removed = plugin.take("remove_field")
    if removed is not None:
        keys: list[Plain] = []
        beside = []
        for text in removed.texts():
            try:
                path = events.resolve(selector(text))
            except Untranslatable:
                beside.append(text)
            else:
                keys.append(field_value(path))
        if keys:
            stages.append(NewStage({"type": "drop_keys", "keys": keys}))
        if beside:
            outcome.spare(removed, f"{', '.join(beside)}: no fields of the audit event, so there is nothing to remove")
    return stages


def add_fields(plugin: Plugin, events: Events, outcome: Outcome) -> list[NewStage]:
    """Translate `add_field`, which inputs have too."""
    added = plugin.take("add_field")
    if added is None:
        return []
    try:
        return _set(added, events, outcome)
    except Untranslatable as error:
        outcome.fail(added, str(error))
    return []
