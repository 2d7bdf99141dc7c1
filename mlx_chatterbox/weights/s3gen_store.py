"""S3Gen and its vocoder without the rest of a model: find, read in any layout, save.

A folder of `save_pretrained` has `config.json` (`model_type` "chatterbox-s3gen" or
"chatterbox-hiftnet", with the fields of a whole checkpoint's that concern it) and
`model.safetensors`, under the keys that a whole checkpoint has. Hugging Face's layout can be read
and written instead (`weights/conversion/s3gen_folder.py`).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from ..errors import CheckpointError
from ..models.config import CONFIG_NAME, DTYPES, ModelConfig
from .checkpoint import load_weights_strictly, read_weights
from .hub import (
    OUR_PARTS,
    WEIGHTS_NAME,
    download,
    is_converted,
    is_known,
    local_folder,
    refuse_chattts,
    repository_of,
    say_passed_over,
    speech_tokenizer,
    variant_called,
)
from .part_folder import read_part_config, read_tensors, write_part
from .quantization import quantize_networks, quantized_layers, rules_of

S3GEN_TYPE, HIFTNET_TYPE = OUR_PARTS
MEANFLOW_STEPS = 2
LAYOUTS = ("mlx", "transformers")
# Beginnings of the keys of a part.
S3GEN, VOCODER = ("s3gen.", "s3_tokenizer."), ("s3gen.mel2wav.",)
# Files to download of a repository that is not in the table of variants.
_WANTED = [CONFIG_NAME, "model*.safetensors", "s3gen.safetensors", "s3gen_meanflow.safetensors"]

Weights = dict[str, mx.array]


# --- Reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelPart:
    """S3Gen's or the vocoder's part of a model, read from files.

    Attributes:
        name: of the model, as the caller wrote it, for errors.
        config: of the whole model, with defaults for what the part does not state.
        weights: by their keys in a whole checkpoint.
        dtype: type to convert the weights to; None keeps theirs.
    """

    name: str | Path
    config: ModelConfig
    weights: Weights
    dtype: str | None

    def fill(self, networks: nn.Module) -> None:
        """Give networks their weights, quantised as the configuration says, and evaluate them.

        Raises:
            CheckpointError: the weights are not theirs.
        """
        quantize_networks(networks, self.config)
        load_weights_strictly(networks, self.weights, self.name)
        if self.dtype is not None and self.dtype != self.config.dtype:
            networks.set_dtype(getattr(mx, self.dtype))
        networks.eval()
        # Now: lazy arrays can be evaluated only in the thread that made them.
        mx.eval(networks.state)


def read_part(name: str | Path, dtype: str | None, within: tuple[str, ...]) -> ModelPart:
    """Find a model and read the tensors whose keys begin with one of `within`.

    Raises:
        CheckpointError, HubError: see `S3GenModel.from_pretrained`.
    """
    config, weights = _read(name, dtype, within)
    return ModelPart(name, config, weights, dtype)


def in_whole(vocoder: nn.Module) -> nn.Module:
    """Put a vocoder where a whole checkpoint has it, so that its keys and the rules agree.

    Args:
        vocoder: has `mel2wav`.
    """
    whole, s3gen = nn.Module(), nn.Module()
    s3gen.mel2wav = vocoder.mel2wav
    whole.s3gen = s3gen
    return whole


def _read(
    name: str | Path, dtype: str | None, within: tuple[str, ...]
) -> tuple[ModelConfig, Weights]:
    """Read a model's configuration, and its tensors whose keys begin with one of `within`."""
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    path = Path(name).expanduser()
    is_file = path.is_file() and not is_known(name)
    say_passed_over(name)
    if not is_file:
        refuse_chattts(name)
    folder = path.parent if is_file else local_folder(name)
    if folder is None:
        folder = _downloaded(str(name))
    if not is_file:
        part = _saved_part(folder)
        if part is not None:
            return part, _within(read_tensors(folder / WEIGHTS_NAME), within)
        if is_converted(folder):
            return ModelConfig.load(folder), _within(read_weights(folder), within)
    return _converted(path if is_file else folder, dtype or "float32", within)


def _within(weights: Weights, within: tuple[str, ...]) -> Weights:
    return {key: value for key, value in weights.items() if key.startswith(within)}


def _downloaded(name: str) -> Path:
    repository = repository_of(name)
    if repository is None:
        raise CheckpointError(
            f"{name} is neither a file nor a folder, a known model or a repository (OWNER/NAME)."
        )
    variant = variant_called(name)
    return download(repository, _WANTED if variant is None else [variant.s3gen_file])


