"""A process of the crew: it reads spans by itself, takes them through the chain, and answers with what they became.

    python -m tailrace.hand DESCRIPTOR

DESCRIPTOR is that of a socket. It ends when the socket does. It may also be a fork (`hiring.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from logging.handlers import QueueHandler
from typing import Any

from tailrace.chain import Chain, Product
from tailrace.context import Context
from tailrace.garbage import collect_rarely
from tailrace.span import SpanUnread
from tailrace.stage import Retry
from tailrace.wire import receive, send


def main() -> None:
    """Work at the socket that the command line names."""
    serve(socket.socket(fileno=int(sys.argv[1])))


def serve(pipeline: socket.socket) -> None:
    """Work until the pipeline is done with us."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as name:
        name.write("tailrace-worker")  # for those who look at the list of processes
    # a signal to the whole group, as by Ctrl-C, is for the pipeline: it lets us end when it has ended
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    collect_rarely()
    with pipeline, contextlib.suppress(EOFError, OSError):
        chain = _chain(receive(pipeline)[0], lambda: receive(pipeline)[0])
        while True:
            stretch, descriptor = receive(pipeline)
            if descriptor is None:
                raise EOFError("a span without its file")
            answer = _work(chain, stretch, descriptor)
            os.close(descriptor)
            send(pipeline, answer)


def _chain(setup: dict[str, Any], stages: Callable[[], bytes]) -> Chain:
    """Make the stages anew, once it is known where their modules are."""
    sys.path[:] = setup["path"]
    if setup["folders"]:
        from tailrace.registry import Registry  # costs more than all else here, and is hardly ever needed

        for folder in setup["folders"]:
            Registry().add_folder(folder)
    name, state_dir, level, filters, sinks, reads = pickle.loads(stages())  # noqa: S301 - from our own pipeline
    context = Context(pipeline=name, state_dir=state_dir)
    for stage in (*filters, *sinks.values()):
        stage.attach(context)
    context.log.setLevel(level)
    return Chain(filters, sinks, reads)


def _work(chain: Chain, stretch: Any, descriptor: int) -> tuple[str, Product | str]:
    """Work on one span; whatever goes wrong is an answer too."""
    notes: list[tuple[Any, ...]] = []
    said: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logging.getLogger().handlers = [QueueHandler(said)]
    try:
        product = chain.run_all(stretch.batches(descriptor, lambda *note: notes.append(note)))
    except SpanUnread as error:
        return "unread", str(error)
    except (Retry, OSError) as error:
        return "retry", str(error)
    except Exception:
        return "bug", traceback.format_exc()
    product.notes = notes
    while not said.empty():
        product.log.append(said.get())
    return "product", product


if __name__ == "__main__":
    main()
