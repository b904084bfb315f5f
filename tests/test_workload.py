from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from benchmarks import workload

SCRIPT = Path(workload.__file__)
RECORDED = "26dafaee19447e0055caf1dcfa77333104be28e2707dcb0d1d7ef15e07be6262"


def records(events: int, **options: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in workload.lines(7, events, **options)]


def test_same_seed_gives_the_recorded_bytes() -> None:
    text = b"\n".join(workload.lines(1, 2_000))
    assert hashlib.sha256(text).hexdigest() == RECORDED


def test_another_seed_gives_other_bytes() -> None:
    assert list(workload.lines(1, 10)) != list(workload.lines(2, 10))


@pytest.mark.parametrize("events", [0, 1, 63, 64, 65, 500])
def test_as_many_lines_come_as_were_asked_for(events: int) -> None:
    assert len(list(workload.lines(1, events))) == events


def test_lines_are_compact_json_without_newlines_and_with_the_escapes_of_go() -> None:
    lines = list(workload.lines(3, 3_000))
    for line in lines:
        assert b"\n" not in line
        assert not set(b"&<>") & set(line)
        text = json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":"))
        assert text.replace("&", r"\u0026") == line.decode()


def test_keys_stand_in_the_order_of_the_api_server() -> None:
    order = [
        "kind", "apiVersion", "level", "auditID", "stage", "requestURI", "verb", "user", "sourceIPs",
        "userAgent", "objectRef", "responseStatus", "requestObject", "responseObject",
        "requestReceivedTimestamp", "stageTimestamp", "annotations",
    ]  # fmt: skip
    for record in records(3_000):
        assert list(record) == sorted(record, key=order.index)


def test_every_level_and_stage_and_the_odd_cases_occur() -> None:
    made = records(20_000)
    assert {record["level"] for record in made} == {"Metadata", "Request", "RequestResponse"}
    stages = Counter(record["stage"] for record in made)
    assert set(stages) == {"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
    codes = Counter(record["responseStatus"]["code"] for record in made if "responseStatus" in record)
    assert set(codes) == {200, 201, 401, 403, 404, 409, 500}
    anonymous = [record for record in made if record["user"] == {}]
    assert len(anonymous) == codes[401]
    without_namespace = sum("namespace" not in record.get("objectRef", {}) for record in made)
    assert 0.05 < without_namespace / len(made) < 0.1
    assert any("objectRef" not in record for record in made)


def test_stages_of_a_request_share_their_id_and_differ_in_time() -> None:
    by_id: dict[str, list[dict[str, Any]]] = {}
    for record in records(2_000):
        by_id.setdefault(record["auditID"], []).append(record)
    several = [made for made in by_id.values() if len(made) > 1]
    assert several
    for made in several:
        assert len({record["requestURI"] for record in made}) == 1
        assert len({record["requestReceivedTimestamp"] for record in made}) == 1
        assert made == sorted(made, key=lambda record: str(record["stageTimestamp"]))


def test_events_fill_the_hours_evenly() -> None:
    hours = Counter(record["stageTimestamp"][:13] for record in records(8_000, hours=4))
    assert sorted(hours) == [f"2026-11-23T{hour:02}" for hour in (6, 7, 8, 9)]
    assert max(hours.values()) < 1.1 * min(hours.values())


@pytest.mark.parametrize("namespaces", [1, 40, 200])
def test_namespaces_are_as_many_as_asked_for_with_zipf_frequencies(namespaces: int) -> None:
    made = Counter(
        record["objectRef"]["namespace"]
        for record in records(20_000, namespaces=namespaces)
        if "namespace" in record.get("objectRef", {})
    )
    assert len(made) == namespaces
    if namespaces > 1:
        (_, first), (_, second) = made.most_common(2)
        assert 1.6 < first / second < 2.4


@pytest.mark.parametrize("mean", [950, 1200, 2000])
def test_mean_size_comes_near_what_was_asked_for(mean: int) -> None:
    sizes = [len(line) + 1 for line in workload.lines(5, 20_000, mean_bytes=mean)]
    assert sum(sizes) / len(sizes) == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mean_bytes": 100}, "mean_bytes is 100; it can be from 9.. to 20000"),
        ({"mean_bytes": 20_001}, "mean_bytes is 20001"),
        ({"namespaces": 0}, "not 0 and 3"),
        ({"hours": 0}, "not 40 and 0"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        workload.lines(1, 10, **options)


def test_command_line_writes_the_lines_that_the_function_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit.log"
    workload.main(["--events", "1500", "--seed", "4", "--hours", "2", "--out", str(out)])
    assert out.read_bytes() == b"".join(line + b"\n" for line in workload.lines(4, 1500, hours=2))
    assert capsys.readouterr().out == f"{out}: {out.stat().st_size} bytes\n"


def test_generator_runs_as_a_script_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "audit.log"
    subprocess.run([sys.executable, str(SCRIPT), "--events", "10", "--out", str(out)], check=True)
    assert len(out.read_bytes().splitlines()) == 10
