"""Signals: the first SIGTERM or SIGINT commits and ends, the second one ends at once; SIGHUP reads the config again."""

from __future__ import annotations

import os
import signal
from types import FrameType

from tailrace.service import Service


def hold_hangup() -> None:
    """Let SIGHUP wait until `obey` is called; it would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def obey(service: Service) -> None:
    """Tell the service what signals say, also those that came since `hold_hangup`."""

    def on_stop(number: int, frame: FrameType | None) -> None:
        if service.stopping:
            os._exit(1)  # as good as kill -9, which is safe at any time
        service.stop()

    def on_hangup(number: int, frame: FrameType | None) -> None:
        service.reload()

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    signal.signal(signal.SIGHUP, on_hangup)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
