"""Finds the recordings that a table names.

The names come from other machines: they may have folders that do not exist, the ending that a file
had before it was converted, another case (Windows), or decomposed letters (macOS, NFD).
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from .item import AUDIO_ENDINGS

# Folders beside a table in which its recordings may be.
AUDIO_FOLDERS = ("", "wavs", "wav", "audio", "clips")
_RANK = {ending: place for place, ending in enumerate(AUDIO_ENDINGS)}


@dataclass(frozen=True)
class RecordingMatch:
    """A recording; `as_named` is False if folder, ending or spelling differ from the name."""

    path: Path
    as_named: bool = True


def without_ending(name: str) -> str:
    """Remove the ending of a recording from a file name; "LJ001.0003" has none."""
    ending = os.path.splitext(name)[1]
    return name[: -len(ending)] if ending.lower() in _RANK else name


class _Listing:
    """The recordings of one folder, by name, by stem and by stem in any case."""

    def __init__(self, folder: str):
        self.names: set[str] = set()
        self.exact: dict[str, list[str]] = defaultdict(list)
        self.folded: dict[str, list[str]] = defaultdict(list)
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir())
        except (OSError, ValueError):  # no such folder; a name with a zero in it
            names = []
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        self.names.add(name)
        if os.path.splitext(name)[1].lower() in _RANK:
            stem = normalize("NFC", without_ending(name))
            self.exact[stem].append(name)
            self.folded[stem.casefold()].append(name)

    def matches(self, name: str) -> list[str]:
        """Return the files that a name may mean, all equally likely; an exact match is the only
        one."""
        if name in self.names:
            return [name]
        plain = normalize("NFC", name)
        for stem in dict.fromkeys((without_ending(plain), plain)):
            names = self.exact.get(stem) or self.folded.get(stem.casefold())
            if names:
                return _best(names, os.path.splitext(plain)[1].lower())
        return []


def _best(names: list[str], ending: str) -> list[str]:
    """Keep the names with this ending, else those with the first of `AUDIO_ENDINGS`."""

    def rank(name: str) -> int:
        own = os.path.splitext(name)[1].lower()
        return -1 if own == ending else _RANK[own]

    best = min(map(rank, names))
    return [name for name in names if rank(name) == best]


class Recordings:
    """Finds the recordings that a table in a folder names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._above = [str(place) for place in folder.parents][:3]
        self._listings: dict[str, _Listing] = {}
        self._known: dict[str, RecordingMatch | None] = {}
        self._tree: dict[str, list[Path]] | None = None

    def find(self, name: str) -> RecordingMatch | None:
        """Find a recording; None if there is none, or it is not certain which."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> RecordingMatch | None:
        parts = _parts(name)
        if not parts or len(name) > 1000:
            return None
        if Path(name).is_absolute():
            path = Path(name)
            if (match := self._in(str(path.parent), path.name)) is not None:
                return match
        for skipped in range(len(parts)):
            *folders, base = parts[skipped:]
            for beside in AUDIO_FOLDERS:
                match = self._in(os.path.join(self.folder, beside, *folders), base)
                if match is not None:
                    return RecordingMatch(match.path, match.as_named and not skipped)
        *folders, base = parts
        for above in self._above if len(folders) > 1 else ():
            # Lists in a folder of their own often name files beside that folder.
            if (match := self._in(os.path.join(above, *folders), base)) is not None:
                return RecordingMatch(match.path, as_named=False)
        return self._anywhere(parts)

    def _in(self, folder: str, base: str) -> RecordingMatch | None:
        if folder not in self._listings:
            self._listings[folder] = _Listing(folder)
        listing = self._listings[folder]
        if not listing.names or len(matches := listing.matches(base)) != 1:
            return None
        as_named = matches[0] == base or without_ending(matches[0]) == base
        return RecordingMatch(Path(folder, matches[0]), as_named)

    def _anywhere(self, parts: list[str]) -> RecordingMatch | None:
        """Find the only recording of a name below the folder; of several, the one whose folders
        match."""
        files = self._same_stem(parts[-1])
        for skipped in range(len(parts)):
            folders = tuple(parts[skipped:-1])
            inside = [p for p in files if not folders or p.parts[-len(folders) - 1 : -1] == folders]
            if len(inside) == 1:
                return RecordingMatch(inside[0], as_named=False)
            if inside:
                return None
        return None

    def _same_stem(self, name: str) -> list[Path]:
        """All recordings below the folder with a file's name, in any case and with any ending."""
        if self._tree is None:
            self._tree = defaultdict(list)
            for place, folders, names in os.walk(self.folder):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for file in names:
                    if os.path.splitext(file)[1].lower() in _RANK:
                        self._tree[_stem_key(file)].append(Path(place, file))
        return self._tree.get(_stem_key(name), [])

    def missing(self, name: str) -> str:
        """Describe to the user where a recording was looked for."""
        parts = _parts(name) or [name]
        same = self._same_stem(parts[-1])
        if len(same) > 1:
            return f"{name} may be {same[0]} or {same[1]}: write its folder and ending too"
        place = name if Path(name).is_absolute() else self.folder.joinpath(*parts)
        return (
            f"there is no {place}; looked for it in {self.folder}, and in "
            f"{', '.join(AUDIO_FOLDERS[1:])} and every other folder there, with other endings too "
            f"({', '.join(AUDIO_ENDINGS[:4])}, ...)"
        )


def _stem_key(name: str) -> str:
    return normalize("NFC", without_ending(name)).casefold()


def _parts(name: str) -> list[str]:
    """Split a path of any operating system into folders and file name."""
    name = name.strip().removeprefix("file://").replace("\\", "/")
    return [part for part in name.split("/") if part not in ("", ".") and not _is_drive(part)]


def _is_drive(part: str) -> bool:
    return len(part) == 2 and part[1] == ":"
