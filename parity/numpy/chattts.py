"""ChatTTS's networks in plain NumPy, float64, from their definitions; channels before time.

The weights are those of its own files, under their names there: nothing of our converter is in
between. Rows are never padded here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..inputs.chattts_cases import SamplerCase
from .layers import Weights, conv1d, gelu, layer_norm, linear, sigmoid
from .vocoder import istft, stft

LAYER_NORM_EPS = 1e-6
RMS_EPS = 1e-6
ROPE_THETA = 10000.0
LEVELS, DIGITS = 5, 4
LEAST_MEL, MOST_MAGNITUDE = 1e-5, 100.0
# Draws that the repetition penalty counts, and tokens that no filter drops.
RECENT, FEWEST = 16, 3


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


def embed_rows(
    w: Weights, ids: np.ndarray, is_text: np.ndarray, speaker: np.ndarray | None, token: int
) -> np.ndarray:
    """Embed prompts of one length: ids (B, T, 4), `is_text` (B, T); returns (B, T, C)."""
    pairs = zip(ids, is_text, strict=True)
    return np.stack([embed(w, row, there, speaker, token) for row, there in pairs])


def rms_norm(w: Weights, x: np.ndarray) -> np.ndarray:
    """(..., C)."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + RMS_EPS) * w["weight"]


def rotate(x: np.ndarray, first: int = 0) -> np.ndarray:
    """Rotary embedding of (H, T, D) from position `first`, pairs of channels half a head apart."""
    half = x.shape[-1] // 2
    angles = np.outer(first + np.arange(x.shape[1]), ROPE_THETA ** (-np.arange(half) / half))
    turns = np.exp(1j * angles)
    turned = (x[..., :half] + 1j * x[..., half:]) * turns
    return np.concatenate([turned.real, turned.imag], axis=-1)


@dataclass
class Past:
    """Keys and values (H, T, D) of a row's earlier positions, by layer; empty at first."""

    layers: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    length: int = 0

    def extend(self, path: str, keys: np.ndarray, values: np.ndarray):
        """Add a layer's new ones, and return all."""
        if path in self.layers:
            pairs = zip(self.layers[path], (keys, values), strict=True)
            keys, values = (np.concatenate(pair, axis=1) for pair in pairs)
        self.layers[path] = keys, values
        return keys, values


