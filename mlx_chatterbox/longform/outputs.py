"""Planning of an output's pieces, and writing of its audio, subtitles and manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..runtime.own_files import remove_leftovers
from ..text.writing import Writing
from .assemble import OutputPart, Placed, Sound, write_output
from .fit import Fitted, prepared, slots
from .identity import occurrences, piece_key, seed_from
from .job import Job
from .level import common_level
from .manifest import write_manifest
from .plan import Document, Piece
from .speaking import VoiceSettings, Wanted
from .store import write_durably
from .subtitles import Cue, render

# Seconds by which a subtitle must miss its time to be reported.
NOTICED = 0.05


@dataclass(frozen=True)
class Output:
    """A file to be written, and the pieces that it is made of.

    Attributes:
        wanted: pieces to speak, in order; `parts` has them and the pauses.
        names: the name of each wanted piece by which it can be ordered again.
        numbers: the number of each wanted piece among all parts, from 1.
        others: keys of pieces of chapters that were not chosen; a later run may need them.
    """

    path: Path
    document: Document
    parts: list[OutputPart]
    wanted: list[Wanted]
    names: list[str]
    numbers: list[int]
    others: list[str]


@dataclass(frozen=True)
class WrittenOutput:
    """A file that was written.

    Attributes:
        seconds: its length.
        untimely: parts that do not fit their subtitle's time, by number from 1.
    """

    seconds: float
    untimely: dict[int, Placed]


def subtitles_path(output: Path, form: str) -> Path:
    """The path of an output's subtitles, beside the output."""
    return output.with_suffix(f".{form}")


def is_spoken(piece: Piece) -> bool:
    """Tell whether a piece has a letter or digit; "* * *" between two scenes is only a pause."""
    return any(map(str.isalnum, piece.text))


def plan_output(
    path: Path,
    document: Document,
    voice_settings: VoiceSettings,
    job: Job,
    seed: int,
    respell: Callable[[str], str] | None = None,
) -> Output:
    """Plan the pieces of an output, each with its seed and key.

    Args:
        seed: the seed from which those of the pieces are derived.
        respell: turns a text as it is written into one as it is spoken.
    """
    # A piece is the same whether only its chapter was chosen or the whole text.
    whole = (document.whole or document).pieces
    spoken = [i for i, piece in enumerate(whole) if is_spoken(piece)]
    texts = [whole[i].text for i in spoken]
    names = occurrences(texts)
    wanted = []
    for text, name in zip(texts, names, strict=True):
        own_seed = seed_from(seed, name, job.take(name))
        left_out = () if respell is None else _left_out(text, respell)
        text = text if respell is None else respell(text)
        key = piece_key(text, own_seed, voice_settings.identity)
        wanted.append(Wanted(key, text, own_seed, voice_settings, left_out))
    places = document.places if document.whole is not None else range(len(whole))
    number_of = {place: number for number, place in enumerate(places, start=1)}
    keys = dict(zip(spoken, (piece.key for piece in wanted), strict=True))
    parts = [
        OutputPart(_faster(piece, voice_settings.speed), keys.get(place))
        for piece, place in zip(document.pieces, places, strict=True)
    ]
    chosen = [index for index, place in enumerate(spoken) if place in number_of]
    return Output(
        path,
        document,
        parts,
        [wanted[index] for index in chosen],
        [names[index] for index in chosen],
        [number_of[spoken[index]] for index in chosen],
        [piece.key for index, piece in enumerate(wanted) if spoken[index] not in number_of],
    )


def _left_out(text: str, respell: Callable[[str], str]) -> tuple[str, ...]:
    """The parts of a text that `respell` leaves out because it has no words for them."""
    return respell.left_out(text) if isinstance(respell, Writing) else ()


def _faster(piece: Piece, speed: float) -> Piece:
    """Shorten the pause of a piece as much as its speech; the times of subtitles stay."""
    if speed == 1.0 or piece.start is not None:
        return piece
    return replace(piece, pause=piece.pause / speed)


def finish(
    output: Output,
    job: Job,
    about: dict[str, Any],
    manifest: Path,
    rate: int,
    subtitles: str | None = None,
    failures: dict[str, str] | None = None,
) -> WrittenOutput:
    """Write an output from its finished pieces, with its subtitles and manifest.

    Args:
        about: members of the manifest for the whole output.
        manifest: path of the manifest.
        subtitles: "srt" or "vtt"; None for none.
        failures: why pieces could not be spoken, by key; these are left out, their pauses kept.

    Raises:
        AudioError: no piece could be spoken. JobError: the disk is full, or a piece is damaged.
    """
    failures = failures or {}
    parts = [OutputPart(p.piece, None if p.key in failures else p.key) for p in output.parts]
    sound = _sounds(parts, job, rate)
    placed, samples = write_output(output.path, output.document, parts, sound, rate)
    if subtitles is not None:
        text = render(_cues(output.parts, placed, rate), subtitles)
        beside = subtitles_path(output.path, subtitles)
        remove_leftovers(beside, alone=True)  # of a run that was killed; we hold the job's lock
        write_durably(beside, text.encode())
    about = {**about, "sample_rate": rate, "seconds": round(samples / rate, 6)}
    record_of = job.pieces.record
    write_manifest(manifest, about, output.parts, record_of, placed, rate, failures)
    return WrittenOutput(samples / rate, _missed_times(placed))


def _missed_times(placed: Sequence[Placed]) -> dict[int, Placed]:
    return {
        number: where for number, where in enumerate(placed, start=1) if where.overrun >= NOTICED
    }


def _sounds(parts: Sequence[OutputPart], job: Job, rate: int) -> Sound:
    """Make the function that prepares a part: trimmed, at one loudness, fitted to its subtitle."""
    loudness = {}
    for index, part in enumerate(parts):
        if part.key is not None:
            loudness[index] = (job.pieces.record(part.key) or {}).get("loudness")
    level = common_level(loudness.values())
    timed = [index for index in loudness if parts[index].piece.start is not None]
    slot_of = dict(zip(timed, slots([parts[index].piece for index in timed]), strict=True))

    def sound(index: int, late: float) -> Fitted:
        key = parts[index].key
        assert key is not None  # `assemble` asks for the audio of such parts alone
        waveform = job.pieces.read(key)
        return prepared(waveform, rate, loudness[index], level, slot_of.get(index), late)

    return sound


def _cues(parts: Sequence[OutputPart], placed: Sequence[Placed], rate: int) -> Iterator[Cue]:
    for part, where in zip(parts, placed, strict=True):
        if where.end > where.start:
            yield Cue(part.piece.text, where.start / rate, where.end / rate)
