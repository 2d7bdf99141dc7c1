"""`run --weights`: a repository of the hub or a folder, downloaded, converted, compared, reported.

Small networks, and ours in place of PyTorch: the procedure is tested, not the result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.errors import ParityError
from mlx_chatterbox.parity.run import wanted_inputs
from mlx_chatterbox.parity.settings import RunSettings
from mlx_chatterbox.parity.stages import computable, input_names
from mlx_chatterbox.parity.tables.chatterbox import STAGES
from mlx_chatterbox.parity.weights import located
from mlx_chatterbox.weights.variants import variant_named
from tests.weights.hub_stand_in import hub_stand_in

# A process of its own: the hub's client reads the hub's address when it is imported.
RUN = """
import functools, json, sys
from tests.small import small_config
from mlx_chatterbox.parity import run, weights
from mlx_chatterbox.parity.mlx import backend as mlx_backend
from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES

config = small_config()
run.find_interpreter = lambda given: sys.executable
weights.convert_to = functools.partial(weights.convert_to, config=config)
run.inputs_of = lambda converted, settings: make_inputs(config, settings.seed, sizes=SMALL_SIZES)

def reference(python, upstream, inputs, output, variant, t3_file):
    assert (upstream / t3_file).is_file()
    converted = output.parent / "converted"
    outputs = mlx_backend.compute(converted, read_dump(inputs))
    write_dump(output, outputs, {"versions": json.dumps({"torch": "none"})})

run.torch_dump = reference
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def start(tmp_path):
    def run(hub, *arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "hf")}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        command = [sys.executable, "-c", RUN, "run", *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.mark.parametrize("repository", ["ResembleAI/chatterbox", "somebody/voice"])
def test_a_repository_is_downloaded_compared_and_reported(
    start, small_upstream, tmp_path, repository
):
    files = {path.name: path.read_bytes() for path in small_upstream.iterdir() if path.is_file()}
    with hub_stand_in() as hub:
        hub.add(repository, {**files, "talk.mp4": b"not wanted"})
        done = start(hub, "--weights", repository)
        commit = hub.repositories[repository].commits[-1]
        fetched = {name for name, _ in hub.ranges}
    assert done.returncode == 0, done.stderr
    assert "talk.mp4" not in fetched
    report = tmp_path / "parity-report-english"
    assert (report / "report.html").is_file()
    shared = json.loads((report / "share.json").read_text())
    assert (shared["weights"], shared["revision"]) == (repository, commit)
    assert shared["holds"] is True
    assert set(shared["errors"]) == {
        "mlx against torch",
        "mlx against numpy",
        "numpy against torch",
    }
    assert "t3_cfg.safetensors" in shared["sha256"]["weights"]
    assert set(shared["sha256"]["dumps"]) == {"inputs", "torch", "numpy", "mlx float32"}
    assert str(tmp_path) not in (report / "share.json").read_text()


def test_a_variant_chooses_its_files(monkeypatch, tmp_path):
    asked = []

    def download(repository, files):
        asked.append((repository, set(files)))
        return tmp_path

    monkeypatch.setattr("mlx_chatterbox.parity.weights.download", download)
    given = located(RunSettings(variant="multilingual", weights="ResembleAI/chatterbox"))
    assert (given.variant, given.weights) == ("multilingual", tmp_path)
    turbo = variant_named("turbo")
    assert located(RunSettings(weights=turbo.repo)).variant == "turbo"
    assert asked[0][0] == "ResembleAI/chatterbox"
    assert variant_named("multilingual").t3_file in asked[0][1]
    assert variant_named("english").t3_file not in asked[0][1]
    assert turbo.t3_file in asked[1][1]


def test_a_folder_is_identified_by_its_files_and_reported_by_name_alone(small_upstream):
    given = located(RunSettings(weights=str(small_upstream)))
    assert (given.variant, given.weights) == ("english", small_upstream)
    assert given.weights_name == small_upstream.name
    assert located(RunSettings()).variant == "english"


def test_neither_folder_nor_repository_is_one_clear_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(ParityError, match="no such folder, and no repository"):
        located(RunSettings(weights="a/b/c"))
    monkeypatch.setattr("mlx_chatterbox.parity.run.find_interpreter", lambda given: sys.executable)
    assert main(["run", "--weights", str(tmp_path / "absent")]) == 1
    assert "no such folder" in capsys.readouterr().err


# --- Some stages ---------------------------------------------------------------------------------


def test_a_run_of_some_stages_takes_their_inputs_and_says_what_it_leaves_out(capsys):
    names = [*input_names("multilingual"), "pipeline/text"]
    inputs = dict.fromkeys(names, np.zeros(1))
    settings = RunSettings(variant="multilingual", only=("t3*", "sampler"))
    kept = wanted_inputs(inputs, settings)
    computed = [stage.name for stage in computable(kept, STAGES)]
    assert computed == ["t3", "t3_greedy", "sampler"]
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("left out: ")
    assert {"flow", "vocoder", "voice_encoder"} < set(line.removeprefix("left out: ").split(", "))
    assert wanted_inputs(inputs, RunSettings(variant="multilingual")) is inputs
    with pytest.raises(ParityError, match=r"--stages flows: no such stage; there are .*flow"):
        wanted_inputs(inputs, RunSettings(variant="multilingual", only=("flows",)))
    with pytest.raises(ParityError, match="no such stage"):
        wanted_inputs(inputs, RunSettings(variant="multilingual", only=("flash",)))
