"""T3: cross-entropy of the next text token and of the next speech token.

A row is packed as inference meets it, with nothing between its parts and padding at the right end
alone:

- Llama: [speaker, prompt, emotion | text with start and stop | start, start, speech ...]. The
  second start token predicts the first speech token, the last speech token the stop token; the
  first start predicts nothing, as nobody asks it in inference either.
- GPT-2: [speaker, prompt | text | start, speech ...].

Tokens that are heard as the prompt too (`prompt_span`, where a speaker has but one clip) are not
scored: they would only have to be copied.

Upstream's own `T3.loss` compares each position with its own token instead of the next one, and so
is not what its weights were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...errors import DataError
from ...models.t3.cache import causal_bias
from ...models.t3.config import T3Config
from ...nn.attention import padding_bias
from .base import (
    Batch,
    Sample,
    Task,
    Totals,
    bucket,
    generator,
    keys_of,
    length_mask,
    of_reference,
    padded,
    total,
)

DEFAULT_EMOTION = 0.5
_TEXT_DROPOUT = 1


class T3Task(Task):
    """Next-token losses of the text ("text") and of the speech ("speech").

    Args:
        config: T3's.
        text_dropout: share of samples whose text embeddings are zeroed, as in the row without text
            that classifier-free guidance adds in inference: positions stay, and the text loss of
            such a row is off. GPT-2 is never guided, so it takes none.
        prompt_tokens: how much of the reference T3 hears, at most; 75 tokens are 3 s.
        max_text_len, max_speech_len: longer samples are refused.
        weights: of "text" and "speech".
    """

    name = "t3"
    features = frozenset({"text_tokens", "speech_tokens", "speaker_embedding"})
    prompt_features = frozenset({"speech_tokens", "speaker_embedding"})
    parts = ("text", "speech")

    def __init__(
        self,
        config: T3Config,
        text_dropout: float = 0.1,
        prompt_tokens: int | None = None,
        max_text_len: int | None = None,
        max_speech_len: int | None = None,
        weights: dict[str, float] | None = None,
    ):
        super().__init__(weights)
        self.config = config
        self.text_dropout = 0.0 if config.is_gpt2 else text_dropout
        most = config.speech_cond_prompt_len
        self.prompt_tokens = most if prompt_tokens is None else min(prompt_tokens, most)
        # Of the positions one is the first speech token's, behind the start token.
        room = config.max_speech_tokens if max_speech_len is None else max_speech_len
        self.max_speech_len = min(room, config.max_speech_tokens)
        room = config.max_text_tokens + 2 if max_text_len is None else max_text_len
        self.max_text_len = min(room, config.max_text_tokens + 2)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        texts = [np.asarray(sample["text_tokens"], dtype=np.int32) for sample in samples]
        speech = [np.asarray(sample["speech_tokens"], dtype=np.int32) for sample in samples]
        for sample, text, spoken in zip(samples, texts, speech, strict=True):
            self._check_tokens(sample, text, spoken)
        prompts = [self._prompt(sample) for sample in samples]
        heard = [
            generator(sample["key"], _TEXT_DROPOUT).random() >= self.text_dropout
            for sample in samples
        ]
        emotions = [float(sample.get("emotion", DEFAULT_EMOTION)) for sample in samples]
        spans = [np.asarray(sample.get("prompt_span", (0, 0))) for sample in samples]
        rows = _Rows(self.config, [len(a) for a in prompts], texts, speech, heard)
        indices = rows.indices()
        for weights, (start, stop) in zip(indices["speech_weights"], spans, strict=True):
            weights[start:stop] = 0.0
        for part in self.parts:
            indices |= _scored(indices, part)
        return {
            "keys": keys_of(samples),
            "speaker": mx.array(
                np.stack(
                    [of_reference(s, "speaker_embedding").reshape(-1) for s in samples]
                ).astype(np.float32)
            ),
            "prompt": mx.array(padded(prompts, rows.prompt_length, np.int32)),
            "prompt_mask": mx.array(length_mask([len(a) for a in prompts], rows.prompt_length)),
            "emotion": mx.array(np.array(emotions, dtype=np.float32).reshape(-1, 1, 1)),
            "text": mx.array(padded(texts, rows.text_length, np.int32)),
            "text_heard": mx.array(np.array(heard, dtype=np.float32)),
            "speech": mx.array(padded(speech, rows.speech_length, np.int32)),
            **{name: mx.array(value) for name, value in indices.items()},
        }

    def _check_tokens(self, sample: Sample, text: np.ndarray, speech: np.ndarray) -> None:
        name, config = sample.get("id", "a sample"), self.config
        if not (len(text) and len(speech)):
            raise DataError(f"{name} has {len(text)} text and {len(speech)} speech tokens.")
        for kind, tokens, most, vocabulary in (
            ("text", text, self.max_text_len, config.text_tokens_dict_size),
            ("speech", speech, self.max_speech_len, config.speech_tokens_dict_size),
        ):
            if len(tokens) > most:
                raise DataError(f"{name} has {len(tokens)} {kind} tokens, more than {most}.")
            if tokens.min() < 0 or tokens.max() >= vocabulary:
                raise DataError(f"{name} has {kind} tokens outside the {vocabulary} there are.")
        if config.is_gpt2:
            in_all = 2 + self.prompt_tokens + len(text) + len(speech)
            if in_all > config.max_position_embeddings:
                raise DataError(
                    f"{name} needs {in_all} positions, more than the "
                    f"{config.max_position_embeddings} there are."
                )

    def _prompt(self, sample: Sample) -> np.ndarray:
        prompt = (sample.get("prompt") or {}).get("speech_tokens", ())
        return np.asarray(prompt, dtype=np.int32)[: self.prompt_tokens]

    def counts(self, batch: Batch) -> Totals:
        return {part: total(batch[f"{part}_weights"]) for part in self.parts}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[dict, dict]:
        t3 = self.module(networks)
        hidden = _hidden_states(t3, self.embeddings(t3, batch))
        hidden = hidden.reshape(-1, hidden.shape[-1])
        sums, metrics = {}, {}
        for part, head in (("text", t3.text_head), ("speech", t3.speech_head)):
            labels, weights = batch[f"{part}_labels"], batch[f"{part}_weights"]
            if not self.weights[part]:
                continue
            logits = head(hidden[batch[f"{part}_at"]]).astype(mx.float32)
            sums[part] = (nn.losses.cross_entropy(logits, labels) * weights).sum()
            right = mx.argmax(mx.stop_gradient(logits), axis=-1) == labels
            metrics[f"{part}_accuracy"] = (part, (right * weights).sum())
        return sums, metrics

    def embeddings(self, t3: nn.Module, batch: Batch) -> mx.array:
        """The packed rows' embeddings, (B, T, C)."""
        cond = _conditioning(t3, batch)
        text = t3.text_emb(batch["text"]) * batch["text_heard"].astype(t3.dtype)[:, None, None]
        speech = batch["speech"]
        start = mx.full((speech.shape[0], 1), self.config.start_speech_token, dtype=speech.dtype)
        # One start token; the Llama's rows take it twice.
        speech = t3.embed_speech(mx.concatenate([start, speech], axis=1), 0)
        if not self.config.is_gpt2:
            text = text + t3.text_pos_emb(0, text.shape[1])
        pool = mx.concatenate([cond, text, speech], axis=1)
        packed = pool.reshape(-1, pool.shape[-1])[batch["take"].reshape(-1)]
        return packed.reshape(*batch["take"].shape, -1)


