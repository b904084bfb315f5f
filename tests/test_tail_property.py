"""The source `tail` against a model: whatever happens to a log, each line is given once and in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from log_model import Model

NUMBERED = {"copytruncate"}  # lumberjack makes no copies


class Machine(RuleBasedStateMachine):
    """Everything that a model can do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.model: Model | None = None

    @initialize(
        numbered=st.booleans(),
        rotate_wait=st.sampled_from([0.0, 1.0]),
        pad=st.sampled_from([0, 60, 1500]),
        max_open=st.sampled_from([1, 256]),
    )
    def begin(self, numbered: bool, rotate_wait: float, pad: int, max_open: int) -> None:
        place = Path(self._directory.name)
        self.model = Model(place, numbered=numbered, rotate_wait=rotate_wait, pad=pad, max_open=max_open)

    def _has_file(self) -> bool:
        """Tell whether there is a file under the live name."""
        return self.model is not None and (self.model.aside is None or self.model.aside[0] in ("file", "link"))

    def _is_home(self) -> bool:
        return self.model is not None and self.model.aside is None

    def _has_rotated(self) -> bool:
        return self.model is not None and bool(self.model.rotated)

    def _do(self, name: str, *arguments: int | str) -> None:
        getattr(self.model, name)(*arguments)

    @precondition(_has_file)
    @rule(number=st.integers(1, 6))
    def lines(self, number: int) -> None:
        self._do("lines", number)

    @precondition(_has_file)
    @rule()
    def half(self) -> None:
        self._do("half")

    @precondition(lambda self: self._is_home() or (self._has_file() and self.model.aside[0] == "file"))
    @rule()
    def rotate(self) -> None:
        self._do("rotate")

    @precondition(lambda self: self._is_home() and self.model.numbered)
    @rule(gap=st.integers(0, 2))
    def copytruncate(self, gap: int) -> None:
        self._do("copytruncate", gap)

    @precondition(_has_rotated)
    @rule(name=st.sampled_from(["compress", "begin_to_compress", "late", "remove_oldest"]))
    def rotated(self, name: str) -> None:
        self._do(name)

    @precondition(_is_home)
    @rule(taken=st.sampled_from([0, 3]))
    def remove_live(self, taken: int) -> None:
        self._do("remove_live", taken)

    @precondition(_is_home)
    @rule(kind=st.sampled_from(["nothing", "directory", "link", "file"]))
    def put_aside(self, kind: str) -> None:
        self._do("put_aside", kind)

    @precondition(lambda self: self.model is not None and self.model.aside is not None)
    @rule()
    def put_back(self) -> None:
        self._do("put_back")

    @rule(number=st.integers(1, 3))
    def read(self, number: int) -> None:
        self._do("read", number)

    @rule(name=st.sampled_from(["drain", "commit", "crash", "stop", "start", "wait"]))
    def reader(self, name: str) -> None:
        self._do(name)

    def teardown(self) -> None:
        try:
            if self.model is not None:
                self.model.check()
        finally:
            self._directory.cleanup()


Machine.TestCase.settings = settings(stateful_step_count=40)
TestTail = Machine.TestCase


# each was lost, given twice or out of order once: heads that were not known yet, inodes that are used again
@pytest.mark.parametrize(
    ("steps", "pad", "rotate_wait"),
    [
        ("lines:8 rotate compress", 60, 0.0),
        ("lines:7 half rotate lines:1", 60, 0.0),
        ("rotate compress read half rotate", 0, 0.0),
        ("rotate read lines:3 rotate commit crash start compress compress", 0, 0.0),
        ("rotate read rotate lines:1 rotate compress commit crash start compress compress", 0, 0.0),
        ("put_aside:link half read:1 put_back put_aside:file half rotate", 0, 0.0),
        (
            "lines:1 put_aside:file lines:1 rotate lines:1 rotate put_back "
            "put_aside:nothing read put_back remove_oldest rotate",
            0,
            0.0,
        ),
        ("rotate lines:2 compress drain commit rotate crash start compress crash start", 60, 1.0),
    ],
)
def test_what_went_wrong_once(tmp_path: Path, steps: str, pad: int, rotate_wait: float) -> None:
    model = Model(tmp_path, numbered=False, rotate_wait=rotate_wait, pad=pad)
    for step in steps.split():
        name, _, argument = step.partition(":")
        getattr(model, name)(*([int(argument) if argument.isdigit() else argument] if argument else []))
    model.check()
