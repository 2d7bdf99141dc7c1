"""The base of all text-to-speech classes: a voice, an engine, and the ways to speak."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from ..errors import CheckpointError, SettingError
from ..models.config import GenerationConfig
from ..models.t3.sampling import SamplingSettings
from ..runtime.device_argument import on_device
from ..synthesis.engine import Engine
from ..synthesis.request import (
    Finished,
    Request,
    SpeechOptions,
    check_callback,
    check_decode_only,
    check_seeds,
    check_whole,
)
from ..synthesis.result import LatestResult, Outcome, Result
from ..synthesis.streaming import Chunks, SpeechStream
from ..text.checked_text import checked_text, checked_texts, described
from ..voices.voice import Voice
from ..weights.checkpoint import Checkpoint, load
from .signatures import is_left_out, upstreams

Recording = str | Path | np.ndarray
Setting = TypeVar("Setting", bound=float)


class TextToSpeech(ABC):
    """A model with a voice.

    A subclass has upstream's arguments and translates them in `request`; it differs in nothing
    else. The engine speaks.

    Attributes:
        engine: speaks requests.
        sr: sample rate of the speech, 24000 Hz.
        conds: the voice in use, or None.
        last_tokens, limit, stopped, outcomes, spans: those of the `Result` of this thread's latest
            call; in a thread that made none, of the latest call of any thread.
    """

    #: Kind of tokenizer (`TextConfig.tokenizer`) of the checkpoints that the class can use.
    tokenizer_kind: ClassVar[str]
    #: What `from_pretrained` loads without a name.
    default_model: ClassVar[str]

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        if checkpoint.config.text.tokenizer != self.tokenizer_kind:
            raise CheckpointError(
                f"{checkpoint.folder} is a {checkpoint.config.variant} model, which "
                f"{type(self).__name__} does not speak; see the README for its class."
            )
        self.checkpoint = checkpoint
        self.engine = Engine(checkpoint, device)
        self.device = device
        self.sr = self.engine.sample_rate
        self.conds: Voice | None = checkpoint.voice
        self._latest = LatestResult(Result(self.defaults.max_new_tokens))

    @classmethod
    def _load(cls, model: str | Path | None, device: str | None, **settings):
        with on_device(device):
            return cls(load(model or cls.default_model, **settings), device)

    @property
    def networks(self):
        return self.engine.networks

    @property
    def tokenizer(self):
        return self.engine.tokenizer

    @property
    def defaults(self) -> GenerationConfig:
        """The checkpoint's own settings."""
        return self.engine.defaults

    # --- The voice ---------------------------------------------------------------------------

    def prepare_conditionals(
        self,
        wav_fpath: Recording,
        exaggeration: float = upstreams(0.5),
        norm_loudness: bool = True,
    ) -> None:
        """Take the voice of a recording for all later calls.

        Args:
            wav_fpath: a file of any format and rate (`audio.files`), or (n,) samples at 24 kHz;
                10 s are used.
            exaggeration: emotion; Turbo and Nano have none.
            norm_loudness: True brings the recording to the loudness that Turbo and Nano expect.

        Raises:
            AudioError: it cannot be read, is silent, or too short.
        """
        self.conds = self.voice_of(wav_fpath, exaggeration, norm_loudness)

    def voice_of(
        self,
        recording: Recording,
        exaggeration: float = upstreams(0.5),
        norm_loudness: bool = True,
    ) -> Voice:
        """The voice of a recording, or a saved voice, without taking it into use."""
        emotion = self._or_default("exaggeration", exaggeration)
        return self.engine.voice_of(recording, emotion, norm_loudness)

    def _voice_for(
        self,
        voice: Voice | None,
        recording: Recording | None,
        emotion: float,
        norm_loudness: bool,
    ) -> Voice:
        """The voice of a call: the caller's `Voice`, that of a recording, or the model's own."""
        if voice is not None:
            if not isinstance(voice, Voice):
                raise SettingError(
                    f"voice must be a Voice (Voice.load, voice_of); got {described(voice)}: pass "
                    "a recording as audio_prompt_path."
                )
        elif recording is not None:
            voice = self.engine.voice_of(recording, emotion, norm_loudness)
        else:
            voice = self.conds
        if voice is None:
            raise SettingError(
                "no voice: this checkpoint has none built in, so give a reference recording "
                "(audio_prompt_path=, or --voice on the command line)."
            )
        return voice.with_emotion(emotion)

    # --- Speaking ----------------------------------------------------------------------------

    @abstractmethod
    def request(self, text: str | Sequence[str], *arguments, **options) -> Request:
        """Check the arguments of a call, and make a request of them.

        Args:
            text: one, or a list of several.
            arguments, options: as `generate`'s after its text.
        """

    def speak(self, text: str | Sequence[str], *arguments, **options) -> Result:
        """Speak, and return everything that the call produces.

        Args:
            text: one, or a list of several.
            arguments, options: as `generate`'s after its text, and they mean the same.

        Raises:
            TextError, SettingError, AudioError: as `generate` and `generate_batch`.
        """
        return self._speak_request(self.request(text, *arguments, **options))

    def generate_batch(
        self,
        texts: Sequence[str],
        *arguments,
        seeds: Sequence[int | None] | None = None,
        finished: Finished | None = None,
        decode_only: Collection[int] = (),
        unneeded: Collection[int] = (),
        **options,
    ) -> list[np.ndarray]:
        """Speak several texts together, in one voice and with the same settings.

        T3 decodes `batch_size` texts at once, which takes little longer than one of them; S3Gen
        then vocodes one after the other, or, on two or three cores, two at a time. The speech of a
        text does not depend on the others: it equals `generate`'s with the same seed, up to
        rounding (see `decode_batch`); a text with a guard's finding is repeated alone. Memory for
        T3's keys and values grows with the batch, by 0.5 MB a token and text for the Llama models
        with guidance in float32, and no further with the number of texts.

        Args:
            texts: at least one.
            arguments, options: as `generate`'s after its text; `noise` and `source`, which fit one
                text, are refused. `seed` is the first text's; text i is spoken with seed + i. None
                draws another for each.
            seeds: one for each text instead.
            finished: callback(number, waveform, outcomes) as soon as a text is complete, its mark
                included, while others are still computed: in the thread that finished it, and
                perhaps in two threads at a time. An exception in it ends the call. It must not
                speak itself.
            decode_only: numbers, from 0, of texts of which no audio is made: T3 decodes them with
                the others, whose tokens are then the same to the bit.
            unneeded: the older name of `decode_only`.

        Returns:
            For each text (samples,) float32 at `sr`; of one that is decoded only (0,).

        Raises:
            TextError, AudioError: as `generate`, before anything is spoken; for tokens without a
                sound, or samples that cannot be marked, when others may be finished.
            SettingError: also for no texts, for one string, for another number of seeds than
                texts, or a number in `decode_only` that is no text's.
        """
        texts = checked_texts(texts)
        check_whole("seed", options.get("seed"))
        if seeds is not None:
            check_seeds(seeds, len(texts))
            if options.get("seed") is not None:
                raise SettingError(
                    "give either seed, of the first text, or seeds, one for each text."
                )
        check_callback("finished", finished)
        single = [name for name in ("noise", "source") if options.get(name) is not None]
        if single:
            raise SettingError(f"{', '.join(single)}: not in generate_batch, as it fits one text.")
        decode_only = frozenset(decode_only) | frozenset(unneeded)
        check_decode_only(decode_only, len(texts))
        request = self.request(texts, *arguments, **options)
        seeds = request.seeds if seeds is None else tuple(seeds)
        request = replace(request, seeds=seeds, finished=finished, decode_only=decode_only)
        return self._speak_request(request).waveforms

    def stream(
        self, text: str, *arguments, chunks: Chunks | None = None, **options
    ) -> SpeechStream:
        """Speak, chunk by chunk, while T3 is still decoding.

        Args:
            text: what to say.
            arguments, options: as `generate`'s after its text, and they mean the same; `noise`
                and `source`, which fit a whole utterance, are refused. `progress` reports tokens
                alone. `guard` ends speech that runs away, and repeats none: it is played by then
                (`outcomes`).
            chunks: sizes of the chunks.

        Returns:
            An iterator of (n,) float32 at `sr`, n > 0; together as long as what `generate` returns
            with the same seed. It may be closed at any time. Its `result` is complete when it
            ends.

        Raises:
            TextError, SettingError, AudioError: as `generate`, at once; while speaking only
                TextError, if no token has a sound.
        """
        request = self.request(checked_text(text), *arguments, **options)
        return self.engine.stream(request, chunks, on_begin=self._latest.set)

    def _speak_request(self, request: Request) -> Result:
        result = self.engine.speak(request)
        self._latest.set(result)
        return result

    def _request(
        self,
        text: str | Sequence[str],
        *,
        recording: Recording | None,
        exaggeration: float,
        cfg_weight: float,
        language_id: str | None = None,
        norm_loudness: bool = True,
        options: SpeechOptions,
        temperature: float,
        repetition_penalty: float,
        min_p: float,
        top_p: float,
        top_k: int = upstreams(0),
    ) -> Request:
        """A request, with the checkpoint's own settings where they were left out.

        Args:
            recording: of the voice, which replaces the model's own; or None.
            temperature, ...: see `SamplingSettings`.
        """
        texts = checked_texts(text) if isinstance(text, (list, tuple)) else [checked_text(text)]
        sampling = SamplingSettings(
            self._or_default("temperature", temperature),
            self._or_default("repetition_penalty", repetition_penalty),
            self._or_default("min_p", min_p),
            self._or_default("top_p", top_p),
            self._or_default("top_k", top_k),
            self.defaults.sampler_order,
        )
        emotion = self._or_default("exaggeration", exaggeration)
        request = self.engine.request(
            texts,
            voice=partial(self._voice_for, options.get("voice"), recording, emotion, norm_loudness),
            sampling=sampling,
            cfg_weight=self._or_default("cfg_weight", cfg_weight),
            language_id=language_id,
            options=options,
        )
        if options.get("voice") is None:
            self.conds = request.voice
        return request

    def _or_default(self, name: str, value: Setting) -> Setting:
        """The checkpoint's own value of a setting that was left out."""
        return getattr(self.defaults, name) if is_left_out(value) else value

    # --- The latest call ---------------------------------------------------------------------

    @property
    def last_tokens(self) -> list[int]:
        return self._latest.get().tokens

    @property
    def limit(self) -> int:
        return self._latest.get().limit

    @property
    def stopped(self) -> bool:
        return self._latest.get().stopped

    @property
    def outcomes(self) -> list[Outcome]:
        return self._latest.get().outcomes

    @property
    def spans(self) -> list[tuple[int, int]]:
        return self._latest.get().spans
