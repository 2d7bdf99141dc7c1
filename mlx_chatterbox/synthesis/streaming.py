"""Speech while T3 is still decoding: `tts.stream(text, ...)`.

The tokens are those that `generate` decodes with the same seed, and the waveform has its length. A
text that is over before the first chunk is due gives `generate`'s waveform to the bit; of a longer
one every chunk is computed in a window of bounded length, so that neither memory nor the work for a
chunk grows with the text (`models/s3gen/token_stream.py`; figures in `docs/streaming.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from ..audio.silence import silence
from ..audio.stretch import stretch_stream
from ..errors import SettingError, TextError
from ..models.config import SILENCE_TOKEN, ModelConfig
from ..models.decoder.cache import KVCache
from ..models.s3gen.token_stream import ChunkTokens, TokenStream
from ..runtime.device_argument import computed_on
from ..runtime.memory import give_back_memory
from ..runtime.parallel import core_lock
from ..runtime.seeds import token_and_sound_keys
from ..voices.voice import Voice
from ..watermark.marker import DELAY_SECONDS, mark_stream
from .decoding import decode
from .monitor import Plausible, TokenMonitor, judge_decoded, plausible
from .request import Request, Utterance
from .result import Outcome, Result
from .synthesizer import row_request
from .tokens import TOKENS_PER_SECOND, AudibleTokens, DecodedTokens, voiding_token


@dataclass(frozen=True)
class Chunks:
    """Sizes of a stream's chunks, in seconds of audio.

    Attributes:
        first: length of the first chunk. Shorter is sooner; each further one is twice as long.
        largest: length of the longest. With longer ones less is computed twice.
        context: length of the speech before a chunk that its computation sees.
        lookahead: length of the speech after it that its computation sees. Longer is nearer to the
            audio of the whole, and later. The default is the encoder's lookahead after the
            cross-fade between two windows.
        first_reference: length of the reference that the first chunk sees; all others see all of
            it. The flow computes the reference again for every chunk: less is sooner.

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
        """The sizes in tokens; `delay`: seconds of audio that the steps after S3Gen hold back."""
        sizes = {name: round(seconds * TOKENS_PER_SECOND) for name, seconds in vars(self).items()}
        return ChunkTokens(**sizes, delay=math.ceil(delay * TOKENS_PER_SECOND))


