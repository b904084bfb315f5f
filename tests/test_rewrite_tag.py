from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tailrace.batch import Batch
from tailrace.stage import OptionError
from tailrace_plugins.filters.rewrite_tag import RewriteTag, Rule

USERS = (
    b'{"user":{"username":"system:node:a"}}',
    b'{"user":{"username":"system:x"}}',
    b'{"user":{"username":"../jane"}}',
    b"{}",
    b'{"user":{"username":""}}',
)


def tags(lines: tuple[bytes, ...], stage: RewriteTag) -> list[str]:
    batch = Batch(list(lines), tag="audit")
    stage.apply(batch)
    assert batch.settle() == []
    assert batch.encoded() == list(lines)
    return batch.tags


def refused(option: str, words: str, **options: Any) -> None:
    with pytest.raises(OptionError) as caught:
        RewriteTag(**options)
    assert caught.value.option == option
    assert words in str(caught.value)


def test_rewrite_tag_gives_every_event_the_tag_of_the_template() -> None:
    result = tags(USERS, RewriteTag(tag="{tag}.{user.username}"))
    assert result == [
        "audit.system:node:a",
        "audit.system:x",
        "audit.%2E.%2Fjane",
        "audit._none",
        "audit._empty",
    ]


def test_rewrite_tag_takes_groups_from_the_pattern() -> None:
    stage = RewriteTag(
        field="user.username",
        pattern="^(?P<realm>system):(node:)?(.*)",
        tag="{tag}.${realm}.$1.$3.$2{user.groups}",
    )
    result = tags(USERS, stage)
    assert result == [
        "audit.system.system.a.node:_none",
        "audit.system.system.x._none_none",
        "audit",
        "audit",
        "audit",
    ]


def test_rewrite_tag_encodes_what_it_takes_from_events() -> None:
    result = tags(USERS, RewriteTag(field="user.username", pattern="^(.*)$", tag="u.$1"))
    assert result == ["u.system:node:a", "u.system:x", "u.%2E.%2Fjane", "audit", "u._empty"]


def test_rewrite_tag_uses_the_first_rule_that_matches() -> None:
    rules = [
        Rule(field="user.username", pattern="^system:node:(.+)", tag="node.$1"),
        Rule(field="user.username", pattern="^system:", tag="system"),
        Rule(field="user.username", pattern=".", tag="people.{user.username}"),
        Rule(tag="nobody"),
    ]
    result = tags(USERS, RewriteTag(rules=rules))
    assert result == ["node.a", "system", "people.%2E.%2Fjane", "nobody", "nobody"]


def test_rewrite_tag_can_take_the_events_that_do_not_match() -> None:
    result = tags(USERS, RewriteTag(field="user.username", pattern="^system:", invert=True, tag="o.{tag}"))
    assert result == ["audit", "audit", "o.audit", "o.audit", "o.audit"]


def test_rewrite_tag_searches_other_values_in_their_json() -> None:
    result = tags(
        (b'{"a":404}', b'{"a":["x",4]}', b'{"a":true}'),
        RewriteTag(field="a", pattern="^(4..|true)$", tag="is.$1"),
    )
    assert result == ["is.404", "audit", "is.true"]


def test_rewrite_tag_leaves_a_dollar_alone_that_names_nothing() -> None:
    assert tags((b"{}",), RewriteTag(tag="a$b$")) == ["a$b$"]


def test_rewrite_tag_is_read_from_a_config() -> None:
    config = {"rules": [{"field": "a", "pattern": "b", "tag": "c", "invert": True}, {"tag": "d"}]}
    stage = msgspec.convert(config, RewriteTag)
    assert stage.rules == [Rule(field="a", pattern="b", tag="c", invert=True), Rule(tag="d")]
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"rules": [{"tag": "c", "key": "a"}]}, RewriteTag)


def test_rewrite_tag_refuses_what_cannot_work() -> None:
    refused("tag", "neither a tag nor rules")
    refused("rules", "there is a tag as well", tag="a", rules=[Rule(tag="b")])
    refused("rules", "inside each rule", invert=True, rules=[Rule(tag="b")])
    refused("pattern", "go together", tag="a", field="b")
    refused("pattern", "go together", tag="a", pattern="b")
    refused("invert", "no pattern to invert", tag="a", invert=True)
    refused("field", "not a field name", tag="a", field="b.", pattern="c")
    refused("pattern", "not a regular expression: ", tag="a", field="b", pattern="(")
    refused("tag", "$1: the pattern has no such group", tag="$1", field="b", pattern="c")
    refused("tag", "$0: the pattern has no such group", tag="$0", field="b", pattern="(c)")
    refused("tag", "${tag}: the pattern has no such group; for a field or the tag", tag="a.${tag}")
    refused("tag", "$1: nothing has matched", tag="$1", field="b", pattern="(c)", invert=True)
    refused("tag", "column 4: this { is not closed", tag="$1.{a", field="b", pattern="(c)")
    refused("rules", "rule 2, pattern: field and", rules=[Rule(tag="a"), Rule(tag="b", field="c")])
