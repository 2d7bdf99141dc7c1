"""Faults of ChatTTS: what is easily got wrong in its networks, codes, prompts and sampling."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_chatterbox.audio import stft
from mlx_chatterbox.models.chattts import convnext, dvae, gfsq, gpt, sampling, vocos
from mlx_chatterbox.models.chattts.sampler import CodeSampler

from ..mlx import chattts as backend
from ..tables.stage import CHATTTS
from .fault import Fault, Patches

# --- Codes ---------------------------------------------------------------------------------------


def _unbounded_residual(patches: Patches) -> None:
    """Quantise what the projection gives, as later versions of upstream's library do."""
    exact = gfsq.ResidualQuantizer.encode

    def encode(self, features: mx.array) -> mx.array:
        bounded = []

        def once(x: mx.array) -> mx.array:
            bounded.append(None)
            return x if len(bounded) == 1 else (self._levels - 1) * 1.001 / 2 * mx.tanh(x)

        self._bounded = once
        try:
            return exact(self, features)
        finally:
            del self._bounded

    patches.set(gfsq.ResidualQuantizer, "encode", encode)


def _fifth_for_quarter(patches: Patches) -> None:
    """Scale a second stage by one over the number of levels, as later versions do."""
    patches.set(gfsq.ResidualQuantizer, "_scale", lambda self, stage: float(self._levels) ** -stage)


def _swapped_groups(patches: Patches) -> None:
    exact = gfsq.GFSQ.decode

    def decode(self, codes: mx.array) -> mx.array:
        first, second = mx.split(exact(self, codes), 2, axis=-1)
        return mx.concatenate([second, first], axis=-1)

    patches.set(gfsq.GFSQ, "decode", decode)


def _stages_before_groups(patches: Patches) -> None:
    """Take codebooks as the first stage of each group, then the second."""
    exact = gfsq.GFSQ.decode
    patches.set(gfsq.GFSQ, "decode", lambda self, codes: exact(self, codes[..., [0, 2, 1, 3]]))


