"""The floor of the webhook: the same server answers 200 to every body without looking at it, and stores nothing.

python benchmarks/floor_webhook.py 127.0.0.1:8888 [CERT KEY]
"""

from __future__ import annotations

import signal
import ssl
import sys

from fastapi import FastAPI, Request, Response

from tailrace.serving import HttpServer, parse_address


def main() -> None:
    address, *files = sys.argv[1:]
    app = FastAPI(openapi_url=None)

    @app.get("/livez")
    async def livez() -> str:
        return "ok"

    @app.post("/{path:path}")
    async def post(path: str, request: Request) -> Response:
        async for _ in request.stream():
            pass
        return Response(b"{}", media_type="application/json")

    tls = None
    if files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
    server = HttpServer(app, parse_address(address), name="floor", tls=tls)
    server.start()
    signal.sigwait([signal.SIGTERM])
    server.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    main()
