"""The source `tail` against a model: whatever happens to a log, each line is given once and in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_tail import Follower, append
from test_tail_rotation import Lumberjack, compress, shift

from tailrace_plugins.tailing.names import rotation

STEPS = st.one_of(
    st.tuples(st.just("lines"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["partial", "rotate", "compress", "drain", "commit", "crash", "wait"]), st.just(0)),
    st.tuples(st.just("read"), st.integers(1, 3)),
)


def steps_of(text: str) -> list[tuple[str, int]]:
    """Read `lines:3 rotate read` as steps."""
    words = [word.partition(":") for word in text.split()]
    return [(name, int(number or name in ("lines", "read"))) for name, _, number in words]


class Model:
    """A writer, a reader that is killed now and then, and the lines that must come out."""

    def __init__(self, directory: Path, *, numbered: bool, rotate_wait: float, pad: int) -> None:
        self.log = Lumberjack(directory / "audit.log")
        self.numbered = numbered
        self.pad = pad
        self.follower = Follower(directory, block_bytes=40, rotate_wait=rotate_wait)
        self.written: list[bytes] = []
        self.cut: list[bytes] = []  # those that end without a newline
        self.partial = b""
        self.count = 0
        self.committed: tuple[dict[str, object] | None, int] = (None, 0)

    def text(self) -> bytes:
        self.count += 1
        return b"line %d %s" % (self.count, b"x" * (self.count * 7 % (self.pad + 1)))

    def lines(self, number: int) -> None:
        for _ in range(number):
            text = self.text()
            append(self.log.path, text + b"\n")
            self.written.append(self.partial + text)
            self.partial = b""

    def do_partial(self) -> None:
        text = self.text() + b" and"
        append(self.log.path, text)
        self.partial += text

    def do_rotate(self) -> None:
        if self.numbered:
            shift(self.log.path)
        else:
            self.log.rotate()
        if self.partial:
            self.written.append(self.partial)
            self.cut.append(self.partial)
            self.partial = b""

    def do_compress(self) -> None:
        rotated = []
        for path in self.log.path.parent.iterdir():
            name = rotation(path.name)
            if name is not None and not name.compression:
                rotated.append((name.order, path))
        if rotated:
            compress(min(rotated)[1])

    def do_drain(self) -> None:
        self.follower.drain()

    def do_commit(self) -> None:
        position = self.follower.position
        self.committed = (None if position is None else dict(position), len(self.follower.lines))

    def do_crash(self) -> None:
        self.follower.position, count = self.committed
        del self.follower.lines[count:]
        self.follower.restart()

    def do_wait(self) -> None:
        self.follower.clock.moved += 0.7

    def run(self, steps: list[tuple[str, int]]) -> list[bytes]:
        for name, number in steps:
            if name == "lines":
                self.lines(number)
            elif name == "read":
                for _ in range(number):
                    self.follower.step()
            else:
                getattr(self, f"do_{name}")()
        self.follower.later(10)
        self.follower.later(10)
        self.follower.source.close()
        return self.follower.lines


# each was lost, given twice or out of order once: heads that were not known yet, inodes that are used again
@example(steps=steps_of("lines:8 rotate compress"), numbered=False, pad=60)
@example(steps=steps_of("lines:7 partial rotate lines"), numbered=False, pad=60)
@example(steps=steps_of("rotate compress read partial rotate"), numbered=False, pad=0)
@example(steps=steps_of("rotate read lines:3 rotate commit crash compress compress"), numbered=False, pad=0)
@example(
    steps=steps_of("rotate read rotate lines rotate compress commit crash compress compress"), numbered=False, pad=0
)
@settings(max_examples=150)
@given(steps=st.lists(STEPS, max_size=30), numbered=st.booleans(), pad=st.sampled_from([0, 60, 1500]))
def test_lines_are_given_once_and_in_order(steps: list[tuple[str, int]], numbered: bool, pad: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model(Path(directory), numbered=numbered, rotate_wait=0.0, pad=pad)
        assert model.run(steps) == model.written


@example(steps=steps_of("rotate lines:2 compress drain commit rotate crash compress crash"), numbered=False)
@settings(max_examples=100)
@given(steps=st.lists(STEPS, max_size=30), numbered=st.booleans())
def test_only_lines_without_a_newline_may_come_late(steps: list[tuple[str, int]], numbered: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model(Path(directory), numbered=numbered, rotate_wait=1.0, pad=60)
        given_lines = model.run(steps)
        assert sorted(given_lines) == sorted(model.written)
        whole = [line for line in model.written if line not in model.cut]
        assert [line for line in given_lines if line not in model.cut] == whole