def attend(w: Weights, x: np.ndarray, heads: int, past: Past) -> np.ndarray:
    """Causal attention of one row, (T, C) to the same."""
    length, width = x.shape
    unseen = np.triu(np.full((length, past.length + length), -np.inf), past.length + 1)

    def split(part: np.ndarray) -> np.ndarray:
        return part.reshape(length, heads, width // heads).swapaxes(0, 1)

    queries, keys = (
        rotate(split(linear(w.at(part), x)), past.length) for part in ("q_proj", "k_proj")
    )
    keys, values = past.extend(w.path, keys, split(linear(w.at("v_proj"), x)))
    scores = queries @ keys.swapaxes(1, 2) / np.sqrt(width // heads) + unseen
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return linear(w.at("o_proj"), (shares @ values).swapaxes(0, 1).reshape(length, width))


def gated(w: Weights, x: np.ndarray) -> np.ndarray:
    """The gated MLP, (T, C) to the same."""
    gate, up = linear(w.at("gate_proj"), x), linear(w.at("up_proj"), x)
    return linear(w.at("down_proj"), gate * sigmoid(gate) * up)


def llama_layer(w: Weights, x: np.ndarray, heads: int, past: Past) -> np.ndarray:
    """(T, C) to the same."""
    x = x + attend(w.at("self_attn"), rms_norm(w.at("input_layernorm"), x), heads, past)
    return x + gated(w.at("mlp"), rms_norm(w.at("post_attention_layernorm"), x))


def llama(
    w: Weights, x: np.ndarray, layers: int, heads: int, past: Past | None = None
) -> list[np.ndarray]:
    """(T, C) to the same after each layer, and after the final norm.

    Args:
        past: of the positions before these, to which these are added; None: there are none.
    """
    past = Past() if past is None else past
    states = []
    for number in range(layers):
        x = llama_layer(w.at(f"layers.{number}"), x, heads, past)
        states.append(x)
    past.length += len(x)
    return [*states, rms_norm(w.at("norm"), x)]


def text_logits(w: Weights, hidden: np.ndarray) -> np.ndarray:
    """(..., C) to (..., V)."""
    return linear(w.at("head_text"), hidden)


def code_logits(w: Weights, hidden: np.ndarray, codebooks: int) -> np.ndarray:
    """(..., C) to (..., codebooks, V)."""
    return np.stack([linear(w.at(f"head_code.{i}"), hidden) for i in range(codebooks)], axis=-2)


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
    return dequantise(w.at("vq_layer.quantizer"), ids, groups)


def dequantise(w: Weights, ids: np.ndarray, groups: int) -> np.ndarray:
    """See `code_features`."""
    parts = np.split(ids, groups, axis=1)
    features = [dequantise_group(w.at(f"rvqs.{i}"), part) for i, part in enumerate(parts)]
    return np.concatenate(features, axis=1)


def dequantise_group(w: Weights, codes: np.ndarray) -> np.ndarray:
    """Codes (B, stages, n) to features (B, C, n)."""
    powers = LEVELS ** np.arange(DIGITS)
    total = 0.0
    for stage in range(codes.shape[1]):
        digits = codes[:, stage, :, None] // powers % LEVELS
        total = total + (digits - 2.0) / 2.0 / 4.0**stage
    return linear(w.at("project_out"), total).swapaxes(1, 2)


def encode_features(w: Weights, features: np.ndarray, groups: int = 2) -> np.ndarray:
    """Features (B, C, n) to codes (B, codebooks, n)."""
    return quantise(w.at("vq_layer.quantizer"), features, groups)


def quantise(w: Weights, features: np.ndarray, groups: int) -> np.ndarray:
    """See `encode_features`."""
    parts = np.split(features, groups, axis=1)
    codes = [quantise_group(w.at(f"rvqs.{i}"), part) for i, part in enumerate(parts)]
    return np.concatenate(codes, axis=1)


def quantise_group(w: Weights, features: np.ndarray) -> np.ndarray:
    """Features (B, C, n) to codes (B, 2, n)."""
    powers = LEVELS ** np.arange(DIGITS)
    rest = 2.002 * np.tanh(linear(w.at("project_in"), features.swapaxes(1, 2)))
    first = np.round(2.002 * np.tanh(rest)) / 2
    second = np.round(2.002 * np.tanh(4 * (rest - first))) / 2
    codes = [((2 * q + 2).astype(np.int64) * powers).sum(axis=2) for q in (first, second)]
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
    spectrum = vocos_head(w.at("head"), vocos_backbone(w.at("backbone"), mel, layers))
    spectrum[:, [0, -1]] = spectrum[:, [0, -1]].real
    return istft(spectrum.T, n_fft, hop)


def vocos_backbone(w: Weights, mel: np.ndarray, layers: int) -> np.ndarray:
    """Log-mel (n_mels, F) to features (C, F)."""
    around = w["embed.weight"].shape[2] // 2
    x = conv1d(w.at("embed"), mel[None], padding=(around, around)).swapaxes(1, 2)
    x = layer_norm(w.at("norm"), x, LAYER_NORM_EPS).swapaxes(1, 2)
    for number in range(layers):
        x = convnext_block(w.at(f"convnext.{number}"), x, VOCOS_BLOCK)
    return layer_norm(w.at("final_layer_norm"), x[0].T, LAYER_NORM_EPS).T


def vocos_head(w: Weights, features: np.ndarray) -> np.ndarray:
    """Features (C, F) to spectra (F, bins) complex."""
    logarithm, phase = np.split(linear(w.at("out"), features.T), 2, axis=1)
    return np.minimum(np.exp(logarithm), MOST_MAGNITUDE) * np.exp(1j * phase)


# --- Speaker and sampler -------------------------------------------------------------------------


def normalised_speaker(vector: np.ndarray) -> np.ndarray:
    """Divide (C,) float16 by its length, both rounded to float16."""
    values = vector.astype(np.float16).astype(np.float64)
    return (values / np.float16(np.sqrt(np.sum(values * values)))).astype(np.float16)


def penalised(logits: np.ndarray, history: np.ndarray, penalty: float, stop: int) -> np.ndarray:
    """Logits (V,) with a penalty for each time that a token is among the last 16 of `history`.

    The token that ends a row, `stop`, is not counted.
    """
    x = logits.copy()
    for token in history[-RECENT:]:
        if token != stop:
            x[token] *= penalty if x[token] < 0 else 1 / penalty
    return x


def sampler_probabilities(case: SamplerCase) -> np.ndarray:
    """The distributions that the next tokens are drawn from, (R, V)."""
    count, size = case.logits.shape
    temperatures = np.resize(np.atleast_1d(case.temperature), count)
    rows = []
    for logits, history, temperature in zip(
        case.logits.astype(np.float64), case.history, temperatures, strict=True
    ):
        x = penalised(logits / temperature, history, case.repetition_penalty, case.eos)
        if case.top_p is not None:
            order = np.argsort(x)
            shares = np.exp(x[order] - x[order[-1]])
            summed = np.cumsum(shares / shares.sum())
            dropped = summed <= 1 - case.top_p
            dropped[-FEWEST:] = False
            x[order[dropped]] = -np.inf
        if case.top_k is not None:
            kept = min(max(case.top_k, FEWEST), size)
            x[x < np.sort(x)[-kept]] = -np.inf
        if case.step < case.min_new_tokens:
            x[case.eos] = -np.inf
        powers = np.exp(x - x.max())
        rows.append(powers / powers.sum())
    return np.stack(rows)
