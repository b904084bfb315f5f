"""A condition as the library for CEL runs it, on an event whose fields are keys of one flat map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from tailrace_plugins.rewriting import EVENT

EVALUATION_ERRORS: Final = (TypeError, RuntimeError, ValueError, ArithmeticError, IndexError)
"""What `run` raises where an expression cannot be evaluated."""

_DEEPEST: Final = 100
"""Levels of nesting in a value; the library overflows the stack, and ends the process, at some thousands."""


class Program:
    """A compiled expression; it is given a value for each of `keys`.

    `functions` are those of `cel.stdlib` that it calls. Raises ValueError.
    """

    def __init__(self, text: str, keys: Sequence[str]) -> None:
        import cel  # it costs 0.2 s, which only those who use it shall pay
        from cel.stdlib import STDLIB_FUNCTIONS

        self._program = cel.compile(text)
        self._keys = keys
        self.called: list[str] = self._program.functions()
        self.variables: list[str] = self._program.variables()
        self.functions: dict[str, Callable[..., Any]] = {
            name: function for name, function in STDLIB_FUNCTIONS.items() if name.rpartition(".")[2] in self.called
        }

    def run(self, values: Sequence[Any]) -> Any:
        """Give the result for one event, None being what is missing.

        Raises KeyError if the result depends on something that is missing, and EVALUATION_ERRORS.
        """
        present = {key: value for key, value in zip(self._keys, values, strict=True) if value is not None}
        event = {key: clean(value) for key, value in present.items()}
        return self._program.execute({**self.functions, EVENT: event})


def clean(value: Any, depth: int = 0) -> Any:
    """Make a value that the library can take: no lone surrogates, not too deep."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if depth > _DEEPEST:
        raise ValueError(f"a value is nested more than {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean(item, depth + 1) for key, item in value.items()}
    return value
