"""Training of T3: cross-entropy of the next text token and of the next speech token.

A row is packed as in inference, with nothing between its parts and padding at the right end only:

- Llama: [speaker, prompt, emotion | text with start and stop | start, start, speech ...]. The
  second start token predicts the first speech token, the last speech token the stop token; the
  first start predicts nothing, as inference does not use its prediction either.
- GPT-2: [speaker, prompt | text | start, speech ...].

Tokens that are the prompt as well (`prompt_span`, where a speaker has only one clip) have no loss:
T3 would only learn to copy them.

Upstream's own `T3.loss` compares each position with its own token instead of the next one, and so
is not what its weights were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...checks.tensors import check_tokens
from ...errors import DataError, SettingError
from ...models.decoder.cache import causal_mask
from ...models.t3.config import T3Config
from ...nn.attention import attend, padding_bias
from .base import (
    Batch,
    MetricSums,
    Sample,
    Sums,
    Task,
    Totals,
    bucket,
    generator,
    keys_of,
    length_mask,
    padded,
    phones_of,
    reference_feature,
    total,
)

DEFAULT_EMOTION = 0.5
_TEXT_DROPOUT, _TOKEN_NOISE = 1, 2
# Phone labels of a token: the phone in its second half, and the next different phone.
_PHONE_LABELS = 2


class PhoneHeads(nn.Module):
    """Phone logits from T3's last hidden states, in training alone: (B, n, C) to (B, n, 2, P)."""

    def __init__(self, width: int, phones: int):
        super().__init__()
        self.phones = phones
        self.heads = nn.Linear(width, _PHONE_LABELS * phones)

    def __call__(self, hidden: mx.array) -> mx.array:
        return self.heads(hidden).reshape(*hidden.shape[:-1], _PHONE_LABELS, self.phones)


