"""The plain NumPy reference: signal processing and small networks, against ours and libraries."""

import numpy as np
import pytest

from mlx_chatterbox.parity.compare import compare, relative_rms
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.parity.numpy import backend as numpy_reference
from mlx_chatterbox.parity.numpy.encoders import fsq_tokens
from mlx_chatterbox.parity.numpy.layers import Weights
from mlx_chatterbox.parity.numpy.loudness import integrated_loudness
from mlx_chatterbox.parity.numpy.networks import networks_of
from mlx_chatterbox.parity.numpy.vocoder import istft, stft
from mlx_chatterbox.parity.upstream.files import upstream_of
from mlx_chatterbox.weights.checkpoint import load
from tests.small import small_config

pytestmark = pytest.mark.numbers


@pytest.mark.parametrize("variant", ["english", "nano"])
def test_ours_holds_against_every_network_in_numpy(small_models, variant):
    config = small_config(variant)
    inputs = make_inputs(config, seed=5, sizes=SMALL_SIZES)
    folder = small_models(variant)
    expected = numpy_reference.compute(inputs, networks_of(upstream_of(folder).folder, config))
    assert set(expected) > set(numpy_reference.NETWORK_STAGES)
    stages = {name.partition("/")[0] for name in expected} | {"ref_mel", "sinc_resample"}
    found = compute_with(load(folder).networks, inputs, stages)
    comparison = compare(expected, found)
    assert [row for row in comparison.rows if not row.holds] == []


def test_the_inverse_transform_inverts():
    x = np.random.default_rng(0).standard_normal(400)
    assert np.allclose(istft(stft(x, 16, 4), 16, 4), x)


def test_tokens_are_digits_in_base_three():
    assert fsq_tokens(np.zeros((1, 8))).tolist() == [(3**8 - 1) // 2]
    assert fsq_tokens(np.full((1, 8), 9.0)).tolist() == [3**8 - 1]
    assert fsq_tokens(np.full((1, 8), -9.0)).tolist() == [0]


def test_weight_norm_is_magnitude_times_direction_in_both_spellings():
    direction, magnitude = np.arange(1.0, 13.0).reshape(2, 3, 2), np.array([[[2.0]], [[3.0]]])
    spelt = (
        {"a.weight_g": magnitude, "a.weight_v": direction},
        {
            "a.parametrizations.weight.original0": magnitude,
            "a.parametrizations.weight.original1": direction,
        },
    )
    for tensors in spelt:
        weight = Weights(tensors).at("a")["weight"]
        assert np.allclose(np.linalg.norm(weight.reshape(2, -1), axis=1), [2.0, 3.0])


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_loudness_is_pyloudnorms(voices, rate):
    import pyloudnorm

    voice = voices[0]
    expected = pyloudnorm.Meter(rate).integrated_loudness(voice)
    assert integrated_loudness(voice, rate) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("orig", "target"), [(24_000, 16_000), (16_000, 24_000), (44_100, 24_000)])
def test_the_sinc_resampler_is_ours(voices, orig, target):
    import mlx.core as mx

    from mlx_chatterbox.audio.resample import resample_sinc

    x = voices[1][:9000]
    expected = numpy_reference.resample_by_sinc(x, orig, target)
    assert relative_rms(expected, np.array(resample_sinc(mx.array(x), orig, target))) < 1e-5
