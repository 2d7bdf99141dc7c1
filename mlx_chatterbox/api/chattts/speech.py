"""ChatTTS with the methods of the other public classes, for the command line and for jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SettingError, errors_about
from ...models.chattts.windows import CONTEXT_STEPS
from ...synthesis.chattts.request import ChatTTSRequest
from ...synthesis.request import Finished, Progress, check_seeds, names_of_texts
from ...synthesis.result import Result
from ...synthesis.streaming import SpeechStream
from ...text.chattts.homophones import HomophoneTable
from ...text.chattts.normalize import ChatTTSNormalizer, left_out_note
from ...text.chattts.prompts import SPEED, check_prompt, split_text
from ...text.respelling import Lexicon, respelling_of
from ...voices.chattts.random_speaker import SpeakerStatistics
from ...voices.chattts.strings import encode_speaker
from ...voices.chattts.voice import ChatTTSVoice
from ...weights.chattts import ChatTTSModel
from ..latest import ReportsLatest
from ..signatures import same_arguments
from .arguments import MOST_TOGETHER, CallArguments
from .chat import Chat
from .parameters import InferCodeParams, RefineTextParams
from .speakers import read_speaker

LANGUAGES = ("zh", "en")
_MANNER = re.compile(r"\[[^\[\]]*\]")
_SPEED = re.compile(r"\[speed_\d+\]")


class ChatTTSSpeech(ReportsLatest):
    """A loaded ChatTTS that speaks as `ChatterboxTTS` does.

    Attributes:
        chat: upstream's interface to the same model.
        checkpoint: the model.
        conds: the voice in use; None: the model chooses one for each text.
        sr: sample rate, 24000 Hz.
    """

    sr = Chat.sr

    def __init__(self, model: ChatTTSModel, device: str | None = None):
        self.chat = Chat.of_model(model, device)
        self.checkpoint = model
        self.conds: ChatTTSVoice | None = None
        self._latest = self.chat.latest

    def voice_of(self, speaker: str | Path) -> ChatTTSVoice:
        """Read a speaker; see `read_speaker`."""
        return read_speaker(speaker, self.checkpoint.statistics)

    def take_statistics(self, statistics: SpeakerStatistics) -> None:
        """Draw random speakers from these."""
        self.checkpoint = replace(self.checkpoint, statistics=statistics)
        self.chat.speaker.statistics = statistics

    @property
    def speaker_string(self) -> str | None:
        """The speaker in use as a string; None without one."""
        has_one = self.conds is not None and self.conds.speaker is not None
        return encode_speaker(self.conds.speaker) if self.conds is not None and has_one else None

    @staticmethod
    def load_voice(path: Path) -> ChatTTSVoice:
        """Read a saved voice."""
        return ChatTTSVoice.load(path)

    @staticmethod
    def written_pieces(text: str) -> list[str]:
        """The pieces in which a text is spoken, as they are written."""
        return split_text(text)

    def arguments(
        self,
        *,
        lang: str | None = None,
        speaker: str | None = None,
        refine: bool | None = None,
        prompt: str = "",
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        repetition_penalty: float | None = None,
        max_new_tokens: int | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
        normalize: bool | None = None,
        as_written: bool = False,
        lexicon: Lexicon = None,
        homophones: str | Path | None = None,
        speed: float | None = None,
        watermark: bool | None = None,
        progress: Progress | None = None,
    ) -> CallArguments:
        """Check settings by the names that the other classes have for them.

        Args:
            lang: "zh" or "en"; None: by the characters of each piece.
            speaker: a speaker string; None: the voice in use.
            refine: False speaks texts as they are; None and True refine them first.
            prompt: manners: "[speed_3]" of the speech, others of the refined text.
            temperature, top_p, top_k, repetition_penalty, max_new_tokens: of the speech.
            batch_size: most pieces that are written at a time.
            as_written: as `normalize=False`; jobs keep it with the settings of their pieces.
            homophones: the file of a table, or "pinyin".

        Raises:
            SettingError: one outside its range.
        """
        if lang is not None and lang.lower() not in LANGUAGES:
            raise SettingError(f"ChatTTS speaks {' and '.join(LANGUAGES)}, not {lang!r}.")
        check_prompt(prompt)
        manners = _MANNER.findall(prompt)
        of_speech = "".join(one for one in manners if _SPEED.fullmatch(one))
        of_text = "".join(one for one in manners if not _SPEED.fullmatch(one))
        if refine is False and of_text:
            raise SettingError(
                f"prompt {of_text} is for refining, which is turned off: leave one of them out."
            )
        speech: dict[str, Any] = {
            "temperature": temperature,
            "top_P": top_p,
            "top_K": top_k,
            "repetition_penalty": repetition_penalty,
            "max_new_token": max_new_tokens,
        }
        voice = self.conds or ChatTTSVoice()
        if speaker is not None:
            voice = self.voice_of(speaker)
        if homophones is not None:
            self.chat.normalizer.homophones = table_of(homophones)
        return CallArguments(
            lang=None if lang is None else lang.lower(),
            skip_refine_text=refine is False,
            do_text_normalization=normalize is not False and not as_written,
            max_split_batch=MOST_TOGETHER if batch_size is None else batch_size,
            params_refine_text=RefineTextParams(prompt=of_text, show_tqdm=False),
            params_infer_code=InferCodeParams(
                prompt=of_speech or SPEED,
                show_tqdm=False,
                # Windows are exact: none needs to be passed over.
                pass_first_n_batches=0,
                spk_emb=voice.speaker,
                spk_smp=voice.codes,
                txt_smp=voice.text,
                **{name: value for name, value in speech.items() if value is not None},
            ),
            seed=seed,
            watermark=watermark,
            speed=speed,
            progress=progress,
            respelling=respelling_of(lexicon),
        )

    @same_arguments(arguments)
    def generate(self, text: str, **settings) -> np.ndarray:
        """Speak; settings as of `arguments`. Returns (samples,) float32 at 24 kHz."""
        return self.speak(text, **settings).waveform

    def speak(self, text: str, **settings) -> Result:
        """Speak a text, and return everything that the call produces."""
        return self.chat.speak_with(text, self.arguments(**settings))

    def stream(self, text: str, *, lookahead: int = CONTEXT_STEPS, **settings) -> SpeechStream:
        """Speak a text chunk by chunk; see `Chat.stream`."""
        return self.chat.stream_with(text, self.arguments(**settings), lookahead)

    def generate_batch(
        self,
        texts: Sequence[str],
        *,
        voices: Sequence[ChatTTSVoice | None] | None = None,
        settings: Sequence[Mapping[str, Any] | None] | None = None,
        seeds: Sequence[int | None] | None = None,
        finished: Finished | None = None,
        invariant: bool = False,
        **common,
    ) -> list[np.ndarray]:
        """Speak several texts together, none of them split; see `TextToSpeech.generate_batch`.

        Args:
            settings: for each text `speed` and `lang`, which replace those of the call, and all
                others, which must be the same for all texts.
        """
        each = [{**common, **(one or {})} for one in settings or [{}] * len(texts)]
        seeds = [None] * len(texts) if seeds is None else seeds
        check_seeds(seeds, len(texts))
        requests = []
        names = names_of_texts(len(texts))
        for i, (text, own, seed) in enumerate(zip(texts, each, seeds, strict=True)):
            with errors_about(names[i]):
                arguments = self.arguments(**{**own, "seed": seed})
                arguments.split_text, arguments.invariant = False, invariant
                request = self.chat.request_with([[text]], arguments)
            voice = None if voices is None else voices[i]
            if voice is not None:
                request = replace(request, voices=(voice,))
            requests.append(request)
        together = min(len(texts), common.get("batch_size") or MOST_TOGETHER)
        joined = replace(joined_requests(requests, finished), together=together)
        return self.chat.speak_request(joined).waveforms


def joined_requests(
    requests: Sequence[ChatTTSRequest], finished: Finished | None
) -> ChatTTSRequest:
    """Make one request of several with the same settings but voices and tempos.

    Raises:
        SettingError: other settings differ.
    """
    first = requests[0]
    for one in requests:
        alike = (one.refining, one.speaking, one.uses_hidden, one.watermark)
        if alike != (first.refining, first.speaking, first.uses_hidden, first.watermark):
            raise SettingError("texts that are spoken together differ in voice and speed alone.")
    return replace(
        first,
        texts=tuple(text for one in requests for text in one.texts),
        voices=tuple(voice for one in requests for voice in one.voices),
        speeds=tuple(speed for one in requests for speed in one.speeds),
        finished=finished,
    )


def pieces_for_show(
    texts: Sequence[str],
    normalize: bool,
    language: str | None,
    lexicon: Lexicon,
    homophones: str | Path | None,
) -> tuple[list[str], str]:
    """The pieces of texts as they are before refining, and a note on what they lack, or ""."""
    normalizer = ChatTTSNormalizer(None if homophones is None else table_of(homophones))
    respelling = respelling_of(lexicon)
    pieces = [piece for text in texts for piece in split_text(text)]
    if respelling is not None:
        pieces = [respelling(piece) for piece in pieces]
    normal = [normalizer(piece, normalize, language=language) for piece in pieces]
    return [one.text for one in normal if one.text.strip()], left_out_note(normal)


def table_of(homophones: str | Path) -> HomophoneTable:
    """Read a table of homophones, or make the one of pypinyin, which is called "pinyin".

    Raises:
        TextError: see `HomophoneTable.load` and `pinyin_homophones`.
    """
    if str(homophones) == "pinyin":
        from ...text.chattts.pinyin import pinyin_homophones

        return pinyin_homophones()
    return HomophoneTable.load(homophones)
