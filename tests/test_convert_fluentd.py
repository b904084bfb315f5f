"""What becomes of fluentd configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from converting import lines, options, run
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace import TagPattern
from tailrace.document import Plain
from tailrace_plugins.converting.fluentd import convert
from tailrace_plugins.converting.outcome import Outcome, ParseError
from tailrace_plugins.converting.tagflow import Flow, Shape, Takes

SOURCE = "<source>\n  @type tail\n  path /log\n  tag k\n  format json\n</source>\n"
END = "<match **>\n  @type stdout\n</match>\n"


def converted(middle: str, end: str = END) -> Outcome:
    return convert(SOURCE + middle + end, "old.conf")


def filters(middle: str) -> list[dict[str, Plain]]:
    outcome = converted(middle)
    assert not outcome.remainder
    return options(outcome.pipelines[0].filters)


def transformed(record: str, more: str = "") -> list[dict[str, Plain]]:
    return filters(
        f"<filter k>\n@type record_transformer\nenable_ruby\n{more}\n<record>\n{record}\n</record>\n</filter>\n"
    )


@pytest.mark.parametrize(
    ("record", "stage"),
    [
        ("a b c # not this", {"type": "set", "fields": {"a": "b c"}}),
        ('a "x # y"', {"type": "set", "fields": {"a": "x # y"}}),
        ("a $x", {"type": "set", "fields": {"a": "$$x"}}),
        ("a.b c", {"type": "set", "fields": {'["a.b"]': "c"}}),
        ("a of ${tag} and ${tag_parts[1]}", {"type": "set", "fields": {"a": "of {tag} and {tag[1]}"}}),
        ('a ${record["b"]["c"]}', {"type": "extract", "field": "b.c", "into": "a"}),
        ('a u=${record.dig("b", "c")}', {"type": "set", "fields": {"a": "u={b.c}"}}),
        ('a ${record["b"] || "x"}', {"type": "extract", "field": "b", "into": "a", "default": "x"}),
        (
            'a ${record["b"].nil? ? "x" : record["b"]["c"].to_s}',
            None,
        ),
        ('a ${record["b"].upcase}', None),
        ('a ${record["b"].nil?}', None),
        ('a "#{ENV[0]}"', None),
        ('a x-${record["b"] || "y"}', None),
        ("a ${time}", None),
    ],
)
def test_a_record_is_set_or_said_to_be_untranslatable(record: str, stage: dict[str, Plain] | None) -> None:
    text = f"<filter k>\n@type record_transformer\nenable_ruby\n<record>\n{record}\n</record>\n</filter>\n"
    if stage is not None:
        assert filters(text) == [stage]
        return
    outcome = converted(text)
    assert list(lines(outcome.remainder)) == [11]
    assert not outcome.pipelines[0].filters


def test_a_field_that_the_same_filter_sets_is_not_taken_for_what_it_was() -> None:
    record = 'a ${record["b"]}\nb x\nb2 ${record["b"]}'
    text = f"<filter k>\n@type record_transformer\n<record>\n{record}\n</record>\n</filter>\n"
    assert list(lines(converted(text).remainder)) == [10, 12]


def test_keys_are_removed_by_name_or_by_path() -> None:
    assert transformed("a b", "remove_keys a, $.user.groups, $['annotations']['x.y/z']") == [
        {"type": "set", "fields": {"a": "b"}},
        {"type": "drop_keys", "keys": ["a", "user.groups", 'annotations["x.y/z"]']},
    ]


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("regexp1 verb ^get$", [("keep", 'verb.matches("(?m)^get$$")')]),
        ("exclude1 verb get", [("drop", 'verb.matches("get")')]),
        (
            "regexp1 verb a\nregexp2 stage .*",
            [("keep", '(verb.matches("a")) && ((!has(stage) || stage.matches(".*")))')],
        ),
        (
            "<exclude>\nkey $.user.username\npattern /^a/i\n</exclude>\n<exclude>\nkey verb\npattern b\n</exclude>",
            [("drop", '(user.username.matches("(?im)^a")) || (verb.matches("b"))')],
        ),
        (
            "<or>\n<regexp>\nkey verb\npattern a\n</regexp>\n<regexp>\nkey stage\npattern b\n</regexp>\n</or>",
            [("keep", '(verb.matches("a")) || (stage.matches("b"))')],
        ),
        ("regexp1 responseStatus.code x", None),
        (
            "<regexp>\nkey $.responseStatus.code\npattern ^4\n</regexp>",
            [("keep", 'string(responseStatus.code).matches("(?m)^4")')],
        ),
        ("regexp1 verb (?!get)", None),
        ("regexp1 sourceIPs 10", None),
        ("", None),
    ],
)
def test_grep_keeps_and_drops(text: str, stages: list[tuple[str, str]] | None) -> None:
    config = f"<filter k>\n@type grep\n{text}\n</filter>\n"
    if stages is None:
        assert list(lines(converted(config).remainder)) == [7]
    else:
        assert filters(config) == [{"type": kind, "when": when} for kind, when in stages]


EVENTS: list[dict[str, Any]] = [
    {"auditID": str(number), "verb": verb, "user": {"username": user} if user else {}}
    for number, (verb, user) in enumerate(
        [("get", "a"), ("get", "b.c"), ("list", ""), ("watch", "a"), ("a", "get"), ("a.b", "x"), ("get", "a.b")]
    )
]


def outputs(directory: Path, text: str) -> dict[str, list[str]]:
    """Run a config whose sinks are files in `out`; say which event went to which file."""
    (directory / "log").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    source = SOURCE.replace("/log", str(directory / "log"))
    outcome = convert(source + text.replace("OUT", str(directory / "out")), "old.conf")
    assert not outcome.remainder, outcome.remainder
    run(outcome, directory)
    return {
        str(path.relative_to(directory / "out")): [
            json.loads(line)["auditID"] for line in path.read_text().splitlines()
        ]
        for path in (directory / "out").rglob("*")
        if path.is_file()
    }


def file(pattern: str, path: str) -> str:
    options = f"@type file\npath OUT/{path}\nadd_path_suffix false\nformat json\n<buffer tag>\n</buffer>"
    return f"<match {pattern}>\n{options}\n</match>\n"


BY_VERB = "<match k>\n@type rewrite_tag_filter\n<rule>\nkey verb\npattern /^(.+)$/\ntag v.$1\n</rule>\n</match>\n"


def test_an_event_goes_to_the_first_match_that_takes_its_tag(tmp_path: Path) -> None:
    text = BY_VERB + file("v.get", "one") + file("v.{a,b}.**", "two") + file("v.*", "three") + file("**", "rest")
    assert outputs(tmp_path, text) == {"one": ["0", "1", "6"], "two": ["4", "5"], "three": ["2", "3"]}


def test_the_tag_in_a_path_has_no_part_that_tells_matches_apart(tmp_path: Path) -> None:
    text = BY_VERB + file("v.get", "one") + file("**", "${tag}-${tag[1]}")
    assert outputs(tmp_path, text) == {
        "one": ["0", "1", "6"],
        "v.list-list": ["2"],
        "v.watch-watch": ["3"],
        "v.a-a": ["4"],
        "v.a.b-a.b": ["5"],
    }


def test_a_filter_behind_a_match_leaves_the_events_of_that_match_alone(tmp_path: Path) -> None:
    dropped = "<filter **>\n@type grep\nexclude1 verb .\n</filter>\n"
    text = BY_VERB + file("v.get", "one") + dropped + file("**", "rest")
    assert outputs(tmp_path, text) == {"one": ["0", "1", "6"]}


def test_new_tags_begin_anew_at_the_top_and_what_no_rule_takes_ends(tmp_path: Path) -> None:
    rules = "<match k>\n@type rewrite_tag_filter\nrewriterule1 verb ^get$ got.${tag}\nrewriterule2 verb !^l other\n"
    rules += "</match>\n"
    users = (
        "<match got.*>\n@type rewrite_tag_filter\nremove_tag_prefix got\n<rule>\nkey $.user.username\npattern ^(a)\n"
    )
    users += "tag u.$1.${tag}\n</rule>\n</match>\n"
    text = file("u.**", "users-${tag[1]}") + rules + users + file("other", "other")
    assert outputs(tmp_path, text) == {"users-a": ["0", "6"], "other": ["3", "4", "5"]}


@pytest.mark.parametrize(
    "rule", ["pattern a\ntag x.$1", "pattern (a)\ninvert true\ntag x.$1", "pattern a\ntag ${x}", "tag x"]
)
def test_a_rule_that_cannot_be_leaves_its_match_untranslated(rule: str) -> None:
    text = f"<match k>\n@type rewrite_tag_filter\n<rule>\nkey verb\n{rule}\n</rule>\n</match>\n"
    assert sorted(lines(converted(text).remainder)) == [1, 7]


BY_USER = """<match k>
@type rewrite_tag_filter
<rule>
key $.user.username
pattern ^a
tag some.a
</rule>
<rule>
key verb
pattern ^
tag some.other
</rule>
</match>
"""


def test_tags_that_are_known_need_nothing_to_tell_them_apart(tmp_path: Path) -> None:
    marked = "<filter {}>\n@type grep\nexclude1 auditID ^{}$\n</filter>\n"
    text = (
        BY_USER + file("some.a", "a") + marked.format("**", 2) + marked.format("*.{a,other}", 4) + file("**", "other")
    )
    assert outputs(tmp_path, text) == {"a": ["0", "3", "6"], "other": ["1", "5"]}
    assert "rest" not in (tmp_path / "new.yaml").read_text()


def test_new_tags_of_some_events_are_told_from_those_of_others(tmp_path: Path) -> None:
    again = "<match some.a>\n@type rewrite_tag_filter\n<rule>\nkey verb\npattern (.*)\ntag some.$1\n</rule>\n</match>\n"
    text = BY_USER + again + file("some.other", "other") + file("some.**", "${tag}")
    assert outputs(tmp_path, text) == {"other": ["1", "2", "4", "5"], "some.get": ["0", "6"], "some.watch": ["3"]}
    text = (
        BY_USER
        + file("some.a", "a")
        + again.replace("some.a", "some.other").replace("$1", "a.$1")
        + file("**", "${tag}")
    )
    (tmp_path / "two").mkdir()
    assert outputs(tmp_path / "two", text) == {
        "a": ["0", "3", "6"],
        "some.a.get": ["1"],
        "some.a.list": ["2"],
        "some.a.a": ["4"],
        "some.a.a.b": ["5"],
    }


def test_parts_of_the_tag_and_the_name_of_the_host_fill_records(tmp_path: Path) -> None:
    record = "p ${tag_prefix[0]}\ns ${tag_suffix[1]}\nh ${hostname}\nl ${tag_parts[-1]}"
    filter_ = f"<filter **>\n@type record_transformer\n<record>\n{record}\n</record>\n</filter>\n"
    text = BY_VERB.replace("v.$1", "v.w.$1") + filter_ + file("v.*.get", "got") + file("**", "rest-${tag[2]}")
    assert set(outputs(tmp_path, text)) == {"got", "rest-list", "rest-watch", "rest-a", "rest-a.b"}
    event = json.loads((tmp_path / "out" / "rest-a.b").read_text())
    assert (event["p"], event["s"], event["h"], event["l"]) == ("v", "w.a.b", "node-1", "b")
    assert "#   HOSTNAME  the name of this host" in (tmp_path / "new.yaml").read_text()


def test_events_of_a_match_that_cannot_be_had_do_not_go_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    bad = "<match v.get>\n@type rewrite_tag_filter\n</match>\n<match v.a>\n@type s3\n</match>\n"
    text = SOURCE.replace("/log", str(tmp_path / "log")) + BY_VERB + bad + file("**", "rest")
    outcome = convert(text.replace("OUT", str(tmp_path / "out")), "old.conf")
    assert list(lines(outcome.remainder)) == [15, 18]
    run(outcome, tmp_path)
    written = (tmp_path / "out" / "rest").read_text().splitlines()
    assert [json.loads(line)["auditID"] for line in written] == ["2", "3", "5"]


@pytest.mark.parametrize(
    "section",
    [
        "<match k>\n@type relabel\n</match>",
        "<match /k/>\n@type null\n</match>",
        '<match "#{k}">\n@type null\n</match>',
        "<match {k>\n@type null\n</match>",
        "<match k>\n@type rewrite_tag_filter\n</match>",
        "<match k>\n@type rewrite_tag_filter\nrewriterule1 a b\n</match>",
        "<match k>\n@type rewrite_tag_filter\ncapitalize_regex_backreference yes\nrewriterule1 a b c\n</match>",
        "<match k>\n@type rewrite_tag_filter\nremove_tag_prefix x\nrewriterule1 a b ${tag}\n</match>",
        "<match k>\n@type forest\nsubtype s3\n<template>\n</template>\n</match>",
        "<filter k>\n@type grep\n<and>\n<regexp>\nkey a\n</regexp>\n<exclude>\n</exclude>\n</and>\n</filter>",
        "<filter k>\n@type grep\n<regexp>\nkey a\n</regexp>\n</filter>",
        "<filter k>\n@type grep\n<regexp>\nkey $.a b\npattern x\n</regexp>\n</filter>",
    ],
)
def test_a_section_that_cannot_be_had_is_named_as_a_whole(section: str) -> None:
    outcome = converted(section + "\n")
    assert [line for line in lines(outcome.remainder) if line > 1] == [7]


def test_what_fluentd_says_of_itself_and_does_for_itself_is_not_needed() -> None:
    text = "<system>\nworkers 2\n<log>\nformat json\n</log>\n</system>\n<match fluent.**>\n@type null\n</match>\n"
    text += "<match other>\n@type null\n</match>\n"
    text += "<filter k>\n@type record_transformer\nenable_ruby\n<record>\na b\n</record>\n</filter>\n"
    outcome = converted(text, "<match k>\n@type stdout\n<format>\n@type json\n</format>\n</match>\n")
    assert not outcome.remainder
    assert {5, 7, 13, 16, 21, 29} == set(lines(outcome.needless))


def test_labels_and_copies_are_followed(tmp_path: Path) -> None:
    store = file("x", "NAME").replace("<match x>", "<store>").replace("</match>", "</store>")
    copy = f"<match **>\n@type copy\n{store.replace('NAME', 'one')}{store.replace('NAME', 'two')}</match>\n"
    kept = "<filter k>\n@type grep\nregexp1 verb ^get$\n</filter>\n"
    text = f"<match k>\n@type relabel\n@label @L\n</match>\n<label @L>\n{kept}{copy}</label>\n"
    assert outputs(tmp_path, text) == {"one": ["0", "1", "6"], "two": ["0", "1", "6"]}


def test_events_that_come_back_for_ever_are_said_to(tmp_path: Path) -> None:
    text = "<match **>\n@type rewrite_tag_filter\n<rule>\nkey verb\npattern x\ntag k.$1\n</rule>\n</match>\n"
    assert "come back for ever" in lines(converted(text.replace("pattern x", "pattern (x)")).remainder)[7]


PARTS = st.sampled_from(["a", "b"])
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "**", "{a,b}", "a*"]), min_size=1, max_size=4).map(".".join)
SHAPES = st.lists(st.one_of(PARTS, st.none()), min_size=1, max_size=3).map(tuple)


@given(st.lists(PATTERNS, min_size=1, max_size=2).map(" ".join), SHAPES, st.data())
def test_what_is_said_of_a_pattern_and_a_shape_is_so(pattern: str, shape: Shape, data: st.DataObject) -> None:
    some = st.lists(PARTS, min_size=1, max_size=3)
    tag = ".".join(part for each in shape for part in ([each] if each else data.draw(some)))
    takes = Flow((shape,)).takes(pattern)
    if takes is not Takes.SOME:
        assert TagPattern(pattern).matches(tag) is (takes is Takes.ALL)


SECTIONS = st.tuples(
    st.sampled_from(["match", "grep", "again"]),
    st.sampled_from(["v.get", "v.a", "v.*", "v.**", "*.a.*", "**.b", "v.{get,list}", "**", "w.a", "w.**"]),
)


def reached(
    event: Mapping[str, Any], tag: str, sections: list[tuple[str, str]], way: tuple[int, ...] = ()
) -> int | None:
    """Say which match takes an event in fluentd: the slow and obvious way."""
    for number, (kind, pattern) in enumerate(sections):
        if number in way or not TagPattern(pattern).matches(tag):
            continue
        if kind == "match":
            return number
        if kind == "grep" and event["auditID"] in (f"{number}", "4"):
            return None
        if kind == "again":
            user = event["user"].get("username")
            return reached(event, f"w.{user}", sections, (*way, number)) if user else None
    return None


@settings(max_examples=20)
@given(st.lists(SECTIONS, min_size=1, max_size=6))
def test_any_order_of_sections_gives_what_fluentd_would(
    tmp_path_factory: pytest.TempPathFactory, sections: list[tuple[str, str]]
) -> None:
    text = BY_VERB
    for number, (kind, pattern) in enumerate(sections):
        if kind == "match":
            text += file(pattern, f"{number}")
        elif kind == "grep":
            text += f"<filter {pattern}>\n@type grep\nexclude1 auditID [{number}4]\n</filter>\n"
        else:
            rule = "<rule>\nkey $.user.username\npattern /^(.+)$/\ntag w.$1\n</rule>"
            text += f"<match {pattern}>\n@type rewrite_tag_filter\n{rule}\n</match>\n"
    said = " ".join(remark.why for remark in convert(SOURCE + text, "old.conf").remainder)
    if "for ever" in said or "nowhere" in said:
        return
    expected: dict[str, list[str]] = {}
    for event in EVENTS:
        number_ = reached(event, f"v.{event['verb']}", sections)
        if number_ is not None:
            expected.setdefault(f"{number_}", []).append(str(event["auditID"]))
    found = outputs(tmp_path_factory.mktemp("run"), text)
    assert {path: sorted(numbers) for path, numbers in found.items()} == expected


def test_unknown_parts_are_all_named_and_nothing_else_is() -> None:
    text = """<source>
  @type tail
  path /log
  tag k
  format json
  colour blue
  <parse>
    @type json
    fancy yes
  </parse>
  <shade>
    of grey
  </shade>
