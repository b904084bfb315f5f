"""Another config takes over while the service runs: what goes on, what changes, and what it must not cost."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from reloading import Running, append, numbers, tail
from waiting import wait_until

from tailrace.lock import hold, holder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    append(path, 0, 100)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.log.gz"


def arrived(path: Path, end: int, first: int = 0) -> None:
    """Wait until the file holds the events of these numbers, each once and in order."""
    wait_until(lambda: numbers(path)[-1:] == [end - 1])
    assert numbers(path) == list(range(first, end))


def descriptors(path: Path) -> list[str]:
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{descriptor}") == str(path):
                found.append(descriptor)
        except FileNotFoundError:
            continue
    return found


def test_pipeline_whose_options_are_the_same_is_not_touched(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out), "other": tail(log, tmp_path / "other")})
    with running:
        arrived(out, 100)
        pipeline, files = running.pipeline(), descriptors(log)
        text = running.config.read_text().replace('"other"', '"another"')
        running.config.write_text("# a comment, so that all is one line lower\n" + text)
        assert running.reload() == {"started": ["another"], "stopped": ["other"], "kept": ["audit"]}
        assert running.pipeline() is pipeline
        assert pipeline.condition.state == "running"
        assert set(files) & set(descriptors(log))
        append(log, 100, 200)
        arrived(out, 200)
    assert running.code == 0


def test_variable_that_changed_is_a_change_and_a_new_spelling_of_the_same_is_none(
    tmp_path: Path, log: Path, out: Path
) -> None:
    running = Running(tmp_path)
    running.environment["OUT"] = str(out)
    running.write({"audit": tail(log, Path("${OUT}"))})
    with running:
        arrived(out, 100)
        running.write({"audit": tail(log, out)})
        assert running.reload() == {"kept": ["audit"]}
        running.write({"audit": tail(log, Path("${OUT}"))})
        running.environment["OUT"] = str(tmp_path / "second.log")
        assert running.reload() == {"restarted": ["audit"]}
        append(log, 100, 200)
        arrived(tmp_path / "second.log", 200, 100)
    assert numbers(out) == list(range(100))


def test_values_that_python_takes_for_equal_are_a_change(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)
    for index, value in enumerate((1, True, 1.0, "1")):
        running.write({"audit": tail(log, out, filters=[{"type": "set", "fields": {"x": value}}])})
        if not index:
            running.__enter__()
        else:
            assert running.reload() == {"restarted": ["audit"]}
        append(log, 100 + index, 101 + index)
        arrived(out, 101 + index)
    running.__exit__(None, None, None)


def test_changed_filter_and_tag_leave_the_unchanged_sink_its_state(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    with running:
        arrived(out, 100)
        running.write({"audit": tail(log, out, filters=[{"type": "set", "fields": {"by": "{tag}"}}], tag="east") | {}})
        assert running.reload() == {"restarted": ["audit"]}
        append(log, 100, 200)
        arrived(out, 200)
    assert running.code == 0
    checkpoint = json.loads((running.state / "audit" / "checkpoint.json").read_bytes().splitlines()[1])
    assert checkpoint["sinks"][f"file {out}"] == {str(out): out.stat().st_size}


def test_added_sink_gets_what_comes_and_a_removed_one_leaves_its_file_whole(
    tmp_path: Path, log: Path, out: Path
) -> None:
    added = tmp_path / "added.log.gz"
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    with running:
        arrived(out, 100)
        running.write({"audit": tail(log, added, out)})
        assert running.reload() == {"restarted": ["audit"]}
        append(log, 100, 200)
        arrived(added, 200, 100)
        arrived(out, 200)
        append(log, 200, 300)
        running.write({"audit": tail(log, added)})
        assert running.reload() == {"restarted": ["audit"]}
        arrived(added, 300, 100)
        before = numbers(out)
        assert before == list(range(len(before)))
        running.write({"audit": tail(log, out)})  # and what it had while it was away is not made up for
        assert running.reload() == {"restarted": ["audit"]}
        append(log, 300, 400)
        arrived(added, 300, 100)
        wait_until(lambda: numbers(out)[-1:] == [399])
        assert numbers(out) == [*before, *range(300, 400)]


def test_reloads_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    done = threading.Event()

    def write() -> None:
        for number in range(100, 20_000, 50):
            append(log, number, number + 50)
            done.wait(0.001)

    writer = threading.Thread(target=write)
    with running:
        writer.start()
        changes = 0
        while writer.is_alive():
            changes += 1
            running.write({"audit": tail(log, out, tag=f"audit{changes}")})
            assert running.reload() == {"restarted": ["audit"]}
        writer.join()
        arrived(out, 20_000)
    assert changes > 3
    assert running.code == 0


def test_every_problem_of_a_bad_config_is_logged_with_its_place_and_nothing_changes(
    tmp_path: Path, log: Path, out: Path
) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    with running:
        good = running.config.read_text()
        running.config.write_text(good.replace('"tag"', '"tga"').replace('"file"', '"flie"'))
        first, second = running.refused()
        assert first.startswith(f"{running.config}:11:")
        assert 'did you mean "tag"?' in first
        assert second.startswith(f"{running.config}:17:")
        assert 'did you mean "file"?' in second
        running.config.unlink()
        assert running.refused() == [f"{running.config}:1:1: cannot read the config file: No such file or directory"]
        append(log, 100, 200)
        arrived(out, 200)
        running.config.write_text(good)
        assert running.reload() == {"kept": ["audit"]}


def test_pipeline_that_failed_is_started_again(tmp_path: Path, log: Path, out: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    running = Running(tmp_path)
    filters = [{"type": "mend", "broken": str(broken)}]
    running.write({"bad": tail(log, out, filters=filters), "good": tail(log, tmp_path / "good")})
    with running:
        wait_until(lambda: running.pipeline("bad").condition.state == "failed")
        arrived(tmp_path / "good", 100)
        broken.unlink()
        assert running.reload() == {"started": ["bad"], "kept": ["good"]}
        arrived(out, 100)
    assert running.code == 0


def test_pipeline_that_waits_to_recover_is_replaced_at_once(tmp_path: Path, log: Path, out: Path) -> None:
    obstacle = tmp_path / "file"
    obstacle.touch()
    running = Running(tmp_path)
    running.write({"audit": tail(log, obstacle / "out.log")})
    with running:
        wait_until(lambda: running.pipeline().condition.state == "recovering")
        assert running.reload() == {"kept": ["audit"]}
        running.write({"audit": tail(log, out)})
        assert running.reload() == {"restarted": ["audit"]}
        arrived(out, 100)
    assert running.code == 0


def test_pipeline_that_is_stopped_while_it_recovers_is_no_success(tmp_path: Path, log: Path) -> None:
    (tmp_path / "file").touch()
    running = Running(tmp_path)
    running.write({"audit": tail(log, tmp_path / "file" / "out.log")})
    with running:
        wait_until(lambda: running.pipeline().condition.state == "recovering")
    assert running.code == 1
    assert running.log.all("pipeline was stopped before it recovered; the next start goes on from its checkpoint")


def test_outputs_may_change_hands(tmp_path: Path, log: Path) -> None:
    other, one, two = tmp_path / "other.log", tmp_path / "one.gz", tmp_path / "two.gz"
    append(other, 0, 100)
    running = Running(tmp_path)
    running.write({"a": tail(log, one), "b": tail(other, two)})
    with running:
        arrived(one, 100)
        arrived(two, 100)
        running.write({"a": tail(log, two), "b": tail(other, one)})
        assert running.reload() == {"restarted": ["a", "b"]}
        append(log, 100, 150)
        append(other, 100, 200)
        arrived(two, 150)
        arrived(one, 200)
    assert running.code == 0


def test_config_that_comes_while_another_one_takes_over_wins(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    with running:
        running.service.reload()
        running.write({"audit": tail(log, out, tag="b"), "more": tail(log, tmp_path / "more")})
        for _ in range(5):
            running.service.reload()
        running.write({"audit": tail(log, out, tag="c")})
        running.reload()
        append(log, 100, 200)
        arrived(out, 200)
        wait_until(lambda: running.pipeline().source.tag == "c")  # type: ignore[attr-defined]  # a tail
        wait_until(lambda: len(running.service.pipelines) == 1)
    assert running.code == 0


def test_stop_in_the_middle_of_a_change_ends_well(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    with running:
        running.write({"audit": tail(log, out, tag="b"), "more": tail(log, tmp_path / "more")})
        running.service.reload()
    assert running.code == 0
    before = numbers(out)
    with running:
        arrived(out, 100)
    assert numbers(out)[: len(before)] == before


def test_pipeline_that_hangs_delays_the_others_until_the_deadline_and_its_successor_until_its_end(
    tmp_path: Path, log: Path, out: Path
) -> None:
    shut = tmp_path / "shut"
    shut.touch()
    running = Running(tmp_path, stop_timeout=0.3)
    hanging = tail(log, out)
    hanging["sinks"].append({"type": "gate", "shut": str(shut)})
    running.write({"stuck": hanging, "other": tail(log, tmp_path / "other")})
    with running:
        arrived(tmp_path / "other", 100)  # it goes on beside the one that is stuck
        wait_until(lambda: running.pipeline("stuck").condition.state == "running")
        old = running.pipeline("stuck")
        fixed = {"stuck": tail(log, out), "other": tail(log, tmp_path / "other", tag="b")}
        running.write(fixed)
        assert running.reload() == {"restarted": ["stuck", "other"]}
        [said] = running.log.all(
            "pipelines do not stop; the others go on, and what replaces these is started when they have ended"
        )
        assert said["pipelines"] == ["stuck"]
        append(log, 100, 200)
        arrived(tmp_path / "other", 200)
        assert running.pipeline("stuck") is old
        assert running.reload() == {"restarted": ["stuck"], "kept": ["other"]}
        assert running.pipeline("stuck") is old
        shut.unlink()
        arrived(out, 200)
        assert running.pipeline("stuck") is not old
    assert running.code == 0


def test_state_directory_of_another_process_is_refused_before_anything_stops(
    tmp_path: Path, log: Path, out: Path
) -> None:
    first, taken = tmp_path / "a-free", tmp_path / "taken"
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    with running:
        with hold(taken):
            running.write({"audit": tail(log, out)}, state_dir=str(taken))
            [cause] = running.refused()
        assert cause.startswith(f"{taken}/lock is held by process {os.getpid()}: ")
        assert holder(running.state) == str(os.getpid())
        append(log, 100, 200)
        arrived(out, 200)
        running.write({"audit": tail(log, tmp_path / "moved")}, state_dir=str(first))
        assert running.reload() == {"restarted": ["audit"]}
        assert holder(running.state) is None  # given up
        assert holder(first) == str(os.getpid())
        arrived(tmp_path / "moved", 200)  # with another state directory it is another pipeline
    assert holder(first) is None


def test_admin_server_moves_and_stays_where_it_is_if_it_cannot(tmp_path: Path, log: Path, out: Path) -> None:
    running = Running(tmp_path)

    def answers(port: int) -> bool:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return bool(answer.read() == b"ok")

    def listen(address: str | None) -> None:
        running.write({"audit": tail(log, out)}, **({"admin": {"listen": address}} if address else {}))

    listen(None)
    with running, socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as neighbour:
        assert running.service.admin is None
        arrived(out, 100)
        listen("127.0.0.1:0")
        assert running.reload() == {"kept": ["audit"]}
        first = running.address()
        assert answers(first.port)
        running.reload()
        assert running.address() == first  # port 0 is no reason to take another one
        taken = other.getsockname()[1]
        listen(f"127.0.0.1:{taken}")
        assert running.refused() == [f"cannot listen: Address already in use: 127.0.0.1:{taken}"]
        assert answers(first.port)
        neighbour.bind(("127.0.0.2", first.port))
        neighbour.listen()
        listen(f"0.0.0.0:{first.port}")
        assert len(running.refused()) == 1
        assert answers(first.port)
        neighbour.close()
        assert running.reload() == {"kept": ["audit"]}
        assert running.address() == ("0.0.0.0", first.port)
        assert answers(first.port)
        listen(None)
        assert running.reload() == {"kept": ["audit"]}
        assert running.service.admin is None
        with pytest.raises(URLError):
            answers(first.port)


def test_bug_in_the_code_of_a_stage_that_the_new_config_names_changes_nothing(
    tmp_path: Path, log: Path, out: Path
) -> None:
    running = Running(tmp_path)
    running.write({"audit": tail(log, out)})
    stages = tmp_path / "stages"
    stages.mkdir()
    code = "from tailrace import Filter\nclass Wild(Filter):\n def __post_init__(self):\n  raise KeyError(1)\n"
    (stages / "wild.py").write_text(code)
    with running:
        running.write({"audit": tail(log, out, filters=[{"type": "wild"}])}, plugins=["stages"])
        assert running.refused() == ["a bug (KeyError: 1)"]
        append(log, 100, 200)
        arrived(out, 200)
