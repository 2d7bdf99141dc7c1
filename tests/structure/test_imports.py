"""Imports between modules: no circles, nothing against the direction that pyproject.toml states."""

from __future__ import annotations

import sys

import pytest

from .imports import LIBRARY, ROOT, TREES, WITHIN, circles, imported, imports, modules

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

FILES = modules()
IMPORTS = imports(FILES)
MOST_FILES = 12


def rows() -> list[list[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["layers"]["rows"]


def place(name: str, places: dict[str, int]) -> str:
    """The name in the table that a module belongs to."""
    parts = name.split(".")
    if parts[0] == LIBRARY:
        parts = parts[1:]
        if parts[-1:] == ["__main__"] and parts[0] not in WITHIN:
            return "programs"
    while parts and ".".join(parts) not in places:
        parts.pop()
    assert parts, f"{name} has no place in [tool.layers] of pyproject.toml"
    return ".".join(parts)


def test_nothing_is_imported_against_the_direction():
    places = {name: row for row, names in enumerate(rows()) for name in names}
    wrong = []
    for name, targets in IMPORTS.items():
        if name == LIBRARY:  # its names are loaded on first use
            continue
        here = place(name, places)
        for target in targets - {LIBRARY}:
            there = place(target, places)
            if here != there and places[there] >= places[here]:
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_no_files_import_each_other():
    graph = {name: targets - {LIBRARY} for name, targets in IMPORTS.items()}
    assert circles(graph) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_every_name_in_the_table_is_there():
    for names in rows():
        for name in names:
            path = ROOT.joinpath(*([] if name in TREES else [LIBRARY]), *name.split("."))
            assert name == "programs" or path.is_dir() or path.with_suffix(".py").is_file(), name


@pytest.mark.parametrize("tree", [LIBRARY, "parity"])
def test_few_files_are_at_the_top(tree):
    files = [path.name for path in (ROOT / tree).glob("*.py")]
    assert len(files) <= MOST_FILES, files


def test_nothing_imports_the_names_of_other_peoples_packages():
    """A `convert.py` or `parity.py` beside a user's script would be taken for ours."""
    wrong = [
        f"{name} imports {full}"
        for name, path in FILES.items()
        for full in imported(name, path)
        if full.split(".")[0] in (*WITHIN, "benchmarks") and not name.startswith("benchmarks")
    ]
    assert not wrong
