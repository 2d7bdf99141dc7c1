"""Decode text to speech tokens with T3 and vocode those with S3Gen, several together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from ..models.config import SILENCE_TOKEN, ModelConfig
from ..models.t3.cache import KVCache
from ..models.t3.decoding import decode_batch
from ..runtime.memory import clear_device_cache
from ..runtime.parallel import can_run_two, core_lock, run_all
from ..runtime.seeds import token_and_sound_keys
from .monitor import Finding, TokenMonitor
from .request import Request, Utterance
from .tokens import TOKENS_PER_SECOND, DecodedTokens, audible_tokens

# Up to this size T3's weights stay in the cache, and cost nothing to be read by two cores. Larger
# ones are read from memory at each step: then that is what a step takes its time for, and as many
# rows as possible are to share it.
_SMALL_T3 = 32 * 2**20


@dataclass
class Attempt:
    """One attempt at an utterance.

    Attributes:
        waveform: (samples,) float32; None until it is vocoded.
    """

    utterance: Utterance
    seed: int
    decoded: DecodedTokens
    finding: Finding | None = None
    waveform: np.ndarray | None = None

    @property
    def vocoded(self) -> np.ndarray:
        """The waveform of an attempt that is vocoded."""
        assert self.waveform is not None  # by `BatchSynthesizer.vocode`
        return self.waveform


class BatchSynthesizer:
    """Decodes and vocodes utterances of one request, each in its own voice and by its own settings.

    Args:
        networks, config: the model's.
        prefixes: T3's keys and values of each voice, by its id.
    """

    def __init__(
        self, networks, config: ModelConfig, request: Request, prefixes: Mapping[int, KVCache]
    ):
        self._networks, self._config = networks, config
        self._request, self._prefixes = request, prefixes

    def core_groups(self, utterances: Sequence[Utterance]) -> list[list[Utterance]]:
        """Utterances in two groups where each of two cores is to speak one, else in none."""
        if not self._gains_from_groups():
            return []
        # The tokens of a group depend on its texts alone, so that is how they are dealt out.
        by_length = sorted(utterances, key=lambda one: -one.piece.ids.size)
        mx.eval([one.piece.ids for one in utterances], [vars(one.voice) for one in utterances])
        groups = [sorted(by_length[i::2], key=lambda one: one.number) for i in range(2)]
        return [group for group in groups if group]

    def _gains_from_groups(self) -> bool:
        weights = dict(tree_flatten(self._networks.t3.parameters())).values()
        is_small = sum(weight.nbytes for weight in weights) <= _SMALL_T3
        return is_small and not self._request.is_shared and can_run_two()

    def decode_tokens(
        self,
        utterances: Sequence[Utterance],
        seeds: Sequence[int],
        monitors: Sequence[TokenMonitor | None],
    ) -> list[DecodedTokens]:
        """Speech tokens of each; those of one voice and one way to decode are decoded together.

        Args:
            seeds: one for each.
            monitors: one for each, which may end it; None for one that is not judged.
        """
        groups: dict[tuple, list[int]] = {}
        for row, one in enumerate(utterances):
            how = one.settings
            key = (id(one.voice), how.sampling, how.cfg_weight, how.limit.tokens)
            groups.setdefault(key, []).append(row)
        decoded: dict[int, DecodedTokens] = {}
        for rows in groups.values():
            of_group = self._decode_alike(
                [utterances[row] for row in rows],
                [seeds[row] for row in rows],
                [monitors[row] for row in rows],
            )
            decoded.update(zip(rows, of_group, strict=True))
        return [decoded[row] for row in range(len(utterances))]

    def _decode_alike(
        self,
        utterances: Sequence[Utterance],
        seeds: Sequence[int],
        monitors: Sequence[TokenMonitor | None],
    ) -> list[DecodedTokens]:
        """Speech tokens of utterances in one voice and with the same sampling and limit."""
        t3, progress = self._networks.t3, self._request.progress
        settings = utterances[0].settings
        decoded: list[list[int]] = [[] for _ in utterances]
        ended: set[int] = set()
        steps = decode_batch(
            t3,
            self._prefixes[id(utterances[0].voice)],
            [one.piece.ids for one in utterances],
            settings.sampling,
            settings.cfg_weight,
            settings.limit.tokens,
            [token_and_sound_keys(seed)[0] for seed in seeds],
            ended,
        )
        for done, step in enumerate(steps, start=1):
            for row, token in step:
                decoded[row].append(token)
                monitor = monitors[row]
                if monitor is not None and monitor.add(token):
                    ended.add(row)
            if progress is not None:
                progress("tokens", done, settings.limit.tokens)
        start, n_codes = t3.config.start_speech_token, self._config.s3gen.vocab_size
        return [
            DecodedTokens.within(
                utterance.settings.limit,
                len(tokens),
                audible_tokens(tokens, start, n_codes),
                row in ended,
            )
            for row, (utterance, tokens) in enumerate(zip(utterances, decoded, strict=True))
        ]

    def vocode(self, attempts: Sequence[Attempt], then: Callable[[Attempt], None]) -> None:
        """Vocode each attempt that has no waveform, and call `then` with each.

        Args:
            then: called in the thread that vocoded the attempt, perhaps for two at the same time,
                so that it does not wait for the others.
        """
        if not attempts:
            return
        keys = [token_and_sound_keys(one.seed)[1] for one in attempts]
        mx.eval([vars(one.utterance.voice) for one in attempts], keys)

        def work(attempt: Attempt, key: mx.array) -> None:
            if attempt.waveform is None:
                attempt.waveform = self._waveform(attempt, key)
            then(attempt)

        works = [partial(work, one, key) for one, key in zip(attempts, keys, strict=True)]
        with core_lock():
            if self._request.is_shared:
                for one in works:
                    one()
                return
            # The longest first, or at the end one core would be waited for.
            order = sorted(range(len(works)), key=lambda i: -len(attempts[i].decoded.audible))
            run_all([works[i] for i in order])

    def _waveform(self, attempt: Attempt, key: mx.array) -> np.ndarray:
        """An attempt's speech tokens to a waveform, (samples,) float32."""
        request, defaults = self._request, self._config.generation
        utterance, tokens = attempt.utterance, attempt.decoded.audible
        progress = request.progress
        waveform = self._networks.s3gen(
            mx.array(tokens + [SILENCE_TOKEN] * defaults.silence_tokens, dtype=mx.int32),
            utterance.voice.reference,
            key=key,
            noise=request.noise,
            source=request.source,
            n_timesteps=utterance.settings.cfm_steps,
            on_step=None if progress is None else lambda done, total: progress("flow", done, total),
        )
        waveform = np.array(waveform)
        # The next sentence has other sizes: what this one leaves fits none of its arrays.
        clear_device_cache()
        if defaults.drop_last_token:
            # Upstream: decoded just before the stop token, it becomes 40 ms of noise.
            samples_per_token = self._config.s3gen.sampling_rate // TOKENS_PER_SECOND
            waveform = waveform[: max(1, len(tokens) - 1) * samples_per_token]
        return waveform
