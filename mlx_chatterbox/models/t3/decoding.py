"""Decoding: speech tokens one after the other, of one sentence or of several side by side."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

import mlx.core as mx
import numpy as np

from ...errors import SettingError, TextError
from ...runtime import device
from .cache import BatchKVCache, KVCache
from .native_step import MOST_ROWS, NativeStep
from .sampling import Array, SamplingSettings, draw, gumbel_noise, process_logits
from .t3 import T3

# Numbers of noise that are drawn at a time where a step is made in C.
_NOISE_AT_ONCE = 1 << 16
# Beyond it float32 cannot tell guided logits apart.
MAX_CFG_WEIGHT = 1_000_000


def guide(logits: Array, cfg_weight: float, sentences: int) -> Array:
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598).

    Args:
        logits: (sentences, V), or (2 * sentences, V) with the rows without text second.

    Returns:
        (sentences, V): conditional + weight * (conditional - unconditional).
    """
    if logits.shape[0] == sentences:
        return logits
    conditional, unconditional = logits[:sentences], logits[sentences:]
    return conditional + cfg_weight * (conditional - unconditional)


def decode(
    t3: T3,
    cond: mx.array | KVCache,
    text_tokens: mx.array,
    settings: SamplingSettings,
    cfg_weight: float = 0.5,
    max_new_tokens: int = 1000,
    key: mx.array | None = None,
) -> Generator[int]:
    """Decode speech tokens until the stop token, as upstream's `inference` or `inference_turbo`.

    Args:
        text_tokens: (n,), for the Llama with start and stop.
        key: source of the draws; the same key gives the same tokens.
        cond, ...: see `decode_batch`.

    Yields:
        Speech tokens, also those of 6561 and over that have no sound; not the stop token.

    Raises:
        SettingError, TextError: see `decode_batch`.
    """
    keys = None if key is None else [key]
    steps = decode_batch(t3, cond, [text_tokens], settings, cfg_weight, max_new_tokens, keys)
    for written in steps:
        for _, token in written:
            yield token


def decode_batch(
    t3: T3,
    cond: mx.array | KVCache,
    texts: Sequence[mx.array],
    settings: SamplingSettings,
    cfg_weight: float = 0.5,
    max_new_tokens: int = 1000,
    keys: Sequence[mx.array] | None = None,
    ended: Collection[int] = (),
) -> Generator[list[tuple[int, int]]]:
    """Decode the speech tokens of several sentences of one voice together.

    All rows share every reading of the weights, which takes most of a step's time. A sentence draws
    from a key of its own and is masked from the others, so its tokens are those it would have
    alone; they can differ only where rounding, which depends on how many rows a matrix product has,
    turns a draw between two tokens that are equal to about 1e-6.

    The work of step n + 1 is queued before the tokens of step n are read, so that the device is
    never idle while Python reads them; a sentence that has ended leaves the batch a step late. A
    step in C cannot be queued: it is made after the caller has the tokens of the step before.

    Args:
        cond: (1, L, C) from `T3.embed_conditioning`, or its `T3.conditioning_cache`.
        texts: (n,) tokens each, for the Llama with start and stop.
        cfg_weight: 0 turns guidance, and its second rows, off (upstream crashes there). GPT-2 has
            none in any case.
        max_new_tokens: for each sentence.
        keys: source of each sentence's draws; the same key gives the same tokens.
        ended: sentences to end now; the caller may add some after each step.

    Yields:
        At each step (sentence, token) for those that still speak, also tokens of 6561 and over
        that have no sound; not the stop token.

    Raises:
        SettingError: a weight or a number of tokens outside its range, or not a key a sentence.
        TextError: more text tokens than there are positions.
    """
    keys = [mx.random.key(i) for i in range(len(texts))] if keys is None else keys
    if len(keys) != len(texts):
        raise SettingError(f"{len(texts)} sentences need as many keys; got {len(keys)}.")
    for text_tokens in texts:
        check_lengths(t3, text_tokens, cfg_weight, max_new_tokens)
    if not texts:
        return
    config = t3.config
    batch = _DecodingBatch(t3, cond, texts, settings, cfg_weight, max_new_tokens, keys)
    sentences = list(range(len(texts)))
    current = batch.token
    for index in range(max_new_tokens):
        more = index + 1 < max_new_tokens
        is_queued = more and not batch.steps_at_once
        if is_queued:
            batch.advance(index + 1)
        values: list[int] = np.asarray(current).tolist()
        # Upstream's GPT-2 loop does not look at the first token; it has no sound in any case.
        looks = not (config.is_gpt2 and index == 0)
        speaking = [
            row
            for row, value in enumerate(values)
            if row in batch.speaking and not (looks and value == config.stop_speech_token)
        ]
        if speaking:
            yield [(sentences[row], values[row]) for row in speaking]
        speaking = [row for row in speaking if sentences[row] not in ended]
        if not speaking or not more:
            return
        batch.speaking = set(speaking)
        if batch.worth_leaving():
            sentences = [sentences[row] for row in speaking]
            batch.keep(speaking)
        if not is_queued:
            batch.advance(index + 1)
        current = batch.token


