"""Fine-tuning the bundled voice on its own teachers, with the default settings, harms nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.config import load_config
from mlx_chatterbox.train.dataset import Data
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.judge import Judge
from mlx_chatterbox.train.optimizer import OptimizerSettings
from mlx_chatterbox.train.pocket.heldout import HELD_OUT
from mlx_chatterbox.train.pocket.judging import Recogniser, score
from mlx_chatterbox.train.prepared import prepare
from mlx_chatterbox.train.trained import TrainedTask
from mlx_chatterbox.voice import Voice

pytestmark = pytest.mark.slow

# None of these has pocket been trained on.
LEARNT, JUDGED = HELD_OUT[:25], HELD_OUT[25:]
SEEDS = (1, 2, 3)
# Of 555 words another seed's draw alone moves the share of errors by so much (docs/pocket.md).
NOISE = 0.03


def spoken(folder: Path, voice: str) -> Path:
    """25 clips of a teacher."""
    if shutil.which("flite") is None:
        pytest.fail("install flite: this test needs the speech of pocket's teachers")
    folder.mkdir()
    for number, text in enumerate(LEARNT):
        clip = folder / f"{number:02}.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(clip)], check=True)
        clip.with_suffix(".txt").write_text(text)
    return folder


def speech_loss(file: Path, *settings: str) -> float:
    """T3's loss of speech on all clips, on the same keys every time."""
    config = load_config(file, ["dataset.eval_split_size=0", *settings])
    prepared = prepare(config)
    data = Data(config, prepared)
    samples, _ = data.samples(data.features(prepared, Group()), Group())
    networks = prepared.checkpoint.networks
    networks.eval()
    task = next(task for task in prepared.tasks if task.name == "t3")
    judge = Judge(config, samples, Group())
    return judge(TrainedTask(task, networks, OptimizerSettings(), False))["speech"]


def word_errors(model: str | Path, voice: str) -> float:
    tts = ChatterboxTTS.from_pretrained(str(model))
    pocket = ChatterboxTTS.from_pretrained("pocket").checkpoint.folder
    conditionals = Voice.load(pocket / "voices" / f"{voice}.safetensors")
    recogniser, errors, words = Recogniser(), 0, 0
    for seed in SEEDS:

        def speak(text: str, seed: int = seed):
            return tts.generate(text, voice=conditionals, seed=seed, watermark=False, guard=False)

        found = score(JUDGED, speak, recogniser)
        errors, words = errors + found.errors, words + found.words
    return errors / words


@pytest.mark.parametrize(
    ("voice", "model"),
    [
        ("rms", ""),
        ("rms", "freeze_components: [voice_encoder, s3gen]"),
        ("slt", "freeze_components: [voice_encoder, s3gen]\n  lora: {}"),
    ],
)
def test_25_clips_teach_pocket_and_cost_it_nothing(tmp_path, voice, model):
    file = tmp_path / "voice.yaml"
    file.write_text(
        f"model:\n  base_model: pocket\n  {model}\n"
        f"dataset:\n  dataset_path: {spoken(tmp_path / 'clips', voice)}\n"
        "training:\n  output_dir: ./run\n"
    )
    own = speech_loss(file, "dataset.loudness_lufs=null", "dataset.trim_silence=false")
    start = speech_loss(file)
    assert main(["--config", str(file)]) == 0
    final = tmp_path / "run" / "final_model"
    end = speech_loss(file, f"model.local_model_dir={final}", "model.lora=null")
    before, after = word_errors("pocket", voice), word_errors(final, voice)
    print(f"speech loss {own:.3f}, {start:.3f} -> {end:.3f}; words {before:.3f} -> {after:.3f}")
    assert abs(start - own) < 0.05
    assert end < start - 0.005
    assert after <= before + NOISE
