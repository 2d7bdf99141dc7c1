"""Exports a trained model: for this library, or in the files that upstream's package loads.

Adapters are fused into plain weights; everything that was not trained, tokenizer and built-in voice
included, is the base model's.
"""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from ..errors import CheckpointError
from ..models.config import ModelConfig, PackingConfig, QuantizationConfig
from ..runtime.apart import is_within
from ..runtime.saving import save_arrays
from ..text.files import LEXICON_FILE
from ..weights.checkpoint import VOICE_NAME, Checkpoint, read_weights, verify_folder
from ..weights.hub import WEIGHTS_NAME, is_converted
from ..weights.manifest import write_checkpoint_manifest
from ..weights.quantization import dequantize_layers, rules_of
from ..weights.source_paths import without_paths
from ..weights.variants import Variant, variant_named
from .adapters import fuse
from .state import new_folder
from .vocabulary import save_tokenizer


def export(
    checkpoint: Checkpoint, output: str | Path, upstream: bool = False, force: bool = False
) -> Path:
    """Write a model; its networks' adapters are fused in place.

    Args:
        checkpoint: the base model, with the trained weights in its networks.
        output: the new folder. It appears whole or not at all.
        upstream: write upstream's file names and keys, which its `from_local` loads strictly,
            instead of ours.
        force: replace `output` if it is a model of ours.

    Raises:
        CheckpointError: `output` exists, or cannot be written.
    """
    output = Path(output).expanduser().absolute()
    check_model_folder(output, checkpoint.folder, force)
    stored = read_weights(checkpoint.folder) if is_converted(checkpoint.folder) else None
    fuse(checkpoint.networks, stored)
    if upstream:  # which has no quantised layers
        dequantize_layers(checkpoint.networks)
    tensors = dict(tree_flatten(checkpoint.networks.parameters()))
    try:
        with new_folder(output) as folder:
            _copy_texts(checkpoint, folder)
            if upstream:
                _write_upstream(checkpoint, tensors, folder)
            else:
                _write_ours(checkpoint, tensors, folder)
    except OSError as error:
        raise CheckpointError(f"{error.filename or output}: {error.strerror or error}.") from None
    return output


def check_model_folder(output: Path, base: Path | None, force: bool = False) -> None:
    """Check before the work that a model's folder can be made.

    Args:
        base: the base model's folder; None: it is not on this machine yet.

    Raises:
        CheckpointError: it is the base model or contains it, or it exists.
    """
    if base is not None and is_within(base, output):
        raise CheckpointError(f"{output} is or contains the base model; choose another folder.")
    if not output.exists():
        return
    if not force:
        raise CheckpointError(f"{output} exists already; choose another folder, or remove it.")
    if not is_converted(output):  # never delete somebody's documents
        raise CheckpointError(f"{output} is not a model of this library; it is not replaced.")


def _copy_texts(checkpoint: Checkpoint, folder: Path) -> None:
    """Copy the tokenizer's files, with the vocabulary as extended by training."""
    row = variant_named(checkpoint.config.variant)
    for name in (*row.tokenizer_files, *row.optional_files, LEXICON_FILE):
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, folder / name)
    save_tokenizer(checkpoint, folder)


# --- Our layout ----------------------------------------------------------------------------------


def _write_ours(checkpoint: Checkpoint, tensors: dict[str, mx.array], folder: Path) -> None:
    dtype = getattr(mx, checkpoint.config.dtype)
    cast = {
        key: value.astype(dtype) if mx.issubdtype(value.dtype, mx.floating) else value
        for key, value in sorted(tensors.items())
    }
    save_arrays(folder / WEIGHTS_NAME, cast, {"format": "mlx"})
    source = {"fine_tuned_from": without_paths(_base(checkpoint))}
    quantization = QuantizationConfig(rules=rules_of(checkpoint.networks, checkpoint.config))
    if quantization.rules == checkpoint.config.quantization.rules:
        quantization = checkpoint.config.quantization
    dataclasses.replace(
        checkpoint.config, source=source, packing=PackingConfig(), quantization=quantization
    ).save(folder)
    if checkpoint.voice is not None:
        checkpoint.voice.save(folder / VOICE_NAME)
    write_checkpoint_manifest(folder)
    verify_folder(folder)


def _base(checkpoint: Checkpoint) -> dict:
    return checkpoint.config.source or {"folder": str(checkpoint.folder)}


# --- Upstream's layout ---------------------------------------------------------------------------


def _write_upstream(checkpoint: Checkpoint, tensors: dict[str, mx.array], folder: Path) -> None:
    from mlx_chatterbox.weights.conversion.upstream import to_upstream

    row = variant_named(checkpoint.config.variant)
    _warn_of_sizes(checkpoint.config, row)
    for name, content in to_upstream(tensors, variant=row).items():
        _write_tensors(folder / name, content)
    if checkpoint.voice is not None:
        _write_voice(checkpoint.voice, folder / row.voice_file)
    # Upstream's package ignores this file; this library reads sizes and text settings from it.
    dataclasses.replace(
        checkpoint.config,
        dtype="float32",
        source={"fine_tuned_from": without_paths(_base(checkpoint))},
        packing=PackingConfig(),
        quantization=QuantizationConfig(),
    ).save(folder)


def _warn_of_sizes(config: ModelConfig, row: Variant) -> None:
    """Warn of sizes that upstream's package cannot load, since its code fixes them."""
    usual = row.default_config()
    for name in ("t3", "s3gen", "s3_tokenizer", "voice_encoder"):
        ours, theirs = getattr(config, name).to_dict(), getattr(usual, name).to_dict()
        changed = [key for key in ours if ours[key] != theirs[key]]
        if changed:
            warnings.warn(
                f"upstream's code fixes other sizes of {name} ({', '.join(changed)}), and loads "
                "this model only if they are changed there.",
                stacklevel=5,
            )


def _write_tensors(path: Path, tensors: dict[str, mx.array]) -> None:
    plain = {
        key: value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value
        for key, value in tensors.items()
    }
    if path.suffix != ".pt":
        save_arrays(path, plain, {"format": "pt"})
        return
    from mlx_chatterbox.weights.formats.torch_zip import write_state_dict

    layout = {
        key: (tuple(value.shape), str(value.dtype).removeprefix("mlx.core."))
        for key, value in plain.items()
    }
    for _ in write_state_dict(path, layout, (np.array(value) for value in plain.values())):
        pass


def _write_voice(voice, path: Path) -> None:
    """Write a voice as upstream saves its `Conditionals`."""
    from mlx_chatterbox.weights.formats.torch_zip import write_sections

    tokens = np.array(voice.cond_prompt_tokens, dtype=np.int64)
    prompt = np.array(voice.prompt_token, dtype=np.int64)
    write_sections(
        path,
        {
            "t3": {
                "speaker_emb": np.array(voice.speaker_embedding, dtype=np.float32),
                "clap_emb": None,
                "cond_prompt_speech_tokens": tokens,
                "cond_prompt_speech_emb": None,
                "emotion_adv": np.full((1, 1, 1), voice.emotion, dtype=np.float32),
            },
            "gen": {
                "prompt_token": prompt,
                "prompt_token_len": np.array([prompt.shape[1]], dtype=np.int64),
                "prompt_feat": np.array(voice.prompt_feat, dtype=np.float32),
                "prompt_feat_len": None,
                "embedding": np.array(voice.embedding, dtype=np.float32),
            },
        },
    )
