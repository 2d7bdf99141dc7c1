"""Contents of the wheel: every module and every file of data, under our own name alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import pytest

from .imports import LIBRARY, ROOT, TREES, WITHIN


@pytest.mark.parametrize("tree", TREES)
def test_every_folder_of_modules_is_a_package(tree):
    """One without `__init__.py` would be missing in the wheel."""
    folders = {path.parent for path in (ROOT / tree).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.slow
def test_the_wheel_has_every_file_and_nothing_else(tmp_path):
    copy = tmp_path / "tree"
    copy.mkdir()
    for name in (LIBRARY, *WITHIN):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), "."]
    subprocess.run(command, cwd=copy, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    found = set(zipfile.ZipFile(wheel).namelist())
    files = set()
    for tree in (LIBRARY, *WITHIN):
        for path in (copy / tree).rglob("*"):
            if path.is_file() and "build" not in path.parts:
                name = path.relative_to(copy).as_posix()
                files.add(f"{LIBRARY}/{name}" if tree in WITHIN else name)
    assert files - found == set()
    assert {name for name in found if ".dist-info/" not in name} <= files
