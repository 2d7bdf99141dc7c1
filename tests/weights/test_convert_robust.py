"""Damage is found, a full disk is noticed in advance, and a killed conversion leaves nothing."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import generate
from mlx_chatterbox.convert import __main__ as cli
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights import atomic_folder
from mlx_chatterbox.weights.checkpoint import load, verify_folder
from mlx_chatterbox.weights.conversion.core import convert, convert_folder
from mlx_chatterbox.weights.conversion.upstream import to_upstream
from mlx_chatterbox.weights.formats.torch_zip import write_state_dict
from mlx_chatterbox.weights.hub import resolve
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, check_manifest
from mlx_chatterbox.weights.source_paths import recall
from tests.convert.test_command import conds
from tests.small import small_config
from tests.weights.test_conversion import left_in, save, small_weights
from tests.weights.test_unpickle import Global, torch_save


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An upstream folder with a built-in voice, and what it was converted to."""
    folder = tmp_path_factory.mktemp("made")
    upstream = save(folder / "upstream", to_upstream(small_weights()))
    torch_save(upstream / "conds.pt", conds())
    return upstream, convert_folder(upstream, folder / "ours", config=small_config())


@pytest.fixture
def source(made, tmp_path):
    return Path(shutil.copytree(made[0], tmp_path / "upstream"))


@pytest.fixture
def ours(made, tmp_path):
    return Path(shutil.copytree(made[1], tmp_path / "ours"))


# --- The manifest ------------------------------------------------------------------------------


def test_the_manifest_lists_every_file_as_it_is(ours):
    manifest = json.loads((ours / MANIFEST_NAME).read_text())
    assert set(manifest["files"]) == set(left_in(ours)) - {MANIFEST_NAME}
    for name, entry in manifest["files"].items():
        content = (ours / name).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["files"]["model.safetensors"]["tensors"] == len(small_weights())
    calls = []
    assert check_manifest(ours, lambda *call: calls.append(call)) == len(manifest["files"])
    assert calls[-1][0] == calls[-1][1] == sum(e["bytes"] for e in manifest["files"].values())


def test_parts_in_the_cache_have_a_manifest_too(source, tmp_path):
    folder = convert_folder(
        source, tmp_path / "parts", config=small_config(), shared=tmp_path / "shared"
    )
    assert check_manifest(folder) == len(left_in(folder)) - 1


def tampered(folder, name):
    """One bit of the last bytes, where a file's content is."""
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def lengthened(folder, name):
    with (folder / name).open("ab") as file:
        file.write(b"\n")


def truncated(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-7])


