"""Uploads: every slice of a file sink in a store, under a name that follows from its path.

1. A slice is uploaded when it is closed, from its committed bytes. The commit that forgets its length records in its
   place that the upload is owed, with the length; so a crash forgets neither.
2. What was uploaded is taken out by a later commit. After a crash in between it is uploaded again: the same bytes under
   the same name. A slice that grows after that is closed again, and uploaded again, as a whole.
3. What either generation of the checkpoint owes is not deleted by retention.
4. At the first start with this store, what lies there already is owed too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from tailrace import Context, Measure, OptionError, Position, Template, TemplatePaths
from tailrace.durable import Disk
from tailrace_plugins.checking import checked
from tailrace_plugins.sinks.uploader import Figures, Uploader
from tailrace_plugins.stores import Store, make_store

_STORE: Final = "upload"  # the key of the position that names the store
_OWED: Final = "upload "  # ... and what stands before the path of a slice that is owed to it


def make_uploads(url: str | None, endpoint_url: str | None, template: Template, mode: int) -> Uploads:
    """Make what the options of the file sink ask for; raises OptionError."""
    if url is None:
        raise OptionError("endpoint_url", "there is nothing to upload; set upload: s3://bucket/prefix, too")
    checked("upload", make_store, url, endpoint_url, disk=Disk(), mode=mode)
    return Uploads(url, endpoint_url, template, mode)


class Uploads:
    """What a file sink owes to a store, as the pipeline's thread sees it."""

    def __init__(self, url: str, endpoint_url: str | None, template: Template, mode: int) -> None:
        self._url = url
        self._endpoint_url = endpoint_url
        self._mode = mode
        try:
            self._paths: TemplatePaths | None = TemplatePaths(template)
        except ValueError:  # what it makes cannot be told from what is others'
            self._paths = None
        self._store: Store | None = None
        self._uploader: Uploader | None = None
        self._figures = Figures()

    def owns(self, key: str) -> bool:
        """Tell whether a key of the position belongs to this."""
        return key == _STORE or key.startswith(_OWED)

    def open(self, context: Context, root: str, position: Position, lengths: Collection[str]) -> None:
        """Go on with what `position` owes. Names begin below `root`; what has a length is still being written."""
        self._owed = {key.removeprefix(_OWED): value for key, value in position.items() if key.startswith(_OWED)}
        self._finished: Collection[str] = ()  # what the last commit took out, and the one before it still owes
        self._is_known = position.get(_STORE) == self._url
        self._fresh = {} if self._is_known else self._find(context, root, lengths)  # what is not recorded yet
        if self._store is None:
            self._store = make_store(self._url, self._endpoint_url, disk=context.disk, mode=self._mode)
        before = self._uploader.alive if self._uploader is not None else ()
        self._uploader = Uploader(context, self._store, root, self._figures, before)
        self._uploader.add(self._owed)

    def _find(self, context: Context, root: str, lengths: Collection[str]) -> dict[str, int]:
        """Give the slices that were there before this store was, with their lengths."""
        if self._paths is None:
            context.log.warning(
                "slices from before are not uploaded, for the path does not tell them from others' files",
                extra={"upload": self._url},
            )
            return {}
        failures: list[OSError] = []
        found = {
            os.path.join(root, path): entry.stat(follow_symlinks=False).st_size
            for path, entry in self._paths.find(failures, set())
            if self._paths.made(path)
        }
        if failures:
            raise failures[0]
        return {path: size for path, size in found.items() if path not in lengths and size}

    @property
    def is_due(self) -> bool:
        """Whether there is something to record."""
        return not self._is_known or self._running.has_news

    def flush(self, closed: Mapping[str, int]) -> Position:
        """Owe what was closed, and take out what was done; gives the delta that says so."""
        delta: dict[str, Any] = {} if self._is_known else {_STORE: self._url}
        self._is_known = True
        self._fresh |= {path: length for path, length in closed.items() if length}
        self._owed |= self._fresh
        done = self._running.take_done()
        self._finished = [path for path, length in done.items() if self._owed.get(path) == length]
        for path in self._finished:
            del self._owed[path]
        delta |= {_OWED + path: length for path, length in self._fresh.items()}
        return delta | dict.fromkeys([_OWED + path for path in self._finished])

    def commit(self) -> None:
        """What is owed is recorded: upload it."""
        self._running.add(self._fresh)
        self._fresh = {}

    @property
    def kept(self) -> Collection[str]:
        """The slices that must not be deleted yet."""
        return {*self._owed, *self._finished}

    @property
    def _running(self) -> Uploader:
        assert self._uploader is not None
        return self._uploader

    def wait(self, stop: threading.Event) -> None:
        """Return when all is uploaded, or the store does not take it, or `stop` is set."""
        self._running.wait(stop)

    def incomplete(self) -> Sequence[str]:
        """Say what was not uploaded."""
        return () if self._uploader is None else [f"{self._url}: {each}" for each in self._uploader.left()]

    def close(self) -> None:
        """Stop uploading."""
        if self._uploader is not None:
            self._uploader.close()

    def measures(self) -> Iterator[Measure]:
        """Give the figures for `/metrics`."""
        figures, uploader = self._figures, self._uploader
        pending = 0 if uploader is None else uploader.pending
        yield Measure("uploads_total", "Slices uploaded.", "counter", figures.uploads)
        yield Measure("uploaded_bytes_total", "Bytes of the slices uploaded.", "counter", figures.bytes)
        yield Measure(
            "upload_failures_total", "Uploads that failed; they are tried again.", "counter", figures.failures
        )
        yield Measure("uploads_pending", "Closed slices that are not uploaded yet.", "gauge", pending)
