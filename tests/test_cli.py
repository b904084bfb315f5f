"""The command, run as a process of its own: exit codes, signals, and what it prints."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tailrace import __version__
from tailrace.catalogue import describe
from tailrace.registry import Registry

STAGES = '''
"""Small stages for trying the command."""

import threading

from tailrace import Batch, EndOfInput, Filter, Sink, Source


class Follow(Source, kw_only=True):
    """Follow one file that only grows."""

    path: str
    gap: str | None = None

    def open(self, position):
        self._file = open(self.path, "rb")
        self._offset = position["file"]["offset"] if position else 0
        self._woken = threading.Event()

    def read(self, timeout):
        self._file.seek(self._offset)
        data = self._file.read(4096)
        data = data[: data.rfind(b"\\n") + 1]
        if not data:
            self._woken.wait(min(timeout, 0.05))
            return None
        start, self._offset = self._offset, self._offset + len(data)
        position = {"file": {"path": self.path, "offset": self._offset}}
        return Batch(data[:-1].split(b"\\n"), position=position, origin={"path": self.path}, offset=start)

    def lag(self):
        import os
        return os.stat(self.path).st_size - self._offset

    def incomplete(self):
        return [self.gap] if self.gap else []

    def wake(self):
        self._woken.set()


class FailWithBug(Filter, kw_only=True):
    """Raise | whatever comes."""

    def apply(self, batch):
        raise KeyError("bug")


class Announce(Sink, kw_only=True):
    """Log each commit."""

    def open(self, position): pass
    def encode(self, batch): pass
    def write(self, payload): pass
    def flush(self): return {}

    def commit(self, position):
        self.context.log.info("committed")


class Stuck(Announce, kw_only=True):
    """Never finish a flush."""

    def flush(self):
        self.context.log.info("stuck")
        threading.Event().wait()
'''

SERVING = {"fastapi", "prometheus_client", "uvicorn"}  # slow to import

EVENTS = [b'{"verb":"get","n":%d}' % number for number in range(500)]


class Place:
    """A directory with a config, the stages above, and an input file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stages = directory / "stages"
        self.stages.mkdir()
        (self.stages / "stages.py").write_text(STAGES)
        self.config = directory / "tailrace.yaml"
        self.state = directory / "state"
        self.input = directory / "in.log"
        self.write_events(EVENTS)
        self.configure()

    def write_events(self, events: list[bytes]) -> None:
        with self.input.open("ab") as file:
            file.write(b"".join(event + b"\n" for event in events))

    def output(self, name: str = "audit") -> Path:
        return self.directory / f"{name}.out"

    def written(self, name: str = "audit") -> list[bytes]:
        output = self.output(name)
        return output.read_bytes().splitlines() if output.exists() else []

    def serve(self) -> tuple[str, int]:
        """Give the config an admin server, on a port that was free a moment ago."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
        self.config.write_text(f"admin: {{listen: '{host}:{port}'}}\n" + self.config.read_text())
        return host, port

    def configure(self, *names: str, options: str = "", filters: str = "[]", sink: str = "announce") -> None:
        """Declare a pipeline for each name."""
        pipelines = "".join(
            f"""
  {name}:
    schema: any
    source: {{type: follow, path: {self.input}{options}}}
    filters: {filters if name != "good" else "[]"}
    sinks: [{{type: file, path: {self.output(name)}}}, {{type: {sink}}}]