def _reversed_digits(patches: Patches) -> None:
    """Take a code's first digit as its largest."""
    exact = gfsq.ResidualQuantizer.decode

    def decode(self, codes: mx.array) -> mx.array:
        count = self._digits
        digits = [codes // self._levels**place % self._levels for place in range(count)]
        places = [digit * self._levels ** (count - 1 - i) for i, digit in enumerate(digits)]
        return exact(self, sum(places))

    patches.set(gfsq.ResidualQuantizer, "decode", decode)


# --- Spectrograms and sound ----------------------------------------------------------------------


def _frames_apart(patches: Patches) -> None:
    """Put the first frames of all steps before the second ones."""

    def call(self, steps: mx.array) -> mx.array:
        frames = mx.concatenate(mx.split(steps, 2, axis=-1), axis=1)
        return self.out_conv(self.decoder(frames)) * self.coef

    patches.set(convnext.SpectrogramDecoder, "__call__", call)


def _undilated(networks) -> None:
    for block in networks.decoder.decoder.blocks:
        block.dwconv._dilation, block.dwconv._padding = 1, (3, 3)


def _gelu_by_tanh(patches: Patches) -> None:
    patches.set(convnext, "gelu", nn.gelu_approx)


def _gelu_after_both(patches: Patches) -> None:
    """Activate after the second convolution, too."""

    def call(self, x: mx.array) -> mx.array:
        for conv in self.conv_in:
            x = convnext.gelu(conv(x))
        for block in self.blocks:
            x = block(x)
        return self.conv_out(x)

    patches.set(convnext.ConvNeXtStack, "__call__", call)


def _no_layer_scale(networks) -> None:
    for block in networks.decoder.decoder.blocks:
        block.gamma = mx.ones_like(block.gamma)


def _power_mel(patches: Patches) -> None:
    """Take powers for magnitudes."""
    exact = dvae.mx.sqrt
    patches.set(dvae.mx, "sqrt", lambda x: x if x.ndim and x.shape[-1] > 1 else exact(x))


def _multiplied_coefficients(networks) -> None:
    networks.dvae.coef = 1 / networks.dvae.coef


def _symmetric_istft_window(patches: Patches) -> None:
    def symmetric(n: int) -> mx.array:
        return mx.array(stft.raised_cosine(n, n - 1).astype(np.float32))

    patches.set(vocos, "hann_window", symmetric)


def _unclipped_magnitudes(patches: Patches) -> None:
    patches.set(vocos, "MAX_MAGNITUDE", float("inf"))


# --- Prompts -------------------------------------------------------------------------------------


def _codes_as_text(patches: Patches) -> None:
    """Take every number that is not 0 for text, those of an audio prompt too."""
    exact = gpt.GPT.embed_prompt

    def embed(self, ids: mx.array, is_text: mx.array, speaker: mx.array | None = None):
        return exact(self, ids, ids[..., 0] != 0, speaker)

    patches.set(gpt.GPT, "embed_prompt", embed)


def _first_codebook_only(patches: Patches) -> None:
    """Embed an audio prompt by all codes of its first codebook."""
    exact = gpt.GPT.embed_prompt

    def embed(self, ids: mx.array, is_text: mx.array, speaker: mx.array | None = None):
        return exact(self, mx.broadcast_to(ids[..., :1], ids.shape), is_text, speaker)

    patches.set(gpt.GPT, "embed_prompt", embed)


def _positions_with_padding(patches: Patches) -> None:
    def positions(mask: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(mask.shape[1], dtype=np.int32), mask.shape)

    patches.set(backend, "position_ids", positions)


def _speaker_in_float32(patches: Patches) -> None:
    """Normalise the speaker without rounding its length."""

    def normalised(vector: np.ndarray) -> np.ndarray:
        values = vector.astype(np.float32)
        return (values / np.linalg.norm(values)).astype(np.float16)

    patches.set(backend, "normalised", normalised)


def _unfolded_heads(networks) -> None:
    """Leave a head's rows at length one, without the lengths that weight norm stores."""
    head = networks.gpt.head_code[0]
    head.weight = head.weight / mx.linalg.norm(head.weight, axis=1, keepdims=True)


def _stop_of_first_codebook(patches: Patches) -> None:
    """End a row by the first codebook's stop alone."""

    def ends(self, token, draw: int) -> bool:
        return token[0] == self.stop

    patches.set(CodeSampler, "ends", ends)


def _stop_of_all_codebooks(patches: Patches) -> None:
    """End a row when all codebooks say so."""

    def ends(self, token, draw: int) -> bool:
        return all(code == self.stop for code in token)

    patches.set(CodeSampler, "ends", ends)


# --- Sampler -------------------------------------------------------------------------------------


def _penalty_once(patches: Patches) -> None:
    """Penalise what was drawn several times as what was drawn once."""
    exact = sampling.penalise_recent

    def once(logits, recent, penalty):
        rows = [np.unique(row).tolist() for row in np.array(recent)]
        most = max(map(len, rows))
        return exact(logits, mx.array([[-1] * (most - len(r)) + r for r in rows]), penalty)

    patches.set(sampling, "penalise_recent", once)


def _longer_memory(patches: Patches) -> None:
    patches.set(sampling, "RECENT", 24)


def _one_candidate(patches: Patches) -> None:
    patches.set(sampling, "MIN_CANDIDATES", 1)


def _first_temperature(patches: Patches) -> None:
    """Use the first codebook's temperature for all."""
    exact = sampling.process_logits

    def process(logits, recent, settings, stop, step):
        first = replace(settings, temperature=settings.temperatures[0])
        return exact(logits, recent, first, stop, step)

    patches.set(backend, "process_logits", process)


def _fault(name, what, stage, layer, code=None, weights=None) -> Fault:
    return Fault(name, what, (stage,), layer, code, weights, CHATTTS)


_GROUP = "dvae.quantizer.groups.0"
FAULTS = (
    _fault(
        "unbounded_residual",
        "the residual that GFSQ quantises first not bounded",
        "dvae_encoder",
        _GROUP,
        _unbounded_residual,
    ),
    _fault(
        "fifth_for_quarter",
        "GFSQ's second stage on a scale of 1/5 instead of 1/4",
        "dvae_decoder",
        _GROUP,
        _fifth_for_quarter,
    ),
    _fault(
        "swapped_groups",
        "GFSQ's second group of channels before the first",
        "dvae_decoder",
        "dvae.quantizer",
        _swapped_groups,
    ),
    _fault(
        "stages_before_groups",
        "codebooks ordered by stage instead of by group",
        "dvae_decoder",
        "dvae.quantizer",
        _stages_before_groups,
    ),
    _fault(
        "reversed_digits",
        "a code's digits in the other order",
        "dvae_decoder",
        _GROUP,
        _reversed_digits,
    ),
    _fault(
        "frames_apart",
        "the two frames of a step not interleaved",
        "hidden_decoder",
        "decoder",
        _frames_apart,
    ),
    _fault(
        "undilated",
        "the decoder's depthwise convolutions without dilation",
        "hidden_decoder",
        "decoder.decoder.blocks.0.dwconv",
        weights=_undilated,
    ),
    _fault(
        "gelu_by_tanh",
        "GELU by tanh instead of by the error function",
        "hidden_decoder",
        "decoder.decoder",
        _gelu_by_tanh,
    ),
    _fault(
        "activated_twice",
        "a GELU after the second convolution, too",
        "hidden_decoder",
        "decoder.decoder",
        _gelu_after_both,
    ),
    _fault(
        "missing_layer_scale",
        "ConvNeXt blocks without their scale by channel",
        "hidden_decoder",
        "decoder.decoder.blocks.0",
        weights=_no_layer_scale,
    ),
    _fault(
        "power_for_magnitude",
        "the DVAE's mel of powers instead of magnitudes",
        "dvae_encoder",
        "dvae",
        _power_mel,
    ),
    _fault(
        "inverse_coefficients",
        "the DVAE's coefficients divided by where they multiply",
        "dvae_decoder",
        "dvae",
        weights=_multiplied_coefficients,
    ),
    _fault(
        "symmetric_istft_window",
        "the vocoder's Hann window with a zero at both ends",
        "vocos",
        "audio.stft.hann_window",
        _symmetric_istft_window,
    ),
    _fault(
        "unclipped_magnitudes",
        "the vocoder's magnitudes without their bound",
        "vocos",
        "vocos.head",
        _unclipped_magnitudes,
    ),
    _fault(
        "codes_as_text",
        "an audio prompt's codes embedded as text",
        "gpt_code",
        "gpt",
        _codes_as_text,
    ),
    _fault(
        "first_codebook_only",
        "an audio prompt embedded by its first codebook's numbers",
        "gpt_code",
        "gpt",
        _first_codebook_only,
    ),
    _fault(
        "positions_with_padding",
        "positions counted from the padding instead of the first token",
        "gpt_text",
        "gpt_text",
        _positions_with_padding,
    ),
    _fault(
        "speaker_in_float32",
        "the speaker's vector divided by a length that is not rounded to float16",
        "speaker_vector",
        "voices.chattts.strings.normalised",
        _speaker_in_float32,
    ),
    _fault(
        "unfolded_head",
        "a head of codes without the lengths of its weight norm",
        "gpt_code",
        "gpt.head_code.0",
        weights=_unfolded_heads,
    ),
    _fault(
        "stop_of_first_codebook",
        "rows of codes ended by the first codebook's stop alone",
        "generate_code",
        "generate_code",
        _stop_of_first_codebook,
    ),
    _fault(
        "stop_of_all_codebooks",
        "rows of codes ended by the stop of all codebooks",
        "generate_code",
        "generate_code",
        _stop_of_all_codebooks,
    ),
    _fault(
        "penalty_once",
        "a repetition penalised once, however often it occurs",
        "chattts_sampler_usual",
        "chattts_sampler_usual",
        _penalty_once,
    ),
    _fault(
        "longer_memory",
        "repetitions counted over 24 draws instead of 16",
        "chattts_sampler_usual",
        "chattts_sampler_usual",
        _longer_memory,
    ),
    _fault(
        "one_candidate",
        "filters that leave one token instead of three",
        "chattts_sampler_narrow",
        "chattts_sampler_narrow",
        _one_candidate,
    ),
    _fault(
        "first_temperature",
        "the first codebook's temperature for all",
        "chattts_sampler_codebooks",
        "chattts_sampler_codebooks",
        _first_temperature,
    ),
)
