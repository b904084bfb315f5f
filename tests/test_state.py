"""`tailrace state`: what it finds in a state directory, and giving up a lost file."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from state_directory import files_of
from typer.testing import CliRunner, Result

from tailrace import lock
from tailrace.batch import Batch, Position
from tailrace.checkpoint import Checkpoint, State
from tailrace.cli import app
from tailrace.context import Context
from tailrace.deadletter import FILE as DEAD_LETTER
from tailrace.pipeline import Pipeline
from tailrace.stage import EndOfInput, Source
from tailrace_plugins.sinks.file import File

CONTENT = b'{"n":1}\n{"n":2}\nnot json\n'


class Whole(Source, kw_only=True):
    """Gives a whole file at once; its position is nested like that of a source of many files."""

    path: str

    def open(self, position: Position | None) -> None:
        self.given = position is not None

    def reads(self) -> Iterable[str]:
        return ["n"]

    def read(self, timeout: float) -> Batch | None:
        if self.given:
            raise EndOfInput
        self.given = True
        data = Path(self.path).read_bytes()
        files = [{"path": self.path, "offset": len(data), "ino": Path(self.path).stat().st_ino}]
        return Batch(data[:-1].split(b"\n"), position={self.path: {"files": files, "done": ["abc"]}})


class Stored:
    """A state directory in which the pipeline `audit` has run."""

    def __init__(self, directory: Path) -> None:
        self.state_dir = directory / "state"
        self.input = directory / "in.log"
        self.output = directory / "audit.out"
        self.checkpoint = self.state_dir / "audit" / "checkpoint.json"
        self.input.write_bytes(CONTENT)
        self.run()

    def run(self) -> None:
        context = Context(pipeline="audit", state_dir=self.state_dir / "audit")
        pipeline = Pipeline(context, Whole(path=str(self.input)), [], {"file": File(path=str(self.output))})
        pipeline.run(threading.Event(), once=True)

    def save(self, state: State) -> None:
        Checkpoint(Context(pipeline="audit", state_dir=self.state_dir / "audit")).save(state)

    def show(self) -> tuple[int, dict[str, Any]]:
        """Give the exit code and the pipeline's part of `state show --json`."""
        result = tailrace("show", self.state_dir, "--json")
        (pipeline,) = json.loads(result.stdout)["pipelines"]
        return result.exit_code, pipeline

    def show_output(self) -> tuple[int, dict[str, Any]]:
        code, pipeline = self.show()
        (output,) = [each for each in pipeline["outputs"] if each["sink"] == "file"]
        return code, output

    def show_input(self) -> dict[str, Any]:
        (place,) = self.show()[1]["inputs"]
        assert isinstance(place, dict)
        return place


def tailrace(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["state", *map(str, arguments)])


@pytest.fixture(autouse=True)
def former_log_configuration() -> Iterator[None]:
    """Leave the logger as it was: the command, called in this process, configures it."""
    logger = logging.getLogger("tailrace")
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def test_show_says_how_far_everything_is(stored: Stored) -> None:
    result = tailrace("show", stored.state_dir)
    assert result.exit_code == 0
    dead_letter = stored.state_dir / "audit" / DEAD_LETTER
    size = dead_letter.stat().st_size
    first, empty, second, *lines = result.stdout.splitlines()
    assert (first, empty) == (f"{stored.state_dir}: no process holds it", "")
    assert second.startswith("audit: generation 3, saved 20")
    assert lines == [
        f"  source {stored.input}: read up to 25, has 25 bytes, 0 to read",
        f"  file {stored.output}: recorded 16, has 16, ok",
        f"  dead-letter {dead_letter}: recorded {size}, has {size}, ok",
        "  dead letters: 1",
    ]


def test_show_as_json_has_the_same(stored: Stored) -> None:
    code, pipeline = stored.show()
    assert code == 0
    assert (pipeline["name"], pipeline["generation"], pipeline["dead_letters"]) == ("audit", 3, 1)
    assert pipeline["saved"] == pytest.approx(stored.checkpoint.stat().st_mtime)
    assert pipeline["inputs"] == [{"path": str(stored.input), "offset": 25, "state": "ok", "size": 25, "lag": 0}]


def test_show_changes_nothing(stored: Stored, tmp_path: Path) -> None:
    stored.checkpoint.write_bytes(b"\0" * 100)
    before = files_of(tmp_path)
    tailrace("show", stored.state_dir)
    assert files_of(tmp_path) == before


