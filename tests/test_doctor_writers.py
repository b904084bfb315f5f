"""`tailrace doctor`: who writes a log, whether it is the file that is followed, and who else has a hand in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from examining import Machine, about, event, named, write

from tailrace.context import Context
from tailrace.finding import Finding, Surroundings
from tailrace_plugins.examining.logrotate import rules
from tailrace_plugins.sources.tail import Tail

WRITER = """
import sys
file = open(sys.argv[1], sys.argv[2])
file.write('{"n":1}\\n')
file.flush()
print(file.fileno(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@contextmanager
def writing(path: Path, mode: str = "a") -> Iterator[tuple[int, int]]:
    """Let a process of its own write a file and keep it open; gives its id and the descriptor."""
    command = [sys.executable, "-c", WRITER, str(path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate()


def by(findings: list[Finding], process: int) -> list[Finding]:
    """Give what is said of this process."""
    return [finding for finding in findings if f"process {process} (" in finding.what]


def seen(machine: Machine, process: int) -> Finding:
    """Give the one thing that is said of this process, by the real /proc."""
    [found] = by(machine.findings(root=Path("/")), process)
    return found


# Real processes


def test_writer_of_the_live_file_is_in_order(machine: Machine) -> None:
    with writing(machine.log) as (process, _):
        found = seen(machine, process)
        assert (found.severity, found.where) == ("ok", str(machine.log))


def test_writer_whose_file_was_deleted_is_found_and_its_bytes_can_be_saved_as_it_is_said(machine: Machine) -> None:
    with writing(machine.log) as (process, descriptor):
        machine.log.unlink()
        found = seen(machine, process)
        machine.log.touch()
        assert seen(machine, process) == found
        assert (found.severity, found.where) == ("error", str(machine.log))
        assert f"a file of this log that was deleted ({machine.log})" in found.what
        assert f"copy /proc/{process}/fd/{descriptor} " in found.remedy
        assert Path(f"/proc/{process}/fd/{descriptor}").read_bytes() == b'{"n":1}\n'


def test_writer_whose_file_was_renamed_and_then_deleted_is_found(machine: Machine) -> None:
    with writing(machine.log) as (process, _):
        machine.log.rename(f"{machine.log}.1").unlink()
        assert seen(machine, process).severity == "error"


def test_writer_that_did_not_notice_a_rotation_is_found(machine: Machine) -> None:
    with writing(machine.log) as (process, _):
        older = machine.log.rename(f"{machine.log}.1")
        found = seen(machine, process)
        machine.log.touch()
        assert seen(machine, process) == found
        assert (found.severity, found.where) == ("warning", str(older))
        assert "still writes into it" in found.what


def test_writer_whose_file_was_moved_elsewhere_is_found_by_what_the_checkpoint_knows(machine: Machine) -> None:
    with writing(machine.log) as (process, _):
        source = Tail(paths=[str(machine.log)], watch=False)
        source.attach(Context(pipeline="audit", state_dir=machine.directory))
        source.open(None)
        batches = [source.read(0), source.read(0)]
        source.close()
        assert batches[1] is not None
        position = batches[1].position
        elsewhere = machine.log.rename(machine.directory / "other-name")
        machine.log.touch()
        assert by(machine.findings(root=Path("/")), process) == []  # nobody could know
        [found] = by(machine.findings(root=Path("/"), position=position), process)
        assert found.severity == "error"
        assert f"writes this log into {elsewhere}, where it is not followed" in found.what


def test_readers_and_files_of_others_are_no_writers(machine: Machine, tmp_path: Path) -> None:
    machine.log.touch()
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / machine.log.name
    with writing(other) as (process, _), machine.log.open("rb"):
        other.unlink()  # a file of the same name, from another directory
        findings = machine.findings(root=Path("/"))
        assert by(findings, process) == []
        assert by(findings, os.getpid()) == []
        assert about(findings, "no process was seen that writes it").severity == "note"


def test_compressor_of_a_rotated_file_is_no_late_writer(machine: Machine) -> None:
    machine.log.touch()
    with writing(Path(f"{machine.log}.1.gz"), "w") as (process, _):
        assert by(machine.findings(root=Path("/")), process) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs processes of two users")
def test_processes_that_cannot_be_looked_at_are_counted_and_the_others_are_seen(machine: Machine) -> None:
    machine.log.touch()
    script = (
        "import os, sys\n"
        "from tailrace_plugins.examining.processes import look\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "seen = look(__import__('pathlib').Path('/proc'), lambda path, key: path == sys.argv[1])\n"
        "print(seen.hidden, len(seen.opened))\n"
    )
    with writing(machine.log):
        command = [sys.executable, "-c", script, str(machine.log)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    hidden, opened = map(int, done.stdout.split())
    assert (hidden > 0, opened) == (True, 0)


@contextmanager
def container(machine: Machine, inside: Path) -> Iterator[int]:
    """Let a process write the log that has its directory mounted elsewhere, as an API server in a container has."""
    mount = 'mount --bind "$1" "$2" || exit 99; shift 2; exec "$@"'
    writer = [sys.executable, "-c", WRITER, f"{inside}/audit.log", "a", f"--audit-log-path={inside}/audit.log"]
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(machine.log.parent), str(inside), *writer]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("needs the right to mount")
        yield process.pid
        process.communicate()


def test_api_server_in_a_container_is_known_by_its_directory_and_its_deleted_file_is_found(machine: Machine) -> None:
    inside = machine.directory / "in-container"
    inside.mkdir()
    with container(machine, inside) as process:
        assert seen(machine, process).severity == "ok"
        machine.log.unlink()
        machine.log.touch()
        found = seen(machine, process)
        assert (found.severity, found.where) == ("error", str(machine.log))
        assert f"({inside}/audit.log)" in found.what
        write(machine.log, [1], rotated=2)
        write(machine.log, [3], rotated=4)
        assert "--audit-log-maxbackup=100 (not set" in about(machine.findings(root=Path("/")), "bytes to read").what


def test_api_server_that_has_the_same_path_in_a_directory_of_its_own_does_not_write_this_log(machine: Machine) -> None:
    machine.log.touch()
    process = machine.add_process(77, "kube-apiserver", f"--audit-log-path={machine.log}", "--audit-log-maxbackup=1")
    (process / "root" / str(machine.log.parent).lstrip("/")).mkdir(parents=True)
    for start in (100, 200):
        write(machine.log, [start], rotated=start + 100)
    assert "maxbackup" not in about(machine.findings(), "bytes to read").what


def test_writer_of_the_same_name_in_another_directory_is_none_of_this_log(machine: Machine) -> None:
    machine.log.touch()
    other = machine.log.parent / "below" / machine.log.name
    other.parent.mkdir()
    with writing(other) as (process, _):
        assert by(machine.findings(root=Path("/")), process) == []


# Made-up processes


def test_api_server_that_writes_a_deleted_file_under_another_name_of_the_directory_is_found(machine: Machine) -> None:
    """In its container the directory has another name, so only its own root leads to the log."""
    machine.log.touch()
    process = machine.add_process(77, "kube-apiserver", "--audit-log-path=/var/log/in-container/audit.log")
    inside = process / "root" / "var" / "log" / "in-container"
    inside.parent.mkdir(parents=True)
    inside.symlink_to(machine.log.parent)
    with writing(machine.log) as (real, descriptor):
        (process / "fd" / "9").symlink_to(f"/proc/{real}/fd/{descriptor}")
        (process / "fdinfo" / "9").write_text("pos:\t0\nflags:\t0102001\n")
        assert about(machine.findings(), "process 77 (kube-apiserver) writes it").severity == "ok"


@pytest.mark.parametrize(
    ("words", "limits"),
    [
        (["kube-apiserver", "--audit-log-path={log}", "--audit-log-maxbackup=3"], "maxbackup=3 and"),
        (["kube-apiserver", "--audit-log-path", "{log}", "--audit-log-maxbackup", "4"], "maxbackup=4 and"),
        (["/usr/local/bin/k3s", "server", "--kube-apiserver-arg=audit-log-path={log}"], "maxbackup=100 (not set; "),
        (
            [
                *("k3s", "server", "--kube-apiserver-arg", "audit-log-path={log}"),
                *("--kube-apiserver-arg", "audit-log-maxbackup=5"),
            ],
            "maxbackup=5 and",
        ),
        (["kube-apiserver", "--audit-log-path={log}", "--audit-log-maxbackup=many"], "maxbackup=100 (not set; "),
    ],
    ids=["equals", "apart", "k3s", "k3s apart", "not a number"],
)
def test_command_line_of_a_running_api_server_says_how_many_files_are_kept(
    machine: Machine, words: list[str], limits: str
) -> None:
    for start in (100, 200, 300):
        write(machine.log, [start], rotated=start + 100)
    machine.add_process(77, *(word.replace("{log}", str(machine.log)) for word in words))
    machine.add_process(78, "kube-apiserver", "--audit-log-path=-", "--audit-log-maxbackup=1")
    machine.add_process(79, "kube-apiserver", "--audit-log-path=/other.log", "--audit-log-maxbackup=1")
    found = about(machine.findings(), "bytes to read")
    assert limits in found.what
    assert "process 77" in found.what


def test_log_that_its_api_server_has_mounted_as_a_single_file_cannot_be_rotated(machine: Machine) -> None:
    machine.log.touch()
    process = machine.add_process(77, "kube-apiserver", f"--audit-log-path={machine.log}")
    (process / "mountinfo").write_text(f"30 22 254:0 /x {machine.log} rw - ext4 /dev/vda rw\n")
    alarm = machine.alarm()
    assert alarm.severity == "error"
    assert "process 77 has" in alarm.what
    assert "cannot rotate it" in alarm.what


def test_log_that_is_mounted_here_as_a_single_file_is_warned_of(machine: Machine) -> None:
    machine.log.touch()
    (machine.root / "proc" / "self").mkdir()
    (machine.root / "proc" / "self" / "mountinfo").write_text(f"30 22 254:0 /x {machine.log} rw - ext4 /dev/vda rw\n")
    assert machine.alarm().remedy == "mount its directory instead"


def test_watches_that_are_used_up_are_warned_of_with_the_setting_to_raise(machine: Machine) -> None:
    machine.log.touch()
    limits = machine.root / "proc" / "sys" / "fs" / "inotify"
    limits.mkdir(parents=True)
    (limits / "max_user_watches").write_text("3\n")
    (limits / "max_user_instances").write_text("128\n")
    process = machine.add_process(5, "anybody")
    (process / "fd" / "3").symlink_to("anon_inode:inotify")
    (process / "fdinfo" / "3").write_text("flags:\t00\n" + "inotify wd:1 ino:2 sdev:1\n" * 2)
    assert machine.alarms() == []
    (process / "fdinfo" / "3").write_text("flags:\t00\n" + "inotify wd:1 ino:2 sdev:1\n" * 3)
    alarm = machine.alarm()
    assert f"user {process.stat().st_uid} has used 3 of 3" in alarm.what
    assert "sysctl fs.inotify.max_user_watches=12" in alarm.remedy
    assert not [found for found in machine.findings(options={"watch": False}) if found.is_alarming]


# logrotate


CONFIGS = {
    "named": ("{log} {\n  daily\n  copytruncate\n}\n", 1, True),
    "quoted": ('"{log}" {\n\tcopytruncate\n}\n', 1, True),
    "glob": ("# audit\n\n/other.log\n{dir}/*.log\n{\n  weekly\n  copytruncate }\n", 5, True),
    "one line": ("/var/log/x { weekly }\n{log} { copytruncate }\n", 2, True),
    "from outside": ("copytruncate\n{log} {\n  daily\n}\n", 2, True),
    "taken back": ("copytruncate\n{log} {\n  nocopytruncate\n}\n", 2, False),
    "only in a script": ("{log} {\n  postrotate\n    echo }\n    copytruncate\n  endscript\n}\n", 1, False),
    "in a comment": ("{log} {\n  # copytruncate\n}\n", 1, False),
    "of another block": ("/x { \n copytruncate \n}\n{log} {\n daily\n}\n", 4, False),
}


@pytest.mark.parametrize(("text", "line", "copytruncate"), CONFIGS.values(), ids=CONFIGS)
def test_logrotate_that_truncates_a_log_is_found_by_its_config(
    machine: Machine, text: str, line: int, copytruncate: bool
) -> None:
    machine.log.touch()
    directory = machine.root / "etc" / "logrotate.d"
    directory.mkdir(parents=True)
    config = directory / "audit"
    config.write_text(text.replace("{log}", str(machine.log)).replace("{dir}", str(machine.log.parent)))
    found = [rule for rule in rules(machine.root / "etc") if any("audit" in g or "*" in g for g in rule.globs)]
    assert [(rule.where, rule.copytruncate) for rule in found] == [(f"{config}:{line}", copytruncate)]
    alarms = machine.alarms()
    assert [alarm.where for alarm in alarms] == ([f"{config}:{line}"] if copytruncate else [])
    write(machine.log, [1], rotated=2)
    machine.log.touch()
    [alarm] = machine.alarms()  # whose writer rotates it itself, so nobody else may
    assert (alarm.where, alarm.remedy) == (f"{config}:{line}", "take it out")


def test_setting_of_the_main_config_holds_for_those_that_it_includes(machine: Machine) -> None:
    (machine.root / "etc" / "logrotate.d").mkdir(parents=True)
    (machine.root / "etc" / "logrotate.conf").write_text("weekly\ncopytruncate\ninclude /etc/logrotate.d\n")
    (machine.root / "etc" / "logrotate.d" / "audit").write_bytes(f"{machine.log} {{\n}}\n".encode() + b"\xff\xfe{{{")
    (machine.root / "etc" / "logrotate.d" / "folder").mkdir()
    assert [rule.copytruncate for rule in rules(machine.root / "etc")] == [True]


def test_a_source_of_many_logs_looks_at_all_of_them(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.log").write_bytes(event(number))
        named(tmp_path / f"{number}.log", 1).write_bytes(event(0))
    source = Tail(paths=[f"{tmp_path}/*.log"], exclude=["2*.log"])
    findings = list(source.examine(Surroundings(root=tmp_path)))
    said = [finding.where for finding in findings if "with events from" in finding.what]
    assert said == [f"{tmp_path}/0.log", f"{tmp_path}/1.log"]


def test_log_that_is_not_there_is_warned_of_unless_only_a_glob_may_find_it(machine: Machine) -> None:
    assert (machine.alarm().where, machine.alarm().what) == (str(machine.log), "no such file")
    machine.log.mkdir()
    assert machine.alarm().what == "it is a directory, pipe or device"
    assert machine.findings([f"{machine.log.parent}/*.log"]) == []
