"""The commands `tailrace policy …`, as processes."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / "configs" / "policies" / "archive.yaml"
SAMPLE = ROOT / "tests" / "data" / "audit-sample.log.gz"
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
POLICY = (
    HEAD
    + """omitStages: [Panic]
rules:
- level: None
  users: [bob, carol]
- level: None
  userGroups: [admins]
- level: None
  verbs: [watch]
- level: None
  namespaces: [team-b]
- level: None
  resources:
  - group: apps
  - group: ""
    resources: [pods, pods/exec]
  - resources: [pods/log]
    resourceNames: [web-1]
- level: None
  nonResourceURLs: [/healthz*]
- level: Metadata
  namespaces: [team-a]
  omitStages: [ResponseStarted]
- level: Request
"""
)
EVENT = {
    "level": "RequestResponse",
    "stage": "ResponseComplete",
    "verb": "get",
    "requestURI": "/api/v1/namespaces/team-a/pods/web-0/log",
    "user": {"username": "alice\x1b[31m", "groups": ["devs"]},
    "objectRef": {"namespace": "team-a", "resource": "pods", "subresource": "log", "name": "web-0"},
    "responseObject": {"metadata": {"managedFields": []}},
}


def tailrace(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tailrace", "policy", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def wrote(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_check_names_each_mistake_and_what_can_never_match(tmp_path: Path) -> None:
    assert tailrace("check", ARCHIVE).stdout == f"ok: {ARCHIVE}: 7 rules\n"
    bad = wrote(tmp_path, "bad.yaml", HEAD + "rules:\n- level: metadata\n- levle: None\n")
    result = tailrace("check", bad)
    assert (result.returncode, result.stdout) == (2, "")
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        f"{bad}:{at}" for at in ("4:10", "5:3", "5:3")
    ]
    shadowed = wrote(tmp_path, "s.yaml", HEAD + "rules:\n- level: Metadata\n- level: None\n- level: Request\n")
    result = tailrace("check", shadowed)
    assert result.returncode == 0
    assert (
        result.stderr
        == f"{shadowed}:4: warning: rule 1 matches every request, so the 2 rules after it are never reached\n"
    )
    for name, content in (("missing", None), ("latin", b"\xe9")):
        if content:
            (tmp_path / name).write_bytes(content)
        assert tailrace("check", tmp_path / name).returncode == 2


def test_explain_says_for_each_rule_why_it_does_not_match(tmp_path: Path) -> None:
    policy = wrote(tmp_path, "p.yaml", POLICY)
    event = wrote(tmp_path, "event.json", json.dumps(EVENT, indent=2))
    result = tailrace("explain", policy, "--event", event)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        r"request: 'get' of 'pods/log' of group '' named 'web-0' in namespace 'team-a' by 'alice\x1b[31m' of 'devs'",
        rf"{policy}:5: rule 1 does not match: users: 'alice\x1b[31m' is none of 'bob', 'carol'",
        f"{policy}:7: rule 2 does not match: userGroups: none of 'devs' is one of 'admins'",
        f"{policy}:9: rule 3 does not match: verbs: 'get' is not 'watch'",
        f"{policy}:11: rule 4 does not match: namespaces: 'team-a' is not 'team-b'",
        f"{policy}:13: rule 5 does not match: resources: the group is '', not 'apps'; "
        "'pods/log' is none of 'pods', 'pods/exec'; the name 'web-0' is not 'web-1'",
        f"{policy}:20: rule 6 does not match: nonResourceURLs: the request is for a resource",
        f"{policy}:22: rule 7 matches: it asks for namespaces",
        "level: Metadata, not in the stages 'Panic', 'ResponseStarted'",
        "this event: its level falls from 'RequestResponse' to Metadata; loses responseObject",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage": "Panic"}, "this event: is dropped, for its stage is 'Panic'"),
        ({"user": {"username": "bob"}}, "this event: is dropped"),
        ({"level": "Metadata", "responseObject": None}, "this event: loses responseObject"),
        ({"verb": "watch"}, "rule 3 matches: it asks for verbs"),
        ({"objectRef": None}, "namespaces: the request is not for a resource, but for the path '/api/v1/"),
        ({"objectRef": None, "requestURI": "/version"}, "nonResourceURLs: '/version' is not '/healthz*'"),
        ({"objectRef": None, "requestURI": "/version", "level": "Metadata"}, "recorded at the lower level 'Metadata'"),
        ({"objectRef": {"resource": "nodes"}, "level": "Request"}, "in no namespace by"),
        ({"objectRef": {"resource": "nodes"}, "level": "Request"}, "rule 8 matches: it asks for nothing"),
    ],
)
def test_explain_says_what_becomes_of_the_event(tmp_path: Path, change: dict[str, object], words: str) -> None:
    policy = wrote(tmp_path, "p.yaml", POLICY)
    result = tailrace("explain", policy, "-e", "-", stdin=json.dumps(EVENT | change))
    assert result.returncode == 0, result.stderr
    assert words in result.stdout


def test_explain_takes_a_list_of_one_and_no_rule_for_an_answer(tmp_path: Path) -> None:
    text = HEAD + "omitManagedFields: true\nrules: [{level: Request, users: [a, b, c, d, e, f, g, h, i, j]}]\n"
    policy = wrote(tmp_path, "p.yaml", text)
    result = tailrace("explain", policy, "-e", "-", stdin=json.dumps({"kind": "EventList", "items": [EVENT]}))
    assert "'g', 'h' and 2 more\nno rule matches, which means None\nlevel: None, without managed" in result.stdout
    policy = wrote(tmp_path, "p.yaml", HEAD + "omitManagedFields: true\nrules: [{level: RequestResponse}]\n")
    result = tailrace("explain", policy, "-e", "-", stdin=json.dumps(EVENT))
    assert result.stdout.endswith("this event: loses the managed fields that it has\n")
    bare = {key: value for key, value in EVENT.items() if key != "responseObject"}
    assert "this event: stays as it is" in tailrace("explain", policy, "-e", "-", stdin=json.dumps(bare)).stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "stdin: this is not one event in JSON"),
        ("{}\n{}", "stdin: this is not one event in JSON"),
        ("[]", "stdin: this is no event"),
        ('{"items":[{},{}]}', "stdin: this is a list of 2 events; give one of them"),
        ("{}", "stdin: the policy cannot be applied: requestURI is no URI of a request: it is empty"),
    ],
)
def test_what_is_no_event_is_bad_usage(text: str, words: str) -> None:
    result = tailrace("explain", ARCHIVE, "-e", "-", stdin=text)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(words)
    assert tailrace("explain", ARCHIVE, "-e", "/nowhere").returncode == 2


OLD = HEAD + "rules:\n- level: None\n  verbs: [get]\n- level: RequestResponse\n"
NEW = (
    HEAD
    + "omitStages: [Panic]\nrules:\n- level: Metadata\n  verbs: [get, put]\n"
    + "- level: RequestResponse\n  verbs: [post, list]\n"
)
LINES = [
    b'{"level":"Request","verb":"get","objectRef":{},"stageTimestamp":"2026-11-23T00:00:00.000000Z"}',
    b'{"level":"Metadata","verb":"list","objectRef":{},"stageTimestamp":"2026-11-23T12:00:00.000000Z"}',
    b'{"level":"RequestResponse","verb":"put","objectRef":{},"responseObject":null,"requestObject":{"a":"b"}}',
    b'{"level":"RequestResponse","verb":"post","stage":"Panic","objectRef":{},"stageTimestamp":"soon"}',
    b'{"level":"Metadata","verb":"delete","objectRef":{},"stageTimestamp":"2026-11-23T06:00:00.000000"}',
    b'{"verb":"get"}',
    b"not JSON",
]


def table(text: str, policy: Path) -> list[list[str]]:
    """Give the rows of one policy's table, without what is between its columns."""
    lines = text[text.index(str(policy)) :].splitlines()[2:]
    return [line.split() for line in lines[: lines.index("")]]


