"""Small folders in mlx-audio's layout: its names for the tensors of a small model.

`mlx_audio_names.json.gz` lists the names and shapes that mlx-audio's own code gives the full-size
networks: its trees `chatterbox` and `chatterbox_turbo` as they are now, and the first as it was in
the weeks when everything, the speech tokenizer too, went into one file.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import mlx.core as mx

from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.text.files import ENGLISH_FILE, MULTILINGUAL_FILE
from mlx_chatterbox.weights.conversion import community

LAYOUTS = ("chatterbox", "chatterbox-first", "chatterbox-turbo")
GROUP = 32


@cache
def names(layout: str) -> dict[str, tuple[int, ...]]:
    """mlx-audio's full-size names and shapes."""
    path = Path(__file__).with_name("mlx_audio_names.json.gz")
    listed = json.loads(gzip.decompress(path.read_bytes()))[layout]
    return {name: tuple(shape) for name, shape in listed.items()}


@cache
def theirs_by_ours(layout: str) -> dict[str, str]:
    """mlx-audio's names by ours."""
    return {
        community.our_key(name): name
        for name in names(layout)
        if community.reason_to_drop(name) is None
    }


def as_mlx_audio(weights: dict[str, mx.array], layout: str) -> dict[str, mx.array]:
    """Tensors of ours under mlx-audio's names, the LSTM's biases added up as it adds them."""
    theirs = theirs_by_ours(layout)
    stored = {}
    for key, value in weights.items():
        if "bias_hh" in key:
            continue
        if "bias_ih" in key:
            value = value + weights[key.replace("bias_ih", "bias_hh")]
        if key in theirs:
            stored[theirs[key]] = value
    width = weights["t3.text_emb.weight"].shape[1]
    stored["ve.similarity_weight"] = mx.array([10.0])
    stored["ve.similarity_bias"] = mx.array([-5.0])
    stored["s3gen.trim_fade"] = mx.zeros((960,))
    if layout == "chatterbox-turbo":
        stored["t3.tfmr.wte.weight"] = mx.zeros((8, width))
        stored["s3gen.encoder.embed.pos_enc.pe"] = mx.zeros((1, 9, 8))
    else:
        stored["t3.tfmr.model.embed_tokens.weight"] = mx.zeros((8, width))
        stored["s3gen.flow.encoder.embed.pos_enc.pe"] = mx.zeros((1, 9, 8))
        stored["s3gen.flow.decoder.rand_noise"] = mx.zeros((1, 80, 100))
    if layout == "chatterbox-first":
        stored["t3.tfmr.lm_head.weight"] = mx.zeros((8, width))
    return stored


def quantised(stored: dict[str, mx.array], bits: int) -> dict[str, mx.array]:
    """T3's layers as `nn.quantize` leaves them, the rest as it is."""
    packed = {}
    for key, value in stored.items():
        if ".layers." in key and key.startswith("t3.") and value.ndim == 2:
            module = key.removesuffix(".weight")
            parts = mx.quantize(value, GROUP, bits)
            packed |= {
                f"{module}.{name}": part
                for name, part in zip(("weight", "scales", "biases"), parts, strict=True)
            }
        else:
            packed[key] = value
    return packed


def write(
    folder: Path,
    weights: dict[str, mx.array],
    layout: str = "chatterbox",
    tokenizer: str = "english",
    separate: bool = True,
    dtype: mx.Dtype = mx.float32,
    bits: int | None = None,
    **stated,
) -> Path:
    """Write mlx-audio's folder.

    Args:
        separate: the speech tokenizer goes into a folder S3TokenizerV2 beside it.
        stated: more of what `config.json` says.
    """
    folder.mkdir(parents=True)
    stored = {k: v.astype(dtype) for k, v in as_mlx_audio(weights, layout).items()}
    speech = {k: v for k, v in stored.items() if k.startswith("s3_tokenizer.")}
    config = {"model_type": "chatterbox", "version": "1.0", **stated}
    if layout == "chatterbox-turbo":
        config = {"model_type": "chatterbox_turbo", **stated}
    if bits is not None:
        stored = quantised(stored, bits)
        config["quantization"] = {"bits": bits, "group_size": GROUP}
    if separate:
        stored = {k: v for k, v in stored.items() if k not in speech}
        alone = folder.parent / "S3TokenizerV2"
        alone.mkdir(exist_ok=True)
        plain = {k.removeprefix("s3_tokenizer."): v for k, v in speech.items()}
        mx.save_safetensors(str(alone / "model.safetensors"), plain)
    mx.save_safetensors(str(folder / "model.safetensors"), stored)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, text in tokenizer_files(tokenizer).items():
        name = ENGLISH_FILE if name == MULTILINGUAL_FILE else name
        (folder / name).write_text(text, encoding="utf-8")
    return folder
