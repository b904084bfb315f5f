"""The stages there are, by kind and name: from entry points, from folders, or added by hand.

A stage's module, and with it whatever it imports, is loaded only when the stage is asked for. The files of a
folder are loaded at once, because only then it is known which stages they hold; they form a package of a
private name, so that they can import each other (`from ._masks import mask`) and nobody else by accident.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

from tailrace.options import declared, did_you_mean
from tailrace.stage import Filter, Sink, Source, Stage

Kind = Literal["source", "filter", "sink"]
KINDS: tuple[Kind, ...] = ("source", "filter", "sink")

_PRIVATE = "_tailrace_folder_"
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class RegistryError(Exception):
    """A stage is not there, is there twice, or cannot be loaded; `messages` has one sentence for each."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


class _Offer(NamedTuple):
    """A stage that is there: where it comes from, and how to get its class."""

    origin: Callable[[], str]  # asked for when it is said: to find a package's name its metadata have to be read
    load: Callable[[], type[Stage]]


class Registry:
    """The stages that a config can name."""

    def __init__(self) -> None:
        self._offers: dict[tuple[Kind, str], _Offer] = {}
        self._folders: set[Path] = set()

    @classmethod
    def standard(cls) -> Registry:
        """Make a registry of what the installed packages declare under `tailrace.sources` and so on."""
        registry = cls()
        installed = entry_points()  # at once: each call looks at all packages there are
        for kind in KINDS:
            for entry_point in installed.select(group=f"tailrace.{kind}s"):
                registry.add_entry_point(kind, entry_point)
        return registry

    def copy(self) -> Registry:
        """Make another registry of the same stages."""
        other = Registry()
        other._offers = dict(self._offers)
        other._folders = set(self._folders)
        return other

    def add(self, kind: Kind, name: str, cls: type[Stage]) -> None:
        """Add a class. Raises RegistryError if the name is taken or the class is not such a stage."""
        self._add_class(kind, name, cls, f"{cls.__module__}:{cls.__qualname__}")

    def add_entry_point(self, kind: Kind, entry_point: EntryPoint) -> None:
        """Add a stage that is loaded when it is asked for first."""

        def origin() -> str:
            package = entry_point.dist.name if entry_point.dist else "an unknown package"
            return f"{package} ({entry_point.value})"

        def load() -> type[Stage]:
            return _verify(kind, entry_point.name, _load_entry_point(kind, entry_point, origin), origin)

        self._offer(kind, entry_point.name, _Offer(origin, load))

    def add_folder(self, path: str | Path) -> None:
        """Add the stages in each `*.py` of a folder: the public classes defined there, named in snake case.

        Files that start with `_` are left for the others to import. All files are tried; RegistryError says
        what is wrong with each. A folder that was added before is not read again.
        """
        folder = Path(path).resolve()
        if folder in self._folders:
            return
        if not folder.is_dir():
            raise RegistryError(f"the plug-in folder {path} does not exist or is not a folder")
        self._folders.add(folder)
        package = _private_package(folder)
        messages: list[str] = []
        for file in sorted(folder.glob("[!_]*.py")):
            try:
                self._add_module(file, importlib.import_module(f"{package}.{file.stem}"))
            except RegistryError as error:
                messages += error.messages
            except Exception as error:  # whatever a plug-in's own code raises
                messages.append(f"cannot load the plug-in: {_failure(error, file)}")
        if messages:
            raise RegistryError(*messages)

    def _add_module(self, file: Path, module: ModuleType) -> None:
        for name, cls in vars(module).items():
            ours = isinstance(cls, type) and issubclass(cls, Stage) and cls.__module__ == module.__name__
            kind = _kind_of(cls) if ours else None
            if kind is not None and name == cls.__name__ and not name.startswith("_"):
                self._add_class(kind, stage_name(cls), cls, f"{file} ({name})")

    def _add_class(self, kind: Kind, name: str, cls: type[Stage], origin: str) -> None:
        _verify(kind, name, cls, lambda: origin)
        self._offer(kind, name, _Offer(lambda: origin, lambda: cls))

    def _offer(self, kind: Kind, name: str, offer: _Offer) -> None:
        other = self._offers.setdefault((kind, name), offer)
        if other is not offer:
            raise RegistryError(
                f'there are two {kind}s named "{name}": {other.origin()} and {offer.origin()}; rename one of them'
            )

    def names(self, kind: Kind) -> list[str]:
        """List the names of a kind in alphabetical order, without loading anything."""
        return sorted(name for its_kind, name in self._offers if its_kind == kind)

    def origin(self, kind: Kind, name: str) -> str:
        """Say where a stage comes from: a package, or a file, and the class."""
        return self._find(kind, name).origin()

    def get(self, kind: Kind, name: str) -> type[Stage]:
        """Give the class of a stage, loading its module if need be."""
        return self._find(kind, name).load()

    def _find(self, kind: Kind, name: str) -> _Offer:
        offer = self._offers.get((kind, name))
        if offer is None:
            names = self.names(kind)
            there_are = f"there are: {', '.join(names)}" if names else "there are none"
            raise RegistryError(f'there is no {kind} "{name}"{did_you_mean(name, names)} ({there_are})')
        return offer


