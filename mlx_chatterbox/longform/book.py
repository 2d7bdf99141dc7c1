"""One long text as a job: speak the missing pieces, write the output, report what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import SettingError
from ..harmless import shortened
from ..text.respelling import Lexicon
from .assemble import Placed
from .chapters import spans
from .job import Executor, Job, job_folder
from .local import local
from .manifest import write_manifest
from .outputs import NOTICED, Output, finish, plan_output
from .plan import Document
from .progress import JobBar
from .speaking import SpokenPiece, Wanted, remarks_on
from .subtitles import clock
from .voice_resolver import VoiceResolver
from .wording import job_writing, warn_unspoken

MANIFEST_NAME = "manifest.json"


@dataclass
class JobSummary:
    """The result of a job.

    Attributes:
        seconds: length of the output.
        pieces: number of spoken pieces in total; `kept` of them existed before this run.
        retried: number of pieces that the guards rejected and a later attempt spoke well.
        doubtful: pieces of this run whose fault no attempt removed, by number, and the fault.
        failures: pieces that could not be spoken, by number, and why.
        untimely: subtitles that begin or end too late, by the number of the piece, and how.
        replaced: chapters that the output had before, if it has others now; [] for all.
        remarks: further lines on this run: pieces that were spoken again, letters that the model
            does not know, pieces that a limit cut off.
    """

    seconds: float
    pieces: int
    kept: int
    retried: int = 0
    doubtful: dict[int, str] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    untimely: dict[int, str] = field(default_factory=dict)
    replaced: list[int] | None = None
    remarks: list[str] = field(default_factory=list)


def speak_document(
    tts,
    document: Document,
    output: Path,
    *,
    settings: dict[str, Any] | None = None,
    voice: Path | None = None,
    language: str | None = None,
    lexicon: Lexicon = None,
    seed: int | None = None,
    batch_size: int = 8,
    redo: Sequence[int] = (),
    subtitles: str | None = None,
    model: str = "",
    executor: Executor | None = None,
    normalize: bool | None = None,
) -> JobSummary:
    """Speak a document into a file; after an interruption, the same call resumes where it stopped.

    Finished pieces are kept in the folder `job_folder(output)`; a later call uses those whose text,
    seed, voice, model and settings are unchanged.

    Args:
        tts: a loaded model.
        settings: keyword arguments of `generate`.
        voice: a recording or a saved voice; None: the model's own.
        lexicon: words and their respellings; a change affects only the pieces that have the words.
        seed: the seed from which all others are derived; None: the job's, or a new one.
        batch_size: number of pieces that are decoded at a time; changes no piece.
        redo: numbers of pieces (from 1, as in the manifest) to speak with another seed.
        subtitles: "srt" or "vtt" to write them beside the output.
        model: its name, for the manifest.
        executor: speaks the pieces; None: this process.
        normalize: write texts out in words; None: as the job was started, else as the checkpoint
            sets it.

    Raises:
        JobError: another run is using the job, or the disk is full; finished pieces are kept.
        SettingError: no such number to redo, or a setting that the model does not have.
        TextError, AudioError: nothing could be spoken.
    """
    with Job(job_folder(output), tts.sr) as job:
        is_known = job.seed is not None
        resolver = VoiceResolver(job, tts, settings or {})
        voice_settings = resolver.resolve(voice, language)
        chosen, writing = job.choose_seed(seed), job_writing(job, tts, language, lexicon, normalize)
        planned = plan_output(output, document, voice_settings, job, chosen, writing)
        if redo:
            job.speak_again(_names(planned, redo))
            planned = plan_output(output, document, voice_settings, job, chosen, writing)
        warn_unspoken(writing)
        about: dict[str, Any] = {
            "output": output.name,
            "title": document.title,
            "author": document.author,
            "program": __version__,
            "model": {"name": str(model), "hash": resolver.model},
            "voice": {"name": voice.name if voice else "", "hash": voice_settings.voice_hash},
            "settings": dict(voice_settings.settings),
            "normalize": job.normalizes,
            "seed": chosen,
            "batch_size": batch_size,
        }
        if document.chapters:
            about["chapters"] = list(document.chapters)
        before = job.chapters
        job.chapters = list(document.chapters)
        missing = job.missing(planned.wanted)
        manifest = job.folder / MANIFEST_NAME
        if missing:
            write_manifest(manifest, about, planned.parts, job.pieces.record)
        had_output = is_known and output.exists()
        done = _speak(job, planned, missing, batch_size, executor or local(tts))
        if had_output and before != job.chapters:
            done.replaced = before
        failed = {
            key: why
            for number, why in done.failures.items()
            if (key := planned.parts[number - 1].key) is not None
        }
        made = finish(planned, job, about, manifest, tts.sr, subtitles, failed)
        done.seconds = made.seconds
        done.untimely = {number: describe_timing(where) for number, where in made.untimely.items()}
        job.finished([*(piece.key for piece in planned.wanted), *planned.others])
    return done


def describe_timing(where: Placed) -> str:
    """Describe how a subtitle misses its time: "00:00:01,000: begins 0.50 s late"."""
    parts = []
    if where.late >= NOTICED:
        parts.append(f"begins {where.late:.2f} s late")
    if where.overrun > where.late or not parts:
        parts.append(f"ends {where.overrun:.2f} s after its time")
    faster = f", {where.speed:.2f} times as fast" if where.speed > 1 else ""
    start = where.part.piece.start
    assert start is not None  # only what has a time can miss it
    return f"{clock(start, ',')}: {' and '.join(parts)}{faster}"


def _speak(
    job: Job, planned: Output, missing: Sequence[Wanted], batch_size: int, executor: Executor
) -> JobSummary:
    """Speak the missing pieces, and summarize the results."""
    index = {piece.key: i for i, piece in enumerate(planned.wanted)}
    texts = [piece.text for piece in planned.wanted]
    left = {piece.key for piece in missing}
    done = JobSummary(0.0, len(texts), len(texts) - len(left))
    remarks: dict[int, list[str]] = {}
    kept = sum(len(piece.text) for piece in planned.wanted if piece.key not in left)
    with JobBar(sum(map(len, texts)), kept, len(texts), done.kept) as bar:

        def report(spoken: SpokenPiece) -> None:
            number = planned.numbers[index[spoken.key]]
            if spoken.failure:
                done.failures[number] = spoken.failure
            else:
                remarks[number] = remarks_on(f"piece {number}", spoken.record)
                if spoken.record["outcome"]:
                    done.doubtful[number] = spoken.record["outcome"]
                elif spoken.record["tries"] > 1:
                    done.retried += 1
            bar.spoken(texts[index[spoken.key]])

        job.run(missing, batch_size, executor, report)
    done.remarks = [line for _, lines in sorted(remarks.items()) for line in lines]
    return done


def _names(planned: Output, numbers: Sequence[int]) -> list[str]:
    by_number = dict(zip(planned.numbers, planned.names, strict=True))
    wrong = {number for number in numbers if number not in by_number}
    if wrong:
        raise SettingError(
            f"--redo {shortened(spans(wrong))}: no such spoken piece; numbers run from 1 to "
            f"{len(planned.parts)}, as in {MANIFEST_NAME}."
        )
    return [by_number[number] for number in numbers]
