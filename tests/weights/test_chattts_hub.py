"""ChatTTS from the hub: the files that are downloaded, and the licence that is stated once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlx_chatterbox.weights.chattts_files import PUBLISHED, WEIGHT_FILES
from mlx_chatterbox.weights.conversion.core import convert

from .chattts_folders import write_upstream
from .hub_stand_in import Hub, hub_stand_in

TERMS = "note: ChatTTS's weights are licensed CC BY-NC 4.0"
# A process for each request, as its cache of warnings would keep the second one silent.
LOAD = """
import sys, warnings
from mlx_chatterbox.api.opening import is_chattts
from mlx_chatterbox.errors import ChatterboxError
from mlx_chatterbox.weights.chattts import load_chattts
from mlx_chatterbox.weights.hub import on_this_machine
warnings.showwarning = lambda message, *_: print("note:", message)
try:
    print("here", on_this_machine("chattts") is not None)
    print("ChatTTS", is_chattts(sys.argv[1]))
    model = load_chattts(sys.argv[1], cache_dir=sys.argv[2] if sys.argv[2:] else None)
    print("loaded", model.config.gpt.num_hidden_layers, model.statistics is not None)
except ChatterboxError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    return write_upstream(tmp_path_factory.mktemp("chattts") / "upstream")


def contents(folder) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def hub():
    with hub_stand_in() as hub:
        yield hub


@pytest.fixture
def asked(tmp_path, hub: Hub):
    """Function that loads a model in a process with caches of its own, and returns what is said."""

    def run(*arguments: str, **environment: str) -> str:
        own = {"HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, *arguments],
            env={**os.environ, **hub.environment(), **own, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_only_its_files_are_downloaded_and_the_licence_is_stated_once(asked, hub, upstream):
    unwanted = {"asset/GPT.pt": b"x" * 99, "asset/Vocos.pt": b"x", "README.md": b"x"}
    config = {"config/path.yaml": b"a: b"}
    hub.add(PUBLISHED.repo, {**contents(upstream), **unwanted, **config})
    lines = asked("chattts").splitlines()
    assert lines[0] == "here False"
    assert [line for line in lines if line.startswith(TERMS)] == lines[2:3]
    assert lines[-1] == "loaded 3 True"
    fetched = {path.partition("/resolve/")[2].partition("/")[2] for _, path in hub.requests}
    wanted = {*WEIGHT_FILES, "asset/spk_stat.pt", "config/path.yaml"}
    assert wanted <= fetched
    assert not fetched & unwanted.keys()
    again = asked("2Noise/ChatTTS")
    assert again.splitlines() == ["here True", "ChatTTS True", "loaded 3 True"]
    # Without the hub, what is here is used.
    assert asked("chattts", HF_HUB_OFFLINE="1").splitlines()[-1] == "loaded 3 True"


def test_a_repository_that_lacks_a_file_is_refused_before_anything_is_downloaded(
    asked, hub, upstream
):
    files = contents(upstream)
    del files["asset/DVAE.safetensors"]
    hub.add(PUBLISHED.repo, files)
    said = asked("chattts")
    assert "HubError 2Noise/ChatTTS has no asset/DVAE.safetensors" in said
    assert TERMS not in said
    assert not [path for _, path in hub.requests if "/resolve/" in path]


def test_converted_models_and_others_in_upstreams_files_load(asked, hub, upstream, tmp_path):
    converted = convert(upstream, tmp_path / "converted", dtype="float16").folder
    hub.add("me/chattts", contents(converted))
    hub.add("me/other", contents(upstream))
    for name in ("me/chattts", "me/other"):
        said = asked(name)
        assert TERMS in said
        assert said.splitlines()[-1] == "loaded 3 True"
        assert "ChatTTS True" in said
        assert TERMS not in asked(name)
    # A folder for downloads of one's own.
    assert TERMS in asked("me/other", str(tmp_path / "downloads"))
    assert TERMS not in asked("me/other", str(tmp_path / "downloads"))
