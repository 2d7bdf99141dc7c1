"""Downloads through the real huggingface_hub client, from a stand-in for the hub."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import pytest

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.weights.manifest import check_manifest
from tests.weights import mlx_audio_layout
from tests.weights.hub_stand_in import PIECE, Hub, hub_stand_in

SIZE = 24 * 2**20  # the client writes in pieces of 10 MB

FETCH = """
import sys
from mlx_chatterbox.weights.hub import resolve
print(resolve(sys.argv[1]))
"""


@pytest.fixture
def hub():
    with hub_stand_in() as hub:
        yield hub


@pytest.fixture
def start(tmp_path, hub):
    """Function that starts a process with an empty cache, which fetches from the stand-in."""

    def fetch(name: str = "somebody/model", code: str = FETCH) -> subprocess.Popen:
        environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "hf")}
        command = [sys.executable, "-c", code, name]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return fetch


def test_a_killed_download_goes_on_where_it_was(start, hub: Hub, tmp_path):
    content = random.Random(0).randbytes(SIZE)
    files = {"model.safetensors": content, "config.json": b"{}", "unwanted.bin": b"x"}
    hub.add("somebody/model", files)
    half_way, over = threading.Event(), threading.Event()

    def hold(name: str, count: int) -> None:
        if name == "model.safetensors" and count > SIZE // 2:
            half_way.set()
            over.wait(60)

    hub.sending = hold
    first = start()
    assert half_way.wait(60)
    # The client writes received bytes in pieces of its own.
    until = time.monotonic() + 30
    while not any(p.stat().st_size for p in tmp_path.rglob("*.part")):
        assert time.monotonic() < until
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    over.set()

    hub.ranges.clear()
    second = start()
    output, errors = second.communicate(timeout=60)
    assert second.returncode == 0, errors
    folder = Path(output.strip())
    assert (folder / "model.safetensors").read_bytes() == content
    assert (folder / "config.json").read_bytes() == b"{}"
    assert not (folder / "unwanted.bin").exists()
    begins = dict(hub.ranges)
    assert 0 < begins["model.safetensors"] <= SIZE // 2 + 2 * PIECE
    assert not list(tmp_path.rglob("*.part"))

    hub.ranges.clear()
    third = start()
    assert third.communicate(timeout=60)[0].strip() == str(folder)
    assert not hub.ranges  # all of it was in the cache


def test_a_download_that_came_damaged_is_refused(start, hub):
    """The hub's name for a large file is its SHA-256."""
    hub.add("somebody/model", {"model.safetensors": bytes(SIZE)})
    hub.tags["model.safetensors"] = "0" * 64
    done = start()
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert "was damaged on the way" in errors


def test_parts_of_other_downloads_stay(start, hub, tmp_path):
    """Parts of other files, and those of running downloads, stay; outdated ones go."""
    fcntl = pytest.importorskip("fcntl")
    files = {"model.safetensors": bytes(SIZE), "other.md": b"x"}
    code = (
        "from mlx_chatterbox.weights.hub import download\n"
        "download('somebody/model', ['*.safetensors'])"
    )
    blobs = tmp_path / "hf" / "hub" / "models--somebody--model" / "blobs"
    blobs.mkdir(parents=True)
    hub.add("somebody/model", files)
    other = blobs / f"{hashlib.sha1(files['other.md']).hexdigest()}.part"
    outdated, in_use = blobs / f"{'0' * 40}.part", blobs / f"{'1' * 40}.part"
    for part in (other, outdated, in_use):
        part.write_bytes(b"begun")
    with in_use.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = start(code=code)
        _, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    assert set(blobs.glob("*.part")) == {other, in_use}


