"""Finding OpenBLAS: each case in a process of its own, since MLX is loaded once."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys

import pytest

from mlx_chatterbox.runtime import linux_cpu
from tests.runtime.processes import printed

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
    from mlx_chatterbox.runtime import linux_cpu
    import mlx.core as mx
    for _ in range(2):
        linux_cpu.warn_if_slow(True)
    print(linux_cpu.loaded_blas() is not None, [str(w.message) for w in caught])
"""


def report(first: str = "", **environment: str) -> str:
    return printed(REPORT.format(first=first or "pass"), **environment)


@linux
@openblas
def test_openblas_is_found_without_settings_or_warnings():
    assert report() == "True []"


@linux
@openblas
def test_mlx_imported_first_is_reported_once():
    said = report(first="import mlx.core")
    assert said.count("imported before mlx_chatterbox") == 1


@linux
def test_a_missing_openblas_is_reported_once():
    said = report(MLX_CHATTERBOX_BLAS="none")
    assert said.startswith("False")
    assert said.count("no fast BLAS was found") == 1
    assert "libopenblas0-pthread" in said


@linux
def test_a_library_that_cannot_be_loaded_is_named():
    assert "MLX_CHATTERBOX_BLAS=/no/such.so" in report(MLX_CHATTERBOX_BLAS="/no/such.so")


def test_other_platforms_are_left_alone(monkeypatch):
    from mlx_chatterbox.runtime import linux_cpu

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(linux_cpu, "_warned", False)
    monkeypatch.setattr(linux_cpu.ctypes, "CDLL", None)
    linux_cpu.prepare()
    linux_cpu.warn_if_slow(True)


FAULTS = """
import resource
import mlx_chatterbox
import mlx.core as mx
x = mx.zeros((2**22,)); mx.eval(x)
def work():
    for _ in range(20):
        y = x + 1.0; mx.eval(y)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@linux
def test_freed_memory_is_not_fetched_again_page_by_page():
    """16 MB results, 4,096 pages each; twenty of them in turn need the pages of one or two."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    assert int(printed(FAULTS)) < 5 * 4096


CORE = """
import os
from pathlib import Path
from mlx_chatterbox.runtime import linux_cpu
lines = Path("/proc/cpuinfo").read_text().splitlines()
flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
import mlx.core as mx
x = mx.random.normal((300, 200))
print(linux_cpu.blas_core(), {"avx2", "fma"} <= flags, "OPENBLAS_CORETYPE" in os.environ)
print(mx.abs(x @ x.T - mx.sum(x[:, None] * x[None], axis=-1)).max().item() < 1e-3)
"""


@linux
@openblas
def test_openblas_uses_the_instructions_there_are(monkeypatch):
    """A processor newer than OpenBLAS, which it would take for one of 2004, is included."""
    # A user's choice of kernels is kept.
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    core, vectors, in_environment, right = printed(CORE).split()
    assert vectors == "False" or core.lower() not in linux_cpu._FALLBACK_CORES
    assert (in_environment, right) == ("False", "True")


IDLE = """
import time
import mlx_chatterbox
import mlx.core as mx
x = mx.random.normal((600, 600))
mx.eval(x @ x)
seconds = []
for _ in range(5):
    mx.eval(x @ x)
    before = time.process_time()
    time.sleep(0.1)
    seconds.append(time.process_time() - before)
print(min(seconds) < 0.003, "OPENBLAS_THREAD_TIMEOUT" in os.environ)
"""


@linux
@openblas
def test_openblas_does_not_keep_a_core_from_others():
    """Its threads would spin for a fiftieth of a second after every product."""
    if "OPENBLAS_THREAD_TIMEOUT" in os.environ:
        pytest.skip("it is set, and kept as it is")
    assert printed("import os" + IDLE).split() == ["True", "False"]
