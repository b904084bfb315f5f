"""A store that speaks like S3, on loopback, as fixtures too, and a gate before it that can be closed.

A test file imports the fixtures that it takes, and those that these take: `from storing import bucket as bucket`.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from itertools import count
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "a secret that no log may show",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "*",
}
"""What boto3 finds in the environment."""

_numbers = count(1)


class Storage:
    """The store at `port`, seen by a client that is not ours."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )

    def make(self, bucket: str) -> None:
        self.client.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=bucket, Key=key, Body=content)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Give the content of each object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@contextlib.contextmanager
def storage(port: int = 0) -> Iterator[Storage]:
    """Run a store until the end of the block. All stores of a process have the same buckets: take other names."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", port, DomainDispatcherApplication(create_backend_app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    running = Storage(server.port)
    try:
        yield running
    finally:
        running.client.close()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def store() -> Iterator[Storage]:
    with storage() as running:
        yield running


@pytest.fixture
def absent() -> str:
    """A bucket that is not there yet."""
    return f"bucket-{next(_numbers)}"


@pytest.fixture
def bucket(store: Storage, absent: str) -> str:
    store.make(absent)
    return absent


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def free_port() -> int:
    """Give a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Gate:
    """Passes what is sent to it on to another port, but of each connection only so many bytes until it is open.

    And of what is answered, if `answers` says how many.
    """

    def __init__(self, port: int, limit: int, answers: int | None = None) -> None:
        self._target = port
        self._limit = limit
        self._answers = answers
        self._is_cut = False
        self.reached = threading.Event()  # a connection has sent more than may pass
        self.opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            answers = threading.Thread(target=self._pass, args=(far, near, self._answers), daemon=True)
            answers.start()
            self._pass(near, far, self._limit)
            with contextlib.suppress(OSError):  # the other side was quicker
                far.shutdown(socket.SHUT_WR)
            answers.join()

    def _pass(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if limit is not None and passed + len(data) > limit and not self.opened.is_set():
                    self.reached.set()
                    self.opened.wait()
                    if self._is_cut:
                        target.shutdown(socket.SHUT_RDWR)
                        return
                target.sendall(data)
                passed += len(data)

    def close_when_reached(self) -> None:
        self.reached.wait()
        self.close()

    def close(self) -> None:
        """Cut what did not pass."""
        self._is_cut = not self.opened.is_set()
        self.opened.set()
        self._listener.close()
