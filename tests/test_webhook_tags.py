"""Tags made of the path of a request: whatever a client writes there, it stays in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from posting import connected, event_list, post, read_answer
from running import receiving
from waiting import wait_until

from tailrace_plugins.receiving.tags import TagTemplate
from tailrace_plugins.sinks.file import File

HOSTILE = {
    b"east": "east",
    b"..": "%2E.",
    b".": "%2E",
    b"%2e%2e": "%2E.",
    b"%2E": "%2E",
    b"%2F": "%2F",
    b"%2Fetc%2Fpasswd": "%2Fetc%2Fpasswd",
    b"..%2f..%2fx": "%2E.%2F..%2Fx",
    b"%5c..%5c": "%5C..%5C",
    b"a.b": "a.b",
    b"": "_empty",
    b"_none": "%5Fnone",
    b"%00": "%00",
    b"%0a": "%0A",
    b"%252e%252e": "%252e%252e",
    b"%E6%94%AF%E4%BB%98": "%E6%94%AF%E4%BB%98",
    b"%FF": "%ED%B3%BF",
    b"%ED%B3%BF": "%ED%B3%AD%ED%B2%B3%ED%B2%BF",
    b"%EF%BF%BD": "%EF%BF%BD",
    b"%7Btag%7D": "%7Btag%7D",
    b"%25Y": "%25Y",
    b"%3Fx=1": "%3Fx=1",
    b"%23x": "%23x",
    b"%": "%25",
    b"~": "%7E",
    b"x" * 300: "x" * 167 + "~",
}


@pytest.mark.parametrize("part", HOSTILE)
def test_part_of_the_path_stays_in_its_place_in_a_tag(part: bytes) -> None:
    tag = TagTemplate("audit.{path[1]}").render(f"/clusters/{part.decode()}/audit", None)
    assert tag.removeprefix("audit.")[: len(HOSTILE[part])] == HOSTILE[part]
    assert len(tag) <= 206


def test_hostile_parts_of_the_path_never_leave_their_place_in_a_file_path(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sink = File(path=f"{out}/{{tag[1:]}}/audit.log")
    with receiving(tmp_path / "state", sink, tag="audit.{path[1]}") as receiver, connected(receiver.port) as connection:
        for number, part in enumerate(HOSTILE):
            body = event_list(str(number))
            head = b"POST /clusters/%b/audit?timeout=30s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % (part, len(body)) + body)
            assert read_answer(connection)[0] == (404 if part == b"%0a" else 200)  # no route has a line end in it
        names = {*HOSTILE.values()} - {"%0A"}
        wait_until(lambda: len(list(out.rglob("audit.log"))) == len(names))
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")} == {"out", "state"}
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {len(Path(name).parts) for name in found} == {2}
    for name in names:
        assert any(path.startswith(name) for path in found)


@pytest.mark.parametrize(
    ("path", "tag"),
    [
        ("/clusters/east", "audit.east"),
        ("/clusters/east/", "audit.east"),
        ("/clusters/east/audit", "audit.east"),
        ("/clusters//audit", "audit._empty"),
        ("//east", "audit.east"),
        ("/clusters", "audit._none"),
        ("/clusters/", "audit._none"),
        ("/", "audit._none"),
        ("", "audit._none"),
    ],
)
def test_parts_are_counted_from_the_first_slash(path: str, tag: str) -> None:
    assert TagTemplate("audit.{path[1]}").render(path, None) == tag


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/clusters", 200),
        ("/clusters/", 200),
        ("/clusters/east", 200),
        ("/clusters?timeout=30s", 200),
        ("/%63lusters/east", 200),
        ("http://elsewhere/clusters/east", 200),
        ("/clustersx", 404),
        ("/", 404),
        ("//clusters", 404),
        ("/x/../clusters", 404),
        ("/?x=/clusters", 404),
    ],
)
def test_events_are_received_at_the_path_and_below(path: str, status: int, tmp_path: Path) -> None:
    with receiving(tmp_path / "state", path="/clusters") as receiver:
        assert post(receiver.port, event_list("a"), path).status == status


@pytest.mark.parametrize("host", ["elsewhere/clusters?", "[", "x\\y", "a b", ""])
def test_host_of_a_request_says_nothing_about_its_path(host: str, tmp_path: Path) -> None:
    with receiving(tmp_path / "state", path="/clusters", tag="audit.{path[1]}") as receiver:
        assert post(receiver.port, event_list("a"), "/", Host=host).status == 404
        assert post(receiver.port, event_list("a"), "/clusters/%3Feast?%FF", Host=host).status == 200
        wait_until(lambda: receiver.kept.tags == ["audit.%3Feast"])
