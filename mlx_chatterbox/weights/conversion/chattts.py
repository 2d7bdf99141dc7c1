"""ChatTTS's own files: where they lie, and the rules that translate their keys to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

from mlx_chatterbox.checks.json_file import read_json
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.chattts.config import ChatTTSConfig, GPTConfig

from ..chattts_files import (
    CONFIG_FILE,
    DECODER_FILE,
    DVAE_FILE,
    EMBED_FILE,
    GPT_FILE,
    VOCOS_FILE,
)
from .chattts_layout import differences, layout
from .operations import apply_entry
from .rules import ConversionPlan, Drop, FileRules, Shapes
from .sources import open_weights
from .upstream import plan_by_rules

# Ours keeps no place for the activation between two convolutions, and calls the scale of a
# ConvNeXt block by one name everywhere.
_STACK_RENAMES = (
    (r"\.(conv_in|downsample_conv)\.2\.", r".\1.1."),
    (r"\.decoder_block\.(\d+)\.weight$", r".blocks.\1.gamma"),
    (r"\.decoder_block\.", ".blocks."),
)
_CONVOLUTIONS = (("coef", 3, "conv1d"), (r".*\.weight", 3, "conv1d"))

RULES: dict[str, FileRules] = {
    GPT_FILE: FileRules(
        prefixes=(("layers.", "gpt.model.layers."), ("norm.", "gpt.model.norm.")),
        drops=(
            Drop(r"embed_tokens\.weight", "never used: the GPT embeds its tokens by itself"),
            Drop(r".*\.rotary_emb\.inv_freq", "computed from the configuration"),
        ),
    ),
    EMBED_FILE: FileRules(
        prefixes=tuple(
            (f"{part}.", f"gpt.{part}.")
            for part in ("emb_text", "emb_code", "head_text", "head_code")
        ),
        drops=(),
    ),
    DECODER_FILE: FileRules(
        prefixes=tuple((part, f"decoder.{part}") for part in ("coef", "decoder.", "out_conv.")),
        drops=(),
        operations=_CONVOLUTIONS,
        renames=_STACK_RENAMES,
    ),
    DVAE_FILE: FileRules(
        prefixes=(
            *(
                (part, f"dvae.{part}")
                for part in ("coef", "decoder.", "out_conv.", "downsample_conv.", "encoder.")
            ),
            ("vq_layer.quantizer.rvqs.", "dvae.quantizer.groups."),
            ("preprocessor_mel.mel_spec.mel_scale.fb", "dvae.mel_filters"),
        ),
        drops=(Drop(r"preprocessor_mel\.mel_spec\.spectrogram\.window", "computed, not stored"),),
        operations=_CONVOLUTIONS,
        renames=_STACK_RENAMES,
    ),
    VOCOS_FILE: FileRules(
        prefixes=(("backbone.", "vocos.backbone."), ("head.out.", "vocos.head.out.")),
        drops=(
            Drop(r"head\.istft\.window", "computed, not stored"),
            Drop(r"feature_extractor\..*", "it reads recordings, which the vocoder does not"),
        ),
        operations=_CONVOLUTIONS,
    ),
}


def plan(available: Mapping[str, Shapes]) -> ConversionPlan:
    """Plan the conversion of ChatTTS's files; arguments and errors as of `upstream.plan`."""
    return plan_by_rules(available, RULES)


def check_plan(
    config: ChatTTSConfig, available: Mapping[str, Shapes], name: object
) -> ConversionPlan:
    """Plan the conversion of files that have exactly the tensors that a configuration asks for.

    Args:
        name: of the folder, for errors.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape; a few are named. Those
            that no network of ours has (`RULES`) may be missing.
    """
    config.check_layers(sum(map(len, available.values())), name)
    unlike = []
    for file, wanted in layout(config).items():
        drops = RULES[file].drops
        wanted, shapes = (
            {k: v for k, v in keys.items() if not any(re.fullmatch(d.pattern, k) for d in drops)}
            for keys in (wanted, available[file])
        )
        unlike += differences(file, wanted, shapes)
    if unlike:
        raise CheckpointError(f"{name} does not fit ChatTTS; tensors of {'; '.join(unlike)}.")
    return plan(available)


def read_config(folder: Path, **tokens: int) -> ChatTTSConfig:
    """Read `asset/gpt/config.json`; sizes of the other networks are the published ones.

    Args:
        tokens: see `GPTConfig.from_upstream`.

    Raises:
        CheckpointError: it is missing, damaged, or of another network.
    """
    return ChatTTSConfig(gpt=read_gpt_config(folder, **tokens))


def read_gpt_config(folder: Path, **tokens: int) -> GPTConfig:
    """Read `asset/gpt/config.json`; arguments and errors as of `read_config`."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {folder} does not hold ChatTTS's files.")
    try:
        return GPTConfig.from_upstream(read_json(path), **tokens)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def read_tensors(folder: Path, dtype: mx.Dtype = mx.float32) -> dict[str, mx.array]:
    """Read the tensors of ChatTTS's files as ours, weight norm folded, evaluated.

    Raises:
        CheckpointError: a file is missing or damaged, or has a key without a rule.
    """
    missing = [name for name in RULES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(f"{folder} does not hold ChatTTS's files: {', '.join(missing)}.")
    readers = {name: open_weights(folder / name) for name in RULES}
    try:
        tensors = {}
        for entry in plan({name: reader.shapes for name, reader in readers.items()}).entries:
            sources = [readers[entry.file].read(key) for key in entry.sources]
            tensors[entry.target] = apply_entry(entry, sources, dtype)
        return tensors
    finally:
        for reader in readers.values():
            reader.close()
