"""Fine-tuning the bundled voice on its own teachers, with the default settings, harms nothing."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.recognition.held_out import HELD_OUT
from mlx_chatterbox.recognition.recogniser import Recogniser
from mlx_chatterbox.recognition.word_errors import comparable_words, edit_distance, excess_errors
from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.dataset import Data
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.judge import Judge
from mlx_chatterbox.train.loading import load_config
from mlx_chatterbox.train.optimizer import OptimizerSettings
from mlx_chatterbox.train.pocket.texts import held_out_templates
from mlx_chatterbox.train.prepared import prepare
from mlx_chatterbox.train.trained import TrainedTask
from mlx_chatterbox.voices.voice import Voice

pytestmark = pytest.mark.slow

# Pocket was trained on none of these; fine-tuning sees the first 25 alone.
LEARNT, JUDGED = HELD_OUT[:25], [*HELD_OUT[25:], *held_out_templates(21, 50)]
SEEDS = (1, 2)
WORDS = len(SEEDS) * sum(len(comparable_words(text)) for text in JUDGED)
# Three epochs at the default rate move the loss on unseen clips by less, at ten times it by more.
UNSEEN = 0.002
T3 = "freeze_components: [voice_encoder, s3gen]"


@pytest.fixture(scope="module", autouse=True)
def _flite() -> None:
    if shutil.which("flite") is None:
        pytest.fail("install flite: this test needs the speech of pocket's teachers")


def configured(
    folder: Path, voice: str, model: str, training: str = "", texts: Sequence[str] = LEARNT
) -> Path:
    """A configuration that sets only the data, beside clips of a teacher."""
    clips = folder / "clips"
    clips.mkdir(parents=True)
    for number, text in enumerate(texts):
        clip = clips / f"{number:02}.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(clip)], check=True)
        clip.with_suffix(".txt").write_text(text)
    file = folder / "voice.yaml"
    file.write_text(
        f"model:\n  base_model: pocket\n  {model}\n"
        f"dataset:\n  dataset_path: {clips}\n"
        f"training:\n  output_dir: ./run\n  {training}\n"
    )
    return file


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


def unseen_losses(folder: Path, voice: str, final: Path) -> tuple[float, float]:
    """T3's loss of speech on clips that nothing was learnt from: the base's, and the result's."""
    file = configured(folder / "unseen", voice, T3, texts=JUDGED)
    return speech_loss(file), speech_loss(file, f"model.local_model_dir={final}")


@functools.cache
def _recogniser() -> Recogniser:
    return Recogniser()


def hear(waveform: np.ndarray) -> str:
    """Transcribe in a separate process: the recogniser holds Python's lock and is slow."""
    return _recogniser()(waveform)


_heard: dict[bytes, Future] = {}


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        yield processes


def word_errors(model: str | Path, voice: str, pool: ProcessPoolExecutor) -> list[int]:
    """Errors of each judged sentence, over all seeds.

    Equal samples are transcribed once: where weights change little, most sentences of a seed
    stay as they were to the last bit.
    """
    tts = ChatterboxTTS.from_pretrained(str(model))
    pocket = ChatterboxTTS.from_pretrained("pocket").checkpoint.folder
    conditionals = Voice.load(pocket / "voices" / f"{voice}.safetensors")
    found = []
    for text in JUDGED:
        for seed in SEEDS:
            samples = tts.generate(
                text, voice=conditionals, seed=seed, watermark=False, guard=False
            )
            key = samples.tobytes()
            if key not in _heard:
                _heard[key] = pool.submit(hear, samples)
            found.append((comparable_words(text), _heard[key]))
    errors = [edit_distance(said, comparable_words(heard.result())) for said, heard in found]
    return np.array(errors).reshape(len(JUDGED), len(SEEDS)).sum(axis=1).tolist()


_untouched: dict[str, list[int]] = {}


def untouched(voice: str, pool: ProcessPoolExecutor) -> list[int]:
    """The base's errors."""
    if voice not in _untouched:
        _untouched[voice] = word_errors("pocket", voice, pool)
    return _untouched[voice]


@pytest.mark.parametrize(
    ("voice", "model"), [("rms", ""), ("rms", T3), ("slt", f"{T3}\n  lora: {{}}")]
)
def test_25_clips_teach_pocket_and_cost_it_nothing(tmp_path, pool, voice, model):
    file = configured(tmp_path, voice, model)
    own = speech_loss(file, "dataset.loudness_lufs=null", "dataset.trim_silence=false")
    start = speech_loss(file)
    assert main(["--config", str(file)]) == 0
    final = tmp_path / "run" / "final_model"
    end = speech_loss(file, f"model.local_model_dir={final}", "model.lora=null")
    base, unseen = unseen_losses(tmp_path, voice, final)
    before, after = untouched(voice, pool), word_errors(final, voice, pool)
    more, at_least = excess_errors(before, after, WORDS)
    print(
        f"speech loss {own:.3f}, {start:.3f} -> {end:.3f}, unseen {base:.4f} -> {unseen:.4f}; "
        f"errors {sum(before)} -> {sum(after)} of {WORDS} words, {more:+.1%}, at least "
        f"{at_least:+.1%}"
    )
    assert abs(start - own) < 0.05
    assert end < start - 0.005
    assert unseen < base + UNSEEN
    assert at_least <= 0  # else it is more than chance


def trained_at(rate: str, folder: Path) -> Path:
    """A T3 fine-tuned on rms's clips with a given learning rate."""
    file = configured(folder, "rms", T3, f"learning_rate: {rate}")
    assert main(["--config", str(file)]) == 0
    return folder / "run" / "final_model"


def test_ten_times_the_rate_is_seen_in_the_loss_on_unseen_clips(tmp_path):
    base, unseen = unseen_losses(tmp_path, "rms", trained_at("1e-4", tmp_path))
    print(f"unseen {base:.4f} -> {unseen:.4f}")
    assert unseen > base + UNSEEN


def test_three_hundred_times_the_rate_raises_word_errors(tmp_path, pool):
    before = untouched("rms", pool)
    after = word_errors(trained_at("3e-3", tmp_path), "rms", pool)
    _, at_least = excess_errors(before, after, WORDS)
    print(f"errors {sum(before)} -> {sum(after)} of {WORDS} words, at least {at_least:+.1%}")
    assert at_least > 0
