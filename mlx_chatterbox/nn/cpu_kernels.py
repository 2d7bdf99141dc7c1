"""Fused elementwise kernels for this very processor, on Linux CPUs.

MLX fuses elementwise work on the CPU by writing C++ and calling `g++ -O3`: for the oldest processor
of the architecture, without inlining `exp`, and without the knowledge that results and inputs do
not overlap. With a few more flags, and a line before each loop, the same source runs ten to forty
times faster. MLX has no setting for them. So, once per machine, a process of ours lets MLX write
its sources, with a script in place of `g++` that compiles empty functions; then all sources are
compiled together with the right flags, in a second instead of a dozen. While the kernels are loaded
(once per process), and only then, MLX uses their folder (`mlx_folder.py`); its own compilations go
to another folder of ours. Those of other programs are neither used nor replaced.

`MLX_CHATTERBOX_KERNELS=plain` switches this off, and `MLX_CHATTERBOX_ISA` names an instruction set
to use instead of the processor's. If anything fails, MLX's own compilation serves.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock

import mlx.core as mx

from ..runtime import code_cache, device, mlx_folder
from ..runtime.own_files import write_whole
from ..runtime.processor import compiled_folder, instruction_set

# Before anything is fused.
_MLX_VERSION: str = mx.__version__  # type: ignore[attr-defined]  # not in MLX's stubs
mlx_folder.arrange(_MLX_VERSION)

# None of these lets the compiler reorder sums or ignore NaNs; no kernel uses errno or traps of
# floating-point numbers. The last one lets it inline `exp`, without which no loop is vectorised.
_FLAGS = (
    "-fno-math-errno",
    "-fno-trapping-math",
    "--param=max-inline-insns-auto=1000",
)
# A result overwrites an input exactly, element for element, or lies apart from all inputs. The
# compiler cannot know that, and without this line vectorises only loops of the second kind.
_INDEPENDENT = '_Pragma("GCC ivdep")'
# Stands in for `g++` while MLX writes its sources: keeps the arguments, makes an empty function.
_STAND_IN = """#!/bin/sh
for argument; do
    case "$argument" in *.cpp) source=$argument ;; *.so) library=$argument ;; esac
