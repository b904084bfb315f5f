"""What the answer to a bulk request means for each event."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace_plugins.indexing.answers import NotTheProtocol, failure, judge


def answer(*items: Any, **more: Any) -> bytes:
    return json.dumps({"took": 3, "errors": False, "items": [{"create": item} for item in items], **more}).encode()


def item(status: int, kind: str = "", reason: str | None = "why", number: int = 1) -> dict[str, Any]:
    error = {"error": {"type": kind, "reason": reason}} if kind else {"result": "created", "_version": 1}
    return {"_index": "audit", "_id": f"id-{number}", "status": status, **error}


def ids(count: int) -> list[str]:
    return [f"id-{number}" for number in range(1, count + 1)]


def test_each_item_is_judged_by_its_own_status_whatever_the_flag_says() -> None:
    body = answer(
        item(201),
        item(409, "version_conflict_engine_exception", number=2),
        item(429, "es_rejected_execution_exception", number=3),
        item(400, "mapper_parsing_exception", "failed to parse field [a]", number=4),
        item(503, "unavailable_shards_exception", number=5),
        item(200, number=6),
        item(413, "too_large", number=7),
    )
    verdict = judge(body, ids(7), 7)
    assert (verdict.taken, verdict.present, verdict.again, verdict.blocked) == (2, 1, [2, 4], "")
    assert verdict.trouble == "es_rejected_execution_exception: why (status 429, index audit)"
    assert verdict.refused == {
        3: "mapper_parsing_exception: failed to parse field [a] (status 400, index audit)",
        6: "too_large: why (status 413, index audit)",
    }


def test_the_cause_behind_an_error_is_part_of_the_reason() -> None:
    cause = {"type": "illegal_argument_exception", "reason": 'For input string: "x"'}
    error = {"type": "document_parsing_exception", "reason": "[1:9] failed to parse", "caused_by": cause}
    verdict = judge(answer({"_index": "a", "_id": "id-1", "status": 400, "error": error}), ids(1), 1)
    assert verdict.refused[0] == (
        'document_parsing_exception: [1:9] failed to parse; illegal_argument_exception: For input string: "x" '
        "(status 400, index a)"
    )


@pytest.mark.parametrize(
    ("status", "kind", "reason", "hint"),
    [
        (401, "security_exception", "unauthorized", "check user, password, API key or token"),
        (403, "security_exception", "action [indices:data/write] is unauthorized", "needs the privilege create_doc"),
        (
            403,
            "cluster_block_exception",
            "index [a] blocked by: [FORBIDDEN/8/index write (api)]",
            "blocked for writing",
        ),
        (404, "index_not_found_exception", "no such index [audit]", "action.auto_create_index"),
        (400, "index_closed_exception", "closed", "open the index"),
        (400, "illegal_argument_exception", "pipeline with id [p] does not exist", "create the ingest pipeline"),
        (
            400,
            "validation_exception",
            "Validation Failed: 1: this action would add [2] shards, but this cluster currently has "
            "[1000]/[1000] maximum normal shards open;",
            "cluster.max_shards_per_node",
        ),
        (
            400,
            "illegal_argument_exception",
            "data stream timestamp field [@timestamp] is missing",
            "set the option data_st",
        ),
        (
            400,
            "illegal_argument_exception",
            "Document ID is not supported in create/index operation request",
            "set the option id: none",
        ),
    ],
)
def test_what_is_no_event_s_fault_blocks_and_says_what_to_do(status: int, kind: str, reason: str, hint: str) -> None:
    verdict = judge(answer(item(201), item(status, kind, reason, 2)), ids(2), 2)
    assert (verdict.taken, verdict.refused, verdict.again) == (1, {}, [1])
    assert reason in verdict.blocked
    assert hint in verdict.blocked


def test_what_is_behind_an_error_may_be_no_event_s_fault_either() -> None:
    cause = {"type": "illegal_argument_exception", "reason": "data stream timestamp field [@timestamp] is missing"}
    error = {"type": "document_parsing_exception", "reason": "[1:2] failed to parse", "caused_by": cause}
    assert judge(answer({"_index": "a", "_id": "id-1", "status": 400, "error": error}), ids(1), 1).blocked


@pytest.mark.parametrize(
    "value",
    [
        "pipeline with id [p] does not exist",
        "data stream timestamp field [@timestamp] is missing",
        "Document ID is not supported in create/index operation request",
    ],
)
def test_no_event_holds_up_others_by_what_it_says(value: str) -> None:
    reason = f"failed to parse field [a] of type [long]. Preview of field's value: '{value}'"
    cause = {"type": "illegal_argument_exception", "reason": f'For input string: "{value}"'}
    error = {"type": "document_parsing_exception", "reason": reason, "caused_by": cause}
    verdict = judge(answer({"_index": "a", "_id": "id-1", "status": 400, "error": error}), ids(1), 1)
    assert list(verdict.refused) == [0]


def test_a_conflict_is_nothing_good_where_the_server_makes_the_ids() -> None:
    assert judge(answer(item(409, "version_conflict_engine_exception")), None, 1).refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "it begins with ''"),
        (b"<html>Welcome</html>", "it begins with '<html>Welcome</html>'"),
        (b'{"acknowledged":true}', "missing required field `items`"),
        (b'{"items":[{"create":{"status":201,"_id":"id-1"}}', "truncated"),
        (b'{"items":[]}', "it has 0 items for 1 events"),
        (b'{"items":[{"index":{"status":201,"_id":"id-1"}}]}', "missing required field `create`"),
        (b'{"items":[{"create":{"_id":"id-1"}}]}', "missing required field `status`"),
        (b'{"items":[{"create":{"status":0,"_id":"id-1"}}]}', "`int` >= 100"),
        (b'{"items":[{"create":{"status":302,"_id":"id-1"}}]}', "an item has the status 302"),
        (b'{"items":[{"create":{"status":201,"_id":"id-2"}}]}', "for other events, or in another order"),
        (b'{"items":[{"create":{"status":201}}]}', "for other events, or in another order"),
        (b'{"items":[{"create":{"status":"\xff"}}]}', "Expected `int`"),
    ],
)
def test_what_is_no_answer_of_the_bulk_api_says_so(body: bytes, message: str) -> None:
    with pytest.raises(NotTheProtocol, match=message):
        judge(body, ids(1), 1)


def test_a_status_that_says_created_and_an_error_beside_it_is_no_success() -> None:
    with pytest.raises(NotTheProtocol, match="an item has the status 201"):
        judge(answer(item(201, "odd_exception")), ids(1), 1)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"", "status 401; check user, password, API key or token"),
        (503, b"no\n  healthy upstream", "status 503: no healthy upstream"),
        (400, b'{"error":"odd","status":400}', "status 400: odd"),
        (400, b'{"error":{"type":"t","reason":"r","root_cause":[]}}', "status 400: t: r"),
        (302, b"", "status 302; is this the address of the cluster?"),
        (500, b"\xff" * 5000, "status 500: " + "\ufffd" * 500 + "…"),
    ],
)
def test_a_request_that_was_not_taken_is_explained_in_a_line(status: int, body: bytes, said: str) -> None:
    assert failure(status, body) == said
