"""What a folder is, recognised by what is in it, and how its tensors, texts and voice are got at.

- `upstream`: Resemble AI's own files (`sources.py`), which our trainer can write too. S3Gen may
  come in Hugging Face's layout instead.
- `mlx-audio`: what is published under mlx-community (`community.py`), in any precision.
- `mlx-chatterbox`: our own, to be converted again, packed ones included, and our trainer's output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mlx_chatterbox.config import (
    BITS,
    CONFIG_NAME,
    ModelConfig,
    PackingConfig,
    QuantizationConfig,
)
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.hub import SPEECH_TOKENIZER_REPO, is_converted
from mlx_chatterbox.text.lexicon import LEXICON_FILE
from mlx_chatterbox.variants import VARIANTS, Variant, variant_named

from . import community, upstream
from .packed import UnpackingReader
from .rules import Entry, Plan, Shapes
from .s3gen_folder import is_s3gen, plain_names, s3gen_file, stated_config
from .safetensors_file import SafetensorsReader
from .sources import WEIGHTS_NAME, Reader, find_source, open_weights, weight_files
from .voice import VOICE_NAME

UPSTREAM, COMMUNITY, OURS = "upstream", "mlx-audio", "mlx-chatterbox"
# Of our trainer's output folder, the model.
FINAL_NAME = "final_model"
# What mlx-audio quantises, under its name and ours.
T3_LAYERS = "t3.tfmr.model.layers.*"


@dataclass(frozen=True)
class Source:
    """A folder that can be converted.

    Attributes:
        layout: `UPSTREAM`, `COMMUNITY` or `OURS`.
        row: the model in it; its file names are upstream's.
        weights: files with tensors, by the name that plans call them.
        texts: the tokenizer's files, by the name that a folder of ours has them under.
        voice: `conds.pt` or `conds.safetensors`, where there is a built-in voice.
        config: hyperparameters.
        plan: what becomes of the keys of `weights`.
        open: a reader of one of `weights`.
        notes: what people should know of it.
    """

    layout: str
    row: Variant
    weights: Mapping[str, Path]
    texts: Mapping[str, Path]
    voice: Path | None
    config: ModelConfig
    plan: Callable[[Mapping[str, Shapes]], Plan]
    open: Callable[[str], Reader]
    notes: Callable[[Plan], Sequence[str]] = lambda plan: ()

    @property
    def files(self) -> dict[str, Path]:
        """Every file that the model is made from, by the name to note it under."""
        voice = {} if self.voice is None else {self.voice.name: self.voice}
        # Texts under the name that they have in the source.
        return {**self.weights, **{p.name: p for p in self.texts.values()}, **voice}


def recognise(
    folder: Path,
    variant: str | None = None,
    t3_file: str | None = None,
    s3gen: Path | None = None,
    speech_tokenizer: Callable[[], Path] | None = None,
) -> Source:
    """What `folder` holds.

    Args:
        variant, t3_file: which of several models, as in `find_source`.
        s3gen: a folder or file with another S3Gen than the model's, upstream's or Hugging Face's.
        speech_tokenizer: gets mlx-audio's separate speech tokenizer, if it is not beside the
            folder: a file.

    Raises:
        CheckpointError: nothing that is known; names what was looked for and what is there.
    """
    if not is_converted(folder) and is_converted(folder / FINAL_NAME):
        folder = folder / FINAL_NAME
    kind = stated_kind(folder)
    if kind == "ours" and s3gen is None:
        return _ours(folder, variant)
    if kind == "mlx-audio" and s3gen is None:
        return _community(folder, variant, speech_tokenizer)
    if kind in ("ours", "mlx-audio"):
        raise CheckpointError(f"--s3gen goes with upstream's files; {folder} has its own S3Gen.")
    if s3gen is None and is_s3gen(folder / WEIGHTS_NAME):
        s3gen = folder / WEIGHTS_NAME
        if not any(folder.glob("t3_*")) and variant is None:
            raise CheckpointError(
                f"{folder} holds S3Gen alone, in Hugging Face's layout, which cannot speak without "
                f"a T3: give it to a model as another S3Gen, SOURCE OUTPUT --s3gen {folder}."
            )
    return _upstream(folder, variant, t3_file, s3gen)


def stated_kind(folder: Path) -> str | None:
    """ "ours" or "mlx-audio", by the configuration and the first keys; None for all else."""
    if is_converted(folder):
        return "ours"
    path = folder / WEIGHTS_NAME
    if not path.is_file() or not (folder / CONFIG_NAME).is_file():
        return None
    keys = SafetensorsReader(path).shapes
    prefixes = {key.partition(".")[0] for key in keys}
    return "mlx-audio" if {"ve", "t3", "s3gen"} <= prefixes else None


# --- Upstream's ----------------------------------------------------------------------------------


def _upstream(folder: Path, variant: str | None, t3_file: str | None, s3gen: Path | None) -> Source:
    row = find_source(folder, variant, t3_file, elsewhere=s3gen is not None)
    weights = {name: folder / name for name in row.weight_files}
    config = row.default_config()
    if s3gen is not None:
        weights[row.s3gen_file] = path = s3gen_file(s3gen)
        config.s3gen = stated_config(path.parent, config.s3gen)

    def open_one(name: str) -> Reader:
        reader = open_weights(weights[name])
        return plain_names(reader) if name == row.s3gen_file else reader

    return Source(
        layout=UPSTREAM,
        row=row,
        weights=weights,
        texts=_present(folder, (*row.tokenizer_files, *row.optional_files)),
        voice=next(iter(_present(folder, (row.voice_file,)).values()), None),
        config=config,
        plan=lambda shapes: upstream.plan(shapes, row),
        open=open_one,
    )


def _present(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    return {name: folder / name for name in names if (folder / name).is_file()}


# --- mlx-audio's ---------------------------------------------------------------------------------


def _community(
    folder: Path, variant: str | None, speech_tokenizer: Callable[[], Path] | None
) -> Source:
    path = folder / WEIGHTS_NAME
    shapes = SafetensorsReader(path).shapes
    values = _community_config(folder)
    row = _community_row(folder, shapes, values, variant)
    weights = {WEIGHTS_NAME: path}
    tokenizer_file = WEIGHTS_NAME
    if not community.has_speech_tokenizer(shapes):
        tokenizer_file = f"{community.SPEECH_TOKENIZER_FOLDER}/{WEIGHTS_NAME}"
        weights[tokenizer_file] = _speech_tokenizer(folder, speech_tokenizer)

    texts = _present(folder, (*row.tokenizer_files, *row.optional_files))
    tokenizer = row.tokenizer_files[0]
    plain = folder / "tokenizer.json"  # what mlx-audio calls every tokenizer of one file
    if len(row.tokenizer_files) == 1 and tokenizer not in texts and plain.is_file():
        texts[tokenizer] = plain
    missing = [name for name in row.tokenizer_files if name not in texts]
    if missing:
        raise CheckpointError(
            f"{folder} is mlx-audio's {row.name} and lacks {', '.join(missing)}. "
            f"Found: {_listed(folder)}."
        )

    def open_one(name: str) -> Reader:
        return UnpackingReader(SafetensorsReader(weights[name]), _group_size(values))

    config = row.default_config()
    with contextlib.closing(open_one(WEIGHTS_NAME)) as reader:
        config.quantization = QuantizationConfig(rules=_community_rules(reader))
    return Source(
        layout=COMMUNITY,
        row=row,
        weights=weights,
        texts=texts,
        voice=next(iter(_present(folder, (VOICE_NAME, row.voice_file)).values()), None),
        config=config,
        plan=lambda available: community.plan(available, tokenizer_file),
        open=open_one,
        notes=_community_notes,
    )


def _community_rules(reader: UnpackingReader) -> list[dict]:
    """Its quantised layers as rules of ours: T3's in one where they are all alike, as usual."""
    packings = {
        community.our_key(key).removesuffix(".weight"): packing
        for key in reader.shapes
        if (packing := reader.packing(key)) is not None and community.our_key(key)
    }
    rows = {layer: value for layer, value in packings.items() if value[0] in BITS}
    inner = [
        community.our_key(key).removesuffix(".weight")
        for key, shape in reader.shapes.items()
        if fnmatchcase(key, T3_LAYERS) and key.endswith(".weight") and len(shape) == 2
    ]
    if inner and set(rows) == set(inner) and len(set(rows.values())) == 1:
        rows = {T3_LAYERS: next(iter(rows.values()))}
    return [
        {"layers": layer, "bits": bits, "group_size": size} for layer, (bits, size) in rows.items()
    ]


