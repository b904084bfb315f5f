"""The receiver answers as its OpenAPI document says, whatever can be made of that document."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, GenerationMode
from webhook import LIMIT, Running

from tailrace_plugins.receiving.app import make_app


def document(running: Running) -> dict[str, Any]:
    source = running.source
    assert source._receiver is not None
    assert source._spool is not None
    return make_app(running.pipeline.context, source._receiver, source._spool).openapi()


def statuses(running: Running, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode) -> Counter[int]:
    """Send what schemathesis makes of an operation; it checks each answer: no 500, and as the document says."""
    found: Counter[int] = Counter()

    # to make data after a schema is slow, and what is made is filtered
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        url = f"http://{running.source.address}"
        found[case.call_and_validate(base_url=url, timeout=LIMIT).status_code] += 1

    check()
    return found


def test_answers_conform_to_the_document(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        described = document(running)
        assert list(described["paths"]) == ["/livez", "/readyz", "/metrics", "/{path}"]
        schema = schemathesis.openapi.from_dict(described)
        for path in ("/livez", "/readyz", "/metrics"):
            assert statuses(running, schema[path]["GET"], GenerationMode.POSITIVE).keys() == {200}
        post = schema["/{path}"]["POST"]
        good = statuses(running, post, GenerationMode.POSITIVE)
        assert good[200] > 0.8 * good.total()  # some paths have a line feed in them
        assert statuses(running, post, GenerationMode.NEGATIVE)[200] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 405),
        ("GET", "/livez/", 405),
        ("PUT", "/metrics", 405),
        ("POST", "/below/../%0A%0A", 404),
        ("POST", "/elsewhere", 404),
        ("OPTIONS", "*", 404),
    ],
)
def test_what_is_not_served_is_refused_as_everything_else(tmp_path: Path, method: str, path: str, status: int) -> None:
    with Running(tmp_path, path="/below") as running:
        answer = running.request(method, path, b"{}")
        assert (answer.status, answer.json.keys()) == (status, {"error"})
        assert running.post(b"{}", "/below").status == 200
