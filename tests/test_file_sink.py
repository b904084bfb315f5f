"""The file sink: names, slices, members, permissions, and that nothing but whole commits is ever in a file."""

from __future__ import annotations

import gzip
import json
import os
import resource
import stat
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailrace.batch import Batch, Position
from tailrace.context import Clock, Context
from tailrace.fields import Projection
from tailrace.stage import Damaged, OptionError, Retry
from tailrace.testing import check_sink
from tailrace_plugins.sinks.file import File
from tailrace_plugins.sinks.piles import MEMBER_BYTES

HOUR_5 = "2026-11-23T05:10:00.000000Z"
HOUR_6 = "2026-11-23T06:10:00.000000Z"


def line(namespace: object = "default", time: object = HOUR_5, **more: Any) -> bytes:
    return json.dumps({"objectRef": {"namespace": namespace}, "stageTimestamp": time} | more).encode()


class Life:
    """One life of a file sink: opened at a position, given lines, committed."""

    def __init__(
        self, directory: Path, position: Position | None = None, clock: Clock | None = None, **options: Any
    ) -> None:
        self.out = directory / "out"
        options.setdefault("path", f"{self.out}/audit-{{objectRef.namespace}}.%Y%m%d%H.log.gz")
        self.sink = File(**options)
        self.sink.attach(Context(pipeline="t", state_dir=directory, clock=clock or Clock()))
        self.position = dict(position or {})
        self.sink.open(position)

    def give(self, lines: list[bytes], tag: str = "audit") -> None:
        batch = Batch(lines, tag=tag)
        batch.project(Projection(self.sink.reads(), self.sink.writes()))
        self.sink.write(self.sink.encode(batch))

    def commit(self) -> dict[str, Any]:
        for delta in (self.sink.prepare(), self.sink.flush()):
            self.position = {key: value for key, value in (self.position | dict(delta)).items() if value is not None}
        return self.position

    def files(self) -> dict[str, list[bytes]]:
        return {
            str(path.relative_to(self.out)): gzip.decompress(path.read_bytes()).splitlines(keepends=True)
            for path in sorted(self.out.rglob("*.gz"))
        }


def test_events_are_split_by_field_and_hour_and_keep_their_bytes_and_order(tmp_path: Path) -> None:
    life = Life(tmp_path)
    odd = b'{ "stageTimestamp" : "2026-11-23T05:59:59.999999Z" , "n":1.10, "n":1e400 }\r'
    a, b, c = line("a"), line("b"), line("a", HOUR_6)
    life.give([a, b, c, a, odd])
    life.commit()
    assert life.files() == {
        "audit-_none.2026112305.log.gz": [odd + b"\n"],
        "audit-a.2026112305.log.gz": [a + b"\n", a + b"\n"],
        "audit-a.2026112306.log.gz": [c + b"\n"],
        "audit-b.2026112305.log.gz": [b + b"\n"],
    }