def _community_notes(plan: Plan) -> list[str]:
    lost = community.lost_biases(plan)
    if not lost:
        return []
    return [
        f"{len(lost)} biases of S3Gen's attention are not in this file, which mlx-audio's first "
        "version wrote, and are taken for zero as mlx-audio takes them: it speaks as it does "
        "there, not as upstream's files do."
    ]


def _community_config(folder: Path) -> dict:
    try:
        values = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG_NAME} cannot be read: {error}.") from None
    return values if isinstance(values, dict) else {}


def _community_row(folder: Path, shapes: Shapes, values: dict, variant: str | None) -> Variant:
    """The variant, by T3's backbone and vocabulary; v2 and v3 are told apart by what is stated."""
    is_gpt2 = any(key.startswith("t3.tfmr.h.") for key in shapes)
    embedding = shapes.get("t3.text_emb.weight")
    vocabulary = 0 if embedding is None else embedding[0]
    fitting = [
        row
        for row in VARIANTS.values()
        for t3 in (row.default_config().t3,)
        if (t3.is_gpt2, t3.text_tokens_dict_size) == (is_gpt2, vocabulary)
    ]
    if not fitting:
        known = ", ".join(
            f"{row.name} ({row.default_config().t3.text_tokens_dict_size})"
            for row in VARIANTS.values()
        )
        raise CheckpointError(
            f"{folder} holds a T3 with a text vocabulary of {vocabulary}, which no variant has: "
            f"{known}."
        )
    if variant is not None:
        if variant_named(variant) not in fitting:
            names = ", ".join(row.name for row in fitting)
            raise CheckpointError(f"{folder} holds {names}, not {variant}.")
        return variant_named(variant)
    if is_gpt2:  # tells Turbo from Nano
        width = embedding[1]
        return min(fitting, key=lambda row: row.default_config().t3.hidden_size != width)
    # mlx-audio's first multilingual files did not say which they are: version 2.
    stated = "multilingual" if values.get("t3_model") == "v3" else "multilingual-v2"
    return next((row for row in fitting if row.name == stated), fitting[0])


