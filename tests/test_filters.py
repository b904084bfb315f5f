from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.batch import Batch
from tailrace.fields import Projection
from tailrace.stage import Filter, OptionError
from tailrace_plugins.filters.drop import Drop
from tailrace_plugins.filters.drop_keys import DropKeys
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.keep import Keep
from tailrace_plugins.filters.rename_keys import RenameKeys
from tailrace_plugins.filters.rewrite_tag import RewriteTag
from tailrace_plugins.filters.set import Set


def run(batch: Batch, *filters: Filter) -> Batch:
    """Do what a pipeline does: project what all the filters name, then apply one after the other."""
    batch.project(
        Projection(
            [field for stage in filters for field in stage.reads()],
            [field for stage in filters for field in stage.writes()],
        )
    )
    for stage in filters:
        stage.apply(batch)
        assert batch.settle() == []
    return batch


def lines(*texts: bytes, tag: str = "audit") -> Batch:
    return Batch(list(texts), tag=tag)


def refused(kind: type[Filter], option: str, words: str, **options: Any) -> None:
    with pytest.raises(OptionError) as caught:
        kind(**options)
    assert caught.value.option == option
    assert words in str(caught.value)


def test_the_classic_chain_writes_the_original_bytes() -> None:
    originals = [
        b'{"objectRef" : {"namespace":"kube-system"}, "n":1.10, "n":1.10, "s":"\\u0026"}',
        b'{"n":18446744073709551616}',
    ]
    batch = run(
        lines(*originals),
        Extract(field="objectRef.namespace", into="namespace"),
        RewriteTag(tag="audit.{namespace}"),
        DropKeys(keys=["namespace"]),
    )
    assert batch.encoded() == originals
    assert batch.tags == ["audit.kube-system", "audit._none"]


def test_extract_copies_a_field() -> None:
    batch = run(lines(b'{"a":{"b":[1]}}', b"{}"), Extract(field="a.b", into="c"))
    assert batch.encoded() == [b'{"a":{"b":[1]},"c":[1]}', b"{}"]


def test_extract_uses_the_default_where_the_field_is_missing_or_null() -> None:
    batch = run(lines(b'{"a":0}', b"{}", b'{"a":null}'), Extract(field="a", into="b.c", default={"x": 1}))
    assert [json.loads(line).get("b") for line in batch.encoded()] == [
        {"c": 0},
        {"c": {"x": 1}},
        {"c": {"x": 1}},
    ]


def test_extract_leaves_nothing_that_came_with_the_event_in_its_place() -> None:
    batch = run(lines(b'{"b":"forged"}'), Extract(field="a", into="b"))
    assert batch.encoded() == [b"{}"]


def test_extract_refuses_what_cannot_work() -> None:
    refused(Extract, "field", "not a field name", field="a..b", into="c")
    refused(Extract, "into", "not a field name", field="a", into="")
    refused(Extract, "into", "is the field itself", field="a.b", into='a["b"]')


def test_drop_keys_takes_fields_away_and_leaves_other_lines_alone() -> None:
    batch = run(lines(b'{"a":{"b":1,"c":1.10},"d":2}', b'{ "e":1}'), DropKeys(keys=["a.b", "d"]))
    assert batch.encoded() == [b'{"a":{"c":1.10}}', b'{ "e":1}']


def test_drop_keys_refuses_what_cannot_work() -> None:
    refused(DropKeys, "keys", "at least one field", keys=[])
    refused(DropKeys, "keys", "not a field name", keys=["a", "b."])


def test_rename_keys_moves_fields() -> None:
    batch = run(
        lines(b'{"a":{"b":1,"c":2}}', b'{"d":3}'),
        RenameKeys(keys={"a.b": "d", "a.c": '["x.y"]', "no": "yes"}),
    )
    assert [json.loads(line) for line in batch.encoded()] == [{"a": {}, "d": 1, "x.y": 2}, {"d": 3}]


def test_rename_keys_changes_nothing_where_the_old_field_is_missing() -> None:
    originals = [b'{"new" : 1.10}', b'{"old":null, "new":1.10}', b"{ }"]
    assert run(lines(*originals), RenameKeys(keys={"old": "new"})).encoded() == originals


def test_rename_keys_lets_fields_change_places() -> None:
    batch = run(lines(b'{"a":1,"b":2}', b'{"a":1}', b'{"b":2}', b'{ "c":3}'), RenameKeys(keys={"a": "b", "b": "a"}))
    assert [json.loads(line) for line in batch.encoded()] == [{"b": 1, "a": 2}, {"b": 1}, {"a": 2}, {"c": 3}]


def test_rename_keys_moves_fields_round() -> None:
    batch = run(lines(b'{"a":1,"b":2}', b'{"b":2}'), RenameKeys(keys={"a": "b", "b": "c"}))
    assert [json.loads(line) for line in batch.encoded()] == [{"b": 1, "c": 2}, {"c": 2}]


def test_rename_keys_knows_what_other_filters_have_set_and_dropped() -> None:
    batch = run(
        lines(b'{"x":1.10,"new":1.10}', b'{"new":1.10}'),
        Extract(field="x", into="old"),
        DropKeys(keys=["new"]),
        RenameKeys(keys={"old": "new"}),
    )
    assert batch.encoded() == [b'{"x":1.10,"new":1.1}', b"{}"]


