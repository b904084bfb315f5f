"""Every registered stage keeps the contract of its kind."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailrace.registry import Registry
from tailrace.stage import Filter, Sink, Source
from tailrace.testing import apply, check_filter, check_remembering_filter, check_sink, check_source

REGISTRY = Registry.standard()
LINES = [
    *gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).splitlines()[::50],
    b'{"verb":"get","n":1.10,"big":123456789012345678901234567890,"stageTimestamp":null}',
    b'{"objectRef":"not an object","user":[],"verb":7}',
    b'{ "spaced" : "\\ud800" , "k":1,"k":2}\r',
    b'{"verb":"\xff"}',
    b"[1]",
    b"not JSON",
    b"",
]
POLICY = Path(__file__).parents[1] / "configs" / "policies" / "archive.yaml"
FILTERS: dict[str, dict[str, Any]] = {
    "audit_policy": {"file": str(POLICY)},
    "dedupe": {"fields": ["user.username", "verb"], "window": "1s", "most": 20},
    "drop": {"when": 'verb == "watch" || objectRef.namespace == "default"'},
    "drop_keys": {"keys": ["requestObject", "user.extra", "nothing"]},
    "extract": {"field": "objectRef.namespace", "into": "namespace", "default": "none"},
    "keep": {"when": 'verb in ["create", "get"]'},
    "redact": {"key": "0123456789abcdef", "config_maps": True},
    "rename_keys": {"keys": {"user.username": "who", "verb": "what.verb"}},
    "rewrite_tag": {"tag": "{tag}.{objectRef.namespace}"},
    "sample": {"share": 0.5},
    "set": {"fields": {"cluster": "east", "who": "{user.username} in {tag}", "objectRef.seen": True}},
    "throttle": {"fields": ["user.username"], "rate": 2, "most": 20},
    "truncate": {"max_event_size": 2000},
    "upgrade": {},
}

SINKS: dict[str, dict[str, Any]] = {"webhook": {"url": "http://127.0.0.1:1/"}}


def test_every_registered_stage_is_tested_here() -> None:
    assert REGISTRY.names("filter") == sorted(FILTERS)
    assert REGISTRY.names("source") == ["tail", "webhook"]
    assert REGISTRY.names("sink") == ["elasticsearch", "file", "null", "stdout", "webhook"]


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_looks_at_no_neighbour_and_reads_what_it_declares(name: str) -> None:
    cls = REGISTRY.get("filter", name)
    assert issubclass(cls, Filter)
    if cls.one_worker:
        check_remembering_filter(lambda: cls(**FILTERS[name]), LINES, tag="audit")
    else:
        check_filter(cls(**FILTERS[name]), LINES, tag="audit")


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_does_the_same_in_another_process_which_gets_it_pickled(name: str) -> None:
    cls = REGISTRY.get("filter", name)
    assert issubclass(cls, Filter)
    stage = cls(**FILTERS[name])
    assert apply(pickle.loads(pickle.dumps(stage)), LINES) == apply(stage, LINES)


def test_the_tail_source_goes_on_from_each_of_its_positions(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(b"".join(line + b"\n" for line in LINES))
    cls = REGISTRY.get("source", "tail")
    assert issubclass(cls, Source)
    make: Callable[..., Source] = cls
    check_source(lambda: make(paths=[str(log)], block_bytes=5000, watch=False), LINES)


@pytest.mark.parametrize("suffix", ["log", "log.gz", "log.zst"])
def test_the_file_sink_keeps_what_was_committed_and_undoes_the_rest(tmp_path: Path, suffix: str) -> None:
    import smart_open

    path = tmp_path / f"out.{suffix}"
    cls = REGISTRY.get("sink", "file")
    assert issubclass(cls, Sink)
    make: Callable[..., Sink] = cls

    def written() -> list[bytes]:
        with smart_open.open(path, "rb") as file:
            content: bytes = file.read()
        return content.split(b"\n")[:-1]

    check_sink(lambda: make(path=str(path)), written, LINES)


@pytest.mark.parametrize("name", ["null", "stdout", "webhook"])
def test_the_other_sinks_can_be_opened_and_closed_at_any_time(
    tmp_path: Path, name: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cls = REGISTRY.get("sink", name)
    assert issubclass(cls, Sink)
    check_sink(lambda: cls(**SINKS.get(name, {})), list, [])
    assert capfdbinary.readouterr().out == b""