def _saved_part(folder: Path) -> ModelConfig | None:
    """Read the configuration of a folder that `save_pretrained` wrote; None for any other."""
    values = read_part_config(folder)
    if values.pop("model_type", None) not in OUR_PARTS:
        return None
    return ModelConfig.from_dict(values)


def _converted(path: Path, dtype: str, within: tuple[str, ...]) -> tuple[ModelConfig, Weights]:
    """Convert S3Gen in memory from upstream's, Hugging Face's or mlx-audio's files."""
    from .conversion import s3gen_folder
    from .conversion.layouts import COMMUNITY, recognise, stated_layout

    kind = getattr(mx, dtype)
    if path.is_dir() and stated_layout(path) == COMMUNITY:
        source = recognise(path, speech_tokenizer=speech_tokenizer)
        with contextlib.ExitStack() as stack:
            readers = {
                file: stack.enter_context(contextlib.closing(source.open(file)))
                for file in source.weights
            }
            todo = source.plan({file: reader.shapes for file, reader in readers.items()})
            weights = s3gen_folder.read_entries(todo, readers, kind, within)
        known = source.config
        assert isinstance(known, ModelConfig)  # Chatterbox alone has this layout
        known.quantization = ModelConfig().quantization
        known.dtype = dtype
        return known, weights
    file = s3gen_folder.s3gen_file(path)
    weights = s3gen_folder.read_s3gen(file, kind, within)
    known = ModelConfig(dtype=dtype)
    stated = file.parent
    known.s3gen = s3gen_folder.stated_config(stated, known.s3gen)
    known.s3_tokenizer = s3gen_folder.stated_tokenizer(stated, known.s3_tokenizer)
    known.s3gen.hift = s3gen_folder.stated_config(stated, known.s3gen.hift, s3gen_folder.HIFTNET)
    if s3gen_folder.is_meanflow(file):
        known.s3gen.meanflow = True
        known.generation.cfm_steps = MEANFLOW_STEPS
    return known, weights


# --- Writing -------------------------------------------------------------------------------------


def save_s3gen(networks: nn.Module, config: ModelConfig, folder: str | Path, layout: str) -> Path:
    """Write S3Gen and its tokenizer; see `S3GenModel.save_pretrained`.

    Args:
        config: its `s3gen`, `s3_tokenizer`, `quantization`, `generation.cfm_steps` and `dtype`.
    """
    weights = dict(tree_flatten(networks.parameters()))
    if _checked(layout) == "transformers":
        from .conversion.s3gen_folder import to_hugging_face

        _refuse_quantised(networks)
        tensors, values = to_hugging_face(weights, config.s3gen, config.s3_tokenizer)
        return write_part(folder, tensors, {**values, "torch_dtype": config.dtype}, "pt")
    config.quantization.rules = rules_of(networks, config)
    values = config.to_dict()
    stated = {name: values[name] for name in ("dtype", "s3gen", "s3_tokenizer", "quantization")}
    stated["generation"] = {"cfm_steps": config.generation.cfm_steps}
    return write_part(folder, weights, {"model_type": S3GEN_TYPE, **stated})


def save_vocoder(networks: nn.Module, config: ModelConfig, folder: str | Path, layout: str) -> Path:
    """Write the vocoder; see `HiFTNetModel.save_pretrained`.

    Args:
        networks: of `in_whole`.
        config: its `s3gen.hift`, `quantization` and `dtype`.
    """
    weights = dict(tree_flatten(networks.parameters()))
    if _checked(layout) == "transformers":
        from .conversion.s3gen_folder import vocoder_to_hugging_face

        _refuse_quantised(networks)
        tensors, values = vocoder_to_hugging_face(weights, config.s3gen.hift)
        return write_part(folder, tensors, {**values, "torch_dtype": config.dtype}, "pt")
    config.quantization.rules = rules_of(networks, config)
    values = config.to_dict()
    stated = {name: values[name] for name in ("dtype", "s3gen", "quantization")}
    return write_part(folder, weights, {"model_type": HIFTNET_TYPE, **stated})


def _checked(layout: str) -> str:
    if layout not in LAYOUTS:
        raise CheckpointError(f"layout {layout!r} is none of {', '.join(LAYOUTS)}.")
    return layout


def _refuse_quantised(networks: nn.Module) -> None:
    if quantized_layers(networks):
        raise CheckpointError(
            "transformers cannot read MLX's quantised layers: save with layout='mlx'."
        )


def dtype_name(dtype: mx.Dtype) -> str:
    """Name a type as configurations do: "float32"."""
    return str(dtype).rpartition(".")[2]