class T3Task(Task):
    """Next-token losses of the text ("text") and of the speech ("speech").

    With phone labels (a sample's "phones", two a token) a discarded head also predicts the phone of
    the next token and the phone that follows it ("phones"): from random weights, T3 then learns to
    keep its place in the text in a tenth of the time.

    Args:
        config: T3's.
        text_dropout: share of samples whose text embeddings are zeroed, as in the row without text
            that classifier-free guidance adds in inference: positions stay, and the text loss of
            such a row is off. For GPT-2, which is never guided, it is 0.
        prompt_tokens: upper limit of the prompt's speech tokens; 75 tokens are 3 s.
        max_text_len, max_speech_len: in tokens; longer samples are refused.
        token_noise: share of the input speech tokens that are replaced at random, while the labels
            stay, so that T3 relies on the text more than on its own previous tokens.
        phones: number of phone labels; 0: samples have no labels.
        weights: of "text", "speech" and "phones".

    Raises:
        SettingError: T3 decodes masked blocks (Flash).
    """

    name = "t3"
    features = frozenset({"text_tokens", "speech_tokens", "speaker_embedding"})
    prompt_features = frozenset({"speech_tokens", "speaker_embedding"})
    parts: tuple[str, ...] = ("text", "speech")
    metrics = ("text_accuracy", "speech_accuracy")

    def __init__(
        self,
        config: T3Config,
        text_dropout: float = 0.1,
        prompt_tokens: int | None = None,
        max_text_len: int | None = None,
        max_speech_len: int | None = None,
        token_noise: float = 0.0,
        phones: int = 0,
        weights: dict[str, float] | None = None,
    ):
        if config.has_mask:
            raise SettingError(
                "Flash's T3 is trained to fill in blocks of masked tokens, in a way that upstream "
                "has not published, so it cannot be fine-tuned: take another base_model "
                "(chatterbox, turbo), or add t3 to freeze_components."
            )
        if phones:
            self.parts = (*self.parts, "phones")
            self.features = self.features | {"phones"}
        super().__init__(weights)
        self.token_noise = token_noise
        self._heads = PhoneHeads(config.hidden_size, phones) if phones else None
        self.config = config
        self.text_dropout = 0.0 if config.is_gpt2 else text_dropout
        most = config.speech_cond_prompt_len
        self.prompt_tokens = most if prompt_tokens is None else min(prompt_tokens, most)
        # Of the positions one is the first speech token's, after the start token.
        room = config.max_speech_tokens if max_speech_len is None else max_speech_len
        self.max_speech_len = min(room, config.max_speech_tokens)
        room = config.max_text_tokens + 2 if max_text_len is None else max_text_len
        self.max_text_len = min(room, config.max_text_tokens + 2)

    def extra_module(self, networks: nn.Module) -> nn.Module | None:
        return self._heads

    def for_evaluation(self) -> T3Task:
        twin = super().for_evaluation()
        twin.token_noise = 0.0
        return twin

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        texts = [np.asarray(sample["text_tokens"], dtype=np.int32) for sample in samples]
        speech = [np.asarray(sample["speech_tokens"], dtype=np.int32) for sample in samples]
        for sample, text, spoken in zip(samples, texts, speech, strict=True):
            self._check_tokens(sample, text, spoken)
        prompts = [self._prompt(sample) for sample in samples]
        has_text = [
            generator(sample["key"], _TEXT_DROPOUT).random() >= self.text_dropout
            for sample in samples
        ]
        emotions = [float(sample.get("emotion", DEFAULT_EMOTION)) for sample in samples]
        spans = [np.asarray(sample.get("prompt_span", (0, 0))) for sample in samples]
        rows = _PackedRows(self.config, [len(a) for a in prompts], texts, speech, has_text)
        indices = rows.indices()
        for weights, (start, stop) in zip(indices["speech_weights"], spans, strict=True):
            weights[start:stop] = 0.0
        if self._heads is not None:
            indices |= _phone_labels(samples, speech, indices, self._heads.phones)
        for part in ("text", "speech"):
            indices |= _with_loss(indices, part)
        inputs = [self._with_noise(s, spoken) for s, spoken in zip(samples, speech, strict=True)]
        return {
            "keys": keys_of(samples),
            "speaker": mx.array(
                np.stack(
                    [reference_feature(s, "speaker_embedding").reshape(-1) for s in samples]
                ).astype(np.float32)
            ),
            "prompt": mx.array(padded(prompts, rows.prompt_length, np.int32)),
            "prompt_mask": mx.array(length_mask([len(a) for a in prompts], rows.prompt_length)),
            "emotion": mx.array(np.array(emotions, dtype=np.float32).reshape(-1, 1, 1)),
            "text": mx.array(padded(texts, rows.text_length, np.int32)),
            "text_kept": mx.array(np.array(has_text, dtype=np.float32)),
            "speech": mx.array(padded(inputs, rows.speech_length, np.int32)),
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
                raise DataError(f"{name} has {kind} tokens outside the vocabulary of {vocabulary}.")
        if config.is_gpt2:
            positions = 2 + self.prompt_tokens + len(text) + len(speech)
            if positions > config.max_position_embeddings:
                raise DataError(
                    f"{name} needs {positions} positions, more than T3's "
                    f"{config.max_position_embeddings}."
                )

    def _with_noise(self, sample: Sample, speech: np.ndarray) -> np.ndarray:
        """Replace a share of `token_noise` of the speech tokens at random."""
        if not self.token_noise:
            return speech
        rng = generator(sample["key"], _TOKEN_NOISE)
        others = rng.integers(self.config.start_speech_token, size=len(speech))
        return np.where(rng.random(len(speech)) < self.token_noise, others, speech)

    def _prompt(self, sample: Sample) -> np.ndarray:
        prompt = (sample.get("prompt") or {}).get("speech_tokens", ())
        prompt = np.asarray(prompt, dtype=np.int32)[: self.prompt_tokens]
        name = f"the prompt of {sample.get('id', 'a sample')}"
        check_tokens(prompt, self.config.speech_tokens_dict_size, name, DataError)
        return prompt

    def counts(self, batch: Batch) -> Totals:
        return {part: total(batch[f"{part}_weights"]) for part in self.parts}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[Sums, MetricSums]:
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
        if self._heads is not None:
            logits = self._heads(hidden[batch["speech_at"]]).astype(mx.float32)
            entropy = nn.losses.cross_entropy(logits, batch["phones_labels"]).mean(axis=-1)
            sums["phones"] = (entropy * batch["phones_weights"]).sum()
        return sums, metrics

    def embeddings(self, t3: nn.Module, batch: Batch) -> mx.array:
        """Return the packed rows' embeddings, (B, T, C)."""
        cond = _conditioning(t3, batch)
        text = t3.text_emb(batch["text"]) * batch["text_kept"].astype(t3.dtype)[:, None, None]
        speech = batch["speech"]
        start = mx.full((speech.shape[0], 1), self.config.start_speech_token, dtype=speech.dtype)
        # Embedded once; the Llama's rows contain it twice.
        speech = t3.embed_speech(mx.concatenate([start, speech], axis=1), 0)
        if not self.config.is_gpt2:
            text = text + t3.text_pos_emb(0, text.shape[1])
        pool = mx.concatenate([cond, text, speech], axis=1)
        packed = pool.reshape(-1, pool.shape[-1])[batch["take"].reshape(-1)]
        return packed.reshape(*batch["take"].shape, -1)


def _phone_labels(
    samples: Sequence[Sample],
    speech: Sequence[np.ndarray],
    indices: dict[str, np.ndarray],
    kinds: int,
) -> dict[str, np.ndarray]:
    """Return phone labels (B, S, 2) and weights (B, S); the weight of the stop token's is 0."""
    weights = indices["speech_weights"].copy()
    labels = np.zeros((*weights.shape, _PHONE_LABELS), dtype=np.int32)
    for b, (sample, spoken) in enumerate(zip(samples, speech, strict=True)):
        phones, count = phones_of(sample, kinds), len(spoken)
        if len(phones) != 2 * count:
            raise DataError(f"{sample.get('id', 'a sample')} needs two phones a speech token.")
        weights[b, count:] = 0.0
        # The index where the next phone begins; the last phone is followed by itself.
        changes = np.flatnonzero(np.diff(phones)) + 1
        after = np.searchsorted(changes, np.arange(2 * count), side="right")
        following = phones[np.append(changes, 2 * count - 1)[after]]
        labels[b, :count] = np.stack([phones[1::2], following[1::2]], axis=-1)
    return {"phones_labels": labels, "phones_weights": weights}


def _hidden_states(t3: nn.Module, embeddings: mx.array) -> mx.array:
    """Return the last hidden states as `T3.hidden_states` does, without a cache.

    Keys and values that leave a layer would keep the activations of one with gradient
    checkpointing.
    """
    rows, length, _ = embeddings.shape

    no_cache = partial(attend, bias=causal_mask(0, length, embeddings.dtype))
    start = mx.zeros((rows,), dtype=mx.int32)
    return t3.tfmr.model(embeddings, start, [no_cache] * t3.config.num_hidden_layers)


def _conditioning(t3: nn.Module, batch: Batch) -> mx.array:
    """Embed the conditioning of a batch whose prompts differ in length, (B, L, C)."""
    speaker, emotion = batch["speaker"].astype(t3.dtype), batch["emotion"].astype(t3.dtype)
    if batch["prompt"].shape[1] == 0:
        return t3.cond_enc(speaker, None, emotion)
    prompt = t3.embed_speech(batch["prompt"], 0)
    hidden = padding_bias(batch["prompt_mask"], t3.dtype)
    return t3.cond_enc(speaker, prompt, emotion, hidden)


def _with_loss(indices: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """Select the positions of a part that have a loss, of all rows in one: (n,) each, padded.

    Logits are as wide as the vocabulary; those of padding between the rows would be wasted.
    """
    selected = indices[f"{part}_weights"] > 0
    length = bucket(selected.sum())
    names = [f"{part}_at", f"{part}_labels", f"{part}_weights"]
    # Phone labels go with the speech labels.
    names += [name for name in indices if part == "speech" and name.startswith("phones_")]
    return {name: padded([indices[name][selected]], length)[0] for name in names}


class _PackedRows:
    """The layout of packed rows: where each part is in the pool of parts, the rows, the losses."""

    def __init__(
        self,
        config: T3Config,
        prompts: list[int],
        texts: list[np.ndarray],
        speech: list[np.ndarray],
        has_text: list[bool],
    ):
        self.config, self.prompts, self.texts, self.speech = config, prompts, texts, speech
        self.has_text = has_text
        # Tables of positions are no longer than the second argument of `min`.
        longest = max(prompts)
        self.prompt_length = min(bucket(longest), config.speech_cond_prompt_len) if longest else 0
        self.text_length = self._bucket(texts, config.max_text_tokens + 2)
        self.speech_length = self._bucket(speech, config.max_speech_tokens)
        self.cond_length = 1 + self.prompt_length
        if not config.is_gpt2:
            self.cond_length = (config.perceiver_queries if self.prompt_length else 0) + 2

    @staticmethod
    def _bucket(tokens: list[np.ndarray], limit: int) -> int:
        longest = max(len(row) for row in tokens)
        return max(longest, min(bucket(longest), limit))

    def indices(self) -> dict[str, np.ndarray]:
        """Return indices into the pool ("take") and the packed rows ("*_at"), labels, weights."""
        starts = 1 if self.config.is_gpt2 else 2
        conds = [self._cond(prompt) for prompt in self.prompts]
        rows = [
            len(cond) + len(text) + starts + len(spoken)
            for cond, text, spoken in zip(conds, self.texts, self.speech, strict=True)
        ]
        # One label more than there are tokens: the stop token.
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
            after = len(cond) + len(text) + starts - 1
            self._predict(out, "text", b, packed_length, len(cond), text[1:], self.has_text[b])
            labels = np.append(speech, self.config.stop_speech_token)
            self._predict(out, "speech", b, packed_length, after, labels, True)
        return out

    def _cond(self, prompt: int) -> np.ndarray:
        """Return a row's positions in the conditioning; a Llama's prompt is resampled."""
        if self.config.is_gpt2:
            return np.arange(1 + prompt)
        if prompt:
            return np.arange(self.cond_length)
        return np.array([0, self.cond_length - 1])

    @staticmethod
    def _predict(
        out: dict, part: str, b: int, packed_length: int, start: int, labels: np.ndarray, on: bool
    ) -> None:
        """Let row `b` predict the labels from `start` on; their weights are 1 if `on`, else 0."""
        n = len(labels)
        out[f"{part}_at"][b, :n] = b * packed_length + start + np.arange(n)
        out[f"{part}_labels"][b, :n] = labels
        out[f"{part}_weights"][b, :n] = float(on)
