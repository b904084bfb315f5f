"""An audit policy means here what it means to the API server, whose own code made these cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.testing import apply
from tailrace_plugins.filters.audit_policy import AuditPolicy, Policy, PolicyError
from tailrace_plugins.policy.explanation import explain

DATA = Path(__file__).parent / "data" / "policy-cases"
Case = dict[str, Any]


def cases(name: str) -> list[Case]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").split("\n") if line]


def parse(case: Case) -> Policy:
    return Policy.parse(json.dumps(case["policy"], ensure_ascii=False))


JUDGED = [  # each policy with its events and what is expected of them
    *(pytest.param(case, [case], id=case["id"]) for name in ("checker.jsonl", "edges.jsonl") for case in cases(name)),
    *(pytest.param(case, case["tests"], id=case["id"]) for case in cases("evaluate.jsonl")),
]


@pytest.mark.parametrize(("case", "tests"), JUDGED)
def test_a_policy_judges_as_the_api_server_does(case: Case, tests: list[Case]) -> None:
    policy = parse(case)
    for test in tests:
        verdict = policy.evaluate(test["event"])
        if "error" in test["expect"]:
            assert verdict.error is not None
            assert policy.enforce(test["event"]) is None
        else:
            assert verdict.error is None
            assert {
                "level": verdict.level,
                "rule": verdict.rule,
                "omitStages": sorted(verdict.omit_stages),
                "omitManagedFields": verdict.omit_managed_fields,
            } == {key: value for key, value in test["expect"].items() if key != "matching"}


@pytest.mark.parametrize(("case", "tests"), JUDGED)
def test_an_explanation_names_the_rule_and_a_reason_for_each_before_it(case: Case, tests: list[Case]) -> None:
    policy = parse(case)
    for test in tests:
        if "error" in test["expect"]:
            continue
        lines = explain(policy, "policy", test["event"])
        said = [line for line in lines if ": rule " in line]
        rule = test["expect"]["rule"]
        assert ["matches: " in line for line in said] == (
            [False] * len(policy.rules) if rule is None else [False] * rule + [True]
        )
        assert all(" does not match: " in line for line in said[:-1])


def expected(case: Case) -> Case | None:
    """Give the event that is to be left; here one keeps its level where the policy's is higher."""
    result: Case | None = case["result"]
    return {**result, "level": case["event"]["level"]} if result and case["expect"]["raised"] else result


@pytest.mark.parametrize("case", cases("enforce.jsonl"), ids=lambda case: case["id"])
def test_what_is_left_of_an_event_is_what_the_api_server_leaves(case: Case, tmp_path: Path) -> None:
    event = json.loads(json.dumps(case["event"]))
    assert parse(case).enforce(event) == expected(case)
    assert event == case["event"], "the event itself is not changed"
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(case["policy"], ensure_ascii=False))
    line = json.dumps(case["event"], indent=None, separators=(", ", ":")).encode()
    left = apply(AuditPolicy(file=str(file)), [line])
    assert left.rejects == []
    assert [json.loads(each) for each in left.lines] == ([] if expected(case) is None else [expected(case)])
    if expected(case) == case["event"]:
        assert left.lines == [line]


@pytest.mark.parametrize("case", cases("validate.jsonl"), ids=lambda case: case["name"])
def test_a_policy_is_refused_where_the_api_server_refuses_it_or_warns_of_its_keys(case: Case) -> None:
    warns = any("unknown field" in warning for warning in case["expect"].get("warnings", ()))
    if case["expect"]["accepted"] and not warns:
        Policy.parse(case["policy"])
    else:
        with pytest.raises(PolicyError) as caught:
            Policy.parse(case["policy"], "policy.yaml")
        assert all(str(problem).startswith(f"policy.yaml:{problem.line}:") for problem in caught.value.problems)