def test_nothing_is_written_before_the_commit(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.give([line()] * 10_000)
    assert [path.name for path in life.out.iterdir() if not path.name.startswith(".")] == []


def test_a_late_event_goes_to_its_own_slice_and_an_event_without_time_to_unparsed(tmp_path: Path) -> None:
    life = Life(tmp_path)
    lines = [line(time=HOUR_6), line(time=HOUR_5), line(time="yesterday"), line(time=7), line(time=None)]
    life.give(lines)
    life.give([b'{"requestReceivedTimestamp":"2026-11-23T06:00:00Z"}', b'{"timestamp":"2026-11-23T08:00:00+02:00"}'])
    life.commit()
    assert {name: len(found) for name, found in life.files().items()} == {
        "audit-_none.2026112306.log.gz": 2,
        "audit-default.2026112305.log.gz": 1,
        "audit-default.2026112306.log.gz": 1,
        "audit-default._unparsed.log.gz": 3,
    }


def test_link_in_place_of_a_namespace_s_directory_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    life = Life(tmp_path, path=f"{tmp_path}/out/{{objectRef.namespace}}/audit.log.gz")
    (life.out / "team-a").symlink_to(elsewhere)
    life.give([line("team-a"), line("team-b")])
    with pytest.raises(Damaged, match=f"{life.out}/team-a is a link"):
        life.commit()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "namespace",
    ["..", ".", "../../etc/passwd", "a/b", "\0", "new\nline", "_none", "", "x" * 300, "支付", "%2e", "-rf", "\ud800"],
)
def test_a_hostile_name_stays_in_its_directory_and_shares_no_file(tmp_path: Path, namespace: str) -> None:
    life = Life(tmp_path)
    life.give([line(namespace), line(None), line("none")])
    life.commit()
    assert [len(found) for found in life.files().values()] == [1, 1, 1]
    names = [path.name for path in tmp_path.rglob("*.gz")]
    assert all(path.parent == life.out for path in tmp_path.rglob("*.gz"))
    assert all(name.isascii() and name.isprintable() and len(name) <= 255 for name in names)


