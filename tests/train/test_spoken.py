"""T3 and the flow learn forty spoken clips through the command line; all weights and LoRA.

The network is the tests' small one, from random weights; the bar is the same for all: T3's loss
falls below a tenth, and its greedy decoding repeats every clip's tokens; the flow's loss falls by
half, on the same noise and times before and after.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.dataset import Data
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.judge import Judge
from mlx_chatterbox.train.loading import load_config
from mlx_chatterbox.train.optimizer import OptimizerSettings
from mlx_chatterbox.train.prepared import prepare
from mlx_chatterbox.train.trained import TrainedTask
from tests.pocket.spoken import OTHER_SENTENCES, SENTENCES, speak_clips
from tests.train.small_networks import spoken

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return speak_clips(tmp_path_factory.mktemp("spoken"))


def configuration(
    folder: Path,
    clips: Path,
    base: Path,
    component: str,
    epochs: int,
    rate: float,
    model: str = "",
    loudness: float = -27.0,
) -> Path:
    """A YAML file that trains one component on all clips.

    Args:
        model: more of the section `model`.
    """
    folder.mkdir(exist_ok=True)
    file = folder / "voice.yaml"
    file.write_text(
        f"""\
model:
  local_model_dir: {base}
  freeze_components: [voice_encoder, {"s3gen" if component == "t3" else "t3"}]
  {model}
dataset:
  dataset_path: {clips}
  eval_split_size: 0
  feature_cache_dir: {clips.parent / "features"}
  loudness_lufs: {loudness}
training:
  output_dir: ./run
  num_train_epochs: {epochs}
  per_device_train_batch_size: 8
  learning_rate: {rate}
  lr_scheduler_type: cosine
  warmup_steps: 10
  logging_steps: 25
  eval_strategy: no
  save_strategy: no
  spoken_samples: false
  {"text_dropout: 0" if component == "t3" else "condition_dropout: 0"}
"""
    )
    return file


def learn(file: Path) -> Path:
    """Validate and train, as a user would; the final model's folder."""
    assert main(["validate", "--config", str(file)]) == 0
    assert main(["--config", str(file)]) == 0
    return file.parent / "run" / "final_model"


def judged(file: Path, model: Path) -> tuple[float, list, object]:
    """A model's loss over all clips, on fixed keys; the samples; the networks."""
    settings = [f"model.local_model_dir={model}", "model.lora=null"]
    config = load_config(file, settings)
    prepared = prepare(config)
    data = Data(config, prepared)
    assert len(data.train) == len(SENTENCES) == 40
    samples, _ = data.samples(data.features(prepared, Group()), Group())
    networks = prepared.checkpoint.networks
    networks.eval()
    trained = TrainedTask(prepared.tasks[0], networks, OptimizerSettings(), False)
    loss = Judge(config, samples, Group())(trained)["loss"]
    made = [samples.make(clip, np.array([7, clip], np.uint32)) for clip in range(len(data.train))]
    return loss, made, networks


def assert_known_by_heart(file: Path, base: Path, final: Path) -> None:
    """Assert that T3 passes its bar."""
    before, _, _ = judged(file, base)
    after, samples, networks = judged(file, final)
    assert after < before / 10, (before, after)
    tokens = [sample["speech_tokens"].tolist() for sample in samples]
    # Too long to be right by chance.
    assert len({tuple(clip) for clip in tokens}) == 40
    assert len({token for clip in tokens for token in clip}) > 30
    wrong = [
        sample["id"]
        for sample, clip in zip(samples, tokens, strict=True)
        if spoken(networks, sample) != clip
    ]
    assert not wrong


def assert_halved(file: Path, base: Path, final: Path) -> None:
    """Assert that the flow passes its bar."""
    before, _, _ = judged(file, base)
    after, _, _ = judged(file, final)
    assert after < before / 2, (before, after)


def test_t3_learns_forty_spoken_clips_by_heart(tmp_path, clips, small_checkpoint):
    file = configuration(tmp_path, clips, small_checkpoint, "t3", 60, 5e-3)
    assert_known_by_heart(file, small_checkpoint, learn(file))


def test_lora_teaches_t3_other_sentences(tmp_path, clips, small_checkpoint):
    """Adapters leave T3's heads alone, so the base must be able to speak: it has learnt forty other
    clips of the same voices."""
    others = speak_clips(tmp_path / "others", OTHER_SENTENCES)
    base = learn(configuration(tmp_path / "base", others, small_checkpoint, "t3", 30, 5e-3))
    lora = "lora: {rank: 32, alpha: 64}"
    file = configuration(tmp_path, clips, base, "t3", 60, 3e-3, lora)
    final = learn(file)
    assert (tmp_path / "run" / "last" / "adapters.safetensors").is_file()
    assert_known_by_heart(file, base, final)


def test_the_flow_learns_forty_spoken_clips(tmp_path, clips, small_checkpoint):
    file = configuration(tmp_path, clips, small_checkpoint, "flow", 20, 1e-2)
    assert_halved(file, small_checkpoint, learn(file))


def test_lora_teaches_the_flow(tmp_path, clips, small_checkpoint):
    """The base has learnt the same recordings at a much lower level."""
    quiet = {"loudness": -60.0}
    first = configuration(tmp_path / "base", clips, small_checkpoint, "flow", 20, 1e-2, **quiet)
    base = learn(first)
    lora = "lora: {rank: 16, alpha: 64}"
    file = configuration(tmp_path, clips, base, "flow", 60, 5e-3, lora)
    final = learn(file)
    assert (tmp_path / "run" / "last" / "adapters.safetensors").is_file()
    assert_halved(file, base, final)
