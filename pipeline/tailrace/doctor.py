"""The examination of a config: what surrounds its pipelines, and whether all that should reach them does.

Reads only, so that it can be asked at any time, while the service runs, before its first start and after a crash. What
is particular to a stage it is asked itself (`Stage.examine`); here is what all pipelines have: a checkpoint, output
files, a dead letter, a state directory, and descriptors.
"""

from __future__ import annotations

import resource
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from tailrace.checkpoint import Generation, State, generations
from tailrace.config import Plan
from tailrace.finding import RANK, Finding, Surroundings
from tailrace.inspection import inspect_pipeline
from tailrace.lock import NAME as LOCK
from tailrace.lock import holder
from tailrace.machine import DESCRIPTORS, network_file_system, wanted_descriptors
from tailrace.registry import stage_name
from tailrace.stage import Stage

ALL: Final = "all pipelines"
"""Stands for a pipeline's name where they share what was found."""

_ALMOST: Final = 0.9  # of all descriptors


class Examined(NamedTuple):
    """What was found about one pipeline, the worst first."""

    pipeline: str
    findings: tuple[Finding, ...]


def examine(plans: Sequence[Plan], asked: Surroundings) -> list[Examined]:
    """Look at all pipelines of a config; `asked` is what does not depend on the stage."""
    by_state_dir = {plan.state_dir: _with_holder(plan.state_dir, asked) for plan in plans}
    found = [Examined(plan.name, _worst_first(_examine_plan(plan, by_state_dir[plan.state_dir]))) for plan in plans]
    service = next((each for each in by_state_dir.values() if each.is_running), asked)
    return [*found, Examined(ALL, _worst_first(_examine_process(plans, service)))]


def _worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: -RANK[finding.severity]))


def _with_holder(state_dir: Path, asked: Surroundings) -> Surroundings:
    """Find out whether a process has the state directory, and which it is.

    The lock has its id as it is in its own container; another process may have that here. So it is looked whether that
    one has the lock open.
    """
    try:
        process = holder(state_dir)
    except OSError:
        process = None  # then its pipelines cannot be read either, which is said
    if process is None:
        return asked
    descriptors = asked.system_path(f"/proc/{process}/fd")
    is_here = process.isdigit() and any(_is_same(each, state_dir / LOCK) for each in _descriptors_in(descriptors))
    return replace(asked, is_running=True, holder=int(process) if is_here else None)


def _is_same(descriptor: Path, path: Path) -> bool:
    try:
        return descriptor.samefile(path)
    except OSError:
        return False


def _descriptors_in(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _examine_plan(plan: Plan, asked: Surroundings) -> Iterator[Finding]:
    directory = plan.state_dir / plan.name
    state, saved, is_blind = State(), None, False
    try:
        found = list(generations(directory))
        yield from _judge_checkpoint(directory, found, asked)
        whole = next(((each.state, each.saved) for each in found if each.state is not None), None)
        if whole is not None:
            state, saved = whole
            yield from _judge_files(directory)
        is_blind = bool(found) and whole is None
    except OSError as error:
        is_blind = True
        what = f"where the pipeline stands cannot be read ({error.strerror}), so nothing is said of what it has to read"
        where = str(error.filename or directory)
        yield Finding("warning", what, where, "ask as the user of the service, or as root")
    yield asked.room(str(directory))
    if kind := network_file_system(directory):
        what = f"it is on a network file system ({kind})"
        yield Finding("warning", what, str(directory), "set state_dir to a directory on a local disk")
    asked = replace(asked, saved=saved, is_blind=is_blind)
    yield from _ask(plan.source, replace(asked, position=state.source))
    for stage in plan.filters:
        yield from _ask(stage, asked)
    for name, sink in plan.sinks.items():
        yield from _ask(sink, replace(asked, position=state.sinks.get(name)))


def _ask(stage: Stage, surroundings: Surroundings) -> Iterator[Finding]:
    """Let a stage say what it finds; whatever goes wrong meanwhile is a finding too."""
    name = stage_name(type(stage))
    try:
        yield from stage.examine(surroundings)
    except OSError as error:
        where = str(error.filename or name)
        yield Finding("warning", f"it could not be looked at: {error.strerror or type(error).__name__}", where)
    except Exception as error:  # its message may hold anything, so it is not repeated
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"a bug: the examination ended with {type(error).__name__}"
        yield Finding("error", what, f"{name}, {place.filename}:{place.lineno}", "report it")


def _judge_checkpoint(directory: Path, found: Sequence[Generation], asked: Surroundings) -> Iterator[Finding]:
    where = str(directory)
    if not found:
        yield Finding("warning", "the pipeline has not run yet", where, "start the service, or run it with --once")
        return
    for generation in found:
        if generation.state is None:
            remedy = f"ask tailrace state verify {directory.parent}"
            yield Finding("error", f"the checkpoint is damaged: {generation.damage}", str(generation.path), remedy)
    if not asked.is_running:
        yield Finding("note", "no process runs the pipeline at present", where)
    elif any(generation.state is not None for generation in found):
        name = "a process that cannot be seen from here" if asked.holder is None else f"process {asked.holder}"
        yield Finding("ok", f"{name} runs the pipeline", where)


def _judge_files(directory: Path) -> Iterator[Finding]:
    report = inspect_pipeline(directory)
    for output in report.outputs:
        if output.state in ("missing", "shorter"):
            present = "is gone" if output.present is None else f"has {output.present} bytes"
            what = f"the checkpoint has {output.recorded} bytes of this file, and it {present}"
            yield Finding("error", what, output.path, f"ask tailrace state verify {directory.parent}")
    if report.dead_letters:
        what = f"events that were rejected wait in the dead letter: {report.dead_letters}"
        remedy = f"look at them with tailrace dead-letter show {directory.parent} {directory.name}"
        yield Finding("warning", what, str(directory), remedy)


def _examine_process(plans: Sequence[Plan], service: Surroundings) -> Iterator[Finding]:
    """Look whether the process may have as many files open as it may want to."""
    wanted = wanted_descriptors(stage for plan in plans for stage in (plan.source, *plan.filters, *plan.sinks.values()))
    process = service.system_path(f"/proc/{service.holder}")
    limit = _limit_of(process) if service.is_running else _own_limit()
    where = f"process {service.holder}" if service.is_running else "a process of this user"
    if limit is None:
        remedy = "ask as its user or as root, and in its container"
        yield Finding("note", "it cannot be seen how many files the service may have open", ALL, remedy)
        return
    remedy = "raise its hard limit (LimitNOFILE= with systemd), or lower max_open_files"
    if service.is_running and (used := len(_descriptors_in(process / "fd"))) > _ALMOST * limit:
        yield Finding("error", f"it has {used} files open and may have {limit}", where, remedy)
    if wanted > limit:
        yield Finding("warning", f"it may want to have {wanted} files open, and may have {limit}", where, remedy)
    else:
        yield Finding("ok", f"it may have {limit} files open, and wants {wanted} at most", where)


def _own_limit() -> int:
    """Give what a service that this user starts takes for itself."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)


def _limit_of(process: Path) -> int | None:
    """Read the soft limit of a process, see proc_pid_limits(5); None if it cannot be had."""
    try:
        lines = (process / "limits").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return int(soft) if soft.isdigit() else DESCRIPTORS
    return None
