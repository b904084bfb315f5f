"""The admin server: whether the process lives (`/livez`), whether its pipelines are well (`/readyz`), `/metrics`.

Only a config with the section `admin` imports this, and FastAPI with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from tailrace.logs import escape
from tailrace.metrics import exposition
from tailrace.pipeline import Pipeline
from tailrace.serving import Address, HttpServer

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def server(pipelines: Callable[[], Sequence[Pipeline]], address: Address) -> HttpServer:
    """Make the server of the pipelines that there are at each request; it is not started yet."""
    return HttpServer(application(pipelines), address, name="admin")


def application(pipelines: Callable[[], Sequence[Pipeline]]) -> FastAPI:
    """Make the application that answers; what asks the stages runs beside the event loop, for they may touch a disk."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/livez")
    async def livez() -> Response:
        return PlainTextResponse("ok")

    @app.get("/readyz")
    def readyz() -> Response:
        troubles = [
            f"{pipeline.context.pipeline}: {escape(trouble)}\n"
            for pipeline in pipelines()
            if (trouble := _trouble(pipeline)) is not None
        ]
        return PlainTextResponse("".join(troubles) or "ok", 503 if troubles else 200)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(exposition(pipelines()), media_type=EXPOSITION_TYPE)

    return app


def _trouble(pipeline: Pipeline) -> str | None:
    """Say why a pipeline is not ready; None if it is, or is at the end of its input."""
    state, since, cause = pipeline.condition
    if state in ("running", "ended"):
        refusing = pipeline.source.refusing()
        return None if refusing is None else f"refusing: {refusing}"
    moment = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{state} since {moment}{': ' if cause else ''}{cause}"
