"""A folder with upstream's files (`upstream.py`), whose S3Gen may be in Hugging Face's layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from mlx_chatterbox.config import CONFIG_NAME, ModelConfig
from mlx_chatterbox.errors import CheckpointError

from . import upstream
from .model_source import UPSTREAM, Source, first_present, present
from .packed import RenamingReader
from .safetensors_file import SafetensorsReader
from .sources import WEIGHTS_NAME, Reader, find_source, open_weights

S3GEN_NAMES = (WEIGHTS_NAME, "s3gen.safetensors", "s3gen.pt", "s3gen_meanflow.safetensors")


def upstream_source(
    folder: Path, variant: str | None, t3_file: str | None, s3gen: Path | None
) -> Source:
    """What a folder of upstream's holds; arguments and errors as in `layouts.recognise`."""
    row = find_source(folder, variant, t3_file, elsewhere=s3gen is not None)
    weights = {name: folder / name for name in row.weight_files}
    config = row.default_config()
    if s3gen is not None:
        weights[row.s3gen_file] = path = _s3gen_file(s3gen)
        _apply_s3gen_config(config, path.parent / CONFIG_NAME)

    def open_one(name: str) -> Reader:
        reader = open_weights(weights[name])
        return _plain_names(reader) if name == row.s3gen_file else reader

    return Source(
        layout=UPSTREAM,
        row=row,
        weights=weights,
        texts=present(folder, (*row.tokenizer_files, *row.optional_files)),
        voice=first_present(folder, (row.voice_file,)),
        config=config,
        plan=lambda shapes: upstream.plan(shapes, row),
        open=open_one,
    )


def is_s3gen(path: Path) -> bool:
    """Whether a file holds S3Gen and nothing else, in upstream's or Hugging Face's spelling."""
    if not path.is_file():
        return False
    keys = SafetensorsReader(path).shapes
    return {"flow", "mel2wav"} <= {key.removeprefix("s3gen.").partition(".")[0] for key in keys}


def _s3gen_file(path: Path) -> Path:
    """The file with S3Gen that `path`, a file or a folder, means.

    Raises:
        CheckpointError: there is none.
    """
    path = path.expanduser()
    if path.is_file():
        return path
    found = first_present(path, S3GEN_NAMES)
    if found is None:
        raise CheckpointError(f"{path} holds no S3Gen; looked for {', '.join(S3GEN_NAMES)}.")
    return found


def _plain_names(reader: Reader) -> Reader:
    """Hugging Face's S3Gen under upstream's names; upstream's own is as it is.

    Its tokenizer stands one level deeper, and the whole may stand below `s3gen.`.
    """
    names = {}
    for key in reader.shapes:
        plain = key.removeprefix("s3gen.")
        names[plain.replace("tokenizer.s3_model.", "tokenizer.", 1)] = key
    if len(names) != len(reader.shapes) or all(plain == key for plain, key in names.items()):
        return reader
    return RenamingReader(reader, names)


def _apply_s3gen_config(config: ModelConfig, path: Path) -> None:
    """Take over the sizes that Hugging Face's configuration states."""
    if not path.is_file():
        return
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    if not isinstance(values, dict) or values.get("model_type") != "s3gen":
        return
    names = {field.name for field in dataclasses.fields(config.s3gen)} - {"hift"}
    given = {name: value for name, value in values.items() if name in names}
    config.s3gen = dataclasses.replace(config.s3gen, **given)
