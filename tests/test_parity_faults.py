"""The harness can fail: known porting faults, planted one at a time, each turn it red.

Here a dump of our own networks, or the NumPy reference, stands in for upstream; the same faults
are held against upstream itself in `test_reference_faults.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.audio.stft import raised_cosine
from mlx_chatterbox.models.t3 import sampling
from mlx_chatterbox.models.t3.t3 import T3
from parity import numpy_reference
from parity.compare import compare
from parity.mlx_backend import compute_with
from tests.test_parity_dump import SMALL


def symmetric_window(monkeypatch) -> None:
    """Hann windows with a zero at both ends, as NumPy and SciPy make them when not told."""

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

    monkeypatch.setattr("parity.mlx_backend.process_logits", swapped)


@dataclass(frozen=True)
class Fault:
    """`stages` is where it must show, `may` where it can; `inputs` picks what to compute."""

    plant: object
    stages: frozenset[str]
    inputs: tuple[str, ...]
    may: frozenset[str] = frozenset()


FAULTS = (
    Fault(
        symmetric_window,
        frozenset({"voice_encoder", "s3_tokenizer", "ref_mel", "vocoder"}),
        ("audio/", "vocoder/"),
    ),
    Fault(configured_slope, frozenset({"vocoder"}), ("vocoder/",)),
    Fault(
        shifted_start,
        frozenset({"t3"}),
        ("voice_encoder/embedding", "t3/"),
        may=frozenset({"t3_greedy"}),  # the likeliest token may stay the same
    ),
    Fault(swapped_samplers, frozenset({"sampler"}), ("sampler/",)),
)

by_name = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.plant.__name__)


def selected(inputs, fault: Fault) -> dict[str, np.ndarray]:
    return {name: value for name, value in inputs.items() if name.startswith(fault.inputs)}


def red_stages(comparison) -> set[str]:
    return {row.stage for row in comparison.rows if not row.holds}


@pytest.fixture(scope="module")
def networks(small_checkpoint):
    from mlx_chatterbox.checkpoint import load

    return load(small_checkpoint).networks


@pytest.fixture(scope="module")
def inputs(small_config):
    from parity.inputs import make_inputs

    return make_inputs(small_config, seed=5, sizes=SMALL)


@pytest.fixture(scope="module")
def reference(networks, inputs):
    """Our own stages, but for what NumPy can compute by itself."""
    return {**compute_with(networks, inputs), **numpy_reference.compute(inputs)}


@by_name
def test_a_fault_turns_its_stages_red_and_no_others(
    fault, networks, inputs, reference, monkeypatch
):
    wanted = selected(inputs, fault)
    sound = compute_with(networks, wanted)
    expected = {name: value for name, value in reference.items() if name in sound}
    assert compare(expected, sound).holds
    fault.plant(monkeypatch)
    red = red_stages(compare(expected, compute_with(networks, wanted)))
    assert fault.stages <= red <= fault.stages | fault.may


def test_without_a_fault_everything_is_green(networks, inputs, reference):
    assert compare(reference, compute_with(networks, inputs)).holds
