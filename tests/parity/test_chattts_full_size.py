"""ChatTTS of full size and other weights than the stored reference's, through the commands."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree

import pytest

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.weights.conversion.core import convert_folder

pytestmark = pytest.mark.slow


def test_a_dump_of_a_converted_folder_is_numpys(tmp_path, capsys):
    upstream, converted, inputs = (str(tmp_path / name) for name in ("asset", "converted", "in"))
    assert main(["fabricate", upstream, "--variant", "chattts", "--seed", "7"]) == 0
    convert_folder(upstream, converted)
    assert main(["inputs", inputs, "--variant", "chattts", "--seed", "8"]) == 0
    # Greedy steps in NumPy take a minute, and small ones are tested.
    kept = {n: v for n, v in read_dump(inputs).items() if not n.startswith("generate/")}
    write_dump(inputs, kept)
    outputs = {}
    for backend, folder in (("mlx", converted), ("numpy", upstream)):
        outputs[backend] = str(tmp_path / backend)
        paths = ["--inputs", inputs, "--output", outputs[backend]]
        assert main(["dump", "--checkpoint", folder, "--backend", backend, *paths]) == 0
    capsys.readouterr()
    assert main(["compare", outputs["numpy"], outputs["mlx"]]) == 0
    assert "Parity holds: all 23 comparisons." in capsys.readouterr().out
    rmtree(tmp_path)


def test_every_precision_is_within_its_bounds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fabricate", "made-up", "--variant", "chattts", "--small"]) == 0
    precisions = ["float32", "float16", "bfloat16", "8bit", "4bit"]
    own = ["run", "--weights", "made-up", "--precision", *precisions]
    assert main([*own, "--json", "report.json", "--report", "report"]) == 0
    errors: dict[str, dict[str, float]] = {}
    for row in json.loads(Path("report.json").read_text())["rows"]:
        errors.setdefault(row["output"], {})[row["precision"]] = row["error"]
    states = errors["gpt/code/hidden"]
    assert states["float32"] < 1e-4 < states["float16"] < states["8bit"] < states["4bit"]
    # What reads recordings is of few bits in none.
    assert errors["dvae/encoded_ids"]["4bit"] == 0
    assert set(errors["generate/code/hidden_0"]) == {"float32"}
