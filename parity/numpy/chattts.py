"""ChatTTS's networks in plain NumPy, float64, from their definitions; channels before time.

The weights are those of its own files, under their names there: nothing of our converter is in
between. Rows are never padded here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .layers import Weights, conv1d, gelu, layer_norm, linear, sigmoid
from .vocoder import istft, stft

LAYER_NORM_EPS = 1e-6
RMS_EPS = 1e-6
ROPE_THETA = 10000.0
LEVELS, DIGITS = 5, 4
LEAST_MEL, MOST_MAGNITUDE = 1e-5, 100.0


# --- GPT ---------------------------------------------------------------------------------------


def embed(
    w: Weights, ids: np.ndarray, is_text: np.ndarray, speaker: np.ndarray | None, token: int
) -> np.ndarray:
    """Embed a prompt.

    Args:
        w: of the file of embeddings and heads.
        ids: (T, 4).
        is_text: (T,) bool.
        speaker: (C,), normalised, or None; it replaces the embedding of `token`.

    Returns:
        (T, C)
    """
    text, tables = w["emb_text.weight"], [w[f"emb_code.{i}.weight"] for i in range(ids.shape[1])]
    rows = []
    for numbers, text_here in zip(ids, is_text, strict=True):
        if speaker is not None and numbers[0] == token:
            rows.append(speaker.astype(np.float64))
        elif text_here:
            rows.append(text[numbers[0]])
        else:
            rows.append(np.sum([t[n] for t, n in zip(tables, numbers, strict=True)], axis=0))
    return np.stack(rows)


def rms_norm(w: Weights, x: np.ndarray) -> np.ndarray:
    """(..., C)."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + RMS_EPS) * w["weight"]


def rotate(x: np.ndarray) -> np.ndarray:
    """Rotary embedding of (H, T, D) at positions 0 to T, pairs of channels half a head apart."""
    half = x.shape[-1] // 2
    angles = np.outer(np.arange(x.shape[1]), ROPE_THETA ** (-np.arange(half) / half))
    turns = np.exp(1j * angles)
    turned = (x[..., :half] + 1j * x[..., half:]) * turns
    return np.concatenate([turned.real, turned.imag], axis=-1)


