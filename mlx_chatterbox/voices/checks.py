"""Checks of a voice against the model that is to use it.

Voices are small files that people pass around. The tokens of another model's voice are indices into
tables that may be shorter here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..checks.tensors import check_finite, check_shape, check_tokens
from ..errors import ChatterboxError, CheckpointError

if TYPE_CHECKING:
    from ..models.s3gen.config import S3GenConfig
    from ..models.s3gen.s3gen import S3GenConditionals
    from .voice import Voice

# 60 s. Ours have 10 s; the work of the flow grows with the square.
MAX_PROMPT_TOKENS = 1500


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
    reference: S3GenConditionals,
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
