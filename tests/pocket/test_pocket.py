"""The voice in the package: it loads, speaks, uses its own settings, and can be trained on."""

from __future__ import annotations

import json
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
import soundfile
from mlx.utils import tree_flatten

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC, Voice
from mlx_chatterbox.convert.__main__ import main as convert
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.generate import main
from mlx_chatterbox.text.clauses import pieces
from mlx_chatterbox.train.loading import load_config
from mlx_chatterbox.weights.checkpoint import load
from mlx_chatterbox.weights.hub import POCKET_FOLDER, resolve

MOST_BYTES = 20e6
VOICES = ("slt", "rms", "awb")


@pytest.fixture(scope="module")
def tts() -> ChatterboxTTS:
    return ChatterboxTTS.from_pretrained("pocket")


def voice(name: str) -> Voice:
    return Voice.load(POCKET_FOLDER / "voices" / f"{name}.safetensors")


def test_the_package_holds_it_all_and_stays_small():
    names = {path.name for path in POCKET_FOLDER.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "lexicon.txt.gz",
        "conds.safetensors",
        "MODEL_CARD.md",
        "manifest.json",
    } <= names
    assert {path.stem for path in (POCKET_FOLDER / "voices").iterdir()} >= set(VOICES)
    size = sum(path.stat().st_size for path in POCKET_FOLDER.rglob("*") if path.is_file())
    assert size < MOST_BYTES
    assert resolve("pocket") == POCKET_FOLDER


def test_its_files_are_those_of_its_manifest(capsys):
    assert convert(["--check", "pocket"]) == 0
    assert "5 files match the manifest, and the model loads." in capsys.readouterr().out


def test_its_card_describes_the_model_and_its_measurements():
    card = (POCKET_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in ("robotic", "flite", "espeak-ng", "WordNet", "SCOWL", "word errors", "Licence"):
        assert word in card


def test_weights_are_packed_on_the_disk_and_plain_in_memory():
    stored = mx.load(str(POCKET_FOLDER / "model.safetensors"))
    assert stored["t3.tfmr.model.layers.0.mlp.up_proj.weight"].dtype == mx.uint32
    networks = load("pocket").networks
    kinds = {value.dtype for _, value in tree_flatten(networks.parameters())}
    assert kinds == {mx.float32}
    half = load("pocket", dtype="float16").networks
    assert half.t3.speech_head.weight.dtype == mx.float16


@pytest.mark.numbers
def test_it_speaks_at_speaking_pace_and_stops(tts):
    text = "The weather is warm today, and the birds are singing."
    spoken = tts.generate(text, seed=1)
    assert tts.stopped
    assert spoken.dtype == np.float32
    assert 1.5 < len(spoken) / tts.sr < 6.0
    assert np.isfinite(spoken).all()
    assert 0.05 < np.abs(spoken).max() <= 1.0


def test_the_same_seed_gives_the_same_audio(tts):
    first, again, other = (tts.generate("Good morning.", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_its_own_settings_act(tts):
    settings = tts.request("Hello.").settings[0].sampling
    config = json.loads((POCKET_FOLDER / "config.json").read_text())["generation"]
    assert settings.temperature == config["temperature"] != 0.8
    assert settings.repetition_penalty == config["repetition_penalty"] == 1.0
    assert config["cfg_weight"] == 0.0
    assert config["cfm_steps"] < 10
    # A full model keeps upstream's.
    from mlx_chatterbox.models.config import GenerationConfig

    assert GenerationConfig().longest_piece == 0


def test_long_texts_are_spoken_in_pieces(tts):
    text = (
        "The old house stands at the end of the road, and nobody has lived in it for years. In the "
        "garden there are apple trees, and a stone wall goes around it all."
    )
    said = pieces(text, tts.defaults.longest_piece)
    assert len(said) > 1
    spoken = tts.generate(text, seed=3)
    assert tts.stopped
    assert len(spoken) / tts.sr > 5.0
    with pytest.raises(SettingError, match="several"):
        tts.generate(text, noise=mx.zeros((1, 10, 80)))
    # Each text of a batch sounds as it does alone.
    both = tts.generate_batch([text, "Yes."], seeds=[3, 4])
    assert both[0].shape == spoken.shape


def test_each_voice_has_its_own_pitch(tts):
    from mlx_chatterbox.train.pocket.evaluation import median_pitch

    found = {
        name: median_pitch(tts.generate("Where are the old books?", voice=voice(name), seed=1))
        for name in ("slt", "rms")
    }
    assert found["slt"] > 1.3 * found["rms"] > 60


def test_a_recording_of_it_gives_a_voice(tts, tmp_path):
    """Cloning from a file, here of its own speech."""
    spoken = tts.generate("A gentle wind moves over the old harbor.", voice=voice("rms"), seed=1)
    soundfile.write(tmp_path / "clip.wav", spoken, tts.sr)
    cloned = tts.voice_of(tmp_path / "clip.wav")
    near = {
        name: float((cloned.speaker_embedding @ voice(name).speaker_embedding.T).item())
        for name in ("slt", "rms")
    }
    assert near["rms"] > near["slt"]


@pytest.mark.numbers
def test_it_converts_voices(tts):
    spoken = tts.generate("Open the window.", voice=voice("rms"), seed=1)
    vc = ChatterboxVC(tts.checkpoint)
    made = vc.generate(spoken, voice=voice("slt"), seed=1)
    assert abs(len(made) - len(spoken)) <= 960


def test_the_command_line_speaks_with_no_model_and_no_network(tmp_path):
    output = tmp_path / "out.wav"
    command = [sys.executable, "-m", "mlx_chatterbox.generate", "--text", "Hello world.",
               "--output", str(output), "--seed", "1"]  # fmt: skip
    empty = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    import os

    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **empty}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pocket" in done.stderr
    samples, rate = soundfile.read(output)
    assert rate == 24000
    assert len(samples) > rate // 2


def test_the_trainer_takes_it_for_a_base(tmp_path):
    from mlx_chatterbox.train import base_model

    path = tmp_path / "voice.yaml"
    path.write_text("model:\n  base_model: pocket\ndataset:\n  dataset_path: recordings\n")
    config = load_config(path)
    assert base_model.find(config) == POCKET_FOLDER
    assert base_model.published(config.model) is None
    checkpoint = base_model.open_base(config)
    assert checkpoint.config.t3.hidden_size < 1024


def test_help_names_it(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "pocket" in capsys.readouterr().out
