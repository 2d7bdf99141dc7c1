"""The engine: a loaded model that speaks requests, the same way for every variant.

Variants differ in data alone: the checkpoint's configuration determines how text is prepared, in
which order tokens are filtered, and what follows the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..audio.stretch import checked_speed
from ..errors import SettingError, TextError, errors_about
from ..models.config import GenerationConfig
from ..models.decoder.cache import KVCache
from ..models.decoder.rows import DecodingRequest
from ..models.s3gen.flow import check_steps
from ..models.t3.prefix import PrefixMemory
from ..runtime.device_argument import on_device
from ..runtime.memory import clear_device_cache
from ..runtime.parallel import core_lock, run_all
from ..voices.checks import check_voice
from ..voices.voice import Voice, embed_voice, is_saved_voice
from ..watermark.weights import is_wanted
from ..weights.checkpoint import Checkpoint
from .assembling import TextAssembler
from .request import (
    Request,
    SpeechOptions,
    SpeechSettings,
    TextArguments,
    Utterance,
    check_noise,
    check_options,
    check_seeds,
    names_of_texts,
)
from .result import Result
from .retries import RetryLoop
from .splitting import ReadingOptions, TextPiece, split_texts
from .streaming import Chunks, SpeechStream, StreamSynthesizer, stream_speech
from .synthesizer import BatchSynthesizer, row_request
from .tokens import TokenLimit

# Rows that are decoded together: texts, or pieces of a long one, and, with guidance, as many again
# without text. Memory stays bounded, and a CPU gains nothing from more (`MOST_ROWS`).
ROWS_TOGETHER = 16


class Engine:
    """A loaded model on a device.

    Attributes:
        networks, config, tokenizer: the checkpoint's.
        sample_rate: of the speech, 24000 Hz.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        self.networks, self.config = checkpoint.networks, checkpoint.config
        self.tokenizer = checkpoint.tokenizer
        self.sample_rate = checkpoint.config.s3gen.sampling_rate
        self._device = device
        self._prefixes = PrefixMemory()
        # Arrays belong to the thread that made them until they are evaluated.
        voice = checkpoint.voice
        mx.eval(checkpoint.networks.state, () if voice is None else vars(voice))

    @property
    def defaults(self) -> GenerationConfig:
        """The checkpoint's own settings."""
        return self.config.generation

    def voice_of(
        self, recording: str | Path | np.ndarray, emotion: float, norm_loudness: bool = True
    ) -> Voice:
        """The voice of a recording, or a saved voice.

        Args:
            recording: a file of any format and rate (`audio.files`), or (n,) samples at 24 kHz.
            norm_loudness: bring it to the loudness that Turbo and Nano want.

        Raises:
            AudioError: it cannot be read, is silent, or too short. CheckpointError: no saved voice.
        """
        if isinstance(recording, (str, Path)) and is_saved_voice(recording):
            return Voice.load(recording)
        with on_device(self._device), core_lock():
            voice = embed_voice(self.networks, recording, self.defaults, emotion, norm_loudness)
            mx.eval(vars(voice))
            clear_device_cache()
            return voice

    def request(
        self,
        texts: Sequence[str],
        arguments: Sequence[TextArguments],
        options: SpeechOptions,
        *,
        is_shared: bool,
    ) -> Request:
        """Check all arguments and make a request of them.

        Args:
            arguments: one for each text.
            options: of the whole call; of them only `seed`, `batch_size`, `vocode_together`,
                `noise`, `source` and `progress` count, as each text has all others in its own.
            is_shared: as in `Request`.

        Raises:
            TextError: nothing to speak; an unknown language; more text than the model can read.
            SettingError: a setting outside its range, or of another kind.
            CheckpointError: a voice is another model's.
        """
        check_options(options)
        distinct = {id(one): one for one in arguments}
        settings_of = {key: self._settings(one) for key, one in distinct.items()}
        settings = tuple(settings_of[id(one)] for one in arguments)
        noise, source = options.get("noise"), options.get("source")
        first = options.get("seed")
        following = (None if first is None else first + i for i in range(1, len(texts)))
        seeds = (first, *following)
        with on_device(self._device):
            names = names_of_texts(len(texts))
            readings = {key: _reading_of(one) for key, one in distinct.items()}
            pieces = split_texts(
                self.config, self.tokenizer, texts, [readings[id(one)] for one in arguments], names
            )
            check_noise(noise, source, pieces)
            for of_text, how, one, name in zip(pieces, settings, arguments, names, strict=True):
                self._check_lengths(of_text, how, name, one.name)
            check_seeds(seeds, len(texts))
            voices = self._voices(distinct)
        return Request(
            texts=pieces,
            seeds=seeds,
            voices=tuple(voices[id(one)] for one in arguments),
            settings=settings,
            batch_size=options.get("batch_size") or self._default_batch_size(settings),
            vocode_together=options.get("vocode_together") or 1,
            is_shared=is_shared,
            names=tuple(names),
            noise=noise,
            source=source,
            progress=options.get("progress"),
        )

    def _settings(self, arguments: TextArguments) -> SpeechSettings:
        """Settings to speak with, the checkpoint's own where the caller has none."""
        options = arguments.options
        with errors_about(arguments.name):
            check_options(options)
            wanted, steps = options.get("max_new_tokens"), options.get("n_cfm_timesteps")
            limit = self.defaults.max_new_tokens if wanted is None else wanted
            steps = self.defaults.cfm_steps if steps is None else steps
            check_steps(steps)
            fits_once = options.get("noise") is None and options.get("source") is None
            return SpeechSettings(
                arguments.decoding,
                TokenLimit(limit, is_callers=wanted is not None),
                steps,
                guard=bool(options.get("guard", True)) and fits_once,
                watermark=is_wanted(options.get("watermark"), self.defaults.watermark),
                speed=checked_speed(options.get("speed")),
            )

    def _voices(self, arguments: Mapping[int, TextArguments]) -> dict[int, Voice]:
        """The voice of each of the arguments, checked once if several have it."""
        voices: dict[int, Voice] = {}
        checked: dict[int, Voice] = {}
        for key, one in arguments.items():
            with errors_about(one.voice_name):
                voices[key] = voice = one.voice()
                if id(voice) not in checked:
                    check_voice(voice, self.networks)
                    checked[id(voice)] = voice
        return voices

    def _default_batch_size(self, settings: Sequence[SpeechSettings]) -> int:
        is_guided = any(one.decoding.is_guided(self.networks.t3) for one in settings)
        return ROWS_TOGETHER // 2 if is_guided else ROWS_TOGETHER

    def _check_lengths(
        self, pieces: Sequence[TextPiece], settings: SpeechSettings, text: str, arguments: str
    ) -> None:
        """Check the lengths of a text's pieces; errors name the text, or its arguments."""
        t3 = self.networks.t3
        with errors_about(text, (TextError,)), errors_about(arguments, (SettingError,)):
            for piece in pieces:
                settings.decoding.check(t3, piece.ids, settings.limit_of(piece).tokens)

    def speak(self, request: Request) -> Result:
        """Speak all texts of a request.

        Raises:
            TextError: tokens without a sound; some texts may be finished by then.
            AudioError: samples that cannot be marked; the other texts are finished.
        """
        assembler = TextAssembler(request, self.sample_rate)
        with on_device(self._device):
            synthesizer = BatchSynthesizer(self.networks, self.config, request, self._prefix_of)
            self._speak(request.utterances(), request.batch_size, synthesizer, assembler)
        return assembler.result()

    def _speak(
        self,
        utterances: Sequence[Utterance],
        together: int,
        synthesizer: BatchSynthesizer,
        assembler: TextAssembler,
    ) -> None:
        """Speak utterances in one loop of attempts, or in two where each is to have a core."""

        def speak(group: Sequence[Utterance], together: int) -> None:
            pace = self.defaults.seconds_per_letter
            RetryLoop(synthesizer, assembler, self.sample_rate, pace, together).run(group)

        with core_lock():
            groups = synthesizer.core_groups(utterances)
            if groups:
                half = -(-together // 2)
                run_all([partial(speak, group, half) for group in groups])
                return
        speak(utterances, together)

    def row_requests(
        self, request: Request, on_token: Callable[[Utterance, int], object] | None = None
    ) -> list[DecodingRequest]:
        """Make the requests for the tokens of a request's pieces, for a `DecodingEngine`.

        Args:
            on_token: called with the piece and each of its tokens; a true result ends the piece.
        """
        with on_device(self._device):
            return [
                row_request(
                    one,
                    self._prefix_of(one.voice),
                    on_token=None if on_token is None else partial(on_token, one),
                )
                for one in request.utterances()
            ]

    def stream(
        self,
        request: Request,
        chunks: Chunks | None = None,
        on_begin: Callable[[Result], None] = lambda _: None,
    ) -> SpeechStream:
        """Speak the only text of a request while T3 is still decoding it.

        Args:
            chunks: sizes of the chunks.
            on_begin: called with the result, which grows, when the first chunk is requested.

        Raises:
            SettingError: it has several texts, noise, or is vocoded together. While speaking only
                TextError, if no token has a sound.
        """
        if request.noise is not None or request.source is not None:
            raise SettingError("a stream takes no noise or source: they fit a whole utterance.")
        if request.vocode_together > 1:
            raise SettingError(
                "a stream needs vocode_together=1: it vocodes one window after the other."
            )
        if len(request.texts) != 1:
            raise SettingError(f"a stream speaks one text; this request has {len(request.texts)}.")
        synthesizer = StreamSynthesizer(
            self.networks,
            self.config,
            request,
            self._prefix_of,
            chunks or Chunks(),
        )
        return stream_speech(synthesizer, self._device, on_begin)

    def _prefix_of(self, voice: Voice) -> KVCache:
        """T3's keys and values of a voice."""
        # Computed once for many sentences, so it must not depend on what others do meanwhile.
        with core_lock():
            return self._prefixes.cache_of(
                self.networks.t3, voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion
            )


def _reading_of(arguments: TextArguments) -> ReadingOptions:
    options = arguments.options
    return ReadingOptions(
        arguments.language_id, options.get("normalize"), options.get("lexicon"), arguments.name
    )
