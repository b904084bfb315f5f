"""All logs of a source, looked at once each: their files, their writers, and who else has a hand in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from tailrace import Damaged, Finding, Surroundings, mounts
from tailrace_plugins.examining import backlog, gaps, inotify, writers
from tailrace_plugins.examining.backlog import Limits
from tailrace_plugins.examining.ends import OVER_BUDGET, EndFinder, Ends, spell
from tailrace_plugins.examining.gaps import Part
from tailrace_plugins.examining.logrotate import Rule, rules
from tailrace_plugins.examining.processes import Look, look
from tailrace_plugins.examining.standing import Standing, named_time, rotations, stand
from tailrace_plugins.examining.writers import Trail
from tailrace_plugins.tailing.files import parse_state
from tailrace_plugins.tailing.history import directories
from tailrace_plugins.tailing.listings import Listings
from tailrace_plugins.tailing.names import is_lumberjack
from tailrace_plugins.tailing.patterns import Patterns
from tailrace_plugins.tailing.survey import View, survey

UNPACKED_BYTES: Final = 4 << 30
"""So many bytes of a source's compressed files are decompressed at most, to find their last events."""

_DAY: Final = 86_400.0
_DEFAULT_BACKUPS: Final = 100  # kube-apiserver from 1.36 on; before, all files are kept
_DEFAULT_DAYS: Final = 366


class Following(NamedTuple):
    """What a source follows, by its options."""

    patterns: Patterns
    read_from: Literal["beginning", "live", "end"]
    max_line_bytes: int
    is_watching: bool


class _Log(NamedTuple):
    """A log as it was found."""

    path: str
    view: View
    standing: Standing
    trail: Trail


def examine(following: Following, surroundings: Surroundings) -> Iterator[Finding]:
    """Say all there is to say about the logs of a source."""
    logs: list[_Log] = []
    listings = Listings()  # of all logs, for many may lie in one directory
    for path in _paths(following.patterns, surroundings):
        found = _find(path, following, surroundings, listings)
        if isinstance(found, Finding):
            yield found
        else:
            logs.append(found)
    proc = surroundings.system_path("/proc")
    seen = look(proc, writers.wanted([log.trail for log in logs]))
    finder = EndFinder(following.max_line_bytes, UNPACKED_BYTES)
    rotating = [(rule, Patterns(rule.globs, [])) for rule in rules(surroundings.system_path("/etc"))]
    tables = [proc / str(process) / "mountinfo" for process in ("self", surroundings.holder) if process is not None]
    mounted = {path for table in tables for path in following.patterns.mounted(table)}
    written = {log.path: list(writers.judge(log.trail, seen)) for log in logs}
    yield from writers.judge_unwritten([log.path for log in logs if log.trail.live and not written[log.path]])
    if seen.hidden:
        what = f"of {seen.hidden} processes it cannot be seen what they write"
        yield Finding("note", what, str(proc), "ask as root; in a container, with the capability SYS_PTRACE too")
    if following.is_watching:
        yield from inotify.judge(proc, seen, _user(surroundings))
    for log in logs:
        yield from _judge_live(log, following.patterns, surroundings)
        yield from _judge_times(log, finder, surroundings)
        yield from _judge_backlog(log, seen, surroundings)
        yield from written[log.path]
        yield from _judge_mounts(log, seen, surroundings, mounted)
        yield from _judge_logrotate(log, seen, rotating)


def _paths(patterns: Patterns, surroundings: Surroundings) -> list[str]:
    """Give the live paths of all logs: those that are named, found, or known by the checkpoint."""
    named = [patterns.live_path(path) for path in patterns.literals if patterns.matches(path)]
    known = [key for key in surroundings.position or {} if patterns.matches(key)]
    return list(dict.fromkeys([*named, *sorted(patterns.find()), *known]))


def _find(path: str, following: Following, surroundings: Surroundings, listings: Listings) -> _Log | Finding:
    patterns = following.patterns
    value = (surroundings.position or {}).get(path)
    try:
        state = None if value is None else parse_state(path, value)
    except Damaged as error:
        return Finding("error", str(error), path, "restore the checkpoint, or move it away to begin anew")
    try:
        view = survey(path, listings, lambda place: not patterns.is_excluded(place), {})
        standing = stand(view, state, patterns, following.read_from)
    except OSError as error:
        return Finding("error", f"its files cannot be looked at: {error.strerror or error}", path)
    rotated = {sighting.key: sighting.path for sighting in view.sightings if sighting is not view.live}
    return _Log(path, view, standing, Trail(path, view.live_key, rotated, standing.known, directories(path)))


def _judge_live(log: _Log, patterns: Patterns, surroundings: Surroundings) -> Iterator[Finding]:
    trouble = log.view.trouble
    if trouble is None:
        return
    if trouble.kind == "unreadable":
        yield _unreadable(log.path, trouble.reason, surroundings)
    elif trouble.kind != "missing" or log.path in patterns.literals or log.standing.gone:
        if trouble.kind == "missing" and os.path.exists(log.path):
            return  # it was rotated while we looked
        yield Finding("warning", trouble.reason, log.path, "check the option paths, and its writer")


def _unreadable(path: str, reason: str, surroundings: Surroundings) -> Finding:
    """Say that a file cannot be read; that proves little if it is another user than the service who asks."""
    is_same_user = os.geteuid() == _user(surroundings) and surroundings.is_running == (surroundings.holder is not None)
    remedy = "check its owner and mode, and the disk, or ask as the user of the service"
    return Finding("error" if is_same_user else "warning", f"it cannot be read: {reason}", path, remedy)


