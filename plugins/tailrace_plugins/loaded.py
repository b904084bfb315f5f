"""Files that a stage reads when it is made, and that belong to it like its options."""

from __future__ import annotations

from pathlib import Path

from tailrace import OptionError


class LoadedFile(str):
    """The path of a file that was read; it keeps the text with it, also on its way to a worker."""

    text: str


def load(option: str, path: str, encoding: str = "utf-8-sig") -> LoadedFile:
    """Read a file that an option names, unless that was done already. Raises OptionError."""
    if isinstance(path, LoadedFile):
        return path
    loaded = LoadedFile(path)
    try:
        loaded.text = Path(path).read_bytes().decode(encoding)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OptionError(option, f"cannot read {path}: {reason}") from None
    return loaded
