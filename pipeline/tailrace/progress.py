"""The progress bar of `tailrace run --once` on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tailrace.pipeline import Pipeline


class ProgressBar:
    """A bar for each pipeline: bytes read of bytes there are, events per second, time left.

    While it is shown, `sys.stderr` is replaced by a stream that writes above it.
    """

    def __init__(self, pipelines: Sequence[Pipeline], console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[rate]:,.0f} events/s"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
        )
        self._tasks: list[tuple[Pipeline, TaskID]] = [
            (pipeline, self._progress.add_task(pipeline.context.pipeline, total=None, rate=0.0))
            for pipeline in pipelines
        ]

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        self._console.show_cursor(True)  # a second signal ends the process with no chance to bring it back
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.update()
        self._progress.stop()

    def update(self) -> None:
        """Show how far the pipelines are."""
        for pipeline, task in self._tasks:
            counts = pipeline.counts
            done = counts.bytes_in
            elapsed = self._progress.tasks[task].elapsed
            self._progress.update(task, completed=done, rate=counts.events_in / elapsed if elapsed else 0.0)
            # asked while the pipeline's thread is at work: what it cannot say now, it says the next time
            with contextlib.suppress(Exception):
                self._progress.update(task, total=done + pipeline.lag())
        self._progress.refresh()
