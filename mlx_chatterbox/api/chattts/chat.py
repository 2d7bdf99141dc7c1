"""`Chat`: upstream's class for ChatTTS, by which a script changes its import alone.

Names, order and defaults of methods and parameters are upstream's; additions are keyword-only.
What upstream has wrong is right here: see `docs/chattts.md`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from ...audio.stretch import checked_speed
from ...models.chattts.windows import CONTEXT_STEPS
from ...runtime.device_argument import computed_on, on_device
from ...synthesis.chattts.outcome import SAMPLE_RATE, WaveformAssembler, limit_of, unread_warnings
from ...synthesis.chattts.request import ChatTTSRequest, StreamSettings
from ...synthesis.chattts.stream import piece_chunks, row_chunks
from ...synthesis.chattts.writer import PieceWriter
from ...synthesis.result import Result
from ...synthesis.streaming import SpeechStream, shaped_stream
from ...weights.chattts import ChatTTSModel
from . import parameters
from .arguments import CallArguments, check_lookahead, pieces_by_text, request_of, texts_of
from .loaded import LoadsChatTTS


class Chat(LoadsChatTTS):
    """ChatTTS; its attributes are those of `LoadsChatTTS`."""

    RefineTextParams = parameters.RefineTextParams
    InferCodeParams = parameters.InferCodeParams

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

    def _warn_of_unread(self, writer: PieceWriter) -> None:
        for warning in unread_warnings(writer.pieces):
            self._say(warning)
