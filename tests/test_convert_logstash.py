"""What becomes of logstash configs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from converting import lines, options, run
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.document import Plain
from tailrace_plugins.converting.logstash import convert
from tailrace_plugins.converting.outcome import Outcome, ParseError
from tailrace_plugins.expression import Expression

INPUT = 'input { file { path => "LOG" codec => json } }\n'
OUTPUT = "output { stdout { codec => json } }\n"


def converted(middle: str, end: str = OUTPUT) -> Outcome:
    return convert(INPUT + middle + "\n" + end, "old.conf")


def filters(middle: str) -> list[dict[str, Plain]]:
    outcome = converted("filter { " + middle + " }")
    assert not outcome.remainder, outcome.remainder
    return options(outcome.pipelines[0].filters)


EVENTS: list[dict[str, Any]] = [
    {"verb": "get", "user": {"username": "alice"}, "responseStatus": {"code": 200}},
    {"verb": "get", "user": {"username": "system:node:a"}, "responseStatus": {"code": 404}, "objectRef": {"name": "x"}},
    {"verb": "list", "user": {}},
    {"verb": "watch", "objectRef": {"namespace": "kube-system"}, "level": ""},
    {"user": {"username": "bob\nsystem:x"}, "responseStatus": {"code": 500}, "flag": False},
]
FIELDS = [
    "[verb]",
    "[user][username]",
    "[responseStatus][code]",
    "[objectRef][namespace]",
    "[flag]",
    "[objectRef]",
    "[level]",
]
SINGLE = st.one_of(
    st.sampled_from(FIELDS),
    st.sampled_from(FIELDS).map(lambda field: f"!{field}"),
    st.tuples(
        st.sampled_from(FIELDS[:4]), st.sampled_from(["==", "!="]), st.sampled_from(['"get"', "'alice'", "404"])
    ).map(" ".join),
    st.tuples(st.just("[responseStatus][code]"), st.sampled_from(["<", "<=", ">", ">="]), st.just("404")).map(" ".join),
    st.tuples(
        st.sampled_from(["[verb]", "[user][username]"]),
        st.sampled_from(["=~", "!~"]),
        st.sampled_from(["/^system:/", "/t$/", '"li.e"', "/.*/"]),
    ).map(" ".join),
    st.tuples(st.sampled_from(FIELDS[:4]), st.sampled_from(["in", "not in"]), st.just('["get", "list", 404]')).map(
        " ".join
    ),
)
CONDITIONS = st.recursive(
    SINGLE,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or", "xor", "nand"]), inner).map(lambda each: f"({' '.join(each)})"),
        inner.map(lambda each: f"!({each})"),
    ),
    max_leaves=5,
)


def value(event: Any, field: str) -> Any:
    for key in field[1:-1].split("]["):
        event = event.get(key) if isinstance(event, dict) else None
    return event


def holds(text: str, event: dict[str, Any]) -> bool:
    """Evaluate a condition as logstash does: the slow and obvious way."""
    if text.startswith("!("):
        return not holds(text[2:-1], event)
    if text.startswith("("):
        depth, at, found = 0, 0, None
        for at, letter in enumerate(text[1:-1], 1):
            depth += (letter == "(") - (letter == ")")
            found = re.match(r" (and|or|xor|nand) ", text[at:])
            if not depth and found:
                break
        assert found
        one, other = holds(text[1:at], event), holds(text[at + len(found[0]) : -1], event)
        results = {"and": one and other, "or": one or other, "xor": one != other, "nand": not (one and other)}
        return results[found[1]]
    field, _, rest = text.lstrip("!").partition(" ")
    have: object = value(event, field)
    if not rest:
        return (have is not None and have is not False) != text.startswith("!")
    sign, _, operand = rest.replace("not in", "notin").partition(" ")
    if sign in ("=~", "!~"):
        return (have is not None and re.search(operand[1:-1], str(have), re.MULTILINE) is not None) == (sign == "=~")
    wanted: Any = json.loads(operand.replace("'", '"'))
    if sign in ("in", "notin"):
        return bool(have in wanted) == (sign == "in")
    if sign in ("==", "!="):
        return bool(have == wanted) == (sign == "==")
    if not isinstance(have, int) or not isinstance(wanted, int):
        return False
    return {"<": have < wanted, "<=": have <= wanted, ">": have > wanted, ">=": have >= wanted}[sign]


@settings(max_examples=12)
@given(st.lists(CONDITIONS, min_size=15, max_size=15))
def test_a_condition_in_cel_holds_where_it_does_in_logstash(texts: list[str]) -> None:
    dropping = filters("\n".join(f"if {text} {{ drop {{ }} }}" for text in texts))
    for text, dropped in zip(texts, dropping, strict=True):
        expression = Expression(str(dropped["when"]).replace("$$", "$"))
        for event in EVENTS:
            values = [value(event, "[" + field.replace(".", "][") + "]") for field in expression.fields]
            assert expression.evaluate(values) is holds(text, event), (text, event)


WAYS = st.lists(
    st.tuples(st.lists(st.tuples(SINGLE, st.booleans()), min_size=1, max_size=3), st.booleans()), min_size=1, max_size=2
)


@settings(max_examples=15)
@given(WAYS)
def test_events_take_the_branches_that_they_take_in_logstash(
    tmp_path_factory: pytest.TempPathFactory, conditionals: list[tuple[list[tuple[str, bool]], bool]]
) -> None:
    directory = tmp_path_factory.mktemp("run")
    text, expected = "", {}
    for number, (branches, otherwise) in enumerate(conditionals):
        ways = [(condition, drops) for condition, drops in branches if not re.search(r"[<>]|!\[level", condition)] or [
            ("[verb]", False)
        ]
        left = list(enumerate(EVENTS))
        for way, (condition, _) in enumerate(ways):
            path = f"{number}-{way}"
            text += f'{"else " if way else ""}if {condition} {{ file {{ path => "{directory}/out/{path}" }} }}\n'
            expected[path] = [index for index, event in left if holds(condition, event)]
            left = [(index, event) for index, event in left if not holds(condition, event)]
        if otherwise:
            text += f'else {{ file {{ path => "{directory}/out/{number}-else" }} }}\n'
            expected[f"{number}-else"] = [index for index, _ in left]
    log = directory / "log"
    log.write_text("".join(json.dumps({**event, "auditID": f"{index}"}) + "\n" for index, event in enumerate(EVENTS)))
    outcome = convert(INPUT.replace("LOG", str(log)) + f"output {{ {text} }}", "old.conf")
    assert not outcome.remainder, outcome.remainder
    run(outcome, directory)
    found = {
        path.name: [int(json.loads(line)["auditID"]) for line in path.read_text().splitlines()]
        for path in (directory / "out").glob("*")
    }
    assert found == {path: numbers for path, numbers in expected.items() if numbers}


def test_filters_in_branches_change_their_events_alone(tmp_path: Path) -> None:
    text = """
    if [verb] == "watch" { drop { } }
    else if [user][username] =~ /^system:/ and [verb] == "get" { mutate { replace => { "who" => "node" } } }
    if [user][username] in ["alice", "carol"] {
      mutate { rename => { "[user][username]" => "name" } add_field => { "is" => "%{[name]}!" } }
      if [verb] == "get" { mutate { remove_field => ["verb", "host"] } }
    } else { mutate { copy => { "[user][username]" => "name" } } }
    """.replace("else if", "} if", 1).replace("drop { } }\n    } if", "drop { } }\n    if")
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    output = f'output {{ file {{ path => "{tmp_path}/out" }} }}'
    outcome = convert(INPUT.replace("LOG", str(log)) + f"filter {{ {text} }}" + output, "old.conf")
    assert not outcome.remainder, outcome.remainder
    run(outcome, tmp_path)
    assert [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()] == [
        {"user": {}, "responseStatus": {"code": 200}, "name": "alice", "is": "alice!"},
        EVENTS[1] | {"who": "node", "name": "system:node:a"},
        EVENTS[2],
        EVENTS[4] | {"name": "bob\nsystem:x"},
    ]


@pytest.mark.parametrize(
    "condition",
    [
        '"x" in [tags]',
        "[a] == [b]",
        '"a" == "b"',
        "[host] == 1",
        "[@timestamp]",
        "[verb] =~ /(?=x)/",
        '([verb] == "a" and [stage] == "b") or [level]',
    ],
)
def test_a_condition_that_has_no_counterpart_is_named_with_what_it_holds(condition: str) -> None:
    file = 'file { path => "/x" }'
    outcome = converted("", f"output {{ if {condition}\n{{ {file} }}\nelse {{ {file} }}\nstdout {{ }} }}")
    if "(?=" in condition:
        assert not outcome.remainder, "Python knows it"
    else:
        assert list(lines(outcome.remainder)) == [3, 4, 5]
    drops = converted(f"filter {{ if {condition} {{ drop {{ }} }} }}").remainder
    assert bool(drops) != condition.startswith("([verb]")


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ('mutate { add_field => { "a" => "x{y} $z" } }', [{"type": "set", "fields": {"a": "x{{y}} $$z"}}]),
        (
            'mutate { add_field => { "a" => "%{[user][username]} ${HOME:x}" } }',
            [{"type": "set", "fields": {"a": "{user.username} ${HOME:-x}"}}],
        ),
        ('mutate { add_field => ["a", "b", "c", 3] }', [{"type": "set", "fields": {"a": "b", "c": 3}}]),
        (
            'mutate { replace => { "api_token" => "hunter2" } }',
            [{"type": "set", "fields": {"api_token": "${API_TOKEN}"}}],
        ),
        (
            'mutate { remove_field => [ "[annotations][a.b/c]", "headers" ] }',
            [{"type": "drop_keys", "keys": ['annotations["a.b/c"]']}],
        ),
        ('json { source => "message" }', []),
        ("drop { }", [{"type": "drop", "when": "true"}]),
    ],
)
def test_filters_are_translated(text: str, stages: list[dict[str, Plain]]) -> None:
    assert filters(text) == stages


def test_a_date_is_where_sinks_read_the_time() -> None:
    date = 'filter { date { match => ["requestReceivedTimestamp", "ISO8601"] } }'
    output = "output { file { path => \"/o/%{+yyyy.MM.dd'T'HH}/100%.log\" gzip => true file_mode => 0600 } }"
    (pipeline,) = converted(date, output).pipelines
    assert options(pipeline.sinks) == [
        {
            "type": "file",
            "path": "/o/%Y.%m.%dT%H/100%%.log",
            "time_fields": ["requestReceivedTimestamp"],
            "compression": "gzip",
            "mode": "0600",
        }
    ]


def test_inputs_are_translated_and_passwords_are_not_copied() -> None:
    text = """input {
      http { id => "a/b" port => "${PORT:9000}" host => "127.0.0.1" user => "u" password => "hunter2"
        ssl => true ssl_certificate => "/c" ssl_key => "/k" ssl_certificate_authorities => ["/a"]
        ssl_verify_mode => "force_peer" max_content_length => 5000 tags => ["x"] type => "t" codec => "json" }
      file { path => ["/a.log", "/b/*.log"] exclude => "*.gz" sincedb_path => "/dev/null" mode => "tail" }
    }
    output { file { path => "/o/%{[user][username]}" } }
    output { stdout { } }"""
    outcome = convert(text, "old.conf")
    assert list(lines(outcome.remainder)) == [5], "two pipelines do not write one file"
    first, second = outcome.pipelines
    assert (first.name, first.source.options) == (
        "a-b",
        {
            "type": "webhook",
            "tls_cert": "/c",
            "tls_key": "/k",
            "client_ca": "/a",
            "password_file": "${PASSWORD_FILE}",
            "max_body_bytes": 5000,
            "listen": "127.0.0.1:${PORT:-9000}",
            "tag": "audit",
        },
    )
    assert options(first.filters) == [{"type": "set", "fields": {"type": "t", "tags": ["x"]}}]
    assert [sink.options["type"] for sink in first.sinks] == ["file", "stdout"]
    assert second.source.options == {
        "type": "tail",
        "paths": ["/a.log", "/b/*.log"],
        "exclude": ["*.gz"],
        "tag": "audit",
    }
    assert "hunter2" not in f"{outcome.remainder}{outcome.notes}{outcome.needless}{outcome.pipelines}"


@pytest.mark.parametrize(
    ("option", "options_", "said"),
    [
        ('ssl_verify_mode => "none"', {}, "needless"),
        ('ssl_client_authentication => "optional"', {}, "remainder"),
        ("response_code => 200", {}, ""),
        ("response_code => 201", {}, "remainder"),
        ('codec => json { charset => "UTF-8" }', {}, "needless"),
        ('codec => json { charset => "KOI8-R" }', {}, "remainder"),
        ('codec => "cef"', {}, "remainder"),
        ('user => "u"', {"password_file": "${PASSWORD_FILE}"}, "notes"),
        ('ssl_certificate_authorities => ["/a", "/b"]', {"client_ca": "/a"}, "remainder"),
        ("threads => 4", {}, "needless"),
        ("ssl_certificate_authorities => []", {}, ""),
        ('ssl => false ssl_certificate => "/c" ssl_key => "/k"', {}, ""),
        ("max_content_length => many", {}, "remainder"),
    ],
)
def test_options_of_http_are_translated_or_named(option: str, options_: dict[str, Plain], said: str) -> None:
    outcome = convert(f'input {{ http {{ host => "::1"\n{option} }} }}\n{OUTPUT}', "old.conf")
    base = {"type": "webhook", "listen": "[::1]:8080", "tag": "audit"}
    assert outcome.pipelines[0].source.options == base | options_
    for name in ("remainder", "needless", "notes"):
        assert (2 in lines(getattr(outcome, name))) == (name == said) or (not said or name == "needless"), name


@pytest.mark.parametrize(
    ("option", "more", "is_named"),
    [
        ("max_open_files => 9", {"max_open_files": 9}, False),
        ('mode => "read"', {}, True),
        ('delimiter => "\\n"', {}, False),
        ('delimiter => "|"', {}, True),
        ('codec => "plain"', {}, False),
        ('codec => "multiline"', {}, True),
        ('start_position => "beginning"', {}, False),
        ('start_position => "end"', {"read_from": "end"}, False),
        ("close_older => 5", {}, False),
    ],
)
def test_options_of_file_are_translated_or_named(option: str, more: dict[str, Plain], is_named: bool) -> None:
    outcome = convert(f'input {{ file {{ path => "/log"\n{option} }} }}\n{OUTPUT}', "old.conf")
    assert outcome.pipelines[0].source.options == {"type": "tail", "paths": ["/log"], "tag": "audit"} | more
    assert (2 in lines(outcome.remainder)) == is_named


@pytest.mark.parametrize(
    "text",
    [
        'json { source => "message" target => "x" }',
        "date { }",
        'mutate { add_field => { "a" => [1] } }',
        'mutate { add_field => { "a" => "%{+YYYY}" } }',
        'mutate { add_field => { "a" => "%{x" } }',
        'mutate { add_field => { "a" => "${x y}" } }',
    ],
)
def test_filters_that_have_no_counterpart_are_named(text: str) -> None:
    assert list(lines(converted(f"filter {{ {text} }}").remainder)) == [2]


def test_what_is_behind_a_drop_and_what_has_no_input_is_named() -> None:
    outcome = converted(
        'filter { if [verb] { drop { }\nmutate { gsub => ["a", "b", "c"] }\nif [a] { ruby { code => "x" } } } }'
    )
    assert not outcome.remainder
    assert {3, 4} <= set(lines(outcome.needless))
    outcome = converted(
        'filter { if [verb] {\nmutate { shade => "grey" } } }', "output { if [verb] { stdout {\nhue => 1 } } }"
    )
    assert list(lines(outcome.remainder)) == [3, 5]
    text = "input { if [a] { http { } }\nbeats { port => 1 } }\nfilter { if [b] { drop { } }\n ruby { } }\n" + OUTPUT
    assert sorted(lines(convert(text, "old.conf").remainder)) == [1, 2, 3, 4, 5]


def test_a_path_that_cannot_be_had_leaves_no_pipeline() -> None:
    for output in ("file { }", 'file { path => "/%{[@metadata][x]}" }', "file { path => [] }"):
        assert not converted("", f"output {{ {output} }}").pipelines
    outcome = converted("", 'output { file { path => "/o/x.gz"\nfile_mode => 999\nflush_interval => 0 } }')
    assert options(outcome.pipelines[0].sinks) == [{"type": "file", "path": "/o/x.gz", "compression": "none"}]
    assert list(lines(outcome.remainder)) == [4]


def test_unknown_parts_are_all_named_and_nothing_else_is() -> None:
    text = """input {
  http { port => 1 host => "::1"
    colour => "blue"
    codec => cef
  }
  beats { port => 5044 }
}
filter {
  grok { match => { "a" => "b" } }
  mutate { add_tag => ["x"]
    gsub => ["a", "b", "c"]
    rename => { "[host]" => "x" }
    replace => { "[@metadata][x]" => "y" }
  }
  split { field => "other" }
  date { match => ["stageTimestamp", "UNIX"] }
  drop { percentage => 40 }
}
output {
  elasticsearch { password => "hunter2" }
  file { path => "/x/%{+xxxx}" }
  file { path => "/x/%{host}" }
  file { path => "/y" codec => line { format => "%{verb}" }
    write_behavior => "overwrite" shade => "grey"
  }
}
"""
    outcome = convert(text, "old.conf")
    assert sorted(lines(outcome.remainder)) == [3, 4, 6, 9, 10, 11, 12, 13, 15, 16, 17, 20, 21, 22, 23, 24]
    assert "`shade`" in str(outcome.remainder)
    assert "hunter2" not in str(outcome.remainder)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("input { http { port => } }", "1:24", "unexpected }"),
        ("input { http {", "1:15", "a name or }"),
        ("inputs { }", "1:6", "there should be {"),
        ('output { file { path => "x } }\n', "1:25", "does not end"),
        ("filter { if [a] = 1 { } }", "1:17", "unexpected ="),
        ("filter { if { } }", "1:13", "a field like [user][username]"),
        ("input { a { b => [1\n 2] } }", "2:2", "there should be ]"),
        ("filter { " + "if [a] { " * 70 + "} " * 71, None, "nested more than 64 levels deep"),
        ("filter { if " + "!(" * 70 + "[a]" + ")" * 70 + " { } }", None, "nested more than 64 levels deep"),
        ("input { a { b => " + "[" * 70 + "1" + "]" * 70 + " } }", None, "nested more than 64 levels deep"),
    ],
)
def test_what_cannot_be_read_is_said_with_line_and_column(text: str, place: str | None, words: str) -> None:
    with pytest.raises(ParseError) as error:
        convert(text, "old.conf")
    assert str(error.value).startswith(f"old.conf:{place or '1:'}")
    assert words in str(error.value)
