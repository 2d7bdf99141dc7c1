"""Loading and saving of the S3 tokenizer's first version.

Its weights are published as ONNX, one file for 50 tokens a second (CosyVoice-300M) and one for 25
(CosyVoice-300M-25Hz), which state their rate. They are read without the onnx package. Weights
beside an ONNX file (external data), quantised ones, and the files of versions 2 and 3 cannot be
read; Chatterbox's own checkpoints contain version 2.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

from ..errors import CheckpointError
from ..models.s3tokenizer.config import TOKEN_RATES_V1, S3TokenizerV1Config
from ..models.s3tokenizer.v1 import S3TokenizerV1
from .checkpoint import load_weights_strictly
from .hub import S3_TOKENIZER_V1, WEIGHTS_NAME
from .part_folder import read_part_config, read_tensors, write_part


def load_speech_tokenizer_v1(
    source: str | Path, name: str | None = None, config: S3TokenizerV1Config | None = None
) -> S3TokenizerV1:
    """Load the tokenizer from a file or folder.

    Args:
        source: an `.onnx` file; a state dict (`.pt`, `.safetensors`) as the `s3tokenizer` package
            makes it of one; or a folder of `save_speech_tokenizer_v1`.
        name: "speech_tokenizer_v1" (50 tokens a second) or "speech_tokenizer_v1_25hz", for a state
            dict, which does not state it; by default the name of the file without its ending.
        config: sizes, if they are not the published ones.

    Raises:
        CheckpointError: missing, damaged, of other shapes, or of unknown rate.
    """
    from mlx_chatterbox.weights.conversion.s3_tokenizer_v1 import read_onnx, read_state_dict

    path = Path(source).expanduser()
    config = config or S3TokenizerV1Config()
    if path.is_dir():
        values = read_part_config(path)
        if values.pop("model_type", None) != S3_TOKENIZER_V1:
            raise CheckpointError(f"{path} holds no S3 tokenizer of the first version.")
        config, weights = S3TokenizerV1Config.from_dict(values), read_tensors(path / WEIGHTS_NAME)
    elif path.suffix == ".onnx":
        weights, rate = read_onnx(path)
        config = dataclasses.replace(config, token_rate=rate)
    else:
        stated_rate = TOKEN_RATES_V1.get(path.stem if name is None else name)
        if stated_rate is None:
            raise CheckpointError(
                f"{path} does not state its tokens per second: pass a name, "
                f"{' or '.join(TOKEN_RATES_V1)}."
            )
        weights = read_state_dict(path)
        config = dataclasses.replace(config, token_rate=stated_rate)
    config.check_layers(len(weights), path)
    model = S3TokenizerV1(config)
    load_weights_strictly(model, weights, path)
    model.eval()
    # Now: lazy arrays can be evaluated only in the thread that made them.
    mx.eval(model.state)
    return model


def save_speech_tokenizer_v1(model: S3TokenizerV1, folder: str | Path) -> Path:
    """Save weights (float32) and configuration into a folder.

    Raises:
        CheckpointError: it cannot be written.
    """
    parameters = dict(tree_flatten(model.parameters()))
    weights = {key: value.astype(mx.float32) for key, value in parameters.items()}
    values = {"model_type": S3_TOKENIZER_V1, **model.config.to_dict()}
    return write_part(folder, weights, values)
