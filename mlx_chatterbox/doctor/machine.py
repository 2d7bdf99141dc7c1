"""The machine and its software: everything that changes speed or numbers."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import mlx.core as mx

from .._version import __version__
from ..nn import cpu_kernels
from ..runtime import device, linux_cpu, native
from ..runtime.memory import all_memory
from ..runtime.mlx_settings import CUDA_SETTINGS
from .budget import free_memory
from .examination import Examination
from .findings import Section
from .private import anonymous

TITLE = "Machine"
# Seconds without which it is not begun.
LEAST = 0.0

# Read by MLX, by its BLAS or by this package, and worth knowing: numbers and a few words.
VARIABLES = (
    "MLX_ENABLE_TF32",
    "MLX_DISABLE_COMPILE",
    "MLX_MAX_OPS_PER_BUFFER",
    "MLX_MAX_MB_PER_BUFFER",
    "MLX_METAL_FAST_SYNCH",
    "MLX_METAL_GPU_ARCH",
    "MLX_BFS_MAX_WIDTH",
    "MLX_USE_CUDA_GRAPHS",
    "MLX_ENABLE_CACHE_THRASHING_CHECK",
    "MLX_CUDA_GRAPH_CACHE_SIZE",
    "MLX_CUDA_CONV_CACHE_SIZE",
    "MLX_CUDA_SDPA_CACHE_SIZE",
    "MLX_CUDA_FFT_CACHE_SIZE",
    "MLX_CHATTERBOX_CACHE_MB",
    "MLX_CHATTERBOX_KERNELS",
    "MLX_CHATTERBOX_BLAS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
)
_KNOWN_VALUE = re.compile(
    r"\d{1,12}|none|plain|true|false|on|off|"
    r"haswell|zen|skylakex|sandybridge|prescott|cooperlake|sapphirerapids|nehalem|"
    r"neoversen1|neoversev1|armv8|generic|applegpu_g\d\d[a-z]",
    re.IGNORECASE,
)
_DEVICE_NUMBERS = {
    "memory_size": "GPU's memory",
    "total_memory": "GPU's memory",
    "max_recommended_working_set_size": "of it usable at a time",
    "max_buffer_length": "largest array",
}
_TF32 = "factors are rounded to TF32's ten bits: seeds give other tokens than upstream's"


def examine(exam: Examination, section: Section) -> None:
    """Describe the machine."""
    with section.guarded("system", "system"):
        _describe_system(exam, section)
    with section.guarded("processor", "processor"):
        _describe_processor(exam, section)
    with section.guarded("load", "load"):
        _note_load(section)
    with section.guarded("gpu", "GPU"):
        _describe_device(exam, section)
    with section.guarded("software", "software"):
        _describe_software(exam, section)
    with section.guarded("compiler", "C++ compiler"):
        _check_compiler(section)
    with section.guarded("tf32", "float32 products"):
        check_tf32(exam, section)
    with section.guarded("variables", "variables"):
        shown = ", ".join(f"{name}={value}" for name, value in variables(os.environ))
        section.figure("variables", "variables that are set", shown or "none")


def _describe_system(exam: Examination, section: Section) -> None:
    exam.facts["system"] = name = _system()
    section.figure("system", "system", f"{name}, {platform.machine()}")
    section.figure("memory", "memory", round(all_memory() / 1e9, 1), "GB")
    section.figure(
        "memory_free", "free memory", round(free_memory() / 1e9, 1), "GB", "what checks may take"
    )


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    with suppress(OSError):
        return f"{platform.system()} ({platform.freedesktop_os_release()['PRETTY_NAME']})"
    return platform.system()


def _describe_processor(exam: Examination, section: Section) -> None:
    exam.facts["processor"] = name = processor_name()
    section.figure("processor", "processor", name)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    section.figure("cores", "cores for this process", usable)
    if sys.platform == "darwin":
        for level, kind in ((0, "fast"), (1, "saving")):
            count = _output_of("sysctl", "-n", f"hw.perflevel{level}.physicalcpu")
            if count.isdigit():
                section.figure(f"cores_{kind}", f"{kind} cores", int(count))
    if not sys.platform.startswith("linux"):
        section.not_applicable("blas", "BLAS for the CPU", "macOS has Accelerate")
        return
    blas = linux_cpu.loaded_blas()
    section.figure("blas", "BLAS for the CPU", "none that is fast" if blas is None else _name(blas))
    section.figure("blas_core", "its kernels are for", linux_cpu.blas_core() or "not known")
    section.figure("native", "this package's C is in use", native.library() is not None)
    section.figure("tuned", "fused kernels are tuned to the processor", cpu_kernels.tuned())


def _note_load(section: Section) -> None:
    """Note the load before the checks: on a busy machine all times are worse."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    note = "other programs are at work: times are worse than they could be"
    section.figure(
        "load", "programs at work in the last minute", load, note=note if load > cores / 4 else ""
    )


