"""Object stores by URL: `s3://`, `gs://` and `azure://` through smart-open, and `file://` for a mounted directory.

Credentials come from where each library looks for them (environment, files, the machine's role), never from a config.
An object is there whole or not at all: a writer that is given up leaves what was there before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Final, Protocol

from tailrace.durable import Disk, make_directories, naming, sync_directory, write_all

NEEDED: Final = {
    "s3": ("boto3", "tailrace[s3]"),
    "gs": ("google.cloud.storage", "tailrace[gcs]"),
    "azure": ("azure.storage.blob", "tailrace[azure]"),
}
"""By scheme: the package that smart-open needs for it, and what to install."""

_PART_BYTES = 16 << 20  # what is larger goes to S3 in parts; each of them is in memory once
_PARTS = 9_000  # S3 takes 10,000 of one object
_AZURE = "AZURE_STORAGE_CONNECTION_STRING"
_CONNECT_SECONDS = 10
_READ_SECONDS = 60


class Store(Protocol):
    """A place for objects, each of which has a name: a relative path."""

    def put(self, name: str, pieces: Iterable[bytes], size: int) -> None:
        """Make `pieces`, `size` bytes in all, the object of this name, in place of what it was before.

        Whatever `pieces` raises is passed on, and the object stays as it is. Safe in several threads at once.
        """


def make_store(url: str, endpoint_url: str | None = None, *, disk: Disk, mode: int = 0o640) -> Store:
    """Give the store at a URL: `s3://bucket/prefix`, `file:///directory`; nothing is connected to yet.

    Raises ValueError, in words for people, if the URL cannot be used or its package is not installed.
    """
    scheme, separator, place = url.partition("://")
    place = place.rstrip("/")
    if not separator or scheme not in (*NEEDED, "file"):
        raise ValueError(f"{url!r} is no URL of an object store; write s3://bucket/prefix, gs://, azure:// or file:///")
    if "@" in place.partition("/")[0]:
        raise ValueError(
            f"credentials do not belong in a config; take them out of the {scheme}:// URL, and give them to the "
            "process as its library expects them (for S3: AWS_ACCESS_KEY_ID or ~/.aws/credentials)"
        )
    if endpoint_url is not None and scheme != "s3":
        raise ValueError(f"endpoint_url is for s3:// alone, not for {scheme}://")
    if scheme == "file":
        if not place.startswith("/"):
            raise ValueError(f"{url!r} names no absolute directory; write file:///directory")
        return Directory(place, disk, mode)
    if not place or place.startswith("/"):
        raise ValueError(f"{url!r} names no bucket; write {scheme}://bucket/prefix")
    check_installed(scheme)
    return Bucket(f"{scheme}://{place}", endpoint_url)


def check_installed(scheme: str) -> None:
    """Raise ValueError if what smart-open needs for a scheme is not installed."""
    package, extra = NEEDED[scheme]
    try:
        if find_spec(package) is not None:
            return
    except ModuleNotFoundError:  # of a parent of it
        pass
    raise ValueError(f"{scheme}:// needs the package {package}, which is not installed: pip install '{extra}'")


def describe(error: BaseException) -> str:
    """Give an error's text, and that of its cause, which says more where a library wrapped it."""
    text = str(error) or type(error).__name__
    return text if error.__cause__ is None else f"{text} ({error.__cause__})"


def s3_client(endpoint_url: str | None) -> Any:
    """Make a client of S3 or of what speaks like it; it is safe in several threads, making it is not."""
    import boto3
    import smart_open.s3
    from botocore.config import Config

    smart_open.s3.RETRY.exceptions = []  # who uses a store tries again, with less noise and shorter waits
    smart_open.s3.RETRY.client_error_codes = []
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
        max_pool_connections=16,
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)


def _make_client(scheme: str, endpoint_url: str | None) -> Any:
    """Make what smart-open speaks to a store with; raises whatever the library does, and ValueError."""
    if scheme == "s3":
        return s3_client(endpoint_url)
    if scheme == "gs":
        from google.cloud.storage import Client

        return Client()
    from azure.storage.blob import BlobServiceClient

    connection = os.environ.get(_AZURE)
    if connection is None:
        raise ValueError(f"azure:// needs {_AZURE} in the environment; it is shown in the portal under access keys")
    return BlobServiceClient.from_connection_string(connection)


class Bucket:
    """Objects of a bucket, below a prefix."""

    def __init__(self, url: str, endpoint_url: str | None) -> None:
        self._url = url
        self._scheme = url.partition(":")[0]
        self._endpoint_url = endpoint_url
        self._client: Any = None
        self._lock = threading.Lock()

    def put(self, name: str, pieces: Iterable[bytes], size: int) -> None:
        """Write through smart-open."""
        import smart_open

        target: Any = smart_open.open(
            f"{self._url}/{name}", "wb", compression="disable", transport_params=self._parameters(size)
        )
        try:
            for piece in pieces:
                target.write(piece)
            target.close()
        except BaseException:
            with contextlib.suppress(Exception):
                target.terminate()
            target.close = _nothing  # so that its finalizer does not complete what was given up
            raise

    def _parameters(self, size: int) -> dict[str, Any]:
        with self._lock:
            if self._client is None:
                self._client = _make_client(self._scheme, self._endpoint_url)
        if self._scheme != "s3":
            return {"client": self._client}
        return {
            "client": self._client,
            "multipart_upload": size > _PART_BYTES,
            "min_part_size": max(_PART_BYTES, size // _PARTS),
        }


class Directory:
    """Files of a directory, perhaps on another machine."""

    def __init__(self, path: str, disk: Disk, mode: int) -> None:
        self._path = path
        self._disk = disk
        self._mode = mode

    def put(self, name: str, pieces: Iterable[bytes], size: int) -> None:
        """Write aside, sync and rename."""
        path = os.path.join(self._path, name)
        directory = os.path.dirname(path)
        temporary = os.path.join(directory, f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:32]}.part")
        make_directories(self._disk, directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        descriptor = self._disk.open(temporary, flags, self._mode)
        try:
            with naming(temporary):
                for piece in pieces:
                    write_all(self._disk, descriptor, piece)
                self._disk.fsync(descriptor)
        except Exception:
            with contextlib.suppress(OSError):
                self._disk.unlink(temporary)
            raise
        finally:
            self._disk.close(descriptor)
        self._disk.rename(temporary, path)
        sync_directory(self._disk, directory)


def _nothing() -> None:
    pass