def test_rename_keys_refuses_what_cannot_work() -> None:
    refused(RenameKeys, "keys", "at least one field", keys={})
    refused(RenameKeys, "keys", "not a field name", keys={"a": ""})
    refused(RenameKeys, "keys", "renamed to itself", keys={"a.b": '["a"].b'})
    refused(RenameKeys, "keys", "a.b is renamed twice", keys={"a.b": "x", '["a"].b': "y"})
    refused(RenameKeys, "keys", "c is the new name of two fields", keys={"a": "c", "b": "c"})
    refused(RenameKeys, "keys", "a.b lies inside a; use two rename_keys", keys={"a.b": "a"})


def test_set_sets_constants_of_any_type() -> None:
    batch = run(lines(b'{"a":1}'), Set(fields={"b": "x", "c.d": [1, None], "a": False, "e": ""}))
    assert [json.loads(line) for line in batch.encoded()] == [{"a": False, "b": "x", "c": {"d": [1, None]}, "e": ""}]


def test_set_fills_templates_with_plain_text() -> None:
    batch = run(
        lines(b'{"a":"../x y","l":[1]}', b"{}"),
        Set(fields={"who": "{a} in {tag} {l}{no}", "b": "{{x}}", "a": "{tag}", "l": ""}),
    )
    assert batch["who"] == ["../x y in audit [1]", " in audit "]
    assert batch["b"] == ["{x}", "{x}"]
    assert batch["a"] == ["audit", "audit"]


def test_set_takes_an_empty_batch() -> None:
    assert run(lines(), Set(fields={"a": "{b}", "c": 1})).encoded() == []


def test_set_refuses_what_cannot_work() -> None:
    refused(Set, "fields", "at least one field", fields={})
    refused(Set, "fields", "not a field name", fields={"a..b": 1})
    refused(Set, "fields", "the value of a, column 2: this { is not closed", fields={"a": "x{b"})
    refused(Set, "fields", "use drop_keys", fields={"a": None})


EVENTS = (
    b'{"verb":"get","objectRef":{"namespace":"kube-system"}}',
    b'{"verb":"list" }',
    b'{"verb":"get","objectRef":{"namespace":"default"}}',
)


def test_keep_lets_only_those_go_on_for_which_it_is_true() -> None:
    batch = run(lines(*EVENTS), Keep(when='objectRef.namespace == "kube-system"'))
    assert batch.encoded() == [EVENTS[0]]


def test_drop_drops_only_those_for_which_it_is_true() -> None:
    batch = run(lines(*EVENTS), Drop(when='objectRef.namespace == "kube-system"'))
    assert batch.encoded() == [EVENTS[1], EVENTS[2]]


def test_keep_and_drop_see_what_other_filters_did() -> None:
    batch = run(
        lines(*EVENTS),
        Extract(field="objectRef.namespace", into="namespace", default="-"),
        Drop(when='namespace == "default"'),
        RewriteTag(tag="audit.{namespace}"),
        Keep(when='tag == "audit.-"'),
    )
    assert batch["verb"] == ["list"]


@pytest.mark.parametrize("kind", [Keep, Drop])
def test_keep_and_drop_reject_what_they_cannot_judge(kind: type[Keep] | type[Drop]) -> None:
    batch = lines(b'{"code":"x"}', b'{"code":404}')
    kind(when="code > 400").apply(batch)
    assert [(reject.line, reject.offset) for reject in batch.settle()] == [(b'{"code":"x"}', 0)]
    assert batch.lines == ([b'{"code":404}'] if kind is Keep else [])


@pytest.mark.parametrize("kind", [Keep, Drop])
def test_keep_and_drop_refuse_what_cannot_work(kind: type[Filter]) -> None:
    refused(kind, "when", "column 8: unexpected end of the expression", when="verb ==")
    refused(kind, "when", "there is no function", when="foo(verb)")


HOSTILE = (
    b'{"a":"\\ud800"}',
    b'{"a":1e400}',
    b'{"a":18446744073709551616}',
    b'{"a":1.10}',
    b'{"a":-0}',
    b'{"a":1,"a":2}',
    b'{"a":"\xff"}',
    b'\xef\xbb\xbf{"a":"bom"}',
    b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"a":"../../x"}',
    b'{"a":"\\n"}',
    b'{"a":{}}',
    b'{"a":"' + b"x" * 1_000_000 + b'"}',
)


@pytest.mark.parametrize(
    "stage",
    [
        RewriteTag(tag="audit.{a}"),
        RewriteTag(field="a", pattern="(?s)(.*)", tag="audit.$1"),
        DropKeys(keys=["b"]),
        RenameKeys(keys={"b": "c"}),
        Drop(when='has(a.b) || b == "nothing"'),
        Keep(when="!has(b.c)"),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_hostile_events_keep_their_bytes(stage: Filter) -> None:
    assert run(lines(*HOSTILE), stage).encoded() == list(HOSTILE)
