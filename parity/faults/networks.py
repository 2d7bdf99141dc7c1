"""Faults of layers: code that is nearly right."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from mlx_chatterbox.models.decoder import gpt2, llama, network
from mlx_chatterbox.models.s3gen import campplus, encoder, estimator, flow, hift
from mlx_chatterbox.models.s3tokenizer import s3tokenizer
from mlx_chatterbox.models.t3 import t3

from .fault import Fault, Patches

_ESTIMATOR = "s3gen.flow.decoder.estimator"
_ENCODER = "s3gen.flow.encoder"
_XVECTOR = "s3gen.speaker_encoder.xvector"


def _swapped_rotary_halves(patches: Patches) -> None:
    exact = llama.rotation

    def rotation(wavelengths, start, length):
        rotate = exact(wavelengths, start, length)

        def swapped(x: mx.array, scale: float) -> mx.array:
            first, second = mx.split(x, 2, axis=-1)
            turned = rotate(mx.concatenate([second, first], axis=-1), scale)
            first, second = mx.split(turned, 2, axis=-1)
            return mx.concatenate([second, first], axis=-1)

        return swapped

    patches.set(llama, "rotation", rotation)


def _interleaved_rotary(patches: Patches) -> None:
    exact = mx.fast.rope

    def rope(x, dims, *, traditional, **options):
        return exact(x, dims, traditional=True, **options)

    patches.set(mx.fast, "rope", rope)


def _next_position(patches: Patches) -> None:
    embed = t3.T3.embed_speech

    def shifted(self, speech_tokens, position):
        start = position == 0 and speech_tokens.shape[-1] == 1
        return embed(self, speech_tokens, position + start)

    patches.set(t3.T3, "embed_speech", shifted)


def _mask_on_the_wrong_side(patches: Patches) -> None:
    def sees_the_future(earlier: int, new: int, dtype: mx.Dtype) -> mx.array:
        past = mx.arange(earlier + new)[None] < earlier + mx.arange(new)[:, None]
        return mx.where(past, -1e9, 0.0).astype(dtype)

    patches.set(network, "causal_mask", sees_the_future)


def _exact_gelu(patches: Patches) -> None:
    patches.set(gpt2, "gelu_approx", nn.gelu)


def _missing_scale(patches: Patches) -> None:
    exact = estimator.attend

    def unscaled(queries, keys, values, scale, bias=None):
        return exact(queries, keys, values, 1.0, bias)

    patches.set(estimator, "attend", unscaled)


def _biased_deviation(patches: Patches) -> None:
    exact = mx.var
    patches.set(mx, "var", lambda x, axis=None, ddof=0: exact(x, axis=axis, ddof=0))


def _segment_of_zeros(patches: Patches) -> None:
    """Average the last segment over 100 frames, though fewer are left."""

    def means(self, x: mx.array) -> mx.array:
        missing = -x.shape[1] % self._segment
        padded = mx.pad(x, [(0, 0), (0, missing), (0, 0)])
        return padded.reshape(x.shape[0], -1, self._segment, x.shape[2]).mean(axis=2)

    patches.set(campplus.CAMLayer, "_segment_means", means)


def _frequencies_first(patches: Patches) -> None:
    exact = campplus.FCM.__call__

    def call(self, x: mx.array) -> mx.array:
        out = exact(self, x)
        channels = self.conv2.weight.shape[0]
        batch, frames, width = out.shape
        out = out.reshape(batch, frames, channels, width // channels)
        return out.swapaxes(2, 3).reshape(batch, frames, width)

    patches.set(campplus.FCM, "__call__", call)


def _wrong_phase(patches: Patches) -> None:
    exact = hift.ConvTranspose1d.__call__

    def call(self, x: mx.array) -> mx.array:
        out = exact(self, x)
        return mx.concatenate([out[:, 1:], out[:, -1:]], axis=1)

    patches.set(hift.ConvTranspose1d, "__call__", call)


def _tiled_frames(patches: Patches) -> None:
    def call(self, x: mx.array) -> mx.array:
        return self.conv(mx.tile(x, (1, self._stride, 1)))

    patches.set(encoder.Upsample1D, "__call__", call)


def _cosines_first(patches: Patches) -> None:
    exact = estimator.time_sinusoids

    def swapped(t: mx.array, width: int) -> mx.array:
        sines, cosines = mx.split(exact(t, width), 2, axis=-1)
        return mx.concatenate([cosines, sines], axis=-1)

    patches.set(estimator, "time_sinusoids", swapped)


def _even_times(patches: Patches) -> None:
    patches.set(flow, "cosine_times", lambda steps: mx.linspace(0.0, 1.0, steps + 1))


def _shifted_distances(patches: Patches) -> None:
    exact = encoder._at_distances
    patches.set(encoder, "_at_distances", lambda scores: mx.roll(exact(scores), 1, axis=-1))


def _configured_slope(patches: Patches) -> None:
    patches.set(hift, "LAST_LRELU_SLOPE", 0.1)


def _undivided_snake(patches: Patches) -> None:
    patches.set(hift, "snake", lambda x, alpha: x + mx.square(mx.sin(alpha * x)))


def _no_memory_residual(patches: Patches) -> None:
    exact = s3tokenizer.FSMNAttention.__call__

    def call(self, x: mx.array) -> mx.array:
        return exact(self, x) - self.value(x)

    patches.set(s3tokenizer.FSMNAttention, "__call__", call)


def _fault(name, what, stage, layer, code, variant="english") -> Fault:
    return Fault(name, what, (stage,), layer, code, variant=variant)


FAULTS = (
    _fault(
        "swapped_rotary_halves",
        "the two halves of a head exchanged in rotary positions",
        "t3",
        "t3.tfmr.model.rotary_emb",
        _swapped_rotary_halves,
    ),
    _fault(
        "interleaved_rotary",
        "rotary positions on neighbouring channels instead of halves",
        "s3_encoder",
        "s3_tokenizer.encoder.blocks.0.attn",
        _interleaved_rotary,
    ),
    _fault(
        "off_by_one_position",
        "speech's start token at position 1",
        "t3",
        "t3",
        _next_position,
    ),
    _fault(
        "mask_on_the_wrong_side",
        "attention to what comes instead of what was",
        "t3",
        "t3.tfmr.model.layers.0.self_attn",
        _mask_on_the_wrong_side,
    ),
    _fault(
        "wrong_gelu",
        "GELU by the error function instead of by tanh",
        "t3",
        "t3.tfmr.model.h.0.mlp",
        _exact_gelu,
        variant="nano",
    ),
    _fault(
        "missing_attention_scale",
        "attention without 1 / sqrt(d)",
        "estimator",
        f"{_ESTIMATOR}.down_blocks.0.1.0.attn1",
        _missing_scale,
    ),
    _fault(
        "biased_variance",
        "pooled deviations divided by n instead of n - 1",
        "speaker_encoder",
        _XVECTOR,
        _biased_deviation,
    ),
    _fault(
        "padded_segment",
        "the last segment's mean with zeros counted",
        "speaker_encoder",
        f"{_XVECTOR}.block1.tdnnd1.cam_layer",
        _segment_of_zeros,
    ),
    _fault(
        "channels_for_frequencies",
        "an image flattened in the wrong order of its axes",
        "speaker_encoder",
        "s3gen.speaker_encoder.head",
        _frequencies_first,
    ),
    _fault(
        "wrong_upsampling_phase",
        "transposed convolutions a sample early",
        "vocoder",
        "s3gen.mel2wav.ups.0",
        _wrong_phase,
    ),
    _fault(
        "tiled_frames",
        "upsampling that repeats the whole instead of each frame",
        "flow",
        f"{_ENCODER}.up_layer",
        _tiled_frames,
    ),
    _fault(
        "cosines_first",
        "flow times as cosines, then sines",
        "estimator",
        f"{_ESTIMATOR}.time_embeddings",
        _cosines_first,
    ),
    _fault(
        "even_flow_times",
        "Euler steps of equal length",
        "flow",
        "s3gen.flow.decoder",
        _even_times,
    ),
    _fault(
        "shifted_distances",
        "relative positions one key off",
        "flow",
        f"{_ENCODER}.encoders.0.self_attn",
        _shifted_distances,
    ),
    _fault(
        "configured_slope",
        "the last leaky ReLU with the slope of the others",
        "vocoder",
        "s3gen.mel2wav",
        _configured_slope,
    ),
    _fault(
        "undivided_snake",
        "Snake without the division by alpha",
        "vocoder",
        "s3gen.mel2wav.source_resblocks.0.activations1.0",
        _undivided_snake,
    ),
    _fault(
        "missing_memory_residual",
        "the FSMN memory without the values themselves",
        "s3_encoder",
        "s3_tokenizer.encoder.blocks.0.attn",
        _no_memory_residual,
    ),
)