def _name(library: str) -> str:
    """A library's file name without its version's digits, and never its folder."""
    return re.split(r"[-.]", Path(library).name)[0]


def processor_name() -> str:
    """The processor's name, by its maker."""
    if sys.platform == "darwin":
        return _output_of("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    with suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()


def _output_of(*command: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""


def gpu_cores(registry: str) -> int | None:
    """The number of a Mac's GPU cores, from `ioreg`'s entry of its accelerator."""
    match = re.search(r'"gpu-core-count"\s*=\s*(\d+)', registry)
    return int(match[1]) if match else None


def _describe_device(exam: Examination, section: Section) -> None:
    is_gpu = device.is_gpu_there()
    section.figure("device", "MLX computes on", "GPU" if is_gpu else "CPU")
    exam.facts["device"] = "GPU" if is_gpu else "CPU"
    if not is_gpu:
        section.not_applicable("gpu", "GPU", "MLX has none here: everything is measured on the CPU")
        return
    known = mx.device_info()
    name = known.get("device_name", "not known")
    exam.facts["gpu"] = str(name)
    section.figure("gpu", "GPU", name, note=f"architecture {known.get('architecture', 'unknown')}")
    if sys.platform == "darwin":
        cores = gpu_cores(_output_of("ioreg", "-rc", "AGXAccelerator", "-d1"))
        section.figure("gpu_cores", "GPU cores", "not known" if cores is None else cores)
    for key, title in _DEVICE_NUMBERS.items():
        if known.get(key):
            section.figure(key, title, round(int(known[key]) / 1e9, 1), "GB")


def _describe_software(exam: Examination, section: Section) -> None:
    version: str = mx.__version__  # type: ignore[attr-defined]  # not in MLX's stubs
    exam.facts["mlx"] = version
    section.figure("version", "mlx-chatterbox", __version__)
    section.figure("python", "Python", platform.python_version())
    section.figure("mlx", "mlx", version)
    for package in ("mlx", "mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13"):
        with suppress(metadata.PackageNotFoundError):
            wheel = metadata.distribution(package).read_text("WHEEL") or ""
            tags = re.findall(r"^Tag: (\S+)", wheel, re.M)
            section.figure(
                f"wheel_{package.replace('-', '_')}", f"wheel of {package}", ", ".join(tags)
            )
    for package in ("numpy", "scipy"):
        section.figure(package, package, metadata.version(package))


def _check_compiler(section: Section) -> None:
    """MLX fuses kernels for the CPU by the system's compiler; a Mac's GPU needs none."""
    title = "C++ compiler"
    if sys.platform == "darwin" and not _output_of("xcode-select", "-p"):
        # Without them `clang++` is there all the same, and asks to install them.
        section.figure("compiler", title, "none", note="the Command Line Tools are not installed")
        return
    name = next((n for n in ("g++", "clang++") if shutil.which(n)), None)
    version = _output_of(name, "--version") if name else ""
    if not version:
        section.figure("compiler", title, "none", note="the CPU's kernels are not fused")
        return
    section.figure("compiler", title, anonymous(version.splitlines()[0]))
    section.figure("can_compile", "MLX can fuse kernels for the CPU", device.can_compile_on_cpu())


def check_tf32(exam: Examination, section: Section) -> None:
    """Find out by a product's error in how many bits float32 is multiplied."""
    error = device.product_error()
    exam.has_tf32 = device.is_tf32(error)
    note = _TF32 if exam.has_tf32 else "float32 is multiplied as float32"
    section.figure("tf32", "a float32 product's relative error", error, note=note)


def variables(environment) -> Iterator[tuple[str, str]]:
    """Those of `VARIABLES` that are set, and not by this package.

    A value that may be a name or a path is replaced by "(set)".
    """
    for name in VARIABLES:
        value = environment.get(name)
        if value is not None and value != CUDA_SETTINGS.get(name):
            yield name, value if _KNOWN_VALUE.fullmatch(value) else "(set)"
