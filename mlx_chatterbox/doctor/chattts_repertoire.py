"""ChatTTS's requests for proofs of batch invariance."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from ..models.chattts.networks import ChatTTSNetworks
from ..models.chattts.requests import CodeRow, TextRow
from ..models.chattts.sampling import ChatTTSSampling
from .repertoire import ONE_FAILS, Repertoire, drawn_sizes

_SPEAKERS = 4
_MOST_PROMPT = 40


class ChatTTSRepertoire(Repertoire):
    """Texts to be refined and to be spoken, by several speakers, with and without audio prompts.

    In some the speaker is NaN.

    Args:
        count: number of requests.
        seed: of all requests.
        mode, width, tolerance: see `Repertoire`.
        has_long: some requests go beyond 512 slots.
    """

    def __init__(
        self,
        networks: ChatTTSNetworks,
        count: int = 24,
        seed: int = 0,
        mode: str = "invariant",
        width: int = 16,
        has_long: bool = True,
        tolerance: float = 0.0,
    ):
        super().__init__(None, mode, width, tolerance)
        self._networks = networks
        draw = np.random.default_rng([seed, 3])
        width_of_speaker = networks.gpt.config.hidden_size
        voices = draw.standard_normal((_SPEAKERS, width_of_speaker)).astype(np.float32)
        self._speakers = voices / np.linalg.norm(voices, axis=1, keepdims=True)
        self.requests = [self._drawn_request(number, draw, has_long) for number in range(count)]

    def prompt(self, number: int) -> int:
        return self.requests[number].prompt_slots

    def _drawn_request(
        self, number: int, draw: np.random.Generator, has_long: bool
    ) -> TextRow | CodeRow:
        config = self._networks.gpt.config
        # Of its own: the number of draws must not depend on the kind.
        kind, fails = draw.uniform(), number % ONE_FAILS == ONE_FAILS - 1
        columns = int(draw.integers(0, _MOST_PROMPT))
        limit, length = drawn_sizes(number, draw, has_long, columns)
        text = draw.integers(1, config.stop_text_token, length).astype(np.int32)
        key, settings = mx.random.key(int(draw.integers(2**31))), _drawn_settings(draw)
        if kind < 1 / 3 and not fails:
            whole = np.concatenate([text, text[:1].repeat(columns)])
            return TextRow(self._networks, whole, settings, limit, key)
        codes = draw.integers(0, config.stop_code, (columns, config.num_vq)).astype(np.int32)
        text[0] = config.speaker_token
        ids = np.concatenate([text[:, None].repeat(config.num_vq, axis=1), codes])
        is_text = np.arange(len(ids)) < length
        speaker = self._speakers[int(draw.integers(_SPEAKERS))]
        if fails:
            speaker = np.full_like(speaker, np.nan)
        elif draw.uniform() < 0.2:
            speaker = None
        if draw.uniform() < 0.5:
            temperatures = tuple(float(one) for one in draw.choice([0.0, 0.3, 0.7, 1.0], 4))
            settings = ChatTTSSampling(
                temperatures, settings.top_p, settings.top_k, settings.repetition_penalty,
                settings.min_new_tokens,
            )  # fmt: skip
        return CodeRow(self._networks, ids, is_text, speaker, settings, limit, key)


def _drawn_settings(draw: np.random.Generator) -> ChatTTSSampling:
    return ChatTTSSampling(
        temperature=float(draw.choice([0.0, 0.3, 0.7, 1.0])),
        top_p=[None, 0.7, 0.95][int(draw.integers(3))],
        top_k=[None, 20, 100][int(draw.integers(3))],
        repetition_penalty=float(draw.choice([1.0, 1.05, 1.5])),
        min_new_tokens=int(draw.choice([0, 0, 5, 30])),
    )
