"""The filter `rewrite_tag`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tailrace import Batch, Filter, Memo, OptionError, Template, TemplateError, parse_field, value_text

_REFERENCE = re.compile(r"\$(?:([0-9])|\{([^{}]*)\})")


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new tag, and which events get it."""

    tag: Annotated[str, Meta(description="The new tag, a template; `$1` and `${name}` are groups of the pattern.")]
    field: Annotated[str | None, Meta(description="The field in whose text the pattern is searched.")] = None
    pattern: Annotated[str | None, Meta(description="A regular expression; without one, every event matches.")] = None
    invert: Annotated[bool, Meta(description="Take the events that do not match.")] = False


class RewriteTag(Filter, kw_only=True):
    """Give events another tag, as fluentd's rewrite_tag_filter does.

        - type: rewrite_tag
          tag: audit.{objectRef.namespace}

        - type: rewrite_tag
          rules:
            - {field: user.username, pattern: '^system:node:(.+)', tag: node.$1}
            - {field: user.username, pattern: '^system:', invert: true, tag: 'people.{tag[1:]}'}

    The first rule that matches gives the tag; an event that none matches keeps its own. What fills the
    places of a template is encoded as in file names: a missing namespace gives `audit._none`. A missing
    field matches no pattern; with `invert` it is taken for empty text, as in fluentd. Values that are not
    text are searched in their compact JSON.

    A value with dots makes several parts of a tag, and whoever sends a request may choose one (a refused request
    for the namespace `team-a.x` is audited too). So take such a value back with `{tag[1:]}` or by its field, not
    with `{tag[1]}`. In a config file `${name}` is the environment; write a named group as `$${name}`.
    """

    tag: Annotated[str | None, Meta(description="The new tag: a template, as in `rules`. Either this or `rules`.")] = (
        None
    )
    field: Annotated[str | None, Meta(description="The field in whose text the pattern is searched.")] = None
    pattern: Annotated[str | None, Meta(description="A regular expression; without one, every event matches.")] = None
    invert: Annotated[bool, Meta(description="Take the events that do not match.")] = False
    rules: Annotated[list[Rule], Meta(description="Several rules, of which the first that matches counts.")] = (
        msgspec.field(default_factory=list)
    )

    def __post_init__(self) -> None:
        if self.tag is not None:
            if self.rules:
                raise OptionError("rules", "there is a tag as well; make it the last rule, or leave it out")
            self._rules = [_Rule(Rule(tag=self.tag, field=self.field, pattern=self.pattern, invert=self.invert))]
        elif not self.rules:
            raise OptionError("tag", "there is neither a tag nor rules; give one of them")
        elif self.field is not None or self.pattern is not None or self.invert:
            raise OptionError("rules", "field, pattern and invert belong inside each rule")
        else:
            self._rules = []
            for number, rule in enumerate(self.rules, 1):
                try:
                    self._rules.append(_Rule(rule))
                except OptionError as error:
                    raise OptionError("rules", f"rule {number}, {error.option}: {error}") from None
        self._fields = list(dict.fromkeys(field for rule in self._rules for field in rule.fields))
        self._memo = Memo(self._new_tag)

    def reads(self) -> Iterable[str]:
        """Name the fields of all templates and patterns."""
        return self._fields

    def apply(self, batch: Batch) -> None:
        """Set the tags."""
        columns: list[Sequence[Any]] = [batch.tags, *(batch[field] for field in self._fields)]
        batch.tags = self._memo.map(columns, len(batch))

    def _new_tag(self, values: Sequence[Any]) -> str:
        tag: str = values[0]
        fields = dict(zip(self._fields, values[1:], strict=True))
        for rule in self._rules:
            new_tag = rule.apply(tag, fields)
            if new_tag is not None:
                return new_tag
        return tag


class _Rule:
    """A rule made ready. In its template a group of the pattern is a field whose name starts with `$`."""

    def __init__(self, rule: Rule) -> None:
        self._invert = rule.invert
        self._field = rule.field
        self._regex = _compile(rule)
        references = {match[0]: match[1] or match[2] for match in _REFERENCE.finditer(rule.tag)}
        self._groups = {
            f"${name}": _group(rule, self._regex, reference, name) for reference, name in references.items()
        }
        try:
            # parsed once with stand-ins of the same length, so that an error names the right column
            Template(_REFERENCE.sub(lambda match: "x" * len(match[0]), rule.tag))
            self._template = Template(_REFERENCE.sub(lambda match: f"{{${match[1] or match[2]}}}", rule.tag))
        except TemplateError as error:
            raise OptionError("tag", str(error)) from None
        self.fields = [field for field in self._template.fields if field not in self._groups]
        if self._field is not None:
            self.fields.append(self._field)

    def apply(self, tag: str, fields: Mapping[str, Any]) -> str | None:
        """Give the new tag of an event, or None if the rule is not for it."""
        groups: dict[str, Any] = {}
        if self._regex is not None and self._field is not None:
            value = fields[self._field]
            if value is None and not self._invert:
                return None
            match = self._regex.search(value_text(value))
            if (match is None) != self._invert:
                return None
            if match is not None:
                groups = {name: match[group] for name, group in self._groups.items()}
        values = [groups[name] if name in groups else fields[name] for name in self._template.fields]
        return self._template.render([tag, *values] if self._template.uses_tag else values)


def _compile(rule: Rule) -> re.Pattern[str] | None:
    if rule.field is None and rule.pattern is None:
        if rule.invert:
            raise OptionError("invert", "there is no pattern to invert; give field and pattern")
        return None
    if rule.field is None or rule.pattern is None:
        raise OptionError("pattern", "field and pattern go together; give both or none")
    try:
        parse_field(rule.field)
    except ValueError as error:
        raise OptionError("field", str(error)) from None
    try:
        return re.compile(rule.pattern)
    except re.error as error:
        raise OptionError("pattern", f"not a regular expression: {error}") from None


def _group(rule: Rule, regex: re.Pattern[str] | None, reference: str, name: str) -> int:
    """Find the number of the group that a reference in the tag names."""
    if regex is not None and not rule.invert:
        if name.isdecimal() and 1 <= int(name) <= regex.groups:
            return int(name)
        if name in regex.groupindex:
            return regex.groupindex[name]
    why = "nothing has matched where invert is true" if rule.invert else "the pattern has no such group"
    raise OptionError("tag", f"{reference}: {why}; for a field or the tag leave out the $: {{objectRef.name}}, {{tag}}")
