"""Recognition of the model in a folder of upstream's files.

A folder may hold several models (ResembleAI/chatterbox has English and both multilinguals), a
weight file may come as .safetensors or as .pt, and T3 may have a name of its own, as in the
single-language packs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mlx_chatterbox.checks.json_file import read_json
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CONFIG_NAME, ModelConfig
from mlx_chatterbox.weights import hub
from mlx_chatterbox.weights.hub import WEIGHTS_NAME
from mlx_chatterbox.weights.shards import is_there, split_names
from mlx_chatterbox.weights.variants import VARIANTS, Variant, variant_named

from ..formats.safetensors_file import SafetensorsReader, ShardedReader
from ..formats.tensor_reader import TensorReader
from ..formats.unpickle import TorchReader
from .rules import Shapes

# A layer that S3Gen has once it is distilled to two steps.
MEANFLOW_KEY = "flow.decoder.estimator.time_embed_mixer.weight"
T3_KEYS = frozenset({"text_emb.weight", "speech_emb.weight", "speech_head.weight"})


class UnknownFolder(CheckpointError):
    """A folder with no known model, or with an incomplete one."""


def open_weights(path: Path) -> TensorReader:
    """Open the tensors of a .safetensors file, whole or split into shards, or of a .pt file.

    Raises:
        CheckpointError: missing, damaged, or something else.
    """
    if path.suffix == ".pt":
        return TorchReader(path)
    split = not path.is_file() and is_there(path)
    return ShardedReader(path) if split else SafetensorsReader(path)


def required_weight_files(folder: str | Path) -> list[Path]:
    """List a converted folder's files of tensors, as `hub.weight_files`.

    Raises:
        CheckpointError: there is none.
    """
    files = hub.weight_files(Path(folder))
    if not files:
        raise CheckpointError(f"{Path(folder) / WEIGHTS_NAME} is missing.")
    return files


def find_source(
    folder: Path,
    variant: str | None = None,
    t3_file: str | None = None,
    elsewhere: bool = False,
) -> Variant:
    """Determine the variant to convert, with the names of the files in this folder.

    Args:
        folder: with upstream's files.
        variant: name in `VARIANTS`; by default the first whose files are all there.
        t3_file: name of T3's file in `folder`, if it is not the variant's own.
        elsewhere: S3Gen comes from another place, and need not be in `folder`.

    Raises:
        CheckpointError: there is none; names what was looked for and what is there.
    """
    rows = [variant_named(variant)] if variant else list(VARIANTS.values())
    if t3_file is not None:
        rows = _rows_for(folder, t3_file, rows)
    for row in rows:
        located = _located(folder, row, t3_file or row.t3_file)
        if not _missing(folder, located, elsewhere):
            return located
    if t3_file is None:
        for row in rows:
            if name := _renamed_t3(folder, row, elsewhere):
                return _located(folder, row, name)
    raise _unrecognised(folder, [_located(folder, row, t3_file or row.t3_file) for row in rows])


def _located(folder: Path, row: Variant, t3_file: str) -> Variant:
    """Return the row with this T3, and the other files in the format in which they are there."""
    return dataclasses.replace(
        row,
        t3_file=t3_file,
        s3gen_file=_either_format(folder, row.s3gen_file),
        voice_encoder_file=_either_format(folder, row.voice_encoder_file),
    )


def _either_format(folder: Path, name: str) -> str:
    other = Path(name).with_suffix(".safetensors" if name.endswith(".pt") else ".pt").name
    return other if is_there(folder / other) and not is_there(folder / name) else name


def _missing(folder: Path, row: Variant, elsewhere: bool = False) -> list[str]:
    names = [n for n in row.required_files if not (elsewhere and n == row.s3gen_file)]
    return [name for name in names if not is_there(folder / name)]


# --- T3 under another name -----------------------------------------------------------------------


def _rows_for(folder: Path, t3_file: str, rows: list[Variant]) -> list[Variant]:
    """Select those of `rows` that the T3 in `t3_file` can belong to, the likeliest first."""
    path = folder / t3_file
    if path.name != t3_file or path.suffix != ".safetensors" or not is_there(path):
        present = ", ".join(_t3_files(folder)) or "none"
        raise CheckpointError(
            f"{t3_file} is not a .safetensors file in {folder}; files with a T3 there: {present}."
        )
    if named := [row for row in rows if row.t3_file == t3_file]:
        return named
    shapes = open_weights(path).shapes
    fitting = [row for row in rows if _fits(row, shapes)]
    if not fitting:
        rows_read = ", ".join(
            f"{row.name} (text vocabulary {_vocabulary(row)}{_with_mask(_masked(row))})"
            for row in rows
        )
        what = "holds no T3"
        if shapes.keys() >= T3_KEYS:
            vocabulary = shapes["text_emb.weight"][0]
            what = f"has a T3 with a text vocabulary of {vocabulary}{_with_mask(has_mask(shapes))}"
        raise CheckpointError(f"{path} {what}, which does not fit {rows_read}.")
    width = shapes["text_emb.weight"][1]  # tells Turbo from Nano
    return sorted(fitting, key=lambda row: row.default_config().t3.hidden_size != width)


def _renamed_t3(folder: Path, row: Variant, elsewhere: bool) -> str | None:
    """Find T3's file if all else of the variant is there and exactly one other file can be it."""
    if set(_missing(folder, _located(folder, row, row.t3_file), elsewhere)) != {row.t3_file}:
        return None
    known = {name for other in VARIANTS.values() for name in other.weight_files}
    names = [
        name
        for name, shapes in _t3_files(folder).items()
        if name not in known and _fits(row, shapes)
    ]
    if len(names) > 1:
        raise CheckpointError(
            f"{folder} holds several T3 models: {', '.join(names)}. Choose one with --t3 FILE."
        )
    return names[0] if names else None


