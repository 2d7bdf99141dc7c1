"""`Chat`: upstream's class for ChatTTS, by which a script changes its import alone.

Names, order and defaults of methods and parameters are upstream's; additions are keyword-only.
What upstream has wrong is right here: see `docs/chattts.md`.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...audio.stretch import checked_speed
from ...errors import CheckpointError, warn_user
from ...models.chattts.windows import CONTEXT_STEPS
from ...runtime.device_argument import computed_on, on_device
from ...runtime.memory import give_back_memory
from ...synthesis.chattts.outcome import SAMPLE_RATE, WaveformAssembler, limit_of, unread_warnings
from ...synthesis.chattts.request import ChatTTSRequest, StreamSettings
from ...synthesis.chattts.sound import StepSound
from ...synthesis.chattts.stream import piece_chunks, row_chunks
from ...synthesis.chattts.writer import PieceWriter
from ...synthesis.result import LatestResult, Result
from ...synthesis.streaming import SpeechStream, shaped_stream
from ...text.chattts.normalize import ChatTTSNormalizer
from ...voices.chattts.strings import encode_codes
from ...voices.voice import read_reference
from ...weights.chattts import ChatTTSModel
from ..latest import ReportsLatest
from . import parameters
from .arguments import CallArguments, check_lookahead, pieces_by_text, request_of, texts_of
from .helpers import SpeakerHelper, TokenizerHelper
from .loading import find_model, load_model, warn_of_unused


class InterruptFlag:
    """Tells a call to end; upstream's `chat.context`."""

    def __init__(self):
        self._is_set = False

    def set(self, value: bool) -> None:
        self._is_set = bool(value)

    def get(self) -> bool:
        return self._is_set