def test_show_names_the_process_that_holds_the_directory(stored: Stored) -> None:
    with lock.hold(stored.state_dir):
        result = tailrace("show", stored.state_dir)
        (pid,) = (stored.state_dir / "lock").read_text().split()
    assert result.stdout.startswith(f"{stored.state_dir}: held by process {pid}\n")


def test_bytes_behind_the_record_are_in_the_making_or_will_be_cut_off(stored: Stored) -> None:
    with stored.output.open("ab") as file:
        file.write(b"torn")
    assert stored.show_output()[1]["state"] == "longer"
    assert "has 20, longer: will be cut back" in tailrace("show", stored.state_dir).stdout
    with lock.hold(stored.state_dir):
        assert "has 20, longer: being written" in tailrace("show", stored.state_dir).stdout


def test_output_that_is_shorter_is_a_state_that_is_not_in_order(stored: Stored) -> None:
    stored.output.write_bytes(b"{")
    code, output = stored.show_output()
    assert (code, output["state"], output["present"]) == (1, "shorter", 1)
    assert "recorded 16, has 1, SHORTER" in tailrace("show", stored.state_dir).stdout


def test_output_that_is_gone_is_a_state_that_is_not_in_order(stored: Stored) -> None:
    stored.output.unlink()
    code, output = stored.show_output()
    assert (code, output["state"], output["present"]) == (1, "missing", None)
    assert "recorded 16, MISSING" in tailrace("show", stored.state_dir).stdout


def test_output_that_was_only_announced_is_in_order(stored: Stored) -> None:
    stored.output.unlink()
    stored.save(State(generation=4, sinks={"file": {str(stored.output): 0}}))
    code, output = stored.show_output()
    assert (code, output["state"]) == (0, "ok")
    assert "recorded 0, not written yet" in tailrace("show", stored.state_dir).stdout


def test_dead_letter_file_that_is_gone_holds_none(stored: Stored) -> None:
    (stored.state_dir / "audit" / DEAD_LETTER).unlink()
    assert stored.show()[1]["dead_letters"] == 0


def test_pipeline_without_dead_letters_has_no_number_of_them(stored: Stored) -> None:
    stored.save(State(generation=4, source={"next": 7}, sinks={"other": {"cursor": "x", "relative": 3}}))
    code, pipeline = stored.show()
    assert (code, pipeline["dead_letters"], pipeline["inputs"], pipeline["outputs"]) == (0, None, [], [])
    assert "dead letters" not in tailrace("show", stored.state_dir).stdout


def test_lag_of_an_input_is_what_came_since(stored: Stored) -> None:
    stored.input.write_bytes(CONTENT * 2)
    assert stored.show_input()["lag"] == 25


def test_input_that_is_shorter_than_what_was_read_has_been_truncated(stored: Stored) -> None:
    stored.input.write_bytes(b"x")
    assert stored.show_input()["state"] == "shorter"
    assert "read up to 25, has 1 bytes, shorter than" in tailrace("show", stored.state_dir).stdout


def test_input_whose_name_another_file_has_is_told_from_it(stored: Stored) -> None:
    stored.input.rename(stored.input.with_suffix(".1"))
    stored.input.write_bytes(CONTENT)
    place = stored.show_input()
    assert (place["state"], place["lag"]) == ("replaced", None)


def test_input_that_is_gone_is_told(stored: Stored) -> None:
    stored.input.unlink()
    assert stored.show_input()["state"] == "missing"
    assert "read up to 25, not there" in tailrace("show", stored.state_dir).stdout


def test_lag_of_a_compressed_input_is_not_known(stored: Stored) -> None:
    packed = stored.input.with_suffix(".gz")
    packed.write_bytes(b"packed")
    stored.save(State(generation=4, source={str(packed): {"offset": 1000}}))
    place = stored.show_input()
    assert (place["path"], place["state"], place["lag"]) == (str(packed), "ok", None)


def test_damaged_checkpoint_is_shown_with_the_generation_before_it(stored: Stored) -> None:
    stored.save(State(generation=4))
    stored.checkpoint.write_bytes(b"\0" * 100)
    code, pipeline = stored.show()
    assert (code, pipeline["generation"]) == (1, 3)
    assert pipeline["damage"] == [f"{stored.checkpoint}: the first line is not a checkpoint header"]
    assert f"  DAMAGED {stored.checkpoint}: " in tailrace("show", stored.state_dir).stdout