def _t3_files(folder: Path) -> dict[str, Shapes]:
    """Find every .safetensors file with T3's keys, and its shapes; unreadable ones are skipped."""
    t3_files: dict[str, Shapes] = {}
    names = {path.name for path in folder.glob("*.safetensors")} | set(split_names(folder))
    for path in [folder / name for name in sorted(names)]:
        try:
            shapes = open_weights(path).shapes
        except CheckpointError:
            continue
        if shapes.keys() >= T3_KEYS:
            t3_files[path.name] = shapes
    return t3_files


def _fits(row: Variant, shapes: Shapes) -> bool:
    """Tell whether a T3 of these shapes has the variant's backbone, text vocabulary and mask."""
    if not shapes.keys() >= T3_KEYS:
        return False
    is_gpt2 = any(key.startswith("tfmr.h.") for key in shapes)
    t3 = row.default_config().t3
    alike = (is_gpt2, has_mask(shapes)) == (t3.is_gpt2, t3.has_mask)
    return alike and shapes["text_emb.weight"][0] == _vocabulary(row)


def has_mask(shapes: Shapes, prefix: str = "") -> bool:
    """Tell whether T3's table of speech tokens has a row for [MASK], which its head lacks."""
    embedding, head = _speech_rows(shapes, prefix)
    return head > 0 and embedding == head + 1


def _speech_rows(shapes: Shapes, prefix: str = "") -> list[int]:
    """List the rows of T3's table of speech tokens and of its head; 0: there is none."""
    tables = (f"{prefix}{name}.weight" for name in ("speech_emb", "speech_head"))
    return [next(iter(shapes.get(table, ())), 0) for table in tables]


def check_parts(row: Variant, available: Mapping[str, Shapes], config: ModelConfig) -> None:
    """Raise CheckpointError for a T3 or an S3Gen of another kind of model than the variant.

    English and Flash have files of the same names, and T3s that differ in one row.

    Args:
        available: for each weight file its keys and shapes.
    """
    t3 = available[row.t3_file]
    if t3.keys() >= T3_KEYS and has_mask(t3) != config.t3.has_mask:
        rows, tokens = _speech_rows(t3)
        wanted = f"{tokens}, and none for [MASK], as only Flash has"
        if config.t3.has_mask:
            wanted = f"{tokens + 1}, the last for [MASK], which is trained and cannot be made up"
        raise CheckpointError(
            f"{row.t3_file} is not {row.name}'s: its table of speech tokens has {rows} rows, where "
            f"{row.name} has {wanted}."
        )
    s3gen = available[row.s3gen_file]
    distilled = any(key.endswith(MEANFLOW_KEY) for key in s3gen)
    if distilled != config.s3gen.meanflow and any(key.startswith("flow.") for key in s3gen):
        kinds = ("that of ten steps (English)", "the one distilled to two (Turbo, Nano, Flash)")
        raise CheckpointError(
            f"{row.s3gen_file} is not {row.name}'s S3Gen: it is {kinds[distilled]}, and {row.name} "
            f"has {kinds[not distilled]}."
        )


def _vocabulary(row: Variant) -> int:
    return row.default_config().t3.text_tokens_dict_size


def _masked(row: Variant) -> bool:
    return row.default_config().t3.has_mask


def _with_mask(masked: bool) -> str:
    return " and a [MASK]" if masked else ""


def _unrecognised(folder: Path, rows: list[Variant]) -> UnknownFolder:
    """Make the error that names the files that are missing of the requested or nearest model."""
    nearest = min(rows, key=lambda row: len(_missing(folder, row)) / len(row.required_files))
    missing = _missing(folder, nearest)
    hint = ""
    if len(rows) == 1 or len(missing) < len(nearest.required_files):
        hint = f" For upstream's {nearest.name} it lacks {', '.join(missing)}."
    return UnknownFolder(
        f"{folder} holds no model that can be converted (upstream's files, mlx-audio's, this "
        f"library's or its trainer's).{hint} It has {listing(folder)}."
    )


def stated_type(folder: Path) -> str | None:
    """Read the model type in `config.json`: "" if it has none, None if it cannot be read."""
    try:
        values = read_json(folder / CONFIG_NAME, object)
    except CheckpointError:
        return None
    return str(values.get("model_type", "")) if isinstance(values, dict) else None


def listing(folder: Path, most: int = 6) -> str:
    """List a folder's files, for an error message."""
    kind = stated_type(folder)
    names = [
        f'{path.name} (model_type "{kind}")' if path.name == CONFIG_NAME and kind else path.name
        for path in sorted(folder.iterdir())
    ]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
