"""Upstream's parameters of the two modes: fields, order and defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import SettingError
from ...models.chattts.sampling import ChatTTSSampling
from ...synthesis.chattts.request import ModeSettings, StreamSettings
from ...text.chattts.prompts import SPEED
from ...text.checked_text import checked_text
from ...voices.chattts.strings import (
    checked_codes,
    checked_vector,
    decode_codes,
    decode_speaker,
)
from ...voices.chattts.voice import ChatTTSVoice


@dataclass
class RefineTextParams:
    """Parameters of refining, the first mode.

    Attributes:
        prompt: manners, such as "[oral_2][laugh_0][break_6]".
        top_P, top_K, temperature, repetition_penalty, min_new_token: see `ChatTTSSampling`.
        max_new_token: most tokens of a text.
        show_tqdm: a progress bar, on a terminal.
        ensure_non_empty: repeat what ends before its first token, up to three times, and then
            without letting it end at once.
        manual_seed: the same seed gives the same result, whatever else is in the call; None draws
            another each time. Row i has the seed plus i, pieces of one text seeds derived from it.
    """

    prompt: str = ""
    top_P: float | None = 0.7
    top_K: int | None = 20
    temperature: float | Sequence[float] = 0.7
    repetition_penalty: float = 1.0
    max_new_token: int = 384
    min_new_token: int = 0
    show_tqdm: bool = True
    ensure_non_empty: bool = True
    manual_seed: int | None = None

    def mode_settings(self) -> ModeSettings:
        """Check the parameters, all but those of voice and stream.

        Raises:
            SettingError: one outside its range.
        """
        temperature: Any = self.temperature
        if not isinstance(temperature, (int, float)) and hasattr(temperature, "__iter__"):
            temperature = tuple(float(one) for one in temperature)
            if type(self) is RefineTextParams:
                raise SettingError("refining has one temperature: only codes have one a codebook.")
            if len(temperature) not in (1, 4):
                raise SettingError(
                    f"temperature must be a number, or 4, one a codebook; got {len(temperature)}."
                )
        sampling = ChatTTSSampling(
            temperature, self.top_P, self.top_K, self.repetition_penalty, self.min_new_token
        )
        return ModeSettings(sampling, self.max_new_token, self.prompt, bool(self.ensure_non_empty))


@dataclass
class InferCodeParams(RefineTextParams):
    """Parameters of speaking, the second mode.

    Attributes:
        prompt: manners, such as "[speed_5]".
        temperature: one, or a list of one a codebook.
        max_new_token: most steps of a piece, of 512 samples each.
        spk_emb: a speaker string, or the speaker's vector, (768,).
        spk_smp: an audio-prompt string, or its codes, (4, steps).
        txt_smp: the text of the audio prompt.
        stream_batch: steps between two windows of a stream.
        stream_speed: most samples of a chunk, but for the last.
        pass_first_n_batches: windows at the beginning that emit nothing.
    """

    prompt: str = SPEED
    temperature: float | Sequence[float] = 0.3
    repetition_penalty: float = 1.05
    max_new_token: int = 2048
    spk_emb: Any = None
    spk_smp: Any = None
    txt_smp: str | None = None
    stream_batch: int = 24
    stream_speed: int = 12000
    pass_first_n_batches: int = 2

    def voice(self, speaker_size: int) -> ChatTTSVoice:
        """Read the voice.

        Raises:
            SettingError: a string is damaged, or no speaker's or audio prompt's.
        """
        speaker, codes = self.spk_emb, self.spk_smp
        if speaker is not None:
            is_string = isinstance(speaker, str)
            speaker = (
                decode_speaker(speaker, speaker_size)
                if is_string
                else checked_vector(np.squeeze(np.asarray(speaker)), speaker_size)
            )
        if codes is not None:
            codes = decode_codes(codes) if isinstance(codes, str) else checked_codes(codes)
        text = None if self.txt_smp is None else checked_text(self.txt_smp, "txt_smp")
        return ChatTTSVoice(speaker, codes, text)

    def stream_settings(self, lookahead: int) -> StreamSettings:
        """Check the parameters of a stream; raises SettingError for one outside its range."""
        return StreamSettings(
            self.stream_batch, self.stream_speed, self.pass_first_n_batches, lookahead
        )