class Chat(ReportsLatest):
    """ChatTTS.

    Attributes:
        normalizer: `register(language, function)` and `unregister(language)`, and calling it.
        speaker, tokenizer: upstream's helpers; `tokenizer` is None before `load`.
        gpt, embed, dvae, decoder, vocos: the networks, None before `load`; the GPT has the tables
            of `embed` itself.
        config: sizes of the networks; None before `load`.
        context: the flag that `interrupt` sets.
        device: where it computes; None: MLX's default device.
        sr: sample rate, 24000 Hz.
        latest: the result of the latest call, of which `outcomes` and others are; see
            `ReportsLatest`.
    """

    RefineTextParams = parameters.RefineTextParams
    InferCodeParams = parameters.InferCodeParams
    sr = SAMPLE_RATE

    def __init__(self, logger: logging.Logger | None = None):
        """Make an empty one.

        Args:
            logger: takes what would otherwise be warnings.
        """
        self.logger = logger
        self.context = InterruptFlag()
        self.normalizer = ChatTTSNormalizer()
        self.speaker = SpeakerHelper()
        self.tokenizer: TokenizerHelper | None = None
        self.device: str | None = None
        self._loaded: ChatTTSModel | None = None
        self.latest = self._latest = LatestResult(
            Result(parameters.InferCodeParams().max_new_token)
        )

    @classmethod
    def of_model(cls, model: ChatTTSModel, device: str | None = None) -> Chat:
        """Make one of a model that is loaded."""
        chat = cls()
        chat._take(model, device)
        return chat

    # --- Loading -----------------------------------------------------------------------------

    def load(
        self,
        source: str = "local",
        force_redownload: bool = False,
        compile: bool = False,
        custom_path: str | Path | None = None,
        device: Any = None,
        coef: str | None = None,
        use_flash_attn: bool = False,
        use_vllm: bool = False,
        enable_cache: bool = True,
        experimental: bool = False,
        *,
        dtype: str | None = None,
        speaker_statistics: str | Path | None = None,
    ) -> bool:
        """Load a model.

        Args:
            source: "huggingface": the hub's cache, or a download; "local": the folder `custom_path`
                or else the working folder, and where that holds no model as "huggingface";
                "custom": the folder `custom_path`.
            force_redownload: ask the hub for the newest files even if there are some.
            custom_path: a folder with upstream's `asset/` or a converted one; for "huggingface" the
                folder of the hub's cache.
            device: "cpu" computes on the CPU, anything else on MLX's default device.
            compile, coef, use_flash_attn, use_vllm, enable_cache, experimental: upstream's; they
                have no effect, which a warning says. The engine always works in batches.
            dtype: "float32", "float16" or "bfloat16" instead of the checkpoint's own.
            speaker_statistics: for random speakers: a file or a string (`read_statistics`). None:
                those in the model's folder, if it has any.

        Returns:
            True. Upstream returns False where this raises.

        Raises:
            CheckpointError, HubError: there is no such model, or it cannot be loaded.
        """
        warn_of_unused(
            self._say,
            compile=(compile, False),
            coef=(coef, None),
            use_flash_attn=(use_flash_attn, False),
            use_vllm=(use_vllm, False),
            enable_cache=(enable_cache, True),
            experimental=(experimental, False),
        )
        device = None if device is None else str(device)
        with on_device(device):
            folder = find_model(source, force_redownload, custom_path)
            loaded = load_model(folder, dtype, speaker_statistics)
        self._take(loaded, device)
        return True

    def _take(self, model: ChatTTSModel, device: str | None) -> None:
        self._loaded, self.device = model, device
        self.tokenizer = TokenizerHelper(model.tokenizer)
        self.speaker.statistics = model.statistics

    def has_loaded(self, use_decoder: bool = False) -> bool:
        """Tell whether there is a model; all its networks are loaded together."""
        return self._loaded is not None

    def download_models(
        self,
        source: str = "local",
        force_redownload: bool = False,
        custom_path: str | Path | None = None,
    ) -> str:
        """Find or download the files of a model; arguments and errors as `load`'s.

        Returns:
            Their folder.
        """
        return str(find_model(source, force_redownload, custom_path))

    def unload(self) -> None:
        """Free the model; another can be loaded."""
        self._loaded = self.tokenizer = self.device = None
        self.speaker.statistics = None
        self.context.set(False)
        give_back_memory()

    def interrupt(self) -> None:
        """Have the running call end, from another thread; it returns what there is."""
        self.context.set(True)

    @property
    def config(self):
        return None if self._loaded is None else self._loaded.config

    @property
    def gpt(self):
        return self._network("gpt")

    @property
    def embed(self):
        return self._network("gpt")

    @property
    def dvae(self):
        return self._network("dvae")

    @property
    def decoder(self):
        return self._network("decoder")

    @property
    def vocos(self):
        return self._network("vocos")

    def _network(self, name: str):
        return None if self._loaded is None else getattr(self._loaded.networks, name)

    # --- Voices ------------------------------------------------------------------------------

    def sample_random_speaker(self, seed: int | None = None) -> str:
        """Draw a speaker, and write it as a string.

        Args:
            seed: the same one gives the same speaker; None draws another each time.

        Raises:
            SettingError: there are no statistics of speakers: see `load`.
        """
        return self.speaker.sample_random(seed)

    def sample_audio_speaker(self, wav: Any) -> str:
        """Write a recording as an audio-prompt string, for `InferCodeParams.spk_smp`.

        Args:
            wav: (n,) or (1, n) samples at 24 kHz, or a file of any rate.

        Raises:
            AudioError: it cannot be read, is silent or too short.
            SettingError: longer than the model has room for.
        """
        loaded = self._needed()
        if not isinstance(wav, (str, Path)):
            wav = np.asarray(wav, dtype=np.float32)
            wav = wav[0] if wav.ndim == 2 and wav.shape[0] == 1 else wav
        with on_device(self.device):
            samples = read_reference(wav, 0.0)
            return encode_codes(StepSound(loaded.networks).codes_of(samples))

    # --- Speaking ----------------------------------------------------------------------------

    def infer(
        self,
        text: str | Sequence[str],
        stream: bool = False,
        lang: str | None = None,
        skip_refine_text: bool = False,
        refine_text_only: bool = False,
        use_decoder: bool = True,
        do_text_normalization: bool = True,
        do_homophone_replacement: bool = True,
        split_text: bool = True,
        max_split_batch: int = 4,
        params_refine_text: parameters.RefineTextParams | None = None,
        params_infer_code: parameters.InferCodeParams | None = None,
        *,
        lookahead: int = CONTEXT_STEPS,
        **options,
    ) -> Any:
        """Speak as upstream does.

        Args:
            text: a text, or a list of texts, which are spoken as they are, not split.
            stream: True returns a generator of (B, n) float32, rows side by side.
            refine_text_only: True returns the refined texts.
            lookahead: of a stream, steps after a sample that must be there: from 52 on it is that
                of the whole, with fewer it comes sooner and differs.
            options: seed, watermark, speed, progress, invariant; these and upstream's others: see
                `CallArguments`. A stream has no speed.

        Returns:
            With `split_text` a list of one (n,) float32 at 24 kHz, all pieces in order; otherwise a
            list of one a text. With `refine_text_only` a str, pieces joined by newlines, or a list.
            [] for no text.

        Raises:
            TextError, SettingError, AudioError: as the other public classes.
        """
        arguments = CallArguments(
            lang,
            skip_refine_text,
            use_decoder,
            do_text_normalization,
            do_homophone_replacement,
            split_text,
            max_split_batch,
            params_refine_text or parameters.RefineTextParams(),
            params_infer_code or parameters.InferCodeParams(),
            **options,
        )
        texts = texts_of(text)
        loaded = self._needed()
        if not texts:
            return []
        if not split_text:
            grouped = [[one] for one in texts]
        else:
            # All that there is becomes one waveform; a list is taken as it is.
            grouped = pieces_by_text(texts, splits=True) if isinstance(text, str) else [texts]
        request = self.request_with(grouped, arguments, refine_text_only)
        if refine_text_only:
            refined = self._refined(loaded, request)
            return "\n".join(refined) if split_text else refined
        if stream:
            check_lookahead(lookahead)
            settings = arguments.params_infer_code.stream_settings(lookahead)
            together = max_split_batch if split_text else len(texts)
            return self._row_stream(loaded, request, settings, together)
        return self.speak_request(request).waveforms

    def speak(self, text: str | Sequence[str], **options) -> Result:
        """Speak, and return everything that the call produces.

        Args:
            text: one, or a list of several, each of which is split.
            options: see `CallArguments`.

        Returns:
            A waveform for each text; the outcomes have the text that was spoken.

        Raises:
            TextError: nothing to speak. SettingError, AudioError: as `infer`.
        """
        return self.speak_with(text, CallArguments(**options))

    def stream(
        self, text: str | Sequence[str], *, lookahead: int = CONTEXT_STEPS, **options
    ) -> SpeechStream:
        """Speak, chunk by chunk, piece after piece, while the codes are still written.

        Args:
            text, options: as `speak`'s; several texts are spoken one after the other.
            lookahead: see `infer`.

        Returns:
            An iterator of (n,) float32 at 24 kHz, n > 0. It may be closed at any time. Its `result`
            is complete when it ends.

        Raises:
            TextError, SettingError: as `speak`, at once.
        """
        return self.stream_with(text, CallArguments(**options), lookahead)

    def speak_with(self, text: str | Sequence[str], arguments: CallArguments) -> Result:
        """Speak; see `speak`."""
        grouped = pieces_by_text(texts_of(text), bool(arguments.split_text))
        return self.speak_request(self.request_with(grouped, arguments))

    def stream_with(
        self, text: str | Sequence[str], arguments: CallArguments, lookahead: int = CONTEXT_STEPS
    ) -> SpeechStream:
        """Speak chunk by chunk; see `stream`."""
        check_lookahead(lookahead)
        grouped = pieces_by_text(texts_of(text), bool(arguments.split_text))
        request, loaded = self.request_with(grouped, arguments), self._needed()
        settings = arguments.params_infer_code.stream_settings(lookahead)
        result = Result(limit_of(request))

        def chunks() -> Generator[tuple[np.ndarray, bool]]:
            self.latest.set(result)
            writer = self._writer(loaded, request)
            with closing(piece_chunks(writer, settings, result)) as parts:
                yield from parts
            self._warn_of_unread(writer)

        speed = checked_speed(arguments.speed)
        speech = shaped_stream(chunks(), SAMPLE_RATE, speed, request.watermark)
        return SpeechStream(computed_on(self.device, speech), result)

    def request_with(
        self,
        texts: Sequence[Sequence[str]],
        arguments: CallArguments,
        refines_only: bool = False,
    ) -> ChatTTSRequest:
        """Make the request for texts that are split into pieces; it ends an interruption.

        Raises:
            CheckpointError: no model is loaded. TextError, SettingError: see `request_of`.
        """
        self.context.set(False)
        config = self._needed().config
        return request_of(texts, arguments, self.normalizer, config, refines_only)

    def speak_request(self, request: ChatTTSRequest) -> Result:
        """Speak a request of this model."""
        with on_device(self.device):
            writer = self._writer(self._needed(), request)
            assembler = WaveformAssembler(writer, request)
            writer.run(assembler.add)
            result = assembler.result()
        self.latest.set(replace(result, waveforms=[]))
        self._warn_of_unread(writer)
        return result

    def _refined(self, loaded: ChatTTSModel, request: ChatTTSRequest) -> list[str]:
        with on_device(self.device):
            writer = self._writer(loaded, request)
            writer.run(lambda _: None)
        self._warn_of_unread(writer)
        return [one.text for one in writer.pieces]

    def _row_stream(
        self,
        loaded: ChatTTSModel,
        request: ChatTTSRequest,
        settings: StreamSettings,
        together: int,
    ) -> Generator[np.ndarray]:
        result = Result(limit_of(request))

        def chunks() -> Generator[np.ndarray]:
            self.latest.set(result)
            writer = self._writer(loaded, request)
            with closing(row_chunks(writer, settings, together, request.watermark, result)) as rows:
                yield from rows
            self._warn_of_unread(writer)

        return computed_on(self.device, chunks())

    def _writer(self, loaded: ChatTTSModel, request: ChatTTSRequest) -> PieceWriter:
        return PieceWriter(
            loaded.config,
            loaded.networks,
            loaded.tokenizer,
            request,
            self.context.get,
            self._say,
        )

    def _needed(self) -> ChatTTSModel:
        if self._loaded is None:
            raise CheckpointError("no model is loaded: call load() first.")
        return self._loaded

    def _warn_of_unread(self, writer: PieceWriter) -> None:
        for warning in unread_warnings(writer.pieces):
            self._say(warning)

    def _say(self, message: Warning | str) -> None:
        if self.logger is not None:
            self.logger.warning(str(message))
        else:
            warn_user(message)