def test_diff_counts_what_each_rule_leaves_and_what_is_lost_and_gained(tmp_path: Path) -> None:
    old, new = wrote(tmp_path, "old.yaml", OLD), wrote(tmp_path, "new.yaml", NEW)
    plain, compressed = tmp_path / "a.log", tmp_path / "b.log.gz"
    plain.write_bytes(b"\n".join(LINES[:3]))
    compressed.write_bytes(gzip.compress(b"\n".join(LINES[3:5]) + b"\n") + gzip.compress(b"\n".join(LINES[5:]) + b"\n"))
    result = tailrace("diff", old, new, plain, compressed)
    assert result.returncode == 0, result.stderr
    sizes = [len(line) + 1 for line in LINES]
    reduced = len(b'{"level":"Metadata","verb":"put","objectRef":{}}') + 1
    lowered = sizes[0] + len("Metadata") - len("Request")
    assert result.stdout.splitlines()[:2] == [
        f"log: 6 events, {sum(sizes[:6])} bytes, 12.0 hours",
        "  and 1 lines that are no events",
    ]
    kept = sum(sizes[1:5])
    assert table(result.stdout, old) == [
        ["1", "(line", "4)", "None", "1", str(sizes[0]), "0", "0", "0.0"],
        ["2", "(line", "6)", "RequestResponse", "4", str(kept), "4", str(kept), "0.0"],
        ["all", "5", str(sizes[0] + kept), "4", str(kept), "0.0"],
        ["and", "1", "events", "that", "no", "policy", "can", "judge"],
    ]
    assert table(result.stdout, new) == [
        ["1", "(line", "5)", "Metadata", "2", str(sizes[0] + sizes[2]), "2", str(lowered + reduced), "0.0"],
        ["2", "(line", "7)", "RequestResponse", "2", str(sizes[1] + sizes[3]), "1", str(sizes[1]), "0.0"],
        ["none", "matches", "None", "1", str(sizes[4]), "0", "0", "0.0"],
        ["all", "5", str(sizes[0] + kept), "3", str(lowered + reduced + sizes[1]), "0.0"],
        ["and", "1", "events", "that", "no", "policy", "can", "judge"],
    ]
    lost = f"2 events ({sizes[3] + sizes[4]} bytes); requestObject of 1 events, responseObject of 1 events"
    assert f"\nlost from OLD to NEW: {lost}\n" in result.stdout
    gained = f"1 events ({lowered} bytes); requestObject of 0 events, responseObject of 0 events"
    assert f"\ngained from OLD to NEW: {gained}\n" in result.stdout
    assert "\n1 events were recorded at a lower level than NEW asks for" in result.stdout


def test_diff_tells_megabytes_per_day_from_a_real_log() -> None:
    result = tailrace("diff", ARCHIVE, ARCHIVE, SAMPLE)
    assert result.returncode == 0, result.stderr
    assert "log: 2999 events, 6090204 bytes, 29.7 seconds" in result.stdout
    old, new = result.stdout.split("in all: ")[1].split(" MB per day become ")
    assert float(old) == float(new.split()[0]) > 1000
    assert "(+0.0 %)" in new
    assert "lost from OLD to NEW: 0 events (0 bytes)" in result.stdout


def test_diff_of_a_log_without_times_or_without_its_end_says_so(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(LINES[0] + b"\n")
    assert "the log is too short to say" in tailrace("diff", ARCHIVE, ARCHIVE, log).stdout
    log.write_bytes(SAMPLE.read_bytes()[:-1000])
    result = tailrace("diff", ARCHIVE, ARCHIVE, log)
    assert (result.returncode, result.stdout) == (1, "")
    assert "not a whole gzip file" in result.stderr
    assert tailrace("diff", ARCHIVE, ARCHIVE, tmp_path / "none").returncode == 1
