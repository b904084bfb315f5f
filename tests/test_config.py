from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from tailrace.config import ConfigError, Plan, load
from tailrace.registry import Registry
from tailrace.stage import Filter, Sink, Source

HEAD = "state_dir: /state\n"
PIPELINE = HEAD + "pipelines:\n  p:\n    source: {type: list}\n"
SINKS = "    sinks: [{type: out}]\n"
OTHER = HEAD + "pipelines:\n  q: {source: {type: list}, sinks: [{type: out}]}\n"


class Lines(Source, kw_only=True):
    """A source."""

    tag: str = "t"
    adds: list[str] = msgspec.field(default_factory=list)

    def writes(self) -> Iterable[str]:
        return self.adds


class Copy(Filter, kw_only=True):
    """A filter that reads and writes."""

    field: Annotated[str, Meta(description="The field to read.")] = "verb"
    into: str = "copy"

    def reads(self) -> Iterable[str]:
        return [self.field]

    def writes(self) -> Iterable[str]:
        return [self.into]


class Out(Sink, kw_only=True):
    """A sink."""

    path: str = ""
    fields: list[str] = msgspec.field(default_factory=list)

    def reads(self) -> Iterable[str]:
        return self.fields


class Mail(Out, kw_only=True):
    """Another sink."""


class Fixed(Sink, kw_only=True):
    """A sink that reads a field of its own choice."""

    path: str = ""
    size: int = 0
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def reads(self) -> Iterable[str]:
        return ["tennant"]


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add("source", "list", Lines)
    registry.add("filter", "copy", Copy)
    registry.add("sink", "out", Out)
    registry.add("sink", "mail", Mail)
    registry.add("sink", "fixed", Fixed)
    return registry


Load = Callable[..., list[Plan]]
Complain = Callable[..., list[str]]


