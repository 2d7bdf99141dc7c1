"""From text tokens to waveforms: one model in one voice with one set of settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from ..config import SILENCE_TOKEN, ModelConfig
from ..models.t3.cache import Past
from ..models.t3.decoding import decode_batch
from ..models.t3.sampling import SamplingSettings
from ..nn.memory import clear_device_cache
from ..nn.parallel import can_run_two, choosing_alone, run_all
from ..voice import Voice
from .monitor import Watch
from .request import Extras
from .retries import Finish, Try, Utterance, Written, speak_guarded, speak_unguarded

# Up to this size T3's weights stay in the cache, and cost nothing to be read by two cores. Larger
# ones are read from memory at each step: then that is what a step takes its time for, and as many
# rows as possible are to share it.
_SMALL_T3 = 32 * 2**20


def audible_tokens(tokens: list[int], start: int, n_codes: int) -> list[int]:
    """Tokens that have a sound: those behind a predicted start token, under `n_codes`.

    Source: upstream `drop_invalid_tokens` and the filter behind it; where upstream fails on a
    second start token, that one is dropped like any other token without sound.
    """
    if start in tokens:
        tokens = tokens[tokens.index(start) + 1 :]
    return [token for token in tokens if token < n_codes]


class Synthesis:
    """Speaks utterances for one call of `generate` or `generate_batch`.

    Args:
        networks, config: the model's.
        past: what T3 has read of the voice.
        limit: speech tokens of an utterance at most.
        is_shared: each utterance may have all cores, one after the other; else they are sounded
            side by side, where the machine gains from that.
    """

    def __init__(
        self,
        networks,
        config: ModelConfig,
        voice: Voice,
        past: Past,
        settings: SamplingSettings,
        cfg_weight: float,
        limit: int,
        extras: Extras,
        is_shared: bool,
    ):
        self._networks, self._config = networks, config
        self._voice, self._past = voice, past
        self._settings, self._cfg_weight, self._limit = settings, cfg_weight, limit
        self._extras, self._is_shared = extras, is_shared

    def speak(self, utterances: Sequence[Utterance], is_guarded: bool, finish: Finish) -> None:
        """Write and sound utterances together; guarded, with further tries where one is needed.

        Args:
            finish: given each as soon as nothing more can change about it.

        Raises:
            TextError: the model wrote nothing that has a sound; some may be finished by then.
        """
        with choosing_alone():
            if len(utterances) > 1 and self._writes_apart():
                # What a group of its own is written with depends on the texts alone.
                by_length = sorted(utterances, key=lambda one: -one.text_tokens.size)
                mx.eval([one.text_tokens for one in utterances], vars(self._voice))
                groups = [sorted(by_length[i::2], key=lambda one: one.number) for i in range(2)]
                run_all([partial(self._speak, group, is_guarded, finish) for group in groups])
                return
        self._speak(utterances, is_guarded, finish)

    def _writes_apart(self) -> bool:
        """Whether each of two cores writes, and sounds, a half of the utterances."""
        weights = tree_flatten(self._networks.t3.parameters())
        is_small = sum(weight.nbytes for _, weight in weights) <= _SMALL_T3
        return is_small and not self._is_shared and can_run_two()

    def _speak(self, utterances: Sequence[Utterance], is_guarded: bool, finish: Finish) -> None:
        if not is_guarded:
            speak_unguarded(utterances, self.write, self.sound, finish)
            return
        rate, pace = self._config.s3gen.sampling_rate, self._config.generation.seconds_per_letter
        speak_guarded(utterances, self.write, self.sound, finish, rate, pace)

    def write(
        self,
        utterances: Sequence[Utterance],
        seeds: Sequence[int],
        watches: Sequence[Watch] | None,
    ) -> list[Written]:
        """Speech tokens of each, written together; a watch may end its own."""
        t3, progress = self._networks.t3, self._extras.progress
        texts = [utterance.text_tokens for utterance in utterances]
        keys = [mx.random.split(mx.random.key(seed))[0] for seed in seeds]
        written: list[list[int]] = [[] for _ in texts]
        ended: set[int] = set()
        steps = decode_batch(
            t3, self._past, texts, self._settings, self._cfg_weight, self._limit, keys, ended
        )
        for done, step in enumerate(steps, start=1):
            for sentence, token in step:
                written[sentence].append(token)
                if watches is not None and watches[sentence].add(token):
                    ended.add(sentence)
            if progress is not None:
                progress("tokens", done, self._limit)
        start, n_codes = t3.config.start_speech_token, self._config.s3gen.vocab_size
        is_wish = self._extras.max_new_tokens is not None
        # The last token may still have been followed by the stop token, which is then not drawn.
        return [
            Written(
                len(tokens),
                audible_tokens(tokens, start, n_codes),
                was_ended=sentence in ended,
                is_cut_off=is_wish and len(tokens) >= self._limit,
                ran_on=not is_wish and len(tokens) >= self._limit,
            )
            for sentence, tokens in enumerate(written)
        ]

    def sound(self, tries: Sequence[Try], then: Callable[[Try], None]) -> None:
        """Give a waveform to each try that has none, and do with it what is to be done then.

        Both are one piece of work, so that what follows, too, has one core to itself where two are
        sounded side by side, and does not wait for the others; see `is_shared`.
        """
        if not tries:
            return
        keys = [mx.random.split(mx.random.key(one.seed))[1] for one in tries]
        mx.eval(vars(self._voice), keys)

        def work(one: Try, key: mx.array) -> None:
            if one.waveform is None:
                one.waveform = self._waveform(one.written.audible, key)
            then(one)

        works = [partial(work, one, key) for one, key in zip(tries, keys, strict=True)]
        with choosing_alone():
            if self._is_shared:
                for one in works:
                    one()
                return
            # The longest first, or at the end one core would be waited for.
            order = sorted(range(len(works)), key=lambda i: -len(tries[i].written.audible))
            run_all([works[i] for i in order])

    def _waveform(self, tokens: list[int], key: mx.array) -> np.ndarray:
        """Speech tokens to a waveform, (samples,) float32."""
        extras, defaults = self._extras, self._config.generation
        progress, steps = extras.progress, extras.n_cfm_timesteps
        waveform = self._networks.s3gen(
            mx.array(tokens + [SILENCE_TOKEN] * defaults.silence_tokens, dtype=mx.int32),
            self._voice.reference,
            key=key,
            noise=extras.noise,
            source=extras.source,
            n_timesteps=defaults.cfm_steps if steps is None else steps,
            on_step=None if progress is None else lambda i, n: progress("flow", i, n),
        )
        waveform = np.array(waveform)
        # The next sentence has other sizes: what this one leaves fits none of its arrays.
        clear_device_cache()
        if defaults.drop_last_token:
            # Upstream: written just before the stop token, it decodes to 40 ms of noise.
            samples_per_token = self._config.s3gen.sampling_rate // 25
            waveform = waveform[: max(1, len(tokens) - 1) * samples_per_token]
        return waveform
