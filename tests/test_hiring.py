"""Processes that are forked before a crew needs them: they have nothing of their parent but its modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROLOGUE = """
import json, os, signal, sys, threading
from pathlib import Path
from tailrace.hiring import Reserve
reserve = Reserve()
os.sched_getaffinity = lambda pid: {0, 1, 2}  # processors
def children():
    found = Path("/proc/self/task").glob("*/children")
    pids = {int(pid) for each in found for pid in each.read_text().split()}
    return {pid for pid in pids if "State:\\tZ" not in Path(f"/proc/{pid}/status").read_text()}
"""


def program(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of one thread, as the command line is at its start; a test is none."""
    command = [sys.executable, "-c", PROLOGUE + text, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_forks_have_no_descriptor_of_their_parent_and_end_with_it(tmp_path: Path) -> None:
    done = program(
        """
lock = open(sys.argv[1], "w")
os.set_inheritable(lock.fileno(), True)
reserve.fill(3)
def descriptors(pid):
    return sorted(os.readlink(path).split(":")[0] for path in Path(f"/proc/{pid}/fd").iterdir())
hired = [reserve.hire() for _ in range(3)]
pids = [process.pid for _, process in hired]
for pid in pids:
    while "tailrace-worker" not in Path(f"/proc/{pid}/comm").read_text(): pass  # it is one when it has that name
print(json.dumps([children() == set(pids), list(map(descriptors, pids))]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
""",
        str(tmp_path / "lock"),
    )
    # all have ended: each has the end of a pipe for errors, the "pipe" below, which `program` reads to its end
    assert json.loads(done.stdout) == [True, [["/dev/null", "/dev/null", "pipe", "socket"]] * 3]
    assert done.returncode == -9


def test_threads_and_processors_limit_how_many_are_forked_and_none_is_where_they_cannot_be_seen() -> None:
    done = program(
        """
reserve.fill(0)
none = len(children())
reserve.fill(64)
forked = len(children())
reserve.dismiss()
left = len(children())
def no_proc(path):
    raise FileNotFoundError(path)
listed, os.listdir = os.listdir, no_proc
reserve.fill(2)
os.listdir = listed
unseen = len(children())
over = threading.Event()
threading.Thread(target=over.wait).start()
reserve.fill(2)
print(none, forked, left, unseen, len(children()))
over.set()
"""
    )
    assert done.stdout == "0 3 0 0 0\n", done.stderr


def test_what_is_hired_beyond_them_is_started_anew_and_works_alike() -> None:
    done = program(
        """
from tailrace.wire import send, receive
reserve.fill(1)
hired = [reserve.hire() for _ in range(2)]
kinds = [type(process).__name__ for _, process in hired]
for end, process in hired:
    send(end, {"path": sys.path, "folders": []})
    end.close()
print(kinds, [process.wait() for _, process in hired], [process.wait() for _, process in hired])
"""
    )
    assert done.stdout == "['_Fork', 'Popen'] [0, 0] [0, 0]\n", done.stderr


def test_forks_that_nobody_wanted_go_when_there_was_nothing_to_do_for_long(tmp_path: Path) -> None:
    done = program(
        """
from tailrace import crew
from tailrace.context import Context
from tailrace.pipeline import Pipeline
from tailrace.testing import ListSink, ListSource
reserve.fill(2)
context = Context(pipeline="p", state_dir=Path(sys.argv[1]))
pipeline = Pipeline(context, ListSource(lines=[]), [], {"list": ListSink()}, workers=2, reserve=reserve)
pipeline.crew.rest()
before = len(children())
crew.IDLE_SECONDS = 0.0
pipeline.crew.rest()
print(before, len(children()))
""",
        str(tmp_path),
    )
    assert done.stdout == "2 0\n", done.stderr


def test_last_words_of_a_fork_are_seen() -> None:
    done = program(
        """
from tailrace.wire import send
reserve.fill(1)
end, process = reserve.hire()
send(end, "no setup")
print(process.wait())
"""
    )
    assert done.stdout == "1\n"
    assert "TypeError: string indices must be integers" in done.stderr.splitlines()[-1]


def test_fork_that_was_killed_meanwhile_is_a_worker_that_is_gone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f'{{"line":{number}}}\n' for number in range(200_000)))
    done = program(
        """
from tailrace.context import Context
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace_plugins.sources.tail import Tail
from tailrace.testing import ListSink
reserve.fill(3)
for pid in children():
    os.kill(pid, signal.SIGKILL)
sink = ListSink()
stages = [Tail(paths=[sys.argv[1] + "/log"]), [], {"list": sink}]
pipeline = Pipeline(Context(pipeline="p", state_dir=Path(sys.argv[1]) / "state"), *stages, workers=2, reserve=reserve)
try:
    pipeline.run(threading.Event(), once=True)
except PipelineFailed as error:
    print(error)
""",
        str(tmp_path),
    )
    assert "ended by itself (signal 9; too little memory, perhaps); nothing is lost: run it again" in done.stdout, done