def test_values_that_are_not_text_do_not_share_a_file_by_python_equality(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.give([line(1), line(True), line([1]), line({"a": 1}), line(1.0)])
    life.commit()
    assert len(life.files()) == 5


def test_lines_of_one_file_keep_their_order_whatever_their_minute(tmp_path: Path) -> None:
    life = Life(tmp_path, timezone="Asia/Kolkata")
    minutes = ["10", "11", "10", "12", "11", "29", "31"]
    lines = [line(time=f"2026-11-23T05:{minute}:00.000000Z") for minute in minutes]
    life.give(lines)
    life.commit()
    assert life.files() == {
        "audit-default.2026112310.log.gz": [each + b"\n" for each in lines[:-1]],
        "audit-default.2026112311.log.gz": [lines[-1] + b"\n"],
    }


@pytest.mark.parametrize("value", [["\ud800"], {"\ud800": 1}, float("inf"), [[[]]]])
def test_a_value_that_json_has_no_bytes_for_names_a_file_all_the_same(tmp_path: Path, value: object) -> None:
    life = Life(tmp_path)
    poison = line(value)
    life.give([line(), poison])
    life.commit()
    assert sorted(lines for (lines,) in life.files().values()) == sorted([line() + b"\n", poison + b"\n"])


def test_a_name_of_several_long_values_fits_the_file_system_and_is_shared_by_no_other(tmp_path: Path) -> None:
    life = Life(tmp_path, path=f"{tmp_path}/out/{{objectRef.namespace}}-{{user}}-{{verb}}.%Y%m%d%H.log.gz")
    lines = [line("n" * 190, user="u" * 190, verb=verb * 190) for verb in "abc"]
    life.give([*lines, line(user="u", verb="v")])
    life.commit()
    assert len(life.files()) == 4
    assert "default-u-v.2026112305.log.gz" in life.files()
    assert all(len(name) <= 255 and name.endswith(".2026112305.log.gz") for name in life.files())


def test_no_events_make_no_file(tmp_path: Path) -> None:
    life = Life(tmp_path, path=f"{tmp_path}/out/all.log.gz")
    life.give([])
    life.commit()
    assert life.files() == {}


def test_a_commit_appends_and_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    theirs = gzip.compress(b"theirs\n")
    target = tmp_path / "out" / "audit-default.2026112305.log.gz"
    target.write_bytes(theirs)
    life = Life(tmp_path)
    life.give([line()])
    life.commit()
    life.give([line(n=2)])
    life.commit()
    assert gzip.decompress(target.read_bytes()) == b"theirs\n" + line() + b"\n" + line(n=2) + b"\n"
    assert target.read_bytes().startswith(theirs)


def test_what_was_not_committed_is_cut_off_at_the_next_start(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.give([line()])
    position = dict(life.commit())
    life.give([line(n=2), line("new")])
    prepared = position | dict(life.sink.prepare())
    life.sink.flush()
    life.sink.close()
    again = Life(tmp_path, prepared)
    assert again.files() == {"audit-default.2026112305.log.gz": [line() + b"\n"]}


def test_a_file_shorter_than_recorded_is_named(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.give([line()])
    position = life.commit()
    (path,) = position
    os.truncate(path, 3)
    life.sink.close()
    with pytest.raises(Damaged, match=f"{path} has 3 bytes, but the checkpoint has"):
        Life(tmp_path, position)


def test_a_file_removed_between_two_commits_is_noticed(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.give([line()])
    (path,) = life.commit()
    os.unlink(path)
    life.give([line()])
    with pytest.raises(Damaged, match="was removed while it was being written"):
        life.commit()


def test_an_output_directory_removed_between_two_commits_is_noticed_and_a_new_file_of_it_is_made(
    tmp_path: Path,
) -> None:
    life = Life(tmp_path)
    life.give([line("a")])
    life.commit()
    life.out.rename(tmp_path / "moved")
    life.give([line("b")])  # which is new, so nothing of it is lost
    life.commit()
    life.give([line("a")])
    with pytest.raises(Damaged, match=r"audit-a.2026112305.log.gz was removed while it was being written"):
        life.commit()
    with pytest.raises(Damaged, match=r"is gone; the checkpoint has \d+ bytes of it"):
        Life(tmp_path, life.position)


def test_an_output_directory_that_became_a_link_to_elsewhere_gets_nothing_of_a_known_slice(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.give([line("a")])
    life.commit()
    life.out.rename(tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    theirs = tmp_path / "elsewhere" / "audit-a.2026112305.log.gz"
    theirs.write_bytes(b"theirs")
    life.out.symlink_to(tmp_path / "elsewhere")
    life.give([line("a")])
    with pytest.raises(Damaged, match="somebody else changed it"):
        life.commit()
    with pytest.raises(Damaged, match="has 6 bytes, but the checkpoint has"):
        Life(tmp_path, life.position)
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "device"])
def test_a_slice_that_became_something_else_is_neither_written_nor_waited_for(tmp_path: Path, kind: str) -> None:
    life = Life(tmp_path)
    life.give([line()])
    (path,) = life.commit()
    aside = tmp_path / "aside"
    os.rename(path, aside)
    before = aside.read_bytes()
    make: dict[str, Callable[[], object]] = {
        "link": lambda: os.symlink(aside, path),
        "pipe": lambda: os.mkfifo(path),
        "directory": lambda: os.mkdir(path),
        "device": lambda: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    }
    try:
        make[kind]()
    except PermissionError:
        pytest.skip("only root can make a device")
    life.give([line(n=2)])
    with pytest.raises((Damaged, OSError)):
        life.commit()
    life.sink.close()
    with pytest.raises(Damaged, match=f"{path} is a link, a directory or a device"):
        Life(tmp_path, life.position)
    assert aside.read_bytes() == before


def test_two_pipelines_whose_templates_make_one_path_are_found_out_by_name_at_the_next_commit(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    path = f"{tmp_path}/out/all.log.gz"
    one = Life(tmp_path / "one", path=path)
    two = Life(tmp_path / "two", path=f"{tmp_path}/out/{{objectRef.namespace}}.log.gz")
    one.give([line("all", n=1)])
    one.commit()
    two.give([line("all", n=2)])
    two.commit()
    one.give([line("all", n=3)])
    with pytest.raises(Damaged, match=f"{path} has .* somebody else changed it; give each pipeline an output path"):
        one.commit()
    found = gzip.decompress(Path(path).read_bytes())
    assert found == line("all", n=1) + b"\n" + line("all", n=2) + b"\n"


def test_a_slice_is_closed_by_the_clock_that_nobody_sets(tmp_path: Path) -> None:
    class HandClock(Clock):
        wall = 2_000_000_000.0

        def time(self) -> float:
            self.wall -= 1_000_000.0
            return self.wall

    life = Life(tmp_path, clock=HandClock(), idle_close=60.0)
    for _ in range(3):
        life.give([line()])
        life.commit()
    assert len(life.position) == 1


def test_the_contract_of_sinks_holds(tmp_path: Path) -> None:
    path = tmp_path / "one.log.gz"

    def written() -> list[bytes]:
        return gzip.decompress(path.read_bytes()).splitlines()

    check_sink(lambda: File(path=str(path)), written, [line(n=number) for number in range(9)])


def test_a_slice_with_much_data_is_compressed_before_the_commit(tmp_path: Path) -> None:
    life = Life(tmp_path)
    lines = [line(number=number, padding="x" * 1000) for number in range(3 * MEMBER_BYTES // 1000)]
    for start in range(0, len(lines), 100):
        life.give(lines[start : start + 100])
    assert life.sink._piles.held < MEMBER_BYTES
    life.commit()
    (found,) = life.files().values()
    assert found == [each + b"\n" for each in lines]


def test_what_waits_as_lines_is_bounded_however_many_the_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.piles.HELD_BYTES", 5000)
    life = Life(tmp_path)
    lines = [line(f"n{number % 50}", number=number) for number in range(500)]
    for start in range(0, len(lines), 10):
        life.give(lines[start : start + 10])
        assert life.sink._piles.held < 5000
    life.commit()
    assert life.sink._piles.held == 0
    assert life.files() == {
        f"audit-n{name}.2026112305.log.gz": [each + b"\n" for each in lines[name::50]] for name in range(50)
    }


def test_many_slices_take_few_descriptors_and_no_more_memory_from_commit_to_commit(tmp_path: Path) -> None:
    life = Life(tmp_path, max_open_files=50)
    few = len(os.listdir("/proc/self/fd")) + 100
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    tracemalloc.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        for _ in range(4):
            life.give([line(f"user-{number}") for number in range(1000)])
            life.commit()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        tracemalloc.stop()
    assert held[3] - held[1] < 100_000
    assert {len(found) for found in life.files().values()} == {4}
    assert len(life.position) == 1000


@pytest.mark.parametrize(("suffix", "threads"), [("gz", 2), ("zst", 0), ("log", 0)])
def test_the_suffix_tells_the_compression(tmp_path: Path, suffix: str, threads: int) -> None:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    path = tmp_path / f"all.{suffix}"
    life = Life(tmp_path, path=str(path), threads=threads)
    for number in range(600):
        life.give([line(n=number, padding="x" * 1000)])
    life.commit()
    life.sink.close()
    readers: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.decompress, "zst": zstd.decompress, "log": bytes}
    assert readers[suffix](path.read_bytes()).splitlines() == [
        line(n=number, padding="x" * 1000) for number in range(600)
    ]


def test_a_higher_level_makes_smaller_files(tmp_path: Path) -> None:
    sizes = []
    for level in (0, 3):
        path = tmp_path / f"{level}.gz"
        life = Life(tmp_path, path=str(path), level=level)
        life.give([line(number=number) for number in range(2000)])
        life.commit()
        sizes.append(path.stat().st_size)
        assert len(gzip.decompress(path.read_bytes()).splitlines()) == 2000
    assert sizes[1] < sizes[0]


def test_permissions_are_as_set_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        life = Life(tmp_path, path=f"{tmp_path}/out/{{tag}}/x.gz", mode="0660", owner=os.getuid(), group=os.getgid())
        life.give([line()])
        life.commit()
    finally:
        os.umask(before)
    (path,) = tmp_path.rglob("*.gz")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_time_and_tag_are_added_to_the_event_when_asked(tmp_path: Path) -> None:
    life = Life(tmp_path, include_time_key="time", include_tag_key="tag")
    batch = Batch([line("a"), b'{"tag":"old"}'], tag="audit.a")
    batch.project(Projection(life.sink.reads(), life.sink.writes()))
    life.sink.write(life.sink.encode(batch))
    life.commit()
    files = life.files()
    (added,) = files["audit-a.2026112305.log.gz"]
    assert added == line("a")[:-1] + b',"time":"' + HOUR_5.encode() + b'","tag":"audit.a"}\n'
    assert files["audit-_none._unparsed.log.gz"] == [b'{"tag":"audit.a"}\n']
    assert batch.encoded() == [line("a"), b'{"tag":"old"}'], "other sinks see the event as it was"


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({"include_time_key": "at"}, b',"at":"' + HOUR_5.encode() + b'"}'),
        ({"include_tag_key": "tag"}, b',"tag":"audit"}'),
    ],
)
def test_time_or_tag_can_be_added_alone(tmp_path: Path, options: dict[str, Any], added: bytes) -> None:
    life = Life(tmp_path, **options)
    life.give([line()])
    life.commit()
    assert life.files() == {"audit-default.2026112305.log.gz": [line()[:-1] + added + b"\n"]}


def test_a_slice_that_got_nothing_for_long_is_no_longer_watched_over(tmp_path: Path) -> None:
    class HandClock(Clock):
        now = 0.0

        def monotonic(self) -> float:
            return self.now

    clock = HandClock()
    life = Life(tmp_path, clock=clock, idle_close=10.0)
    life.give([line("a")])
    life.commit()
    clock.now = 11.0
    life.give([line("b")])
    life.commit()
    assert [os.path.basename(path) for path in life.position] == ["audit-b.2026112305.log.gz"]
    life.give([line("a")])
    life.commit()
    assert len(life.position) == 2
    assert len(life.files()["audit-a.2026112305.log.gz"]) == 2


def test_an_output_directory_that_cannot_be_made_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file is in the way")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        Life(tmp_path)


def test_an_output_directory_that_cannot_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "out").mkdir(mode=0o555)
        (directory / "out").chmod(0o555)
        before = os.geteuid()
        try:
            if before == 0:  # root may write everywhere, so be somebody else for a moment
                os.seteuid(65534)
            with pytest.raises(Retry, match=f"output directory {directory}/out is not writable"):
                Life(directory)
        finally:
            os.seteuid(before)


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"path": "/x/{objectRef.namespace"}, "path", "{"),
        ({"path": "/x/%Q"}, "path", "%Q"),
        ({"path": "/x/"}, "path", "directory"),
        ({"path": "/x", "timezone": "Mars/Olympus"}, "timezone", "not a time zone"),
        ({"path": "/x.gz", "level": 9}, "level", "levels 0 to 3, not 9"),
        ({"path": "/x.zst", "level": 0}, "level", "levels 1 to 19"),
        ({"path": "/x", "level": 1}, "level", "no sense without compression"),
        ({"path": "/x", "mode": "rw"}, "mode", "no permissions"),
        ({"path": "/x", "mode": 0o444}, "mode", "no permissions"),
        ({"path": "/x", "mode": "0644"}, "mode", "everybody"),
        ({"path": "/x", "owner": "no-such-user"}, "owner", "no user 'no-such-user'"),
        ({"path": "/x", "group": "no-such-group"}, "group", "no group"),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_name(options: dict[str, Any], option: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        File(**options)
    assert caught.value.option == option


def test_owner_and_group_may_be_names(tmp_path: Path) -> None:
    import grp
    import pwd

    sink = File(path="/x", owner=pwd.getpwuid(0).pw_name, group=grp.getgrgid(0).gr_name, mode=0o640)
    assert (sink._uid, sink._gid, sink._mode) == (0, 0, 0o640)


def test_the_memory_of_paths_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailrace_plugins.sinks.file._PATHS_LIMIT", 3)
    life = Life(tmp_path)
    life.give([line(f"n{number}") for number in range(10)])
    life.commit()
    assert len(life.files()) == 10
    assert not life.sink._paths._answers  # it held too much, and starts anew
