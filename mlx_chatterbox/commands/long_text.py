"""The work of `mlx-chatterbox --file` with a long text, and of `mlx-chatterbox --batch`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import AudioError, Interrupted, SettingError
from ..harmless import one_line
from ..longform.batch import REPORT_NAME, speak_batch
from ..longform.book import MANIFEST_NAME, speak_document
from ..longform.chapters import choose, listing, spans
from ..longform.job import Executor, job_folder
from ..longform.outputs import subtitles_path
from ..longform.plan import LONGEST, Document, longest_of
from ..longform.readers import PLAIN, read_document
from ..longform.store import write_durably
from ..longform.subtitles import Cue, render
from ..longform.wording import planned_writing, text_config
from ..text.pauses import segments
from .longform_options import BATCH_SIZE, check_batch_options
from .option_table import SHORT, check_options

# Subtitles that are reported one by one.
_MOST_REPORTED = 20


def document_of(arguments: argparse.Namespace, tts) -> Document:
    """Read the document of `--file` in pieces for this model, and report what is left out of it.

    Raises:
        TextError: it cannot be read, or there is nothing to speak.
        SettingError: it has no such chapters.
    """
    job = None if arguments.stream else job_folder(arguments.output)
    writing = planned_writing(
        job, text_config(tts), arguments.language, arguments.lexicon, arguments.normalize
    )
    document = read_chosen(arguments, writing.room(longest_of(tts.checkpoint.config)))
    print_remarks(arguments.file, document)
    return document


def check_document(arguments: argparse.Namespace) -> None:
    """Check that `--file` can be read, before a model is loaded; raises as `document_of`."""
    read_chosen(arguments, LONGEST["english"])


def list_chapters(arguments: argparse.Namespace) -> int:
    """Print the chapters of `--file`, without a model; returns the exit code."""
    check_options(arguments)
    check_batch_options(arguments)
    document = read_chosen(arguments, LONGEST["english"])
    print_remarks(arguments.file, document)
    print("\n".join(listing(document)))
    return 0


def read_chosen(arguments: argparse.Namespace, longest: int) -> Document:
    """Read `--file`, only the chapters that `--chapters` names."""
    document = read_document(arguments.file, arguments.language, longest, not arguments.no_sdh)
    if arguments.chapters:
        document = choose(document, arguments.chapters, arguments.file.name)
    return document


def print_remarks(path: Path, document: Document) -> None:
    """Print to standard error what of a file is not spoken."""
    for remark in document.remarks:
        print(one_line(f"{path.name}: {remark}"), file=sys.stderr)


def is_job(arguments: argparse.Namespace, document: Document) -> bool:
    """Tell whether a document is spoken as a job, being more than one piece of plain text.

    Raises:
        SettingError: options of long texts for a short one.
    """
    is_plain = arguments.file.suffix.lower() in PLAIN
    is_long = len(document.pieces) > 1 or not is_plain or document.chapters
    if is_long or arguments.subtitles is not None:
        return True
    check_options(arguments, (SHORT,))
    return False


def write_subtitles(
    arguments: argparse.Namespace, tts, text: str, spans: Sequence[tuple[int, int]]
) -> None:
    """Write the subtitles of a text that was spoken in one call.

    Args:
        spans: first and last sample of each piece in the audio.
    """
    rate = tts.sr
    # The text as it is written; a lexicon may have cut the spoken one differently.
    if hasattr(tts, "written_pieces"):
        written = tts.written_pieces(text)
    else:
        parts = segments(text, tts.defaults.longest_piece, arguments.language)
        written = [part.text for part in parts]
    if len(written) != len(spans):
        written, spans = [" ".join(text.split())], [(spans[0][0], spans[-1][1])]
    shown = [
        Cue(words, start / rate, end / rate)
        for words, (start, end) in zip(written, spans, strict=True)
        if end > start
    ]
    path = subtitles_path(arguments.output, arguments.subtitles)
    write_durably(path, render(shown, arguments.subtitles).encode())


def run_document(
    arguments: argparse.Namespace, tts, document: Document, settings: dict[str, Any]
) -> int:
    """Speak a long text; returns the exit code, 1 if a piece could not be spoken."""
    started = time.perf_counter()
    folder = job_folder(arguments.output)
    if arguments.save_voice is not None:
        voice = tts.conds if arguments.voice is None else tts.voice_of(arguments.voice)
        if voice is None:
            raise SettingError(
                "no voice: this checkpoint has none built in; name a recording with --voice."
            )
        voice.save(arguments.save_voice)
    try:
        done = speak_document(
            tts,
            document,
            arguments.output,
            redo=arguments.redo,
            **_job_arguments(arguments, settings),
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: finished pieces are in {folder}; the same command resumes there"
        ) from None
    for number, why in sorted(done.failures.items()):
        why = one_line(why)
        print(f"piece {number} could not be spoken and is left out: {why}", file=sys.stderr)
    for line in done.remarks:
        print(line, file=sys.stderr)
    for number, verdict in sorted(done.doubtful.items()):
        print(
            f"guard: piece {number} is still wrong: {verdict} (--redo {number} tries again)",
            file=sys.stderr,
        )
    if done.replaced is not None:
        had = f"chapters {spans(done.replaced)}" if done.replaced else "all chapters"
        print(f"{arguments.output} had {had} before, and was overwritten", file=sys.stderr)
    for line in _timing_lines(done.untimely):
        print(line, file=sys.stderr)
    kept = f", {done.kept} of them kept" if done.kept else ""
    tries = f", {done.retried} of them tried again" if done.retried else ""
    print(
        f"{arguments.output}: {done.seconds:.2f} s of speech in {done.pieces} pieces{kept}{tries}; "
        f"spoken in {time.perf_counter() - started:.1f} s; details in {folder / MANIFEST_NAME}"
    )
    if arguments.play:
        play_file(arguments.output)
    return 1 if done.failures else 0


def _timing_lines(untimely: dict[int, str]) -> list[str]:
    """Report subtitles that do not fit their times, by the numbers of their pieces."""
    lines = [f"subtitle of piece {number} at {how}" for number, how in sorted(untimely.items())]
    if len(lines) > _MOST_REPORTED:
        more = len(lines) - _MOST_REPORTED
        lines[_MOST_REPORTED:] = [
            f"{more} more subtitles do not fit their times: {MANIFEST_NAME} lists all"
        ]
    return lines


def run_batch(arguments: argparse.Namespace, tts, settings: dict[str, Any]) -> int:
    """Speak the rows of a CSV file or a folder; returns the exit code, 1 if a row failed."""
    started = time.perf_counter()
    report = arguments.output_dir / REPORT_NAME
    try:
        lines = speak_batch(
            tts,
            arguments.batch,
            arguments.output_dir,
            longest=longest_of(tts.checkpoint.config),
            ending=arguments.output_format.lstrip("."),
            sdh=not arguments.no_sdh,
            **_job_arguments(arguments, settings),
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: {report} lists what is finished; the same command resumes there"
        ) from None
    failed = [line for line in lines if line.status == "failed"]
    for line in lines:
        if line.message:
            message = one_line(f"row {line.row} ({line.output}): {line.message}")
            print(message, file=sys.stderr)
        for remark in line.remarks:
            print(remark, file=sys.stderr)
    counts = {name: sum(line.status == name for line in lines) for name in ("spoken", "kept")}
    print(
        f"{arguments.output_dir}: {counts['spoken']} spoken, {counts['kept']} kept, {len(failed)} "
        f"failed, in {time.perf_counter() - started:.1f} s; details in {report}"
    )
    return 1 if failed else 0


def _job_arguments(arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """Make the keyword arguments that `speak_document` and `speak_batch` share."""
    separate = ("seed", "language_id", "lexicon", "batch_size", "normalize")
    settings = {name: value for name, value in settings.items() if name not in separate}
    if arguments.no_watermark:
        settings["watermark"] = False
    return {
        "settings": settings,
        "voice": arguments.voice,
        "language": arguments.language,
        "lexicon": arguments.lexicon,
        "seed": arguments.seed,
        "batch_size": arguments.batch_size or BATCH_SIZE,
        "subtitles": arguments.subtitles,
        "model": arguments.model,
        "executor": _executor(arguments),
        "normalize": arguments.normalize,
    }


def _executor(arguments: argparse.Namespace) -> Executor | None:
    if arguments.ray is None:
        return None
    from ..longform.ray_job import ray_executor

    return ray_executor(arguments.model, arguments.dtype, arguments.ray)


def play_file(path: Path) -> None:
    """Play an audio file of any length, with one second of it in memory.

    Raises:
        AudioError: the package sounddevice is missing, or there is no device.
    """
    from ..audio.files import blocks_of
    from ..audio.playback import import_sounddevice

    sounddevice = import_sounddevice()
    try:
        with blocks_of(path) as (rate, channels, blocks):
            settings = {"samplerate": rate, "channels": channels, "dtype": "float32"}
            with sounddevice.OutputStream(**settings) as stream:
                for block in blocks:
                    stream.write(block)
    except sounddevice.PortAudioError as error:
        raise AudioError(f"the audio cannot be played: {error}") from None