def _hidden_states(t3: nn.Module, embeddings: mx.array) -> mx.array:
    """As `T3.hidden_states`, but nothing is remembered: what a layer hands to the outside would
    keep a checkpointed layer's activations, and it alone has gradients here."""
    rows, length, _ = embeddings.shape

    def remember(keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        return keys, values

    memory = [remember] * t3.config.num_hidden_layers
    start = mx.zeros((rows,), dtype=mx.int32)
    return t3.tfmr.model(embeddings, start, causal_bias(0, length, embeddings.dtype), memory)


def _conditioning(t3: nn.Module, batch: Batch) -> mx.array:
    """(B, L, C): what `T3CondEnc` makes of a batch whose prompts differ in length."""
    speaker, emotion = batch["speaker"].astype(t3.dtype), batch["emotion"].astype(t3.dtype)
    if batch["prompt"].shape[1] == 0:
        return t3.cond_enc(speaker, None, emotion)
    prompt = t3.embed_speech(batch["prompt"], 0)
    hidden = padding_bias(batch["prompt_mask"], t3.dtype)
    return t3.cond_enc(speaker, prompt, emotion, hidden)


def _scored(indices: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """The places of a part that are scored, of all rows in one: (n,) each, padded.

    Logits are as wide as the vocabulary; for padding between the rows they would be for nothing.
    """
    scored = indices[f"{part}_weights"] > 0
    length = bucket(scored.sum())
    names = (f"{part}_at", f"{part}_labels", f"{part}_weights")
    return {name: padded([indices[name][scored]], length)[0] for name in names}


class _Rows:
    """Where everything stands: in the pool of padded parts, in the packed rows, in the losses."""

    def __init__(
        self,
        config: T3Config,
        prompts: list[int],
        texts: list[np.ndarray],
        speech: list[np.ndarray],
        heard: list[bool],
    ):
        self.config, self.prompts, self.texts, self.speech = config, prompts, texts, speech
        self.heard = heard
        # No table of positions is longer than what follows `min`.
        longest = max(prompts)
        self.prompt_length = min(bucket(longest), config.speech_cond_prompt_len) if longest else 0
        self.text_length = self._bucket(texts, config.max_text_tokens + 2)
        self.speech_length = self._bucket(speech, config.max_speech_tokens)
        self.cond_length = 1 + self.prompt_length
        if not config.is_gpt2:
            self.cond_length = (config.perceiver_queries if self.prompt_length else 0) + 2

    @staticmethod
    def _bucket(tokens: list[np.ndarray], most: int) -> int:
        longest = max(len(row) for row in tokens)
        return max(longest, min(bucket(longest), most))

    def indices(self) -> dict[str, np.ndarray]:
        """Indices into the flattened pool ("take") and packed rows ("*_at"); labels; weights."""
        starts = 1 if self.config.is_gpt2 else 2
        conds = [self._cond(prompt) for prompt in self.prompts]
        rows = [
            len(cond) + len(text) + starts + len(spoken)
            for cond, text, spoken in zip(conds, self.texts, self.speech, strict=True)
        ]
        # A label more than tokens: the stop token.
        shapes = {"text": self.text_length, "speech": self.speech_length + 1}
        packed_length, batch = bucket(max(rows)), len(rows)
        if self.config.is_gpt2:
            packed_length = min(packed_length, self.config.max_position_embeddings)
        pool_length = self.cond_length + self.text_length + 1 + self.speech_length
        out = {"take": np.zeros((batch, packed_length), dtype=np.int32)}
        for part, length in shapes.items():
            out[f"{part}_at"] = np.zeros((batch, length), dtype=np.int32)
            out[f"{part}_labels"] = np.zeros((batch, length), dtype=np.int32)
            out[f"{part}_weights"] = np.zeros((batch, length), dtype=np.float32)
        for b, cond in enumerate(conds):
            text, speech = self.texts[b], self.speech[b]
            first_speech = self.cond_length + self.text_length
            take = np.concatenate(
                [
                    cond,
                    self.cond_length + np.arange(len(text)),
                    np.full(starts, first_speech),
                    first_speech + 1 + np.arange(len(speech)),
                ]
            )
            out["take"][b, : len(take)] = take
            out["take"][b] += b * pool_length
            behind = len(cond) + len(text) + starts - 1
            self._predict(out, "text", b, packed_length, len(cond), text[1:], self.heard[b])
            labels = np.append(speech, self.config.stop_speech_token)
            self._predict(out, "speech", b, packed_length, behind, labels, True)
        return out

    def _cond(self, prompt: int) -> np.ndarray:
        """A row's places in the conditioning: GPT-2 pads the prompt, the Llama resamples it."""
        if self.config.is_gpt2:
            return np.arange(1 + prompt)
        if prompt:
            return np.arange(self.cond_length)
        return np.array([0, self.cond_length - 1])

    @staticmethod
    def _predict(
        out: dict, part: str, b: int, packed_length: int, start: int, labels: np.ndarray, on: bool
    ) -> None:
        """Position `start` of row `b` predicts the first label, and so on."""
        n = len(labels)
        out[f"{part}_at"][b, :n] = b * packed_length + start + np.arange(n)
        out[f"{part}_labels"][b, :n] = labels
        out[f"{part}_weights"][b, :n] = float(on)
