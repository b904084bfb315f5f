"""The admin server: three paths, asked over real connections while pipelines run, recover and fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tailrace.address import Address
from tailrace.batch import Batch, Position
from tailrace.config import Plan, load
from tailrace.registry import Registry
from tailrace.service import Service
from tailrace.stage import Filter, Sink, Source
from tailrace.testing import ListSink, ListSource

ANY_PORT = Address("127.0.0.1", 0)


class Waiting(Source, kw_only=True):
    """Gives one event, and then nothing until it is woken; refuses what it is told to refuse."""

    refuses: str | None = None

    def __post_init__(self) -> None:
        self.woken = threading.Event()

    def open(self, position: Position | None) -> None:
        self.given = position is not None

    def read(self, timeout: float) -> Batch | None:
        if not self.given:
            self.given = True
            return Batch([b"{}"], position={"next": 1})
        self.woken.wait(timeout)
        return None

    def wake(self) -> None:
        self.woken.set()

    def refusing(self) -> str | None:
        return self.refuses


class NotYet(Waiting, kw_only=True):
    """Takes until `go` to open."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.go = threading.Event()

    def open(self, position: Position | None) -> None:
        assert self.go.wait(30)
        super().open(position)


class Full(ListSink, kw_only=True):
    """A disk that is full until `space` is set; `tried` is set when it was tried."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.space = False
        self.tried = threading.Event()

    def flush(self) -> Position:
        self.tried.set()
        if not self.space:
            raise OSError(28, "No space left on device", "/var/log/audit\n.log")
        return super().flush()


class Buggy(Filter, kw_only=True):
    def apply(self, batch: Batch) -> None:
        raise KeyError("a value of an event")


def make_plan(
    directory: Path, source: Source, sink: Sink | None = None, *, name: str = "audit", filters: Sequence[Filter] = ()
) -> Plan:
    return Plan(name, "tailrace.yaml", directory, source, tuple(filters), {"out": sink or ListSink()}, 1.0)


class Answer:
    def __init__(self, service: Service, path: str, method: str = "GET") -> None:
        assert service.admin is not None
        connection = HTTPConnection(*service.admin.address, timeout=30)
        connection.request(method, path)
        response = connection.getresponse()
        self.status = response.status
        self.type = response.headers["content-type"]
        self.text = response.read().decode()
        connection.close()


def eventually(service: Service, path: str, holds: Callable[[Answer], bool]) -> Answer:
    """Ask again and again until the answer is the one that is waited for."""
    deadline = threading.Event()
    timer = threading.Timer(30, deadline.set)
    timer.start()
    try:
        while not holds(answer := Answer(service, path)):
            assert not deadline.is_set(), answer.text
        return answer
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def running(service: Service, expected: int = 0) -> Iterator[Service]:
    """Run the service in a thread, with its admin server started; expect this exit code of it."""
    codes: list[int] = []
    started = threading.Event()
    thread = threading.Thread(target=lambda: codes.append(service.run(tick=started.set)))
    thread.start()
    try:
        assert started.wait(30)
        yield service
    finally:
        service.stop()
        thread.join()
    assert codes == [expected]


def test_three_paths_answer_while_pipelines_run_and_no_other(tmp_path: Path) -> None:
    with running(Service([make_plan(tmp_path, Waiting())], ANY_PORT)) as service:
        ready = eventually(service, "/readyz", lambda answer: answer.status == 200)
        assert ready.text == "ok"
        alive = Answer(service, "/livez")
        assert (alive.status, alive.text) == (200, "ok")
        page = eventually(service, "/metrics", lambda answer: "commits_total" in answer.text)
        assert page.type == "text/plain; version=0.0.4; charset=utf-8"
        for path in ("/", "/docs", "/redoc", "/openapi.json", "/metricsx"):
            assert Answer(service, path).status == 404
        for path in ("/livez", "/readyz", "/metrics"):
            assert Answer(service, path, "POST").status == 405
        address = service.admin and service.admin.address
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address or ANY_PORT):
        pass


def test_pipeline_that_is_not_open_yet_is_not_ready(tmp_path: Path) -> None:
    source = NotYet()
    with running(Service([make_plan(tmp_path, source)], ANY_PORT)) as service:
        starting = Answer(service, "/readyz")
        assert starting.status == 503
        assert starting.text.startswith("audit: starting since 20")
        assert Answer(service, "/livez").status == 200
        source.go.set()
        eventually(service, "/readyz", lambda answer: answer.status == 200)


def test_pipeline_that_recovers_is_not_ready_until_it_has_recovered_by_itself(tmp_path: Path) -> None:
    sink = Full()
    plans = [make_plan(tmp_path, Waiting(), sink), make_plan(tmp_path, Waiting(), name="fine")]
    with running(Service(plans, ANY_PORT)) as service:
        assert sink.tried.wait(30)
        recovering = eventually(service, "/readyz", lambda answer: "audit: recovering" in answer.text)
        assert recovering.status == 503
        line = next(line for line in recovering.text.splitlines() if line.startswith("audit"))
        assert line.endswith(": No space left on device: /var/log/audit\\n.log")
        sink.tried.clear()
        assert sink.tried.wait(30)  # it is tried again, and is not ready meanwhile
        assert Answer(service, "/readyz").status == 503
        sink.space = True
        eventually(service, "/readyz", lambda answer: answer.status == 200)
    assert sink.written == [b"{}"]


def test_pipeline_that_failed_leaves_the_process_alive_and_not_ready(tmp_path: Path) -> None:
    plans = [make_plan(tmp_path, Waiting(), filters=[Buggy()]), make_plan(tmp_path, Waiting(), name="fine")]
    with running(Service(plans, ANY_PORT), expected=1) as service:
        eventually(service, "/readyz", lambda answer: "audit: failed" in answer.text)
        failed = eventually(service, "/readyz", lambda answer: "fine: " not in answer.text)  # which may begin later
        assert failed.status == 503
        assert failed.text.endswith(": a bug in Buggy (KeyError); the log says more\n")
        assert Answer(service, "/livez").status == 200
        assert 'tailrace_pipeline_state{pipeline="audit",state="failed"} 1.0' in Answer(service, "/metrics").text


def test_pipeline_at_the_end_of_its_input_is_no_trouble(tmp_path: Path) -> None:
    plans = [make_plan(tmp_path, ListSource(lines=[b"{}"]), name="done"), make_plan(tmp_path, Waiting())]
    with running(Service(plans, ANY_PORT)) as service:
        eventually(service, "/metrics", lambda answer: 'pipeline="done",state="ended"} 1.0' in answer.text)
        eventually(service, "/readyz", lambda answer: answer.status == 200)


def test_source_that_refuses_is_not_ready_and_says_why(tmp_path: Path) -> None:
    source = Waiting(refuses="the spool is full\nlive: yes")
    with running(Service([make_plan(tmp_path, source)], ANY_PORT)) as service:
        refusing = eventually(service, "/readyz", lambda answer: "refusing" in answer.text)
        assert (refusing.status, refusing.text) == (503, "audit: refusing: the spool is full\\nlive: yes\n")
        assert 'tailrace_refusing{pipeline="audit"} 1.0' in Answer(service, "/metrics").text
        source.refuses = None
        assert Answer(service, "/readyz").status == 200


def test_server_answers_during_a_run_to_the_end_of_the_input(tmp_path: Path) -> None:
    pages: list[str] = []

    class Ask(Filter, kw_only=True):
        def apply(self, batch: Batch) -> None:
            pages.append(Answer(service, "/metrics").text)

    service = Service([make_plan(tmp_path, ListSource(lines=[b"{}"]), filters=[Ask()])], ANY_PORT)
    assert service.run(once=True) == 0
    assert 'tailrace_pipeline_state{pipeline="audit",state="running"} 1.0' in pages[0]


def test_stage_gets_the_page_of_the_whole_service_with_and_without_an_admin_server(tmp_path: Path) -> None:
    plans = [make_plan(tmp_path, ListSource(lines=[b"{}"]), name=name) for name in ("a", "b")]
    service = Service(plans)
    service.run(once=True)
    page = plans[0].source.context.exposition().decode()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    read = {sample.labels["pipeline"]: sample.value for sample in samples if sample.name == "tailrace_events_in_total"}
    assert read == {"a": 1, "b": 1}


def test_address_that_is_taken_ends_the_run_before_any_pipeline_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        service = Service([make_plan(tmp_path, Waiting())], Address("127.0.0.1", port))
        assert service.run() == 1
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert vars(record)["address"] == f"127.0.0.1:{port}"
    assert vars(record)["cause"] == "cannot listen: Address already in use"
    assert service.pipelines[0].condition.state == "starting"


def test_tail_pipeline_with_an_admin_section_is_served_while_its_output_cannot_be_written(tmp_path: Path) -> None:
    log, out = tmp_path / "audit.log", tmp_path / "out"
    log.write_bytes(b'{"verb":"get"}\nnot json\n')
    out.write_bytes(b"a file where a directory should be")
    config = tmp_path / "tailrace.yaml"
    config.write_text(
        f"state_dir: {tmp_path}/state\nadmin: {{listen: '127.0.0.1:0'}}\npipelines:\n  audit:\n"
        f"    source: {{type: tail, paths: [{log}]}}\n"
        f"    filters: [{{type: extract, field: verb, into: what}}]\n"
        f"    sinks: [{{type: file, path: {out}/audit.log}}]\n"
    )
    loaded = load([config], Registry.standard(), {})
    with running(Service(loaded.plans, loaded.admin)) as service:
        recovering = eventually(service, "/readyz", lambda answer: "recovering" in answer.text)
        assert f": File exists: {out}\n" in recovering.text
        out.unlink()
        eventually(service, "/readyz", lambda answer: answer.status == 200)
        page = Answer(service, "/metrics").text
        assert 'tailrace_dead_letters_total{kind="not_json",pipeline="audit"}' in page
        assert 'tailrace_lag_bytes{pipeline="audit"} 0.0' in page
    assert (out / "audit.log").read_bytes() == b'{"verb":"get","what":"get"}\n'
