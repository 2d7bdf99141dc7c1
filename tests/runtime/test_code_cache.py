"""Compiled code is loaded only if it is ours and whole: each case in a process of its own."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mlx_chatterbox.runtime import code_cache, native
from mlx_chatterbox.runtime.folders import cache_folder
from tests.runtime.processes import printed

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compiled on Linux alone"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
NOBODY = 65534

STATE = """
import sys, warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import mlx_chatterbox
    from mlx_chatterbox.runtime import mlx_folder, native
loaded = [one is not None for one in (native.library(), mlx_folder._library)]
print(loaded == [True] * 2, native.library() and native.library()._name)
print(*[one.message for one in said])
"""
FUSED = """
import os, sys
import mlx_chatterbox
import mlx.core as mx
from mlx_chatterbox.nn import activations, cpu_kernels
mx.set_default_device(mx.cpu)
tuned = cpu_kernels.tuned()
x = mx.random.normal((5, 7))
mx.eval(activations.gelu(x), mx.compile(lambda x: mx.exp(x) * 2.5 + x)(x))
print(tuned, os.environ.get("TMPDIR"))
sys.stdout.flush()
os.system("echo $TMPDIR")
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A cache with all compiled code."""
    cache = tmp_path_factory.mktemp("filled")
    cache.chmod(0o755)
    printed(FUSED, XDG_CACHE_HOME=str(cache))
    return cache


@pytest.fixture
def cache(filled, tmp_path) -> Path:
    """A copy of it, to be damaged."""
    copy = tmp_path / "cache"
    shutil.copytree(filled, copy, symlinks=True)
    return copy


def kernels(cache: Path) -> Path:
    return cache / "mlx-chatterbox" / "kernels"


def libraries(cache: Path) -> list[Path]:
    """The libraries that a start loads: our C, and the one that redirects MLX's folder."""
    found = sorted(kernels(cache).glob("*/native.so")) + sorted(
        kernels(cache).glob("*/mlx_folder.so")
    )
    assert len(found) == 2
    return found


def run(code: str, cache: Path | None, **environment: str) -> tuple[str, int]:
    """Run code in a process; its output and its exit code."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {}), **environment},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr, done.returncode


@pytest.fixture
def planted(tmp_path) -> tuple[Path, Path]:
    """A library that writes a file when it is loaded, and that file's path."""
    told = tmp_path / "told"
    source, library = tmp_path / "planted.c", tmp_path / "planted.so"
    source.write_text(
        "#include <stdio.h>\n"
        f'__attribute__((constructor)) static void run(void) {{ fopen("{told}", "w"); }}\n'
        "void interpose_sgemm(void) {}\n"
    )
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    return library, told


def trust(library: Path) -> None:
    """Write a library's hash beside it, as its own compilation would."""
    content = library.read_bytes()
    beside = library.with_name(f"{library.name}.sha256")
    beside.write_text(f"{len(content)} {hashlib.sha256(content).hexdigest()}\n")


