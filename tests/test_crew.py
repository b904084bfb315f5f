"""The crew: what processes make of spans is taken in order, and whatever happens to a process loses nothing."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from spanning import Alone, Files, Misbehave

from tailrace.context import Context
from tailrace.crew import WorkerFailed
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.registry import Registry
from tailrace.stage import Filter
from tailrace.testing import ListSink
from tailrace.wire import receive, send
from tailrace_plugins.filters.rewrite_tag import RewriteTag

WORKERS = 2


def files(directory: Path, count: int, suffix: str = "") -> list[str]:
    paths = [directory / f"{number}{suffix if number % 3 == 1 else ''}" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(b"".join(b'{"file":%d,"line":%d}\n' % (number, line) for line in range(number % 4)))
    return list(map(str, paths))


def content(paths: Sequence[str]) -> list[bytes]:
    return [line for path in paths for line in Path(path).read_bytes().splitlines()]


def crewed(directory: Path, source: Files, *filters: Filter) -> tuple[Pipeline, ListSink]:
    sink = ListSink()
    context = Context(pipeline="crewed", state_dir=directory / "state")
    return Pipeline(context, source, filters, {"list": sink}, commit_bytes=100, workers=WORKERS), sink


def hands() -> set[int]:
    """The processes of crews that this process has at present."""
    mine = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    children = {int(pid) for each in mine for pid in each.read_text().split()}
    return {pid for pid in children if b"tailrace.hand" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_spans_and_batches_are_taken_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    paths = files(tmp_path, 40, ".batch")
    source = Files(paths=paths)
    pipeline, sink = crewed(tmp_path, source, RewriteTag(tag="file.{file}"))
    assert pipeline.run(threading.Event(), once=True)
    assert sink.written == content(paths)
    assert sink.tags == [f"file.{number}" for number in range(40) for _ in range(number % 4)]
    assert source.notes == [("read", path) for path in paths if not path.endswith(".batch")]
    assert (pipeline.counts.events_in, pipeline.counts.events_out) == (60, 60)
    assert pipeline.counts.commits > 1
    assert pipeline.lag() == 0
    assert not hands()


@pytest.mark.parametrize("reader", ["filter", "source"])
def test_rejects_of_workers_go_to_the_dead_letter_in_order(tmp_path: Path, reader: str) -> None:
    paths = files(tmp_path, 9)
    for path in paths:
        Path(path).write_text(f'broken {path}\n{{"good":1}}\n')
    if reader == "filter":
        pipeline, sink = crewed(tmp_path, Files(paths=paths), RewriteTag(tag="{good}"))
    else:
        pipeline, sink = crewed(tmp_path, Files(paths=paths, fields=["good"]))
    pipeline.run(threading.Event(), once=True)
    assert sink.written == [b'{"good":1}'] * 9
    letters = (tmp_path / "state" / "dead-letter.jsonl").read_text().splitlines()
    assert [f'"event":"broken {path}"' in letter for letter, path in zip(letters, paths, strict=True)] == [True] * 9
    assert pipeline.counts.dead_letters["not_json"] == 9


def test_span_that_cannot_be_read_is_given_in_batches_without_a_word_and_its_neighbours_once(tmp_path: Path) -> None:
    paths = files(tmp_path, 20)
    source = Files(paths=paths, unreadable=[paths[7], paths[11]])
    pipeline, sink = crewed(tmp_path, source)
    assert pipeline.run(threading.Event(), once=True)
    assert sink.written == content(paths)
    assert source.refused == [paths[7], paths[11]]
    assert source.opened == 3
    assert pipeline.counts.recoveries == 0


@pytest.mark.parametrize(
    ("deed", "cause"), [("die", "ended by itself (signal 9; too little memory"), ("retry", "the registry does not ans")]
)
def test_worker_that_is_killed_or_fails_is_recovered_from_as_from_a_crash(
    tmp_path: Path, deed: str, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    paths = files(tmp_path, 20)
    pipeline, sink = crewed(tmp_path, Files(paths=paths), Misbehave(flag=str(flag), deed=deed, pid=os.getpid()))
    assert pipeline.run(threading.Event())
    assert sink.written == content(paths)
    assert pipeline.counts.recoveries == 1
    assert [cause in str(vars(record)["cause"]) for record in caplog.records] == [True]
    assert not hands()


def test_run_to_the_end_of_the_input_fails_where_a_worker_does_and_the_next_one_goes_on(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    paths = files(tmp_path, 20)
    misbehave = Misbehave(flag=str(flag), deed="die", pid=os.getpid())
    pipeline, sink = crewed(tmp_path, Files(paths=paths), misbehave)
    with pytest.raises(PipelineFailed, match="nothing is lost: run it again"):
        pipeline.run(threading.Event(), once=True)
    assert not hands()
    assert pipeline.run(threading.Event(), once=True)
    assert sink.written == content(paths)


def test_bug_in_a_worker_is_shown_with_its_place(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    pipeline, _ = crewed(
        tmp_path, Files(paths=files(tmp_path, 20)), Misbehave(flag=str(flag), deed="slip", pid=os.getpid())
    )
    with pytest.raises(WorkerFailed, match=r"(?s)spanning.py.*in apply.*Error: a slip.*in filter Misbehave"):
        pipeline.run(threading.Event(), once=True)
    assert not hands()


def test_stop_takes_no_more_and_ends_the_processes(tmp_path: Path) -> None:
    paths = files(tmp_path, 400)
    stop = threading.Event()

    class Stopping(Files, kw_only=True):
        def take_note(self, name: str, *values: Any) -> None:
            stop.set()

    pipeline, sink = crewed(tmp_path, Stopping(paths=paths))
    assert pipeline.run(stop)
    assert not hands()
    assert len(sink.written) < len(content(paths))
    pipeline.run(threading.Event(), once=True)
    assert sink.written == content(paths)


def test_idle_processes_are_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = files(tmp_path, 6)
    pipeline, _ = crewed(tmp_path, Files(paths=paths))
    crew, source = pipeline.crew, pipeline.source
    source.open(None)
    assert isinstance(source, Files)
    for _ in paths:
        span = source.find(0, 1 << 20)
        assert span is not None
        crew.add(span)
    while crew.is_busy:
        crew.take()
    assert hands()
    crew.rest()
    assert hands()
    monkeypatch.setattr("tailrace.crew.IDLE_SECONDS", 0.0)
    crew.rest()
    assert not hands()


def stage_of(folder: Path, name: str) -> Filter:
    registry = Registry()
    registry.add_folder(folder)
    stage = registry.get("filter", name)()
    assert isinstance(stage, Filter)
    return stage


def test_stages_of_a_plug_in_folder_work_in_workers(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "_words.py").write_text('WORD = "seen"\n')
    (tmp_path / "own" / "mark.py").write_text(
        "from tailrace import Batch, Filter\n"
        "from ._words import WORD\n"
        "class Mark(Filter):\n"
        "    def writes(self):\n"
        "        return [WORD]\n"
        "    def apply(self, batch: Batch) -> None:\n"
        "        batch[WORD] = [True] * len(batch)\n"
    )
    mark = stage_of(tmp_path / "own", "mark")
    paths = files(tmp_path, 8)
    pipeline, sink = crewed(tmp_path, Files(paths=paths), mark)
    pipeline.run(threading.Event(), once=True)
    assert sink.written == [line[:-1] + b',"seen":true}' for line in content(paths)]


def test_what_a_filter_logs_in_a_worker_is_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "chatty.py").write_text(
        "from tailrace import Batch, Filter\n"
        "class Chatty(Filter):\n"
        "    def apply(self, batch: Batch) -> None:\n"
        '        self.context.log.info("saw %s", "them", extra={"events": len(batch)})\n'
    )
    chatty = stage_of(tmp_path / "own", "chatty")
    caplog.set_level(logging.INFO)
    pipeline, _ = crewed(tmp_path, Files(paths=files(tmp_path, 4)), chatty)
    pipeline.run(threading.Event(), once=True)
    said = [(record.getMessage(), vars(record)["events"]) for record in caplog.records if "saw" in record.msg]
    assert said == [("saw them", 1), ("saw them", 2), ("saw them", 3)]


def test_stage_that_needs_all_events_says_so() -> None:
    from tailrace.stage import needs_one_worker
    from tailrace_plugins.sources.tail import Tail
    from tailrace_plugins.sources.webhook import Webhook

    stages = [Alone(), RewriteTag(tag="x"), Tail(paths=["x"]), Webhook(), ListSink()]
    assert [needs_one_worker(stage) for stage in stages] == [True, False, False, True, False]


def test_messages_arrive_whole_with_their_descriptors(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"inside")
    near, far = socket.socketpair()
    with near, far, path.open("rb") as file:
        big = os.urandom(3 << 20)
        sender = threading.Thread(target=send, args=(near, big, file.fileno()))
        sender.start()
        got, descriptor = receive(far)
        sender.join()
        assert got == big
        assert descriptor is not None
        assert os.pread(descriptor, 10, 0) == b"inside"
        os.close(descriptor)
        send(near, ("a", 1))
        assert receive(far) == (("a", 1), None)
        near.sendall(b"\0\0")
        near.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            receive(far)
