"""Upstream's weights in mlx-audio's layout; runs where mlx-audio is installed.

Its own converter fetches the files from the hub and reads them with PyTorch. Here they lie on disk
and MLX reads them; names and layouts are changed by the same methods that its converter calls, the
`sanitize` of its networks. Every parameter of its networks must come out, in its shape, but those
that it makes itself: its loading does not insist.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_audio.tts.models.chatterbox import Model
from mlx_audio.tts.models.chatterbox.config import ModelConfig

TOKENIZER_FOLDER = "S3TokenizerV2"
CONFIG = {"model_type": "chatterbox", "t3_model": "english", "multilingual": False}
# Parameters that its networks compute when they are created, by the end of the name.
COMPUTED = ("rand_noise", "pos_enc.pe", "stft_window", "trim_fade")
# Of the Llama, which is fed with embeddings and whose output goes to heads of T3's own.
UNUSED = ("tfmr.model.embed_tokens.weight", "tfmr.lm_head.weight")


class WeightsDoNotFit(Exception):
    """mlx-audio's networks would keep parameters that are not ours."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", type=Path, help="a folder with upstream's English files")
    parser.add_argument("output", type=Path, help="where to; written anew")
    arguments = parser.parse_args()
    write(arguments.upstream, arguments.output)


def write(upstream: Path, output: Path) -> None:
    """Write mlx-audio's folder.

    Raises:
        WeightsDoNotFit: a parameter is missing or has another shape.
    """
    mx.set_default_device(mx.cpu)
    model = Model(ModelConfig.from_dict(CONFIG))
    s3gen = mx.load(str(upstream / "s3gen.safetensors"))
    tokenizer = {
        key.removeprefix("tokenizer."): value
        for key, value in s3gen.items()
        if key.startswith("tokenizer.")
    }
    weights = {}
    for prefix, network, values in (
        ("ve", model.ve, mx.load(str(upstream / "ve.safetensors"))),
        ("t3", model.t3, mx.load(str(upstream / "t3_cfg.safetensors"))),
        ("s3gen", model.s3gen, {k: v for k, v in s3gen.items() if not k.startswith("tokenizer.")}),
    ):
        fitted = _sanitized(network, values, prefix)
        weights |= {f"{prefix}.{key}": value for key, value in fitted.items()}

    output.mkdir(parents=True, exist_ok=True)
    (output / TOKENIZER_FOLDER).mkdir(exist_ok=True)
    speech_tokenizer = _sanitized(model._s3_tokenizer, tokenizer, TOKENIZER_FOLDER)
    mx.save_safetensors(str(output / TOKENIZER_FOLDER / "model.safetensors"), speech_tokenizer)
    mx.save_safetensors(str(output / "model.safetensors"), weights)
    shutil.copy(upstream / "tokenizer.json", output / "tokenizer.json")
    (output / "config.json").write_text(json.dumps(CONFIG) + "\n", encoding="utf-8")


def _sanitized(network, values: dict, name: str) -> dict:
    fitted = network.sanitize(values)
    for key, expected in tree_flatten(network.parameters()):
        value = fitted.get(key)
        if key in UNUSED or (value is None and key.endswith(COMPUTED)):
            continue
        if value is None or value.shape != expected.shape:
            shape = "missing" if value is None else tuple(value.shape)
            raise WeightsDoNotFit(f"{name}.{key}: {shape} instead of {tuple(expected.shape)}")
    return fitted


if __name__ == "__main__":
    main()
