"""The base of all text-to-speech classes: a voice, an engine, and the ways to speak."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import CheckpointError, SettingError
from ..models.config import GenerationConfig
from ..models.t3.sampling import SamplingSettings
from ..runtime.device_argument import on_device
from ..synthesis.decoding import Decoding, TokenDecoding
from ..synthesis.engine import Engine
from ..synthesis.request import (
    Finished,
    Request,
    SpeechOptions,
    check_callback,
    check_flag,
    check_seeds,
    check_text_numbers,
    check_whole,
)
from ..synthesis.result import LatestResult, Result
from ..synthesis.streaming import Chunks, SpeechStream
from ..text.checked_text import checked_text, checked_texts
from ..voices.voice import Voice
from ..weights.checkpoint import Checkpoint, load
from .arguments import (
    ArgumentReader,
    Arguments,
    Recording,
    by_name,
    checked_settings,
    checked_voices,
    options_of,
)
from .latest import ReportsLatest
from .signatures import is_left_out, upstreams


class TextToSpeech(ReportsLatest, ABC):
    """A model with a voice.

    A subclass has upstream's arguments and translates them in `request`; it differs in nothing
    else. The engine speaks.

    Attributes:
        engine: speaks requests.
        sr: sample rate of the speech, 24000 Hz.
        conds: the voice in use, or None.
    """

    #: Kind of the checkpoints that the class can use (`ModelConfig.kind`).
    kind: ClassVar[str]
    #: What `from_pretrained` loads without a name.
    default_model: ClassVar[str]
    #: Upstream's arguments that do nothing, and the beginning of the warning that names them.
    ignored: tuple[str, ...] = ()
    ignores: str = ""

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        if checkpoint.config.kind != self.kind:
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
        emotion = self.defaults.exaggeration if is_left_out(exaggeration) else exaggeration
        return self.engine.voice_of(recording, emotion, norm_loudness)

    # --- Arguments ---------------------------------------------------------------------------

    def own_value(self, name: str) -> Any:
        """The checkpoint's own value of a setting of `request`."""
        return getattr(self.defaults, name)

    def decoding_of(self, value: Callable[[str], Any]) -> Decoding:
        """Make the settings by which tokens are written.

        Args:
            value: returns the value of one by its name.

        Raises:
            SettingError: one outside its range, or of another kind.
        """
        sampling = SamplingSettings(
            value("temperature"),
            value("repetition_penalty"),
            value("min_p"),
            value("top_p"),
            value("top_k"),
            self.defaults.sampler_order,
        )
        return TokenDecoding(sampling, value("cfg_weight"))

    def options_of(self, arguments: Arguments) -> SpeechOptions:
        """Those of a call's arguments that every class has."""
        return options_of(self.request, arguments)

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

    # Its arguments are `generate_batch`'s.
    def batch_request(
        self,
        texts: Sequence[str],
        *arguments,
        voices: Sequence[Voice | None] | None = None,
        settings: Sequence[Mapping[str, Any] | None] | None = None,
        seeds: Sequence[int | None] | None = None,
        finished: Finished | None = None,
        invariant: bool = False,
        **options,
    ) -> Request:
        """A request for what `generate_batch` speaks; see there."""
        texts = checked_texts(texts)
        check_whole("seed", options.get("seed"))
        if seeds is not None:
            check_seeds(seeds, len(texts))
            if options.get("seed") is not None:
                raise SettingError(
                    "give either seed, of the first text, or seeds, one for each text."
                )
        check_callback("finished", finished)
        check_flag("invariant", invariant)
        single = [name for name in ("noise", "source") if options.get(name) is not None]
        if single:
            raise SettingError(f"{', '.join(single)}: not in generate_batch, as it fits one text.")
        request = self._request_of(
            texts,
            by_name(self.request, arguments, options),
            checked_voices(voices, len(texts)),
            checked_settings(settings, len(texts), self.request),
            is_shared=False,
        )
        return replace(
            request,
            seeds=request.seeds if seeds is None else tuple(seeds),
            finished=finished,
            invariant=bool(invariant),
        )

    def generate_batch(
        self,
        texts: Sequence[str],
        *arguments,
        voices: Sequence[Voice | None] | None = None,
        settings: Sequence[Mapping[str, Any] | None] | None = None,
        seeds: Sequence[int | None] | None = None,
        finished: Finished | None = None,
        invariant: bool = False,
        decode_only: Collection[int] = (),
        unneeded: Collection[int] = (),
        **options,
    ) -> list[np.ndarray]:
        """Speak several texts together, in one voice or each in its own.

        T3 decodes `batch_size` texts at once, which takes little longer than one of them; S3Gen
        then vocodes one after the other, or, on two or three cores, two at a time, or several in
        one call (`vocode_together`). The speech of a
        text does not depend on the others: it equals `generate`'s with the same seed, voice and
        settings, up to rounding; a text with a guard's finding is repeated. Memory for
        T3's keys and values grows with the batch, by 0.5 MB a token and text for the Llama models
        with guidance in float32, and no further with the number of texts.

        Args:
            texts: at least one.
            arguments, options: as `generate`'s after its text; `noise` and `source`, which fit one
                text, are refused. `seed` is the first text's; text i is spoken with seed + i. None
                draws another for each.
            voices: one for each text; None is the voice that the other arguments name, or the
                model's own.
            settings: for each text keyword arguments of `generate` in a dict, which replace those
                of the call; not `seed`, `voice`, `noise`, `source`, `progress`, `batch_size` and
                `vocode_together`. A recording in them (`audio_prompt_path`) is the voice of this
                text alone.
            seeds: one for each text instead.
            finished: callback(number, waveform, outcomes) as soon as a text is complete, its mark
                included, while others are still computed: in the thread that finished it, and
                perhaps in two threads at a time. An exception in it ends the call. It must not
                speak itself.
            invariant: True makes the tokens of a text the same to the bit in any company, on every
                device, even where that is slower (`docs/python.md`).
            decode_only: numbers, from 0, of texts that are checked and not spoken.
            unneeded: the older name of `decode_only`.

        Returns:
            For each text (samples,) float32 at `sr`; of one that is not spoken (0,).

        Raises:
            TextError, AudioError: as `generate`, before anything is spoken; for tokens without a
                sound, or samples that cannot be marked, when others may be finished. Errors of one
                of several texts begin with its number, from 1.
            SettingError: also for no texts, for one string, for another number of seeds, voices or
                settings than texts, or a number in `decode_only` that is no text's.
            TypeError: an argument that `generate` does not have.
        """
        texts = checked_texts(texts)
        unspoken = frozenset(decode_only) | frozenset(unneeded)
        check_text_numbers("decode_only", unspoken, len(texts))
        request = self.batch_request(
            texts,
            *arguments,
            voices=voices,
            settings=settings,
            seeds=seeds,
            finished=finished,
            invariant=invariant,
            **options,
        )
        spoken = [number for number in range(len(texts)) if number not in unspoken]
        if unspoken:
            request = request.only(spoken)
        waveforms = [np.zeros(0, np.float32) for _ in texts]
        for number, waveform in zip(spoken, self._speak_request(request).waveforms, strict=True):
            waveforms[number] = waveform
        return waveforms

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
        self._latest.set(replace(result, waveforms=[]))  # they are large, and nobody asks for them
        return result

    def _request(self, text: str | Sequence[str], **arguments) -> Request:
        """A request of one text, or of several in one voice and with the same settings.

        Args:
            arguments: those of the subclass's `request` after its text, by name.
        """
        if not isinstance(text, (list, tuple)):
            return self._request_of([checked_text(text)], arguments, [None], [{}], is_shared=True)
        texts, count = checked_texts(text), len(text)
        return self._request_of(texts, arguments, [None] * count, [{}] * count, is_shared=False)

    def _request_of(
        self,
        texts: Sequence[str],
        arguments: Arguments,
        voices: Sequence[Voice | None],
        settings: Sequence[Arguments],
        is_shared: bool,
    ) -> Request:
        """A request of texts, each with the call's arguments or with some of its own.

        Args:
            arguments: of the call; required ones may be missing if all texts have them.
            voices, settings: each text's own, checked; None and {} for those of the call.
        """
        reader = ArgumentReader(self)
        common = reader.of_all(arguments, is_needed=not any(settings))
        of_texts = [
            reader.of_text(arguments, voice, own, number)
            if common is None or voice is not None or own
            else common
            for number, (voice, own) in enumerate(zip(voices, settings, strict=True), start=1)
        ]
        reader.warn_of_ignored([arguments, *settings])
        request = self.engine.request(
            texts, of_texts, self.options_of(arguments), is_shared=is_shared
        )
        if common in of_texts and arguments.get("voice") is None:
            self.conds = request.voices[of_texts.index(common)]
        return request
