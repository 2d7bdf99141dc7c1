"""The flow's estimator and the encoder's layers in C are those that MLX computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_map

from mlx_chatterbox.models.s3gen import encoder
from mlx_chatterbox.models.s3gen.config import S3GenConfig
from mlx_chatterbox.models.s3gen.flow import CausalMaskedDiffWithXvec
from mlx_chatterbox.models.s3gen.native_encoder import NativeLayers
from mlx_chatterbox.models.s3gen.native_estimator import NativeEstimator
from mlx_chatterbox.runtime import device, native
from tests.rounding import Rounding
from tests.small import small_s3gen

pytestmark = pytest.mark.numbers

# Widths that fill vectors, and widths that do not.
WIDTHS = {
    "even": {"decoder_channels": [64], "decoder_num_heads": 2, "decoder_attention_head_dim": 32},
    "odd": {"decoder_channels": [30], "decoder_num_heads": 3, "decoder_attention_head_dim": 9},
}


@pytest.fixture(autouse=True)
def compiled():
    if native.library() is None or not device.on_cpu():
        pytest.skip("nothing was compiled here, or it is not for this device")


@pytest.fixture(params=WIDTHS)
def flow(request):
    config = dataclasses.replace(small_s3gen(), **WIDTHS[request.param])
    if request.param == "odd":
        config = dataclasses.replace(
            config, token_embed_dim=42, encoder_output_size=42, encoder_attention_heads=3
        )
    return flow_of(config)


def flow_of(config: S3GenConfig) -> CausalMaskedDiffWithXvec:
    mx.random.seed(3)
    flow = CausalMaskedDiffWithXvec(config)
    # Norms and biases that do something.
    flow.update(tree_map(lambda a: a + 0.1 * mx.random.normal(a.shape), flow.parameters()))
    flow.eval()
    return flow


def without(monkeypatch, *kinds):
    for kind in kinds:
        monkeypatch.setattr(kind, "of", classmethod(lambda cls, network: None))


def given(frames: int, rows: int = 1) -> list[mx.array]:
    """x, mu, t, speaker, cond."""
    wide = [mx.random.normal((rows, frames, 80), key=mx.random.key(i)) for i in range(3)]
    speaker = mx.random.normal((rows, 80), key=mx.random.key(3))
    return [wide[0], wide[1], mx.array([0.3]), speaker, wide[2]]


def same(found: mx.array, flow: CausalMaskedDiffWithXvec, by_mlx: Callable) -> None:
    rounding = Rounding(by_mlx, [flow])
    assert np.abs(rounding.wanted[0]).max() > 0.1
    rounding.check(found)


@pytest.mark.parametrize("frames", [1, 2, 17, 50, 301])
def test_the_estimator_in_c_equals_mlx(flow, monkeypatch, frames):
    estimator = flow.decoder.estimator
    assert NativeEstimator.of(estimator) is not None
    found = estimator(*given(frames))
    without(monkeypatch, NativeEstimator)
    same(found, flow, lambda: estimator(*given(frames)))


def test_several_rows_and_times(flow, monkeypatch):
    estimator, many = flow.decoder.estimator, given(23, rows=3)
    many[2] = mx.array([0.1, 0.5, 0.9])
    found = estimator(*many)
    without(monkeypatch, NativeEstimator)
    same(found, flow, lambda: estimator(*many))


def test_a_mean_flow_and_another_number_of_blocks(monkeypatch):
    config = dataclasses.replace(small_s3gen(meanflow=True), decoder_n_blocks=3)
    flow = flow_of(config)
    estimator = flow.decoder.estimator
    found = estimator(*given(19), r=mx.array([0.6]))
    without(monkeypatch, NativeEstimator)
    same(found, flow, lambda: estimator(*given(19), r=mx.array([0.6])))


@pytest.mark.parametrize("tokens", [1, 2, 9, 33, 140])
def test_the_encoder_in_c_equals_mlx(flow, monkeypatch, tokens):
    """Lengths include more queries than one block holds."""
    assert NativeLayers.of(flow.encoder.encoders) is not None
    ids = mx.random.randint(0, 100, (2, tokens), key=mx.random.key(1))
    found = flow.encode(ids)
    without(monkeypatch, NativeLayers)
    same(found, flow, lambda: flow.encode(ids))


def test_the_whole_flow_in_c_equals_mlx(flow, monkeypatch):
    def mel():
        tokens = mx.random.randint(0, 100, (1, 12), key=mx.random.key(1))
        prompt = mx.random.normal((1, 14, 80), key=mx.random.key(2))
        noise = mx.random.normal((1, 38, 80), key=mx.random.key(3))
        speaker = mx.random.normal((1, flow.spk_embed_affine_layer.weight.shape[1]))
        mx.eval(speaker)
        return lambda: flow.inference(tokens, tokens[:, :7], prompt, speaker, noise, 3)

    run = mel()
    found = run()
    without(monkeypatch, NativeEstimator, NativeLayers)
    same(found, flow, run)


class Adapted(nn.Linear):
    """A linear layer with a different output."""


@pytest.mark.parametrize("how", ["half", "quantised", "adapted", "turned"])
def test_other_weights_are_computed_by_mlx(flow, how):
    """A change of weights takes effect at once, and unsupported layers are left to MLX."""
    estimator, layers = flow.decoder.estimator, flow.encoder.encoders
    block = estimator.mid_blocks[0][1][0]
    if how == "half":
        flow.set_dtype(mx.float16)
    elif how == "quantised":
        block.ff.net[2] = nn.Linear(64, 32).to_quantized()
        layers[0].feed_forward.w_2 = nn.Linear(64, 32).to_quantized()
    elif how == "adapted":
        block.ff.net[2] = Adapted(4, 4)
        layers[0].feed_forward.w_2 = Adapted(4, 4)
    else:
        block.ff.net[2].weight = mx.zeros(block.ff.net[2].weight.shape[::-1]).T
        layers[0].feed_forward.w_2.weight = mx.zeros(
            layers[0].feed_forward.w_2.weight.shape[::-1]
        ).T
        mx.eval(flow.parameters())
    assert NativeEstimator.of(estimator) is None
    assert NativeLayers.of(layers) is None


def test_a_change_of_weights_takes_effect(flow):
    estimator = flow.decoder.estimator
    before = estimator(*given(11))
    estimator.final_proj.bias = estimator.final_proj.bias + 1.0
    np.testing.assert_allclose(estimator(*given(11)), before + 1.0, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_while_training_the_layers_are_asked(flow, training, monkeypatch):
    """Computation in C has no gradients."""
    asked = []
    for kind in (NativeEstimator, NativeLayers):
        monkeypatch.setattr(kind, "of", classmethod(lambda cls, network: asked.append(cls)))
    flow.train(training)
    mx.eval(flow.decoder.estimator(*given(9)), flow.encode(mx.array([[1, 2, 3]])))
    assert asked == ([] if training else [NativeEstimator, NativeLayers, NativeLayers])


def test_norms_of_another_epsilon_are_computed_by_mlx(flow):
    flow.encoder.encoders[0].norm_ff.eps = 1e-3
    flow.decoder.estimator.mid_blocks[0][1][0].norm3.eps = 1e-3
    assert NativeLayers.of(flow.encoder.encoders) is None
    assert NativeEstimator.of(flow.decoder.estimator) is None


@pytest.mark.parametrize("length", [1, 5, 512, 513])
def test_positions_are_part_of_longer_ones(length):
    found = encoder.relative_positions(length, 8)
    assert found.shape == (2 * length - 1, 8)
    distances = np.arange(length - 1, -length, -1)[:, None]
    angles = distances * np.exp(np.arange(0, 8, 2) * -(np.log(10000.0) / 8))
    expected = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(-1, 8)
    np.testing.assert_allclose(found, expected, atol=2e-4)


# --- Shapes that do not go together --------------------------------------------------------------


@pytest.mark.parametrize("bins", [0, 1, 79, 81])
@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_the_estimator_refuses_arrays_of_other_widths(flow, place, bins):
    """Compiled code trusts the sizes that it is passed."""
    estimator = NativeEstimator.of(flow.decoder.estimator)
    width = estimator._sizes[-1]
    given = [mx.zeros((1, 5, 80)), mx.zeros((1, 5, 80)), mx.zeros((1, width)), mx.zeros((1, 80)),
             mx.zeros((1, 5, 80))]  # fmt: skip
    given[place] = mx.zeros((*given[place].shape[:-1], bins))
    with pytest.raises(ValueError, match="estimate takes arrays of shapes"):
        estimator(*given)


def test_the_estimator_refuses_other_lengths(flow):
    estimator = NativeEstimator.of(flow.decoder.estimator)
    width = estimator._sizes[-1]
    for place in (1, 4):
        given = [mx.zeros((1, 50, 80)), mx.zeros((1, 50, 80)), mx.zeros((1, width)),
                 mx.zeros((1, 80)), mx.zeros((1, 50, 80))]  # fmt: skip
        given[place] = mx.zeros((1, 5, 80))
        with pytest.raises(ValueError, match="estimate takes arrays of shapes"):
            estimator(*given)


@pytest.mark.parametrize("shape", [(1, 20, 42 - 1), (1, 20, 0)])
def test_the_encoder_refuses_other_widths(flow, shape):
    layers = NativeLayers.of(flow.encoder.encoders)
    with pytest.raises(ValueError, match="conform takes arrays of shapes"):
        layers(mx.zeros(shape), mx.zeros((39, 42)))


@pytest.mark.parametrize(
    "shape", [(1, 26, 0), (1, 26, 79), (1, 25, 80), (2, 26, 80), (26, 80), (1, 0, 80)]
)
def test_noise_of_another_shape_is_refused(shape):
    from mlx_chatterbox.errors import SettingError
    from mlx_chatterbox.models.s3gen.s3gen import S3Gen, S3GenConditionals

    s3gen = S3Gen(small_s3gen())
    reference = S3GenConditionals(
        mx.zeros((1, 5), mx.int32), mx.zeros((1, 10, 80)), mx.ones((1, 192))
    )
    tokens = mx.zeros((8,), mx.int32)
    with pytest.raises(SettingError, match="noise has shape"):
        s3gen(tokens, reference, noise=mx.zeros(shape), n_timesteps=1)
    assert s3gen(tokens, reference, noise=mx.zeros((1, 26, 80)), n_timesteps=1).size
