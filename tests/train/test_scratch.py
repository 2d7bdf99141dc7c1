"""The networks beyond T3 and the flow learn from random weights."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import SettingError
from tests.rounding import Rounding
from tests.small import small_config
from tests.train.small_networks import gradients, small_networks, train

pytestmark = pytest.mark.numbers


def recorded(index: int, seconds: float = 0.8) -> dict:
    """Features of a synthetic voice."""
    from mlx_chatterbox.audio.kaldi import fbank
    from mlx_chatterbox.audio.mel import s3_tokenizer_log_mel, s3gen_mel, voice_encoder_mel
    from mlx_chatterbox.audio.resample import resample_sinc
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    # After the silence at its beginning.
    waveform = synthetic_voice(2.0, seed=index)[8400:]
    waveform = waveform[: round(seconds * 25) * 960]
    at_16k = resample_sinc(mx.array(waveform), 24000, 16000)
    mel = np.array(s3gen_mel(mx.array(waveform)))
    rng = np.random.default_rng(index)
    return {
        "id": f"clip{index}",
        "key": np.array([3, index], dtype=np.uint32),
        "speaker": f"speaker{index % 2}",
        "waveform": waveform,
        "mel": mel,
        "f0": np.where(mel.mean(axis=1) > -8, 120.0 + 40 * index, 0.0).astype(np.float32),
        "log_mel_16k": np.array(s3_tokenizer_log_mel(at_16k)),
        "fbank": np.array(fbank(at_16k)),
        "ve_mel": np.array(voice_encoder_mel(at_16k)),
        "phones": rng.integers(0, 5, len(mel)),
    }


def scratch_task(name: str):
    from mlx_chatterbox.train.tasks.speaker import SpeakerTask
    from mlx_chatterbox.train.tasks.tokenizer import TokenizerTask
    from mlx_chatterbox.train.tasks.vocoder import VocoderTask

    config = small_config()
    speakers = ["speaker0", "speaker1"]
    if name == "vocoder":
        return VocoderTask(config.s3gen.hift, frames=10)
    if name == "s3_tokenizer":
        return TokenizerTask(config.s3_tokenizer, tokens=12, active_dims=6, phones=5, width=32)
    width = 192 if name == "speaker_encoder" else 256
    return SpeakerTask(name, speakers, width=width, frames=40)


@pytest.mark.parametrize(
    ("name", "steps", "rate"),
    [
        pytest.param("vocoder", 40, 1e-3, marks=pytest.mark.slow),
        ("s3_tokenizer", 60, 2e-3),
        ("speaker_encoder", 15, 1e-3),
        pytest.param("voice_encoder", 20, 1e-2, marks=pytest.mark.slow),
    ],
)
def test_networks_from_scratch_learn(name, steps, rate):
    networks, task = small_networks(), scratch_task(name)
    if hasattr(task, "prepare"):
        task.disable_unused_dims(networks)
    samples = [recorded(index) for index in range(2)]
    losses = train(task, networks, samples, steps, rate, task.extra_module(networks))
    assert losses[-1] < losses[0] / 2, losses


@pytest.mark.parametrize("name", ["vocoder", "s3_tokenizer", "voice_encoder"])
def test_micro_batches_from_scratch_add_up(name):
    networks, task = small_networks(), scratch_task(name)
    module = task.module(networks)
    # The trainer does so too: otherwise work on two cores is evaluated while gradients are traced.
    module.train()
    samples = [recorded(index, 0.3 + 0.2 * index) for index in range(3)]
    value, whole = gradients(task, networks, samples)
    totals = task.counts(task.collate(samples))
    parts = [gradients(task, networks, [one], totals) for one in samples]
    assert sum(part[0] for part in parts) == pytest.approx(value, rel=1e-5)
    rounding = Rounding(
        lambda: [grad for _, grad in sorted(gradients(task, networks, samples)[1].items())],
        [module],
    )
    rounding.check([sum(part[1][key] for part in parts) for key in sorted(whole)], is_one=True)


def test_unused_dimensions_of_the_tokenizer_stay_silent():
    networks, task = small_networks(), scratch_task("s3_tokenizer")
    task.disable_unused_dims(networks)
    one = recorded(0)
    train(task, networks, [one], 2, 1e-2, task.extra_module(networks))
    codes = np.array(networks.s3_tokenizer.encode_mel(mx.array(one["log_mel_16k"])))
    assert (codes // 3**6 == 1 + 3).all()


def test_one_speaker_is_refused():
    from mlx_chatterbox.train.tasks.speaker import SpeakerTask

    with pytest.raises(SettingError, match="two speakers"):
        SpeakerTask("speaker_encoder", ["a", "a"], width=192)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_the_pitch_predictor_has_gradients_beyond_the_range_of_exp(dtype):
    predictor = small_networks().s3gen.mel2wav.f0_predictor
    predictor.set_dtype(dtype)
    mel = 30.0 * mx.random.normal((1, 16, 80), key=mx.random.key(0)).astype(dtype)
    exact = predictor(mel)

    def total(weights):
        predictor.condnet[0].update(weights)
        return predictor(mel).sum()

    gradients = mx.grad(total)(predictor.condnet[0].trainable_parameters())
    assert all(mx.isfinite(value).all() for value in gradients.values())
    assert mx.array_equal(predictor(mel), exact)
