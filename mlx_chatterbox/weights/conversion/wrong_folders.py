"""Advice for folders that hold no model: what they seem to be instead, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlx_chatterbox.checks.git_lfs import refuse_pointer
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CONFIG_NAME
from mlx_chatterbox.weights.chattts_files import has_chattts_files
from mlx_chatterbox.weights.hub import holds_model
from mlx_chatterbox.weights.shards import is_there

from . import community
from .rules import Shapes
from .sources import T3_KEYS, WEIGHTS_NAME, open_weights

_SOUND = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus")


def refuse_without_configuration(folder: Path) -> None:
    """Raise CheckpointError if `model.safetensors` needs a `config.json` that is missing.

    S3Gen alone, in Hugging Face's layout, needs none.
    """
    path = folder / WEIGHTS_NAME
    if (folder / CONFIG_NAME).is_file() or not is_there(path):
        return
    shapes = open_weights(path).shapes
    if kind := _weights_of(shapes):
        raise CheckpointError(
            f"{folder} has no {CONFIG_NAME}. Its {WEIGHTS_NAME} looks like {kind}: copy "
            f"{CONFIG_NAME} from the source of the weights, or download the whole folder again."
        )


def _weights_of(shapes: Shapes) -> str:
    """Recognise by the keys what model or part of one the tensors are; empty if it is unknown."""
    prefixes = {key.partition(".")[0] for key in shapes}
    if {"ve", "t3", "s3gen"} <= prefixes:
        ours = any(key.startswith("ve.lstm.weight_ih_l") for key in shapes)
        return "a checkpoint of this library's" if ours else "mlx-audio's"
    if community.has_speech_tokenizer(f"{community.SPEECH_TOKENIZER}{key}" for key in shapes):
        return "mlx-audio's speech tokenizer alone, which belongs beside a model, as S3TokenizerV2"
    return ""


def looks_like(folder: Path) -> str:
    """State in a sentence what a folder seems to be, and what to do; empty if it is unknown."""
    return next((advice for look in _LOOKS if (advice := look(folder))), "")


def _training_checkpoint(folder: Path) -> str:
    if not ((folder / "state.json").is_file() and (folder / "config.yaml").is_file()):
        return ""
    return (
        "It looks like a checkpoint of a training run: export a model from it by python -m "
        f"mlx_chatterbox.train export {folder} OUTPUT."
    )


def _unfinished_run(folder: Path) -> str:
    if not any(folder.glob("checkpoint-*/state.json")):
        return ""
    return (
        "It looks like a training run without a final_model: export a model from its newest "
        f"checkpoint by python -m mlx_chatterbox.train export {folder} OUTPUT."
    )


def _hub_cache(folder: Path) -> str:
    snapshots = folder / "snapshots"
    if not (snapshots.is_dir() and (folder / "blobs").is_dir()):
        return ""
    name = folder.name.removeprefix("models--").replace("--", "/")
    newest = max(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
    where = f", or the snapshot {newest}" if newest is not None else ""
    return f"It looks like the hub's cache of a repository: name {name}{where}."


def _adapter(folder: Path) -> str:
    if not any(
        (folder / name).is_file() for name in ("adapter_config.json", "adapters.safetensors")
    ):
        return ""
    return "It looks like adapters (LoRA) without the model that they belong to."


def _foreign_format(folder: Path) -> str:
    for ending, kind in ((".gguf", "GGUF"), (".onnx", "ONNX"), (".bin", "PyTorch's .bin")):
        if any(folder.glob(f"*{ending}")) and not any(folder.glob("*.safetensors")):
            return f"It looks like a model in {kind} files, which are not read."
    return ""


def _t3_alone(folder: Path) -> str:
    for path in sorted(folder.glob("*.safetensors")):
        if any(folder.glob("s3gen*")):
            return ""
        try:
            alone = open_weights(path).shapes.keys() >= T3_KEYS
        except CheckpointError:
            continue
        if alone:
            return (
                f"It looks like a fine-tuned T3 alone ({path.name}): put it into a copy of the "
                f"upstream folder that it belongs to, and select it with --t3 {path.name}."
            )
    return ""


def _part_of_chattts(folder: Path) -> str:
    within = next((above for above in folder.parents[:2] if has_chattts_files(above)), None)
    return "" if within is None else f"It is a part of ChatTTS: name the folder {within}."


def _one_deeper(folder: Path) -> str:
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and holds_model(path)]
    return f"A model may be in {', '.join(str(path) for path in inner[:3])}." if inner else ""


def _recordings(folder: Path) -> str:
    if not any(path.suffix.lower() in _SOUND for path in folder.iterdir()):
        return ""
    return "It looks like a folder of recordings."


_LOOKS: tuple[Callable[[Path], str], ...] = (
    _training_checkpoint, _unfinished_run, _hub_cache, _adapter, _part_of_chattts, _foreign_format,
    _t3_alone, _one_deeper, _recordings,
)  # fmt: skip


def refuse_pointers(folder: Path) -> None:
    """Raise CheckpointError if any weights or JSON of a folder are Git LFS pointers."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".pt", ".json"):
            refuse_pointer(path)
