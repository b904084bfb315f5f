"""Slices of the file sink in a store: each once it is closed, as it is, whatever happens in between."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storing import CREDENTIALS, Gate, Storage, free_port, storage
from storing import absent as absent
from storing import bucket as bucket
from storing import credentials as credentials
from storing import store as store
from waiting import wait_until

from tailrace.batch import Batch
from tailrace.checkpoint import Checkpoint, merge
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.fields import Projection
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.stage import OptionError
from tailrace.testing import ListSource
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, credentials: None) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.uploader.BACKOFF", (0.01,))
    monkeypatch.setattr("tailrace.pipeline.IDLE_WAIT", 0.02)


def event(user: str = "eve", hour: int = 5, **more: Any) -> bytes:
    return json.dumps({"user": user, "stageTimestamp": f"2026-11-23T{hour:02}:10:00.000000Z"} | more).encode()


class World:
    """A log, an output directory and a state directory; each `run` is a life of a pipeline between them."""

    def __init__(self, directory: Path, url: str, **options: Any) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.log = directory / "audit.log"
        self.log.touch()
        self.out = directory / "out"
        self.options = {"path": f"{self.out}/{{user}}.%Y%m%d%H.log.gz", "upload": url} | options
        self.sink = File(**self.options)

    def write(self, *lines: bytes) -> None:
        with open(self.log, "ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def pipeline(self, disk: Disk | None = None) -> Pipeline:
        self.sink = File(**self.options)
        context = Context(pipeline="audit", state_dir=self.directory / "state", disk=disk or Disk())
        source = Tail(paths=[str(self.log)], watch=False, block_bytes=500, poll_interval=0.01)
        return Pipeline(context, source, [], {"file": self.sink}, commit_bytes=1)

    def run(self, disk: Disk | None = None) -> list[tuple[str, str]]:
        """Run to the end of the log; gives what was not completed."""
        pipeline = self.pipeline(disk)
        pipeline.run(threading.Event(), once=True)
        return list(pipeline.incomplete())

    @contextlib.contextmanager
    def running(self) -> Iterator[threading.Thread]:
        """Run until the end of the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self.pipeline().run, args=(stop,))
        thread.start()
        try:
            yield thread
        finally:
            stop.set()
            thread.join(20)
        assert not thread.is_alive()

    def files(self, prefix: str = "") -> dict[str, bytes]:
        """Give the slices there are, by the names that their objects should have."""
        paths = [path for path in self.out.rglob("*.log*") if path.is_file()]
        return {prefix + str(path.relative_to(self.out)): path.read_bytes() for path in paths}

    def wait_for_files(self, number: int) -> None:
        wait_until(lambda: len(self.files()) == number)

    def position(self) -> dict[str, Any]:
        state = Checkpoint(Context(pipeline="audit", state_dir=self.directory / "state")).load()
        assert state is not None
        return state.sinks["file"]

    def figure(self, name: str) -> float:
        return next(each.value for each in self.sink.measures() if each.name == name)


def test_every_slice_is_uploaded_at_the_end_of_a_run_and_a_second_run_changes_nothing(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}/east/1/", endpoint_url=store.url)
    world.write(*[event(user, hour) for user in "abc" for hour in range(3)])
    assert world.run() == []
    assert len(world.files()) == 9
    assert store.objects(bucket) == world.files("east/1/")
    assert world.position() == {"upload": f"s3://{bucket}/east/1/"}
    assert world.figure("uploads_total") == 9
    assert world.figure("uploaded_bytes_total") == sum(map(len, world.files().values()))
    assert world.run() == []
    assert world.figure("uploads_total") == 0
    assert store.objects(bucket) == world.files("east/1/")


@pytest.mark.parametrize("name", ["a/b", "../../x", "%2F", "a b+c&d=?#@:;", "支付", "\0", "x" * 300, "-", "'\"<>"])
def test_the_key_of_an_object_is_the_name_of_its_file_whatever_is_in_it(
    tmp_path: Path, store: Storage, bucket: str, name: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}/%2F/x", endpoint_url=store.url)
    world.write(event(name))
    assert world.run() == []
    ((key, content),) = store.objects(bucket).items()
    assert {key: content} == world.files("%2F/x/")
    assert key.count("/") == 2


