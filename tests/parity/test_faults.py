"""The harness can fail: each known porting fault, planted alone, makes it fail.

Here a dump of our own networks, or the NumPy reference, stands in for upstream; the same faults
are held against upstream itself in `test_reference_faults.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_chatterbox.audio.stft import raised_cosine
from mlx_chatterbox.models.s3gen.estimator import ConditionalDecoder
from mlx_chatterbox.models.t3 import sampling
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.parity.numpy import backend as numpy_reference
from tests.parity.test_dump import SMALL
from tests.small import small_config


def symmetric_window(monkeypatch) -> None:
    """Hann windows with a zero at both ends, as NumPy and SciPy make them by default."""

    def symmetric(n: int) -> mx.array:
        return mx.array(raised_cosine(n, n - 1).astype(np.float32))

    monkeypatch.setattr("mlx_chatterbox.audio.mel.hann_window", symmetric)
    monkeypatch.setattr("mlx_chatterbox.models.s3gen.hift.hann_window", symmetric)


def configured_slope(monkeypatch) -> None:
    """The vocoder's last leaky ReLU with the slope of the others."""
    monkeypatch.setattr("mlx_chatterbox.models.s3gen.hift.LAST_LRELU_SLOPE", 0.1)


def shifted_start(monkeypatch) -> None:
    """The start tokens of speech at position 1 instead of 0."""
    embed = T3.embed_speech

    def shifted(self, speech_tokens, position):
        start = position == 0 and speech_tokens.shape[-1] == 1
        return embed(self, speech_tokens, position + start)

    monkeypatch.setattr(T3, "embed_speech", shifted)


def swapped_samplers(monkeypatch) -> None:
    """Min-p and top-p before the temperature."""

    def swapped(logits, seen, settings):
        logits = sampling.penalise_repetition(logits, seen, settings.repetition_penalty)
        logits = sampling.keep_min_p(logits, settings.min_p)
        logits = sampling.keep_top_p(logits, settings.top_p)
        return logits / settings.temperature

    monkeypatch.setattr("mlx_chatterbox.parity.mlx.backend.process_logits", swapped)


def penalty_first(monkeypatch) -> None:
    """Turbo's repetition penalty before the temperature, as the Llama models have it."""

    def swapped(logits, seen, settings):
        logits = sampling.penalise_repetition(logits, seen, settings.repetition_penalty)
        logits = sampling.keep_top_k(logits / settings.temperature, settings.top_k)
        return sampling.keep_top_p(logits, settings.top_p)

    monkeypatch.setattr("mlx_chatterbox.parity.mlx.backend.process_logits", swapped)


def second_start(monkeypatch) -> None:
    """GPT-2 with the two start tokens of the Llama models."""
    embed = T3.embed_speech

    def doubled(self, speech_tokens, position):
        embedded = embed(self, speech_tokens, position)
        start = speech_tokens.shape[-1] == 1 and position == 0
        return mx.concatenate([embedded, embedded], axis=1) if start else embedded

    monkeypatch.setattr(T3, "embed_speech", doubled)


def exact_gelu(monkeypatch) -> None:
    """GPT-2's activation by the error function instead of by tanh."""
    monkeypatch.setattr("mlx_chatterbox.models.decoder.gpt2.gelu_approx", nn.gelu)


def conditioned_on_one_time(monkeypatch) -> None:
    """Mean flow that is given a step's beginning but not its end."""
    embed = ConditionalDecoder.embed_time
    monkeypatch.setattr(ConditionalDecoder, "embed_time", lambda self, t, r: embed(self, t, t))


def guided_mean_flow(monkeypatch) -> None:
    """Mean flow's steps spaced as those of the guided flow."""
    even = mx.linspace

    def cosine(start, stop, num):
        return 1.0 - mx.cos(even(start, stop, num) * (0.5 * math.pi))

    monkeypatch.setattr("mlx_chatterbox.models.s3gen.flow.mx.linspace", cosine)


@dataclass(frozen=True)
class Fault:
    """Planted fault: `stages` must fail, those of `may` can; `inputs` selects what to compute."""

    plant: object
    stages: frozenset[str]
    inputs: tuple[str, ...]
    may: frozenset[str] = frozenset()
    variant: str = "english"


T3_INPUTS = ("voice_encoder/embedding", "t3/")
FLOW_INPUTS = ("speaker_encoder/embedding", "flow/")
GREEDY = frozenset({"t3_greedy"})  # the likeliest token may stay the same

FAULTS = (
    Fault(
        symmetric_window,
        frozenset({"voice_encoder", "s3_tokenizer", "ref_mel", "vocoder"}),
        ("audio/", "vocoder/"),
    ),
    Fault(configured_slope, frozenset({"vocoder"}), ("vocoder/",)),
    Fault(shifted_start, frozenset({"t3"}), T3_INPUTS, may=GREEDY),
    Fault(swapped_samplers, frozenset({"sampler"}), ("sampler/",)),
    Fault(penalty_first, frozenset({"sampler_turbo"}), ("sampler_turbo/",), variant="nano"),
    Fault(second_start, frozenset({"t3"}), T3_INPUTS, may=GREEDY, variant="nano"),
    Fault(exact_gelu, frozenset({"t3"}), T3_INPUTS, may=GREEDY, variant="nano"),
    Fault(
        conditioned_on_one_time,
        frozenset({"estimator", "flow"}),
        (*FLOW_INPUTS, "estimator/"),
        variant="nano",
    ),
    Fault(guided_mean_flow, frozenset({"flow"}), FLOW_INPUTS, variant="nano"),
)

by_name = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.plant.__name__)


def selected(inputs, fault: Fault) -> dict[str, np.ndarray]:
    return {name: value for name, value in inputs.items() if name.startswith(fault.inputs)}


def red_stages(comparison) -> set[str]:
    return {row.stage for row in comparison.rows if not row.holds}


@dataclass(frozen=True)
class Sound:
    """A small model, inputs for it, and what its stages give without a fault."""

    networks: object
    inputs: dict[str, np.ndarray]
    reference: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def sound(small_models):
    """Stages without a fault, by variant; ours stand for upstream's, except NumPy's own."""
    from mlx_chatterbox.parity.inputs.make import make_inputs
    from mlx_chatterbox.weights.checkpoint import load

    made: dict[str, Sound] = {}

    def of(variant: str) -> Sound:
        if variant not in made:
            networks = load(small_models(variant)).networks
            inputs = make_inputs(small_config(variant), seed=5, sizes=SMALL)
            reference = {**compute_with(networks, inputs), **numpy_reference.compute(inputs)}
            made[variant] = Sound(networks, inputs, reference)
        return made[variant]

    return of


@by_name
def test_a_fault_turns_its_stages_red_and_no_others(fault, sound, monkeypatch):
    model = sound(fault.variant)
    wanted = selected(model.inputs, fault)
    correct = compute_with(model.networks, wanted)
    expected = {name: value for name, value in model.reference.items() if name in correct}
    assert compare(expected, correct).holds
    fault.plant(monkeypatch)
    red = red_stages(compare(expected, compute_with(model.networks, wanted)))
    assert fault.stages <= red <= fault.stages | fault.may


@pytest.mark.parametrize("variant", ["english", "multilingual", "nano"])
def test_without_a_fault_everything_is_green(sound, variant):
    model = sound(variant)
    assert compare(model.reference, compute_with(model.networks, model.inputs)).holds
