"""Objects in a store, read like files that nobody writes any more: each from its beginning to its end, once.

1. `open` lists what there is; it is read in the order of the names, and what comes later is for the next run.
2. The position has a key for each object, its URL, and says how many bytes of its content were given, with their hash.
3. To go on in an object is to read it again from its beginning, which gives nothing, and to compare the hash. So one
   that was made longer goes on where it ended; and one with other content is another object, which is read from its
   beginning.
4. What is damaged is given as far as there are whole lines, is said, and is tried again by the next run.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from typing import Any, NamedTuple

import msgspec

from tailrace import Batch, Damaged, EndOfInput, OptionError, Position, Retry
from tailrace_plugins.checking import checked
from tailrace_plugins.stores import check_installed, describe, s3_client
from tailrace_plugins.tailing.content import Compressed
from tailrace_plugins.tailing.lines import Block, next_block
from tailrace_plugins.tailing.names import compression_of, is_packed
from tailrace_plugins.tailing.patterns import glob_matches, is_url
from tailrace_plugins.tailing.reading import Reading
from tailrace_plugins.tailing.stretch import batch_of

_SCHEME = "s3://"
_BUFFER = 1 << 18
_CHUNK = 1 << 20


def check_urls(paths: Sequence[str], read_from: str, endpoint_url: str | None) -> None:
    """Raise OptionError if the paths are URLs and cannot be read as such."""
    urls = [path for path in paths if is_url(path)]
    if not urls:
        if endpoint_url is not None:
            raise OptionError("endpoint_url", "it is for paths with s3:// alone; take it out")
        return
    if len(urls) < len(paths):
        raise OptionError("paths", "files and objects cannot be read by one source; make two pipelines of them")
    for url in urls:
        bucket, _, key = url.removeprefix(_SCHEME).partition("/")
        if not url.startswith(_SCHEME) or not bucket or not key or has_magic(bucket):
            raise OptionError("paths", f"{url!r} names no objects; write s3://bucket/prefix/*.gz")
        if "@" in bucket:
            raise OptionError("paths", "credentials do not belong in a config; boto3 finds them in the environment")
    if read_from != "beginning":
        raise OptionError("read_from", "objects are read from their beginning; take this out")
    checked("paths", check_installed, "s3")


class ObjectState(msgspec.Struct, forbid_unknown_fields=True):
    """How far an object was read."""

    etag: str
    offset: int = 0  # of the content, without its compression
    hash: str = ""  # of all before the offset
    part: int = 0  # so many pieces of the line there were given
    done: bool = False


class _Found(NamedTuple):
    etag: str
    size: int


class Objects:
    """The objects that some URLs name; their globs are those of files."""

    def __init__(self, urls: Sequence[str], exclude: Sequence[str], endpoint_url: str | None, reading: Reading) -> None:
        self._urls = urls
        self._exclude = exclude
        self._endpoint_url = endpoint_url
        self._reading = reading
        self._reports = reading.reports
        self._content: Compressed | None = None
        self._missing: list[str] = []
        self._damaged: dict[str, str] = {}

    def open(self, position: Position | None) -> None:
        """List what there is; raises Retry if that cannot be had."""
        self._client = s3_client(self._endpoint_url)
        self._found = self._list()
        self._states: dict[str, ObjectState] = {}
        self._changed: dict[str, Any] = {}  # of the position, what no batch has carried yet
        for url, value in (position or {}).items():
            state = self._states[url] = _parse(url, value)
            if url not in self._found and self._is_wanted(url):
                if not state.done:
                    self._reports.lost(url, state.offset)
                self._changed[url] = None
        self._missing = [url for url in self._urls if not has_magic(url) and url not in self._found]
        self._waiting = deque(url for url in sorted(self._found) if not self._is_done(url))

    def _is_done(self, url: str) -> bool:
        state = self._states.get(url)
        return state is not None and state.done and state.etag == self._found[url].etag

    def _is_wanted(self, url: str) -> bool:
        name = os.path.basename(url)
        return any(glob_matches(url, pattern) for pattern in self._urls) and not any(
            fnmatchcase(name, pattern) or glob_matches(url, pattern) for pattern in self._exclude
        )

    def _list(self) -> Mapping[str, _Found]:
        found = {}
        for pattern in self._urls:
            bucket, _, key = pattern.removeprefix(_SCHEME).partition("/")
            prefix = key
            while has_magic(prefix):
                prefix = prefix[:-1]
            try:
                for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                    for each in page.get("Contents", ()):
                        url = f"{_SCHEME}{bucket}/{each['Key']}"
                        if self._is_wanted(url) and not url.endswith("/"):
                            found[url] = _Found(each["ETag"], each["Size"])
            except Exception as error:  # boto3 has many, with no class in common
                raise Retry(f"{_SCHEME}{bucket}/{prefix} cannot be listed: {describe(error)}") from error
        return found

    def read(self) -> Batch:
        """Give the next lines. Raises EndOfInput, and OSError if the store fails."""
        while self._waiting:
            url = self._waiting[0]
            if self._content is None:
                self._content = self._begin(url)
            state = self._states[url]
            block = self._next(self._content, state)
            if block is None:
                self._end(url, self._content)
                continue
            self._hash.update(self._content.pread(block.end - state.offset, state.offset))
            state.offset, state.hash = block.end, self._hash.hexdigest()
            state.part = 0 if block.last else block.part
            if block.nuls:
                self._reports.nuls(url, block.offset - block.nuls, block.nuls)
            if block.part == 1:
                self._reports.long_line(url, block.offset, self._reading.max_line_bytes)
            self._changed[url] = msgspec.to_builtins(state)
            if block.lines:
                batch = batch_of(
                    block, tag=self._reading.tag, origin={"path": url}, max_line_bytes=self._reading.max_line_bytes
                )
                batch.position, self._changed = self._changed, {}
                return batch
        if self._changed:
            position, self._changed = self._changed, {}
            return Batch([], position=position)
        raise EndOfInput

    def _next(self, content: Compressed, state: ObjectState) -> Block | None:
        """Give the next lines; what has no newline is one only where nothing is damaged."""
        for ended in (False, True):
            block = next_block(
                content,
                state.offset,
                state.part,
                block_bytes=self._reading.block_bytes,
                max_line_bytes=self._reading.max_line_bytes,
                ended=ended,
            )
            if block is not None or content.error is not None:
                return block
        return None

    def _begin(self, url: str) -> Compressed:
        """Open an object where it was left, or at its beginning if it is another one."""
        found = self._found[url]
        state = self._states.setdefault(url, ObjectState(found.etag))
        bucket, _, key = url.removeprefix(_SCHEME).partition("/")

        def download() -> io.BufferedIOBase:
            import smart_open.s3

            return smart_open.s3.open(
                bucket,
                key,
                "rb",
                buffer_size=_BUFFER,
                client=self._client,
                client_kwargs={"S3.Client.get_object": {"IfMatch": found.etag}},  # no mixture of two versions
            )

        content = Compressed(_Download(url, download), compression_of(url))
        self._hash = hashlib.blake2b(digest_size=16)
        offset = 0
        while offset < state.offset and (data := content.pread(min(_CHUNK, state.offset - offset), offset)):
            self._hash.update(data)
            offset += len(data)
        if state.offset and self._hash.hexdigest() != state.hash:
            self._reports.replaced(url, state.offset)
            state = ObjectState(found.etag)
            self._hash = hashlib.blake2b(digest_size=16)
        self._states[url] = msgspec.structs.replace(state, etag=found.etag, done=False)
        return content

    def _end(self, url: str, content: Compressed) -> None:
        """Nothing more can be read of this object."""
        state = self._states[url]
        state.done = content.error is None
        if content.error is not None:
            self._damaged[url] = f"{url}: damaged, it can be read up to offset {state.offset}: {content.error}"
            self._reports.damaged(url, state.offset, content.error)
        self._changed[url] = msgspec.to_builtins(state)
        self._waiting.popleft()
        self.close()

    def lag(self) -> int:
        """Give how many bytes were not read; what is compressed is not counted."""
        return sum(
            self._found[url].size - (self._states[url].offset if url in self._states else 0)
            for url in list(self._waiting)
            if not is_packed(url)
        )

    def incomplete(self) -> Sequence[str]:
        """Name the objects that are missing or damaged."""
        return [f"{url}: missing: there is no such object" for url in self._missing] + list(self._damaged.values())

    def close(self) -> None:
        """Let go of the object that is being read."""
        if self._content is not None:
            self._content.close()
            self._content = None


class _Download:
    """An object as a stream that fails as a disk does."""

    def __init__(self, url: str, download: Callable[[], io.BufferedIOBase]) -> None:
        self._url = url
        self._download = download
        self._source: io.BufferedIOBase | None = None

    def read(self, size: int, /) -> bytes:
        try:
            if self._source is None:
                self._source = self._download()
            return self._source.read(size)
        except Exception as error:  # each part of the way has its own
            raise OSError(errno.EIO, f"object cannot be read: {describe(error)}", self._url) from error

    read1 = read

    def seek(self, offset: int, /) -> int:
        """Begin again."""
        self.close()
        return offset

    def fileno(self) -> int:
        raise io.UnsupportedOperation("an object has no descriptor")

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


def _parse(url: str, value: object) -> ObjectState:
    try:
        return msgspec.convert(value, ObjectState)
    except msgspec.ValidationError as error:
        raise Damaged(f"the checkpoint's position of {url} cannot be understood: {error}") from None