done
[ -n "$source" ] || exec "$COMPILER" "$@"
printf '%s\\n' "$@" > "$TMPDIR/arguments"
name=$(sed -n 's/^void \\([A-Za-z0-9_]*\\)(.*/\\1/p' "$source")
echo "void $name(void) {}" | "$COMPILER" -x c -shared -o "$library" -
"""
_X86_FLAGS = ("-mprefer-vector-width=512",)
# A vectorised `exp` takes 0.3 to 1 ns an element, another one 5 to 20.
_SLOWEST_EXP_NS = 3.0
# The result of the measurement, in a file beside the compiled kernels.
_VERDICT, _FAST, _SLOW = "exp", "fast", "slow"

# Modules of this package that define kernels.
_MODULES = ("activations", "norm", "rotary")

# Compiled functions, each with inputs that show the layouts it is called with.
_kernels: list[tuple[Callable, list[tuple[tuple[int, ...], ...]]]] = []


def kernel(*examples: tuple[tuple[int, ...], ...]) -> Callable[[Callable], Callable]:
    """Decorator: fuse an elementwise function of float32 arrays.

    Args:
        examples: for each layout (all of one shape; one broadcast to another) the inputs' shapes.
            MLX compiles a kernel for each layout, whatever the sizes. No size may be 1 but where
            an input is broadcast.
    """

    def register(function: Callable) -> Callable:
        # Not `shapeless`: then even the constants are broadcast at run time, by strides, which
        # nothing can vectorise. A new shape costs a retrace of about a millisecond.
        compiled = mx.compile(function)
        _kernels.append((compiled, list(examples)))
        return compiled

    return register


@kernel(((64, 1024),))
def exp_half(x: mx.array) -> mx.array:
    """exp(x / 2), by which it is measured what the compiler made of `exp`."""
    return mx.exp(x * 0.5)


_first_call = Lock()


def tuned() -> bool:
    """Compile and load the kernels on the first call; return True if they run on vector units.

    The first time on a machine this takes some seconds, later some milliseconds.
    """
    # Else two threads would compile at once and disturb each other's measurement.
    with _first_call:
        return _tuned()


@cache
def _tuned() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    if os.environ.get("MLX_CHATTERBOX_KERNELS", "").lower() == "plain":
        return False
    compiler = shutil.which("g++")
    if compiler is None or not mlx_folder.fuses():
        return False
    try:
        target = instruction_set(compiler)
        if target is None:
            return False
        flags = (target, *_flags())
        sources = [Path(__file__).with_name(f"{name}.py").read_text() for name in _MODULES]
        place = compiled_folder(compiler, _MLX_VERSION, _INDEPENDENT, *flags, *sources)
        if not code_cache.is_intact_folder(place / "mlx"):
            code_cache.remove(place / "mlx")
            _compile(compiler, flags, place)
            if not code_cache.is_intact_folder(place / "mlx"):
                return False
        with mlx_folder.used(place):
            _evaluate_all()
        return _fast_enough(place)
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError):
        return False


def tuned_for(x: mx.array) -> bool:
    """Return True where tuned kernels serve for an array: float32 on the CPU."""
    return x.dtype == mx.float32 and device.on_cpu() and tuned()


def _flags() -> tuple[str, ...]:
    return _FLAGS + (_X86_FLAGS if platform.machine() == "x86_64" else ())


def _compile(compiler: str, flags: tuple[str, ...], place: Path) -> None:
    """Compile all kernels in a folder that takes its name when it is complete."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="new-") as folder:
        script = Path(folder) / "bin" / "g++"
        script.parent.mkdir()
        script.write_text(_STAND_IN)
        script.chmod(0o755)
        # In a process of its own: this one is to load the kernels from their final place.
        code = f"from {__package__} import cpu_kernels; cpu_kernels._evaluate_all()"
        package_root = str(Path(__file__).parents[2])
        environment = {
            **os.environ,
            "TMPDIR": folder,
            "COMPILER": compiler,
            "PATH": f"{script.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join([package_root, *filter(None, sys.path)]),
            "MLX_CHATTERBOX_KERNELS": "plain",
            mlx_folder.WRITING: "1",
        }
        _run([sys.executable, "-c", code], environment)
        _compile_together(compiler, flags, Path(folder))
        finished = Path(folder) / "finished"
        (Path(folder) / "mlx").rename(finished)
        code_cache.keep_folder(finished)
        with suppress(OSError):  # another process was faster
            finished.rename(place / "mlx")


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a program to its end.

    Raises:
        subprocess.SubprocessError: it fails, or takes more than 5 minutes.
    """
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)


def _compile_together(compiler: str, flags: tuple[str, ...], folder: Path) -> None:
    """Compile the sources that MLX wrote into one library, in the place of each empty one."""
    sources = sorted((folder / "mlx").rglob("*.cpp"))
    beginning, kernels = "", []
    for source in sources:
        beginning, kernel, body = source.read_text().partition('extern "C"')
        kernels.append(kernel + re.sub(r"^ *for \(", rf"{_INDEPENDENT}\n\g<0>", body, flags=re.M))
    together, library = folder / "mlx" / "kernels.cpp", folder / "mlx" / "kernels.so"
    together.write_text(beginning + "\n".join(kernels))
    arguments = [
        argument
        for argument in (folder / "arguments").read_text().splitlines()
        if argument != "-o" and not argument.endswith((".cpp", ".so"))
    ]
    command = [compiler, *arguments, *flags, "-w", str(together), "-o", str(library)]
    _run(command)
    for empty in (folder / "mlx").glob("*/**/*.so"):
        empty.unlink()
        os.link(library, empty)


def _evaluate_all() -> None:
    """Run each kernel once for each layout, on the CPU: MLX compiles or loads it."""
    for name in _MODULES:
        import_module(f"{__package__}.{name}")
    with mx.stream(mx.cpu):
        for function, examples in _kernels:
            for shapes in examples:
                mx.eval(function(*(mx.ones(shape) for shape in shapes)))


def _fast_enough(place: Path) -> bool:
    """Return True if `exp` was vectorised: a compiler may accept the flags and yet not do it.

    Measured once, and kept beside the kernels: a process on a busy machine would now and then
    measure otherwise, and its results would differ in the last bit.
    """
    verdict = place / _VERDICT
    # An empty or damaged file is ignored.
    with suppress(OSError, KeyError, ValueError):
        return {_FAST: True, _SLOW: False}[verdict.read_text()]
    fast = _exp_nanoseconds() < _SLOWEST_EXP_NS
    with suppress(OSError):
        write_whole(verdict, _FAST if fast else _SLOW)
    return fast


def _exp_nanoseconds() -> float:
    """The time of `exp` for an element, at best: other processes may take most of the core."""
    with mx.stream(mx.cpu):
        x = mx.ones((64, 1024))
        mx.eval(x, exp_half(x))
        seconds = []
        for _ in range(100):
            started = time.perf_counter()
            mx.eval(exp_half(x))
            seconds.append(time.perf_counter() - started)
    return min(seconds) / x.size * 1e9
