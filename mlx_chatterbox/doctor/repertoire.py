"""Requests for proofs of batch invariance, and what each of them gives alone.

A schedule (`schedules.py`) lets some of a repertoire's requests share an engine. What each gives
alone is computed once, in an engine of the same mode and width that has nothing else to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from ..models.decoder.cache import CAPACITY_STEP
from ..models.decoder.engine import DecodingEngine
from ..models.t3.requests import RowRequest
from ..models.t3.sampling import SamplingSettings
from ..models.t3.t3 import T3

VOICES = 4
# One request in so many has a voice of NaN: it fails, and must not disturb the others.
_ONE_FAILS = 9
# One request in so many passes the end of the slots that are allocated at first; one in so many
# those of twice as many.
_ONE_GROWS, _ONE_IS_LONG = 3, 12
_MOST_TOKENS = 64


@dataclass(frozen=True)
class AloneRun:
    """One request's results in an engine of its own.

    Attributes:
        end: the row's, e.g. "limit".
        logits: for each draw (V,) float32.
    """

    tokens: list[int]
    end: str
    logits: list[np.ndarray]


class Repertoire:
    """Requests of a network: several voices, settings, lengths, with and without guidance.

    Args:
        count: number of requests.
        seed: of all requests.
        mode, width: of every engine, see `DecodingEngine`.
        has_long: some requests go beyond 512 slots.
        tolerance: largest difference of logits; 0 means to the bit, and mode `fast` needs more.
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
        self.tolerance = tolerance
        self._t3, self._mode, self._width = t3, mode, width
        draw = np.random.default_rng([seed, 1])
        self._voices = [_drawn_voice(t3, draw) for _ in range(VOICES)]
        self._prefixes = [t3.conditioning_cache(voice) for voice in self._voices]
        self._nothing = mx.full(self._voices[0].shape, np.nan, self._voices[0].dtype)
        mx.eval(self._voices, self._nothing)
        mx.eval([[*prefix.keys, *prefix.values] for prefix in self._prefixes])
        self._picked = [int(draw.integers(VOICES)) for _ in range(count)]
        self.requests = [self._drawn_request(number, draw, has_long) for number in range(count)]
        self._alone: dict[tuple[int, bool], AloneRun] = {}

    def engine(
        self, rows: int, positions: int | None = None, prefills: int | None = 1
    ) -> DecodingEngine:
        """Make an engine with these limits."""
        return DecodingEngine(
            self._t3, rows=rows, positions=positions, mode=self._mode, width=self._width,
            prefills=prefills,
        )  # fmt: skip

    def request(self, number: int, by_prefix: bool = False, **callbacks) -> RowRequest:
        """Return a request with callbacks.

        Args:
            by_prefix: its voice is a prefix that was computed before, not an embedding.
        """
        request = self.requests[number]
        if by_prefix and request.conditioning is not self._nothing:
            request = replace(request, conditioning=self._prefixes[self._picked[number]])
        return replace(request, **callbacks)

    def prompt(self, number: int) -> int:
        """Positions before a request's first speech token that is drawn."""
        request, config = self.requests[number], self._t3.config
        starts = 1 if config.is_gpt2 else 2
        return self._voices[0].shape[1] + request.text_tokens.shape[0] + starts

    def slots(self, number: int, tokens: int = 0) -> int:
        """Slots that a request has allocated at least when so many of its tokens are written."""
        request = self.requests[number]
        rows = 2 if request.cfg_weight > 0 and not self._t3.config.is_gpt2 else 1
        return rows * CAPACITY_STEP * -(-(self.prompt(number) + tokens) // CAPACITY_STEP)

    def most_slots(self, number: int) -> int:
        """Slots that a request has allocated at most."""
        return self.slots(number, self.requests[number].max_new_tokens + 1)

    def alone(self, number: int, by_prefix: bool = False) -> AloneRun:
        """Return what a request gives by itself.

        Args:
            by_prefix: see `request`. A prefix that was computed elsewhere may be rounded otherwise.
        """
        asked = number, by_prefix
        if asked not in self._alone:
            logits: list[np.ndarray] = []

            def keep(index: int, row: np.ndarray) -> None:
                assert index == len(logits), f"logits {index} come after {len(logits) - 1}"
                logits.append(np.array(row, np.float32))

            engine = self.engine(rows=1)
            row = engine.join(self.request(number, by_prefix, on_logits=keep))
            engine.run_until_idle()
            self._alone[asked] = AloneRun(list(row.tokens), row.end, logits)
        return self._alone[asked]

    def _drawn_request(self, number: int, draw: np.random.Generator, has_long: bool) -> RowRequest:
        config, voice = self._t3.config, self._voices[self._picked[number]]
        limit = int(draw.integers(1, _MOST_TOKENS))
        length = int(draw.integers(1, 24))
        if number % _ONE_GROWS == 1:
            # It begins a little before the end of the slots that are allocated.
            is_long = has_long and number % _ONE_IS_LONG == 1
            limit = int(draw.integers(_MOST_TOKENS // 3, _MOST_TOKENS))
            length = CAPACITY_STEP * (1 + is_long) - voice.shape[1] - int(draw.integers(4, 16))
        tokens = draw.integers(1, config.text_tokens_dict_size - 1, length)
        return RowRequest(
            text_tokens=mx.array(tokens.astype(np.int32)),
            conditioning=self._nothing if number % _ONE_FAILS == _ONE_FAILS - 1 else voice,
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
