"""Encoders of recordings in plain NumPy: voice encoder, speech tokenizer, speaker encoder.

From the papers and upstream's weights, in float64 and without a line of `mlx_chatterbox`.
"""

from __future__ import annotations

import numpy as np

from .layers import (
    Weights,
    attention,
    batch_norm,
    conv1d,
    conv2d,
    gelu,
    layer_norm,
    linear,
    lstm,
    relu,
    sigmoid,
)

PARTIAL_FRAMES = 160
PARTIAL_STEP = round(16_000 / 1.3 / PARTIAL_FRAMES)


def voice_embedding(w: Weights, mel: np.ndarray) -> np.ndarray:
    """Mel power (T, 40) -> (1, 256): partials of 1.6 s, each embedded, averaged (GE2E).

    Another partial is taken where 80 % of it is left; what is missing of the last is zeros.
    """
    count, rest = divmod(max(len(mel) - PARTIAL_FRAMES + PARTIAL_STEP, 0), PARTIAL_STEP)
    if count == 0 or (rest + PARTIAL_FRAMES - PARTIAL_STEP) / PARTIAL_FRAMES >= 0.8:
        count += 1
    whole = PARTIAL_FRAMES + PARTIAL_STEP * (count - 1)
    mel = np.concatenate([mel, np.zeros((max(whole - len(mel), 0), mel.shape[1]))])
    starts = range(0, count * PARTIAL_STEP, PARTIAL_STEP)
    partials = np.stack([mel[start : start + PARTIAL_FRAMES] for start in starts])
    last = lstm(w.at("lstm"), partials.astype(np.float64), 3)[:, -1]
    embedded = _unit(relu(linear(w.at("proj"), last)))
    return _unit(embedded.mean(axis=0, keepdims=True))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# --- Speech tokenizer, version 2 ------------------------------------------------------------------


def tokenizer_codes(w: Weights, log_mel: np.ndarray, heads: int) -> np.ndarray:
    """Log-mel (128, T) -> the eight numbers that become a token's digits, (T / 4, 8)."""
    encoder = w.at("encoder")
    x = log_mel[None].astype(np.float64)
    for name in ("conv1", "conv2"):
        x = gelu(conv1d(encoder.at(name), x, stride=2, padding=(1, 1)))
    x = x[0].T
    layer = 0
    while f"blocks.{layer}" in encoder:
        block = encoder.at(f"blocks.{layer}")
        x = x + _fsmn_attention(block.at("attn"), layer_norm(block.at("attn_ln"), x), heads)
        widened = gelu(linear(block.at("mlp.0"), layer_norm(block.at("mlp_ln"), x)))
        x = x + linear(block.at("mlp.2"), widened)
        layer += 1
    return linear(w.at("quantizer._codebook.project_down"), x)


def _fsmn_attention(w: Weights, x: np.ndarray, heads: int) -> np.ndarray:
    """(T, C): rotary attention, and the values summed over 31 frames around each."""
    values = linear(w.at("value"), x)
    memory = conv1d(w.at("fsmn_block"), values.T[None], padding=(15, 15), depthwise=True)[0].T
    split = (len(x), heads, -1)
    queries, keys, parts = (
        np.swapaxes(part.reshape(split), 0, 1)
        for part in (linear(w.at("query"), x), linear(w.at("key"), x), values)
    )
    attended = attention(_rotated(queries), _rotated(keys), parts)
    attended = np.swapaxes(attended, 0, 1).reshape(x.shape)
    return linear(w.at("out"), attended) + memory + values


def _rotated(x: np.ndarray) -> np.ndarray:
    """(H, T, D): channel i and i + D / 2 turned by T / 10000^(2 i / D)."""
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return np.concatenate(turned, axis=-1)


def fsq_tokens(codes: np.ndarray) -> np.ndarray:
    """(T, 8) -> (T,) int32: each number to one of three levels, digits in base three.

    tanh is scaled a little under one, so that a saturated one is not rounded past the outer levels.
    """
    digits = np.round(np.tanh(codes) * 0.9990000128746033).astype(np.int64) + 1
    return (digits @ 3 ** np.arange(8)).astype(np.int32)


# --- Speaker encoder (CAM++) ----------------------------------------------------------------------


def speaker_embedding(w: Weights, fbank: np.ndarray) -> np.ndarray:
    """Mean-normalised filter banks (T, 80) -> (1, 192)."""
    x = _front_end(w.at("head"), fbank.T[None, None].astype(np.float64))
    w = w.at("xvector")
    x = conv1d(w.at("tdnn.linear"), x, stride=2, padding=(2, 2))
    x = relu(batch_norm(w.at("tdnn.nonlinear.batchnorm"), x))
    for block, dilation in ((1, 1), (2, 2), (3, 2)):
        layer = 1
        while f"block{block}.tdnnd{layer}" in w:
            x = np.concatenate([x, _dense(w.at(f"block{block}.tdnnd{layer}"), x, dilation)], 1)
            layer += 1
        transit = w.at(f"transit{block}")
        x = conv1d(transit.at("linear"), relu(batch_norm(transit.at("nonlinear.batchnorm"), x)))
    x = relu(batch_norm(w.at("out_nonlinear.batchnorm"), x))
    pooled = np.concatenate([x.mean(axis=2), x.std(axis=2, ddof=1)], axis=1)
    out = conv1d(w.at("dense.linear"), pooled[:, :, None])
    return batch_norm(w.at("dense.nonlinear.batchnorm"), out)[:, :, 0]


def _front_end(w: Weights, x: np.ndarray) -> np.ndarray:
    """(1, 1, 80, T) -> (1, 10 C, T)."""
    x = relu(batch_norm(w.at("bn1"), conv2d(w.at("conv1"), x, padding=1)))
    for layer in ("layer1", "layer2"):
        for block, stride in ((0, 2), (1, 1)):
            part = w.at(f"{layer}.{block}")
            residual = x
            if "shortcut" in part:
                residual = conv2d(part.at("shortcut.0"), x, stride)
                residual = batch_norm(part.at("shortcut.1"), residual)
            x = relu(batch_norm(part.at("bn1"), conv2d(part.at("conv1"), x, stride, 1)))
            x = batch_norm(part.at("bn2"), conv2d(part.at("conv2"), x, padding=1))
            x = relu(x + residual)
    x = relu(batch_norm(w.at("bn2"), conv2d(w.at("conv2"), x, 2, 1)))
    return x.reshape(len(x), -1, x.shape[3])


def _dense(w: Weights, x: np.ndarray, dilation: int) -> np.ndarray:
    """(1, C, T) -> (1, growth, T): bottleneck, then a convolution gated by its context."""
    x = conv1d(w.at("linear1"), relu(batch_norm(w.at("nonlinear1.batchnorm"), x)))
    x = relu(batch_norm(w.at("nonlinear2.batchnorm"), x))
    cam = w.at("cam_layer")
    # The mean of each 100 frames, of what is left in the last, held over them.
    segments = [x[:, :, start : start + 100] for start in range(0, x.shape[2], 100)]
    held = [
        np.broadcast_to(segment.mean(axis=2, keepdims=True), segment.shape) for segment in segments
    ]
    context = x.mean(axis=2, keepdims=True) + np.concatenate(held, axis=2)
    gate = sigmoid(conv1d(cam.at("linear2"), relu(conv1d(cam.at("linear1"), context))))
    local = conv1d(cam.at("linear_local"), x, padding=(dilation, dilation), dilation=dilation)
    return local * gate
