"""How many files may be open at once."""

from __future__ import annotations

from collections import OrderedDict

from tailrace_plugins.tailing.file import File


class Descriptors:
    """Closes the file that was not used for the longest time when there are too many.

    A file without a name is never closed, for it could not be opened again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._files: OrderedDict[File, None] = OrderedDict()  # the one used last is last

    def __len__(self) -> int:
        return len(self._files)

    def use(self, file: File) -> None:
        """Open the file if it is not, and remember that it is used now. Raises OSError and `Replaced`."""
        file.open()
        self._files[file] = None
        self._files.move_to_end(file)
        if len(self._files) > self._limit:
            oldest = next((other for other in self._files if other is not file and other.has_name()), None)
            if oldest is not None:
                self.release(oldest)

    def release(self, file: File) -> None:
        """Close the file; it may be used again."""
        file.close()
        self._files.pop(file, None)

    def release_all(self) -> None:
        """Close every file."""
        while self._files:
            self.release(next(iter(self._files)))
