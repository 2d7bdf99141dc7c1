"""What `S3GenModel` is given, as rows that can be computed: checked, cut, each with its own voice.

Errors name the argument as the caller knows it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from .arrays import ArrayLike, one_for_each, split_rows, to_mlx
from .errors import AudioError, SettingError
from .models.s3gen.config import S3GenConfig
from .models.s3gen.s3gen import Reference
from .seeds import Seed, row_keys
from .voice import S3GEN_PROMPT_SECONDS

# The speaker encoder's first frame is 25 ms, and two tokens are the least it can compare.
MIN_REFERENCE_SECONDS = 0.08


@dataclass(frozen=True)
class Rows:
    """A batch, row by row.

    Attributes:
        tokens: (m_i,) int32 each.
        references: the row's voice.
        flow_keys, source_keys: where the flow's and the vocoder's randomness comes from.
    """

    tokens: list[mx.array]
    references: list[Reference]
    flow_keys: list[mx.array]
    source_keys: list[mx.array]


def rows_of(
    config: S3GenConfig,
    speech_tokens: ArrayLike,
    lengths: ArrayLike | None,
    references: list[Reference],
    seed: Seed,
) -> Rows:
    """The rows of a batch.

    Args:
        references: one for each row, or one for all.

    Raises:
        SettingError: tokens that have no sound, or not as many references or seeds as rows.
    """
    tokens = _checked_tokens(config, speech_tokens, lengths)
    keys = [mx.random.split(key) for key in row_keys(seed, len(tokens))]
    return Rows(
        tokens=tokens,
        references=one_for_each(references, len(tokens), "references"),
        flow_keys=[key[0] for key in keys],
        source_keys=[key[1] for key in keys],
    )


def _checked_tokens(
    config: S3GenConfig, speech_tokens: ArrayLike, lengths: ArrayLike | None
) -> list[mx.array]:
    rows = split_rows(speech_tokens, lengths, "speech_tokens", "speech_token_lens")
    for row in rows:
        if row.size == 0:
            raise SettingError("speech_tokens has a row without tokens.")
        least, most = row.min().item(), row.max().item()
        if least < 0 or most >= config.vocab_size:
            raise SettingError(
                f"speech_tokens must be from 0 to {config.vocab_size - 1}; got {least} to {most}."
            )
    return [row.astype(mx.int32) for row in rows]


def references_of(ref_dict: dict[str, Any]) -> list[Reference]:
    """The voices in a dictionary of `embed_ref`, or of upstream's `conds.pt` ("gen").

    Raises:
        SettingError: what is in it does not belong together.
    """
    missing = [
        name for name in ("prompt_token", "prompt_feat", "embedding") if name not in ref_dict
    ]
    if missing:
        raise SettingError(f"ref_dict lacks {', '.join(missing)}; see embed_ref.")
    tokens = split_rows(
        ref_dict["prompt_token"],
        ref_dict.get("prompt_token_len"),
        "prompt_token",
        "prompt_token_len",
    )
    mels = split_rows(
        ref_dict["prompt_feat"],
        ref_dict.get("prompt_feat_len"),
        "prompt_feat",
        "prompt_feat_len",
        axes=1,
    )
    embeddings = to_mlx(ref_dict["embedding"])
    if not len(tokens) == len(mels) == len(embeddings):
        raise SettingError(
            f"ref_dict has {len(tokens)} rows of tokens, {len(mels)} of mels and "
            f"{len(embeddings)} embeddings."
        )
    return [
        Reference(token.astype(mx.int32)[None], mel[None], embedding[None])
        for token, mel, embedding in zip(tokens, mels, embeddings, strict=True)
    ]


def put_noise(
    config: S3GenConfig, noises: list[mx.array], noised_mels: ArrayLike, counts: list[int]
) -> list[mx.array]:
    """What was drawn for the flow, its end replaced by what was given.

    Args:
        noises: (T_i, 80) each.
        noised_mels: (B, 80, T), its end that of the longest row.
        counts: tokens of each row.

    Raises:
        SettingError: another shape, or more than the flow has.
    """
    given = to_mlx(noised_mels)
    if given.ndim != 3 or given.shape[:2] != (len(noises), config.mel_bins):
        raise SettingError(
            f"noised_mels has shape {tuple(given.shape)}; it must be "
            f"({len(noises)}, {config.mel_bins}, T)."
        )
    replaced = []
    for noise, row, count in zip(noises, given.swapaxes(1, 2), counts, strict=True):
        row = row[: max(row.shape[0] - config.token_mel_ratio * (max(counts) - count), 0)]
        if len(row) > len(noise):
            raise SettingError(f"noised_mels has {len(row)} frames for {len(noise)} of the flow.")
        replaced.append(mx.concatenate([noise[: len(noise) - len(row)], row.astype(noise.dtype)]))
    return replaced


def checked_recording(recording: mx.array, rate: int) -> mx.array:
    """A reference (n,), float32.

    Raises:
        AudioError: too short, or not finite.
    """
    recording = recording.astype(mx.float32)
    seconds = recording.shape[0] / rate
    if seconds < MIN_REFERENCE_SECONDS:
        raise AudioError(
            f"a reference of {seconds:.3f} s is too short: it needs {MIN_REFERENCE_SECONDS} s, "
            f"and {S3GEN_PROMPT_SECONDS} s give the best likeness."
        )
    if not mx.isfinite(recording).all().item():
        raise AudioError("the reference contains NaN or infinite samples: give clean audio.")
    if seconds > S3GEN_PROMPT_SECONDS:
        warnings.warn(
            f"a reference of {seconds:.1f} s: the model was trained on at most "
            f"{S3GEN_PROMPT_SECONDS}, and all of it is used.",
            stacklevel=4,
        )
    return recording


def loss_samples(batch: dict[str, ArrayLike], seed: int, ratio: int) -> list[dict[str, Any]]:
    """Rows of a training batch in upstream's form as the trainer's samples."""
    tokens = split_rows(
        batch["speech_token"], batch.get("speech_token_len"), "speech_token", "speech_token_len"
    )
    mels = to_mlx(batch["speech_feat"]).swapaxes(1, 2)
    embeddings = np.array(to_mlx(batch["embedding"]))
    return [
        {
            "key": np.array([seed, row], dtype=np.uint32),
            "speech_tokens": np.array(tokens[row]),
            "mel": np.array(mels[row, : ratio * len(tokens[row])]),
            "xvector": embeddings[row],
        }
        for row in range(len(tokens))
    ]


def lengths_of(values: ArrayLike) -> list[int]:
    """Lengths of any kind as numbers."""
    return [int(count) for count in np.asarray(to_mlx(values)).reshape(-1)]
