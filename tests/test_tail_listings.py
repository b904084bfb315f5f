"""Listings that are shared: when they hold, and when they do not."""

from __future__ import annotations

import os
from pathlib import Path

from waiting import wait_until

from tailrace_plugins.tailing.listings import Listings


def names(listings: Listings, directory: Path, live: str = "audit.log") -> list[str]:
    return [entry.name for entry in listings.present(str(directory), live)]


def sure(directory: Path) -> Listings:
    """List a directory at a time when its next change will show."""
    listings = Listings()

    def is_sure() -> bool:
        names(listings, directory)
        return listings._listings[str(directory)].sure

    wait_until(is_sure)
    return listings


def test_each_log_is_given_its_own_names_sorted(tmp_path: Path) -> None:
    for name in ("audit.log", "audit.log.2", "audit.log.1.gz", "audit.log.1", "other.log.1", "audit.log.x"):
        (tmp_path / name).touch()
    assert names(Listings(), tmp_path) == ["audit.log.1", "audit.log.1.gz", "audit.log.2"]
    assert names(Listings(), tmp_path, "other.log") == ["other.log.1"]
    assert names(Listings(), tmp_path, "none.log") == []


def test_listing_is_not_made_again_while_the_directory_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1").touch()
    listings = sure(tmp_path)
    listing = listings._listings[str(tmp_path)]
    (tmp_path / "audit.log.1").write_bytes(b"growth is no change of the directory")
    listings.begin()
    assert names(listings, tmp_path) == ["audit.log.1"]
    assert listings._listings[str(tmp_path)] is listing


def test_every_change_shows_however_soon_after_another_one(tmp_path: Path) -> None:
    listings = sure(tmp_path)
    for number in range(1, 200):
        (tmp_path / f"audit.log.{number}").touch()
        assert len(names(listings, tmp_path)) == number
    for number in range(1, 200):
        (tmp_path / f"audit.log.{number}").rename(tmp_path / f"other.log.{number}")
        assert len(names(listings, tmp_path)) == 199 - number


def test_change_shows_even_if_somebody_sets_the_time_of_the_directory(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(1, 1))
    listings = sure(tmp_path)
    (tmp_path / "audit.log.1").touch()
    os.utime(tmp_path, ns=(1, 1))
    assert names(listings, tmp_path) == ["audit.log.1"]


def test_names_of_one_look_are_those_of_some_moment_of_it(tmp_path: Path) -> None:
    listings = Listings()
    listings.begin()
    assert listings.seen(str(tmp_path), "audit.log") == ()
    (tmp_path / "audit.log.1").touch()
    assert listings.seen(str(tmp_path), "audit.log") == ()
    listings.begin()
    assert len(listings.seen(str(tmp_path), "audit.log")) == 1


def test_file_that_was_exchanged_under_its_name_shows(tmp_path: Path) -> None:
    listings = Listings()
    (tmp_path / "audit.log.1").touch()
    before = listings.present(str(tmp_path), "audit.log")
    (tmp_path / "new").touch()
    (tmp_path / "new").replace(tmp_path / "audit.log.1")
    assert listings.present(str(tmp_path), "audit.log") != before


def test_directory_that_does_not_exist_is_empty_and_forgotten(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "audit.log.1").touch()
    listings = Listings()
    assert names(listings, place) == ["audit.log.1"]
    (place / "audit.log.1").unlink()
    place.rmdir()
    assert names(listings, place) == []
    assert listings._listings == {}
    place.touch()
    assert names(listings, place) == []


def test_what_was_listed_long_ago_is_listed_anew_or_forgotten(tmp_path: Path) -> None:
    listings = sure(tmp_path)
    listing = listings._listings[str(tmp_path)]
    listings._listings[str(tmp_path)] = listing._replace(made=listing.made - 11)
    names(listings, tmp_path)
    assert listings._listings[str(tmp_path)] is not listing
    listings._listings[str(tmp_path)] = listing._replace(made=listing.made - 61)
    listings._swept -= 61
    listings.begin()
    assert listings._listings == {}