def test_addresses_are_asked_for_file_by_file_and_hashes_taken_under_the_lock(
    tmp_path, monkeypatch
):
    """A signed address must not expire while other files are downloaded."""
    import huggingface_hub
    from huggingface_hub import file_download

    from mlx_chatterbox.weights import downloads

    fcntl = pytest.importorskip("fcntl")
    content = random.Random(1).randbytes(1000)
    tag = hashlib.sha256(content).hexdigest()
    done = []

    def about(url):
        done.append(("asked", url))
        return SimpleNamespace(location=f"http://{url}", etag=tag, size=len(content))

    def get(location, file, **_):
        done.append(("fetched", location))
        file.write(content)

    def hashed(path):
        with path.open("ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return tag

    missing = [(name, name, SimpleNamespace(etag=name, size=1000)) for name in ("a", "b")]
    missing[1][2].etag = tag
    monkeypatch.setattr(downloads, "_missing", lambda *_: missing)
    monkeypatch.setattr(downloads, "sha256", hashed)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", about)
    monkeypatch.setattr(file_download, "http_get", get)
    downloads.fetch_large_files("somebody/model", ["*"], tmp_path)
    assert done == [
        ("asked", "a"), ("fetched", "http://a"), ("asked", "b"), ("fetched", "http://b")
    ]  # fmt: skip
    blobs = tmp_path / "models--somebody--model" / "blobs"
    assert {path.name for path in blobs.iterdir()} == {"a", tag}


def test_a_disk_too_small_for_a_download_is_known_before(start, hub):
    code = """
import shutil, sys
from mlx_chatterbox.weights import downloads
from mlx_chatterbox.weights.hub import resolve
downloads.shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**6, 0, 10**6)
resolve(sys.argv[1])
"""
    hub.add("somebody/model", {"model.safetensors": bytes(SIZE)})
    done = start(code=code)
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert "GB free: make room" in errors
    assert not hub.ranges


def test_the_speech_tokenizer_of_mlx_audios_models_is_fetched(start, hub):
    hub.add("mlx-community/S3TokenizerV2", {"model.safetensors": b"tokens", "README.md": b""})
    code = "from mlx_chatterbox.weights.hub import speech_tokenizer\nprint(speech_tokenizer())"
    output, errors = start(code=code).communicate(timeout=60)
    assert Path(output.strip()).read_bytes() == b"tokens", errors


def test_a_repository_that_is_not_there_is_one_line(start):
    done = start("somebody/nothing")
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert "HubError: the hub has no repository somebody/nothing" in errors


CONVERT = """
import copy, dataclasses, sys
from convert import __main__ as cli
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config

config = small_config()
VARIANTS["english"] = dataclasses.replace(
    VARIANTS["english"], default_config=lambda: copy.deepcopy(config)
)
sys.exit(cli.main(sys.argv[1:] + ["ours"]))
"""


@pytest.mark.parametrize("layout", ["upstream", "mlx-audio"])
def test_a_repository_is_converted_whatever_its_layout(
    start, hub, tmp_path, monkeypatch, small_checkpoint, small_upstream, layout
):
    """The speech tokenizer that mlx-audio's repository lacks is fetched as well."""
    weights = dict(mx.load(str(small_checkpoint / "model.safetensors")))
    community = mlx_audio_layout.write(tmp_path / "c" / "model", weights)
    folders = {
        "somebody/model": small_upstream if layout == "upstream" else community,
        "mlx-community/S3TokenizerV2": tmp_path / "c" / "S3TokenizerV2",
    }
    for name, folder in folders.items():
        hub.add(name, {path.name: path.read_bytes() for path in folder.iterdir()})
    (tmp_path / "out").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path / "out")
    output, errors = start(code=CONVERT).communicate(timeout=120)
    assert f"from {layout}'s files" in output, errors
    folder = tmp_path / "out" / "ours"
    assert check_manifest(folder)
    source = ModelConfig.load(folder).source
    assert source["repository"] == "somebody/model"
    assert source["layout"] == layout
    stored = mx.load(str(folder / "model.safetensors"))
    for key, value in weights.items():
        assert ".bias_" in key or mx.array_equal(stored[key], value), key
