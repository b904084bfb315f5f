"""What happens to logs, step by step: the ways in which files are rotated, replaced, emptied and taken away.

A behaviour is a generator over a `Writer`. Between two steps it says what a reader may do then: `LOOK`, or, where the
matter is what happens while nobody looks, `DOWN` and `UP`.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from typing import Literal

from rotating_log import Writer, compress, shift_older

Moment = Literal["look", "down", "up"]
LOOK: Moment = "look"
DOWN: Moment = "down"
UP: Moment = "up"


Behaviour = Callable[[Writer], Iterator[Moment]]


def rename_to_timestamp(log: Writer) -> Iterator[Moment]:
    """kube-apiserver, k3s, rke2."""
    for _ in range(3):
        log.write(5)
        yield LOOK
        log.write(4)
        log.rename()
        yield LOOK  # there is no live file for a moment
        log.create()
        yield LOOK


def rename_and_shift(log: Writer) -> Iterator[Moment]:
    """logrotate with `create`."""
    for _ in range(4):
        log.write(5)
        yield LOOK
        log.write(4)
        log.shift()
        yield LOOK


def copytruncate(log: Writer) -> Iterator[Moment]:
    """logrotate with `copytruncate`; what is written between copying and truncating is lost to those who are slow."""
    for _ in range(3):
        log.write(8)
        yield LOOK
        log.write(4)
        shift_older(log.path)
        log.path.with_name(f"{log.path.name}.1").write_bytes(log.path.read_bytes())
        yield LOOK
        log.write()
        log.truncate()
        log.write()
        yield LOOK


def delete_and_recreate(log: Writer) -> Iterator[Moment]:
    """`rm`, and a writer that opens its file anew; what was not read is lost to those who do not hold it open."""
    for _ in range(3):
        log.write(6)
        yield LOOK
        log.path.unlink()
        yield LOOK
        log.create()
        log.write(2)
        yield LOOK


def rename_and_compress(log: Writer) -> Iterator[Moment]:
    """kube-apiserver with --audit-log-compress, when the compressing is quick."""
    for _ in range(3):
        log.write(9)
        yield LOOK
        log.write(3)
        compress(log.rotate())
        log.write()
        yield LOOK


def compress_slowly(log: Writer) -> Iterator[Moment]:
    """The same with big files: for a while there are both, one of them growing."""
    for _ in range(2):
        log.write(12)
        yield LOOK
        rotated = log.rotate()
        data = gzip.compress(rotated.read_bytes())
        packed = rotated.with_name(rotated.name + ".gz")
        for end in (0, 10, len(data) // 2, len(data)):
            packed.write_bytes(data[:end])
            log.write()
            yield LOOK
        rotated.unlink()
        yield LOOK


def several_between_two_looks(log: Writer) -> Iterator[Moment]:
    """A burst: nobody sees the files in between under their live name."""
    for _ in range(3):
        for _ in range(4):
            log.write(3)
            compress(log.rotate()) if len(log.lines) % 2 else log.rotate()
        log.write()
        yield LOOK


def while_down(log: Writer) -> Iterator[Moment]:
    """We are stopped, or our node restarts, and the log goes on."""
    for _ in range(3):
        log.write(5)
        yield LOOK
        yield DOWN
        log.write(2)
        log.rotate()
        log.write(2)
        compress(log.rotate())
        log.write(2)
        yield UP
        yield LOOK


def while_catching_up(log: Writer) -> Iterator[Moment]:
    """There is much to read, and one rotation after the other."""
    log.write(60)
    for number in range(8):
        yield LOOK
        log.write(2)
        rotated = log.shift() if number % 2 else log.rotate()
        if number > 3:
            compress(rotated)


def inode_at_once_again(log: Writer) -> Iterator[Moment]:
    """The live file is created after its elder was compressed, and gets the inode of that."""
    for _ in range(3):
        log.write(9)
        yield LOOK
        compress(log.rename())
        log.create()
        log.write(4)
        yield LOOK


def equal_heads(log: Writer) -> Iterator[Moment]:
    """Each file begins with the same kilobytes, and some have nothing else."""
    for number in range(4):
        for _ in range(3):
            log.write_as(b"# the same in each file " * 30)
        if number != 1:
            log.write(2)
        yield LOOK
        log.rotate() if number < 2 else compress(log.rotate())
        yield LOOK


def empty_files(log: Writer) -> Iterator[Moment]:
    """Rotation by time, and nothing was written."""
    for number in range(6):
        yield LOOK
        rotated = log.shift()
        if number % 3 == 1:
            compress(rotated)
        if number % 3 == 2:
            log.write(2)
    log.write()


def late_writer(log: Writer) -> Iterator[Moment]:
    """A writer that keeps its descriptor, and so goes on in a file that is not the live one any more."""
    for _ in range(3):
        log.write(4)
        number = log.lines[-1].file
        yield LOOK
        rotated = log.rotate()
        log.write(2)
        yield LOOK
        log.write_as(b"late into %d" % number, path=rotated, file=number)
        yield LOOK
        log.write()
        log.write_as(b"later into %d" % number, path=rotated, file=number)
        yield LOOK


def directory_and_back(log: Writer) -> Iterator[Moment]:
    """A mount that is missing for a while: an empty directory instead of the file."""
    for _ in range(2):
        log.write(5)
        yield LOOK
        aside = log.path.rename(log.path.with_name("aside"))
        log.path.mkdir()
        yield LOOK
        log.path.rmdir()
        aside.rename(log.path)
        log.write(2)
        yield LOOK


def link_and_back(log: Writer) -> Iterator[Moment]:
    """A symbolic link to another file instead of the file, which comes back."""
    for number in range(2):
        log.write(5)
        file = log.lines[-1].file
        yield LOOK
        aside = log.path.rename(log.path.with_name("aside"))
        target = log.path.with_name(f"other-{number}")
        other = log.create(target)
        log.path.symlink_to(target)
        log.write_as(b"elsewhere %d" % number, path=target, file=other)
        yield LOOK
        aside.replace(log.path)
        log.go_on_in(file)
        log.write(2)
        yield LOOK


BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.__name__: behaviour
    for behaviour in (
        rename_to_timestamp,
        rename_and_shift,
        copytruncate,
        delete_and_recreate,
        rename_and_compress,
        compress_slowly,
        several_between_two_looks,
        while_down,
        while_catching_up,
        inode_at_once_again,
        equal_heads,
        empty_files,
        late_writer,
        directory_and_back,
        link_and_back,
    )
}
LOSING = {"copytruncate", "delete_and_recreate"}
"""Where a reader that is slow, or down, loses lines, whoever it is."""

OUT_OF_ORDER = {"late_writer", "link_and_back"}
"""Where a reader that is slow gives the lines of each file in order, but not all lines."""
