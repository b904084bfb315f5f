"""Addresses to listen on, as a config writes them."""

from __future__ import annotations

import pytest

from tailrace.address import parse_address


@pytest.mark.parametrize(
    ("text", "written", "loopback"),
    [
        ("127.0.0.1:8888", "127.0.0.1:8888", True),
        ("localhost:0", "localhost:0", True),
        ("[::1]:8888", "[::1]:8888", True),
        (":8888", "0.0.0.0:8888", False),
        ("[::]:8888", "[::]:8888", False),
        ("audit.example:8888", "audit.example:8888", False),
    ],
)
def test_an_address_is_read_written_and_known_to_be_of_this_machine_alone(
    text: str, written: str, loopback: bool
) -> None:
    address = parse_address(text)
    assert str(address) == written
    assert address.is_loopback is loopback


@pytest.mark.parametrize("text", ["", "8888", "localhost", "localhost:", "localhost:x", "a:65536", "a:-1", "::1:8888"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address to listen on"):
        parse_address(text)
