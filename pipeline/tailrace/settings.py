"""What can stand in a config file above the stages: its own options, and those of a pipeline."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tailrace.address import parse_address
from tailrace.stage import OptionError


class AdminOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What stands under `admin`."""

    listen: Annotated[
        str,
        Meta(
            description="The address, like `127.0.0.1:9464` or `[::1]:9464`; `:9464` is all addresses of the machine. "
            "Whoever reaches it can read figures, and why pipelines fail, with names of files."
        ),
    ]

    def __post_init__(self) -> None:
        try:
            parse_address(self.listen)
        except ValueError as error:
            raise OptionError("listen", str(error)) from None


class FileOptions(msgspec.Struct, kw_only=True):
    """What stands at the top of a config file."""

    state_dir: Annotated[str, Meta(min_length=1, description="The directory of the checkpoints.")]
    plugins: Annotated[
        list[str], Meta(description="Folders with stages of your own (`*.py`), relative to the config file.")
    ] = []
    admin: Annotated[
        AdminOptions | None,
        Meta(
            description="An HTTP server with `/livez`, `/readyz` and `/metrics` of all pipelines of the process; it is "
            "enough that one config file of several has it."
        ),
    ] = None
    pipelines: Annotated[
        dict[str, Any],
        Meta(min_length=1, description="The pipelines by name: letters, digits, and then also `_` and `-`."),
    ]


class PipelineOptions(msgspec.Struct, kw_only=True):
    """What stands under the name of a pipeline."""

    schema: Annotated[
        Literal["audit", "any"],
        Meta(
            description="`audit`: the fields that stages read must be those of a Kubernetes audit event, or "
            "written by an earlier filter. `any`: they are not checked."
        ),
    ] = "audit"
    commit_interval: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds between commits while events keep coming.")
    ] = 1.0
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="So many processes read, filter and compress at once where there is much to read: after "
            "downtime, or with `--once`. What is written is the same. Only for sources that can be read so: `tail`.",
        ),
    ] = 1
    source: Annotated[
        dict[str, Any], Meta(description="Where events come from: `type`, and the options of that source.")
    ]
    filters: Annotated[
        list[dict[str, Any]],
        Meta(description="What happens to events, in this order: `type`, and the options of that filter."),
    ] = []
    sinks: Annotated[
        list[dict[str, Any]],
        Meta(min_length=1, description="Where events go: `type`, and the options of that sink."),
    ]
