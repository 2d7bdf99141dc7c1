"""Fabricated files of ChatTTS, in its own layout, at any size.

Every tensor has a generator of its own, seeded by the run's seed, the file and the key, so that a
reference that was computed elsewhere applies to the same files made here again.
"""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.signal import get_window

from mlx_chatterbox.models.chattts.config import BodyConfig, ChatTTSConfig, GPTConfig
from mlx_chatterbox.weights.conversion.chattts import (
    CONFIG_FILE,
    DECODER_FILE,
    DVAE_FILE,
    EMBED_FILE,
    GPT_FILE,
    VOCOS_FILE,
)

Shapes = dict[str, tuple[int, ...]]

_WINDOWS = ("spectrogram.window", "istft.window")
_FILTERS = "mel_scale.fb"


# --- Layout --------------------------------------------------------------------------------------


def layout(config: ChatTTSConfig) -> dict[str, Shapes]:
    """List the keys and shapes of each file."""
    mels, dvae, vocos = config.n_mels, config.dvae, config.vocos
    bins = dvae.n_fft // 2 + 1
    decoder = {"coef": (1, mels, 1), **_body("decoder", config.decoder)}
    codes = {"coef": (1, mels, 1), **_body("decoder", dvae.decoder)}
    for shapes, out in ((decoder, config.decoder), (codes, dvae.decoder)):
        shapes["out_conv.weight"] = (mels, out.out_channels, 3)
    channels = dvae.encoder.in_channels
    width = dvae.encoder.out_channels // dvae.groups
    codes |= {
        **_layer("downsample_conv.0", channels, mels, 3),
        **_layer("downsample_conv.2", channels, channels, 4),
        **_body("encoder", dvae.encoder),
        "preprocessor_mel.mel_spec.spectrogram.window": (dvae.n_fft,),
        "preprocessor_mel.mel_spec.mel_scale.fb": (bins, mels),
    }
    for group in range(dvae.groups):
        name = f"vq_layer.quantizer.rvqs.{group}"
        codes |= _layer(f"{name}.project_in", dvae.digits, width)
        codes |= _layer(f"{name}.project_out", width, dvae.digits)
    hidden = vocos.hidden_channels
    vocoder = {
        **_layer("backbone.embed", hidden, mels, vocos.kernel_size),
        **_layer("backbone.norm", hidden),
        **_layer("backbone.final_layer_norm", hidden),
        **_layer("head.out", vocos.n_fft + 2, hidden),
        "head.istft.window": (vocos.n_fft,),
        "feature_extractor.mel_spec.spectrogram.window": (vocos.n_fft,),
        "feature_extractor.mel_spec.mel_scale.fb": (vocos.n_fft // 2 + 1, mels),
    }
    for number in range(vocos.num_layers):
        name = f"backbone.convnext.{number}"
        vocoder |= _block(name, "gamma", hidden, vocos.inner_channels, vocos.kernel_size)
    return {
        **_gpt(config.gpt),
        DECODER_FILE: decoder,
        DVAE_FILE: codes,
        VOCOS_FILE: vocoder,
    }


def _gpt(config: GPTConfig) -> dict[str, Shapes]:
    width, inner = config.hidden_size, config.intermediate_size
    layers: Shapes = {"norm.weight": (width,)}
    for number in range(config.num_hidden_layers):
        name = f"layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            layers[f"{name}.self_attn.{part}.weight"] = (width, width)
        for part in ("gate_proj", "up_proj"):
            layers[f"{name}.mlp.{part}.weight"] = (inner, width)
        layers[f"{name}.mlp.down_proj.weight"] = (width, inner)
        for part in ("input_layernorm", "post_attention_layernorm"):
            layers[f"{name}.{part}.weight"] = (width,)
    tables = {"text": config.num_text_tokens}
    tables |= {f"code.{i}": config.num_audio_tokens for i in range(config.num_vq)}
    embeddings: Shapes = {}
    for name, entries in tables.items():
        embeddings[f"emb_{name}.weight"] = (entries, width)
        norm = f"head_{name}.parametrizations.weight"
        embeddings |= {f"{norm}.original0": (entries, 1), f"{norm}.original1": (entries, width)}
    return {GPT_FILE: layers, EMBED_FILE: embeddings}


def _layer(name: str, *shape: int) -> Shapes:
    """Weight and bias, of a norm where there is one size."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _block(name: str, scale: str, channels: int, inner: int, kernel: int) -> Shapes:
    return {
        f"{name}.{scale}": (channels,),
        **_layer(f"{name}.dwconv", channels, 1, kernel),
        **_layer(f"{name}.norm", channels),
        **_layer(f"{name}.pwconv1", inner, channels),
        **_layer(f"{name}.pwconv2", channels, inner),
    }


def _body(name: str, config: BodyConfig) -> Shapes:
    hidden = config.hidden_channels
    shapes = {
        **_layer(f"{name}.conv_in.0", config.bottleneck, config.in_channels, 3),
        **_layer(f"{name}.conv_in.2", hidden, config.bottleneck, 3),
        f"{name}.conv_out.weight": (config.out_channels, hidden, 1),
    }
    for number in range(config.num_layers):
        block = f"{name}.decoder_block.{number}"
        shapes |= _block(block, "weight", hidden, 4 * hidden, config.kernel_size)
    return shapes


# --- Values --------------------------------------------------------------------------------------


def mel_filters(bins: int, n_mels: int, sample_rate: int) -> np.ndarray:
    """Triangles of height one on the HTK mel scale up to half the sample rate: (bins, n_mels)."""
    top = 2595.0 * np.log10(1.0 + sample_rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, n_mels + 2) / 2595.0) - 1.0)
    frequencies = np.linspace(0.0, sample_rate / 2, bins)
    rising = (frequencies[:, None] - edges[None, :-2]) / np.diff(edges)[:-1]
    falling = (edges[None, 2:] - frequencies[:, None]) / np.diff(edges)[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def value(file: str, key: str, shape: tuple[int, ...], seed: int, rate: int) -> np.ndarray:
    """Draw a tensor, float32, scaled so that activations stay of order one."""
    if key.endswith(_WINDOWS):
        return get_window("hann", shape[0]).astype(np.float32)
    if key.endswith(_FILTERS):
        return mel_filters(*shape, rate)
    digest = hashlib.sha256(f"{seed}/{file}/{key}".encode()).digest()
    random = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "little")))
    if key == "coef":
        return random.uniform(0.5, 2.0, shape).astype(np.float32)
    if key.endswith(".original0"):  # not the direction's own norm, so that folding matters
        return random.uniform(1.0, 3.0, shape).astype(np.float32)
    if len(shape) == 1 and _is_layer_scale(key):
        return random.uniform(0.1, 0.5, shape).astype(np.float32)
    normal = random.standard_normal(shape, dtype=np.float32)
    if key.endswith(".original1"):
        return normal * random.uniform(0.5, 1.5, shape).astype(np.float32)
    if key.endswith(".bias"):
        return np.float32(0.1) * normal
    if len(shape) == 1:
        return (1 + 0.1 * normal).astype(np.float32)
    if key.startswith("emb_"):
        return np.float32(0.5) * normal
    # Some of the vocoder's magnitudes reach their bound.
    gain = 2.0 if key == "head.out.weight" else 1.0
    return (gain * normal / np.sqrt(prod(shape[1:]))).astype(np.float32)


def _is_layer_scale(key: str) -> bool:
    *_, parent, name = key.split(".")
    return name == "gamma" or (name == "weight" and parent.isdigit())


def write(folder: Path, config: ChatTTSConfig, seed: int) -> None:
    """Write the five files of tensors and the GPT's configuration."""
    for file, shapes in layout(config).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            key: np.ascontiguousarray(value(file, key, shape, seed, config.sample_rate))
            for key, shape in shapes.items()
        }
        save_file(tensors, path, {"format": "pt"})
    gpt = config.gpt
    values = {
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": gpt.hidden_size,
        "intermediate_size": gpt.intermediate_size,
        "num_hidden_layers": gpt.num_hidden_layers,
        "num_attention_heads": gpt.num_attention_heads,
        "num_key_value_heads": gpt.num_attention_heads,
        "max_position_embeddings": gpt.max_position_embeddings,
        "rms_norm_eps": gpt.norm_eps,
        "rope_theta": gpt.rope_theta,
        "rope_scaling": None,
        "num_text_tokens": gpt.num_text_tokens,
        "num_audio_tokens": gpt.num_audio_tokens,
        "num_vq": gpt.num_vq,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
