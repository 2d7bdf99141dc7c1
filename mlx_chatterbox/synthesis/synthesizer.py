"""Decode text to speech tokens with T3 and vocode those with S3Gen, several together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from ..models.config import SILENCE_TOKEN, ModelConfig
from ..models.decoder.cache import KVCache
from ..models.decoder.engine import DecodingEngine
from ..models.decoder.rows import DecodingRequest, Row
from ..models.s3gen.batch import speech_of
from ..runtime.memory import clear_device_cache
from ..runtime.parallel import can_run_two, core_lock, run_all
from ..runtime.seeds import token_and_sound_keys
from ..voices.voice import Voice
from .monitor import Finding, TokenMonitor
from .request import Request, Utterance
from .tokens import TOKENS_PER_SECOND, DecodedTokens, audible_tokens, voiding_token

# Attempts that are vocoded together differ by less than so many tokens, of 40 ms, prompt included:
# all are computed as long as the longest.
BUCKET_TOKENS = 32


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
        start, n_codes = voiding_token(t3.config), self._config.s3gen.vocab_size
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
                limit = utterances[index].limit
                was_ended = row.end == "watch"
                yield index, DecodedTokens.within(limit, len(row.tokens), audible, was_ended)

    def vocode(self, attempts: Sequence[Attempt], then: Callable[[Attempt], None]) -> None:
        """Vocode each attempt that has no waveform, and call `then` with each.

        Args:
            then: called in the thread that vocoded the attempt, perhaps for two at the same time,
                as soon as it is vocoded, with those that are vocoded together.
        """
        if not attempts:
            return
        keys = [token_and_sound_keys(one.seed)[1] for one in attempts]
        mx.eval([vars(one.utterance.voice) for one in attempts], keys)

        def work(numbers: Sequence[int]) -> None:
            some = [attempts[i] for i in numbers]
            if len(some) > 1:
                self._vocode_together(some, [keys[i] for i in numbers])
            elif some[0].waveform is None:
                some[0].waveform = self._waveform(some[0], keys[numbers[0]])
            for one in some:
                then(one)

        groups = vocoding_groups(attempts, self._request.vocode_together)
        with core_lock():
            if self._request.is_shared:
                for numbers in groups:
                    work(numbers)
                return
            # The longest first, or at the end one core would be waited for.
            amounts = [sum(len(attempts[i].decoded.audible) for i in one) for one in groups]
            order = sorted(range(len(groups)), key=lambda i: -amounts[i])
            run_all([partial(work, groups[i]) for i in order])

    def _waveform(self, attempt: Attempt, key: mx.array) -> np.ndarray:
        """An attempt's speech tokens to a waveform, (samples,) float32."""
        waveform = self._networks.s3gen(
            self._tokens_of(attempt),
            attempt.utterance.voice.reference,
            key=key,
            noise=self._request.noise,
            source=self._request.source,
            n_timesteps=attempt.utterance.settings.cfm_steps,
            on_step=self._on_step(),
        )
        waveform = np.array(waveform)
        # The next sentence has other sizes: what this one leaves fits none of its arrays.
        clear_device_cache()
        return self._without_last_token(waveform, attempt)

    def _vocode_together(self, attempts: Sequence[Attempt], keys: Sequence[mx.array]) -> None:
        """Vocode several attempts in one call: each as `_waveform` does, up to rounding."""
        waveforms = speech_of(
            self._networks.s3gen,
            [self._tokens_of(one) for one in attempts],
            [one.utterance.voice.reference for one in attempts],
            keys,
            attempts[0].utterance.settings.cfm_steps,
            self._on_step(),
        )
        mx.eval(waveforms)
        for one, waveform in zip(attempts, waveforms, strict=True):
            one.waveform = self._without_last_token(np.array(waveform), one)
        clear_device_cache()

    def _tokens_of(self, attempt: Attempt) -> mx.array:
        """The tokens that S3Gen speaks, (m,), silence after them included."""
        silence = [SILENCE_TOKEN] * self._config.generation.silence_tokens
        return mx.array(attempt.decoded.audible + silence, dtype=mx.int32)

    def _on_step(self) -> Callable[[int, int], None] | None:
        progress = self._request.progress
        return None if progress is None else partial(progress, "flow")

    def _without_last_token(self, waveform: np.ndarray, attempt: Attempt) -> np.ndarray:
        if not self._config.generation.drop_last_token:
            return waveform
        # Upstream: decoded just before the stop token, it becomes 40 ms of noise.
        samples_per_token = self._config.s3gen.sampling_rate // TOKENS_PER_SECOND
        return waveform[: max(1, len(attempt.decoded.audible) - 1) * samples_per_token]


def vocoding_groups(attempts: Sequence[Attempt], together: int) -> list[list[int]]:
    """Numbers of the attempts, from 0, that are vocoded in one call each.

    Those of a group have as many steps of the flow, and about one length with the voice's prompt
    (`BUCKET_TOKENS`). An attempt that is vocoded already is by itself.

    Args:
        together: most of a group.
    """
    groups: list[list[int]] = []
    open_groups: dict[tuple[int, int], list[int]] = {}
    for number, one in enumerate(attempts):
        if together == 1 or one.waveform is not None:
            groups.append([number])
            continue
        prompt = one.utterance.voice.reference.prompt_token.shape[1]
        bucket = (prompt + len(one.decoded.audible)) // BUCKET_TOKENS
        key = (one.utterance.settings.cfm_steps, bucket)
        group = open_groups.get(key)
        if group is None or len(group) == together:
            open_groups[key] = group = []
            groups.append(group)
        group.append(number)
    return groups


def row_request(
    utterance: Utterance,
    prefix: KVCache,
    seed: int | None = None,
    on_token: Callable[[int], object] | None = None,
) -> DecodingRequest:
    """Make the request for an utterance's tokens.

    Args:
        prefix: T3's keys and values of its voice.
        seed: of this attempt; None: the utterance's own.
        on_token: as in `DecodingRequest`.
    """
    return utterance.settings.decoding.request(
        utterance.piece.ids,
        prefix,
        utterance.limit.tokens,
        token_and_sound_keys(utterance.seed if seed is None else seed)[0],
        on_token,
    )
