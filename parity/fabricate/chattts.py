"""Fabricated files of ChatTTS, in its own layout, at any size.

Every tensor has a generator of its own, seeded by the run's seed, the file and the key, so that a
reference that was computed elsewhere applies to the same files made here again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.signal import get_window

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.config import CHATTTS_TYPE
from mlx_chatterbox.voices.chattts.strings import SPEAKER_SIZE
from mlx_chatterbox.weights.chattts_files import CONFIG_FILE, STATISTICS_FILE, TOKENIZER_FILES
from mlx_chatterbox.weights.conversion.chattts_layout import layout
from mlx_chatterbox.weights.formats.torch_zip import write_tensor

from ..whole_file import whole_file, write_text
from .chattts_tokenizer import tokenizer_files
from .checkpoint import STAMP

Progress = Callable[[int, int], None]

_WINDOWS = ("spectrogram.window", "istft.window")
_FILTERS = "mel_scale.fb"


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


def fabricate_chattts(
    folder: str | Path,
    config: ChatTTSConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write a whole folder of ChatTTS's own files: weights, tokenizer, statistics of speakers.

    Args:
        folder: where to; made if it is not there.
        config: of another size than the published.
        seed: the same seed gives the same bytes.
        progress: called with bytes written and bytes in all.

    Returns:
        The folder.
    """
    folder, config = Path(folder), config or ChatTTSConfig()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).unlink(missing_ok=True)
    write(folder, config, seed, progress)
    for name, text in tokenizer_files().items():
        path = folder / TOKENIZER_FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    with whole_file(folder / STATISTICS_FILE) as temporary:
        write_tensor(temporary, statistics(seed))
    write_text(folder / STAMP, json.dumps({"variant": CHATTTS_TYPE, "seed": seed}) + "\n")
    return folder


def statistics(seed: int) -> np.ndarray:
    """Draw statistics of speakers, (1536,) float32: deviations, then means."""
    random = np.random.default_rng(seed)
    std, mean = random.uniform(1.0, 16.0, SPEAKER_SIZE), random.uniform(-9.0, 9.0, SPEAKER_SIZE)
    return np.concatenate([std, mean]).astype(np.float16).astype(np.float32)


def write(folder: Path, config: ChatTTSConfig, seed: int, progress: Progress | None = None) -> None:
    """Write the five files of tensors and the GPT's configuration.

    Args:
        progress: called with bytes written and bytes in all.
    """
    files = layout(config)
    total = sum(4 * prod(shape) for shapes in files.values() for shape in shapes.values())
    done = 0
    for file, shapes in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for key, shape in shapes.items():
            tensor = value(file, key, shape, seed, config.sample_rate)
            tensors[key] = np.ascontiguousarray(tensor)
            done += tensor.nbytes
            if progress is not None:
                progress(done, total)
        with whole_file(path) as temporary:
            save_file(tensors, temporary, {"format": "pt"})
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
