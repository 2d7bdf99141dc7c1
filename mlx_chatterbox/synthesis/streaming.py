"""Speech while T3 is still writing it: `tts.stream(text, ...)`.

The tokens are those that `generate` writes with the same seed, and the waveform has its length. A
text that is over before the first chunk is due gives `generate`'s waveform to the bit; of a longer
one every chunk is computed in a window of bounded length, so that neither memory nor the work for a
chunk grows with the text (`models/s3gen/token_stream.py`; figures in `docs/streaming.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from ..audio.silence import silence
from ..audio.stretch import checked_speed, stretch_stream
from ..config import SILENCE_TOKEN
from ..devices import computed_on, on_device
from ..errors import SettingError, TextError
from ..models.s3gen.flow import check_steps
from ..models.s3gen.token_stream import ChunkTokens, TokenStream
from ..models.t3.decoding import check_lengths, decode
from ..models.t3.sampling import SamplingSettings
from ..nn.memory import give_back_memory
from ..nn.parallel import choosing_alone
from ..seeds import piece_seeds
from ..text.pauses import Breath
from ..text.reading import Reading
from ..voice import Voice
from ..watermark.marker import DELAY_SECONDS, mark_stream
from ..watermark.weights import is_wanted
from .engine import Pipeline
from .monitor import Outcome, Plausible, Watch, plausible
from .request import Extras, check_number
from .retries import Written, judge_written

TOKENS_PER_SECOND = 25


@dataclass(frozen=True)
class Chunks:
    """How a stream is cut, in seconds of sound.

    Attributes:
        first: the first chunk. Shorter is sooner; each further one is twice as long.
        largest: no chunk is longer. With longer ones less is computed twice.
        context: how much of what was said before a chunk is looked at for it.
        lookahead: how much of what comes behind it. Longer is nearer to the whole, and later. The
            default is what the encoder looks ahead behind the cross-fade between two windows.
        first_reference: how much of the reference the first chunk looks at, all others at all of
            it. The flow computes the reference anew for every chunk: less is sooner.

    Raises:
        SettingError: a value outside its range.
    """

    first: float = 0.3
    largest: float = 8.0
    context: float = 2.0
    lookahead: float = 0.24
    first_reference: float = 2.0

    def __post_init__(self):
        # The encoder sees three tokens ahead, and the cross-fade lies within them.
        least = {"first": 0.04, "largest": 0.04, "context": 0.0, "lookahead": 0.12}
        least["first_reference"] = 1.0
        # 30 s, as `models/s3gen/long.py`: in longer windows the flow needs more memory.
        most = {"first": 10.0, "largest": 16.0, "context": 10.0, "lookahead": 4.0}
        most["first_reference"] = 10.0
        for name, value in vars(self).items():
            if not (math.isfinite(value) and least[name] <= value <= most[name]):
                raise SettingError(
                    f"chunks: {name} must be from {least[name]} to {most[name]} s; got {value}."
                )
        if self.first > self.largest:
            raise SettingError(f"chunks: first ({self.first}) is above largest ({self.largest}).")

    def in_tokens(self, delay: float = 0.0) -> ChunkTokens:
        """In tokens; `delay`: seconds by which what comes behind S3Gen holds sound back."""
        sizes = {name: round(seconds * TOKENS_PER_SECOND) for name, seconds in vars(self).items()}
        return ChunkTokens(**sizes, delay=math.ceil(delay * TOKENS_PER_SECOND))


@dataclass(frozen=True)
class Streamed:
    """What `stream` hands to `generate` in place of a text."""

    text: str
    chunks: Chunks


@dataclass
class _Plan:
    """What is decided before the first token is written."""

    said: list[Breath]
    readings: list[Reading]
    tokens: list[mx.array]
    seeds: list[int]
    voice: Voice
    settings: SamplingSettings
    cfg_weight: float
    limit: int
    steps: int
    sizes: ChunkTokens
    extras: Extras
    # How many tokens of the piece that is written there are, and whether a guard ended it.
    count: int = 0
    was_ended: bool = False


class StreamingPipeline(Pipeline):
    """A pipeline that also speaks while it writes."""

    def stream(
        self, text: str, *arguments, chunks: Chunks | None = None, **settings
    ) -> Iterator[np.ndarray]:
        """Speak, chunk by chunk.

        Args:
            text: what to say.
            arguments, settings: as `generate`'s behind its text, and they mean the same; `noise`
                and `source`, which are of a whole utterance, cannot be given. `progress` is told
                of tokens alone. `guard` ends what runs away, and says nothing again: it is heard by
                then (`outcomes`).
            chunks: how the sound is cut.

        Returns:
            An iterator of (n,) float32 at `sr`, n > 0; together as long as what `generate` returns
            with the same seed. Whoever has heard enough may close it. `last_tokens` and `stopped`
            are complete when it ends.

        Raises:
            TextError, SettingError, AudioError: as `generate`, at once; while speaking only
                TextError, if no token has a sound.
        """
        return self.generate(Streamed(text, chunks or Chunks()), *arguments, **settings)

    def _speak(self, text, settings, cfg_weight, exaggeration, recording, extras, **more):
        if not isinstance(text, Streamed):
            return super()._speak(
                text, settings, cfg_weight, exaggeration, recording, extras, **more
            )
        return self._stream(text, settings, cfg_weight, exaggeration, recording, extras, **more)

    def _stream(
        self,
        said: Streamed,
        settings: SamplingSettings,
        cfg_weight: float,
        exaggeration: float,
        recording,
        extras: Extras,
        language_id: str | None = None,
        norm_loudness: bool = True,
    ) -> Iterator[np.ndarray]:
        """Find whatever can be wrong; the rest is done when the first chunk is asked for."""
        if extras.noise is not None or extras.source is not None:
            raise SettingError("noise and source are of a whole utterance: not for a stream.")
        check_number("cfg_weight", cfg_weight)
        defaults, steps, limit = self.defaults, extras.n_cfm_timesteps, extras.max_new_tokens
        steps = defaults.cfm_steps if steps is None else steps
        limit = defaults.max_new_tokens if limit is None else limit
        speed = checked_speed(extras.speed)
        check_steps(steps)
        of_texts, left_out = self._said((said.text,), language_id, extras)
        (breaths,) = of_texts
        readings = self._readings(of_texts, left_out, language_id)
        tokens = [mx.array(reading.ids, dtype=mx.int32) for reading in readings]
        for of_text in tokens:
            check_lengths(self.networks.t3, of_text, cfg_weight, limit)
        marks = is_wanted(extras.watermark, defaults.watermark)
        with on_device(self.device):
            seeds = piece_seeds(extras.seed, len(breaths))
            voice = self._voice_for(extras.voice, recording, exaggeration, norm_loudness)
        sizes = said.chunks.in_tokens(DELAY_SECONDS if marks else 0.0)
        plan = _Plan(
            breaths,
            readings,
            tokens,
            seeds,
            voice,
            settings,
            cfg_weight,
            limit,
            steps,
            sizes,
            extras,
        )
        chunks = self._chunks(plan)
        if speed != 1.0:
            chunks = stretch_stream(chunks, self.sr, speed)
        return computed_on(self.device, mark_stream(chunks, self.sr) if marks else _sound(chunks))

    def _chunks(self, plan: _Plan) -> Iterator[tuple[np.ndarray, bool]]:
        """(n,) float32, possibly nothing, and whether it is the last."""
        self.last_tokens, self.outcomes, self.stopped, self.limit = [], [], True, plan.limit
        for index, breath in enumerate(plan.said):
            yield silence(breath.before, self.sr), False
            token_key, sound_key = mx.random.split(mx.random.key(plan.seeds[index]))
            stream = TokenStream(
                self.networks.s3gen, plan.voice.reference, sound_key, plan.sizes, plan.steps
            )
            before = len(self.last_tokens)
            with closing(self._written(plan, index, token_key)) as written:
                for token in self._audible(written, stream):
                    with choosing_alone():
                        chunk = stream.push(token)
                    if chunk is not None:
                        yield np.array(chunk), False
            tokens = self.last_tokens[before:]
            if not tokens:
                which = f" for piece {index + 1}" if len(plan.said) > 1 else ""
                raise TextError(
                    f"the model wrote no speech token{which} that has a sound; try another seed or "
                    "more max_new_tokens."
                )
            self.outcomes.append(self._outcome(plan, index, tokens))
            with choosing_alone():
                rest = stream.finish(
                    self.defaults.silence_tokens, SILENCE_TOKEN, self.defaults.drop_last_token
                )
                rest = np.array(rest)
            # What this piece has left behind fits no later one, and would add up.
            del stream
            give_back_memory()
            rest = np.concatenate([rest, silence(breath.behind, self.sr)])
            yield rest, index + 1 == len(plan.said)

    def _written(self, plan: _Plan, index: int, key: mx.array) -> Iterator[int]:
        """Speech tokens as T3 writes them, as long as they can be what the text says."""
        t3, voice, text = self.networks.t3, plan.voice, plan.tokens[index]
        past = self._prefixes.past_of(
            t3, voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion
        )
        watch = Watch(self._bounds(plan, index)) if plan.extras.guard else None
        plan.was_ended, plan.count = False, 0
        tokens = decode(t3, past, text, plan.settings, plan.cfg_weight, plan.limit, key)
        with closing(tokens):
            for token in tokens:
                plan.count += 1
                if plan.extras.progress is not None:
                    plan.extras.progress("tokens", plan.count, plan.limit)
                yield token
                if watch is not None and watch.add(token):
                    plan.was_ended = True
                    return
        self.stopped = self.stopped and plan.count < plan.limit

    def _bounds(self, plan: _Plan, index: int) -> Plausible:
        return plausible(plan.readings[index].text, self.defaults.seconds_per_letter)

    def _outcome(self, plan: _Plan, index: int, tokens: list[int]) -> Outcome:
        """What guards find in a piece: it is heard already, so that there is no other try."""
        finding = None
        is_wish, at_limit = plan.extras.max_new_tokens is not None, plan.count >= plan.limit
        written = Written(
            plan.count, tokens, plan.was_ended, is_wish and at_limit, not is_wish and at_limit
        )
        if plan.extras.guard:
            finding = judge_written(written, self._bounds(plan, index))
        reason = "" if finding is None else finding.reason
        unread = plan.readings[index].unread
        return Outcome(tuple(tokens), reason, 1, plan.seeds[index], written.stopped, unread)

    def _audible(self, written: Iterator[int], stream: TokenStream) -> Iterator[int]:
        """As `audible_tokens`, while they come; all are kept in `last_tokens`, too.

        A start token makes all before it void. That is done as long as none of it has been heard.
        """
        start = self.networks.t3.config.start_speech_token
        n_codes = self.checkpoint.config.s3gen.vocab_size
        first, started = len(self.last_tokens), False
        for token in written:
            if token == start and not started and not stream.begun:
                stream.drop()
                del self.last_tokens[first:]
            started = started or token == start
            if token < n_codes:
                self.last_tokens.append(token)
                yield token


def _sound(chunks: Iterator[tuple[np.ndarray, bool]]) -> Iterator[np.ndarray]:
    """The chunks that have any sound."""
    with closing(chunks):
        for chunk, _ in chunks:
            if chunk.size:
                yield chunk
