"""`tailrace doctor`: the command, what it says of each pipeline, and what it does with stages of others."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from examining import about
from state_directory import Stored, files_of, tailrace
from test_cli import run_on_terminal, running
from waiting import wait_until

from tailrace.checkpoint import State
from tailrace.config import Plan, load
from tailrace.doctor import ALL, examine
from tailrace.finding import Finding, Surroundings, judge_room
from tailrace.lock import hold
from tailrace.registry import Registry

STAGES = '''
"""Stages that say something of themselves, or fail to."""

from tailrace import Batch, EndOfInput, Filter, Finding, Sink, Source


class Told(Filter, kw_only=True):
    """Says where it stands."""

    def examine(self, surroundings):
        yield Finding("ok", f"saved {surroundings.saved is not None}, gap {surroundings.gap}", "told\\n")


class Buggy(Filter, kw_only=True):
    """Fails in the midst of it."""

    def examine(self, surroundings):
        yield Finding("note", "so far", "buggy")
        raise KeyError("what-an-event-held")


class Unlucky(Filter, kw_only=True):
    """Cannot look at a file."""

    def examine(self, surroundings):
        open("/nowhere/at/all")
        return ()
'''


class Place:
    """A state directory in which the pipeline `audit` has run, and the config of that."""

    def __init__(self, directory: Path, filters: str = "[]") -> None:
        self.stored = Stored(directory / "x")
        self.config = directory / "tailrace.yaml"
        (directory / "stages").mkdir()
        (directory / "stages" / "stages.py").write_text(STAGES)
        sinks = [
            f"{{type: file, path: '{self.stored.out}/{name}'}}" for name in ("%H.log.gz", "all.log.zst", "all.log")
        ]
        self.config.write_text(
            f"state_dir: {self.stored.state_dir}\n"
            "plugins: [stages]\n"
            "pipelines:\n"
            "  audit:\n"
            "    schema: any\n"
            f"    source: {{type: tail, paths: ['{self.stored.log}'], tag: audit, watch: false}}\n"
            f"    filters: {filters}\n"
            f"    sinks: [{', '.join(sinks)}]\n"
        )
        self.root = directory / "root"
        (self.root / "proc").mkdir(parents=True)

    def plans(self) -> tuple[Plan, ...]:
        return load([self.config], Registry.standard(), {}).plans

    def findings(self, name: str = "audit") -> list[Finding]:
        """Examine it on a made-up machine."""
        asked = Surroundings(root=self.root, gap=100_000)
        [found] = [each.findings for each in examine(self.plans(), asked) if each.pipeline == name]
        return list(found)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def forget_dead_letters(place: Place) -> None:
    state = place.stored.load()
    del state.sinks["dead-letter"]
    place.stored.save(state)


# The command


def test_pipeline_that_is_in_order_is_well_and_nothing_is_changed(place: Place, tmp_path: Path) -> None:
    forget_dead_letters(place)
    before = files_of(tmp_path)
    done = tailrace("doctor", place.config)
    assert (done.exit_code, done.stderr) == (0, "")
    assert files_of(tmp_path) == before
    lines = done.stdout.splitlines()
    assert lines[0] == "audit: nothing to do"
    assert f"  ok       {place.stored.log}: it is read to its end" in lines
    assert f"{ALL}: nothing to do" in lines


def test_what_is_wrong_is_said_first_and_with_what_to_do_and_ends_with_1(place: Place) -> None:
    done = tailrace("doctor", place.config, "--gap", "2d")
    assert done.exit_code == 1
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("audit: 1 of ")
    assert second.startswith(
        f"  warning  {place.stored.directory}: events that were rejected wait in the dead letter: 1;"
    )
    command = second.split("look at them with tailrace ")[1].split()
    assert tailrace(*command).exit_code == 0


def test_findings_as_json_are_the_same(place: Place) -> None:
    done = tailrace("doctor", place.config, "--format", "json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [pipeline["name"] for pipeline in report["pipelines"]] == ["audit", ALL]
    findings = report["pipelines"][0]["findings"]
    assert set(findings[0]) == {"severity", "what", "where", "remedy"}
    text = tailrace("doctor", place.config).stdout
    for finding in findings:
        if "free on" not in finding["what"]:
            assert f"{finding['where']}: {finding['what']}" in text


def test_findings_on_a_terminal_are_in_colour(place: Place) -> None:
    code, shown = run_on_terminal("doctor", place.config, stream="stdout")
    assert code == 1
    assert "\x1b[1;33mwarning" in shown
    assert "wait in the dead letter: 1" in shown
    assert "→ look at them with" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{config}", "--gap", "soon"], "--gap: 'soon' is not a duration"),
        (["{config}.none"], "cannot read the config file"),
        (["{config}", "--format", "xml"], "xml"),
        (["{config}", "--maxbackup", "-1"], "maxbackup"),
        ([], "CONFIG"),
    ],
)
def test_wrong_usage_and_bad_configs_end_with_2(place: Place, arguments: list[str], words: str) -> None:
    done = tailrace("doctor", *(argument.replace("{config}", str(place.config)) for argument in arguments))
    assert done.exit_code == 2
    assert words in done.stderr


def test_hostile_name_of_a_file_does_nothing_to_a_terminal(place: Place) -> None:
    hostile = place.stored.log.with_name("audit.log-20261123\x1b[2J.gz")
    hostile.write_bytes(b"x")
    place.stored.log.with_name("audit.log.7.gz").write_bytes(b"no gzip")
    done = tailrace("doctor", place.config)
    assert "\x1b" not in done.stdout
    assert done.exit_code == 1


def test_gap_and_maxbackup_reach_the_source(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "other.log"
    for day in (21, 22):
        rotated = log.with_name(f"other-2026-11-{day}T00-00-00.000.log")
        rotated.write_bytes(b'{"stageTimestamp":"2026-11-%dT23:59:59Z"}\n' % day)
    log.write_bytes(b'{"stageTimestamp":"2026-11-23T00:00:40Z"}\n')
    config = place.config.with_name("other.yaml")
    config.write_text(place.config.read_text().replace(str(place.stored.log), str(log)))
    text = tailrace("doctor", config, "--gap", "30s", "--maxbackup", "2").stdout
    assert "no event for 41 s" in text
    assert "by --maxbackup 2" in text
    text = tailrace("doctor", config).stdout
    assert "no event for 41 s" not in text
    assert "by --maxbackup" not in text


def test_doctor_looks_at_a_service_that_runs_and_is_well(place: Place) -> None:
    forget_dead_letters(place)
    with running("run", place.config, "--log-format", "json") as service:
        service.wait_for("pipeline started")
        place.stored.write([b'{"n":99,"stageTimestamp":"2026-11-23T02:00:00Z"}'])
        wait_until(lambda: b'"n":99' in place.stored.plain.read_bytes())
        done = tailrace("doctor", place.config)
        assert done.exit_code == 0, done.stdout
        assert f"{place.stored.directory}: process {service.process.pid} runs the pipeline" in done.stdout
        assert f"process {service.process.pid}: it may have " in done.stdout
        assert "read to its end" in done.stdout


def test_of_many_findings_that_alarm_nobody_the_first_are_shown_and_json_has_all(place: Place) -> None:
    forget_dead_letters(place)
    for number in range(30):
        place.stored.log.with_name(f"{number:02}.log").write_bytes(b"text\n")
    strange = os.fsdecode(b"\xff.log")
    place.stored.log.with_name(strange).write_bytes(b"text\n")
    place.config.write_text(place.config.read_text().replace("audit.log'", "*.log'"))
    text = tailrace("doctor", place.config).stdout
    assert f"{place.stored.log.with_name('00.log')}:0: from here on there are 5 bytes" in text
    assert "22.log" not in text
    assert "more like these; see them with --format json" in text
    shown = tailrace("doctor", place.config, "--format", "json").stdout
    assert [f"{number:02}.log:0" in shown for number in range(30)] == [True] * 30
    assert "\\\\udcff.log" in shown
    assert strange not in shown


# Pipelines


def test_pipeline_that_never_ran_is_warned_of(place: Place, tmp_path: Path) -> None:
    place.config.write_text(place.config.read_text().replace("  audit:\n", "  other:\n"))
    found = about(place.findings("other"), "has not run yet")
    assert (found.severity, found.where) == ("warning", str(place.stored.state_dir / "other"))


def test_damaged_checkpoint_is_an_error_and_the_one_before_it_counts(place: Place) -> None:
    place.stored.checkpoint.write_bytes(b"\0" * 100)
    found = place.findings()
    assert about(found, "the checkpoint is damaged").where == str(place.stored.checkpoint)
    assert [finding for finding in found if "bytes to read" in finding.what or "to its end" in finding.what]
    place.stored.previous.write_bytes(b"")
    found = place.findings()
    assert len([finding for finding in found if "the checkpoint is damaged" in finding.what]) == 2
    assert not [finding for finding in found if "bytes to read" in finding.what or "to its end" in finding.what]


def test_state_directory_on_a_network_file_system_is_warned_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    table = place.root / "mounts"
    table.write_text(f"33 22 0:42 / {place.stored.state_dir} rw - nfs server:/x rw\n")
    monkeypatch.setattr("tailrace.machine.MOUNTS", str(table))
    assert about(place.findings(), "network file system (nfs)").where == str(place.stored.directory)


def test_lock_that_cannot_be_read_is_nobodys(place: Place) -> None:
    lock = place.stored.state_dir / "lock"
    lock.symlink_to("lock")
    assert about(place.findings(), "no process runs the pipeline").severity == "note"


def test_damaged_checkpoint_under_a_process_that_runs_is_an_error(place: Place) -> None:
    for path in (place.stored.checkpoint, place.stored.previous):
        path.write_bytes(b"")
    with hold(place.stored.state_dir):
        with_limits(place, "100")
        found = place.findings()
    assert not [finding for finding in found if "runs the pipeline" in finding.what]
    assert found[0].severity == "error"


def test_checkpoint_that_cannot_be_read_leaves_the_rest_to_be_looked_at(place: Place) -> None:
    place.stored.checkpoint.unlink()
    place.stored.checkpoint.mkdir()
    found = place.findings()
    unreadable = about(found, "cannot be read")
    assert (unreadable.severity, unreadable.where) == ("warning", str(place.stored.checkpoint))
    assert about(found, "with events from")
    assert not [finding for finding in found if "bytes to read" in finding.what]


def test_output_that_is_gone_or_shorter_is_an_error(place: Place) -> None:
    place.stored.plain.unlink()
    place.stored.zstd.write_bytes(b"x")
    found = place.findings()
    assert about(found, "it is gone").where == str(place.stored.plain)
    assert about(found, "it has 1 bytes").severity == "error"


def test_stage_of_ones_own_is_asked_and_told_where_it_stands(tmp_path: Path) -> None:
    place = Place(tmp_path, "[{type: told}]")
    assert about(place.findings(), "saved True, gap 100000").where == "told\n"
    assert "told\\n: saved True, gap 60.0" in tailrace("doctor", place.config).stdout


def test_stage_that_fails_while_it_is_asked_is_a_finding_that_repeats_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, "[{type: buggy}, {type: unlucky}, {type: told}]")
    found = place.findings()
    bug = about(found, "a bug")
    assert (bug.severity, bug.what) == ("error", "a bug: the examination ended with KeyError")
    assert bug.where.startswith("buggy, ")
    assert "what-an-event-held" not in str(found)
    assert about(found, "could not be looked at").where == "/nowhere/at/all"
    assert about(found, "so far")
    assert about(found, "gap")


# Descriptors and room


def test_process_that_may_not_have_as_many_files_open_as_it_wants_is_warned_of(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tailrace", "doctor", str(place.config)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 512)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    wanted = 64 + 257 + 3 * 259
    assert f"it may want to have {wanted} files open, and may have 512; raise its hard limit" in done.stdout


def with_limits(place: Place, limit: str) -> Path:
    """Make up the process that holds the state directory."""
    process = place.root / "proc" / str(os.getpid())
    (process / "fd").mkdir(parents=True, exist_ok=True)
    (process / "fd" / "lock").symlink_to(place.stored.state_dir / "lock")
    (process / "fd" / "gone").symlink_to("/nowhere/at/all")
    (process / "limits").write_text(f"Limit  Soft Limit  Hard Limit  Units\nMax open files  {limit}  4096  files\n")
    return process


def test_service_that_runs_is_judged_by_its_own_limit(place: Place) -> None:
    with hold(place.stored.state_dir):
        process = with_limits(place, "100")
        [finding] = place.findings(ALL)
        assert (finding.severity, finding.where) == ("warning", f"process {os.getpid()}")
        for number in range(93):
            (process / "fd" / str(number)).touch()
        assert about(place.findings(ALL), "has 95 files open and may have 100").severity == "error"
        shutil.rmtree(process)
        with_limits(place, "unlimited")
        assert [finding.severity for finding in place.findings(ALL)] == ["ok"]
        (process / "limits").write_text("nothing of the kind\n")
        assert [finding.severity for finding in place.findings(ALL)] == ["note"]
        (process / "limits").unlink()
        assert [finding.severity for finding in place.findings(ALL)] == ["note"]


def test_service_in_another_container_is_not_taken_for_the_process_that_has_its_id_here(place: Place) -> None:
    with hold(place.stored.state_dir):
        process = with_limits(place, "1")
        assert about(place.findings(), "runs the pipeline").what == f"process {os.getpid()} runs the pipeline"
        (process / "fd" / "lock").unlink()
        assert about(place.findings(), "runs the pipeline").what.startswith("a process that cannot be seen from here")
        shutil.rmtree(process)  # there is none of that id here
        assert about(place.findings(), "runs the pipeline").what.startswith("a process that cannot be seen from here")
        assert "cannot be seen how many files" in place.findings(ALL)[0].what


GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "size", "names", "severity"),
    [
        (50 * GIB, 100 * GIB, 1000, "ok"),
        (4 * GIB, 100 * GIB, 1000, "warning"),
        (11 * GIB, 1000 * GIB, 1000, "ok"),  # that is not little, whatever the share
        (9 * GIB, 1000 * GIB, 1000, "warning"),
        (60 << 20, 64 << 20, None, "ok"),  # a small disk, empty
        (15 << 20, 64 << 20, None, "error"),
        (50 * GIB, 100 * GIB, 0, "error"),
    ],
)
def test_room_is_judged_by_bytes_share_and_inodes(free: int, size: int, names: int | None, severity: str) -> None:
    assert judge_room("/x", free, size, names).severity == severity


def test_room_is_that_of_the_disk_where_a_directory_would_be_made(tmp_path: Path) -> None:
    found = Surroundings().room(str(tmp_path / "not" / "there" / "yet"))
    assert found.where == str(tmp_path / "not" / "there" / "yet")
    assert "are free on its file system" in found.what
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be found out" in Surroundings().room(str(tmp_path / "loop" / "x")).what


def test_state_without_a_source_position_is_a_first_start_to_the_source(place: Place) -> None:
    place.stored.save(State(generation=place.stored.load().generation))
    assert about(place.findings(), "bytes to read").where == f"{place.stored.log}:0"


def test_many_findings_are_sorted_by_how_bad_they_are(place: Place) -> None:
    place.stored.plain.unlink()
    ranks: dict[Any, int] = {"error": 0, "warning": 1, "note": 2, "ok": 3}
    severities = [ranks[finding.severity] for finding in place.findings()]
    assert severities == sorted(severities)
    assert severities[0] == 0
