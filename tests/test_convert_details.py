"""Small print of the conversion: values of fluentd configs, regular expressions of Ruby, names, YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from converting import lines, options, run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailrace.document import Plain, parse
from tailrace_plugins.converting import fluentd, logstash
from tailrace_plugins.converting.fluentdparsing import Section
from tailrace_plugins.converting.fluentdparsing import parse as parse_fluentd
from tailrace_plugins.converting.outcome import Outcome, ParseError, Untranslatable, visible
from tailrace_plugins.converting.regexes import Dialect, from_ruby, of_some_text
from tailrace_plugins.converting.writing import scalar


@pytest.mark.parametrize(
    ("written", "value", "ruby"),
    [
        ("", "", False),
        ("a b # c", "a b", False),
        ("a#b", "a#b", False),
        ('"a\\n\\"b\\" # c"', 'a\n"b" # c', False),
        ('"a\nb"', "a\nb", False),
        ("'a\\'b'", "a'b", False),
        ('"#{x}"', "#{x}", True),
        ('"\\#{x}"', "#{x}", False),
        ("#{x}", "", False),
        ('["a", 1,\n  true, [null], word] # c', '["a", 1, true, [null], "word"]', False),
        ('{"a": {"b": []}, "c" : "d"}', '{"a": {"b": []}, "c": "d"}', False),
        ('["#{x}"]', '["#{x}"]', True),
        ('{"a": "#{x}"}', '{"a": "#{x}"}', True),
        ("[]", "[]", False),
        ("{}", "{}", False),
    ],
)
def test_a_value_is_what_fluentd_reads(written: str, value: str, ruby: bool) -> None:
    root = parse_fluentd(f"<a>\n  key {written}\n</a>", "old.conf")
    (param,) = root.sections[0].params
    assert (param.key, param.text, param.ruby) == ("key", value, ruby)
    assert (param.place.line, param.place.column) == (2, 3)


def test_values_are_not_nested_without_end() -> None:
    with pytest.raises(ParseError, match="nested more than 64 levels deep"):
        parse_fluentd("a " + "[" * 80 + "]" * 80, "old.conf")


@settings(max_examples=40)
@given(st.text(alphabet="<>/ab \"'#{}[]\n\\,:1", max_size=30))
def test_any_text_is_a_config_or_says_where_it_is_none(text: str) -> None:
    for read in (fluentd.convert, logstash.convert):
        try:
            read(text, "old.conf")
        except ParseError as error:
            problem = error.problem
            assert 1 <= problem.line <= text.count("\n") + 2
            assert problem.column >= 1


@pytest.mark.parametrize(
    ("ruby", "python", "cel"),
    [
        ("abc", "abc", "abc"),
        ("/a\\/b/i", "(?i)a/b", "(?i)a/b"),
        ("/a.b/mx", "(?sx)a.b", "(?sx)a.b"),
        ("^a$", "(?m)^a$", "(?m)^a$"),
        ("\\Aa\\z", "\\Aa\\Z", "\\Aa\\z"),
        ("(?<n>\\h+)\\H[\\h]", "(?P<n>[0-9a-fA-F]+)[^0-9a-fA-F][0-9a-fA-F]", None),
        ("(?<=a)b", "(?<=a)b", None),
        ("(a)\\1", "(a)\\1", None),
        ("a\\Z", None, None),
        ("\\Ra", None, None),
        ("[[:alpha:]]", None, None),
        ("[a&&b]", None, None),
        ("(a", None, None),
        ("/a/q", "/a/q", "/a/q"),
    ],
)
def test_a_regular_expression_of_ruby_is_written_in_both_dialects(
    ruby: str, python: str | None, cel: str | None
) -> None:
    wanted: list[tuple[Dialect, str | None]] = [("python", python), ("cel", cel)]
    for dialect, expected in wanted:
        if expected is not None:
            assert from_ruby(ruby, dialect) == expected
        elif python is None or (dialect == "cel" and "\\1" in ruby):
            with pytest.raises(Untranslatable):
                from_ruby(ruby, dialect)


@pytest.mark.parametrize("pattern", [".*", "(?m)^", "x*$", "(?P<n>a?)", "(?im)b|"])
def test_a_pattern_of_some_text_is_found_where_it_was_but_in_no_empty_text(pattern: str) -> None:
    for text in ("", "a", "b\nc", "xx"):
        assert (re.search(of_some_text(pattern), text) is not None) == bool(text and re.search(pattern, text))


def tail(*params: str) -> Outcome:
    text = "<source>\n@type tail\npath /log\ntag k\nformat json\n" + "\n".join(params)
    return fluentd.convert(text + "\n</source>\n<match k>\n@type null\n</match>\n", "old.conf")


@pytest.mark.parametrize(
    ("param", "more"),
    [
        ("path /a/%Y%m%d.log,/b/%Y-*", {"paths": ["/a/*.log", "/b/*-*"]}),
        ('exclude_path ["/a/*.gz", "/b"]', {"exclude": ["/a/*.gz", "/b"]}),
        ("max_line_size 2m", {"max_line_bytes": 2 << 20}),
        ("max_line_size 700", {"max_line_bytes": 700}),
        ("format none", {}),
        ("read_from_head false", {"read_from": "end"}),
        ('path "[x"', {"paths": ["[x"]}),
        ("keep_time_key true", {}),
        ("rotate_wait 5", {}),
        ("@log_level warn", {}),
    ],
)
def test_options_of_a_tail_are_translated_or_not_needed(param: str, more: dict[str, Plain]) -> None:
    outcome = tail(param)
    assert not outcome.remainder
    assert outcome.pipelines[0].source.options == {"type": "tail", "paths": ["/log"], "tag": "k"} | more
    assert 6 in lines(outcome.needless + outcome.notes) or more


@pytest.mark.parametrize(
    "param",
    [
        "format /(?<a>.)/",
        "max_line_size much",
        "path",
        'path "#{x}"',
        "tag",
        "@type exec",
        "path_key p",
        "encoding utf-16",
    ],
)
def test_options_of_a_tail_that_have_no_counterpart_are_named(param: str) -> None:
    assert {1, 6} & set(lines(tail(param).remainder))


def test_a_source_without_a_type_and_a_filter_without_one_are_named() -> None:
    text = "<source>\n</source>\n<source>\n@type tail\npath /l\ntag k\nformat json\n</source>\n<filter>\n</filter>\n"
    text += "<match>\n</match>\n<match k>\n@type null\n</match>\n"
    assert sorted(lines(fluentd.convert(text, "old.conf").remainder)) == [1, 3, 9, 11, 13]


def test_a_dollar_in_the_name_of_a_field_is_no_variable(tmp_path: Path) -> None:
    record = '${a} b\nx ${record["${b"]}\nc ${record["$$"]}!'
    text = f"<filter k>\n@type record_transformer\nremove_keys ${{d\n<record>\n{record}\n</record>\n</filter>\n"
    text += f"<match k>\n@type file\nformat json\npath {tmp_path}/out\n<buffer tag>\n</buffer>\n</match>\n"
    source = f"<source>\n@type tail\npath {tmp_path}/log\ntag k\nformat json\n</source>\n"
    (tmp_path / "log").write_text('{"${b":1,"$$":2,"${d":3}\n')
    run(fluentd.convert(source + text, "old.conf"), tmp_path)
    assert json.loads((tmp_path / "out.log").read_text()) == {"${b": 1, "$$": 2, "${a}": "b", "x": "1", "c": "2!"}


def test_two_pipelines_of_one_name_get_two() -> None:
    sources = "".join(f"<source>\n@type tail\n@id a.b\npath /{n}\ntag k{n}\nformat json\n</source>\n" for n in range(2))
    outcome = fluentd.convert(sources + "<match **>\n@type stdout\n@id x\n</match>\n", "old.conf")
    assert [pipeline.name for pipeline in outcome.pipelines] == ["a-b", "a-b-2"]


@pytest.mark.parametrize(
    ("between", "path"),
    [
        ("", "/o/{objectRef.namespace}"),
        ("<record>\na b\n</record>", "/o/{objectRef.namespace}"),
        ("<record>\nns b\n</record>", "/o/{ns}"),
        ("<record>\nobjectRef b\n</record>", "/o/{ns}"),
        ("remove_keys verb", "/o/{ns}"),
    ],
)
def test_a_path_names_the_field_itself_unless_a_filter_changes_it(between: str, path: str) -> None:
    made = 'ns ${record.dig("objectRef","namespace") || "none"}'
    record = f"<filter k>\n@type record_transformer\n<record>\n{made}\n</record>\n</filter>\n"
    if between:
        record += f"<filter k>\n@type record_transformer\n{between}\n</filter>\n"
    end = "<match k>\n@type file\nformat json\npath /o/${ns}\nadd_path_suffix false\n<buffer ns>\n</buffer>\n</match>\n"
    text = "<source>\n@type tail\npath /log\ntag k\nformat json\n</source>\n"
    (pipeline,) = fluentd.convert(text + record + end, "old.conf").pipelines
    assert options(pipeline.sinks)[0]["path"] == path


@example(":0")
@given(st.one_of(st.text(max_size=12), st.text(alphabet="-:?.~0x1e+ \n'\"$#@yn", max_size=6)))
def test_a_scalar_is_read_as_what_it_was(text: str) -> None:
    written = scalar(text)
    forms: list[tuple[str, Plain]] = [
        (written, text),
        (f"[{written}, x]", [text, "x"]),
        (f"{{a: {written}}}", {"a": text}),
    ]
    for form, expected in forms:
        value, problems = parse(f"a: {form}", "new.yaml", None)
        if problems:
            assert not text.isprintable(), "what no YAML file may hold"
        else:
            assert value is not None
            assert value.plain() == {"a": expected}


def test_what_could_change_a_terminal_is_shown_in_words() -> None:
    assert visible("a\x1b[31m\nb…é") == "a\\x1b[31m\\nb…é"
    section = Section("match", "a\x1b", parse_fluentd("", "old.conf").place)
    assert "\x1b" not in visible(str(section))