def damages(content: bytes) -> list[bytes]:
    """Contents of a library that a power cut or a bad disk may leave."""
    shares = (0.0, 0.05, 0.2, 0.5, 0.6, 0.9, 0.999)
    cut = [content[: int(len(content) * share)] for share in shares]
    holes = [content[: len(content) // 2] + bytes(len(content) - len(content) // 2)]
    scattered = bytearray(content)
    for place in range(0, len(content), 701):
        scattered[place] ^= 0xA5
    return [*cut, *holes, bytes(scattered), os.urandom(200)]


# --- A library of its own -----------------------------------------------------------------------


class Small:
    """Loads a library with two functions as the package loads its own.

    Attributes:
        compiled: number of times.
    """

    def __init__(self, cache: Path):
        self.cache, self.compiled = cache, 0
        cache.mkdir(mode=0o755)
        self.folder = kernels(cache) / "key"
        self.path = self.folder / "small.so"

    def load(self, monkeypatch) -> list[str]:
        """Load it in another "process"; the messages of its warnings."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        code_cache.root.cache_clear()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            folder = code_cache.root() / "key"
            code_cache.own(folder)
            loaded = code_cache.load_library(folder / "small.so", self._build, ("one", "two"))
        code_cache.root.cache_clear()
        assert (loaded.one(), loaded.two()) == (1, 2)
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(loaded._handle))
        return [str(one.message) for one in said]

    def put(self, library: Path) -> None:
        """Replace the library by another, with a valid hash."""
        self.path.unlink()
        shutil.copy(library, self.path)
        self.path.chmod(0o700)
        trust(self.path)

    def _build(self, path: Path) -> bool:
        self.compiled += 1
        source = "int one(void) { return 1; } int two(void) { return 2; }"
        command = ["gcc", "-x", "c", "-shared", "-fPIC", "-", "-o", path]
        return subprocess.run(command, input=source.encode()).returncode == 0


@pytest.fixture
def small(tmp_path) -> Small:
    """A library in a cache of its own, compiled quickly."""
    return Small(tmp_path / "cache")


def test_a_library_is_compiled_once(small, monkeypatch):
    for _ in range(3):
        assert small.load(monkeypatch) == []
    assert small.compiled == 1


@pytest.mark.parametrize("number", range(10))
def test_a_damaged_library_is_compiled_again(small, monkeypatch, number):
    small.load(monkeypatch)
    whole = small.path.read_bytes()
    small.path.write_bytes(damages(whole)[number])
    assert small.load(monkeypatch) == []
    assert (small.compiled, small.path.read_bytes()) == (2, whole)


@pytest.mark.parametrize("beside", ["", "0", "1 2", "\xff", None])
def test_a_library_with_a_damaged_hash_is_compiled_again(small, monkeypatch, beside):
    small.load(monkeypatch)
    hash_file = small.folder / "small.so.sha256"
    hash_file.unlink()
    if beside is not None:
        hash_file.write_text(beside, encoding="latin-1")
    assert small.load(monkeypatch) == []
    assert small.compiled == 2


def test_a_library_that_lacks_a_name_is_compiled_again(small, monkeypatch, planted):
    library, told = planted
    small.load(monkeypatch)
    small.put(library)
    assert small.load(monkeypatch) == []
    assert told.exists()  # it was ours and whole, and so it was loaded
    assert small.compiled == 2


# --- Others -------------------------------------------------------------------------------------


def own_by_another(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def open_to_others(path: Path) -> None:
    path.chmod(0o777)


def reach_by_link(path: Path) -> None:
    there = path.with_name("elsewhere")
    path.rename(there)
    path.symlink_to(there)


# Places that others may have changed, from the cache's folder on, and whether it can be repaired.
PLACES = {
    ".": False,
    "mlx-chatterbox": False,
    "mlx-chatterbox/kernels": True,
    "mlx-chatterbox/kernels/key": True,
    "mlx-chatterbox/kernels/key/small.so": True,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "spoil", [pytest.param(own_by_another, marks=as_root), open_to_others, reach_by_link]
)
def test_what_others_could_have_put_there_is_not_loaded(
    small, monkeypatch, planted, place, spoil, tmp_path
):
    if spoil is reach_by_link and place in (".", "mlx-chatterbox"):
        pytest.skip("a link of ours to a folder of ours")
    library, told = planted
    small.load(monkeypatch)
    small.put(library)
    spoil(small.cache / place)
    before = small.folder.stat().st_mtime_ns
    said = small.load(monkeypatch)
    assert not told.exists()
    assert small.compiled == 2
    if PLACES[place]:
        assert said == []
        assert small.load(monkeypatch) == []
        assert small.compiled == 2
    else:
        assert len(said) == 1
        assert "compiled code cannot be kept in" in said[0]
        assert str(small.cache / place) in said[0]
        assert small.folder.stat().st_mtime_ns == before


def test_a_link_of_another_is_not_followed(small, monkeypatch, planted, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    small.load(monkeypatch)
    small.put(planted[0])
    top = small.cache / "mlx-chatterbox"
    reach_by_link(top)
    os.lchown(top, NOBODY, NOBODY)
    assert len(small.load(monkeypatch)) == 1
    assert not planted[1].exists()


def test_a_folder_of_an_earlier_version_is_closed_to_others(small, monkeypatch):
    """The usual umask let others read it; some let them write to it."""
    small.load(monkeypatch)
    for mode, compiled in ((0o755, 1), (0o777, 2)):
        kernels(small.cache).chmod(mode)
        assert small.load(monkeypatch) == []
        assert small.compiled == compiled
        for path in [kernels(small.cache), small.folder]:
            assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_cache_on_another_disk_is_reached_by_a_link_of_ours(small, monkeypatch, tmp_path):
    small.load(monkeypatch)
    reach_by_link(small.cache / "mlx-chatterbox")
    assert small.load(monkeypatch) == []
    assert small.compiled == 1


def test_a_relative_cache_folder_does_not_count(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for relative in ("rel", "./rel", "../rel", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == tmp_path / ".cache" / "mlx-chatterbox"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "abs"))
    assert cache_folder() == tmp_path / "abs" / "mlx-chatterbox"


# --- The package's own -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_damaged_libraries_of_the_package_are_compiled_again(cache, number):
    whole = [path.read_bytes() for path in libraries(cache)]
    for path, content in zip(libraries(cache), whole, strict=True):
        path.write_bytes(damages(content)[number])
    told, code = run(STATE, cache)
    assert (code, told.startswith("True")) == (0, True), told
    assert [path.read_bytes() for path in libraries(cache)] == whole
    assert all(map(code_cache.is_intact, libraries(cache)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2, 4, 8, 9])
def test_damaged_kernels_are_compiled_again(cache, number):
    """Those of `cpu_kernels.py`, and those that MLX compiles itself."""
    found = [path for path in kernels(cache).rglob("lib*.so") if path.is_file()]
    assert any("cpu-" in str(path.parent) for path in found)
    for path in found:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(damages(content)[number])
    told, code = run(FUSED, cache)
    assert (code, told.startswith("True")) == (0, True), told


@pytest.mark.slow
def test_a_library_without_a_hash_is_compiled_again(cache, planted):
    """Libraries of an earlier version have no hash, and neither do planted ones."""
    library, told = planted
    for path in libraries(cache):
        shutil.copy(library, path)
        path.with_name(f"{path.name}.sha256").unlink()
    assert run(STATE, cache)[0].startswith("True")
    assert not told.exists()


@pytest.mark.slow
def test_a_verdict_that_was_cut_to_nothing_is_found_again(cache):
    for verdict in [*kernels(cache).glob("*/exp"), *kernels(cache).glob("*/rows-*")]:
        verdict.write_text("")
    assert run(FUSED, cache)[0].startswith("True")
    assert all(path.read_text() == "fast" for path in kernels(cache).glob("*/exp"))
    assert all(path.read_text().isdigit() for path in kernels(cache).glob("*/rows-*"))


@pytest.mark.slow
def test_names_are_all_that_the_library_exports(filled):
    library = libraries(filled)[0]
    exported = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True)
    names = {line.split()[-1] for line in exported.stdout.decode().splitlines()}
    assert names == set(native.NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("place", [".", "mlx-chatterbox"])
def test_an_untrusted_cache_is_reported_once_and_left_alone(cache, place, tmp_path):
    (cache / place).chmod(0o777)
    before = {path: path.lstat().st_mtime_ns for path in cache.rglob("*")}
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    said, code = run(STATE, cache, TMPDIR=str(temporary))
    assert code == 0
    assert said.count("compiled code cannot be kept in") == 1
    assert said.count("others can write to") == 1
    assert {path: path.lstat().st_mtime_ns for path in cache.rglob("*")} == before
    assert str(temporary) in said.split()[1]  # where it was loaded from
    assert not list(temporary.iterdir())  # and which is gone now


# --- What MLX compiles itself ------------------------------------------------------------------


def names_of_kernels() -> set[str]:
    """Kernels that the process below needs, ours and MLX's own."""
    printed(FUSED)
    return {path.name for path in code_cache.root().rglob("lib*.so")}


@pytest.mark.parametrize(
    "owner", [pytest.param(NOBODY, marks=as_root), None], ids=["another's", "ours"]
)
@pytest.mark.parametrize("first", [False, True], ids=["usual", "MLX first"])
def test_what_lies_in_mlx_own_folder_is_not_loaded(planted, tmp_path, owner, first):
    """It is not loaded if another user owns it or could have written to it."""
    library, told = planted
    temporary = tmp_path / "tmp"
    place = temporary / "mlx" / mlx_version() / "cpu"
    place.mkdir(parents=True)
    for name in names_of_kernels():
        shutil.copy(library, place / name)
    if owner is None:
        place.chmod(0o777)
    else:
        for path in [temporary / "mlx", *(temporary / "mlx").rglob("*")]:
            os.chown(path, owner, owner)
    temporary.chmod(0o1777)
    code = ("import mlx.core\n" if first else "") + FUSED
    said, code = run(code, None, TMPDIR=str(temporary))
    assert code == 0, said
    assert not told.exists()
    assert f"{temporary}\n{temporary}\n" in said.replace("True ", "").replace("False ", "")
    assert ("which is not safe to load" in said) is first
    assert (said.startswith("True")) is not first


def mlx_version() -> str:
    import mlx.core as mx

    return mx.__version__


@pytest.mark.slow
def test_what_mlx_compiled_serves_the_next_process(cache, tmp_path):
    """Nothing of it is left in the user's own folder for temporary files."""
    (kept,) = kernels(cache).glob("mlx/cpu-*")
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert len([name for name in before if name.endswith(".so")]) >= 1
    assert run(FUSED, cache, TMPDIR=str(tmp_path))[1] == 0
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert not (tmp_path / "mlx").exists()
    assert not list(kernels(cache).glob("mlx/runs/*"))


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed(cache):
    killed = FUSED + "os.kill(os.getpid(), 9)\n"
    assert run(killed, cache)[1] == -9
    (left,) = kernels(cache).glob("mlx/runs/*")
    os.utime(left, (1, 1))
    assert run(FUSED, cache)[1] == 0
    assert not list(kernels(cache).glob("mlx/runs/*"))
