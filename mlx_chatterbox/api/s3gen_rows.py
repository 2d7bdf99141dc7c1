"""Arguments of `S3GenModel` as checked rows without padding, each with its own voice.

Errors name the caller's argument.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from ..checks.plain import shown
from ..checks.tensors import check_shape, check_tokens
from ..errors import AudioError, SettingError
from ..models.s3gen.config import S3GenConfig
from ..models.s3gen.s3gen import S3GenConditionals
from ..runtime.seeds import Seed, row_keys
from ..voices.checks import check_reference
from ..voices.voice import S3GEN_PROMPT_SECONDS
from .arrays import ArrayLike, broadcast_rows, split_rows, to_mlx

# The speaker encoder's first frame is 25 ms, and two tokens are the least it can compare.
MIN_REFERENCE_SECONDS = 0.08
# Hz. Outside of these no recording is made, and at 1 Hz a second becomes 24,000 samples of a day.
MIN_RATE, MAX_RATE = 1000, 384000


@dataclass(frozen=True)
class Rows:
    """A batch, row by row.

    Attributes:
        tokens: (m_i,) int32 each.
        references: the row's voice.
        flow_keys, source_keys: random keys of the flow and of the vocoder's excitation.
    """

    tokens: list[mx.array]
    references: list[S3GenConditionals]
    flow_keys: list[mx.array]
    source_keys: list[mx.array]


def rows_of(
    config: S3GenConfig,
    speech_tokens: ArrayLike,
    lengths: ArrayLike | None,
    references: list[S3GenConditionals],
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
        references=broadcast_rows(references, len(tokens), "references"),
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
        check_tokens(row, config.vocab_size, "speech_tokens", SettingError)
    return [row.astype(mx.int32) for row in rows]


def references_of(ref_dict: dict[str, Any], config: S3GenConfig) -> list[S3GenConditionals]:
    """The voices in a dictionary of `embed_ref`, or of upstream's `conds.pt` ("gen").

    Raises:
        SettingError: its parts do not fit together, or not this model.
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
    if embeddings.ndim != 2:
        raise SettingError(f"embedding has {embeddings.ndim} axes; it must be (B, n).")
    if not len(tokens) == len(mels) == len(embeddings):
        raise SettingError(
            f"ref_dict has {len(tokens)} rows of tokens, {len(mels)} of mels and "
            f"{len(embeddings)} embeddings."
        )
    references = [
        S3GenConditionals(token[None], mel[None], embedding[None])
        for token, mel, embedding in zip(tokens, mels, embeddings, strict=True)
    ]
    for reference in references:
        check_reference(reference, config, "ref_dict", SettingError)
        reference.prompt_token = reference.prompt_token.astype(mx.int32)
    return references


def replace_noise_tail(
    config: S3GenConfig, noises: list[mx.array], noised_mels: ArrayLike, counts: list[int]
) -> list[mx.array]:
    """The flow's noise, its end replaced by the caller's.

    Args:
        noises: (T_i, 80) each.
        noised_mels: (B, 80, T), its end that of the longest row.
        counts: tokens of each row.

    Raises:
        SettingError: another shape, or more than the flow has.
    """
    tails = to_mlx(noised_mels)
    if not mx.isfinite(tails).all().item():
        raise SettingError("noised_mels holds NaN or Inf.")
    if tails.ndim != 3 or tails.shape[:2] != (len(noises), config.mel_bins):
        raise SettingError(
            f"noised_mels has shape {tuple(tails.shape)}; it must be "
            f"({len(noises)}, {config.mel_bins}, T)."
        )
    replaced = []
    for noise, row, count in zip(noises, tails.swapaxes(1, 2), counts, strict=True):
        row = row[: max(row.shape[0] - config.token_mel_ratio * (max(counts) - count), 0)]
        if len(row) > len(noise):
            raise SettingError(f"noised_mels has {len(row)} frames for {len(noise)} of the flow.")
        replaced.append(mx.concatenate([noise[: len(noise) - len(row)], row.astype(noise.dtype)]))
    return replaced


def checked_recording(recording: mx.array, rate: int) -> mx.array:
    """A reference (n,), float32.

    Raises:
        AudioError: too short, or not finite. SettingError: no sample rate that a recording has.
    """
    is_number = isinstance(rate, (int, float, np.integer, np.floating))
    if not is_number or not MIN_RATE <= rate <= MAX_RATE or rate != int(rate):
        raise SettingError(f"ref_sr must be from {MIN_RATE} to {MAX_RATE} Hz; got {shown(rate)}.")
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


def loss_samples(
    batch: dict[str, ArrayLike], seed: int, config: S3GenConfig
) -> list[dict[str, Any]]:
    """Rows of a training batch in upstream's form as the trainer's samples.

    Raises:
        SettingError: a part is missing, or not as many of each.
    """
    missing = [name for name in ("speech_token", "speech_feat", "embedding") if name not in batch]
    if missing:
        raise SettingError(f"the batch lacks {', '.join(missing)}.")
    tokens = split_rows(
        batch["speech_token"], batch.get("speech_token_len"), "speech_token", "speech_token_len"
    )
    mels, embeddings = to_mlx(batch["speech_feat"]), to_mlx(batch["embedding"])
    rows, ratio = len(tokens), config.token_mel_ratio
    if mels.ndim != 3 or mels.shape[:2] != (rows, config.mel_bins):
        raise SettingError(f"speech_feat has shape {mels.shape}, not ({rows}, 80, T).")
    check_shape(embeddings, (rows, config.speaker_embed_dim), "embedding", SettingError)
    for row in tokens:
        check_tokens(row, config.vocab_size, "speech_token", SettingError)
    mels, xvectors = mels.swapaxes(1, 2), np.array(embeddings)
    return [
        {
            "key": np.array([seed, row], dtype=np.uint32),
            "speech_tokens": np.array(tokens[row]),
            "mel": np.array(mels[row, : ratio * len(tokens[row])]),
            "xvector": xvectors[row],
        }
        for row in range(rows)
    ]
