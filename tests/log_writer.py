"""A stand-in for the API server: appends events at full speed and rotates as lumberjack does, in its own process.

    python log_writer.py LOG STOP_FILE MAX_FILE_BYTES MAX_EVENTS

Writes until STOP_FILE exists (or MAX_EVENTS are written), one write per event or several, sometimes half a line
first, then prints how many events it wrote.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from pathlib import Path

NAMESPACES = [f"team-{number}" for number in range(12)]


def event(number: int) -> tuple[str, bytes]:
    """Make the event of this number and say which namespace it belongs to."""
    rng = random.Random(number)
    namespace = rng.choice(NAMESPACES)
    hour = 5 + number // 40_000 % 18
    line = (
        f'{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{number}",'
        f'"stage":"ResponseComplete","objectRef":{{"resource":"pods","namespace":"{namespace}"}},'
        f'"stageTimestamp":"2026-11-23T{hour:02}:30:00.{number % 1_000_000:06}Z",'
        f'"padding":"{"x" * rng.randint(0, 600)}"}}'
    )
    return namespace, line.encode()


def main() -> None:
    log, stop, max_bytes, max_events = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    breath = threading.Event()
    rng = random.Random(1)
    number = rotations = 0
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size = 0
    while number < max_events and not stop.exists():
        for _ in range(rng.randint(1, 400)):
            data = event(number)[1] + b"\n"
            if size + len(data) > max_bytes:
                os.close(file)
                hour, minute, second = rotations // 3600, rotations // 60 % 60, rotations % 60
                stamp = f"2026-11-23T{hour:02}-{minute:02}-{second:02}.000"
                log.rename(log.with_name(f"{log.stem}-{stamp}{log.suffix}"))
                file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                rotations += 1
                size = 0
            cut = rng.randint(0, len(data)) if rng.random() < 0.05 else 0
            if cut:
                os.write(file, data[:cut])
            os.write(file, data[cut:])
            size += len(data)
            number += 1
        breath.wait(0.02)
    os.close(file)
    print(number, rotations)


if __name__ == "__main__":
    main()
