"""Decode text to speech tokens with T3 and vocode those with S3Gen, several together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from ..models.config import SILENCE_TOKEN, ModelConfig
from ..models.t3.cache import KVCache
from ..models.t3.engine import DecodingEngine
from ..models.t3.rows import Row, RowRequest
from ..runtime.memory import clear_device_cache
from ..runtime.parallel import can_run_two, core_lock, run_all
from ..runtime.seeds import token_and_sound_keys
from ..voices.voice import Voice
from .monitor import Finding, TokenMonitor
from .request import Request, Utterance
from .tokens import TOKENS_PER_SECOND, DecodedTokens, audible_tokens


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
        prefix_of: returns T3's keys and values of a voice.
    """

    def __init__(
        self,
        networks,
        config: ModelConfig,
        request: Request,
        prefix_of: Callable[[Voice], KVCache],
    ):
        self._networks, self._config = networks, config
        self._request, self._prefix_of = request, prefix_of

    def core_groups(self, utterances: Sequence[Utterance]) -> list[list[Utterance]]:
        """Utterances in two groups where each of two cores is to speak one, else in none."""
        is_small = self._networks.t3.is_small
        if not is_small or self._request.is_shared or not can_run_two():
            return []
        # About as much for each core to do.
        by_length = sorted(utterances, key=lambda one: -one.piece.ids.size)
        mx.eval([one.piece.ids for one in utterances], [vars(one.voice) for one in utterances])
        groups = [sorted(by_length[i::2], key=lambda one: one.number) for i in range(2)]
        return [group for group in groups if group]

    def decode_tokens(
        self,
        utterances: Sequence[Utterance],
        seeds: Sequence[int],
        monitors: Sequence[TokenMonitor | None],
        together: int,
    ) -> Iterator[tuple[int, DecodedTokens | Exception]]:
        """Decode speech tokens of several utterances, which share steps.

        Args:
            seeds: one for each.
            monitors: one for each, which may end it; None for one that is not judged.
            together: most that are decoded at a time; others begin as these end.

        Yields:
            The index of each as soon as it has ended, with its tokens or the reason why it failed.
        """
        t3, progress = self._networks.t3, self._request.progress
        mode = "invariant" if self._request.invariant else "fast"
        engine = DecodingEngine(t3, rows=together, mode=mode, prefills=None)
        left = deque(range(len(utterances)))
        rows: dict[Row, int] = {}
        start, n_codes = t3.config.start_speech_token, self._config.s3gen.vocab_size
        while left or rows:
            # Not all at once: each holds on to its voice.
            while left and len(rows) < 2 * together:
                index = left.popleft()
                one, monitor = utterances[index], monitors[index]
                on_token = None if monitor is None else monitor.add
                request = row_request(one, self._prefix_of(one.voice), seeds[index], on_token)
                rows[engine.join(request)] = index
            written = engine.step()
            if written and progress is not None:
                lengths = [(len(row.tokens), row.request.max_new_tokens) for row, _ in written]
                progress("tokens", *max(lengths))
            for row in [row for row in rows if row.state == "ended"]:
                index = rows.pop(row)
                if row.error is not None:
                    yield index, row.error
                    continue
                audible = audible_tokens(row.tokens, start, n_codes)
                limit = utterances[index].settings.limit
                was_ended = row.end == "watch"
                yield index, DecodedTokens.within(limit, len(row.tokens), audible, was_ended)

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


def row_request(
    utterance: Utterance,
    prefix: KVCache,
    seed: int | None = None,
    on_token: Callable[[int], object] | None = None,
) -> RowRequest:
    """Make the request for an utterance's tokens.

    Args:
        prefix: T3's keys and values of its voice.
        seed: of this attempt; None: the utterance's own.
        on_token: as in `RowRequest`.
    """
    settings = utterance.settings
    return RowRequest(
        utterance.piece.ids,
        prefix,
        settings.sampling,
        settings.cfg_weight,
        settings.limit.tokens,
        token_and_sound_keys(utterance.seed if seed is None else seed)[0],
        on_token,
    )
