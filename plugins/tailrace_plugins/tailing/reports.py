"""What went wrong with the files, said once and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from tailrace import Measure

_AGAIN = "What is seen again after a recovery counts again."


class Reports:
    """The log messages and counters of one source."""

    def __init__(self, log: logging.Logger) -> None:
        self.log = log
        self.truncations = 0
        self.lost_files = 0
        self.damaged_files = 0
        self.long_lines = 0
        self.nul_bytes = 0
        self._mounted: set[str] = set()  # said once, not at each recovery

    def truncated(self, path: str, offset: int) -> None:
        """A file was truncated while we followed it; what was written after `offset` and not read is gone."""
        self.truncations += 1
        self.log.warning(
            "file was truncated; it is read again from its beginning (let logrotate use create, not copytruncate)",
            extra={"path": path, "offset": offset},
        )

    def mounted(self, path: str) -> None:
        """A log is mounted by itself, so what the mount shows stays the same file when its writer begins another."""
        if path not in self._mounted:
            self._mounted.add(path)
            self.log.warning(
                "log is mounted as a single file: after a rotation, new events will not be seen; mount its directory",
                extra={"path": path},
            )

    def lost(self, path: str, offset: int) -> None:
        """An unfinished file is not there any more, under any name."""
        self.lost_files += 1
        self.log.error(
            "file is gone before it was read to its end; what followed is lost (keep rotated files for longer)",
            extra={"path": path, "offset": offset},
        )

    def replaced(self, path: str, offset: int) -> None:
        """An object begins otherwise than when it was read up to `offset`."""
        self.log.warning(
            "object was replaced by another one; it is read from its beginning", extra={"path": path, "offset": offset}
        )

    def back(self, path: str, offset: int) -> None:
        """A file that was reported as lost is there again."""
        self.log.warning("file that was gone is back; it is read on", extra={"path": path, "offset": offset})

    def damaged(self, path: str, offset: int, reason: str) -> None:
        """A compressed file ends too early or is not what its name says."""
        self.damaged_files += 1
        self.log.error(
            "compressed file is damaged; what follows the offset cannot be read (check it with gzip -t or zstd -t)",
            extra={"path": path, "offset": offset, "reason": reason},
        )

    def long_line(self, path: str, offset: int, limit: int) -> None:
        """A line is longer than `max_line_bytes`."""
        self.long_lines += 1
        self.log.warning(
            "line is too long and is put aside in pieces (raise max_line_bytes if it is wanted)",
            extra={"path": path, "offset": offset, "max_line_bytes": limit},
        )

    def nuls(self, path: str, offset: int, count: int) -> None:
        """NUL bytes were skipped: a writer went on at its old offset after a truncation."""
        self.nul_bytes += count
        self.log.warning(
            "NUL bytes skipped where a line should begin (let logrotate use create, not copytruncate)",
            extra={"path": path, "offset": offset, "count": count},
        )

    def measures(self) -> Iterator[Measure]:
        """Give the counters for `/metrics`."""
        for name, help_, count in (
            ("truncations", "Files that were truncated; what was not read before may be lost.", self.truncations),
            ("lost_files", "Files that were gone before they were read to their end.", self.lost_files),
            ("damaged_files", "Compressed files that could not be read to their end.", self.damaged_files),
            ("long_lines", "Lines longer than max_line_bytes, which were rejected in pieces.", self.long_lines),
            ("skipped_nul_bytes", "NUL bytes skipped where a line should begin.", self.nul_bytes),
        ):
            yield Measure(f"tail_{name}_total", f"{help_} {_AGAIN}", "counter", count)

    def trouble(self, path: str, kind: str, reason: str) -> None:
        """A live file cannot be read; said once."""
        extra = {"path": path, "reason": reason}
        if kind == "missing":
            self.log.warning("file is missing; waiting for it (check the option paths, and the writer)", extra=extra)
        elif kind == "unreadable":
            self.log.warning("file is unreadable; trying again (check owner, mode and disk)", extra=extra)
        else:
            self.log.error("path is not a file; it is ignored (for a directory, give a glob: path/*.log)", extra=extra)

    def unreadable(self, path: str, reason: str) -> None:
        """A file that was found cannot be opened or read; said once."""
        self.log.warning(
            "file is unreadable; trying again (check owner, mode and disk)",
            extra={"path": path, "reason": reason},
        )

    def recovered(self, path: str) -> None:
        """The trouble is over."""
        self.log.info("file can be read now", extra={"path": path})