def _group_size(values: dict) -> int | dict[str, int]:
    """Of quantised layers, by MLX's convention: one for all, or stated layer by layer."""
    stated = values.get("quantization") or values.get("quantization_config") or {}
    size = int(stated.get("group_size", 64))
    own = {
        f"{layer}.weight": int(value.get("group_size", size))
        for layer, value in stated.items()
        if isinstance(value, dict)
    }
    return _Default(own, size) if own else size


class _Default(dict):
    """A mapping whose `get` answers with one value for all that is not there."""

    def __init__(self, values: Mapping[str, int], default: int):
        super().__init__(values)
        self._default = default

    def get(self, key, default=None):
        return super().get(key, self._default)


def _speech_tokenizer(folder: Path, fetch: Callable[[], Path] | None) -> Path:
    """The file of the separate speech tokenizer: in the folder, beside it, or fetched."""
    name = community.SPEECH_TOKENIZER_FOLDER
    for place in (folder / name, folder.parent / name):
        if (place / WEIGHTS_NAME).is_file():
            return place / WEIGHTS_NAME
    if fetch is not None:
        return fetch()
    raise CheckpointError(
        f"{folder} has no whole speech tokenizer; it is published by itself. Looked for "
        f"{folder / name} and {folder.parent / name}. Fetch it: hf download "
        f"{SPEECH_TOKENIZER_REPO} --local-dir {folder.parent / name}"
    )


# --- Ours ----------------------------------------------------------------------------------------


def _ours(folder: Path, variant: str | None) -> Source:
    config = ModelConfig.load(folder)
    row = variant_named(config.variant)
    if variant is not None and variant != row.name:
        raise CheckpointError(f"{folder} holds {row.name}, not {variant}.")
    packing = config.packing
    weights = {path.name: path for path in weight_files(folder)}

    def open_one(name: str) -> Reader:
        reader = SafetensorsReader(weights[name])
        if packing.bits:
            return UnpackingReader(reader, packing.group_size, ".offsets")
        if config.quantization.rules:
            return UnpackingReader(reader, _group_sizes(config, reader.shapes))
        return reader

    def plan(available: Mapping[str, Shapes]) -> Plan:
        return Plan(
            tuple(
                Entry(key, file, (key,), "copy", tuple(shape))
                for file, shapes in available.items()
                for key, shape in shapes.items()
            ),
            (),
        )

    return Source(
        layout=OURS,
        row=row,
        weights=weights,
        texts=_present(folder, (*row.tokenizer_files, *row.optional_files, LEXICON_FILE)),
        voice=next(iter(_present(folder, (VOICE_NAME,)).values()), None),
        config=dataclasses.replace(config, packing=PackingConfig()),
        plan=plan,
        open=open_one,
    )


def _group_sizes(config: ModelConfig, shapes: Shapes) -> dict[str, int]:
    """Of the quantised layers of a folder of ours, by key: their rules say how many bits."""
    sizes = {}
    for scales in [key for key in shapes if key.endswith(".scales")]:
        layer = scales.removesuffix(".scales")
        rules = [rule for rule in config.quantization.rules if fnmatchcase(layer, rule["layers"])]
        if rules and "bits" in rules[0]:
            width = shapes[f"{layer}.weight"][-1] * 32 // rules[0]["bits"]
            sizes[f"{layer}.weight"] = width // shapes[scales][-1]
    return sizes


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return (", ".join(names[:20]) or "nothing") + (", ..." if len(names) > 20 else "")
