"""What `mlx-chatterbox --file` does with a long text, and `mlx-chatterbox --batch`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import AudioError, SettingError
from ..text.writing import writing_for
from .batch import REPORT_NAME, speak_batch
from .book import MANIFEST_NAME, speak_document
from .job import Executor, job_folder
from .options import BATCH_SIZE
from .plan import Document, longest_of
from .readers import PLAIN, read_document
from .wording import planned_writing


def document_of(arguments: argparse.Namespace, tts) -> Document:
    """The document of `--file`, in pieces for this model.

    Raises:
        TextError: it cannot be read, or there is nothing to speak.
    """
    config = tts.checkpoint.config
    longest = longest_of(config)
    if not arguments.stream:
        writing = planned_writing(
            job_folder(arguments.output),
            config.text,
            arguments.language,
            arguments.lexicon,
            arguments.normalize,
        )
    else:
        writing = writing_for(
            config.text, arguments.language, arguments.normalize, arguments.lexicon
        )
    return read_document(arguments.file, arguments.language, writing.room(longest))


def is_job(arguments: argparse.Namespace, document: Document) -> bool:
    """Whether a document is more than a text that is said at once.

    Raises:
        SettingError: options of long texts for a short one.
    """
    if len(document.pieces) > 1 or arguments.file.suffix.lower() not in PLAIN:
        return True
    if arguments.redo:
        raise SettingError("--redo is of long texts; this one is said at once: change --seed.")
    return arguments.subtitles is not None


def run_document(
    arguments: argparse.Namespace, tts, document: Document, settings: dict[str, Any]
) -> int:
    """Speak a long text; the exit code."""
    started = time.perf_counter()
    folder = job_folder(arguments.output)
    if arguments.save_voice is not None:
        voice = tts.conds if arguments.voice is None else tts.voice_of(arguments.voice)
        voice.save(arguments.save_voice)
    try:
        done = speak_document(
            tts,
            document,
            arguments.output,
            redo=arguments.redo,
            **_common(arguments, settings),
        )
    except KeyboardInterrupt:
        print(
            f"interrupted: what is finished is in {folder}; the same command goes on from there",
            file=sys.stderr,
        )
        return 1
    for number, why in sorted(done.failures.items()):
        print(f"piece {number} could not be spoken and is left out: {why}", file=sys.stderr)
    for number, verdict in sorted(done.doubtful.items()):
        print(
            f"guard: piece {number} is still wrong: {verdict} (--redo {number} tries again)",
            file=sys.stderr,
        )
    kept = f", {done.kept} of them kept" if done.kept else ""
    tries = f", {done.retried} of them tried again" if done.retried else ""
    print(
        f"{arguments.output}: {done.seconds:.2f} s of speech in {done.pieces} pieces{kept}{tries}; "
        f"spoken in {time.perf_counter() - started:.1f} s; {folder / MANIFEST_NAME} has the details"
    )
    if arguments.play:
        play_file(arguments.output)
    return 1 if done.failures else 0


def run_batch(arguments: argparse.Namespace, tts, settings: dict[str, Any]) -> int:
    """Speak the rows of a CSV file or a folder; the exit code, 1 if a row failed."""
    started = time.perf_counter()
    report = arguments.output_dir / REPORT_NAME
    try:
        lines = speak_batch(
            tts,
            arguments.batch,
            arguments.output_dir,
            longest=longest_of(tts.checkpoint.config),
            ending=arguments.output_format.lstrip("."),
            **_common(arguments, settings),
        )
    except KeyboardInterrupt:
        print(
            f"interrupted: {report} says what is finished; the same command goes on from there",
            file=sys.stderr,
        )
        return 1
    failed = [line for line in lines if line.status == "failed"]
    for line in failed:
        print(f"row {line.row} ({line.output}): {line.message}", file=sys.stderr)
    counts = {name: sum(line.status == name for line in lines) for name in ("spoken", "kept")}
    print(
        f"{arguments.output_dir}: {counts['spoken']} spoken, {counts['kept']} kept, {len(failed)} "
        f"failed, in {time.perf_counter() - started:.1f} s; {report} has the details"
    )
    return 1 if failed else 0


def _common(arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """What both kinds of jobs are told."""
    apart = ("seed", "language_id", "lexicon", "batch_size", "normalize")
    settings = {name: value for name, value in settings.items() if name not in apart}
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
    from .ray_job import ray_executor

    return ray_executor(arguments.model, arguments.dtype, arguments.ray)


def play_file(path: Path) -> None:
    """Play a sound file of any length, a second of it in memory.

    Raises:
        AudioError: no sounddevice, or no device.
    """
    import soundfile

    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"--play needs sounddevice and PortAudio (pip install 'mlx-chatterbox[play]'): {error}"
        ) from None
    try:
        with soundfile.SoundFile(path) as sound:
            settings = {"samplerate": sound.samplerate, "channels": 1, "dtype": "float32"}
            with sounddevice.OutputStream(**settings) as stream:
                for block in sound.blocks(sound.samplerate, dtype="float32", always_2d=True):
                    stream.write(block)
    except sounddevice.PortAudioError as error:
        raise AudioError(f"the audio cannot be played: {error}") from None
