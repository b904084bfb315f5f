"""The filter `sample`."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tailrace.stage import OptionError
from tailrace.testing import apply
from tailrace_plugins.filters.sample import Sample

SAMPLE = gzip.decompress((Path(__file__).parent / "data" / "audit-sample.log.gz").read_bytes()).split(b"\n")[:-1]


def numbered(count: int) -> list[bytes]:
    return [b'{"auditID":"id-%d"}' % number for number in range(count)]


def test_about_the_share_goes_on() -> None:
    assert 900 < len(apply(Sample(share=0.1), numbered(10_000)).lines) < 1100
    assert 9400 < len(apply(Sample(share=0.95), numbered(10_000)).lines) < 9600


def test_a_value_goes_on_with_all_its_events_or_not_at_all() -> None:
    kept = apply(Sample(share=0.5), SAMPLE).lines
    assert 0 < len(kept) < len(SAMPLE)
    before, after = (Counter(json.loads(line)["auditID"] for line in lines) for lines in (SAMPLE, kept))
    assert all(before[value] == number for value, number in after.items())


def test_a_smaller_share_is_a_part_of_a_larger_one_and_another_seed_another_choice() -> None:
    small, large = (set(apply(Sample(share=share), numbered(1000)).lines) for share in (0.1, 0.3))
    assert small < large
    assert set(apply(Sample(share=0.1, seed="other"), numbered(1000)).lines) != small


def test_the_choice_never_changes() -> None:
    assert apply(Sample(share=0.1), numbered(40)).lines == [b'{"auditID":"id-%d"}' % number for number in [7, 36]]


def test_any_field_can_decide_and_who_does_not_have_it_goes_on() -> None:
    lines = [b'{"a":{"b":%d}}' % number for number in range(100)] + [b'{"a":1}', b"{}", b'{"a":{"b":null}}']
    kept = apply(Sample(share=0.2, field="a.b"), lines).lines
    assert kept[-3:] == lines[-3:]
    assert 5 < len(kept) < 40
    assert len(apply(Sample(share=0.999999), [b'{"auditID":"\\ud800"}', b'{"auditID":[1]}']).lines) == 2


def test_a_field_that_is_none_is_refused() -> None:
    options: dict[str, Any] = {"share": 0.1, "field": "a..b"}
    with pytest.raises(OptionError, match="not a field name"):
        Sample(**options)