class StreamSynthesizer:
    """Decodes and vocodes the only text of a request, piece by piece, in one attempt.

    Args:
        networks, config: the model's.
        request: has one text.
        prefix_of: returns T3's keys and values of a voice.
        chunks: sizes of the chunks.

    Attributes:
        settings: the text's own.
        limit: most tokens of a piece.
    """

    def __init__(
        self,
        networks,
        config: ModelConfig,
        request: Request,
        prefix_of: Callable[[Voice], KVCache],
        chunks: Chunks,
    ):
        self._networks, self._config, self._request = networks, config, request
        self._prefix_of = prefix_of
        (self.settings,) = request.settings
        self._sizes = chunks.in_tokens(DELAY_SECONDS if self.settings.watermark else 0.0)
        self.sample_rate, self.limit = config.s3gen.sampling_rate, request.limit

    def chunks(
        self, result: Result, on_begin: Callable[[Result], None]
    ) -> Generator[tuple[np.ndarray, bool]]:
        """Yield (n,) float32, n may be 0, and True for the last; `result` grows with them."""
        on_begin(result)
        utterances = self._request.utterances()
        for utterance in utterances:
            yield silence(utterance.piece.pause_before, self.sample_rate), False
            is_last = utterance.number + 1 == len(utterances)
            with closing(self._chunks_of(utterance, result)) as chunks:
                for chunk, ends_piece in chunks:
                    yield chunk, is_last and ends_piece

    def _chunks_of(
        self, utterance: Utterance, result: Result
    ) -> Generator[tuple[np.ndarray, bool]]:
        """Yield the chunks of a piece, and True for its last, which has the pause after it."""
        defaults = self._config.generation
        _, sound_key = token_and_sound_keys(utterance.seed)
        sound = TokenStream(
            self._networks.s3gen,
            utterance.voice.reference,
            sound_key,
            self._sizes,
            utterance.settings.cfm_steps,
        )
        decoding = _Decoding(
            AudibleTokens(
                voiding_token(self._networks.t3.config),
                self._config.s3gen.vocab_size,
                into=result.tokens,
            ),
            plausible(utterance.piece.read, defaults.seconds_per_letter),
        )
        with closing(self._decode(utterance, decoding)) as tokens:
            for token in tokens:
                is_audible = decoding.audible.add(token, is_played=sound.begun)
                if not is_audible:
                    if not decoding.audible.tokens:
                        sound.drop()
                    continue
                with core_lock():
                    chunk = sound.push(token)
                if chunk is not None:
                    yield np.array(chunk), False
        self._finish(utterance, decoding, result)
        with core_lock():
            rest = np.array(
                sound.finish(defaults.silence_tokens, SILENCE_TOKEN, defaults.drop_last_token)
            )
        # The memory that this piece has left fits no later one, and would add up.
        del sound
        give_back_memory()
        pause = silence(utterance.piece.pause_after, self.sample_rate)
        yield np.concatenate([rest, pause]), True

    def _decode(self, utterance: Utterance, decoding: _Decoding) -> Generator[int]:
        """Yield speech tokens as T3 decodes them, until the monitor ends the piece."""
        progress, limit = self._request.progress, utterance.limit.tokens
        monitor = TokenMonitor(decoding.bounds) if utterance.settings.guard else None
        request = row_request(utterance, self._prefix_of(utterance.voice))
        with closing(decode(self._networks.t3, request)) as tokens:
            for token in tokens:
                decoding.count += 1
                if progress is not None:
                    progress("tokens", decoding.count, limit)
                yield token
                if monitor is not None and monitor.add(token):
                    decoding.was_ended = True
                    return

    def _finish(self, utterance: Utterance, decoding: _Decoding, result: Result) -> None:
        """Add a piece's outcome to the result; it is played already, so there is no other attempt.

        Raises:
            TextError: no token of it has a sound.
        """
        settings, audible = utterance.settings, decoding.audible.tokens
        limit = utterance.limit
        decoded = DecodedTokens.within(limit, decoding.count, audible, decoding.was_ended)
        # What a guard ended did not run into the limit.
        if not decoding.was_ended:
            result.stopped = result.stopped and decoded.stopped
        if not audible:
            is_one = len(self._request.texts[0]) == 1
            which = "" if is_one else f" for piece {utterance.number + 1}"
            raise TextError(
                f"the model wrote no speech token{which} that has a sound; try another seed or "
                "more max_new_tokens."
            )
        finding = judge_decoded(decoded, decoding.bounds) if settings.guard else None
        reason = "" if finding is None else finding.reason
        result.outcomes.append(
            Outcome(
                tuple(audible),
                reason,
                1,
                utterance.seed,
                decoded.stopped,
                utterance.piece.unread,
            )
        )


@dataclass
class _Decoding:
    """State of the decoding of a piece.

    Attributes:
        count: tokens, with and without a sound.
        was_ended: by a monitor.
    """

    audible: AudibleTokens
    bounds: Plausible
    count: int = 0
    was_ended: bool = False


class SpeechStream(Iterator[np.ndarray]):
    """The chunks of a request's speech, (n,) float32, n > 0; it may be closed at any time.

    Attributes:
        result: of the chunks so far; complete when the stream ends.
    """

    def __init__(self, chunks: Generator[np.ndarray], result: Result):
        self._chunks, self.result = chunks, result

    def __next__(self) -> np.ndarray:
        return next(self._chunks)

    def close(self) -> None:
        """Decode no more."""
        self._chunks.close()


def stream_speech(
    synthesizer: StreamSynthesizer,
    device: str | None,
    on_begin: Callable[[Result], None],
) -> SpeechStream:
    """Speak chunk by chunk, stretched and marked by the text's settings.

    Args:
        on_begin: called with the result when the first chunk is requested, in that thread.
    """
    settings = synthesizer.settings
    result = Result(synthesizer.limit)
    speech = shaped_stream(
        synthesizer.chunks(result, on_begin),
        synthesizer.sample_rate,
        settings.speed,
        settings.watermark,
    )
    return SpeechStream(computed_on(device, speech), result)


def shaped_stream(
    chunks: Generator[tuple[np.ndarray, bool]], sample_rate: int, speed: float, is_marked: bool
) -> Generator[np.ndarray]:
    """Stretch and mark speech that comes in chunks, (n,) float32 and True with the last.

    Yields:
        (n,) float32, n > 0.
    """
    if speed != 1.0:
        chunks = stretch_stream(chunks, sample_rate, speed)
    return mark_stream(chunks, sample_rate) if is_marked else _not_empty(chunks)


def _not_empty(chunks: Generator[tuple[np.ndarray, bool]]) -> Generator[np.ndarray]:
    try:
        for chunk, _ in chunks:
            if chunk.size:
                yield chunk
    finally:
        chunks.close()
