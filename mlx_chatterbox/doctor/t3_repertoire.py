"""T3's requests for proofs of batch invariance."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np

from ..models.t3.requests import RowRequest
from ..models.t3.sampling import SamplingSettings
from ..models.t3.t3 import T3
from .repertoire import ONE_FAILS, Repertoire, drawn_sizes

VOICES = 4


class T3Repertoire(Repertoire):
    """Sentences in several voices, with and without guidance; in some the voice is NaN.

    Args:
        count: number of requests.
        seed: of all requests.
        mode, width, tolerance: see `Repertoire`.
        has_long: some requests go beyond 512 slots.
    """

    def __init__(
        self,
        t3: T3,
        count: int = 24,
        seed: int = 0,
        mode: str = "invariant",
        width: int = 16,
        has_long: bool = True,
        tolerance: float = 0.0,
    ):
        super().__init__(t3, mode, width, tolerance)
        self._t3 = t3
        draw = np.random.default_rng([seed, 1])
        self._voices = [_drawn_voice(t3, draw) for _ in range(VOICES)]
        self._prefixes = [t3.conditioning_cache(voice) for voice in self._voices]
        self._nothing = mx.full(self._voices[0].shape, np.nan, self._voices[0].dtype)
        mx.eval(self._voices, self._nothing)
        mx.eval([[*prefix.keys, *prefix.values] for prefix in self._prefixes])
        self._picked = [int(draw.integers(VOICES)) for _ in range(count)]
        self.requests = [self._drawn_request(number, draw, has_long) for number in range(count)]

    def request(self, number: int, by_prefix: bool = False, **callbacks) -> RowRequest:
        """See `Repertoire.request`."""
        request = self.requests[number]
        if by_prefix and request.conditioning is not self._nothing:
            request = replace(request, conditioning=self._prefixes[self._picked[number]])
        return replace(request, **callbacks)

    def prompt(self, number: int) -> int:
        request, config = self.requests[number], self._t3.config
        starts = 1 if config.is_gpt2 else 2
        return self._voices[0].shape[1] + request.text_tokens.shape[0] + starts

    def _drawn_request(self, number: int, draw: np.random.Generator, has_long: bool) -> RowRequest:
        config, voice = self._t3.config, self._voices[self._picked[number]]
        limit, length = drawn_sizes(number, draw, has_long, voice.shape[1])
        tokens = draw.integers(1, config.text_tokens_dict_size - 1, length)
        return RowRequest(
            text_tokens=mx.array(tokens.astype(np.int32)),
            conditioning=self._nothing if number % ONE_FAILS == ONE_FAILS - 1 else voice,
            sampling=_drawn_settings(config.is_gpt2, draw),
            cfg_weight=float(draw.choice([0.0, 0.3, 0.5, 1.0])),
            max_new_tokens=limit,
            key=mx.random.key(int(draw.integers(2**31))),
        )


def _drawn_voice(t3: T3, draw: np.random.Generator) -> mx.array:
    """Embed a voice; all prompts of a network are equally long."""
    config = t3.config
    speaker = draw.standard_normal((1, config.speaker_embed_size)).astype(np.float32)
    prompt = None
    if config.hears_prompt:
        prompt = mx.array(draw.integers(0, 6561, (1, config.speech_cond_prompt_len)))
    return t3.embed_conditioning(mx.array(speaker), prompt, float(draw.uniform()))


def _drawn_settings(is_gpt2: bool, draw: np.random.Generator) -> SamplingSettings:
    return SamplingSettings(
        temperature=float(draw.choice([0.0, 0.3, 0.8, 1.0, 2.0])),
        repetition_penalty=float(draw.choice([1.0, 1.2, 2.0])),
        min_p=0.0 if is_gpt2 else float(draw.choice([0.0, 0.05, 0.2])),
        top_p=float(draw.choice([1.0, 1.0, 0.95, 0.5])),
        top_k=int(draw.choice([0, 0, 1, 40, 1000])),
        order="penalty_last" if is_gpt2 else "penalty_first",
    )
