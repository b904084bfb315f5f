"""The file sink: events split into files by fields, tag and time, compressed, exactly once.

Between commits nothing is written: lines are kept in memory, compressed as soon as a slice has enough of them, and
appended at the commit, one write per file, in whole gzip members. So a file is valid after every commit, and what a
crash leaves behind the last commit is cut off at the next start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tailrace import (
    EVENT_TIME_FIELDS,
    Batch,
    Claim,
    Finding,
    Ledger,
    Measure,
    Memo,
    OptionError,
    Packer,
    Payload,
    Position,
    Sink,
    Surroundings,
    Template,
    TimeSlicer,
    fit_path,
)
from tailrace.durable import make_directories
from tailrace_plugins.checking import checked
from tailrace_plugins.sinks.compression import SUFFIXES, compressor
from tailrace_plugins.sinks.permissions import number, octal
from tailrace_plugins.sinks.piles import Piles
from tailrace_plugins.sinks.retention import REASONS, retention
from tailrace_plugins.sinks.rotation import OPTIONS, PLAN, Rotation, make_rotation, rotation
from tailrace_plugins.sinks.slices import Slices

_PATHS_LIMIT = 8 << 20  # characters of values and slices whose path is remembered


class File(Sink, kw_only=True):
    """Write events to files whose path is made from fields, tag and event time.

    ```yaml
    sinks:
      - type: file
        path: /var/log/audit-{objectRef.namespace}.%Y%m%d%H.log.gz
    ```

    `{field}`, `{tag}`, `{tag[1]}` and `{tag[1:]}` stand for their values, percent-encoded where a file name could
    not hold them; `%Y %m %d %H %M %S` for the event's time, and the finest of them is the length of a slice. Where
    a field is missing the name is `_none`; where there is no time, `_unparsed`. Late events go to their own slice.
    Each event is written exactly once, and every file is valid after every commit. While the sink runs, a hidden lock
    in the directory that all paths share, `.tailrace-….lock`, keeps a second one with the same path from starting.

    `keep_...` deletes the oldest slices beyond a limit, after a commit, once a minute at most, and directories that get
    empty by it. Every file counts whose path the template can have made: give each sink names of its own. A slice's
    age is told by its name, from its end on (`_unparsed`: since the last write), to now, or to the newest slice if
    that is older. What got an event within `idle_close` counts, but stays; what a late event makes anew goes likewise.

    With `upload` a slice that got no event for `idle_close` (with `--once`: each, at the end) is uploaded, by threads
    that hold nothing up, and as often as it takes: after a crash, while the store is down. It stays here until a limit
    of `keep_...` takes it, which waits for the upload. A late event makes it grow; then it is uploaded again under its
    name. What lies there at the first start with `upload` is uploaded too. Two collectors need two prefixes:
    `s3://audit/${HOSTNAME}`. `pip install 'tailrace[s3]'`, `[gcs]` or `[azure]` brings the store's library, which finds
    credentials as ever (`AWS_ACCESS_KEY_ID`, `~/.aws`, a role); for Azure set `AZURE_STORAGE_CONNECTION_STRING`.

    With `max_size` the path is that of one plain file, which is rotated as the API server rotates its log: renamed to
    `audit-2026-11-23T06-00-00.000.log` (UTC) before an event would make it too large; `max_age`, `max_backup` and
    `compress` are what `--audit-log-maxage`, `-maxbackup` and `-compress` are. No event is split. One that is larger
    than `max_size`, which the API server would lose, gets a file of its own.
    """

    path: Annotated[str, Meta(description="Template of the path; its suffix tells the compression.")]
    compression: Annotated[
        Literal["auto", "gzip", "zstd", "none"],
        Meta(description="How files are compressed; `auto` goes by the suffix: `.gz`, `.zst`, or neither."),
    ] = "auto"
    level: Annotated[
        int | None, Meta(description="Compression level: gzip 0 to 3 (default 1), zstd 1 to 19 (default 3).")
    ] = None
    threads: Annotated[int, Meta(ge=0, le=64, description="Threads that compress; 0 compresses in line.")] = 0
    time_fields: Annotated[
        list[str], Meta(min_length=1, description="Where the event's time is; the first that is there counts.")
    ] = msgspec.field(default_factory=lambda: list(EVENT_TIME_FIELDS))
    timezone: Annotated[str, Meta(description="Time zone of the times in the path.")] = "UTC"
    mode: Annotated[int | str, Meta(description="Permissions of new files, in octal.")] = "0640"
    owner: Annotated[str | int | None, Meta(description="Owner of new files; needs the right to give files away.")] = (
        None
    )
    group: Annotated[str | int | None, Meta(description="Group of new files.")] = None
    max_open_files: Annotated[
        int,
        Meta(ge=1, description="How many files a commit writes and syncs together; none is open between commits."),
    ] = 256
    idle_close: Annotated[
        float,
        Meta(
            gt=0,
            description="Seconds after its last event until a slice counts as closed, and is no longer watched over.",
        ),
    ] = 3600.0
    keep_for: Annotated[
        str | float | None, Meta(description="Delete slices that ended longer ago than this: `30d`, `12h`, or seconds.")
    ] = None
    keep_bytes: Annotated[
        str | int | None,
        Meta(description="Delete the oldest slices while all together have more bytes than this: `50GiB`."),
    ] = None
    keep_files: Annotated[int, Meta(ge=1, description="Delete the oldest slices while there are more.")] | None = None
    keep_bytes_per_name: Annotated[
        str | int | None,
        Meta(description="Likewise, but of the slices together whose paths differ only in their time."),
    ] = None
    keep_files_per_name: Annotated[int, Meta(ge=1, description="Likewise, by number.")] | None = None
    max_size: Annotated[int, Meta(ge=1, description="Rotate the file before it has more MiB than that.")] | None = None
    max_age: Annotated[
        int, Meta(ge=0, description="Delete rotated files that were renamed more than so many days ago; 0: keep all.")
    ] = 0
    max_backup: Annotated[
        int, Meta(ge=0, description="Delete the oldest rotated files while there are more; 0: keep all.")
    ] = 0
    compress: Annotated[bool, Meta(description="Compress rotated files, which adds `.gz` to their names.")] = False
    upload: Annotated[
        str | None,
        Meta(
            description="Where closed slices are uploaded: `s3://bucket/prefix`, `gs://…`, `azure://container/…`, or "
            "`file:///directory`. An object has the path of its slice, from the directory on that all paths share."
        ),
    ] = None
    endpoint_url: Annotated[
        str | None,
        Meta(
            description="Of a store that speaks like S3: `https://minio.example:9000`. Credentials do not belong here."
        ),
    ] = None
    include_time_key: Annotated[
        str | None, Meta(description="Add the event's time to the event under this key, as fluentd does.")
    ] = None
    include_tag_key: Annotated[str | None, Meta(description="Add the tag to the event under this key.")] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        self._template = checked("path", Template, self.path, time=True)
        self._slicer = checked("timezone", TimeSlicer, self._template.time_directives, self.timezone)
        kind = SUFFIXES.get(os.path.splitext(self.path)[1], "none") if self.compression == "auto" else self.compression
        self._compress = checked("level", compressor, kind, self.level)
        self._mode = checked("mode", octal, self.mode)
        self._uid = checked("owner", number, self.owner, "user")
        self._gid = checked("group", number, self.group, "group")
        if self.path.endswith("/"):
            raise OptionError("path", "the path is a directory; add a file name")
        self._configured = self._output = self._make_output(kind)
        self._paths = Memo(self._path, _PATHS_LIMIT)
        self._claim = Claim(self._template)
        self._pool: ThreadPoolExecutor | None = None

    def _make_output(self, kind: str) -> Slices | Rotation:
        about = {name: getattr(self, name) for name in OPTIONS}
        limits = {name: getattr(self, name) for name in REASONS}
        if rotating := rotation(about, self._template, kind, {**limits, "upload": self.upload}):
            return rotating
        uploads = None
        if self.upload or self.endpoint_url:
            from tailrace_plugins.sinks.uploads import make_uploads  # not for those who keep their slices here

            uploads = make_uploads(self.upload or None, self.endpoint_url or None, self._template, self._mode)
        return Slices(self.idle_close, retention(limits, self._template, self._slicer), uploads)

    def reads(self) -> Iterable[str]:
        """The template's fields, and the time fields if the time is used."""
        needs_time = self._template.time_directives or self.include_time_key
        return [*self._template.fields, *(self.time_fields if needs_time else ())]

    def writes(self) -> Iterable[str]:
        """The keys that are added."""
        return [key for key in (self.include_time_key, self.include_tag_key) if key]

    def open(self, position: Position | None) -> None:
        """Cut all files back to their recorded lengths.

        Raises Retry if the output directory cannot be written, and Damaged if another pipeline has this template.
        """
        position = position or {}
        # by other options before, what was renamed may have to be completed
        self._output = make_rotation(self._template) if PLAN in position and self.max_size is None else self._configured
        self._left = {key: None for key in position if not os.path.isabs(key) and not self._output.owns(key)}
        self._pool = ThreadPoolExecutor(self.threads, "tailrace-compress") if self.threads else None
        self._piles = Piles(self._compress, self._pool)
        ledger = Ledger(
            self.context.disk,
            mode=self._mode,
            uid=self._uid,
            gid=self._gid,
            max_open=self.max_open_files,
            below=self._claim.directory,
        )
        if os.path.isdir(self._claim.directory):
            self._claim.take(self.context)  # before anything is cut
        if cut := self._output.open(self.context, ledger, position):
            self.context.log.info("output was cut back to the last commit", extra={"bytes": cut})
        make_directories(self.context.disk, self._claim.directory, ledger.directory_mode)
        self._claim.take(self.context)
        self._output.start(self._claim.directory, position)

    def close(self) -> None:
        """Stop the threads, and let others write the files."""
        self._output.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._claim.release(self.context)

    def encode(self, batch: Batch) -> Payload:
        """Tell the path of each line."""
        inputs = self._template.inputs(batch)
        if self._template.time_directives:
            inputs.append(self._slicer.keys(batch[field] for field in self.time_fields))
        return self._paths.map(inputs, len(batch)), self._lines(batch)

    def _path(self, values: Sequence[Any]) -> str:
        """Make the path of events with these values; the last one is the key of their slice, if there are slices."""
        moment = None
        if self._template.time_directives:
            *values, slice_key = values
            moment = self._slicer.moment(slice_key)
        return fit_path(os.path.abspath(self._template.render(values, moment)))

    def _lines(self, batch: Batch) -> list[bytes]:
        if self.include_time_key or self.include_tag_key:
            batch = batch.part([True] * len(batch))  # other sinks see the events without these keys
            if self.include_time_key:
                times = [batch[field] for field in self.time_fields]
                batch[self.include_time_key] = [
                    next((time for time in each if time is not None), None) for each in zip(*times, strict=True)
                ]
            if self.include_tag_key:
                batch[self.include_tag_key] = batch.tags
        return batch.encoded()

    def packer(self) -> Packer:
        """Compress what a span has for each path; of small rests the lines are given."""
        return Piles(self._compress)

    def write(self, payload: Payload) -> None:
        """Keep the lines by path, and compress what is enough for a member."""
        self._piles.add(payload)

    def write_packed(self, packed: Payload) -> None:
        """Keep the members by path, and the lines that follow them."""
        self._piles.add_packed(packed)

    def held(self) -> int:
        """Lines and members."""
        return self._piles.held + self._piles.members

    def prepare(self) -> Position:
        """Announce the files that are appended to for the first time."""
        return self._output.prepare(self._piles)

    def flush(self) -> Position:
        """Append every slice's members to its file and sync; forget slices that got nothing for long."""
        return {**self._output.flush(self._piles), **self._left}

    def commit(self, position: Position) -> None:
        """Deal with what is closed or full."""
        self._left = {}
        self._output.commit(position)

    def is_due(self) -> bool:
        """Whether that has to be recorded though no event comes."""
        return self._output.is_due

    def finish(self, stop: threading.Event) -> Iterator[None]:
        """Bring everything to where it shall be in the end."""
        return self._output.finish(stop)

    def incomplete(self) -> Sequence[str]:
        """Say what could not be brought there."""
        return self._output.incomplete()

    def descriptors(self) -> int:
        """The files that a commit writes together, their directory, and the lock."""
        return self.max_open_files + 3

    def examine(self, surroundings: Surroundings) -> Iterable[Finding]:
        """Say how much room there is for the files."""
        yield surroundings.room(self._claim.directory)

    def measures(self) -> Iterable[Measure]:
        """Say what was deleted, uploaded and compressed, if that is asked for."""
        return self._output.measures()
