"""Reads folders of recordings with texts in files: pairs, LibriSpeech, LibriTTS, VCTK."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from .encoding import read_text
from .item import AUDIO_ENDINGS, ONE_SPEAKER, Item, path_of
from .recordings import without_ending

# Endings of a text file beside a recording, the best first: LibriTTS's normalised text comes first;
# .lab is that of the Montreal Forced Aligner and fish-speech.
TEXT_ENDINGS = (".normalized.txt", ".txt", ".lab", ".original.txt")
_TRANSCRIPTS = ".trans.txt"
# Folders of texts beside the folder of recordings, as VCTK has them.
_TEXT_FOLDERS = re.compile(r"(txts?|texts?|transcripts?|transcriptions?|labs?|labels?)", re.I)
# Names of folders that are no speakers. Mostly in lower case: Dev and Val are names of people.
_NOBODY = re.compile(
    r"wavs?|WAVS?|wav\d+\w*|flacs?|audios?|clips?|mp3s?|recordings?|data|dataset|test|dev|val"
    r"|valid|validation|eval|train|training|(train|dev|test)[-_](clean|other)([-_]\d+)?"
)
_MICROPHONE = re.compile(r"_mic\d+$")


def folder_items(dataset, notes: list[str]) -> Iterator[Item]:
    """Yield the items of `wav_txt`: recordings with a text file of the same name.

    The text is in the same folder or in a folder of texts. The first folder of a path that is not a
    word such as "wavs" or "train" is the speaker; all recordings without one have one speaker.

    Raises:
        DataError: there is no such folder.
    """
    root = path_of(dataset)
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; dataset_type wav_txt takes a folder (dataset_path), "
            "metadata_csv a table, metadata_json a list in JSON."
        )
    files = [
        path
        for path in sorted(root.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file()
    ]
    recordings = [path for path in files if path.suffix.lower() in AUDIO_ENDINGS]
    if not recordings:
        raise DataError(
            f"{root} has no clips: there is no recording in it or its folders "
            f"({', '.join(AUDIO_ENDINGS[:4])}, ...)."
        )
    texts = _Texts(
        root, [p for p in files if p.suffix.lower() in (".txt", ".lab")], dataset.encoding
    )
    stems = Counter(path.with_suffix("") for path in recordings)
    pairs = [(path, texts.of(path)) for path in recordings]
    lists = _lists_in(root)
    if lists and any(text for _, text in pairs):
        notes.append(f"{lists[0].name} is not read: dataset_type wav_txt has pairs of files")
    elif lists:
        raise DataError(
            f"{root}: no recording has a text file of its name, but there is {lists[0].name}: set "
            f"dataset_type to {'metadata_json' if 'json' in lists[0].suffix else 'metadata_csv'}."
        )
    for path, source in pairs:
        relative = path.relative_to(root)
        # Recordings whose names differ in the ending only keep it, for unique ids.
        unique = relative if stems[path.with_suffix("")] > 1 else relative.with_suffix("")
        yield Item(
            id=unique.as_posix(),
            audio=path,
            text=texts.read(source),
            speaker=_speaker(relative),
            language=dataset.language,
            where=str(path),
        )
    for path in texts.unused():
        name = path.relative_to(root).with_suffix("").as_posix()
        text = read_text(path, dataset.encoding)
        yield Item(id=name, audio=None, text=text, where=str(path))
    notes += texts.notes()


def _speaker(relative: Path) -> str:
    """Return the speaker by the folders: LibriTTS's and LibriSpeech's
    train-clean-100/SPEAKER/CHAPTER, VCTK's wav48/SPEAKER, or SPEAKER."""
    folders = relative.parts[:-1]
    return next((name for name in folders if not _NOBODY.fullmatch(name)), ONE_SPEAKER)


def _lists_in(root: Path) -> list[Path]:
    endings = (".csv", ".tsv", ".psv", ".jsonl", ".json", ".list")
    return sorted(path for path in root.iterdir() if path.suffix.lower() in endings)


class _Texts:
    """The text files of a folder, and the recordings that they belong to."""

    def __init__(self, root: Path, files: list[Path], encoding: str | None):
        self._encoding = encoding
        self._files = {path for path in files if not path.name.lower().endswith(_TRANSCRIPTS)}
        self._by_lower = {str(path).lower(): path for path in self._files}
        self._used: set[Path] = set()
        self._spare: dict[str, list[Path]] = {}
        for path in self._files:
            if any(map(_TEXT_FOLDERS.fullmatch, path.relative_to(root).parts[:-1])):
                self._spare.setdefault(_stem(path), []).append(path)
        self._lines: dict[Path, dict[str, str]] = {}
        self._transcripts = [path for path in files if path not in self._files]
        for path in self._transcripts:
            self._lines.setdefault(path.parent, {}).update(_transcripts(path, encoding))
        self._elsewhere = 0

    def of(self, recording: Path) -> Path | str | None:
        """Find the text file of a recording, or its text in a list of transcripts."""
        stem = recording.with_name(without_ending(recording.name))
        for ending in TEXT_ENDINGS:
            file = self._by_lower.get(f"{stem}{ending}".lower())
            if file is not None and file.name.startswith(stem.name):
                # LibriTTS has each text in two files; the better one is read, both are used.
                for other in TEXT_ENDINGS:
                    if (same := self._by_lower.get(f"{stem}{other}".lower())) is not None:
                        self._used.add(same)
                return file
        line = self._lines.get(recording.parent, {}).get(stem.name)
        if line is not None:
            return line
        for name in (stem.name, _MICROPHONE.sub("", stem.name)):
            files = self._spare.get(name, [])
            files = [f for f in files if f.parent.name == recording.parent.name] or files
            if len(files) == 1:
                self._used.add(files[0])
                self._elsewhere += 1
                return files[0]
        return None

    def read(self, source: Path | str | None) -> str | None:
        """Return the text of a result of `of`."""
        return read_text(source, self._encoding) if isinstance(source, Path) else source

    def unused(self) -> list[Path]:
        """Text files without a recording."""
        return sorted(self._files - self._used)

    def notes(self) -> list[str]:
        """Return notes to the user, a line each."""
        notes = []
        if self._transcripts:
            count = len(self._transcripts)
            notes.append(f"texts are read from {count} lists such as {self._transcripts[0].name}")
        if self._elsewhere:
            notes.append(f"{self._elsewhere} texts are in another folder than their recordings")
        return notes


def _stem(path: Path) -> str:
    lower = path.name.lower()
    ending = next(ending for ending in TEXT_ENDINGS if lower.endswith(ending))
    return path.name[: -len(ending)]


def _transcripts(path: Path, encoding: str | None) -> dict[str, str]:
    """Read texts by the recording's name, from LibriSpeech's lines "84-121123-0000 TEXT" or from
    LibriTTS's, which have tabs."""
    lines = (
        re.split(r"[ \t]", line.strip(), maxsplit=1)
        for line in read_text(path, encoding).split("\n")
    )
    return {parts[0]: parts[1].split("\t")[-1] for parts in lines if len(parts) == 2}
