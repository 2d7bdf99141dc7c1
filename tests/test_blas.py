"""Finding OpenBLAS: each case in a process of its own, since MLX is loaded once."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys

import pytest

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone needs a BLAS")
openblas = pytest.mark.skipif(
    ctypes.util.find_library("openblas") is None, reason="OpenBLAS is not installed"
)

REPORT = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {first}
    import mlx_chatterbox
    from mlx_chatterbox import _blas
    import mlx.core as mx
    for _ in range(2):
        _blas.warn_if_slow(True)
    print(_blas._loaded(), [str(w.message) for w in caught])
"""


def report(first: str = "", **environment: str) -> str:
    code = REPORT.format(first=first or "pass")
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@linux
@openblas
def test_found_by_itself_and_silent():
    assert report() == "True []"


@linux
@openblas
def test_mlx_imported_first_is_said_once():
    said = report(first="import mlx.core")
    assert said.count("imported before mlx_chatterbox") == 1


@linux
def test_missing_is_said_once():
    said = report(MLX_CHATTERBOX_BLAS="none")
    assert said.startswith("False")
    assert said.count("no fast BLAS was found") == 1
    assert "libopenblas0-pthread" in said


@linux
def test_a_library_that_cannot_be_loaded_is_named():
    assert "MLX_CHATTERBOX_BLAS=/no/such.so" in report(MLX_CHATTERBOX_BLAS="/no/such.so")


def test_never_in_the_way_elsewhere(monkeypatch):
    from mlx_chatterbox import _blas

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(_blas, "_said", False)
    monkeypatch.setattr(_blas.ctypes, "CDLL", None)
    _blas.preload()
    _blas.warn_if_slow(True)
