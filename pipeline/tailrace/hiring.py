"""Where the processes of crews come from: each is a Python of its own, or a fork that was made ahead.

A Python of its own takes a tenth of a second to be ready, a fork a few milliseconds: it has all modules. But a fork has
also the locks that other threads held just then, for ever. So forks are made before there are any threads, and wait
until a crew wants them; whatever is wanted later is started anew.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from typing import NoReturn, Protocol

Hired = tuple[socket.socket, "Process"]
"""What reaches the process, and the process."""


class Process(Protocol):
    """What a crew needs to know of a process; several threads may ask it."""

    @property
    def pid(self) -> int:
        """Its number."""

    def kill(self) -> None:
        """End it, if it has not ended."""

    def wait(self) -> int:
        """Wait for its end; its exit code, or the signal that ended it, as a negative number."""


class _Fork:
    """A process that was forked; like `subprocess.Popen`, it is never confused with another one of its number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self._code: int | None = None

    def kill(self) -> None:
        with self._lock:
            if self._code is None:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        with self._lock:
            if self._code is None:
                self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self._code


class Reserve:
    """Processes that were forked ahead and wait for a crew; none to begin with. Crews of several threads share it."""

    def __init__(self) -> None:
        self._hired: queue.SimpleQueue[Hired] = queue.SimpleQueue()

    def fill(self, number: int) -> None:
        """Fork so many processes, no more than there are processors, and none if there are threads already."""
        number = min(number, len(os.sched_getaffinity(0)))
        if number and _is_alone():
            import tailrace.hand  # noqa: F401 - once, instead of in each fork

            gc.freeze()  # what there is stays in pages that are shared
            for _ in range(number):
                self._hired.put(_fork())

    def hire(self) -> Hired:
        """Give a process that waits to be told its stages. Raises OSError if there can be no more of them."""
        try:
            return self._hired.get_nowait()
        except queue.Empty:
            return _start()

    def dismiss(self) -> None:
        """Let go of the forks that nobody wanted: they cost memory."""
        with suppress(queue.Empty):
            while True:
                ours, process = self._hired.get_nowait()
                ours.close()
                process.kill()
                process.wait()


def _is_alone() -> bool:
    """Tell whether this thread is the only one, those that libraries have started included."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _start() -> Hired:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "tailrace.hand", str(theirs.fileno())]
    try:
        process = subprocess.Popen(  # noqa: S603 - our own Python, our own module
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
        )
    except OSError:  # no descriptors, no memory
        ours.close()
        raise
    finally:
        theirs.close()
    return ours, process


def _fork() -> Hired:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        _become_hand(theirs)
    theirs.close()
    return ours, _Fork(pid)


def _become_hand(end: socket.socket) -> NoReturn:
    """Work until the pipeline is done with us, in a process that has nothing of it but its modules; never returns."""
    code = 1
    try:
        from tailrace.hand import serve

        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        for descriptor in map(int, os.listdir("/proc/self/fd")):  # whose objects stay, for this frame is never left
            if descriptor > 2 and descriptor != end.fileno():
                with suppress(OSError):  # the list's own
                    os.close(descriptor)
        serve(end)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # whatever happens, for the parent's frames are on the stack
