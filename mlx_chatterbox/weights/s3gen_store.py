"""S3Gen and its vocoder by themselves: found, read in any layout, saved.

A folder of `save_pretrained` has `config.json` (`model_type` "chatterbox-s3gen" or
"chatterbox-hiftnet", with the fields of a whole checkpoint's that concern it) and
`model.safetensors`, under the keys that a whole checkpoint has. Hugging Face's layout can be read
and written instead (`weights/conversion/s3gen_folder.py`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    repository_of,
    say_passed_over,
    speech_tokenizer,
    variant_called,
)
from .parts import read_config, read_tensors, write_part
from .quantization import quantize_networks, quantized_layers, rules_of

if TYPE_CHECKING:
    from ..api.hiftnet_model import HiFTNetModel
    from ..api.s3gen_model import S3GenModel

S3GEN_TYPE, HIFTNET_TYPE = OUR_PARTS
MEANFLOW_STEPS = 2
LAYOUTS = ("mlx", "transformers")
_S3GEN = ("s3gen.", "s3_tokenizer.")
_VOCODER = "s3gen.mel2wav."
# Of a repository that is none of the known ones.
_WANTED = [CONFIG_NAME, "model*.safetensors", "s3gen.safetensors", "s3gen_meanflow.safetensors"]

Weights = dict[str, mx.array]


# --- Reading -------------------------------------------------------------------------------------


def load_s3gen(kind, name, dtype, config, tokenizer_config) -> S3GenModel:
    """See `S3GenModel.from_pretrained`."""
    known, weights = _read(name, dtype, _S3GEN)
    config, tokenizer_config = config or known.s3gen, tokenizer_config or known.s3_tokenizer
    config.check_layers(len(weights), name)
    tokenizer_config.check_layers(len(weights), name)
    config.check_vocoder()
    model = kind(config, tokenizer_config)
    model.n_cfm_timesteps = known.generation.cfm_steps
    return _finished(model, model, known, weights, name, dtype)


def load_vocoder(kind, name, dtype, config) -> HiFTNetModel:
    """See `HiFTNetModel.from_pretrained`."""
    known, weights = _read(name, dtype, (_VOCODER,))
    config = config or known.s3gen.hift
    config.check_layers(len(weights), name)
    model = kind(config)
    return _finished(model, _in_its_place(model), known, weights, name, dtype)


def _finished(model, networks: nn.Module, known: ModelConfig, weights: Weights, name, dtype):
    """`model`, whose parameters are those of `networks`, with weights in it."""
    quantize_networks(networks, known)
    load_weights_strictly(networks, weights, name)
    if dtype is not None and dtype != known.dtype:
        networks.set_dtype(getattr(mx, dtype))
    model.quantization = known.quantization
    model.eval()
    # Now: another thread than this one could not read what is still to be read.
    mx.eval(model.state)
    return model


def _in_its_place(vocoder: HiFTNetModel) -> nn.Module:
    """The vocoder where a whole checkpoint has it, so that names and rules mean the same."""
    whole, s3gen = nn.Module(), nn.Module()
    s3gen.mel2wav = vocoder.mel2wav
    whole.s3gen = s3gen
    return whole


def _read(name: str | Path, dtype: str | None, within: tuple[str, ...]) -> tuple[Any, Weights]:
    """What is known of a model, and its tensors whose keys begin with one of `within`."""
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    path = Path(name).expanduser()
    is_file = path.is_file() and not is_known(name)
    say_passed_over(name)
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
        raise CheckpointError(f"{name} is no file, no folder, no known model and no OWNER/NAME.")
    variant = variant_called(name)
    return download(repository, _WANTED if variant is None else [variant.s3gen_file])


def _saved_part(folder: Path) -> ModelConfig | None:
    """The configuration of a folder that `save_pretrained` wrote; None for another."""
    values = read_config(folder)
    if values.pop("model_type", None) not in OUR_PARTS:
        return None
    return ModelConfig.from_dict(values)


def _converted(path: Path, dtype: str, within: tuple[str, ...]) -> tuple[ModelConfig, Weights]:
    """S3Gen of upstream's, Hugging Face's or mlx-audio's files, converted in memory."""
    from mlx_chatterbox.weights.conversion import s3gen_folder
    from mlx_chatterbox.weights.conversion.layouts import COMMUNITY, recognise, stated_layout

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
        known.quantization = ModelConfig().quantization
        known.dtype = dtype
        return known, weights
    file = s3gen_folder.s3gen_file(path)
    weights = s3gen_folder.read_weights(file, kind, within)
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


def save_s3gen(model: S3GenModel, folder: str | Path, layout: str) -> Path:
    """See `S3GenModel.save_pretrained`."""
    weights = dict(tree_flatten(model.parameters()))
    if _checked(layout) == "transformers":
        from mlx_chatterbox.weights.conversion.s3gen_folder import to_hugging_face

        _refuse_quantised(model)
        tensors, values = to_hugging_face(weights, model.config, model.tokenizer_config)
        return write_part(folder, tensors, {**values, "torch_dtype": _name(model.flow.dtype)}, "pt")
    known = ModelConfig(
        dtype=_name(model.flow.dtype), s3gen=model.config, s3_tokenizer=model.tokenizer_config
    )
    known.quantization = model.quantization
    known.quantization.rules = rules_of(model, known)
    values = known.to_dict()
    stated = {name: values[name] for name in ("dtype", "s3gen", "s3_tokenizer", "quantization")}
    stated["generation"] = {"cfm_steps": model.n_cfm_timesteps}
    return write_part(folder, weights, {"model_type": S3GEN_TYPE, **stated})


def save_vocoder(model: HiFTNetModel, folder: str | Path, layout: str) -> Path:
    """See `HiFTNetModel.save_pretrained`."""
    whole = _in_its_place(model)
    weights = dict(tree_flatten(whole.parameters()))
    dtype = _name(model.mel2wav.conv_pre.weight.dtype)
    if _checked(layout) == "transformers":
        from mlx_chatterbox.weights.conversion.s3gen_folder import vocoder_to_hugging_face

        _refuse_quantised(whole)
        tensors, values = vocoder_to_hugging_face(weights, model.config)
        return write_part(folder, tensors, {**values, "torch_dtype": dtype}, "pt")
    known = ModelConfig(dtype=dtype)
    known.quantization = model.quantization
    known.quantization.rules = rules_of(whole, known)
    known.s3gen.hift = model.config
    values = known.to_dict()
    stated = {name: values[name] for name in ("dtype", "s3gen", "quantization")}
    return write_part(folder, weights, {"model_type": HIFTNET_TYPE, **stated})


def _checked(layout: str) -> str:
    if layout not in LAYOUTS:
        raise CheckpointError(f"layout {layout!r} is none of {', '.join(LAYOUTS)}.")
    return layout


def _refuse_quantised(networks: nn.Module) -> None:
    if quantized_layers(networks):
        raise CheckpointError("transformers has no layers of few bits: save with layout='mlx'.")


def _name(dtype: mx.Dtype) -> str:
    return str(dtype).rpartition(".")[2]