def removed(folder, name):
    (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (tampered, "changed or damaged"),
        (lengthened, "too long"),
        (truncated, "cut short"),
        (removed, "missing"),
    ],
)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "conds.safetensors", "config.json"]
)
def test_any_damage_to_any_file_is_found(ours, damage, match, name):
    damage(ours, name)
    with pytest.raises(CheckpointError, match=match) as caught:
        check_manifest(ours)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unlisted_weights_are_refused(ours):
    shutil.copy(ours / "model.safetensors", ours / "model-t3.safetensors")
    with pytest.raises(CheckpointError, match=r"model-t3\.safetensors is not listed"):
        check_manifest(ours)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"files": {"../escape": {"bytes": 1, "sha256": ""}}}', b'{"files": 3}'],
)
def test_a_damaged_manifest_is_refused(ours, content):
    (ours / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        check_manifest(ours)


def test_check_is_asked_for_by_name(ours, capsys, recording_file, tmp_path):
    assert cli.main(["--check", str(ours)]) == 0
    assert "4 files match the manifest" in capsys.readouterr().out
    load(ours, check=True)
    tampered(ours, "model.safetensors")
    load(ours)  # a tensor edited on purpose still loads
    with pytest.raises(CheckpointError, match="changed or damaged"):
        load(ours, check=True)
    assert cli.main(["--check", str(ours)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    spoken = ["--model", str(ours), "--text", "Hi.", "--voice", str(recording_file), "--check"]
    assert generate.main([*spoken, "--output", str(tmp_path / "a.wav")]) == 1
    assert "changed or damaged" in capsys.readouterr().err
    assert not (tmp_path / "a.wav").exists()


def test_a_folder_without_a_manifest_is_reported_with_the_remedy(ours):
    (ours / MANIFEST_NAME).unlink()
    load(ours)
    with pytest.raises(CheckpointError, match=r"no manifest\.json.*convert"):
        load(ours, check=True)


# --- Before anything is written ----------------------------------------------------------------


@pytest.mark.parametrize("free", [0, 1_000_000])
def test_a_full_disk_is_known_before_anything_is_written(source, tmp_path, monkeypatch, free):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(atomic_folder.shutil, "disk_usage", lambda path: usage._replace(free=free))
    before, calls = left_in(tmp_path), []
    with pytest.raises(CheckpointError, match=r"GB free, and .* GB will be written"):
        convert(
            source,
            tmp_path / "out",
            config=small_config(),
            progress=lambda *call: calls.append(left_in(tmp_path)),
        )
    assert left_in(tmp_path) == before
    assert not calls


def test_room_for_what_is_written_is_enough(source, tmp_path, monkeypatch):
    written = convert(source, tmp_path / "a", config=small_config())
    total = sum(path.stat().st_size for path in written.folder.iterdir())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        atomic_folder.shutil, "disk_usage", lambda path: usage._replace(free=total + 10 * 2**20)
    )
    convert(source, tmp_path / "b", config=small_config())


def test_room_for_the_reference_in_float32_is_looked_for_first(source, tmp_path, monkeypatch):
    """A float16 folder and its float32 copy need three times the space of the folder."""
    weights = convert(source, tmp_path / "a", config=small_config(), dtype="float16").size
    usage, calls = shutil.disk_usage(tmp_path), []
    monkeypatch.setattr("mlx_chatterbox.weights.conversion.core.SPARE_BYTES", 0)
    free = int(2.5 * weights)
    monkeypatch.setattr(atomic_folder.shutil, "disk_usage", lambda path: usage._replace(free=free))
    settings = {"config": small_config(), "dtype": "float16", "verify": calls.append}
    with pytest.raises(CheckpointError, match="GB free"):
        convert(source, tmp_path / "b", **settings, with_reference=True)
    assert not calls
    convert(source, tmp_path / "b", **settings)
    assert len(calls) == 1
    monkeypatch.setattr(
        atomic_folder.shutil,
        "disk_usage",
        lambda path: usage._replace(free=3 * weights + 4 * 2**20),
    )
    convert(source, tmp_path / "c", **settings, with_reference=True)


def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(source, tmp_path, small_config):
    """The very file that upstream publishes as .pt, with a command where a tensor was."""
    marker = tmp_path / "ran"
    for name in ("ve.pt", "s3gen.pt", "conds.pt"):
        folder = tmp_path / f"with {name}"
        shutil.copytree(source, folder)
        (folder / name.replace(".pt", ".safetensors")).unlink(missing_ok=True)
        hostile = Global("os", "system", (f"touch '{marker}'",))
        torch_save(folder / name, {"lstm.weight_ih_l0": hostile})
        before = left_in(tmp_path)
        with pytest.raises(CheckpointError, match=r"asks for os\.system.*nothing of it was run"):
            convert(folder, tmp_path / "out", config=small_config)
        assert left_in(tmp_path) == before
    assert not marker.exists()


# --- No path that would be published -----------------------------------------------------------


def test_no_file_of_the_folder_has_a_path_of_this_machine(source, tmp_path):
    ours = convert_folder(source, tmp_path / "ours", config=small_config())
    again = convert_folder(ours, tmp_path / "again")
    for folder in (ours, again):
        for path in folder.iterdir():
            assert str(tmp_path).encode() not in path.read_bytes(), path
    assert recall(ModelConfig.load(ours).source) == source
    assert recall(ModelConfig.load(again).source) == ours
    assert recall({"files": {"a": "b"}}) is None
    assert recall({}) is None


def test_paths_of_older_folders_are_shortened(ours, tmp_path):
    config = ModelConfig.load(ours)
    config.source = {"fine_tuned_from": {"folder": "/home/somebody/models/chatterbox"}}
    config.save(ours)
    again = ModelConfig.load(convert_folder(ours, tmp_path / "again")).source
    assert again["converted_from"] == {"fine_tuned_from": {"folder": "chatterbox"}}


# --- Killed ------------------------------------------------------------------------------------

KILLED = """
import os, random, signal, sys
from pathlib import Path
from mlx_chatterbox.weights.conversion.core import convert_folder
from mlx_chatterbox.weights import atomic_folder
from tests.small import small_config

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def convert(**settings):
    convert_folder({source!r}, {output!r}, config=small_config(), force=True, **settings)
"""


def run_to_death(source, output, code: str) -> None:
    """Run `code`, which must end by being killed."""
    script = KILLED.format(source=str(source), output=str(output)) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    "moment",
    [
        "convert(progress=lambda done, total: done > total / 4 and die())",
        "convert(progress=lambda done, total: done > total * 0.9 and die())",
        "convert(verify=die)",
    ],
)
def test_what_a_killed_conversion_leaves_goes_with_the_next(source, tmp_path, moment):
    run_to_death(source, tmp_path / "out", moment)
    left = [name for name in left_in(tmp_path) if name != "upstream"]
    assert len(left) == 1
    assert left[0].startswith(".out.tmp-")
    convert_folder(source, tmp_path / "another", config=small_config())
    assert left_in(tmp_path) == ["another", "upstream"]
    convert_folder(source, tmp_path / "out", config=small_config())
    assert left_in(tmp_path) == ["another", "out", "upstream"]


def test_what_somebody_is_writing_is_left_alone(source, tmp_path):
    """Folders of another running process, and folders that only look like ours."""
    code = """
        import time
        def wait(*_):
            print("ready", flush=True)
            time.sleep(60)
        convert(verify=wait)
    """
    script = KILLED.format(source=str(source), output=str(tmp_path / "out"))
    other = subprocess.Popen(
        [sys.executable, "-c", script + textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "ready\n"
        mine = tmp_path / ".notes.tmp-1"
        mine.mkdir()
        (mine / "thesis.txt").touch()
        convert_folder(source, tmp_path / "out", config=small_config())
        assert (tmp_path / f".out.tmp-{other.pid}" / "model.safetensors").is_file()
        assert (mine / "thesis.txt").is_file()
    finally:
        other.kill()
        other.communicate()
    convert_folder(source, tmp_path / "out", config=small_config(), force=True)
    assert left_in(tmp_path) == [".notes.tmp-1", "out", "upstream"]


def whole(folder) -> str:
    """The dtype of a folder that is whole, after the clean-up of the next start."""
    folder = resolve(folder)
    check_manifest(folder)
    verify_folder(folder)
    return ModelConfig.load(folder).dtype


@pytest.mark.parametrize(
    ("exchanges", "moment", "expected"),
    [
        # Two names are exchanged in one step: nothing is ever missing.
        (True, "atomic_folder._move_in = lambda *_: die()", "float32"),
        (True, "atomic_folder.shutil.rmtree = die", "float16"),
        # A file system without exchange: killed between the two renames, and after them.
        (False, "atomic_folder.os.rename = lambda a, b: (real(a, b), die())", "float32"),
        (False, "atomic_folder.shutil.rmtree = die", "float16"),
    ],
)
def test_killed_while_it_takes_the_place_of_another(source, tmp_path, exchanges, moment, expected):
    output = convert_folder(source, tmp_path / "out", config=small_config())
    code = f"""
        real = os.rename
        if not {exchanges}:
            atomic_folder.exchange = lambda *names: False
        {moment}
        convert(dtype="float16")
    """
    run_to_death(source, output, code)
    if not output.exists():
        # Naming a model changes nothing on the disk; converting does.
        before = left_in(tmp_path)
        with pytest.raises(CheckpointError, match=r"out is missing: .* called \.out\.old-\d+ now"):
            whole(output)
        assert left_in(tmp_path) == before
        atomic_folder.recover(output)
    assert whole(output) == expected
    convert_folder(source, output, config=small_config(), force=True)
    assert left_in(tmp_path) == ["out", "upstream"]


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_old_or_the_new_is_whole(source, tmp_path):
    """A process converts into the same folder repeatedly, alternating between two types."""
    output = convert_folder(source, tmp_path / "out", config=small_config())
    code = """
        print("ready", flush=True)
        for turn in range(10**6):
            convert(dtype=("float16", "float32")[turn % 2])
    """
    script = KILLED.format(source=str(source), output=str(output)) + textwrap.dedent(code)
    draw, found = random.Random(0), []
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert child.stdout.readline() == b"ready\n"
        time.sleep(draw.uniform(0.02, 0.4))  # two conversions or so
        child.send_signal(signal.SIGKILL)
        _, errors = child.communicate()
        assert child.returncode == -signal.SIGKILL, errors
        found.append(whole(output))
    assert set(found) <= {"float16", "float32"}
    convert_folder(source, output, config=small_config(), force=True)
    assert left_in(tmp_path) == ["out", "upstream"]


def folder_with(path: Path, name: str) -> Path:
    path.mkdir()
    (path / name).touch()
    return path


def test_what_a_process_moved_aside_is_found_though_its_number_is_another_s(tmp_path):
    """The number of a killed process may be given to a new one."""
    code = """
        real = os.rename
        atomic_folder.exchange = lambda *names: False
        atomic_folder.os.rename = lambda a, b: (real(a, b), die())
        with atomic_folder.whole_folder(Path({output!r}), force=True) as folder:
            (folder / "new").touch()
    """
    output = folder_with(tmp_path / "out", "old")
    run_to_death(tmp_path, output, textwrap.dedent(code).format(output=str(output)))
    (moved,) = tmp_path.glob(".out.old-*")
    moved.rename(tmp_path / f".out.old-{os.getppid()}")  # of a running process
    atomic_folder.recover(output)
    assert left_in(tmp_path) == ["out"]
    assert left_in(output) == ["old"]


def test_an_old_folder_comes_back_if_the_new_one_cannot_be_moved_in(tmp_path, monkeypatch):
    output, real = folder_with(tmp_path / "out", "old"), os.rename

    def rename(a, b):
        if Path(b) == output and ".tmp-" in Path(a).name:
            raise OSError(28, "no space")
        real(a, b)

    monkeypatch.setattr(atomic_folder, "exchange", lambda *names: False)
    monkeypatch.setattr(atomic_folder.os, "rename", rename)
    with (
        pytest.raises(CheckpointError, match="no space"),
        atomic_folder.whole_folder(output, force=True),
    ):
        pass
    assert left_in(tmp_path) == ["out"]
    assert left_in(output) == ["old"]


def test_without_locks_leftovers_of_killed_processes_are_known_by_process_number(
    tmp_path, monkeypatch
):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead = folder_with(tmp_path / f".out.tmp-{gone.pid}", atomic_folder.LOCK)
    alive = folder_with(tmp_path / f".out.tmp-{os.getppid()}", atomic_folder.LOCK)
    monkeypatch.setattr(atomic_folder, "try_lock", lambda handle: None)
    with atomic_folder.whole_folder(tmp_path / "out", force=False) as folder:
        (folder / "new").touch()
    assert not dead.exists()
    assert alive.exists()
    assert left_in(tmp_path / "out") == ["new"]


def test_a_lock_that_another_process_has_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_folder, "try_lock", lambda handle: False)
    with (
        pytest.raises(CheckpointError, match="another process is at work"),
        atomic_folder.whole_folder(tmp_path / "out", force=False),
    ):
        pass
    assert left_in(tmp_path) == []


def test_a_source_that_a_killed_conversion_moved_aside_is_found(ours, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours.rename(ours.with_name(f".{ours.name}.old-{gone.pid}"))
    assert convert(ours, tmp_path / "again").folder.is_dir()
    assert left_in(tmp_path) == ["again", "ours"]


def test_two_folders_are_exchanged_in_one_step(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was {name}").touch()
    if not atomic_folder.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert left_in(tmp_path / "a") == ["was b"]
    assert not atomic_folder.exchange(tmp_path / "a", tmp_path / "gone")


# --- Memory ------------------------------------------------------------------------------------


LARGE = (4096, 1024)


def large_safetensors(ours, upstream):
    large = {f"t3.tensor{n}": mx.full(LARGE, n / 8.0) for n in range(4)}
    mx.save_safetensors(str(ours / "model.safetensors"), large)
    return ours


def large_pt(ours, upstream):
    (upstream / "s3gen.safetensors").unlink()
    layout = {f"flow.tensor{n}": (LARGE, "float32") for n in range(4)}
    tensors = (np.full(LARGE, n / 8.0, np.float32) for n in range(4))
    for _ in write_state_dict(upstream / "s3gen.pt", layout, tensors):
        pass
    return upstream


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux's /proc")
@pytest.mark.parametrize("large", [large_safetensors, large_pt])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_memory_holds_one_tensor_at_a_time(ours, source, tmp_path, dtype, large):
    """Peak is at most 1.3 times a tensor, plus its copy where the type changes."""
    tiny = Path(shutil.copytree(source if large is large_pt else ours, tmp_path / "tiny"))
    ours, shape = large(ours, source), LARGE
    code = f"""
import sys
from mlx_chatterbox.weights.conversion.core import convert_folder

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024

convert_folder({str(tiny)!r}, {str(tmp_path / "first")!r})
before = peak()
convert_folder({str(ours)!r}, {str(tmp_path / "second")!r}, dtype={dtype!r})
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    together = shape[0] * shape[1] * (4 if dtype == "float32" else 4 + 2)
    assert int(done.stdout) <= 1.3 * together


def test_a_macs_own_call_is_given_what_it_wants(tmp_path, monkeypatch):
    """`renamex_np(from, to, RENAME_SWAP)`, 2 in its stdio.h; 0 is success."""
    given = []

    def renamex_np(first, second, flags):
        given.append((first, second, flags.value))
        return len(given) - 1

    monkeypatch.setattr(sys, "platform", "darwin")
    libc = types.SimpleNamespace(renamex_np=renamex_np)
    monkeypatch.setattr(atomic_folder.ctypes, "CDLL", lambda *_, **__: libc)
    assert atomic_folder.exchange(tmp_path / "a", tmp_path / "b")
    assert not atomic_folder.exchange(tmp_path / "a", tmp_path / "b")
    assert given == [(bytes(tmp_path / "a"), bytes(tmp_path / "b"), 2)] * 2