class _DecodingBatch:
    """Sentences being decoded; `token`, (B,), are the latest ones.

    Attributes:
        speaking: rows whose sentence has not ended.
    """

    def __init__(self, t3: T3, cond, texts, settings, cfg_weight, max_new_tokens, keys):
        config = t3.config
        self._t3, self._settings, self._cfg_weight = t3, settings, cfg_weight
        self._noise_keys = mx.stack([mx.random.split(key, max_new_tokens) for key in keys])
        self._guided = cfg_weight > 0 and not config.is_gpt2
        self._native_step = NativeStep.of(t3) if device.on_cpu() else None
        # From the first step in C on these three are NumPy's.
        self._vocabulary: mx.array | np.ndarray
        self._seen: mx.array | np.ndarray
        self.token: mx.array | np.ndarray
        self._vocabulary = vocabulary = mx.arange(config.speech_tokens_dict_size)[None]
        self._is_in_c = False
        self._made_noise: np.ndarray | None = None
        self._noise_first = 0
        self.speaking = set(range(len(texts)))

        conditioning = cond if isinstance(cond, KVCache) else t3.conditioning_cache(cond)
        pasts, last = [], []
        for text_tokens in texts:
            # Each by itself, so that nothing of it depends on the others' lengths.
            embeddings = t3.sentence_embeddings(text_tokens, self._guided)
            hidden, past = t3.hidden_states(embeddings, conditioning)
            pasts.append(past)
            last.append(t3.speech_head(hidden[:, -1]).astype(mx.float32))
        logits = mx.stack(last, axis=1).reshape(-1, config.speech_tokens_dict_size)
        self._slots = BatchKVCache(pasts)
        seen = mx.broadcast_to(
            vocabulary == config.start_speech_token, (len(texts), logits.shape[1])
        )
        self.token = self._draw(logits, seen, 0)
        drawn = vocabulary == self.token[:, None]
        # Upstream's GPT-2 loop penalises the start token at the first step and never again.
        self._seen = drawn if config.is_gpt2 else seen | drawn
        # All that is kept, or a thread that asks for the next token could not evaluate it.
        mx.async_eval(self.token, self._seen, self._noise_keys, self._vocabulary)

    @property
    def steps_at_once(self) -> bool:
        """True if `advance` makes the step instead of queueing it."""
        rows = self.token.shape[0] * (2 if self._guided else 1)
        return self._native_step is not None and rows <= MOST_ROWS

    def advance(self, index: int) -> None:
        """Queue the step that reads `token` and draws number `index`, or make it."""
        slots = self._slots
        slots.make_room()
        if self._native_step is not None and self.steps_at_once:
            self._advance_in_c(self._native_step, index)
            return
        token, seen = self.token, self._seen
        # No step was made in C.
        assert isinstance(token, mx.array)
        assert isinstance(seen, mx.array)
        tokens = mx.concatenate([token, token]) if self._guided else token
        step = self._t3.step if device.on_cpu() else self._t3.compiled_step
        memory = [*slots.keys, *slots.values]
        place = mx.array([slots.used])
        logits, memory = step(tokens, mx.array([index]), place, slots.padding, memory, slots.extent)
        slots.take_written(memory)
        self.token = self._draw(logits, seen, index)
        self._seen = seen | (self._vocabulary == self.token[:, None])
        # The token needs every layer's keys and values, so they are computed with it. Asked for
        # by themselves they would be held until the step is done, and the next step, which is
        # encoded before that, would copy them all to write one slot.
        mx.async_eval(self.token, self._seen)

    def _advance_in_c(self, native_step: NativeStep, index: int) -> None:
        """Make the step, now. From the first of these on nothing but the memory is MLX's."""
        if not self._is_in_c:
            self._is_in_c = True
            self._vocabulary, self._seen, self.token = (
                np.array(array) for array in (self._vocabulary, self._seen, self.token)
            )
        token, seen = np.asarray(self.token), np.asarray(self._seen)
        tokens = np.concatenate([token, token]) if self._guided else token
        logits = native_step(tokens, index, self._slots)
        processed = process_logits(
            guide(logits, self._cfg_weight, len(token)), seen, self._settings
        )
        if self._settings.temperature > 0.0:
            processed = processed + self._noise(index)
        self.token = processed.argmax(axis=-1)
        self._seen = seen | (self._vocabulary == self.token[:, None])

    def _noise(self, index: int) -> np.ndarray:
        """Gumbel noise for the logits of draw number `index`, (B, V), drawn for some at a time."""
        at = index - self._noise_first
        if self._made_noise is None or at >= self._made_noise.shape[1]:
            vocabulary = self._vocabulary.shape[1]
            ahead = max(1, _NOISE_AT_ONCE // (len(self.token) * vocabulary))
            keys = self._noise_keys[:, index : index + ahead]
            self._made_noise, self._noise_first = np.array(gumbel_noise(keys, vocabulary)), index
            at = 0
        return self._made_noise[:, at]

    def _draw(self, logits: mx.array, seen: mx.array, index: int) -> mx.array:
        logits = guide(logits, self._cfg_weight, seen.shape[0])
        processed = process_logits(logits, seen, self._settings)
        return draw(processed, self._settings, self._noise_keys[:, index])

    def worth_leaving(self) -> bool:
        """True if it is worth dropping the rows of sentences that have ended.

        On the CPU always. On the GPU another number of rows is another trace of the step, so the
        batch is halved at least.
        """
        rows, speaking = self.token.shape[0], len(self.speaking)
        return speaking < rows if device.on_cpu() else 2 * speaking <= rows

    def keep(self, rows: list[int]) -> None:
        """Keep these rows' sentences and drop the others."""
        sentences = self.token.shape[0]
        memory = rows + [row + sentences for row in rows] if self._guided else rows
        kept = rows if self._is_in_c else mx.array(rows)
        self.token, self._seen = self.token[kept], self._seen[kept]
        self._noise_keys = self._noise_keys[mx.array(rows)]
        mx.async_eval(self._noise_keys)
        if self._is_in_c and self._native_step is not None:
            self._native_step.keep(memory)
            self._made_noise = None if self._made_noise is None else self._made_noise[rows]
        else:
            self._slots.keep(mx.array(memory))
        self.speaking = set(range(len(rows)))


def check_lengths(t3: T3, text_tokens: mx.array, cfg_weight: float, max_new_tokens: int) -> None:
    """Check that `decode_batch` can read a text and decode that many tokens.

    Raises:
        SettingError, TextError: see there.
    """
    longest = t3.config.max_speech_tokens
    if not 1 <= max_new_tokens <= longest:
        raise SettingError(f"max_new_tokens must be from 1 to {longest}; got {max_new_tokens}.")
    if not 0 <= cfg_weight <= MAX_CFG_WEIGHT:
        raise SettingError(f"cfg_weight must be from 0 to {MAX_CFG_WEIGHT}; got {cfg_weight}.")
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
