"""Being woken when a file is created, renamed or removed, so that a rotation is noticed before the next look.

Only a hint: events get lost when there are many, and network file systems send none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver


class Wakeup:
    """Watches directories and calls `wake`, from a thread of its own."""

    def __init__(self, wake: Callable[[], None], log: logging.Logger) -> None:
        self._wake = wake
        self._log = log
        self._observer: BaseObserver | None = None
        self._watched: set[str] = set()
        self._failed = False

    def watch(self, directories: Iterable[str]) -> None:
        """Watch these directories too. Where the system refuses, it says so once, and that is all."""
        new = set(directories) - self._watched
        if not new or self._failed:
            return
        # imported here: polling alone works without it, and it costs more to import than all of ours
        from watchdog.events import (
            DirCreatedEvent,
            FileCreatedEvent,
            FileDeletedEvent,
            FileMovedEvent,
            FileSystemEvent,
            FileSystemEventHandler,
        )
        from watchdog.observers import Observer

        wake = self._wake

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                wake()

        kinds: list[type[FileSystemEvent]] = [DirCreatedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent]
        try:
            if self._observer is None:
                observer = Observer()
                observer.daemon = True
                observer.start()
                self._observer = observer
            for directory in new:
                with suppress(FileNotFoundError):  # it was removed meanwhile
                    self._observer.schedule(Handler(), directory, recursive=False, event_filter=kinds)
                    self._watched.add(directory)
        except OSError as error:
            self.close()
            self._failed = True
            self._log.warning(
                "no inotify; rotation is noticed by polling alone (raise fs.inotify.max_user_watches or _instances)",
                extra={"reason": str(error)},
            )

    def close(self) -> None:
        """Stop watching."""
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            observer.stop()
            observer.join()
