"""Where the main job's time goes: microseconds of CPU per event and step, one thread, the real stages.

    python -m benchmarks.bench_stages [--input FILE] [--size MB] [--json FILE]

The steps are taken in turn on each batch, as a pipeline takes them, so that the caches are as warm
as they are there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.job import SAMPLE, repeat_input

from tailrace.batch import Batch
from tailrace.context import Context
from tailrace.fields import Projection
from tailrace.lines import split_lines
from tailrace.stage import Stage
from tailrace_plugins.filters.drop_keys import DropKeys
from tailrace_plugins.filters.extract import Extract
from tailrace_plugins.filters.rewrite_tag import RewriteTag
from tailrace_plugins.sinks.file import File

BLOCK = 512 << 10
COMMIT_BYTES = 64 << 20


class Stopwatch:
    """CPU seconds by step, in the order in which the steps came up first."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


def blocks(log: Path, watch: Stopwatch) -> Iterator[list[bytes]]:
    """Read a log in blocks of whole lines."""
    rest = b""
    with log.open("rb", buffering=0) as file:
        while True:
            with watch.step("read"):
                block = file.read(BLOCK)
            if not block:
                return
            with watch.step("split"):
                lines = split_lines(block)
                lines[0] = rest + lines[0]
                rest = lines.pop()
            yield lines


def measure(log: Path, directory: Path) -> tuple[int, dict[str, float]]:
    """Do the main job on `log`; the number of events and the CPU seconds of each step."""
    extract = Extract(field="objectRef.namespace", into="namespace")
    rewrite_tag = RewriteTag(tag="{tag}.{namespace}")
    drop_keys = DropKeys(keys=["namespace"])
    sink = File(path=f"{directory}/out/audit-{{tag[1:]}}.%Y%m%d%H.log.gz")
    stages: list[Stage] = [extract, rewrite_tag, drop_keys, sink]
    for stage in stages:
        stage.attach(Context(pipeline="bench", state_dir=directory))
    projection = Projection(
        [field for stage in stages for field in stage.reads()],
        [field for stage in stages for field in stage.writes()],
    )
    sink.open(None)
    watch = Stopwatch()
    events = uncommitted = 0

    def commit() -> None:
        with watch.step("write (and the last gzip)"):
            sink.prepare()
            sink.commit(sink.flush())

    with watch.step("whole"):
        for lines in blocks(log, watch):
            batch = Batch(lines, tag="audit")
            events += len(batch)
            uncommitted += BLOCK
            with watch.step("projection"):
                batch.project(projection)
            for stage, name in ((extract, "extract"), (rewrite_tag, "rewrite_tag"), (drop_keys, "drop_keys")):
                with watch.step(name):
                    stage.apply(batch)
            with watch.step("group"):
                payload = sink.encode(batch)
            with watch.step("gzip"):
                sink.write(payload)
            if uncommitted >= COMMIT_BYTES:
                commit()
                uncommitted = 0
        commit()
    sink.close()
    watch.seconds["whole"] = watch.seconds.pop("whole")  # last in the table
    return events, watch.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the steps of the main job.")
    parser.add_argument("--input", type=Path, default=SAMPLE, help="a log, packed or not; default the sample")
    parser.add_argument("--size", type=int, default=200, help="MB that the input is repeated to")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name:
        directory = Path(name)
        log = directory / "audit.log"
        repeat_input(options.input, log, options.size * 1_000_000)
        size = log.stat().st_size
        events, seconds = measure(log, directory)
    figures = {step: spent / events * 1e6 for step, spent in seconds.items()}
    print(f"{events:,} events of {size / events:,.0f} bytes; CPU per event:")
    for step, micros in figures.items():
        print(f"{step:32}{micros:>10.2f} µs")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
