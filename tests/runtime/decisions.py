"""Decisions by device: their places in the sources, and the branches taken."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mlx_chatterbox
from mlx_chatterbox.nn import cpu_kernels
from mlx_chatterbox.runtime import device, native, parallel

PACKAGE = Path(mlx_chatterbox.__file__).parent
# `on_cpu` and functions that wrap it: a decision is made where one of these is called.
ASKING = {"on_cpu", "takes", "tuned_for", "can_run_two", "_polynomial", "attends_by_columns"}
# Called only where this is known to be a CPU.
ON_A_CPU_ALONE = {
    ("nn/conv.py", "takes"),
    ("nn/conv2d.py", "takes"),
    ("nn/rotary.py", "tuned_for"),
    ("models/s3gen/estimator.py", "can_run_two"),
    ("models/decoder/native_step.py", "takes"),
}

# (file, line) to the answers returned there.
Ways = dict[tuple[str, int], set[bool]]


def decisions(root: Path = PACKAGE) -> dict[tuple[str, int], str]:
    """(file, line) of each call of one of `ASKING`, and which."""
    found = {}
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", None))
            if name in ASKING and not (name == "takes" and isinstance(function, ast.Name)):
                found[str(file.relative_to(root)), node.lineno] = name
    return found


def has_true_way(name: str) -> bool:
    """Tell whether this machine has what the CPU's branch of a decision needs."""
    if name == "takes":
        return native.library() is not None
    if name == "tuned_for":
        return cpu_kernels.tuned()
    if name == "can_run_two":
        return parallel._blas() is not None
    return True


@contextmanager
def noted() -> Iterator[Ways]:
    """Record every decision and the branch that it takes, until the block ends."""
    ways: Ways = defaultdict(set)
    ask = device.on_cpu

    def noting() -> bool:
        answer, frame = ask(), sys._getframe(1)
        while True:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(PACKAGE):
                ways[str(file.relative_to(PACKAGE)), frame.f_lineno].add(answer)
            if frame.f_code.co_name not in ASKING:
                return answer
            frame = frame.f_back

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "on_cpu", noting)
        yield ways


def not_taken_both_ways(there: dict[tuple[str, int], str], ways: Ways) -> list[str]:
    """Decisions of which only one branch was taken."""
    missing = []
    for (file, line), name in there.items():
        wanted = {True} if has_true_way(name) else set()
        if (file, name) not in ON_A_CPU_ALONE:
            wanted |= {False}
        if native.library() is None and (name == "takes" or file == "runtime/native/__init__.py"):
            continue  # without compiled code there is nothing to decide
        if not wanted <= ways[file, line]:
            missing.append(f"{file}:{line} {name}: only {sorted(ways[file, line])}")
    return missing


def is_whole_file(request: pytest.FixtureRequest, names: dict) -> bool:
    """Tell whether all tests of a module that are not marked slow are run."""
    run = {item.originalname for item in request.session.items if item.fspath == request.fspath}
    slow = {
        name
        for name, test in names.items()
        if any(mark.name == "slow" for mark in getattr(test, "pytestmark", []))
    }
    return {name for name in names if name.startswith("test_")} - slow <= run
