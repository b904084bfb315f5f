"""What lies on disk of one log: the rotated files, and which of them are files that we know."""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tailrace_plugins.tailing.content import Content, is_regular, open_content, packed_length
from tailrace_plugins.tailing.file import HEAD_BYTES, File, FileState, Key, Replaced, Stamp, hash_bytes
from tailrace_plugins.tailing.listings import Listings
from tailrace_plugins.tailing.names import Rotation, compression_of, is_dated_like, is_lumberjack, rotation


class Sighting:
    """A file as it was found under a name."""

    def __init__(self, path: str, status: os.stat_result) -> None:
        self.path = path
        self.key: Key = (status.st_dev, status.st_ino)
        self.stamp: Stamp = (status.st_size, status.st_mtime_ns)
        self.compressed = bool(compression_of(path))
        self._probe: bytes | None = None

    def probe(self, content: Content | None = None) -> bytes:
        """Give the first bytes, uncompressed, at most `HEAD_BYTES`; `content` is the file, where it is open.

        Raises what `pread` raises.
        """
        if self._probe is None:
            self._probe = (content or self).pread(HEAD_BYTES, 0)
        return self._probe

    def pread(self, size: int, offset: int) -> bytes:
        """Read in it, uncompressed.

        Raises OSError, and `Replaced` if there is another file under this name by now.
        """
        content = open_content(self.path)
        try:
            status = content.stat()
            if (status.st_dev, status.st_ino) != self.key:
                raise Replaced(self.path)
            return content.pread(size, offset)
        finally:
            content.close()

    def new_state(self) -> FileState:
        """Give the state of a file of which nothing was read. Raises what `probe` raises."""
        probe = self.probe()
        return FileState(self.path, *self.key, hash_bytes(probe), len(probe), 0)


def directories(path: str) -> list[tuple[str, str]]:
    """Give the directories, and the live name in each, where the rotated files of a log lie.

    They lie beside the live path and, if that is a symbolic link, beside its target.
    """
    target = os.path.realpath(path)
    return list(dict.fromkeys((os.path.split(path), os.path.split(target))))


def rotated_files(path: str, listings: Listings, *, anew: bool = False) -> list[Sighting]:
    """Find the rotated files of the log at `path`, the oldest first; of a file and its compressed copy, the file.

    `anew`: trust no listing that was made before. Raises OSError if a directory cannot be listed.
    """
    found: dict[tuple[str, str], tuple[Rotation, Sighting]] = {}
    for directory, live in directories(path):
        # sorted, so that a file comes before its compressed copy, which may still be growing
        for name, _, rotated in listings.present(directory, live, anew=anew):
            place = (directory, rotated.plain)
            if place in found:
                continue
            try:
                status = os.stat(os.path.join(directory, name))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):  # gone, or a link that leads to itself
                    raise
                continue
            if is_regular(status):
                found[place] = (rotated, Sighting(os.path.join(directory, name), status))
    return _oldest_first(found.values())


def _oldest_first(found: Iterable[tuple[Rotation, Sighting]]) -> list[Sighting]:
    """Sort by name; names of different schemes, which cannot be compared, by the time of the last change."""
    by_scheme: dict[str, list[tuple[Rotation, Sighting]]] = {}
    for rotated, sighting in found:
        by_scheme.setdefault(rotated.scheme, []).append((rotated, sighting))
    lists = []
    for pairs in by_scheme.values():
        pairs.sort(key=lambda pair: pair[0].order)
        lists.append([sighting for _, sighting in pairs])
    merged = heapq.merge(*lists, key=lambda sighting: sighting.stamp[1])
    return list({sighting.key: sighting for sighting in merged}.values())


class Matches(NamedTuple):
    """Which known file each sighting is."""

    by_key: dict[File, Sighting]
    by_head: dict[File, Sighting]  # compressed or copied since; or all of them, if the device has a new number


def match(files: Sequence[File], sightings: Sequence[Sighting], *, guess: bool = False) -> Matches:
    """Recognise `files` among `sightings`; one sighting is at most one file. Both are given oldest first.

    Raises FileNotFoundError and `Replaced` if one of them is not there any more, which proves nothing: it was renamed
    just now. With `guess` it is then taken for a file that is not known.
    """
    free = {sighting.key: sighting for sighting in sightings}
    matches = Matches({}, {})
    for file in files:
        sighting = free.get(file.key)
        if sighting is not None and _is_same(file, sighting, guess):
            matches.by_key[file] = free.pop(sighting.key)
    for file in files:
        if file not in matches.by_key and file.state.head_len:
            sighting = next((sighting for sighting in free.values() if _lives_on(file, sighting, guess)), None)
            if sighting is not None:
                matches.by_head[file] = free.pop(sighting.key)
    return matches


def _is_same(file: File, sighting: Sighting, guess: bool) -> bool:
    """Tell whether a file of the same device and inode is the same file, and neither truncated nor another one."""
    if file.holds(sighting.key):
        return file.is_intact()
    if sighting.stamp == file.seen and file.settled:
        return True
    if compression_of(file.state.path) != compression_of(sighting.path):
        return False  # compressing makes another file
    if is_dated_like(file.state.path, sighting.path) is False:
        return False
    try:
        if not file.state.head_len:
            # an empty file is known by its inode alone, which may be used again, and a rotated one may be a new copy
            return not sighting.probe() or rotation(os.path.basename(sighting.path)) is None
        return _holds(file, sighting)
    except (FileNotFoundError, Replaced):
        if not guess:
            raise
        return False
    except OSError:  # it cannot be read now, so there is nothing that would speak against it
        return True


def _lives_on(file: File, sighting: Sighting, guess: bool) -> bool:
    """Tell whether a file that is not to be found goes on in another one: compressed, copied, moved.

    One that is neither finished nor open is looked for generously, for the alternative is loss; so is one that was
    put aside. The others are only recognised in order not to be read twice, and there a mistake would be loss.
    """
    named = is_dated_like(file.state.path, sighting.path)
    certain = sighting.compressed or sighting.key[1] == file.state.ino or sighting.path == file.state.path
    try:
        if named is False or not _holds(file, sighting):
            return False
        if named and sighting.compressed:
            return True
        if file.finished and not file.state.offset and sighting.compressed != bool(compression_of(file.state.path)):
            return False  # nothing was read of it, so nothing would be read twice
        long_head = file.state.head_len in (HEAD_BYTES, len(sighting.probe()))
        if file.is_open and not file.is_intact() and is_lumberjack(sighting.path):
            return False  # it was truncated, and this is no copy
        if file.is_open and file.is_intact():
            limit = packed_length(sighting.path) if sighting.compressed else None  # lines may have come late
            return certain and (sighting.compressed or long_head) and file.ends_like(sighting.pread, limit)
        if sighting.compressed and not file.goes_on_in(sighting.pread, shorter=not is_lumberjack(sighting.path)):
            return False  # checked last, for it is decompressed up to there
        was_put_aside = rotation(os.path.basename(file.state.path)) is None
        return (certain and (bool(file.state.tail_len) or long_head)) or not file.finished or was_put_aside
    except (FileNotFoundError, Replaced):
        if not guess:
            raise
        return False
    except OSError:
        return False


def _holds(file: File, sighting: Sighting) -> bool:
    """Tell whether it has the bytes that were read; of a compressed one only the head is compared."""
    if sighting.compressed:
        return file.begins_like(sighting.probe())
    long_enough = sighting.stamp[0] >= file.state.offset
    return long_enough and file.begins_like(sighting.probe()) and file.goes_on_in(sighting.pread)
