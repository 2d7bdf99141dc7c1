"""Speakers as a user names them: a string, a file, a saved voice, or the seed of a random one."""

from __future__ import annotations

from pathlib import Path

from ...checks.json_file import read_small
from ...checks.plain import shown
from ...errors import CheckpointError, SettingError
from ...voices.chattts.random_speaker import SpeakerStatistics, random_speaker
from ...voices.chattts.strings import decode_speaker
from ...voices.chattts.voice import ChatTTSVoice
from ...voices.voice import is_saved_voice

SEED = "seed:"
_ENDINGS = (".safetensors", ".txt")
_MAX_TEXT_BYTES = 1 << 16
# No file's name is longer; a speaker string is of about 800 characters.
_LONGEST_NAME = 255


def read_speaker(name: str | Path, statistics: SpeakerStatistics | None = None) -> ChatTTSVoice:
    """Read the speaker that a user names.

    Args:
        name: "seed:42", a random speaker; a saved voice or a text file with a speaker string, or
            the name of one without its ending; or a speaker string.
        statistics: for random speakers.

    Raises:
        SettingError: none of these; a random speaker without statistics.
        CheckpointError: a file is damaged, or something else.
    """
    text = str(name).strip()
    if not isinstance(name, Path) and is_random(text):
        return ChatTTSVoice(random_speaker(statistics, int(text[len(SEED) :])))
    path = file_of(name)
    if path is not None:
        return _from_file(path)
    if isinstance(name, Path) or not _may_be_string(text):
        raise SettingError(
            f"there is no speaker {shown(text)}: name a saved voice or a text file, give a speaker "
            "string, or write seed:42."
        )
    return ChatTTSVoice(decode_speaker(text))


def is_random(name: str) -> bool:
    """Tell whether a speaker is the seed of a random one.

    Raises:
        SettingError: "seed:" without a whole number.
    """
    text = name.strip()
    if not text.lower().startswith(SEED):
        return False
    if not text[len(SEED) :].strip().isdecimal():
        raise SettingError(f"{shown(text)}: write a whole number after seed:, as in seed:42.")
    return True


def _may_be_string(text: str) -> bool:
    return len(text) > _LONGEST_NAME and "/" not in text and "\\" not in text


def file_of(name: str | Path) -> Path | None:
    """The file that a speaker's name means, with or without its ending; None: it means none."""
    if not isinstance(name, Path) and _may_be_string(name):
        return None
    path = Path(name).expanduser()
    candidates = [path, *(path.with_name(path.name + ending) for ending in _ENDINGS if path.name)]
    return next((one for one in candidates if one.is_file()), None)


def _from_file(path: Path) -> ChatTTSVoice:
    if is_saved_voice(path):
        return ChatTTSVoice.load(path)
    try:
        text = read_small(path, _MAX_TEXT_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):
        raise CheckpointError(
            f"{path} is neither a saved voice nor a text file with a speaker string."
        ) from None
    try:
        return ChatTTSVoice(decode_speaker(text))
    except SettingError as error:
        raise CheckpointError(f"{path}: {error}") from None
