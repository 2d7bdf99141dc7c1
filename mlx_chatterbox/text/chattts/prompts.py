"""Prompts of ChatTTS's two modes, and the splitting of a text into pieces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ...errors import SettingError
from ..unread import quoted_list
from .special_tokens import (
    BEGIN_CODES,
    BEGIN_REFINING,
    BEGIN_SPEECH,
    END_OF_RAW,
    IN_TEXT,
    NO_SPEAKER,
    SPEAKER,
)

MAX_SPLIT_BATCH = 4
SPEED = "[speed_5]"
# They stand at the prompt's beginning, and nowhere else.
_HEADS = re.compile("|".join(map(re.escape, (BEGIN_SPEECH, SPEAKER, NO_SPEAKER))))
_ENDS = re.compile(r"(?<=。)|(?<=\.)\s+")
_BRACKETS = re.compile(r"\[[^\[\]]*\]?")


def split_text(text: str) -> list[str]:
    """Split a text into pieces: at line ends, or, if it has one line, at its full stops.

    Returns:
        The pieces without outer white space, none of them empty. Upstream keeps empty lines, which
        it then speaks.
    """
    pieces = text.splitlines() if "\n" in text else _ENDS.split(text)
    return [piece for piece in map(str.strip, pieces) if piece]


def in_batches(pieces: Sequence[str], most: int = MAX_SPLIT_BATCH) -> Iterator[Sequence[str]]:
    """Yield the pieces in batches.

    Raises:
        SettingError: `most` is less than 1.
    """
    if most < 1:
        raise SettingError(f"max_split_batch must be 1 or more; got {most}.")
    for i in range(0, len(pieces), most):
        yield pieces[i : i + most]


def refining_prompt(text: str, prompt: str = "") -> str:
    """Write the prompt of the first mode, which refines a text.

    Args:
        prompt: manners, such as "[oral_2][laugh_0][break_6]".
    """
    return f"{BEGIN_REFINING}{text}{END_OF_RAW}{prompt}"


def speech_prompt(
    text: str, prompt: str = SPEED, has_speaker: bool = False, sample_text: str | None = None
) -> str:
    """Write the prompt of the second mode, which turns a text into codes.

    Args:
        prompt: manners, such as "[speed_5]".
        has_speaker: a speaker's vector takes the place of a token's embedding.
        sample_text: the text of the audio prompt, if there is one. Upstream leaves tokens in it
            that stand for a speaker, each of which would get the vector.
    """
    speaker = SPEAKER if has_speaker else NO_SPEAKER
    sample = without_heads(sample_text or "")
    return f"{BEGIN_SPEECH}{speaker}{sample}{prompt}{without_heads(text)}{BEGIN_CODES}"


def without_heads(text: str) -> str:
    """Remove the tokens of a speech prompt's beginning, and outer white space."""
    while True:
        shorter = _HEADS.sub("", text)
        if shorter == text:
            return text.strip()
        # The parts around a token may form another.
        text = shorter


def check_prompt(prompt: str, knows: Callable[[str], bool] = IN_TEXT.__contains__) -> None:
    """Check a prompt of manners: "[oral_12]", which is no token, would be spoken.

    Args:
        knows: tells whether a text in brackets is a token that may stand there.

    Raises:
        SettingError: a token that the model does not have.
    """
    if not isinstance(prompt, str):
        raise SettingError(f"a prompt is a text such as '[oral_2][laugh_0]'; got {prompt!r}.")
    unknown = [one for one in _BRACKETS.findall(prompt) if not knows(one)]
    if unknown:
        raise SettingError(
            f"the prompt has {quoted_list(unknown)}, which the model does not know; it knows "
            "[oral_0] to [oral_9], [laugh_0] to [laugh_2], [break_0] to [break_7], [speed_0] to "
            "[speed_9] and the sounds [laugh], [uv_break], [lbreak]."
        )
