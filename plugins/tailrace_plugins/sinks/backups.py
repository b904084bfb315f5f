"""Backups: files that rotation has renamed, named, counted, deleted and compressed as lumberjack does it.

Names (natefinch/lumberjack, backupName): `audit-2026-11-23T06-00-00.000.log`, in UTC; `.gz` behind it where compressed.
Here each name is later than all that are there, whatever the clock says, for readers go by their order.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from tailrace import Context, Measure
from tailrace.durable import Disk, naming, sync_directory, write_all
from tailrace_plugins.sinks.compression import compressor

_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}"
_FORMAT: Final = "%Y-%m-%dT%H-%M-%S.%f"
_GZIP: Final = ".gz"
_MEMBER_BYTES: Final = 1 << 20  # of text in a member of a compressed file
_MILLISECOND: Final = timedelta(milliseconds=1)


class Backup(NamedTuple):
    """A file that was renamed at `time`."""

    time: datetime
    name: str

    @property
    def plain(self) -> str:
        """Its name without compression."""
        return self.name.removesuffix(_GZIP)


class Backups:
    """The backups of one live file. `max_age` is in days, `max_backup` a number; 0 is no limit."""

    def __init__(self, path: str, *, max_age: int, max_backup: int, compress: bool) -> None:
        self._directory, self._live = os.path.split(path)
        dot = self._live.rfind(".")
        self._stem, self._extension = (self._live, "") if dot < 0 else (self._live[:dot], self._live[dot:])
        self._pattern = re.compile(
            f"{re.escape(self._stem)}-({_TIME}){re.escape(self._extension)}(?:{re.escape(_GZIP)})?"
        )
        self._max_age = max_age
        self._max_backup = max_backup
        self._compress = compress
        self._deleted = self._compressed = self._failures = 0

    def find(self) -> list[Backup]:
        """Give all there are, the newest first."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            found = [self._read(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
            return sorted((backup for backup in found if backup is not None), reverse=True)
        return []

    def _read(self, name: str) -> Backup | None:
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        try:
            return Backup(datetime.strptime(match[1], _FORMAT).replace(tzinfo=UTC), name)
        except ValueError:  # the 31st of February
            return None

    def next_names(self, context: Context, count: int) -> list[str]:
        """Name so many files, each later than the one before and than all that are there."""
        now = datetime.fromtimestamp(context.clock.time(), UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        found = self.find()
        first = max(now, found[0].time + _MILLISECOND) if found else now
        times = [first + number * _MILLISECOND for number in range(count)]
        return [f"{self._stem}-{time.strftime(_FORMAT)[:-3]}{self._extension}" for time in times]

    def tidy(self, context: Context, spared: Collection[str]) -> None:
        """Delete what is too old or too much, and compress the rest if asked for; `spared` counts, and stays as it is.

        What cannot be done is logged and counted; it is no reason to stop collecting.
        """
        if not (self._max_age or self._max_backup or self._compress):
            return
        failures: list[OSError] = []
        found = self.find()
        gone = self._choose(found, context.clock.time())
        for backup in found:
            if backup.name in spared:
                continue
            path = os.path.join(self._directory, backup.name)
            try:
                if backup in gone:
                    context.disk.unlink(path)
                    self._deleted += 1
                    context.log.info("rotated file was deleted", extra={"path": path})
                elif self._compress and not backup.name.endswith(_GZIP):
                    self._pack(context.disk, path)
                    self._compressed += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                failures.append(error)
        if failures:
            self._failures += len(failures)
            context.log.warning(
                "rotated files could not be deleted or compressed",
                extra={"failures": len(failures), "first": str(failures[0])},
            )

    def _choose(self, found: list[Backup], now: float) -> Collection[Backup]:
        """Choose what is to be deleted; a file and its compressed twin count once."""
        plain = list(dict.fromkeys(backup.plain for backup in found))
        too_many = set(plain[self._max_backup :]) if self._max_backup else ()
        oldest = now - self._max_age * 86_400
        return {
            backup
            for backup in found
            if backup.plain in too_many or (self._max_age and backup.time.timestamp() < oldest)
        }

    def _pack(self, disk: Disk, path: str) -> None:
        """Put a compressed file in the place of a plain one; at every moment one of them is whole."""
        temporary = os.path.join(self._directory, f".{self._live}.tailrace-gz")
        compress = compressor("gzip", None)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(path, "rb") as source:
            about = os.fstat(source.fileno())
            descriptor = disk.open(temporary, flags, 0o600)
            try:
                with naming(temporary):
                    own = os.fstat(descriptor)
                    if (own.st_uid, own.st_gid) != (about.st_uid, about.st_gid):
                        disk.chown(descriptor, about.st_uid, about.st_gid)
                    disk.chmod(descriptor, stat.S_IMODE(about.st_mode))
                    write_all(disk, descriptor, compress(b"".join(source.readlines(_MEMBER_BYTES))))
                    while lines := source.readlines(_MEMBER_BYTES):
                        write_all(disk, descriptor, compress(b"".join(lines)))
                    disk.fsync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    disk.unlink(temporary)
                raise
            finally:
                disk.close(descriptor)
        disk.rename(temporary, path + _GZIP)
        sync_directory(disk, self._directory)
        disk.unlink(path)

    def measures(self) -> Iterator[Measure]:
        """Give the figures for `/metrics`."""
        yield Measure("rotation_deleted_files_total", "Rotated files deleted.", "counter", self._deleted)
        yield Measure("rotation_compressed_files_total", "Rotated files compressed.", "counter", self._compressed)
        yield Measure(
            "rotation_failures_total",
            "Rotated files that could not be deleted or compressed.",
            "counter",
            self._failures,
        )
