from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints, distributions
from pathlib import Path

import pytest

from tailrace.batch import Batch
from tailrace.registry import KINDS, Registry, RegistryError
from tailrace.stage import Filter, Sink, Source, Stage

HEAD = "from __future__ import annotations\nfrom tailrace.stage import Filter, RecordFilter, Sink, Source\n"


class Upper(Filter, kw_only=True):
    """A filter."""

    def apply(self, batch: Batch) -> None:
        raise NotImplementedError


class Lower(Upper, kw_only=True):
    """Another filter."""


class Typed(Filter, kw_only=True):
    """A filter with an option that cannot be written."""

    type: str = ""


class NotReadable(Filter, kw_only=True):
    """A filter whose option is of a type that is not there when the program runs."""

    option: DoesNotExist  # type: ignore[name-defined]  # noqa: F821


def fails(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(RegistryError) as caught:
        call()
    assert str(caught.value) == "\n".join(caught.value.messages)
    return caught.value.messages


def entry_point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group="tailrace.filters")


def installed(folder: Path, points: str, package: str = "extra-stages") -> EntryPoints:
    """Give the entry points of a package as if it were installed in `folder`."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tailrace.filters]\n{points}\n")
    [distribution] = distributions(path=[str(folder)])
    return distribution.entry_points


def test_an_added_class_is_found_by_kind_and_name() -> None:
    registry = Registry()
    registry.add("filter", "upper", Upper)
    assert registry.get("filter", "upper") is Upper
    assert registry.names("filter") == ["upper"]
    assert registry.names("sink") == []
    assert registry.origin("filter", "upper") == f"{__name__}:Upper"


def test_an_unknown_name_is_answered_with_the_nearest_and_with_all_there_are() -> None:
    registry = Registry()
    assert fails(lambda: registry.get("filter", "uper")) == ('there is no filter "uper" (there are none)',)
    registry.add("filter", "upper", Upper)
    registry.add("filter", "lower", Lower)
    assert fails(lambda: registry.get("filter", "uper")) == (
        'there is no filter "uper"; did you mean "upper"? (there are: lower, upper)',
    )


def test_two_stages_of_one_name_are_an_error_that_names_both() -> None:
    registry = Registry()
    registry.add("filter", "x", Upper)
    assert fails(lambda: registry.add("filter", "x", Lower)) == (
        f'there are two filters named "x": {__name__}:Upper and {__name__}:Lower; rename one of them',
    )


def test_a_copy_does_not_change_what_it_was_made_of() -> None:
    registry = Registry()
    registry.add("filter", "upper", Upper)
    other = registry.copy()
    other.add("filter", "lower", Lower)
    assert registry.names("filter") == ["upper"]
    assert other.names("filter") == ["lower", "upper"]


@pytest.mark.parametrize("cls", [Source, Sink, Stage])
def test_a_class_of_another_kind_is_refused(cls: type[Stage]) -> None:
    [message] = fails(lambda: Registry().add("filter", "x", cls))
    assert message.endswith("is not a subclass of tailrace.stage.Filter")


def test_options_that_no_config_could_set_are_refused() -> None:
    [message] = fails(lambda: Registry().add("filter", "x", Typed))
    assert 'has an option "type"' in message
    [message] = fails(lambda: Registry().add("filter", "x", NotReadable))
    assert "cannot be read: name 'DoesNotExist' is not defined" in message


# Entry points


def test_the_standard_registry_lists_what_is_installed_without_importing_it() -> None:
    program = (
        "import sys; from tailrace.registry import Registry; registry = Registry.standard();"
        "print('file' in registry.names('sink'), 'tailrace_plugins' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"]


def test_every_standard_stage_has_an_origin() -> None:
    registry = Registry.standard()
    for kind in KINDS:
        for name in registry.names(kind):
            assert registry.origin(kind, name).startswith("tailrace (tailrace_plugins.")


def test_an_entry_point_is_loaded_when_it_is_asked_for(tmp_path: Path) -> None:
    registry = Registry()
    for point in installed(tmp_path, f"upper = {__name__}:Upper\nbroken = not_there:Upper"):
        registry.add_entry_point("filter", point)
    assert registry.get("filter", "upper") is Upper
    assert registry.origin("filter", "upper") == f"extra-stages ({__name__}:Upper)"


def test_an_entry_point_whose_extra_is_missing_says_what_to_install(tmp_path: Path) -> None:
    registry = Registry()
    [point] = installed(tmp_path, "hook = not_there_at_all:Hook [web,http]")
    registry.add_entry_point("filter", point)
    [message] = fails(lambda: registry.get("filter", "hook"))
    assert "No module named 'not_there_at_all'" in message
    assert "pip install 'extra-stages[web,http]'" in message


def test_an_entry_point_that_cannot_be_imported_gives_the_modules_error() -> None:
    registry = Registry()
    registry.add_entry_point("filter", entry_point("hook", "not_there_at_all:Hook"))
    assert fails(lambda: registry.get("filter", "hook")) == (
        'cannot load the filter "hook" from an unknown package (not_there_at_all:Hook): '
        "ModuleNotFoundError: No module named 'not_there_at_all'",
    )


def test_an_entry_point_to_something_else_is_refused() -> None:
    registry = Registry()
    registry.add_entry_point("filter", entry_point("path", "pathlib:Path"))
    [message] = fails(lambda: registry.get("filter", "path"))
    assert "is not a subclass of tailrace.stage.Filter" in message


# Folders


def test_the_public_stages_of_a_folder_are_added_in_snake_case(tmp_path: Path) -> None:
    (tmp_path / "_shared.py").write_text(HEAD + "class Base(Filter): pass\nNAMES = ['a']\n")
    (tmp_path / "masks.py").write_text(
        HEAD + "from ._shared import Base, NAMES\n"
        "class MaskTokens(Base): pass\nclass HTTPSink(Sink): pass\nclass S3Tail(Source): pass\n"
        "class _Hidden(Filter): pass\nclass Other: pass\nAlias = MaskTokens\n"
    )
    (tmp_path / "notes.txt").write_text("not Python")
    registry = Registry()
    registry.add_folder(tmp_path)
    assert {kind: registry.names(kind) for kind in KINDS} == {
        "source": ["s3_tail"],
        "filter": ["mask_tokens"],
        "sink": ["http_sink"],
    }
    assert registry.origin("filter", "mask_tokens") == f"{tmp_path / 'masks.py'} (MaskTokens)"
    assert registry.get("filter", "mask_tokens")().reads() == ()


def test_a_stage_that_is_neither_source_nor_filter_nor_sink_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("from tailrace.stage import Stage\nclass Bare(Stage): pass\n")
    registry = Registry()
    registry.add_folder(tmp_path)
    assert [registry.names(kind) for kind in KINDS] == [[], [], []]


def test_a_folder_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "masks.py").write_text(HEAD + "class Mask(Filter): pass\n")
    registry = Registry()
    registry.add_folder(tmp_path)
    registry.add_folder(tmp_path / ".." / tmp_path.name)
    registry.copy().add_folder(str(tmp_path))
    assert registry.names("filter") == ["mask"]


def test_two_registries_get_the_same_classes_from_one_folder(tmp_path: Path) -> None:
    (tmp_path / "masks.py").write_text(HEAD + "class Mask(Filter): pass\n")
    one, two = Registry(), Registry()
    one.add_folder(tmp_path)
    two.add_folder(tmp_path)
    assert one.get("filter", "mask") is two.get("filter", "mask")


def test_files_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    registry = Registry()
    for name in ("One", "Two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "stages.py").write_text(HEAD + f"class {name}(Filter): pass\n")
        registry.add_folder(folder)
    assert registry.names("filter") == ["one", "two"]


def test_a_stage_of_a_folder_cannot_take_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "stages.py").write_text(HEAD + "class Upper(Filter): pass\n")
    registry = Registry()
    registry.add("filter", "upper", Upper)
    assert fails(lambda: registry.add_folder(tmp_path)) == (
        f'there are two filters named "upper": {__name__}:Upper and {tmp_path / "stages.py"} (Upper); '
        "rename one of them",
    )


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    [message] = fails(lambda: Registry().add_folder(tmp_path / "no"))
    assert message == f"the plug-in folder {tmp_path / 'no'} does not exist or is not a folder"


def test_every_plug_in_that_fails_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nimport not_there_at_all\n")
    (tmp_path / "b.py").write_text("x = 1\ny = = 2\n")
    (tmp_path / "c.py").write_text("import json\n\njson.loads('{')\n")
    (tmp_path / "d.e.py").write_text("")
    (tmp_path / "f.py").write_text(HEAD + "class Fine(Filter): pass\n")
    registry = Registry()
    a, b, c, d = fails(lambda: registry.add_folder(tmp_path))
    head = "cannot load the plug-in: "
    assert a == f"{head}{tmp_path / 'a.py'}:2: ModuleNotFoundError: No module named 'not_there_at_all'"
    assert b == f"{head}{tmp_path / 'b.py'}:2: SyntaxError: invalid syntax"
    assert c.startswith(f"{head}{tmp_path / 'c.py'}:3: JSONDecodeError: ")
    assert d.startswith(f"{head}{tmp_path / 'd.e.py'}: ModuleNotFoundError: ")
    assert registry.names("filter") == ["fine"]
