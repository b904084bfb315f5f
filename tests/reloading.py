"""A service that runs in this process on a config file, which tests change and have read again."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from waiting import wait_until

from tailrace.address import Address
from tailrace.batch import Batch, Position
from tailrace.config import Config, load
from tailrace.lock import Locks
from tailrace.pipeline import Pipeline
from tailrace.registry import Registry
from tailrace.service import Service
from tailrace.stage import Filter, Payload, Sink

Options = dict[str, Any]


class Gate(Sink, kw_only=True):
    """Hangs in `flush` for as long as the file `shut` is there."""

    shut: str

    def open(self, position: Position | None) -> None:
        pass

    def encode(self, batch: Batch) -> Payload:
        return None

    def write(self, payload: Payload) -> None:
        pass

    def flush(self) -> Position:
        wait_until(lambda: not Path(self.shut).exists(), 60)
        return {}


class Mend(Filter, kw_only=True):
    """Has a bug for as long as the file `broken` is there."""

    broken: str

    def apply(self, batch: Batch) -> None:
        if Path(self.broken).exists():
            raise KeyError("bug")


class Logged(logging.Handler):
    """What the service logs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def all(self, message: str) -> list[dict[str, Any]]:
        return [vars(record) for record in list(self.records) if record.getMessage() == message]


class Running:
    """The service; started in a `with` block, at whose end it stops and gives `code`."""

    def __init__(self, directory: Path, *, stop_timeout: float = 20.0) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.config = directory / "tailrace.yaml"
        self.environment: dict[str, str] = {}
        self.log = Logged()
        self.code: int | None = None
        self._stop_timeout = stop_timeout
        self._said: list[int] = []  # at each reading of the config, how many reasons to refuse one were logged before
        self._registry = Registry.standard()
        self._registry.add("sink", "gate", Gate)
        self._registry.add("filter", "mend", Mend)

    def write(self, pipelines: dict[str, Options], **options: Any) -> None:
        """Write the config, as JSON, which is YAML too."""
        self.config.write_text(json.dumps({"state_dir": str(self.state), "pipelines": pipelines} | options, indent=1))

    def __enter__(self) -> Running:
        logging.getLogger("tailrace").addHandler(self.log)
        logging.getLogger("tailrace").setLevel(logging.INFO)
        config = load([self.config], self._registry, self.environment)
        self.locks = Locks()
        self.locks.take(plan.state_dir for plan in config.plans)
        self.service = Service(
            config.plans,
            config.admin,
            reread=self._reread,
            locks=self.locks,
            stop_timeout=self._stop_timeout,
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self) -> None:
        with self.locks:
            self.code = self.service.run()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.service.stop()
        self._thread.join()
        logging.getLogger("tailrace").removeHandler(self.log)

    def address(self) -> Address:
        """Give the address of the admin server."""
        assert self.service.admin is not None
        return self.service.admin.address

    def pipeline(self, name: str = "audit") -> Pipeline:
        return next(pipeline for pipeline in self.service.pipelines if pipeline.context.pipeline == name)

    def reload(self) -> dict[str, list[str]]:
        """Have the config read again; give what that changed, in words of the log."""
        before = len(self.log.all("config reloaded"))
        self.service.reload()
        wait_until(lambda: len(self.log.all("config reloaded")) > before)
        said = self.log.all("config reloaded")[-1]
        return {word: said[word] for word in ("started", "restarted", "stopped", "kept") if said[word]}

    def refused(self) -> list[str]:
        """Have the config read again, which must change nothing; give the reasons."""
        message = "the config is not taken over; nothing has changed"
        before, reads, pipelines = len(self.log.all(message)), len(self._said), self.service.pipelines
        self.service.reload()
        self.service.reload()  # when it is read the second time, all is said of the first
        wait_until(lambda: len(self._said) == reads + 2)
        causes = [said["cause"] for said in self.log.all(message)[before : self._said[-1]]]
        wait_until(lambda: len(self.log.all(message)) == before + 2 * len(causes))
        assert self.service.pipelines == pipelines
        return causes

    def _reread(self) -> Config:
        self._said.append(len(self.log.all("the config is not taken over; nothing has changed")))
        return load([self.config], self._registry, self.environment)


def tail(log: Path, *outputs: Path, filters: list[Options] | None = None, tag: str = "audit") -> Options:
    """Make a pipeline from a log to files."""
    return {
        "schema": "any",
        "source": {"type": "tail", "paths": [str(log)], "tag": tag, "watch": False},
        "filters": filters or [],
        "sinks": [{"type": "file", "path": str(output)} for output in outputs],
    }


def append(log: Path, first: int, end: int) -> None:
    """Write the events of these numbers."""
    with log.open("ab") as file:
        file.write(b"".join(b'{"n":%d}\n' % number for number in range(first, end)))


def numbers(path: Path) -> list[int]:
    """Give the numbers of the events in a file, compressed or not."""
    if not path.exists():
        return []
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    return [json.loads(line)["n"] for line in lines]
