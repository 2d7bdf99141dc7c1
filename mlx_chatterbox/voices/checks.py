"""A voice's tensors against their file's layout, and a voice against the model that is to use it.

Voices are small files that people pass around, and of another model's, too, the tokens are indices
into tables that may be shorter here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from ..checks.plain import MAX_INTEGER
from ..checks.tensors import Shape, check_finite, check_shape, check_tokens
from ..errors import ChatterboxError, CheckpointError

if TYPE_CHECKING:
    from ..models.s3gen.config import S3GenConfig
    from ..models.s3gen.s3gen import Reference
    from .voice import Voice

_LENGTH = "gen.prompt_token_len"
# The shape of each tensor, whatever the model; None: any length from 1.
_SHAPES: dict[str, Shape] = {
    "t3.speaker_emb": (1, None),
    "t3.cond_prompt_speech_tokens": (1, None),
    "t3.emotion_adv": (1, 1, 1),
    "gen.prompt_token": (1, None),
    _LENGTH: (1,),
    "gen.prompt_feat": (1, None, None),
    "gen.embedding": (1, None),
}
_TOKENS = ("t3.cond_prompt_speech_tokens", "gen.prompt_token", _LENGTH)
# A T3 that is given no speech to go on from (the pocket model) has a prompt without tokens.
_MAY_BE_EMPTY = "t3.cond_prompt_speech_tokens"
# 60 s. Ours are 10; the flow's work grows with the square.
MAX_PROMPT_TOKENS = 1500


def checked_tensors(tensors: Mapping[str, mx.array], path: str | Path) -> dict[str, mx.array]:
    """The tensors of a voice's file: tokens as int32, the prompt's cut to their number.

    Others that a voice has none of are left out, as older files hold some.

    Raises:
        CheckpointError: a tensor of another type or shape than a voice of any model has.
    """
    checked = {}
    for key, shape in _SHAPES.items():
        if key not in tensors:
            continue
        values, name = tensors[key], f"{path}: {key}"
        if not (key == _MAY_BE_EMPTY and values.shape == (1, 0)):
            check_shape(values, shape, name)
        if key in _TOKENS:
            check_tokens(values, MAX_INTEGER, name)
            checked[key] = values.astype(mx.int32)
        else:
            check_finite(values, name)
            checked[key] = values
    tokens = checked["gen.prompt_token"]
    length = checked[_LENGTH].item() if _LENGTH in checked else tokens.shape[1]
    if not 1 <= length <= tokens.shape[1]:
        raise CheckpointError(f"{path}: {_LENGTH} says {length} of {tokens.shape[1]} tokens.")
    checked["gen.prompt_token"] = tokens[:, :length]
    return checked


def check_voice(voice: Voice, networks, name: str = "the voice") -> None:
    """Raise CheckpointError unless a voice fits a model.

    Args:
        networks: has `t3` and `s3gen`.
        name: of the voice, for errors.
    """
    config, other = networks.t3.config, f"{name} is another model's"
    speaker = f"{other}: its speaker embedding for T3"
    check_shape(voice.speaker_embedding, (1, config.speaker_embed_size), speaker)
    check_finite(voice.speaker_embedding, f"{name}: its speaker embedding")
    tokens, prompt = voice.cond_prompt_tokens, f"{other}: its prompt for T3"
    if tokens.size:
        check_shape(tokens, (1, None), prompt)
        check_tokens(tokens, config.speech_tokens_dict_size, prompt)
        if tokens.shape[1] > config.max_prompt_tokens:
            raise CheckpointError(
                f"{prompt} has {tokens.shape[1]} tokens, more than {config.max_prompt_tokens}."
            )
    check_reference(voice.reference, networks.s3gen.config, name)


def check_reference(
    reference: Reference,
    config: S3GenConfig,
    name: str = "the voice",
    error: type[ChatterboxError] = CheckpointError,
) -> None:
    """Raise `error` unless S3Gen can speak in a voice.

    Args:
        name: of the voice, for errors.
    """
    other = f"{name} is another model's"
    tokens, mel = reference.prompt_token, reference.prompt_feat
    check_shape(tokens, (1, None), f"{name}: its prompt's tokens", error)
    check_tokens(tokens, config.vocab_size, f"{other}: its prompt's tokens", error)
    check_shape(mel, (1, None, config.mel_bins), f"{other}: its prompt's mel", error)
    check_finite(mel, f"{name}: its prompt's mel", error)
    speaker = f"{other}: its speaker embedding for S3Gen"
    check_shape(reference.embedding, (1, config.speaker_embed_dim), speaker, error)
    check_finite(reference.embedding, f"{name}: its speaker embedding", error)
    count, frames = tokens.shape[1], mel.shape[1]
    # Upstream's last frame may be one too many; none is more than a token away.
    beyond = frames - config.token_mel_ratio * count
    if not -config.token_mel_ratio <= beyond <= 1:
        raise error(
            f"{name}: its prompt has {frames} mel frames for {count} tokens, of which each has "
            f"{config.token_mel_ratio}."
        )
    if count > MAX_PROMPT_TOKENS:
        raise error(f"{name}: its prompt has {count} tokens, more than {MAX_PROMPT_TOKENS} (60 s).")
