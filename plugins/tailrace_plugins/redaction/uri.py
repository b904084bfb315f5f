"""The arguments in a request's URI that are secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from tailrace_plugins.redaction.hiding import Hiding

Arguments = frozenset[str]

ALL: Final[Arguments] = frozenset()  # their names are unknown
COMMANDS: Final[Mapping[str, Arguments]] = {
    "exec": frozenset({"command", "stdin"}),
    "attach": frozenset({"command", "stdin"}),
}
_SWITCHES: Final = frozenset({"true", "false", "1", "0"})
_SEPARATOR: Final = re.compile("([&;])")  # the second was one too, for API servers up to 1.22


def secret_arguments(part: Any) -> Arguments | None:
    """Give the arguments that are secret in requests for this subresource; None if there are none."""
    if part == "proxy":
        return ALL
    return COMMANDS.get(part) if isinstance(part, str) else None


def hide_arguments(uri: str, arguments: Arguments, hiding: Hiding) -> str:
    """Hide the values of these arguments; their names, and all else, stay as they are spelled."""
    path, mark, query = uri.partition("?")
    if not query:
        return uri
    pieces = _SEPARATOR.split(query)
    pieces[::2] = [_hidden(piece, arguments, hiding) for piece in pieces[::2]]
    return path + mark + "".join(pieces)


def _hidden(argument: str, arguments: Arguments, hiding: Hiding) -> str:
    name, sign, value = argument.partition("=")
    if arguments is ALL and not sign:
        name, value = "", name  # nobody knows what it means
    if not value:
        return argument
    known = unquote_plus(name)
    if arguments is not ALL and (known not in arguments or (known == "stdin" and value in _SWITCHES)):
        return argument
    return name + sign + quote(hiding.text(unquote_to_bytes(value.replace("+", " "))), safe=":[]")