def _judge_times(log: _Log, finder: EndFinder, surroundings: Surroundings) -> Iterator[Finding]:
    """Read the ends of all files, the newest first, for that is what matters most if there is too much."""
    parts: list[Part] = []
    left_out = 0
    unreadable: dict[str, list[str]] = {}  # by reason
    for sighting in reversed(log.standing.files):
        path = sighting.path
        try:
            ends = finder.find(path)
        except FileNotFoundError:
            ends = Ends(None, None, trouble="it was renamed or removed just now")
        except OSError as error:
            ends = Ends(None, None, trouble=error.strerror or str(error))
            unreadable.setdefault(ends.trouble, []).insert(0, path)
        else:
            left_out += ends.trouble == OVER_BUDGET
            yield from _judge_ends(path, ends)
        parts.insert(0, Part(path, ends, named_time(path)))
    for reason, paths in unreadable.items():
        yield _unreadable(paths[0], f"{reason} ({len(paths)} files of its log)", surroundings)
    for hole in gaps.holes(parts, surroundings.gap):
        yield gaps.judge(hole, surroundings.gap)
    if left_out:
        what = f"of its compressed files, {left_out} were not read, so gaps behind them are not seen ({OVER_BUDGET})"
        yield Finding("note", what, log.path)
    yield from _sum_up(log.path, [part for part in parts if not part.ends.trouble or part.ends.first])


def _judge_ends(path: str, ends: Ends) -> Iterator[Finding]:
    if ends.nuls:
        yield Finding(
            "warning",
            f"it begins with {ends.nuls:,} NUL bytes: it was truncated, and its writer went on where it was",
            f"{path}:0",
            "let nobody truncate it (logrotate does with copytruncate); what was written meanwhile is lost",
        )
    if ends.trouble and ends.trouble != OVER_BUDGET:
        what = f"it is damaged, and cannot be read to its end: {ends.trouble}"
        yield Finding("warning", what, path, "check it with gzip -t or zstd -t")


def _sum_up(path: str, parts: Sequence[Part]) -> Iterator[Finding]:
    if not parts:
        return
    times = [moment.time for part in parts for moment in part.ends[:2] if moment is not None]
    count = f"{len(parts)} file{'s' if len(parts) > 1 else ''}"
    if times:
        yield Finding("ok", f"{count}, with events from {spell(min(times))} to {spell(max(times))}", path)
    else:
        yield Finding("note", f"{count}, in which no event with a time was found, so gaps are not seen", path)


def _judge_backlog(log: _Log, seen: Look, surroundings: Surroundings) -> Iterator[Finding]:
    if surroundings.is_blind:
        return
    standing = log.standing
    if not surroundings.is_running:  # else they may well be open there
        for file in standing.gone:
            what = "it was read up to there and is not there any more: what followed, if anything, is lost"
            where = f"{file.state.path}:{file.state.offset}"
            yield Finding("warning", what, where, "keep rotated files for longer (--audit-log-maxbackup)")
    finding = backlog.judge(
        standing.unread,
        list(rotations(log.view)),
        _limits(log.trail, seen, surroundings),
        surroundings.now,
        saved=surroundings.saved,
        is_running=surroundings.is_running,
    )
    yield finding or Finding("ok", "it is read to its end", log.path)


def _limits(trail: Trail, seen: Look, surroundings: Surroundings) -> Limits | None:
    """Find out how many files are kept, and for how long."""
    if surroundings.max_backups is not None:
        return Limits(surroundings.max_backups, 0.0, f"--maxbackup {surroundings.max_backups}")
    server = next((server for server in seen.servers if trail.is_of(server)), None)
    if server is None:
        return None
    backups, one = _limit("maxbackup", server.backups, _DEFAULT_BACKUPS)
    days, other = _limit("maxage", server.days, _DEFAULT_DAYS)
    return Limits(backups, days * _DAY, f"{one} and {other} of process {server.process}")


def _limit(name: str, value: int | None, default: int) -> tuple[int, str]:
    if value is None:
        return default, f"--audit-log-{name}={default} (not set; the default from 1.36 on)"
    return value, f"--audit-log-{name}={value}"


def _judge_mounts(log: _Log, seen: Look, surroundings: Surroundings, mounted: set[str]) -> Iterator[Finding]:
    remedy = "mount its directory instead"
    if log.path in mounted:
        what = "it is mounted as a single file, so that after a rotation the new file is not seen"
        yield Finding("warning", what, log.path, remedy)
    for server in seen.servers:
        table = surroundings.system_path(f"/proc/{server.process}/mountinfo")
        if log.trail.is_of(server) and server.path in {point for point, _ in mounts(table)}:
            what = f"process {server.process} has {server.path} mounted as a single file, and cannot rotate it"
            yield Finding("error", what, log.path, remedy)


def _judge_logrotate(log: _Log, seen: Look, rotating: Sequence[tuple[Rule, Patterns]]) -> Iterator[Finding]:
    names = {log.path, os.path.realpath(log.path)}
    rotates_itself = any(map(is_lumberjack, log.trail.rotated.values())) or any(map(log.trail.is_of, seen.servers))
    for rule, patterns in rotating:
        if not any(map(patterns.matches, names)):
            continue
        if rule.copytruncate:
            what = f"logrotate copies {log.path} and truncates it: what is written meanwhile is lost"
            remedy = "take it out" if rotates_itself else "use create instead of copytruncate"
            yield Finding("warning", what, rule.where, remedy)
        elif rotates_itself:
            what = f"logrotate renames {log.path}, whose writer rotates it itself and does not notice"
            yield Finding("warning", what, rule.where, "take it out")


def _user(surroundings: Surroundings) -> int:
    """Give the user of the service; if it does not run, whoever asks."""
    if surroundings.holder is not None:
        try:
            return os.stat(surroundings.system_path(f"/proc/{surroundings.holder}")).st_uid
        except OSError:
            pass
    return os.geteuid()
