"""The receiver as a web application, with its OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tailrace import Context
from tailrace_plugins.receiving.events import VERSIONS
from tailrace_plugins.receiving.receiver import Receiver, Refusal, answer
from tailrace_plugins.receiving.spool import Spool

_ERROR: Final = {
    "application/json": {
        "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    }
}
_EVENT: Final = {"type": "object", "description": "An event, in whatever shape; its bytes are kept."}
_BODY: Final = {
    "required": True,
    "description": "An EventList, a single event, an array, or one event a line; Content-Encoding may be gzip.",
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {
                        "type": "object",
                        "required": ["kind", "apiVersion", "items"],
                        "properties": {
                            "kind": {"const": "EventList"},
                            "apiVersion": {"enum": list(VERSIONS)},
                            "items": {"type": "array", "items": _EVENT},
                        },
                    },
                    {"type": "array", "items": _EVENT},
                    _EVENT,
                ]
            }
        },
        "application/x-ndjson": {"schema": {"type": "string"}},
    },
}
_STORED: Final = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["accepted"],
            "properties": {"accepted": {"type": "integer"}, "repeated": {"type": "integer"}},
        }
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The events are on disk, or were already.", "content": _STORED},
    400: {"description": "The body is not JSON, or an EventList of another API.", "content": _ERROR},
    401: {"description": "No valid credentials.", "content": _ERROR},
    403: {"description": "The client may not send, or is a browser.", "content": _ERROR},
    404: {"description": "Events are received elsewhere.", "content": _ERROR},
    408: {"description": "The body did not arrive in time.", "content": _ERROR},
    411: {"description": "Neither a length nor chunks.", "content": _ERROR},
    413: {"description": "The body is too large, or holds too many events.", "content": _ERROR},
    415: {"description": "Neither JSON nor lines of JSON, or packed in an unknown way.", "content": _ERROR},
    503: {"description": "There is no room; Retry-After says when to send it again.", "content": _ERROR},
}


def make_app(context: Context, receiver: Receiver, spool: Spool) -> FastAPI:
    """Make the application of a receiver: events by POST, and `/livez`, `/readyz` and `/metrics` by GET."""
    app = FastAPI(
        title="tailrace webhook",
        description="Receives what the API server's audit webhook backend sends.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        """Tell that the receiver lives."""
        return "ok\n"

    @app.get(
        "/readyz",
        response_class=PlainTextResponse,
        responses={503: {"description": "Events are refused at present.", "content": {"text/plain": {}}}},
    )
    async def readyz(request: Request) -> Response:
        """Tell whether events would be taken now; why not, only to those who may send some."""
        reason = spool.refusal()
        if reason is not None:
            try:
                receiver.authorize(request)
            except Refusal:
                reason = "events are refused at present"
        return PlainTextResponse("ok\n" if reason is None else f"{reason}\n", 200 if reason is None else 503)

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={code: _ANSWERS[code] for code in (401, 403)},
    )
    def metrics(request: Request) -> Response:
        """Give the metrics of the whole service, to those who may send events."""
        try:
            receiver.authorize(request)
        except Refusal as refusal:
            return answer({"error": str(refusal)}, refusal.status, refusal.headers)
        return Response(context.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post("/{path:path}", responses=_ANSWERS, openapi_extra={"requestBody": _BODY})
    async def post(path: str, request: Request) -> Response:
        """Take events; 200 means that they are on disk."""
        return await receiver.post(request)

    return app