def llama(w: Weights, x: np.ndarray, layers: int, heads: int) -> list[np.ndarray]:
    """(T, C) to the same after each layer, and after the final norm."""
    length, width = x.shape
    unseen = np.triu(np.full((length, length), -np.inf), 1)

    def split(part: np.ndarray) -> np.ndarray:
        return part.reshape(length, heads, width // heads).swapaxes(0, 1)

    states = []
    for number in range(layers):
        layer = w.at(f"layers.{number}")
        own, mlp = layer.at("self_attn"), layer.at("mlp")
        normed = rms_norm(layer.at("input_layernorm"), x)
        queries, keys = (rotate(split(linear(own.at(p), normed))) for p in ("q_proj", "k_proj"))
        values = split(linear(own.at("v_proj"), normed))
        scores = queries @ keys.swapaxes(1, 2) / np.sqrt(width // heads) + unseen
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        x = x + linear(own.at("o_proj"), (shares @ values).swapaxes(0, 1).reshape(length, width))
        normed = rms_norm(layer.at("post_attention_layernorm"), x)
        gate, up = linear(mlp.at("gate_proj"), normed), linear(mlp.at("up_proj"), normed)
        x = x + linear(mlp.at("down_proj"), gate * sigmoid(gate) * up)
        states.append(x)
    return [*states, rms_norm(w.at("norm"), x)]


def text_logits(w: Weights, hidden: np.ndarray) -> np.ndarray:
    """(T, C) to (T, V)."""
    return linear(w.at("head_text"), hidden)


def code_logits(w: Weights, hidden: np.ndarray, codebooks: int) -> np.ndarray:
    """(T, C) to (T, codebooks, V)."""
    return np.stack([linear(w.at(f"head_code.{i}"), hidden) for i in range(codebooks)], axis=1)


# --- Convolutional networks ----------------------------------------------------------------------


@dataclass(frozen=True)
class BlockNames:
    """The names of a block's layer scale, which differ between the files."""

    scale: str
    dilation: int


DECODER_BLOCK, VOCOS_BLOCK = BlockNames("weight", 2), BlockNames("gamma", 1)


def convnext_block(w: Weights, x: np.ndarray, names: BlockNames) -> np.ndarray:
    """(B, C, T) to the same."""
    around = names.dilation * (w["dwconv.weight"].shape[2] // 2)
    hidden = conv1d(
        w.at("dwconv"), x, padding=(around, around), dilation=names.dilation, depthwise=True
    )
    hidden = layer_norm(w.at("norm"), hidden.swapaxes(1, 2), LAYER_NORM_EPS)
    hidden = linear(w.at("pwconv2"), gelu(linear(w.at("pwconv1"), hidden)))
    return x + (w[names.scale] * hidden).swapaxes(1, 2)


def body(w: Weights, x: np.ndarray, layers: int) -> np.ndarray:
    """(B, C, T) to (B, C', T)."""
    x = gelu(conv1d(w.at("conv_in.0"), x, padding=(1, 1)))
    x = conv1d(w.at("conv_in.2"), x, padding=(1, 1))
    for number in range(layers):
        x = convnext_block(w.at(f"decoder_block.{number}"), x, DECODER_BLOCK)
    return conv1d(w.at("conv_out"), x)


def decode_steps(w: Weights, steps: np.ndarray, layers: int) -> np.ndarray:
    """Steps (B, 2 C, n) to log-mel frames (B, n_mels, 2 n)."""
    batch, width, count = steps.shape
    frames = np.zeros((batch, width // 2, 2 * count))
    frames[:, :, 0::2], frames[:, :, 1::2] = steps[:, : width // 2], steps[:, width // 2 :]
    x = body(w.at("decoder"), frames, layers)
    return conv1d(w.at("out_conv"), x, padding=(1, 1)) * w["coef"]


def code_features(w: Weights, ids: np.ndarray, groups: int = 2) -> np.ndarray:
    """Codes (B, codebooks, n), group by group, to steps (B, 2 C, n)."""
    powers = LEVELS ** np.arange(DIGITS)
    parts = []
    for group, codes in enumerate(np.split(ids, groups, axis=1)):
        total = 0.0
        for stage in range(codes.shape[1]):
            digits = codes[:, stage, :, None] // powers % LEVELS
            total = total + (digits - 2.0) / 2.0 / 4.0**stage
        parts.append(linear(w.at(f"vq_layer.quantizer.rvqs.{group}.project_out"), total))
    return np.concatenate(parts, axis=2).swapaxes(1, 2)


def encode_features(w: Weights, features: np.ndarray, groups: int = 2) -> np.ndarray:
    """Features (B, C, n) to codes (B, 4, n)."""
    powers = LEVELS ** np.arange(DIGITS)
    codes = []
    for group, part in enumerate(np.split(features, groups, axis=1)):
        project = w.at(f"vq_layer.quantizer.rvqs.{group}.project_in")
        rest = 2.002 * np.tanh(linear(project, part.swapaxes(1, 2)))
        first = np.round(2.002 * np.tanh(rest)) / 2
        second = np.round(2.002 * np.tanh(4 * (rest - first))) / 2
        codes += [((2 * q + 2).astype(np.int64) * powers).sum(axis=2) for q in (first, second)]
    return np.stack(codes, axis=1)


def log_mel(w: Weights, waveform: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """(n,) to (n_mels, 1 + n // hop)."""
    filters = w["preprocessor_mel.mel_spec.mel_scale.fb"]
    magnitude = np.abs(stft(waveform, n_fft, hop))
    return np.log(np.maximum(filters.T @ magnitude, LEAST_MEL))


def encode(
    w: Weights, waveform: np.ndarray, layers: int, n_fft: int = 1024, hop: int = 256
) -> np.ndarray:
    """(n,) to codes (4, (1 + n // hop) // 2)."""
    x = log_mel(w, waveform, n_fft, hop)[None] / w["coef"]
    x = gelu(conv1d(w.at("downsample_conv.0"), x, padding=(1, 1)))
    x = gelu(conv1d(w.at("downsample_conv.2"), x, stride=2, padding=(1, 1)))
    return encode_features(w, body(w.at("encoder"), x, layers))[0]


def vocos(
    w: Weights, mel: np.ndarray, layers: int, n_fft: int = 1024, hop: int = 256
) -> np.ndarray:
    """Log-mel (n_mels, F) to a waveform, (hop (F - 1),)."""
    backbone = w.at("backbone")
    around = backbone["embed.weight"].shape[2] // 2
    x = conv1d(backbone.at("embed"), mel[None], padding=(around, around)).swapaxes(1, 2)
    x = layer_norm(backbone.at("norm"), x, LAYER_NORM_EPS).swapaxes(1, 2)
    for number in range(layers):
        x = convnext_block(backbone.at(f"convnext.{number}"), x, VOCOS_BLOCK)
    x = layer_norm(backbone.at("final_layer_norm"), x[0].T, LAYER_NORM_EPS)
    logarithm, phase = np.split(linear(w.at("head.out"), x), 2, axis=1)
    spectrum = np.minimum(np.exp(logarithm), MOST_MAGNITUDE) * np.exp(1j * phase)
    spectrum[:, [0, -1]] = spectrum[:, [0, -1]].real
    return istft(spectrum.T, n_fft, hop)