</source>
@include other.conf
workers 4
<source>
  @type forward
  port 24224
</source>
<filter k>
  @type geoip
  key x
</filter>
<filter other>
  @type grep
</filter>
<match k>
  @type copy
  <store>
    @type elasticsearch
    password hunter2
  </store>
  <store>
    @type file
    path /out/x
    format json
    symlink_path /y
  </store>
</match>
<match k>
  @type null
</match>
<worker 0>
</worker>
<label @ERROR>
  <match **>
    @type null
  </match>
</label>
"""
    outcome = convert(text, "old.conf")
    assert sorted(lines(outcome.remainder)) == [6, 9, 11, 15, 16, 17, 21, 25, 30, 38, 41, 44, 46]
    assert "hunter2" not in str(outcome.remainder + outcome.notes + outcome.needless)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("<source>\n  @type tail\n", "2:13", "the end of the section"),
        ("<source>\n</match>\n", "2:1", "<source> of line 1 is open"),
        ('<source>\n  path "/log\n</source>\n', "2:8", "does not end"),
        ("<source>\n  path [1, 2\n</source>\n", "3:1", "] or a comma"),
        ("<match a\n  @type null\n</match>\n", "1:9", "there should be >"),
        ("</match>\n", "1:1", "unexpected <"),
        ("<source>\n  path 'it''s'\n</source>\n", "2:12", "does not belong here"),
        ("<source>\n  path {b}\n</source>\n", "2:9", "unexpected b"),
        ("<a>\n" * 100 + "</a>\n" * 100, "65:1", "nested more than 64 levels deep"),
    ],
)
def test_what_cannot_be_read_is_said_with_line_and_column(text: str, place: str, words: str) -> None:
    with pytest.raises(ParseError) as error:
        convert(text, "old.conf")
    assert str(error.value).startswith(f"old.conf:{place}: ")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "path", "more"),
    [
        ("path /o/x", "/o/x.%Y%m%d.log", {}),
        ("path /o/x.*.txt\ntime_slice_format %Y%m%d%H%M", "/o/x.%Y%m%d%H%M.txt", {}),
        ("path /o/x\ncompress gz\ntime_slice_format %Y%m", "/o/x.%Y%m.log.gz", {}),
        ("path /o/%Y/%m/x\npath_suffix .json\n<buffer time>\ntimekey 1d\n</buffer>", "/o/%Y/%m/x.json", {}),
        (
            "path /o/x\n<buffer time>\ntimekey 3600\ntimekey_zone +09:00\n</buffer>",
            "/o/x.%Y%m%d%H.log",
            {"timezone": "Etc/GMT-9"},
        ),
        ("path /o/x\ncompress zstd\ntime_key t\nutc", "/o/x.%Y%m%d.log.zst", {}),
        ("path /o/x\ntimezone Z\nlocaltime", "/o/x.%Y%m%d.log", {"timezone": "UTC"}),
        ("path /o/x\ntimezone Asia/Tokyo", "/o/x.%Y%m%d.log", {"timezone": "Asia/Tokyo"}),
        ("path /o/${tag[0]}-{x}\n<buffer tag>\n</buffer>", "/o/{tag[0]}-{{x}}.log", {}),
        ("path /o/${$.user.username}\n<buffer $.user.username>\n</buffer>", "/o/{user.username}.log", {}),
        ("path /o/x.gz\nadd_path_suffix false\n<buffer []>\n</buffer>", "/o/x.gz", {"compression": "none"}),
        (
            "path /o/x\n<buffer tag>\n</buffer>\n<inject>\ntag_key t\ntime_key when\n</inject>",
            "/o/x.log",
            {"include_time_key": "when", "include_tag_key": "t"},
        ),
        ("path /o/x\ninclude_tag_key true\n<buffer tag>\n</buffer>", "/o/x.log", {"include_tag_key": "tag"}),
    ],
)
def test_a_path_is_put_together_as_fluentd_does(text: str, path: str, more: Mapping[str, Plain]) -> None:
    outcome = converted("", f"<match k>\n@type file\nformat json\n{text}\n</match>\n")
    assert not outcome.remainder
    assert options(outcome.pipelines[0].sinks) == [{"type": "file", "path": path, **more}]


@pytest.mark.parametrize(
    "text",
    [
        "path /o/${chunk_id}",
        "path /o/%F",
        'path "/o/#{hostname}"',
        "",
        "path /o/*\n<buffer tag>\n</buffer>",
        "path /o/x\n<buffer time>\ntimekey soon\n</buffer>",
        "path /o/x\ntimezone +05:30",
        "path /o/x\ntimezone Middle/Earth",
    ],
)
def test_a_path_that_cannot_be_had_leaves_no_pipeline(text: str) -> None:
    outcome = converted("", f"<match k>\n@type file\nformat json\n{text}\n</match>\n")
    assert not outcome.pipelines
    assert sorted(lines(outcome.remainder)) == [1, 7]


def test_the_name_none_gives_way_to_the_name_that_nothing_can_take() -> None:
    record = 'ns ${record.dig("objectRef","namespace") || "none"}'
    record = f"<filter k>\n@type record_transformer\n<record>\n{record}\n</record>\n</filter>\n"
    outcome = converted(record, "<match k>\n@type file\nformat json\npath /o/${ns}\n<buffer ns>\n</buffer>\n</match>\n")
    (pipeline,) = outcome.pipelines
    assert pipeline.sinks[0].options["path"] == "/o/{objectRef.namespace}.log"
    assert pipeline.filters[0].options["default"] == "none", "what stands in the event stays"


def test_a_time_that_is_in_the_event_is_taken_for_its_time() -> None:
    parse = "<parse>\n@type json\ntime_key requestReceivedTimestamp\n</parse>"
    parse = f"<source>\n@type tail\npath /a, /b/*.log\ntag k.*\n{parse}\n</source>\n"
    outcome = convert(parse + "<match k.**>\n@type file\nformat json\npath /o/x\n</match>\n", "old.conf")
    (pipeline,) = outcome.pipelines
    assert pipeline.source.options == {"type": "tail", "paths": ["/a", "/b/*.log"], "tag": "k"}
    assert pipeline.sinks[0].options["time_fields"] == ["requestReceivedTimestamp"]
    assert list(lines(outcome.remainder)) == [4]


def test_sources_that_differ_in_their_paths_alone_are_one() -> None:
    outcome = convert(SOURCE + SOURCE.replace("/log", "/other") + SOURCE.replace("tag k", "tag x") + END, "old.conf")
    assert [pipeline.source.options["paths"] for pipeline in outcome.pipelines] == [["/log", "/other"], ["/log"]]


def test_two_pipelines_do_not_write_one_file() -> None:
    outcome = convert(SOURCE + SOURCE.replace("tag k", "tag x") + file("**", "one"), "old.conf")
    assert [pipeline.name for pipeline in outcome.pipelines] == ["k"]
    assert "go to OUT/one too" in outcome.remainder[0].why


def test_what_is_received_by_http_is_asked_of_everybody_no_more() -> None:
    text = "<source>\n@type http\nport 9000\nbind 0.0.0.0\nbody_size_limit 4m\nkeepalive_timeout 3s\n</source>\n" + END
    outcome = convert(text, "old.conf")
    assert not outcome.remainder
    assert outcome.pipelines[0].source.options == {
        "type": "webhook",
        "listen": "127.0.0.1:9000",
        "tag": "{path[0]}",
        "max_body_bytes": 4 << 20,
    }
    assert "lets everybody send" in lines(outcome.notes)[3]
    tls = "<transport tls>\ncert_path /c\nprivate_key_path /k\nca_path /a\nclient_cert_auth true\n</transport>\n"
    outcome = convert(text.replace("port 9000\n", tls), "old.conf")
    assert not outcome.remainder
    assert outcome.pipelines[0].source.options["listen"] == "0.0.0.0:9880"
    assert outcome.pipelines[0].source.options["client_ca"] == "/a"


def test_a_secret_in_a_record_is_a_variable() -> None:
    outcome = converted("<filter k>\n@type record_transformer\n<record>\napi_token hunter2\n</record>\n</filter>\n")
    assert options(outcome.pipelines[0].filters) == [{"type": "set", "fields": {"api_token": "${API_TOKEN}"}}]
    assert "API_TOKEN" in outcome.variables
