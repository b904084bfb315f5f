"""Options whose values follow rules of their own: what breaks them is said of the option."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tailrace import OptionError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def checked(option: str, make: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Make something of an option; where that is a ValueError, raises OptionError."""
    try:
        return make(*args, **kwargs)
    except ValueError as error:
        raise OptionError(option, str(error)) from None
