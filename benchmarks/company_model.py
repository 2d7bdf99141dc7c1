"""A model whose rows never end, with voices, texts and speech tokens, for `benchmarks.company`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx
import numpy as np

from mlx_chatterbox.doctor.made_up import NEVER, configuration, fill, networks_of
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.models.decoder.rows import Row
from mlx_chatterbox.models.s3gen.s3gen import S3GenConditionals
from mlx_chatterbox.models.t3.requests import RowRequest
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.weights.checkpoint import Chatterbox, load
from mlx_chatterbox.weights.variants import VARIANTS

from .errors import BenchmarkError
from .inputs import NEW_TOKENS, REFERENCE_SECONDS, TEXT_TOKENS

VOICES = 4
# Tokens by which sentences of about one length differ.
_SHORTER = 3
# Far more than are timed.
_LIMIT = 600


def open_networks(model: str, precision: str) -> tuple[Chatterbox, ModelConfig]:
    """Networks in a precision, their weights in memory.

    Args:
        model: a variant, at full size with random weights; "pocket" or a converted folder, with
            their own.

    Raises:
        BenchmarkError: few bits of weights that are not made up.
        CheckpointError: no such model.
    """
    if model in VARIANTS and model != "pocket":
        networks, config = networks_of(model, precision), configuration(model, precision)
        fill(networks.t3, precision)
        fill(networks.s3gen, precision)
        return networks, config
    if precision.endswith("bit"):
        raise BenchmarkError(
            f"--precision {precision} is of made-up weights: name one of "
            f"{', '.join(name for name in VARIANTS if name != 'pocket')}, or a folder that was "
            "converted to it, without --precision."
        )
    if model != "pocket" and not Path(model).is_dir():
        names = ", ".join(VARIANTS)
        raise BenchmarkError(f"{model}: neither a folder nor one of {names}.")
    checkpoint = load(model, precision)
    mx.eval(checkpoint.networks.parameters())
    return checkpoint.networks, checkpoint.config


class CompanyModel:
    """A T3 that never stops, several voices, and sentences for both networks.

    Attributes:
        s3gen: the other network.
        config: the model's.
        conditionings: T3's of `VOICES` voices.
        references: S3Gen's of the same.
    """

    def __init__(self, networks: Chatterbox, config: ModelConfig):
        self.t3, self.s3gen, self.config = networks.t3, networks.s3gen, config
        self.t3.config = dataclasses.replace(self.t3.config, stop_speech_token=NEVER)
        self._draw = np.random.default_rng(0)
        self.conditionings = [self._conditioning() for _ in range(VOICES)]
        self.references = [self._reference() for _ in range(VOICES)]
        settings = config.generation
        self._sampling = SamplingSettings(
            settings.temperature, settings.repetition_penalty, settings.min_p, settings.top_p,
            settings.top_k, settings.sampler_order,
        )  # fmt: skip

    def _numbers(self, most: int, count: int) -> mx.array:
        return mx.array(self._draw.integers(1, most, count), dtype=mx.int32)

    def _normal(self, *shape: int) -> mx.array:
        return mx.array(self._draw.standard_normal(shape).astype(np.float32))

    def _conditioning(self):
        sizes, prompt = self.t3.config, None
        if sizes.hears_prompt:
            prompt = self._numbers(self.config.s3gen.vocab_size, sizes.speech_cond_prompt_len)[None]
        speaker = self._normal(1, sizes.speaker_embed_size) / 16
        past = self.t3.conditioning_cache(self.t3.embed_conditioning(speaker, prompt, 0.5))
        mx.eval(past.keys, past.values)
        return past

    def _reference(self) -> S3GenConditionals:
        sizes, tokens = self.config.s3gen, 25 * REFERENCE_SECONDS
        return S3GenConditionals(
            self._numbers(sizes.vocab_size, tokens)[None],
            self._normal(1, sizes.token_mel_ratio * tokens, sizes.mel_bins),
            self._normal(1, sizes.speaker_embed_dim),
        )

    @property
    def rows_of_sentence(self) -> int:
        """Product rows of a sentence: two with guidance."""
        return 2 if self.request(0, 1).weight(self.t3) > 0 else 1

    def request(self, number: int, voices: int) -> RowRequest:
        """A sentence that goes on for as long as it is timed.

        Args:
            voices: that sentences take in turn.
        """
        draw = np.random.default_rng(100 + number)
        words = draw.integers(1, min(90, self.t3.config.text_tokens_dict_size), TEXT_TOKENS)
        return RowRequest(
            mx.array(words, dtype=mx.int32),
            self.conditionings[number % voices],
            self._sampling,
            self.config.generation.cfg_weight,
            min(_LIMIT, self.t3.config.max_speech_tokens),
            mx.random.key(number),
        )

    def engine(self, sentences: int, voices: int = 1, mode: str = "fast") -> DecodingEngine:
        """An engine in which so many sentences run, each with two tokens or more."""
        engine = DecodingEngine(self.t3, rows=max(sentences, 1), mode=mode, prefills=None)
        for number in range(sentences):
            engine.join(self.request(number, voices))
        for _ in range(3):
            engine.step()
        check_running(engine, sentences)
        return engine

    def sentences(self, count: int) -> tuple[list[mx.array], list[S3GenConditionals]]:
        """Speech tokens of sentences of about one length, and the voices that speak them."""
        tokens = [
            self._numbers(self.config.s3gen.vocab_size, NEW_TOKENS - _SHORTER * (i % 8))
            for i in range(count)
        ]
        references = [self.references[i % VOICES] for i in range(count)]
        mx.eval(tokens, [vars(one) for one in references])
        return tokens, references


def check_running(engine: DecodingEngine, sentences: int) -> None:
    """Raise BenchmarkError unless so many sentences run in an engine."""
    running = engine.running
    if len(running) != sentences:
        raise BenchmarkError(f"T3 ended in {sentences - len(running)} of {sentences} sentences.")


def check_rows(rows: Sequence[Row]) -> None:
    """Raise BenchmarkError if a row has failed."""
    for row in rows:
        if row.error is not None:
            raise BenchmarkError(f"a sentence failed: {row.error}")
