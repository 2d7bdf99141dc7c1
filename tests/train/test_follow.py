"""Settings that a configuration leaves open follow the base model: level, trimming, losses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile

from mlx_chatterbox import ChatterboxTTS
from mlx_chatterbox.audio.loudness import normalise_loudness
from mlx_chatterbox.errors import CheckpointError, ConfigError
from mlx_chatterbox.models.config import FineTuningConfig, ModelConfig
from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.data.check import read_clips
from mlx_chatterbox.train.dataset import Data
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.follow import base_lines, follow_base, follow_run
from mlx_chatterbox.train.judge import Judge
from mlx_chatterbox.train.loading import load_config, load_saved, save_config
from mlx_chatterbox.train.optimizer import OptimizerSettings
from mlx_chatterbox.train.pocket.model import pocket_config
from mlx_chatterbox.train.prepared import prepare
from mlx_chatterbox.train.trained import TrainedTask
from mlx_chatterbox.voices.voice import Voice
from mlx_chatterbox.weights.checkpoint import load_converted
from mlx_chatterbox.weights.variants import VARIANTS
from tests.train.data import RATE, section, write

TEXTS = (
    "The red hat is far away.",
    "How many chairs are at school?",
    "I have never seen such a river.",
    "These are wooden answers.",
)
AS_IT_IS = ("dataset.loudness_lufs=null", "dataset.trim_silence=false")


@pytest.fixture(scope="module")
def pocket_speech(tmp_path_factory):
    """Clips by pocket itself in the voice of one of its teachers: the data it knows best."""
    folder = tmp_path_factory.mktemp("pocket_speech")
    tts = ChatterboxTTS.from_pretrained("pocket")
    voice = Voice.load(tts.checkpoint.folder / "voices" / "slt.safetensors")
    for number, text in enumerate(TEXTS):
        waveform = tts.generate(text, voice=voice, seed=number, watermark=False)
        write(folder / f"{number}.wav", waveform, text)
    return folder


def configured(folder, clips, *settings, base="pocket"):
    file = folder / "voice.yaml"
    file.write_text(
        f"model:\n  base_model: {base}\ndataset:\n  dataset_path: {clips}\n  eval_split_size: 0\n"
        "training:\n  output_dir: ./run\n"
    )
    return load_config(file, settings)


def judged(folder, clips, *settings) -> dict[str, dict[str, float]]:
    """The base's losses on all clips, by task, as in training."""
    config = configured(folder, clips, *settings)
    prepared = prepare(config)
    data = Data(config, prepared)
    samples, _ = data.samples(data.features(prepared, Group()), Group())
    networks = prepared.checkpoint.networks
    networks.eval()
    return {
        task.name: Judge(config, samples, Group())(
            TrainedTask(task, networks, OptimizerSettings(), False)
        )
        for task in prepared.tasks
    }


def test_pocket_begins_where_it_is(pocket_speech, tmp_path):
    """Defaults give low losses on its own speech; another level does not."""
    own = judged(tmp_path, pocket_speech, *AS_IT_IS)
    left_open = judged(tmp_path, pocket_speech)
    assert left_open["t3"]["speech"] < own["t3"]["speech"] + 0.05
    assert left_open["flow"]["flow"] < own["flow"]["flow"] + 0.01
    quiet = judged(tmp_path, pocket_speech, "dataset.loudness_lufs=-27")
    assert quiet["t3"]["speech"] > own["t3"]["speech"] + 2
    # Its text head is untrained, and has no part in the loss.
    assert left_open["t3"]["loss"] == pytest.approx(left_open["t3"]["speech"])


def test_a_quiet_speaker_is_brought_to_what_pocket_knows(pocket_speech, tmp_path, capsys):
    own = judged(tmp_path, pocket_speech, *AS_IT_IS)["t3"]["speech"]
    for path in pocket_speech.glob("*.wav"):
        samples, rate = soundfile.read(path, dtype="float32")
        write(tmp_path / "far" / path.name, normalise_loudness(samples, rate, -36.0), rate=rate,
              subtype="FLOAT")  # fmt: skip
        text = path.with_suffix(".txt")
        (tmp_path / "far" / text.name).write_text(text.read_text())
    far = tmp_path / "far"
    left = judged(tmp_path, far, "dataset.loudness_lufs=null")["t3"]["speech"]
    mended = judged(tmp_path, far)["t3"]["speech"]
    assert mended < own + 1 < left
    assert main(["validate", "--config", str(tmp_path / "voice.yaml")]) == 0
    out = capsys.readouterr().out
    assert "else brought to -18.5 (as the base was trained)" in out
    assert "brought to -18.5 LUFS: speaker (-36.0 LUFS)" in out


