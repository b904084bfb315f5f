"""Stopping by signal: the first one commits and ends, the second one ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

from tailrace.service import Service


def obey(service: Service) -> None:
    """Stop at the first SIGTERM or SIGINT, and at once at the second."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if service.stopping:
            os._exit(1)  # as good as kill -9, which is safe at any time
        service.stop()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
