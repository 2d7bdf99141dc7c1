"""A saved voice's tensors: their keys, types and shapes, whatever the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mlx.core as mx

from ..checks.plain import MAX_INTEGER
from ..checks.tensors import Shape, check_finite, check_shape, check_tokens
from ..errors import CheckpointError

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
# A T3 that takes no speech prompt (the pocket model) has a prompt without tokens.
_MAY_BE_EMPTY = "t3.cond_prompt_speech_tokens"


def checked_tensors(tensors: Mapping[str, mx.array], path: str | Path) -> dict[str, mx.array]:
    """Check the tensors of a voice's file: tokens as int32, the prompt's cut to their length.

    Other tensors, which older files hold, are left out.

    Raises:
        CheckpointError: a tensor has another type or shape than in a voice of any model.
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
    length = int(checked[_LENGTH]) if _LENGTH in checked else tokens.shape[1]
    if not 1 <= length <= tokens.shape[1]:
        raise CheckpointError(f"{path}: {_LENGTH} is {length}, for {tokens.shape[1]} tokens.")
    checked["gen.prompt_token"] = tokens[:, :length]
    return checked
