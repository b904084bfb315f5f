"""The tag of what is received: a text, in which parts of the request's path and the client's name can stand."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from tailrace import encode_name

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_PATH = re.compile(r"path\[(-?[0-9]{1,3})\]")
CLIENT: Final = "client"


class TagTemplate:
    """`audit.{path[1]}`: for a POST to `/clusters/east/audit` the tag is `audit.east`.

    `{path[0]}` is the first part of the path, `{path[-1]}` the last, `{client}` the name that the client proved to
    have. A value is written as a file name would be; one that is missing is `_none`, one that is empty `_empty`. A dot
    in it makes several parts of the tag. Raises ValueError.
    """

    def __init__(self, text: str) -> None:
        for found in _VARIABLE.finditer(text):
            if found[1] != CLIENT and not _PATH.fullmatch(found[1]):
                raise ValueError(
                    f"column {found.start() + 1}: there is no {found[0]} here; write {{path[0]}}, the first "
                    "part of the request's path, or {client}, the name in the client's certificate"
                )
        if set("{}") & set(_VARIABLE.sub("", text)):
            raise ValueError("a brace without its partner; variables are written like {path[0]}")
        self._text = text

    def render(self, path: str, client: str | None) -> str:
        """Give the tag of a request, by its path as it was sent, with its escapes."""
        if "{" not in self._text:
            return self._text
        # unpacked only now, so that a %2F stays in its part; what is no UTF-8 stays different from all else
        parts = [unquote(part, errors="surrogateescape") for part in path.removesuffix("/").split("/")[1:]]

        def value(found: re.Match[str]) -> str:
            if found[1] == CLIENT:
                return encode_name(client)
            number = _PATH.fullmatch(found[1])
            assert number is not None
            try:
                return encode_name(parts[int(number[1])])
            except IndexError:
                return encode_name(None)

        return _VARIABLE.sub(value, self._text)