def stage_name(cls: type[Stage]) -> str:
    """Name a stage after its class, in snake case."""
    return _WORD_START.sub("_", cls.__name__).lower()


def _kind_of(cls: type[Stage]) -> Kind | None:
    if issubclass(cls, Source):
        return "source"
    if issubclass(cls, Filter):
        return "filter"
    return "sink" if issubclass(cls, Sink) else None


def _verify(kind: Kind, name: str, cls: object, origin: Callable[[], str]) -> type[Stage]:
    """Make sure that a class can be used as a stage of this kind, before a config meets it."""
    if not (isinstance(cls, type) and issubclass(cls, Stage) and _kind_of(cls) == kind):
        raise RegistryError(f'the {kind} "{name}" from {origin()} is not a subclass of tailrace.stage.{kind.title()}')
    try:
        options = [option.name for option in declared(cls)]
    except (TypeError, NameError) as error:
        raise RegistryError(f'the options of the {kind} "{name}" from {origin()} cannot be read: {error}') from None
    if "type" in options:
        raise RegistryError(f'the {kind} "{name}" from {origin()} has an option "type", which names the stage itself')
    return cls


def _load_entry_point(kind: Kind, entry_point: EntryPoint, origin: Callable[[], str]) -> object:
    try:
        loaded: object = entry_point.load()
    except Exception as error:  # whatever the package's own code raises
        message = f'cannot load the {kind} "{entry_point.name}" from {origin()}: {_failure(error, None)}'
        if isinstance(error, ImportError) and entry_point.extras and entry_point.dist:
            wanted = f"{entry_point.dist.name}[{','.join(entry_point.extras)}]"
            message += f"; install what it needs: pip install '{wanted}'"
        raise RegistryError(message) from error
    return loaded


def _failure(error: Exception, file: Path | None) -> str:
    """Say in one line what failed and, in a plug-in, at which line of its folder."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    if file is None:
        return said
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if Path(frame.filename).parent == file.parent]
    return f"{lines[-1].filename}:{lines[-1].lineno}: {said}" if lines else f"{file}: {said}"


def folder_of(cls: type[Stage]) -> str | None:
    """Give the plug-in folder that a stage comes from; None if Python finds its module by itself."""
    package = sys.modules.get(cls.__module__.partition(".")[0])
    return str(package.__path__[0]) if package is not None and package.__name__.startswith(_PRIVATE) else None


def _private_package(folder: Path) -> str:
    """Make the package whose modules a folder's files are, one for each folder of a process."""
    name = f"{_PRIVATE}{hashlib.blake2b(bytes(folder), digest_size=8).hexdigest()}"
    if name not in sys.modules:
        package = ModuleType(name, f"Stages from {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    importlib.invalidate_caches()
    return name
