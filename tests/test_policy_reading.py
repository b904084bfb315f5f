from __future__ import annotations

import pytest

from tailrace_plugins.filters.audit_policy import Policy, PolicyError

HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"


def wrong(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "p.yaml")
    return str(caught.value).splitlines()


def said(text: str, *places_and_words: tuple[str, str]) -> None:
    """Check that these problems are named, in this order, and no others."""
    found = wrong(text)
    assert len(found) == len(places_and_words), found
    for problem, (place, words) in zip(found, places_and_words, strict=True):
        assert problem.startswith(f"p.yaml:{place}: ")
        assert words in problem


def test_all_that_is_wrong_is_named_at_once_with_line_and_column() -> None:
    said(
        "apiVersion: audit.k8s.io/v1beta1\nkind: PolicyList\nrules:\n- level: metadata\n  user: [a]\n- verbs: get\n",
        ("1:13", "must be audit.k8s.io/v1"),
        ("2:7", "must be Policy"),
        ("4:10", "did you mean Metadata?"),
        ("5:3", "did you mean users?"),
        ("6:3", "needs a level"),
        ("6:10", "expected a list, not 'get'"),
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("rules:\n- level: None\n  level: Request\n", "5:3", "occurs twice"),
        ("rules:\n- level: None\nrules: []\n", "5:1", "occurs twice"),
        ("rules: {level: None}\n", "3:8", "expected a list, not a mapping"),
        ("rules:\n- None\n", "4:3", "expected a mapping, not 'None'"),
        ("rules:\n- level: [None]\n", "4:10", "expected a string, not a list"),
        ("rules:\n- level: None\n  users: [1.0]\n", "5:11", "expected a string, not 1.0; put it in quotes"),
        ("rules:\n- level: None\n  users: [yes]\n", "5:11", "expected a string, not true; put it in quotes"),
        ("rules:\n- level: None\n  omitStages: [RequestRecieved]\n", "5:16", "did you mean RequestReceived?"),
        ("rules:\n- level: None\n  omitManagedFields: 'true'\n", "5:22", "expected true or false, not 'true'"),
        ("rules:\n- level: None\n  resources: [{group: apps/v1}]\n", "5:23", "a version is not part of it"),
        ("rules:\n- level: None\n  resources: [{group: Apps}]\n", "5:23", "is no group of the API"),
        (f"rules:\n- level: None\n  resources: [{{group: {'a' * 254}}}]\n", "5:23", "is no group of the API"),
        ("rules:\n- level: None\n  resources: [{resourceNames: [a]}]\n", "5:31", "need resources"),
        ("rules:\n- level: None\n  resources: [{resource: [a]}]\n", "5:16", "did you mean resources?"),
        ("rules:\n- level: None\n  namespaces: ['']\n  nonResourceURLs: [/a]\n", "6:20", "make two rules of it"),
        ("omitStages: Panic\nrules:\n- level: None\n", "3:13", "expected a list"),
        ("metadata: a\nrules:\n- level: None\n", "3:11", "expected a mapping"),
        ("metadata: {nmae: a}\nrules:\n- level: None\n", "3:12", "did you mean name?"),
        ("metadata: {name: 1}\nrules:\n- level: None\n", "3:18", "expected a string"),
        ("metadata: {labels: {a: 1}}\nrules:\n- level: None\n", "3:24", "expected a string"),
        ("metadata: {annotations: [a]}\nrules:\n- level: None\n", "3:25", "expected a mapping of strings"),
        ("rules:\n- level: !level None\n", "4:10", "the tag !level is not supported"),
        ("kind: null\nrules: [{level: None}]\n", "3:1", "occurs twice"),
        ("rules: []\n", "1:1", "there are no rules"),
        ("rules: null\n", "1:1", "there are no rules"),
        ("metadata: {}\n", "1:1", "there are no rules"),
        ("rules:\n- level: None\n---\na: b\n", "5:1", "not YAML"),
        ("rules:\n- [\n", "5:1", "not YAML"),
    ],
)
def test_a_mistake_is_named_where_it_is(text: str, place: str, words: str) -> None:
    said(HEAD + text, (place, words))


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), ("# nothing\n", "empty"), ("[]", "expected a mapping"), ("a", "a mapping")]
)
def test_a_file_that_is_no_mapping_is_no_policy(text: str, words: str) -> None:
    assert words in wrong(text)[0]


def test_null_is_no_kind_and_a_rule_that_is_null_has_no_level() -> None:
    text = "apiVersion: audit.k8s.io/v1\nkind: null\nrules: [null]\n"
    said(text, ("2:7", "kind must be Policy, not null"), ("3:9", "a rule needs a level"))


def test_a_dollar_is_a_dollar() -> None:
    policy = Policy.parse(HEAD + "rules:\n- level: None\n  users: ['${HOME}', '$$', \"${\"]\n")
    assert policy.rules[0].users == ("${HOME}", "$$", "${")


def test_a_byte_order_mark_is_passed_over() -> None:
    assert Policy.parse("\ufeff" + HEAD + "rules:\n- level: None\n").rules[0].level == "None"


def test_the_whole_of_metadata_may_stand_there() -> None:
    text = HEAD + "metadata: {name: n, labels: {a: b}, annotations: null, finalizers: [x], generation: 3}\n"
    assert len(Policy.parse(text + "rules: [{level: None}]\n").rules) == 1
    assert len(Policy.parse(HEAD + "metadata:\nrules: [{level: None}]\n").rules) == 1


def test_a_merged_key_gives_way_to_the_rules_own() -> None:
    policy = Policy.parse(HEAD + "rules:\n- &a {level: Metadata, verbs: [get]}\n- {<<: *a, level: None}\n")
    assert [(rule.level, rule.verbs) for rule in policy.rules] == [("Metadata", ("get",)), ("None", ("get",))]


def test_json_is_read_as_json_writes_it() -> None:
    policy = Policy.parse(
        '{\n\t"apiVersion": "audit.k8s.io/v1",\n\t"kind": "Policy",\n\t"rules": [{\n\t\t"level": "None",'
        '\n\t\t"users": ["\\ud83d\\ude00", "\\ud800", "\\u652f\\u4ed8"]\n\t}]\n}\n'
    )
    assert policy.rules[0].users == ("\U0001f600", "\ufffd", "支付")
