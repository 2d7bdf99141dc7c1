"""Decoding: speech tokens one after the other, with classifier-free guidance and a KV cache."""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx

from ...errors import SettingError, TextError
from .sampling import SamplingSettings, draw, process_logits
from .t3 import T3


def guide(logits: mx.array, cfg_weight: float) -> mx.array:
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598).

    Args:
        logits: (1, V), or (2, V) with the row without text second.

    Returns:
        (1, V): conditional + weight * (conditional - unconditional).
    """
    if logits.shape[0] == 1:
        return logits
    conditional, unconditional = logits[:1], logits[1:]
    return conditional + cfg_weight * (conditional - unconditional)


def decode(
    t3: T3,
    cond_emb: mx.array,
    text_tokens: mx.array,
    settings: SamplingSettings,
    cfg_weight: float = 0.5,
    max_new_tokens: int = 1000,
    key: mx.array | None = None,
) -> Iterator[int]:
    """Write speech tokens until the stop token, as upstream's `inference` or `inference_turbo`.

    The work of step n + 1 is queued before token n is read, so that the device is never idle while
    Python looks at a token.

    Args:
        cond_emb: (1, L, C) from `T3.embed_conditioning`.
        text_tokens: (n,), for the Llama with start and stop.
        cfg_weight: 0 turns guidance, and its second row, off (upstream crashes there). GPT-2 has
            none in any case.
        key: source of the draws; the same key gives the same tokens.

    Yields:
        Speech tokens, also those of 6561 and over that have no sound; not the stop token.

    Raises:
        SettingError: a weight or a number of tokens outside its range.
        TextError: more text tokens than there are positions.
    """
    config = t3.config
    _check_lengths(t3, text_tokens, cfg_weight, max_new_tokens)
    cache = t3.tfmr.make_cache()
    key = mx.random.key(0) if key is None else key
    keys = mx.random.split(key, max_new_tokens)
    vocabulary = mx.arange(config.speech_tokens_dict_size)[None]

    def step(embeddings: mx.array, seen: mx.array, index: int) -> tuple[mx.array, mx.array]:
        hidden = t3.hidden_states(embeddings, cache)[:, -1]
        logits = guide(t3.speech_head(hidden).astype(mx.float32), cfg_weight)
        token = draw(process_logits(logits, seen, settings), settings, keys[index])
        drawn = vocabulary == token[:, None]
        # Upstream's GPT-2 loop penalises the start token at the first step and never again.
        return token, drawn if config.is_gpt2 and index == 0 else seen | drawn

    guided = cfg_weight > 0 and not config.is_gpt2
    rows = 2 if guided else 1
    seen = vocabulary == config.start_speech_token
    token, seen = step(t3.prompt_embeddings(cond_emb, text_tokens, guided), seen, 0)
    mx.async_eval(token, seen)
    for index in range(max_new_tokens):
        following = None
        if index + 1 < max_new_tokens:
            embedded = t3.embed_speech(mx.broadcast_to(token[None], (rows, 1)), index + 1)
            following = step(embedded, seen, index + 1)
            mx.async_eval(*following)
        value = token.item()
        # Upstream's GPT-2 loop does not look at the first token; it has no sound in any case.
        if value == config.stop_speech_token and not (config.is_gpt2 and index == 0):
            return
        yield value
        if following is not None:
            token, seen = following


def _check_lengths(t3: T3, text_tokens: mx.array, cfg_weight: float, max_new_tokens: int) -> None:
    longest = t3.config.max_speech_tokens
    if not 1 <= max_new_tokens <= longest:
        raise SettingError(f"max_new_tokens must be from 1 to {longest}; got {max_new_tokens}.")
    if not 0 <= cfg_weight < float("inf"):
        raise SettingError(f"cfg_weight must be 0 or more; got {cfg_weight}.")
    room = t3.config.max_text_tokens + 2
    if t3.config.is_gpt2:
        prompt = t3.config.speech_cond_prompt_len + 2
        room = t3.config.max_position_embeddings - prompt - max_new_tokens
    if text_tokens.shape[0] > room:
        raise TextError(
            f"the text has {text_tokens.shape[0]} tokens, more than the {room} that the model can "
            "read at once; split it."
        )
    largest = int(text_tokens.max())
    if largest >= t3.config.text_tokens_dict_size or int(text_tokens.min()) < 0:
        raise TextError(
            f"text token {largest} is outside the model's vocabulary of "
            f"{t3.config.text_tokens_dict_size}: the tokenizer belongs to another checkpoint."
        )
