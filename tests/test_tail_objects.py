"""Objects in a store as the input of `tail`: each line once, in order, whatever dies in between."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from storing import Gate, Storage, free_port
from storing import absent as absent
from storing import bucket as bucket
from storing import credentials as credentials
from storing import store as store

from tailrace.checkpoint import Checkpoint
from tailrace.context import Context
from tailrace.durable import Disk
from tailrace.faults import Crash, FaultyDisk
from tailrace.pipeline import Pipeline, PipelineFailed
from tailrace.stage import OptionError
from tailrace.testing import ListSink, check_source
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sources.tail import Tail

pytestmark = pytest.mark.usefixtures("credentials")


def lines(name: str, number: int) -> list[bytes]:
    return [f'{{"{name}":{each},"fill":"{"x" * 50}"}}'.encode() for each in range(number)]


def text(*some: bytes) -> bytes:
    return b"".join(line + b"\n" for line in some)


class World:
    """A source over objects, and a sink in memory, with a state directory: each `run` is a life."""

    def __init__(self, directory: Path, store: Storage, *paths: str, **options: Any) -> None:
        self.directory = directory
        self.options: dict[str, Any] = {"paths": list(paths), "endpoint_url": store.url, "block_bytes": 500, **options}
        self.sink = ListSink()

    def pipeline(self, disk: Disk | None = None) -> Pipeline:
        context = Context(pipeline="audit", state_dir=self.directory / "state", disk=disk or Disk())
        return Pipeline(context, Tail(**self.options), [], {"sink": self.sink}, commit_bytes=1000)

    def run(self) -> tuple[list[bytes], list[str]]:
        """Give the lines that are new, and what could not be read."""
        before = len(self.sink.written)
        pipeline = self.pipeline()
        pipeline.run(threading.Event(), once=True)
        return self.sink.written[before:], [why for _, why in pipeline.incomplete()]

    def position(self) -> dict[str, Any]:
        state = Checkpoint(Context(pipeline="audit", state_dir=self.directory / "state")).load()
        assert state is not None
        return state.source or {}


def test_all_objects_that_match_are_read_in_the_order_of_their_names_and_only_new_ones_by_the_next_run(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    a, b, c, d = (lines(name, 30) for name in "abcd")
    store.put(bucket, "x/2026/b.log.gz", gzip.compress(text(*b[:10])) + gzip.compress(text(*b[10:])))
    store.put(bucket, "x/2026/a.log", text(*a))
    store.put(bucket, "x/2026/", b"")
    store.put(bucket, "x/other.txt", b"no\n")
    store.put(bucket, "x/2026/.hidden.log", b"no\n")
    store.put(bucket, "x/2026/no.log", b"no\n")
    store.put(bucket, "y/2026/a.log", b"no\n")
    world = World(tmp_path, store, f"s3://{bucket}/x/**/*.log", f"s3://{bucket}/x/**/*.gz", exclude=["no.log"])
    assert world.run() == ([*a, *b], [])
    assert world.run() == ([], [])
    store.put(bucket, "x/2026/a2.log.gz", gzip.compress(text(*d)))
    store.put(bucket, "x/2027/c.log", text(*c))
    assert world.run() == ([*d, *c], [])
    assert all(state["done"] for state in world.position().values())
    assert len(world.position()) == 4


@pytest.mark.parametrize("key", ["a%2Fb c+d.log", "支付?#&=@:;.log", "x[1].log"])
def test_odd_keys_are_read(tmp_path: Path, store: Storage, bucket: str, key: str) -> None:
    store.put(bucket, key, text(b"1"))
    assert World(tmp_path, store, f"s3://{bucket}/*.log").run() == ([b"1"], [])


def test_a_last_line_without_newline_an_empty_object_and_zstd_are_read(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    from tailrace_plugins.sinks.compression import compressor

    store.put(bucket, "1.log", b"")
    store.put(bucket, "2.log.gz", gzip.compress(b""))
    store.put(bucket, "3.log", b"a\nb")
    store.put(bucket, "4.log.zst", compressor("zstd", None)(b"c\n") + compressor("zstd", None)(b"d\n"))
    world = World(tmp_path, store, f"s3://{bucket}/*")
    assert world.run() == ([b"a", b"b", b"c", b"d"], [])
    assert world.run() == ([], [])


def test_an_object_that_is_cut_off_is_given_as_far_as_it_is_whole_and_named_until_it_is_whole(
    tmp_path: Path, store: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(1)
    first, second = ([chance.randbytes(40).hex().encode() for _ in range(50)] for _ in range(2))
    whole = gzip.compress(text(*first)) + gzip.compress(text(*second))
    store.put(bucket, "a.gz", whole[:-1000])
    store.put(bucket, "b.gz", gzip.compress(text(b"after")))
    world = World(tmp_path, store, f"s3://{bucket}/*.gz")
    given, (why,) = world.run()
    assert given[-1] == b"after"
    assert given[:50] == first
    assert given[:-1] == [*first, *second][: len(given) - 1]
    assert f"s3://{bucket}/a.gz: damaged, it can be read up to offset" in why
    (record,) = [record for record in caplog.records if "is damaged" in record.message]
    assert record.__dict__["path"] == f"s3://{bucket}/a.gz"
    again, problems = world.run()
    assert (again, len(problems)) == ([], 1)
    store.put(bucket, "a.gz", whole)
    rest, problems = world.run()
    assert problems == []
    assert given[:-1] + rest == [*first, *second]


def test_an_object_that_was_made_longer_goes_on_and_one_with_other_content_is_another(
    tmp_path: Path, store: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    a = lines("a", 40)
    store.put(bucket, "a.gz", gzip.compress(text(*a[:20])))
    world = World(tmp_path, store, f"s3://{bucket}/*.gz")
    assert world.run() == (a[:20], [])
    store.put(bucket, "a.gz", gzip.compress(text(*a[:20]), 1) + gzip.compress(text(*a[20:])))
    assert world.run() == (a[20:], [])
    assert not caplog.records
    store.put(bucket, "a.gz", gzip.compress(text(*a), 2))
    assert world.run() == ([], [])
    store.put(bucket, "a.gz", gzip.compress(text(*lines("b", 50))))
    assert world.run() == (lines("b", 50), [])
    assert ["replaced" in record.message for record in caplog.records] == [True]


def test_objects_that_are_gone_are_forgotten_and_one_that_is_named_is_missed(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    store.put(bucket, "a", text(b"1"))
    store.put(bucket, "b", text(b"2"))
    world = World(tmp_path, store, f"s3://{bucket}/a", f"s3://{bucket}/b")
    assert world.run() == ([b"1", b"2"], [])
    store.client.delete_object(Bucket=bucket, Key="a")
    assert world.run() == ([], [f"s3://{bucket}/a: missing: there is no such object"])
    assert list(world.position()) == [f"s3://{bucket}/b"]


def test_a_line_that_is_too_long_is_put_aside_in_pieces(tmp_path: Path, store: Storage, bucket: str) -> None:
    store.put(bucket, "a.gz", gzip.compress(text(b"1", b"x" * 250, b"2")))
    world = World(tmp_path, store, f"s3://{bucket}/*", max_line_bytes=100)
    assert world.run() == ([b"1", b"2"], [])
    letters = [json.loads(line) for line in (tmp_path / "state" / "dead-letter.jsonl").read_text().splitlines()]
    assert [len(letter["event"]) for letter in letters] == [100, 100, 50]


def test_it_goes_on_from_each_of_its_positions(store: Storage, bucket: str) -> None:
    store.put(bucket, "a.gz", gzip.compress(text(*lines("a", 20))))
    store.put(bucket, "b", text(*lines("b", 20)))

    def make() -> Tail:
        return Tail(paths=[f"s3://{bucket}/*"], endpoint_url=store.url, block_bytes=500)

    check_source(make, [*lines("a", 20), *lines("b", 20)])


def test_death_at_every_operation_loses_nothing_and_repeats_nothing(
    tmp_path: Path, store: Storage, bucket: str
) -> None:
    store.put(bucket, "a.gz", gzip.compress(text(*lines("a", 25))))
    store.put(bucket, "b", text(*lines("b", 15)))
    for operation in range(1, 500, 9):
        out = tmp_path / str(operation) / "all.log"

        def run(disk: Disk, out: Path = out) -> None:
            context = Context(pipeline="audit", state_dir=out.parent / "state", disk=disk)
            source = Tail(paths=[f"s3://{bucket}/*"], endpoint_url=store.url, block_bytes=500)
            sink = File(path=str(out))
            Pipeline(context, source, [], {"file": sink}, commit_bytes=1).run(threading.Event(), once=True)

        disk, finished = FaultyDisk(operation, seed=operation), False
        try:
            run(disk)
            finished = True
        except (Crash, PipelineFailed):
            pass
        disk.lose_unsynced()
        run(FaultyDisk())
        assert out.read_bytes() == text(*lines("a", 25), *lines("b", 15))
        if finished:
            assert operation > 40
            return
    raise AssertionError("it never ran to its end")


def random_lines(number: int) -> list[bytes]:
    chance = random.Random(number)
    return [chance.randbytes(100).hex().encode() for _ in range(number)]


def test_a_connection_that_breaks_in_the_middle_is_taken_up_again(tmp_path: Path, store: Storage, bucket: str) -> None:
    some = random_lines(3000)
    store.put(bucket, "a.gz", gzip.compress(text(*some)))
    gate = Gate(store.port, 1 << 20, answers=150_000)
    world = World(tmp_path, store, f"s3://{bucket}/*.gz", endpoint_url=gate.url)
    breaker = threading.Thread(target=gate.close_when_reached)
    breaker.start()
    assert world.run() == (some, [])
    breaker.join()


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed_up_with_the_new_one(
    tmp_path: Path, store: Storage, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = random_lines(3000), random_lines(2999)
    store.put(bucket, "a.gz", gzip.compress(text(*old)))
    gate = Gate(store.port, 1 << 20, answers=300_000)
    world = World(tmp_path, store, f"s3://{bucket}/*.gz", endpoint_url=gate.url)

    def replace() -> None:
        gate.reached.wait()
        store.put(bucket, "a.gz", gzip.compress(text(*new)))
        gate.close()

    replacer = threading.Thread(target=replace)
    replacer.start()
    with pytest.raises(PipelineFailed, match=r"object cannot be read: .*a\.gz; nothing is lost: run it again"):
        world.run()
    replacer.join()
    given = list(world.sink.written)
    assert given == old[: len(given)]
    assert 0 < len(given) < 3000
    world.options["endpoint_url"] = store.url
    assert world.run() == (new, [])
    assert "replaced" in caplog.text


def test_a_store_that_cannot_be_reached_and_a_bucket_that_is_not_there_are_named(
    tmp_path: Path, store: Storage
) -> None:
    world = World(tmp_path, store, "s3://no-such-bucket/x/*.gz")
    with pytest.raises(PipelineFailed, match=r"s3://no-such-bucket/x/ cannot be listed: .*NoSuchBucket"):
        world.run()
    world.options["endpoint_url"] = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PipelineFailed, match="cannot be listed: Could not connect"):
        world.run()


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"paths": ["/var/log/a", "s3://b/c"]}, "paths", "make two pipelines of them"),
        ({"paths": ["gs://b/c"]}, "paths", r"write s3://bucket/prefix/\*\.gz"),
        ({"paths": ["s3://b"]}, "paths", "names no objects"),
        ({"paths": ["s3://*/c"]}, "paths", "names no objects"),
        ({"paths": ["s3://key:secret@b/c"]}, "paths", "credentials do not belong in a config"),
        ({"paths": ["s3://b/c"], "read_from": "end"}, "read_from", "objects are read from their beginning"),
        ({"paths": ["/var/log/a"], "endpoint_url": "http://x"}, "endpoint_url", "for paths with s3:// alone"),
    ],
)
def test_options_that_cannot_work_are_refused_with_what_to_do(
    options: dict[str, Any], option: str, message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        Tail(**options)
    assert caught.value.option == option


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(OptionError, match=r"pip install 'tailrace\[s3\]'"):
        Tail(paths=["s3://b/c"])


def test_without_once_the_config_is_refused_with_its_place(tmp_path: Path, store: Storage, bucket: str) -> None:
    store.put(bucket, "a.gz", gzip.compress(text(*lines("a", 9))))
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
state_dir: {tmp_path}/state
pipelines:
  audit:
    source:
      type: tail
      paths: [s3://{bucket}/*.gz]
      endpoint_url: {store.url}
    sinks:
      - type: file
        path: {tmp_path}/all.log
"""
    )

    def tailrace(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tailrace", *arguments, str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert tailrace("check").returncode == 0
    refused = tailrace("run")
    assert refused.returncode == 2
    assert f"{config}:6:7: objects of s3:// are read to their end, and not followed; run it with --once" in (
        refused.stderr
    )
    done = tailrace("run", "--once", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "all.log").read_bytes() == text(*lines("a", 9))
