"""Planning what an output needs, and writing it: sound, subtitles, manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .assemble import Part, Sound, write_output
from .fit import Fitted, prepared, slots
from .identity import occurrences, piece_key, seed_from
from .job import Job
from .level import common_level
from .manifest import write_manifest
from .plan import Document, Piece
from .speaking import Manner, Wanted
from .store import write_durably
from .subtitles import Cue, render


@dataclass(frozen=True)
class Output:
    """A file that is to be made, and what it is made of.

    Attributes:
        wanted: pieces to speak, in order; `parts` has them and the pauses.
        names: of each wanted piece, what it is ordered again by.
        numbers: of each wanted piece, its number among all parts, from 1.
    """

    path: Path
    document: Document
    parts: list[Part]
    wanted: list[Wanted]
    names: list[str]
    numbers: list[int]


def subtitles_path(output: Path, form: str) -> Path:
    """Where the subtitles of an output go: beside it."""
    return output.with_suffix(f".{form}")


def is_spoken(piece: Piece) -> bool:
    """Whether there is anything to say; "* * *" between two scenes is a pause."""
    return any(map(str.isalnum, piece.text))


def plan_output(
    path: Path,
    document: Document,
    manner: Manner,
    job: Job,
    seed: int,
    respell: Callable[[str], str] | None = None,
) -> Output:
    """Find what is to be spoken, and under which seed and key.

    Args:
        seed: what the pieces' seeds follow from.
        respell: from a text as it is written to one as it is spoken.
    """
    spoken = [i for i, piece in enumerate(document.pieces) if is_spoken(piece)]
    texts = [document.pieces[i].text for i in spoken]
    names = occurrences(texts)
    wanted = []
    for text, name in zip(texts, names, strict=True):
        take = job.take(name)
        own_seed = seed_from(seed, name, take)
        text = text if respell is None else respell(text)
        key = piece_key(text, own_seed, manner.identity)
        wanted.append(Wanted(key, text, own_seed, manner, alone=take > 0))
    keys = dict(zip(spoken, (one.key for one in wanted), strict=True))
    parts = [Part(piece, keys.get(i)) for i, piece in enumerate(document.pieces)]
    return Output(path, document, parts, wanted, names, [i + 1 for i in spoken])


def finish(
    output: Output,
    job: Job,
    about: dict[str, Any],
    manifest: Path,
    rate: int,
    subtitles: str | None = None,
    failures: dict[str, str] | None = None,
) -> float:
    """Write the output from its finished pieces, and what belongs to it; its length in seconds.

    Raises:
        AudioError: no piece could be spoken. JobError: the disk is full, or a piece is damaged.
    """
    failures = failures or {}
    # What could not be spoken is left out, with its pause kept.
    parts = [Part(p.piece, None if p.key in failures else p.key) for p in output.parts]
    sound = _sounds(parts, job, rate)
    placed, samples = write_output(output.path, output.document, parts, sound, rate)
    if subtitles is not None:
        text = render(_cues(output.parts, placed, rate), subtitles)
        write_durably(subtitles_path(output.path, subtitles), text.encode())
    about = {**about, "sample_rate": rate, "seconds": round(samples / rate, 6)}
    record_of = job.pieces.record
    write_manifest(manifest, about, output.parts, record_of, placed, rate, failures)
    return samples / rate


def _sounds(parts: Sequence[Part], job: Job, rate: int) -> Sound:
    """How parts sound in the output: trimmed, at one loudness, subtitles in their time."""
    loudness = {}
    for index, part in enumerate(parts):
        if part.key is not None:
            loudness[index] = (job.pieces.record(part.key) or {}).get("loudness")
    level = common_level(loudness.values())
    timed = [index for index in loudness if parts[index].piece.start is not None]
    slot_of = dict(zip(timed, slots([parts[index].piece for index in timed]), strict=True))

    def sound(index: int) -> Fitted:
        waveform = job.pieces.read(parts[index].key)
        return prepared(waveform, rate, loudness[index], level, slot_of.get(index))

    return sound


def _cues(parts: Sequence[Part], placed, rate: int):
    for part, where in zip(parts, placed, strict=True):
        if where.end > where.start:
            yield Cue(part.piece.text, where.start / rate, where.end / rate)