def test_a_late_event_makes_the_object_longer_under_the_same_key(tmp_path: Path, store: Storage, bucket: str) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=store.url)
    world.write(event("a"), event("b"))
    world.run()
    before = store.objects(bucket)
    world.write(event("a", late=True))
    world.run()
    after = store.objects(bucket)
    assert after == world.files()
    assert after.keys() == before.keys()
    assert gzip.decompress(after["a.2026112305.log.gz"]) == event("a") + b"\n" + event("a", late=True) + b"\n"
    assert world.figure("uploads_total") == 1


def test_a_slice_is_uploaded_when_it_got_nothing_for_long_though_no_other_event_comes(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=store.url, idle_close=0.05)
    world.write(event("a"))
    with world.running():
        wait_until(lambda: bool(world.files()) and world.position() == {"upload": f"s3://{bucket}"})
    assert store.objects(bucket) == world.files()


def test_while_a_slice_is_written_it_is_not_uploaded(tmp_path: Path, store: Storage, bucket: str) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=store.url)
    world.write(event("a"))
    with world.running():
        wait_until(lambda: bool(world.files()))
    assert store.objects(bucket) == {}
    world.run()
    assert store.objects(bucket) == world.files()


def test_a_store_that_is_down_does_not_stop_the_collecting_and_gets_all_when_it_is_back(
    tmp_path: Path, absent: str
) -> None:
    port = free_port()
    world = World(tmp_path, f"s3://{absent}", endpoint_url=f"http://127.0.0.1:{port}", idle_close=0.05)
    with world.running() as thread:
        for number in range(5):
            world.write(event(f"user-{number}"))
            world.wait_for_files(number + 1)
        wait_until(lambda: world.figure("uploads_pending") == 5 and world.figure("upload_failures_total") > 5)
        assert thread.is_alive()
        with storage(port) as store:
            store.make(absent)
            wait_until(lambda: world.figure("uploads_total") == 5 and len(world.position()) == 1)
            assert store.objects(absent) == world.files()


def test_a_run_to_the_end_whose_store_is_down_says_so_and_the_next_one_uploads(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{free_port()}")
    world.write(event("a"), event("b"))
    ((what, why),) = world.run()
    assert what == "output"
    assert "2 files could not be uploaded" in why
    assert "Could not connect" in why
    assert "run it again" in why
    world.options["endpoint_url"] = store.url
    assert world.run() == []
    assert store.objects(bucket) == world.files()


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, store: Storage) -> None:
    world = World(tmp_path, "s3://no-such-bucket", endpoint_url=store.url)
    world.write(event())
    ((_, why),) = world.run()
    assert "no-such-bucket" in why
    assert "NoSuchBucket" in why


def test_what_is_owed_survives_that_the_process_dies(tmp_path: Path, store: Storage, bucket: str) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{free_port()}", idle_close=0.05)
    world.write(event("a"))
    with world.running():
        owed = f"upload {world.out}/a.2026112305.log.gz"
        wait_until(lambda: bool(world.files()) and world.position().keys() == {"upload", owed})
    world.options["endpoint_url"] = store.url
    world.run()
    assert store.objects(bucket) == world.files()


