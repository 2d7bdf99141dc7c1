"""A request to ChatTTS: texts in pieces, their voice, and the settings of both modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...checks.plain import shown
from ...errors import SettingError
from ...models.chattts.sampling import ChatTTSSampling
from ...text.chattts.prompts import check_prompt
from ...voices.chattts.voice import ChatTTSVoice
from ..request import (
    Finished,
    Progress,
    check_callback,
    check_flag,
    check_one_each,
    check_whole,
)


@dataclass(frozen=True)
class ModeSettings:
    """Settings of one mode of the GPT: refining, or speaking.

    Attributes:
        prompt: manners, such as "[oral_2]" or "[speed_5]".
        ensure_non_empty: repeat what ends before its first token, at last without letting it end.

    Raises:
        SettingError: a value outside its range, or a manner that there is not.
    """

    sampling: ChatTTSSampling
    max_new_tokens: int
    prompt: str = ""
    ensure_non_empty: bool = True

    def __post_init__(self):
        check_prompt(self.prompt)
        check_whole("max_new_token", self.max_new_tokens)
        if self.max_new_tokens is None or self.max_new_tokens < 1:
            raise SettingError(
                f"max_new_token must be 1 or more; got {shown(self.max_new_tokens)}."
            )
        check_flag("ensure_non_empty", self.ensure_non_empty)


@dataclass(frozen=True)
class ChatTTSPiece:
    """A piece of a text, normalised.

    Attributes:
        left_out: what was deleted of it, since the model does not know it.
        refining_seed, seed: of the first attempt at refining and at speaking it.
    """

    text: str
    refining_seed: int
    seed: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ChatTTSRequest:
    """Everything that one call speaks.

    Attributes:
        texts: the pieces of each text; a text may have none.
        voices: one for each text.
        speeds: of each text, a factor of the tempo.
        refining: None leaves the texts as they are.
        speaking: None only refines.
        makes_sample: where there is no audio prompt, and a text has several pieces, its first is
            spoken alone first, and is the audio prompt of all of them, so that they have one voice.
        uses_hidden: sound is made of hidden states; False: of codes.
        together: most pieces that are written at a time.
        invariant: codes do not depend on the company to the bit, also where that is slower.
        watermark: marks the speech as made by a machine.
        progress: callback(stage, done, total) with "refine" or "tokens".
        finished: callback(number, waveform, outcomes) as soon as a text is final.

    Raises:
        SettingError: a value of another kind, or not as many voices or speeds as texts.
    """

    texts: tuple[tuple[ChatTTSPiece, ...], ...]
    refining: ModeSettings | None
    speaking: ModeSettings | None
    voices: tuple[ChatTTSVoice, ...]
    speeds: tuple[float, ...]
    makes_sample: bool = True
    uses_hidden: bool = True
    together: int = 4
    invariant: bool = False
    watermark: bool = True
    progress: Progress | None = None
    finished: Finished | None = None

    def __post_init__(self):
        check_whole("max_split_batch", self.together)
        if self.together < 1:
            raise SettingError(f"max_split_batch must be 1 or more; got {self.together}.")
        check_flag("invariant", self.invariant)
        check_callback("progress", self.progress)
        check_callback("finished", self.finished)
        check_one_each("voices", self.voices, len(self.texts))
        check_one_each("speeds", self.speeds, len(self.texts))

    def pieces(self) -> Iterator[tuple[int, ChatTTSPiece]]:
        """Yield the number of its text, and each piece."""
        for number, pieces in enumerate(self.texts):
            for piece in pieces:
                yield number, piece


@dataclass(frozen=True)
class StreamSettings:
    """Times and sizes of what a stream emits.

    Attributes:
        every: steps between two windows (upstream's `stream_batch`).
        largest: most samples of a chunk but the last (`stream_speed`).
        passed: windows at the beginning that emit nothing (`pass_first_n_batches`).
        lookahead: steps after a sample that must be there before it is emitted; see
            `models/chattts/windows.py`.

    Raises:
        SettingError: a value outside its range.
    """

    every: int = 24
    largest: int = 12000
    passed: int = 2
    lookahead: int = 52

    def __post_init__(self):
        least = {"every": ("stream_batch", 1), "largest": ("stream_speed", 1)}
        least |= {"passed": ("pass_first_n_batches", 0), "lookahead": ("lookahead", 0)}
        for attribute, (name, low) in least.items():
            value = getattr(self, attribute)
            check_whole(name, value)
            if value is None or value < low:
                raise SettingError(f"{name} must be {low} or more; got {shown(value)}.")

    def is_due(self, steps: int) -> bool:
        """Tell whether something may be emitted after so many steps."""
        return steps % self.every == 0 and steps > self.passed * self.every


# Says what a user should know, in one line.
Say = Callable[[Warning | str], None]
