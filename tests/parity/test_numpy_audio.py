"""The NumPy reference stands on its own, and draws tokens as Hugging Face's processors would."""

import subprocess
import sys

import numpy as np
import pytest

from mlx_chatterbox.parity.numpy.backend import compute, sampler_probs

pytestmark = pytest.mark.numbers

PLAIN = {"repetition_penalty": 1.0, "temperature": 1.0, "min_p": 0.0, "top_p": 1.0}
LOGITS = np.log([0.5, 0.3, 0.15, 0.05])
NOTHING = np.zeros(0, np.int32)


def test_it_needs_neither_mlx_nor_what_it_checks():
    code = (
        "import sys, parity.numpy.backend; "
        "print([m for m in ('mlx', 'mlx_chatterbox', 'torch', 'librosa') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_only_stages_with_all_their_inputs_are_computed():
    assert compute({}) == {}
    assert compute({"sampler/logits": LOGITS[None]}) == {}
    noise = np.random.default_rng(0).normal(size=48_000).astype(np.float32)
    outputs = compute({"audio/ref_24k": noise})
    assert {name: value.shape for name, value in outputs.items()} == {
        "s3gen/ref_mel": (100, 80),
        "resample/ref_16k": (32_000,),
        "resample/sinc_16k": (32_000,),
    }
    assert all(value.dtype == np.float32 for value in outputs.values())


def test_neutral_settings_leave_the_softmax():
    assert np.allclose(sampler_probs(LOGITS, NOTHING, **PLAIN), [0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("temperature", 0.5, np.array([25, 9, 2.25, 0.25]) / 36.5),
        ("min_p", 0.31, np.array([50, 30, 0, 0]) / 80),
        ("min_p", 1.0, [1, 0, 0, 0]),
        ("top_p", 0.85, np.array([50, 30, 15, 0]) / 95),
        ("top_p", 0.7, np.array([50, 30, 0, 0]) / 80),
        ("top_p", 0.0, [1, 0, 0, 0]),
    ],
)
def test_each_setting_alone(setting, value, expected):
    got = sampler_probs(LOGITS, NOTHING, **{**PLAIN, setting: value})
    assert np.allclose(got, expected)


def test_repetition_is_penalised_once_and_away_from_zero():
    logits = np.array([2.0, -2.0, 1.0])
    got = sampler_probs(logits, np.array([0, 1, 0, -1]), **{**PLAIN, "repetition_penalty": 2.0})
    expected = np.exp([1.0, -4.0, 1.0])
    assert np.allclose(got, expected / expected.sum())


def test_temperature_comes_before_min_p():
    # Cold makes the second token rare enough to fall; the other order would keep it.
    got = sampler_probs(LOGITS, NOTHING, **{**PLAIN, "temperature": 0.5, "min_p": 0.5})
    assert np.allclose(got, [1, 0, 0, 0])


def test_greedy_decoding_has_no_distribution():
    with pytest.raises(ValueError, match="temperature"):
        sampler_probs(LOGITS, NOTHING, **{**PLAIN, "temperature": 0.0})


def test_settings_are_read_as_decimals():
    # 0.7 in float32 is 0.699999988: taken literally it would drop the second token here.
    inputs = {
        "sampler/logits": np.log([[0.699999995, 0.300000005]]),
        "sampler/history": np.zeros((1, 0), np.int32),
        "sampler/settings": np.array([[1.0, 1.0, 0.0, 0.7]], np.float32),
    }
    assert np.allclose(compute(inputs)["sampler/probs"], [[0.7, 0.3]])


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(20))
def test_the_sampler_equals_hugging_face(seed):
    from mlx_chatterbox.parity.torch.env import prepare

    prepare()
    import torch
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopPLogitsWarper,
    )

    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(1, 8194)) * rng.choice([1, 3, 8])).astype(np.float32)
    history = rng.integers(0, 8194, size=(1, 40)).astype(np.int32)
    penalty, temperature = float(rng.choice([1.0, 1.2, 2.0])), float(rng.choice([0.5, 0.8, 1.3]))
    min_p, top_p = float(rng.choice([0.0, 0.05, 0.2])), float(rng.choice([0.5, 0.95, 1.0]))
    scores, tokens = torch.from_numpy(logits.copy()), torch.from_numpy(history).long()
    for processor in (
        RepetitionPenaltyLogitsProcessor(penalty=penalty),
        TemperatureLogitsWarper(temperature),
        MinPLogitsWarper(min_p=min_p),
        TopPLogitsWarper(top_p=top_p),
    ):
        scores = processor(tokens, scores)
    theirs = torch.softmax(scores, dim=-1).numpy()
    settings = np.array([[penalty, temperature, min_p, top_p]], np.float32)
    ours = compute(
        {"sampler/logits": logits, "sampler/history": history, "sampler/settings": settings}
    )["sampler/probs"]
    assert np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2)) < 1e-5
