"""Finds the columns of a table, or keys of a record, with recording, text, speaker and language, by
their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...checks.plain import named
from ...errors import DataError

# Names in Coqui, NeMo, Common Voice, Hugging Face, LJSpeech and Piper, in lower case with "_" for
# spaces. Names in an earlier list are preferred.
AUDIO_NAMES = (
    (
        *("audio", "audio_file", "audio_filename", "audio_path", "audio_filepath", "audio_name"),
        *("audiofile", "audiopath", "file_name", "filename", "file", "file_path", "filepath"),
        *("path", "wav", "wav_file", "wav_filename", "wav_path", "wav_filepath", "wav_name"),
        *("wavfile", "wavpath", "mp3", "flac", "clip_path", "recording", "recording_path"),
        *("sound_path", "sound_file", "uri"),
    ),
    (
        *("id", "utterance_id", "utt_id", "uttid", "utt", "clip", "clip_id", "clip_name"),
        *("file_id", "fileid", "audio_id", "recording_id", "segment_id", "sample_id"),
        *("item_name", "name", "basename", "stem", "key"),
    ),
)
TEXT_NAMES = (
    (
        *("normalized_text", "normalised_text", "text_normalized", "text_normalised"),
        *("normalized_transcription", "normalized_transcript", "normalised_transcription"),
        *("normalised_transcript", "normalized_sentence", "norm_text", "text_norm"),
        *("normalized", "normalised"),
    ),
    ("text", "sentence", "transcription", "transcript", "utterance", "phrase"),
    (
        *("raw_text", "text_raw", "raw_transcription", "raw_transcript", "raw", "text_original"),
        *("original_text", "original"),
    ),
)
SPEAKER_NAMES = (
    ("speaker", "speaker_name", "speaker_id", "speakerid", "speakername", "spk", "spk_id"),
    ("spk_name", "spkid", "client_id", "voice", "voice_id", "narrator", "reader", "reader_id"),
    ("talker", "talker_id", "user_id", "actor", "speaker_label"),
)
LANGUAGE_NAMES = (
    ("language", "lang", "language_code", "lang_code", "language_id", "lang_id", "locale"),
)
ROLES = {
    "audio": AUDIO_NAMES,
    "text": TEXT_NAMES,
    "speaker": SPEAKER_NAMES,
    "language": LANGUAGE_NAMES,
}
# Defaults of the options in early versions, which wrote them into the configurations of their runs.
_OLD_DEFAULTS = frozenset(ROLES)
_SHOWN = {"audio": "recording"}
# Returns the cells of a column in some rows, by the column's name.
Values = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read.

    Attributes:
        text: the best first; where a row's cell is empty, the next column is read.
        unused: the other columns.
    """

    audio: str
    text: tuple[str, ...]
    speaker: str | None = None
    language: str | None = None
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe the columns to the user."""
        parts = {"recording": self.audio, "text": " or else ".join(self.text),
                 "speaker": self.speaker, "language": self.language}  # fmt: skip
        columns = [f"{role} ({name})" for role, name in parts.items() if name]
        line = "columns: " + ", ".join(columns)
        return line + (
            f"; not read: {', '.join(map(named, self.unused[:20]))}" if self.unused else ""
        )


def plain(name: str) -> str:
    """Normalise a column's name for comparison."""
    return name.strip().strip('"').strip().lower().replace(" ", "_").replace("-", "_")


def wanted_names(dataset) -> dict[str, str | None]:
    """Return the columns that the user names, by role."""
    return {role: getattr(dataset, f"{role}_column_name") for role in ROLES}


def _optional(dataset, wanted: str) -> bool:
    """True if a name may be a default that an early version wrote into a run's configuration."""
    return dataset.saved and wanted in _OLD_DEFAULTS


def roles_of(names: Sequence[str], dataset) -> dict[str, list[str]]:
    """Return the candidate columns of each role: all matches in the best list of names."""
    roles = {}
    for role, wanted in wanted_names(dataset).items():
        there = [name for name in names if wanted and plain(name) == plain(wanted)]
        if there or (wanted and not _optional(dataset, wanted)):
            roles[role] = there
            continue
        lists = ([name for name in names if plain(name) in some] for some in ROLES[role])
        roles[role] = next((some for some in lists if some), [])
    return roles


def by_name(
    names: Sequence[str], dataset, where: str, values: Values, same: Callable | None = None
) -> Columns:
    """Choose the columns to read.

    Args:
        where: file and line of the header, for messages.
        values: returns the cells of a column, to compare two candidates.
        same: True if two columns of recordings name the same files; None: they must be equal.

    Raises:
        DataError: a column that the user names does not exist, there is no column with recordings
            or texts, or several candidates differ.
    """
    roles = roles_of(names, dataset)
    shown = ", ".join(names)[:200]
    for role, wanted in wanted_names(dataset).items():
        if wanted and not roles[role] and not _optional(dataset, wanted):
            raise DataError(
                f"{where}: there is no column {wanted!r}, which dataset.{role}_column_name names; "
                f"the header has {shown}. (If this line is not a header, name the columns in their "
                "order by dataset.columns.)"
            )
    for role in ("audio", "text"):
        if not roles[role]:
            raise DataError(
                f"{where}: the header ({shown}) has no column with a known name for the "
                f"{_SHOWN.get(role, role)}: name it by {role}_column_name; or, if this line is no "
                "header, name the columns in their order by dataset.columns."
            )
    chosen = {
        role: _one_of(candidates, role, where, values, same if role == "audio" else None)
        for role, candidates in roles.items()
        if candidates
    }
    audio, best_text = chosen["audio"], chosen["text"]
    speaker, language = chosen.get("speaker"), chosen.get("language")
    text = (best_text, *_lesser_texts(names, best_text, dataset))
    used = {audio, speaker, language, *text}
    unused = tuple(name for name in names if name not in used and name.strip())
    return Columns(audio, text, speaker, language, unused)


def _one_of(names: list[str], role: str, where: str, values: Values, same: Callable | None) -> str:
    """Choose the only column, or the first of several with the same content."""
    first = names[0]
    for other in names[1:]:
        equal = same or (lambda a, b: list(a) == list(b))
        if role in ("speaker", "language"):
            equal = _same_groups
        if other == first:
            raise DataError(
                f"{where}: two columns are called {named(first)}: give them names of their own."
            )
        if not equal(values(first), values(other)):
            several = " and ".join(map(named, names[:5]))
            raise DataError(
                f"{where}: {several} could each be the {_SHOWN.get(role, role)}: name the right "
                f"one by dataset.{role}_column_name."
            )
    return first


def _same_groups(first: Sequence[str], other: Sequence[str]) -> bool:
    """True if two columns divide the rows into the same groups, under any names."""
    pairs = set(zip(first, other, strict=True))
    return len(pairs) == len(set(first)) == len(set(other))


def _lesser_texts(names: Sequence[str], chosen: str, dataset) -> tuple[str, ...]:
    """Return the column to read where the chosen normalised text is empty, as in LJSpeech."""
    if dataset.text_column_name or plain(chosen) not in TEXT_NAMES[0]:
        return ()
    lesser = [[name for name in names if plain(name) in some] for some in TEXT_NAMES[1:]]
    return tuple(some[0] for some in lesser if len(some) == 1)[:1]