def test_checkpoint_damaged_in_all_generations_is_said_to_be_unreadable(stored: Stored) -> None:
    for path in stored.checkpoint.parent.glob("checkpoint*.json"):
        path.write_bytes(b"")
    result = tailrace("show", stored.state_dir)
    assert result.exit_code == 1
    assert "audit: no checkpoint can be read\n  DAMAGED " in result.stdout


def test_checkpoint_of_which_only_a_damaged_copy_is_left_is_gone(stored: Stored) -> None:
    stored.checkpoint.rename(stored.checkpoint.with_name("checkpoint.damaged-1.json"))
    stored.checkpoint.with_name("checkpoint.previous.json").unlink()
    code, pipeline = stored.show()
    assert (code, pipeline["damage"]) == (1, [f"{stored.checkpoint}: it is gone"])


def test_state_directory_without_pipelines_is_in_order(tmp_path: Path) -> None:
    result = tailrace("show", tmp_path)
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}: no process holds it\nno pipeline has committed anything yet\n"


def test_state_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    result = tailrace("show", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_forgotten_file_lets_the_pipeline_start_again(stored: Stored) -> None:
    stored.output.unlink()
    result = tailrace("forget", stored.state_dir, "audit", stored.output)
    assert (result.exit_code, result.stdout) == (0, f"audit: file no longer expects {stored.output}\n")
    code, pipeline = stored.show()
    assert code == 0
    assert [output["sink"] for output in pipeline["outputs"]] == ["dead-letter"]
    assert [place["offset"] for place in pipeline["inputs"]] == [25]
    stored.run()


def test_forgetting_in_a_pipeline_that_never_finished_a_commit_keeps_its_first_start(stored: Stored) -> None:
    stored.save(State(generation=4, sinks={"file": {str(stored.output): 16}}))
    assert tailrace("forget", stored.state_dir, "audit", stored.output).exit_code == 0
    assert Checkpoint(Context("audit", stored.state_dir / "audit")).load() == State(generation=5, sinks={"file": {}})


def test_relative_name_of_a_file_is_that_of_the_working_directory(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stored.output.parent)
    assert tailrace("forget", stored.state_dir, "audit", stored.output.name).exit_code == 0


def test_nothing_is_forgotten_while_a_process_holds_the_directory(stored: Stored) -> None:
    with lock.hold(stored.state_dir):
        result = tailrace("forget", stored.state_dir, "audit", stored.output)
    assert result.exit_code == 1
    assert "is held by process" in result.stderr
    assert len(stored.show()[1]["outputs"]) == 2


def test_file_that_is_not_recorded_is_answered_with_those_that_are(stored: Stored) -> None:
    result = tailrace("forget", stored.state_dir, "audit", stored.input)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"audit has not recorded {stored.input}; it has recorded:\n  ")
    assert f"\n  {stored.output}\n" in result.stderr


def test_pipeline_that_does_not_exist_is_answered_with_those_that_do(stored: Stored, tmp_path: Path) -> None:
    result = tailrace("forget", stored.state_dir, "audits", stored.output)
    assert (result.exit_code, result.stderr) == (
        1,
        f"{stored.state_dir} holds no pipeline 'audits'; it holds: audit\n",
    )
    result = tailrace("forget", tmp_path / "nowhere", "audit", stored.output)
    assert result.stderr.endswith("it holds: none\n")
    assert not (tmp_path / "nowhere").exists()


def test_nothing_is_forgotten_in_a_damaged_checkpoint(stored: Stored) -> None:
    for path in stored.checkpoint.parent.glob("checkpoint*.json"):
        path.write_bytes(b"")
    result = tailrace("forget", stored.state_dir, "audit", stored.output)
    assert result.exit_code == 1
    assert "the checkpoint cannot be read" in result.stderr


def test_checkpoint_that_vanished_has_recorded_nothing(stored: Stored) -> None:
    stored.checkpoint.rename(stored.checkpoint.with_name("checkpoint.damaged-1.json"))
    stored.checkpoint.with_name("checkpoint.previous.json").unlink()
    result = tailrace("forget", stored.state_dir, "audit", stored.output)
    assert result.exit_code == 1
    assert result.stderr.endswith("it has recorded: none\n")