def test_retention_waits_for_the_upload(tmp_path: Path, absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.retention.INTERVAL", 0.0)
    monkeypatch.setattr("tailrace_plugins.sinks.retention.SHARE", 0)
    port = free_port()
    options = {"idle_close": 0.05, "keep_files": 1, "keep_for": "1d"}
    world = World(tmp_path, f"s3://{absent}", endpoint_url=f"http://127.0.0.1:{port}", **options)
    with world.running():
        for hour in range(5):
            world.write(event(hour=hour))
            world.wait_for_files(hour + 1)
        wait_until(lambda: world.figure("uploads_pending") == 5)
        before = world.files()
        world.write(event("late", hour=9))  # one more commit, that looks what to delete
        wait_until(lambda: len(world.files()) == 6)
        assert world.files().items() >= before.items()
        with storage(port) as store:
            store.make(absent)
            wait_until(lambda: world.figure("uploads_total") == 6 and len(world.position()) == 1)
            world.write(event("other", hour=9))
            wait_until(lambda: world.figure("uploads_total") == 7 and len(world.files()) < 6)
            assert len(store.objects(absent)) == 7
            assert store.objects(absent).items() >= before.items()


def test_what_lay_there_before_is_uploaded_once_and_retention_waits_for_that_too(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=store.url, keep_for="1d")
    world.out.mkdir()
    for name in ("old.2001010100.log.gz", "other.txt", "%zz.2001010100.log.gz"):
        (world.out / name).write_bytes(gzip.compress(b"x\n"))
    world.write(event())
    assert world.run() == []
    assert set(store.objects(bucket)) == {"old.2001010100.log.gz", "eve.2026112305.log.gz"}
    world.options["upload"] = f"s3://{bucket}/again"
    world.write(event(hour=6))
    world.run()
    assert {"again/eve.2026112305.log.gz", "again/eve.2026112306.log.gz"} <= set(store.objects(bucket))


def test_without_the_option_what_was_owed_is_forgotten_and_with_it_again_all_is_looked_for(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{free_port()}")
    world.write(event("a"))
    assert world.run() != []
    with_upload = dict(world.options)
    del world.options["upload"], world.options["endpoint_url"]
    world.write(event("b"))
    world.run()
    assert not [key for key in world.position() if not os.path.isabs(key)]
    world.options = with_upload | {"endpoint_url": store.url}
    world.run()
    assert store.objects(bucket) == world.files()


def test_a_slice_that_somebody_removed_is_named_and_holds_nothing_up(
    tmp_path: Path, store: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{free_port()}")
    world.write(event("a"), event("b"))
    world.run()
    (world.out / "a.2026112305.log.gz").unlink()
    world.options["endpoint_url"] = store.url
    ((_, why),) = world.run()
    assert f"{world.out}/a.2026112305.log.gz is gone" in why
    assert [record.levelname for record in caplog.records if "is gone" in record.message] == ["ERROR"]
    assert store.objects(bucket) == world.files()
    assert world.run() == []


def test_a_slice_that_somebody_cut_is_not_uploaded_and_not_forgotten(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=f"http://127.0.0.1:{free_port()}")
    world.write(event("a"), event("b"), event("c"), event("d"), event("e"))
    world.run()
    path = world.out / "a.2026112305.log.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:10])
    world.options["endpoint_url"] = store.url
    ((_, why),) = world.run()
    assert f"{path} could not be uploaded: it has 10 bytes where {len(whole)} were committed" in why
    assert world.figure("uploads_pending") == 1
    assert len(store.objects(bucket)) == 4
    path.write_bytes(whole)
    assert world.run() == []
    assert store.objects(bucket) == world.files()


def test_many_slices_are_uploaded_each_as_it_is(tmp_path: Path, store: Storage, bucket: str) -> None:
    world = World(tmp_path, f"s3://{bucket}/x", endpoint_url=store.url)
    world.write(*[event(f"user-{number}") for number in range(100)])
    assert world.run() == []
    assert len(world.files()) == 100
    assert store.objects(bucket) == world.files("x/")


def test_a_stop_does_not_wait_for_a_store_that_hangs_and_the_next_start_uploads(
    tmp_path: Path, store: Storage, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.uploader.CLOSE_SECONDS", 0.05)
    gate = Gate(store.port, 0)
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=gate.url, idle_close=0.05)
    world.write(event("a"))
    with world.running():
        gate.reached.wait()
    world.options["endpoint_url"] = store.url
    world.run()
    assert store.objects(bucket) == world.files()
    gate.close()
    assert not [each for each in threading.enumerate() if each.name == "tailrace-upload" and not each.daemon]


def test_after_a_recovery_nothing_is_uploaded_beside_what_still_hangs(
    tmp_path: Path, store: Storage, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.uploader.CLOSE_SECONDS", 0.05)
    gate = Gate(store.port, 0)
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=gate.url)
    context = Context(pipeline="audit", state_dir=tmp_path / "state")
    sink = File(**world.options)
    sink.attach(context)
    world.out.mkdir()
    (world.out / "a.2026112305.log.gz").write_bytes(b"short")
    position: dict[str, Any] = {"upload": world.options["upload"], f"upload {world.out}/a.2026112305.log.gz": 5}
    sink.open(position)
    gate.reached.wait()
    sink.close()
    (world.out / "a.2026112305.log.gz").write_bytes(b"longer than that")
    position[f"upload {world.out}/a.2026112305.log.gz"] = 16
    sink.open(position)
    assert store.objects(bucket) == {}
    gate.opened.set()
    wait_until(sink.is_due)
    assert store.objects(bucket) == {"a.2026112305.log.gz": b"longer than that"}
    sink.close()
    gate.close()


def test_a_large_slice_goes_in_parts_and_a_part_that_fails_leaves_no_half_object(
    tmp_path: Path, store: Storage, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.stores._PART_BYTES", 5 << 20)
    name = "a.2026112305.log"
    world = World(tmp_path, f"s3://{bucket}", endpoint_url=store.url, path=f"{tmp_path}/out/{{user}}.%Y%m%d%H.log")
    world.out.mkdir()
    (world.out / name).write_bytes(b"before\n")
    world.run()
    assert store.objects(bucket) == {name: b"before\n"}
    filler = "x" * 400_000
    world.write(*[event("a", filler=filler, n=number) for number in range(16)])
    gate = Gate(store.port, 1 << 20)
    world.options |= {"endpoint_url": gate.url, "idle_close": 0.05}
    with world.running():
        gate.reached.wait()
        assert len(store.client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
        assert store.objects(bucket) == {name: b"before\n"}
    gate.close()
    world.options["endpoint_url"] = store.url
    assert world.run() == []
    assert store.objects(bucket) == world.files()
    assert len(store.objects(bucket)[name]) > 6 << 20


def config(directory: Path, url: str, endpoint_url: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(
        json.dumps(
            {
                "state_dir": str(directory / "state"),
                "pipelines": {
                    "audit": {
                        "source": {"type": "tail", "paths": [str(directory / "audit.log")]},
                        "sinks": [
                            {
                                "type": "file",
                                "path": f"{directory}/out/{{user}}.%Y%m%d%H.log.gz",
                                "upload": url,
                                "endpoint_url": endpoint_url,
                            }
                        ],
                    }
                },
            }
        )
    )
    return path


def command(path: Path) -> list[str]:
    return [sys.executable, "-m", "tailrace", "run", "--once", "--log-format", "json", str(path)]


def test_kill_in_the_middle_of_an_upload_leaves_nothing_half_and_the_next_run_completes_it(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    chance = random.Random(7)
    lines = [event(user, noise=chance.randbytes(300).hex()) for user in "ab" for _ in range(300)]
    (tmp_path / "audit.log").write_bytes(b"".join(line + b"\n" for line in lines))
    gate = Gate(store.port, 50_000)
    process = subprocess.Popen(command(config(tmp_path, f"s3://{bucket}/x", gate.url)), stderr=subprocess.PIPE)
    assert gate.reached.wait(30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    gate.close()
    assert store.objects(bucket) == {}
    result = subprocess.run(command(config(tmp_path, f"s3://{bucket}/x", store.url)), capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    files = {f"x/{path.name}": path.read_bytes() for path in (tmp_path / "out").glob("*.gz")}
    assert len(files) == 2
    assert store.objects(bucket) == files
    assert b"".join(gzip.decompress(files[key]) for key in sorted(files)).splitlines() == lines


def test_a_run_whose_store_fails_ends_with_1_and_says_why_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(event() + b"\n")
    url = f"http://127.0.0.1:{free_port()}"
    result = subprocess.run(command(config(tmp_path, "s3://audit/x", url)), capture_output=True, check=False, text=True)
    assert result.returncode == 1
    (last,) = [json.loads(line) for line in result.stderr.splitlines() if "output is incomplete" in line]
    assert "s3://audit/x: 1 files could not be uploaded" in last["cause"]
    assert url in last["cause"]
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in result.stderr
    assert len(list((tmp_path / "out").glob("*.gz"))) == 1


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"upload": "bucket/x"}, "upload", "is no URL of an object store; write s3://bucket/prefix"),
        ({"upload": "ftp://x/y"}, "upload", "is no URL of an object store"),
        ({"upload": "s3://"}, "upload", "names no bucket"),
        ({"upload": "s3:///x"}, "upload", "names no bucket"),
        ({"upload": "file://x/y"}, "upload", "names no absolute directory"),
        ({"upload": "s3://key:secret@bucket/x"}, "upload", "credentials do not belong in a config"),
        ({"upload": "file:///x", "endpoint_url": "http://x"}, "upload", "endpoint_url is for s3:// alone"),
        ({"endpoint_url": "http://x"}, "endpoint_url", "there is nothing to upload"),
        ({"upload": "gs://bucket/x"}, "upload", r"pip install 'tailrace\[gcs\]'"),
        ({"upload": "azure://container/x"}, "upload", r"pip install 'tailrace\[azure\]'"),
    ],
)
def test_options_that_cannot_work_are_refused_with_what_to_do(
    options: dict[str, Any], option: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google", None)
    monkeypatch.setitem(sys.modules, "azure", None)
    with pytest.raises(OptionError, match=message) as caught:
        File(path="/x/{user}.%Y.log.gz", **options)
    assert caught.value.option == option
    assert "secret@" not in str(caught.value)


def test_a_directory_is_a_store_too(tmp_path: Path) -> None:
    target = tmp_path / "mounted" / "east"
    world = World(tmp_path, f"file://{target}", path=f"{tmp_path}/out/{{user}}/%Y.log")
    world.write(event("a/b"), event("c"))
    assert world.run() == []
    assert {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()} == (
        world.files()
    )


def test_events_in_memory_are_uploaded_as_well(tmp_path: Path, store: Storage, bucket: str) -> None:
    sink = File(path=f"{tmp_path}/out/all.log.gz", upload=f"s3://{bucket}", endpoint_url=store.url)
    context = Context(pipeline="audit", state_dir=tmp_path / "state")
    Pipeline(context, ListSource(lines=[event()]), [], {"file": sink}).run(threading.Event(), once=True)
    assert gzip.decompress(store.objects(bucket)["all.log.gz"]) == event() + b"\n"


@pytest.mark.parametrize(("power_cut", "damaged"), [(False, False), (True, True)])
def test_death_at_every_operation_leaves_every_slice_whole_in_the_store_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, power_cut: bool, damaged: bool
) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.uploader.AT_ONCE", 1)
    monkeypatch.setattr("tailrace_plugins.sinks.retention.SHARE", 0)
    monkeypatch.setattr("tailrace_plugins.sinks.retention.INTERVAL", 0.0)
    for operation in range(1, 500):
        directory = tmp_path / str(operation)
        target = directory / "store"
        world = World(directory, f"file://{target}", keep_files=1)
        world.write(event("a", 4), event("b", 5))
        disk = FaultyDisk(operation, seed=operation)
        finished = False
        try:
            world.run(disk)
            world.write(event("a", 6), event("b", 5))
            world.run(disk)
            finished = True
        except (Crash, PipelineFailed):
            pass
        world.sink.close()
        if power_cut:
            disk.lose_unsynced()
        else:
            disk.die()
        for path in target.glob("*.gz"):  # whole at every moment
            gzip.decompress(path.read_bytes())
        checkpoint = directory / "state" / "audit" / "checkpoint.json"
        if damaged and checkpoint.exists() and checkpoint.with_name("checkpoint.previous.json").exists():
            checkpoint.write_bytes(bytes(300))
        world.log.write_bytes(b"")
        world.write(event("a", 4), event("b", 5), event("a", 6), event("b", 5))
        assert world.run(FaultyDisk()) == []
        assert {path.name: gzip.decompress(path.read_bytes()).count(b"\n") for path in target.glob("*.gz")} == {
            "a.2026112304.log.gz": 1,
            "a.2026112306.log.gz": 1,
            "b.2026112305.log.gz": 2,
        }
        assert {name: (target / name).read_bytes() for name in world.files()} == world.files()
        if finished:
            assert operation > 60
            return
    raise AssertionError("it never ran to its end")


def test_what_was_uploaded_is_deleted_one_commit_later_for_the_generation_before_still_owes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.retention.SHARE", 0)
    monkeypatch.setattr("tailrace_plugins.sinks.retention.INTERVAL", 0.0)
    world = World(tmp_path, f"file://{tmp_path}/store", idle_close=1e-9, keep_files=1)
    sink = world.sink
    sink.attach(Context(pipeline="audit", state_dir=tmp_path))
    sink.open(None)
    position: dict[str, Any] = {}

    def commit(*lines: bytes) -> int:
        """Give how many slices there are after it."""
        nonlocal position
        batch = Batch(list(lines), tag="audit")
        batch.project(Projection(sink.reads(), sink.writes()))
        sink.write(sink.encode(batch))
        for delta in (sink.prepare(), sink.flush()):
            position = merge(position, delta)
        sink.commit(position)
        return len(world.files())

    assert commit(event("a", 4), event("b", 5)) == 2
    assert commit() == 2
    assert len(position) == 3
    wait_until(lambda: world.figure("uploads_total") == 2)
    assert commit() == 2
    assert len(position) == 1
    assert commit() == 1
    sink.close()