"""
            for name in names or ("audit",)
        )
        self.config.write_text(f"state_dir: {self.state}\nplugins: [stages]\npipelines:{pipelines}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def tailrace(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tailrace", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class Running:
    """The command as a process that goes on, and what it logs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []

    def wait_for(self, message: str) -> dict[str, Any]:
        """Read the log until this message comes."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1]["message"] == message:
                return self.log[-1]
        raise AssertionError(f"{message!r} was never logged: {self.log}")

    def wait_for_events(self, place: Place, events: list[bytes], name: str = "audit") -> None:
        """Read the log until the output holds these events, which a commit has made durable."""
        while place.written(name) != events:
            self.wait_for("committed")

    def end(self) -> int:
        """Read the rest of the log and give the exit code."""
        assert self.process.stderr is not None
        self.log += events_of(self.process.stderr.read())
        return self.process.wait()


@contextmanager
def running(*arguments: object, stdout: int | None = None) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, text=True
    )
    deadline = threading.Timer(60, process.kill)  # a test that hangs becomes one that fails
    deadline.start()
    try:
        with process:
            try:
                yield Running(process)
            finally:
                process.kill()
    finally:
        deadline.cancel()
        deadline.join()


def run_on_terminal(*arguments: object, stream: str) -> tuple[int, str]:
    """Run the command with one of its streams on a terminal; give the exit code and what was shown there."""
    reader, writer = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tailrace", *map(str, arguments)],
        env=environ,
        stdout=writer if stream == "stdout" else subprocess.DEVNULL,
        stderr=writer if stream == "stderr" else subprocess.DEVNULL,
    )
    os.close(writer)
    shown = b""
    with os.fdopen(reader, "rb", buffering=0) as terminal:
        try:
            while block := terminal.read(4096):
                shown += block
        except OSError:  # how Linux says that the other side has closed
            pass
    return process.wait(), shown.decode()


# Running


def test_run_once_writes_every_event_and_ends_well(place: Place) -> None:
    done = tailrace("run", place.config, "--once")
    assert (done.returncode, done.stdout) == (0, "")
    assert place.written() == EVENTS
    (ended,) = [event for event in events_of(done.stderr) if event["message"] == "pipeline ended"]
    assert (ended["pipeline"], ended["events_in"], ended["events_out"]) == ("audit", 500, 500)
    assert ended["bytes"] == place.input.stat().st_size


def test_run_once_again_writes_only_what_is_new(place: Place) -> None:
    tailrace("run", place.config, "--once")
    place.write_events([b'{"n":500}'])
    assert tailrace("run", place.config, "--once").returncode == 0
    assert place.written() == [*EVENTS, b'{"n":500}']


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_commits_and_ends_well(place: Place, number: signal.Signals) -> None:
    with running("run", place.config) as service:
        service.wait_for_events(place, EVENTS)
        service.process.send_signal(number)
        assert service.end() == 0
    assert [event["message"] for event in service.log[-2:]] == ["stopping", "pipeline ended"]
    assert place.written() == EVENTS


def test_events_that_come_while_it_runs_are_written(place: Place) -> None:
    with running("run", place.config) as service:
        service.wait_for_events(place, EVENTS)
        place.write_events([b'{"n":500}'])
        service.wait_for_events(place, [*EVENTS, b'{"n":500}'])


def test_killed_process_leaves_nothing_that_the_next_one_gets_wrong(place: Place) -> None:
    with running("run", place.config) as service:
        service.wait_for("committed")
        service.process.kill()
        service.process.wait()
    place.write_events([b'{"n":500}'])
    assert tailrace("run", place.config, "--once").returncode == 0
    assert place.written() == [*EVENTS, b'{"n":500}']


def test_admin_server_answers_until_the_signal(place: Place) -> None:
    address = place.serve()
    with running("run", place.config) as service:
        assert service.wait_for("the admin server answers")["address"] == "{}:{}".format(*address)
        service.wait_for_events(place, EVENTS)
        for path, text in (
            ("/livez", "ok"),
            ("/readyz", "ok"),
            ("/metrics", 'events_in_total{pipeline="audit"} 500.0'),
        ):
            with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=30) as answer:
                assert text in answer.read().decode()
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 0
    assert [event["message"] for event in service.log[-2:]] == ["stopping", "pipeline ended"]


def test_admin_server_whose_address_is_taken_is_an_error_before_anything_is_read(place: Place) -> None:
    address = place.serve()
    with socket.create_server(address):
        done = tailrace("run", place.config, "--once")
    assert done.returncode == 1
    (error,) = events_of(done.stderr)
    assert (error["level"], error["cause"]) == ("error", "cannot listen: Address already in use")
    assert place.written() == []


def test_second_signal_ends_at_once(place: Place) -> None:
    place.configure(sink="stuck")
    with running("run", place.config) as service:
        service.wait_for("stuck")
        service.process.send_signal(signal.SIGTERM)
        service.wait_for("stopping")
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 1
    place.configure()
    assert tailrace("run", place.config, "--once").returncode == 0
    assert place.written() == EVENTS


def test_pipeline_that_fails_leaves_the_others_running(place: Place) -> None:
    place.configure("bad", "good", filters="[{type: fail_with_bug}]")
    with running("run", place.config) as service:
        ended = service.wait_for("pipeline ended")
        assert ended["pipeline"] == "bad"
        place.write_events([b'{"n":500}'])
        service.wait_for_events(place, [*EVENTS, b'{"n":500}'], "good")
        service.process.send_signal(signal.SIGTERM)
        assert service.end() == 1
    (failed,) = [event for event in service.log if event["message"].startswith("pipeline failed")]
    assert (failed["level"], failed["pipeline"], failed["stage"]) == ("critical", "bad", "FailWithBug")
    assert "\nKeyError: 'bug'" in failed["traceback"]


def test_process_ends_when_all_pipelines_have_failed(place: Place) -> None:
    place.configure("bad", "worse", filters="[{type: fail_with_bug}]")
    done = tailrace("run", place.config)
    assert done.returncode == 1
    assert {event["pipeline"] for event in events_of(done.stderr)} == {"bad", "worse"}


def test_input_that_could_not_all_be_read_is_an_error_at_the_end(place: Place) -> None:
    place.configure(options=", gap: /var/log/other does not exist")
    done = tailrace("run", place.config, "--once")
    assert done.returncode == 1
    assert events_of(done.stderr)[-1]["cause"] == "/var/log/other does not exist"
    assert place.written() == EVENTS


def test_second_process_is_refused_with_the_id_of_the_first(place: Place) -> None:
    with running("run", place.config) as service:
        service.wait_for("committed")
        refused = tailrace("run", place.config, "--once")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"{place.state}/lock is held by process {service.process.pid}: one process per state directory; "
        "stop that one first\n"
    )


def test_state_directory_that_cannot_be_made_is_an_error(place: Place) -> None:
    place.state.write_text("a file where the directory should be")
    done = tailrace("run", place.config)
    assert done.returncode == 1
    assert f"state directory {place.state} cannot be used" in done.stderr


def test_every_problem_of_a_config_is_a_line(place: Place) -> None:
    place.configure(options=", pth: x", filters="[{type: fail_with_bugs}]")
    for command in ("run", "check"):
        done = tailrace(command, place.config)
        assert (done.returncode, done.stdout) == (2, "")
        first, second = done.stderr.splitlines()
        assert first.startswith(f"{place.config}:6:")
        assert '"pth"' in first
        assert second.startswith(f"{place.config}:7:")
        assert "fail_with_bug" in second


def test_log_level_and_format_are_options(place: Place) -> None:
    quiet = tailrace("run", place.config, "--once", "--log-level", "error")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    human = tailrace("run", place.config, "--once", "--log-format", "human")
    assert "INFO    [audit] pipeline started\n" in human.stderr


def test_run_once_on_a_terminal_shows_progress_and_the_log_above_it(place: Place) -> None:
    code, shown = run_on_terminal("run", place.config, "--once", stream="stderr")
    assert code == 0
    assert "events/s" in shown
    assert "[audit] pipeline ended events_in=500" in shown
    assert place.written() == EVENTS


def test_json_log_on_a_terminal_is_not_mixed_with_progress(place: Place) -> None:
    code, shown = run_on_terminal("run", place.config, "--once", "--log-format", "json", stream="stderr")
    assert code == 0
    assert [event["message"] for event in events_of(shown)][-1] == "pipeline ended"


# Checking


def test_check_shows_the_way_of_the_events(place: Place) -> None:
    place.configure("audit", "good", filters="[{type: fail_with_bug}]")
    done = tailrace("check", place.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("ok: audit: follow -> fail_with_bug -> file, announce\nok: good: follow -> file, announce\n")
    assert not place.state.exists()


def test_stages_of_a_folder_given_as_option_can_be_used(place: Place) -> None:
    place.config.write_text(place.config.read_text().replace("plugins: [stages]\n", ""))
    assert tailrace("check", place.config).returncode == 2
    assert tailrace("check", place.config, "--plugins", place.stages).returncode == 0


def test_plugin_folder_that_does_not_exist_is_bad_usage(place: Place) -> None:
    done = tailrace("check", place.config, "--plugins", place.directory / "nowhere")
    assert done.returncode == 2
    assert "nowhere does not exist" in done.stderr


# Stages


def test_stages_lists_every_kind(place: Place) -> None:
    done = tailrace("stages", "--plugins", place.stages)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| source | follow | Follow one file that only grows. |\n" in done.stdout
    assert "| filter | fail_with_bug | Raise \\| whatever comes. |\n" in done.stdout
    assert "| sink | announce | Log each commit. |\n" in done.stdout


def test_stages_of_one_kind_lists_no_others(place: Place) -> None:
    done = tailrace("stages", "sink", "--plugins", place.stages)
    assert {line.split(" | ")[0] for line in done.stdout.splitlines()[2:]} == {"| sink"}


def test_stage_is_described_with_its_options(place: Place) -> None:
    done = tailrace("stages", "source", "follow", "--plugins", place.stages)
    assert done.returncode == 0
    assert "Follow one file that only grows." in done.stdout
    assert "gap" in done.stdout


def test_stages_are_rendered_on_a_terminal(place: Place) -> None:
    code, shown = run_on_terminal("stages", "source", "follow", "--plugins", place.stages, stream="stdout")
    assert code == 0
    assert "Follow one file that only grows." in shown
    assert "|---" not in shown


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ["sinks"],
            '"sinks" is not a kind of stage; did you mean "sink"? (there are: source, filter, sink)\n',
        ),
        (["source", "folow"], 'there is no source "folow"; did you mean "follow"?'),
    ],
)
def test_unknown_name_is_answered_with_the_nearest_one(place: Place, arguments: list[str], answer: str) -> None:
    done = tailrace("stages", *arguments, "--plugins", place.stages)
    assert done.returncode == 2
    assert done.stderr.startswith(answer)


def test_stage_that_cannot_be_loaded_is_listed_with_the_reason() -> None:
    registry = Registry()
    registry.add_entry_point("sink", EntryPoint("kafka", "no_such_module:Kafka", "tailrace.sinks"))
    assert "| sink | kafka | not available: " in describe(registry, None, None)


# The command itself


def test_version_is_printed() -> None:
    done = tailrace("--version")
    assert (done.returncode, done.stdout) == (0, f"tailrace {__version__}\n")


def test_help_names_every_command() -> None:
    done = tailrace("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("run", "check", "stages", "state", "dead-letter", "gzip"))


def test_run_without_an_admin_server_needs_nothing_that_serves(place: Place) -> None:
    code = (
        "import sys; from tailrace.cli import app; "
        f"app(['run', '--once', '{place.config}'], standalone_mode=False); print(*{SERVING} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert place.written() == EVENTS


def test_wrong_option_is_bad_usage() -> None:
    assert tailrace("run", "--twice", "x.yaml").returncode == 2