@pytest.fixture
def load_text(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load texts as the files a.yaml, b.yaml and so on."""
    monkeypatch.chdir(tmp_path)

    def load_text(*texts: str, environ: Mapping[str, str] | None = None) -> list[Plan]:
        names = [f"{letter}.yaml" for letter, _ in zip("abc", texts, strict=False)]
        for name, text in zip(names, texts, strict=True):
            Path(name).write_text(text)
        return list(load(names, registry, environ or {}).plans)

    return load_text


@pytest.fixture
def complain(load_text: Load) -> Complain:
    def complain(*texts: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(*texts, environ=environ)
        assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
        return [str(problem) for problem in caught.value.problems]

    return complain


def with_filter(options: str) -> str:
    return f"{PIPELINE}    filters:\n      - {options}\n{SINKS}"


def test_a_variable_that_is_not_set_is_the_only_problem_of_its_option(complain: Complain) -> None:
    for options in ("{type: '${NONE}', x: 1}", "{type: copy, field: '${NONE}'}"):
        [complaint] = complain(with_filter(options))
        assert "the environment variable NONE is not set" in complaint


# What a good config gives


def test_a_pipeline_is_made_of_its_stages_in_order(load_text: Load) -> None:
    [plan] = load_text(
        "state_dir: ${STATE:-/state}\n"
        "pipelines:\n"
        "  audit-by_namespace1:\n"
        "    schema: audit\n"
        "    commit_interval: 2\n"
        "    source: {type: list, tag: audit}\n"
        "    filters:\n"
        "      - {type: copy, field: objectRef.namespace, into: namespace}\n"
        "      - {type: copy, field: namespace}\n"
        "    sinks:\n"
        '      - {type: out, path: "${OUT}/{namespace}.gz", fields: [namespace], match: "audit.**"}\n',
        environ={"OUT": "/out"},
    )
    assert (plan.name, plan.file, plan.state_dir) == ("audit-by_namespace1", "a.yaml", Path("/state"))
    assert plan.commit_interval == 2.0
    assert isinstance(plan.source, Lines)
    assert plan.source.tag == "audit"
    first, second = plan.filters
    assert isinstance(first, Copy)
    assert isinstance(second, Copy)
    assert (first.field, second.field) == ("objectRef.namespace", "namespace")
    out = plan.sinks["out /out/{namespace}.gz"]
    assert isinstance(out, Out)
    assert (out.path, out.match) == ("/out/{namespace}.gz", "audit.**")


def test_what_is_not_given_has_its_default(load_text: Load) -> None:
    [plan] = load_text(PIPELINE + SINKS)
    assert (plan.filters, plan.commit_interval) == ((), 1.0)


def test_sinks_of_one_type_are_numbered(load_text: Load, registry: Registry) -> None:
    registry.add("sink", "out-2", Mail)
    [plan] = load_text(PIPELINE + "    sinks: [{type: out}, {type: mail}, {type: out-2}, {type: out}, {type: out}]\n")
    assert list(plan.sinks) == ["out", "mail", "out-2", "out-3", "out-4"]


def test_several_files_give_their_pipelines_in_order(load_text: Load) -> None:
    assert [(plan.file, plan.name) for plan in load_text(PIPELINE + SINKS, OTHER)] == [
        ("a.yaml", "p"),
        ("b.yaml", "q"),
    ]


def test_plug_in_folders_are_relative_to_the_file_and_leave_the_registry_alone(
    tmp_path: Path, registry: Registry
) -> None:
    folder = tmp_path / "my-stages"
    folder.mkdir()
    (folder / "masks.py").write_text("from tailrace.stage import Filter\nclass MaskTokens(Filter): pass\n")
    config = tmp_path / "c.yaml"
    config.write_text("plugins: [./my-stages]\n" + with_filter("type: mask_tokens"))
    [plan] = load([config], registry, {}).plans
    assert type(plan.filters[0]).__name__ == "MaskTokens"
    assert "mask_tokens" not in registry.names("filter")


# Files


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe4")
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / "no", tmp_path, tmp_path / "latin"], registry, {})
    assert [problem.message for problem in caught.value.problems] == [
        "cannot read the config file: No such file or directory",
        "cannot read the config file: Is a directory",
        "cannot read the config file: not UTF-8: unexpected end of data",
    ]


def test_all_problems_of_all_files_come_at_once_and_in_order(complain: Complain) -> None:
    first = PIPELINE + "    sinks: [{type: out, pat: x}]\n    commit_interval: soon\nextra: 1\n"
    assert complain(first, "a: [", "state_dir: ${NONE}\nstate: 1\n") == [
        'a.yaml:5:25: sink "out" has no option "pat"; did you mean "path"?',
        'a.yaml:6:22: pipeline "p", option "commit_interval": expected a number, got a string',
        'a.yaml:7:1: the config file has no option "extra"',
        "b.yaml:1:5: not YAML: while parsing a flow node, expected the node content, but found '<stream end>'",
        "c.yaml:1:1: the config file needs the option "
        '"pipelines" (The pipelines by name: letters, digits, and then also `_` and `-`)',
        "c.yaml:1:12: the environment variable NONE is not set; set it, or write ${NONE:-default}",
        'c.yaml:2:1: the config file has no option "state"; did you mean "state_dir"?',
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("just text", "a.yaml:1:1: the config file: expected a mapping of options"),
        (HEAD + "pipelines: {}", 'the config file, option "pipelines": expected a mapping of length >= 1'),
        (HEAD + "pipelines:", 'the config file, option "pipelines": expected a mapping, got nothing'),
        (HEAD + "pipelines: {p: 1}", 'a.yaml:2:16: pipeline "p": expected a mapping of options'),
        (PIPELINE + "    sinks: []", 'pipeline "p", option "sinks": expected a list of length >= 1'),
        (
            PIPELINE + "    sinks: [x]",
            'a.yaml:5:13: pipeline "p", option "sinks": expected a mapping, got a string',
        ),
        ((PIPELINE + SINKS).replace(HEAD, ""), 'a.yaml:1:1: the config file needs the option "state_dir"'),
        (PIPELINE, 'pipeline "p" needs the option "sinks" (Where events go'),
        (HEAD + "pipelines: {p: {sinks: [{type: out}]}}", 'pipeline "p" needs the option "source"'),
        (PIPELINE + "    sinks: {type: out}", 'pipeline "p", option "sinks": expected a list, got a mapping'),
        (PIPELINE + SINKS + "    schema: aduit", 'option "schema": expected "any" or "audit", got "aduit"'),
        (PIPELINE + SINKS + "    commit_interval: 0", "expected a number > 0.0"),
        (PIPELINE + SINKS + "    commit_interval: .inf", "expected a number <= 3600.0"),
        ("plugins: [x]\n" + PIPELINE + SINKS, "a.yaml:1:11: the plug-in folder x does not exist"),
        ("plugins: [5]\n" + PIPELINE + SINKS, "a.yaml:1:11: the config file, option"),
    ],
)
def test_what_is_wrong_at_the_top_is_said(complain: Complain, text: str, expected: str) -> None:
    [complaint] = complain(text)
    assert expected in complaint


@pytest.mark.parametrize("name", ["-x", "a/b", "..", "a b", '""', "ä"])
def test_a_pipeline_must_have_a_name_that_a_directory_can_have(complain: Complain, name: str) -> None:
    text = HEAD + f"pipelines: {{{name}: {{source: {{type: list}}, sinks: [{{type: out}}]}}}}"
    [complaint] = complain(text)
    assert complaint.startswith("a.yaml:2:13: ")
    assert "cannot name a pipeline" in complaint


@pytest.mark.parametrize("state_dir", ["/state", "/other"])
def test_two_pipelines_of_one_name_are_refused(complain: Complain, state_dir: str) -> None:
    assert complain(PIPELINE + SINKS, (PIPELINE + SINKS).replace("/state", state_dir)) == [
        'b.yaml:3:3: there is another pipeline "p" (a.yaml:3), and log and metrics tell them by name; rename one'
    ]


# The admin server


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ('"[::1]:0"', ("::1", 0)), ("${LISTEN:-:9464}", ("0.0.0.0", 9464))],
)
def test_the_address_of_the_admin_server_is_read(
    tmp_path: Path, registry: Registry, listen: str, address: tuple[str, int]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"admin:\n  listen: {listen}\n" + PIPELINE + SINKS)
    assert load([config], registry, {}).admin == address


def test_there_is_no_admin_server_unless_it_is_asked_for(tmp_path: Path, registry: Registry) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(PIPELINE + SINKS)
    assert load([config], registry, {}).admin is None


@pytest.mark.parametrize(
    ("admin", "expected"),
    [
        ("{listen: 9464}", 'a.yaml:1:17: the config file, option "admin": expected a string, got a whole number'),
        ("{listen: localhost}", "a.yaml:1:17: the config file, option \"admin\": 'localhost' is not an address"),
        ("{listen: '::1:9464'}", "put an IPv6 address into brackets: [::1]:9464"),
        ("{listen: '127.0.0.1:70000'}", "a.yaml:1:17: "),
        ("{lisen: '127.0.0.1:1'}", 'there is no key "lisen" here; did you mean "listen"?'),
        ("{}", 'the key "listen" is missing'),
        ("127.0.0.1:9464", 'a.yaml:1:8: the config file, option "admin": expected a mapping'),
        ("{listen: '${NONE}'}", "a.yaml:1:17: the environment variable NONE is not set"),
    ],
)
def test_what_is_wrong_with_the_admin_server_is_said(complain: Complain, admin: str, expected: str) -> None:
    [complaint] = complain(f"admin: {admin}\n" + PIPELINE + SINKS)
    assert expected in complaint


def test_several_files_may_agree_on_the_admin_server_and_not_have_two(complain: Complain, load_text: Load) -> None:
    admin = "admin: {listen: 127.0.0.1:9464}\n"
    assert len(load_text(admin + PIPELINE + SINKS, admin + OTHER)) == 2
    assert complain(admin + PIPELINE + SINKS, admin.replace("9464", "9465") + OTHER) == [
        "b.yaml:1:17: there is one admin server for all config files, and a.yaml:1 has it at 127.0.0.1:9464, "
        "not at 127.0.0.1:9465; remove one of them"
    ]


# Stages


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("{type: coppy}", '6:16: there is no filter "coppy"; did you mean "copy"? (there are: copy)'),
        ("{field: verb}", '6:9: this filter needs the option "type" (there are: copy)'),
        ("{type: 5}", "6:16: the type of a filter is a string; put it in quotes"),
        ("{type: copy, fild: verb}", '6:22: filter "copy" has no option "fild"; did you mean "field"?'),
        ("{type: copy, match: 'a.{b'}", '6:29: filter "copy", option "match": column '),
        ("{type: copy, match: 5}", '6:29: filter "copy", option "match": expected a string or nothing'),
    ],
)
def test_a_stage_that_cannot_be_made_is_an_error(complain: Complain, options: str, expected: str) -> None:
    [complaint] = complain(with_filter(options))
    assert complaint.startswith("a.yaml:" + expected)


def test_what_an_alias_repeats_is_wrong_once(complain: Complain) -> None:
    [complaint] = complain(PIPELINE + "    filters: [&copy {type: copy, fild: x}, *copy]\n" + SINKS)
    assert "fild" in complaint


def test_two_sinks_with_one_path_are_refused_wherever_they_are(complain: Complain) -> None:
    sinks = "    sinks: [{type: out, path: '${OUT}/./x'}, {type: mail, path: /out/x}]\n"
    other = HEAD + "pipelines:\n  q:\n    source: {type: list}\n    sinks:\n    - type: out\n      path: /out//x\n"
    assert complain(PIPELINE + sinks, other, environ={"OUT": "/out"}) == [
        'b.yaml:7:13: sink "out" has the same path as the one at a.yaml:5; a file can have one writer only'
    ]


# Fields


@pytest.mark.parametrize(
    "field",
    [
        *(
            "verb",
            "user",
            "user.username",
            "user.extra.key",
            "impersonatedUser.groups",
            "objectRef.namespace",
        ),
        *(
            "responseStatus.code",
            "requestObject.spec.x",
            'annotations["a.b/c"]',
            "timestamp",
            "metadata.name",
        ),
        *("added", "added.below", "deep.er", "deep"),
    ],
)
def test_fields_of_an_event_and_of_the_stages_before_are_known(load_text: Load, field: str) -> None:
    text = PIPELINE.replace("list}", "list, adds: [added]}")
    copies = f"    filters: [{{type: copy, into: deep.er}}, {{type: copy, field: '{field}'}}]\n"
    assert load_text(text + copies + SINKS)


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("objectRef.namespac", "objectRef.namespace"),
        ("objectref.namespace", "objectRef.namespace"),
        ("namespace", "objectRef.namespace"),
        ("users", "user"),
        ("aded", "added"),
        ("copy", None),
    ],
)
def test_a_field_that_nobody_writes_is_an_error_with_the_nearest(
    complain: Complain, field: str, near: str | None
) -> None:
    text = PIPELINE.replace("list}", "list, adds: [added]}")
    hint = f'; did you mean "{near}"?' if near else ""
    assert complain(text + f"    filters: [{{type: copy, field: {field}}}]\n" + SINKS) == [
        f'a.yaml:5:35: an audit event has no field "{field}", and no earlier filter writes it{hint} '
        "(for other logs: schema: any)"
    ]


def test_a_sink_may_not_read_what_nobody_writes_even_if_its_neighbour_is_broken(complain: Complain) -> None:
    sinks = "    sinks:\n    - {type: out, pat: x}\n    - {type: out, path: 'a-{tennant}', fields: [tennant]}\n"
    first, second = complain(PIPELINE + sinks)
    assert "pat" in first
    assert second.startswith('a.yaml:7:49: an audit event has no field "tennant"')


@pytest.mark.parametrize(
    ("sink", "column"),
    [
        ("{type: fixed}", 13),
        ("{type: fixed, path: my-tennants, size: 5}", 13),
        ("{type: fixed, path: 'x/{tennant}'}", 33),
        ("{type: fixed, path: 'x/{tennant}', headers: {a: 'no', tennant: b}}", 67),
    ],
)
def test_an_unknown_field_is_placed_at_the_option_that_mentions_it_or_else_at_the_stage(
    complain: Complain, sink: str, column: int
) -> None:
    [complaint] = complain(PIPELINE + f"    sinks: [{sink}]\n")
    assert complaint.startswith(f'a.yaml:5:{column}: an audit event has no field "tennant"')


def test_what_a_broken_filter_would_write_is_not_guessed_at(complain: Complain) -> None:
    filters = "    filters: [{type: copy, into: x, fild: y}, {type: copy, field: x}]\n"
    [complaint] = complain(PIPELINE + filters + SINKS)
    assert "fild" in complaint


def test_other_logs_may_have_any_field(load_text: Load) -> None:
    assert load_text(PIPELINE + "    schema: any\n    filters: [{type: copy, field: whatever}]\n" + SINKS)


def test_a_field_that_is_not_well_written_is_an_error(complain: Complain) -> None:
    [complaint] = complain(PIPELINE + "    filters: [{type: copy, field: 'a..b'}]\n" + SINKS)
    assert complaint.startswith("a.yaml:5:35: 'a..b' is not a field name (column 2)")
