"""The levels and stages of audit events, as the API server names them."""

from __future__ import annotations

from typing import Final

NONE: Final = "None"
METADATA: Final = "Metadata"
REQUEST: Final = "Request"
REQUEST_RESPONSE: Final = "RequestResponse"

LEVELS: Final = (NONE, METADATA, REQUEST, REQUEST_RESPONSE)  # each holds what the one before does, and more
STAGES: Final = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")

RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}