@pytest.mark.parametrize("name", [*VARIANTS, "pocket"])
def test_what_is_left_open_is_the_bases(name, tmp_path):
    model = pocket_config() if name == "pocket" else VARIANTS[name].default_config()
    config = configured(tmp_path, tmp_path)
    follow_base(config, model)
    follow_base(config, model)  # once more changes nothing
    data, training = config.dataset, config.training
    level = -27.0 if name in ("turbo", "nano") else None
    margin, limits = (0.3, [-23.0, -14.0]) if name == "pocket" else (0.1, None)
    assert (data.loudness_lufs, data.loudness_range_lufs) == (level, limits)
    assert (data.trim_silence, data.trim_margin_s) == (True, margin)
    if name == "pocket":
        assert training.loss_weights == {"text": 0.0, "mu": 0.5}
        assert (training.text_dropout, training.condition_dropout) == (0.05, 0.0)
        assert training.start_share == 0.5
        assert training.token_noise == 0.08
    else:
        assert training.loss_weights == {}
        assert (training.text_dropout, training.condition_dropout) == (0.1, 0.2)
        assert training.token_noise == 0.0
    is_written_out = name in ("pocket", "flash")
    assert data.normalize is is_written_out
    assert training.learning_rate == (1e-5 if name == "pocket" else 5e-5)
    line = base_lines(configured(tmp_path, tmp_path), model)
    assert ("learning_rate 1e-05, text_dropout 0.05, token_noise 0.08" in line) == (
        name == "pocket"
    )
    assert f"silence cut to {margin:g} s" in line
    how = "written out in words as when speaking" if is_written_out else "not normalised"
    assert f"texts: {how} (as the base does)" in line
    assert ("brought to -27 LUFS (as the base has its references)" in line) == (level is not None)


def test_what_is_written_down_wins(tmp_path):
    turbo, pocket = VARIANTS["turbo"].default_config(), pocket_config()
    for model, setting, name, value in (
        (turbo, "dataset.loudness_lufs=null", "loudness_lufs", None),
        (turbo, "dataset.loudness_lufs=-20", "loudness_lufs", -20.0),
        (turbo, "dataset.trim_margin_s=0.05", "trim_margin_s", 0.05),
        (pocket, "dataset.loudness_lufs=null", "loudness_range_lufs", None),
        (pocket, "dataset.loudness_range_lufs=[-30, -10]", "loudness_range_lufs", [-30.0, -10.0]),
        (pocket, "dataset.trim_silence=false", "trim_silence", False),
        (pocket, "dataset.trim_margin_s=0.1", "trim_margin_s", 0.1),
    ):
        config = configured(tmp_path, tmp_path, setting)
        assert "as the configuration says" in base_lines(config, model)
        follow_base(config, model)
        assert getattr(config.dataset, name) == value, setting
    lora = configured(tmp_path, tmp_path, "model.lora={}")
    follow_base(lora, pocket)
    assert lora.training.learning_rate == 5e-5
    weights = configured(tmp_path, tmp_path, "training.loss_weights={text: 0.5}")
    follow_base(weights, pocket)
    assert weights.training.loss_weights == {"text": 0.5, "mu": 0.5}
    # The loss has no part "mu" to weigh while the flow is frozen.
    alone = configured(tmp_path, tmp_path, "model.freeze_components=[s3gen]")
    follow_base(alone, pocket)
    assert alone.training.loss_weights == {"text": 0.0}


def test_a_run_keeps_what_it_was_begun_with(tmp_path):
    config = configured(tmp_path, tmp_path, base="turbo")
    follow_base(config, VARIANTS["turbo"].default_config())
    save_config(config, tmp_path / "saved.yaml")
    saved = load_saved(tmp_path / "saved.yaml")
    follow_base(saved, pocket_config())
    assert saved.dataset == config.dataset
    assert saved.training == config.training
    again = configured(tmp_path, tmp_path, "dataset.trim_margin_s=0.2")
    follow_run(again, saved)
    follow_base(again, pocket_config())
    assert again.dataset.loudness_lufs == -27.0
    assert again.dataset.trim_margin_s == 0.2


def test_the_margin_is_as_wide_as_configured(tmp_path, voices):
    speech = voices[0][8400:-12000]
    silence = np.zeros(2 * RATE, np.float32)
    write(tmp_path / "a.wav", np.concatenate([silence, speech, silence]), "Much silence.")
    lengths = {}
    for margin in (0.0, 0.1, 0.5):
        (clip,), _ = read_clips(section(tmp_path, trim_silence=True, trim_margin_s=margin))
        lengths[margin] = clip.seconds
    assert lengths[0.1] - lengths[0.0] == pytest.approx(0.2, abs=1e-3)
    assert lengths[0.5] - lengths[0.0] == pytest.approx(1.0, abs=1e-3)


def test_a_range_is_two_ascending_numbers(tmp_path):
    for setting in ("[-14, -23]", "[-14]", "[-14, -14]"):
        with pytest.raises(ConfigError, match="two numbers, the lower first"):
            configured(tmp_path, tmp_path, f"dataset.loudness_range_lufs={setting}")
    with pytest.raises(ConfigError, match="both set"):
        configured(
            tmp_path,
            tmp_path,
            "dataset.loudness_range_lufs=[-23, -14]",
            "dataset.loudness_lufs=-20",
        )


def test_config_json_has_fine_tuning_only_if_it_is_set(tmp_path, small_checkpoint):
    assert "fine_tuning" not in load_converted(small_checkpoint).config.to_dict()
    config = dataclasses.replace(ModelConfig(), fine_tuning=pocket_config().fine_tuning)
    config.save(tmp_path)
    assert ModelConfig.load(tmp_path) == config
    for wrong in (
        {"trim_margin_s": "0.1"},
        {"speech_lufs": [-14.0]},
        {"speech_lufs": -14.0},
        {"loss_weights": {"text": 0.0}},
        {"trim_silence": 1.0},
    ):
        with pytest.raises(CheckpointError, match=r"fine_tuning|FineTuningConfig"):
            FineTuningConfig.from_dict(wrong)


def test_the_bundled_pocket_states_how_it_was_trained():
    from mlx_chatterbox.weights.hub import resolve

    assert ModelConfig.load(resolve("pocket")).fine_tuning == pocket_config().fine_tuning
