"""Checks that the files a command line writes are none of those that it reads."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..audio.files import check_output
from ..errors import AudioError, SettingError
from ..longform.batch import FOLDER_NAME, REPORT_NAME
from ..longform.book import job_folder
from ..longform.outputs import subtitles_path
from ..runtime.apart import Named, check_apart, is_within
from ..weights.model_files import model_files
from .chattts import inputs_of
from .live import STANDARD_OUTPUT


def check_paths(arguments: argparse.Namespace) -> None:
    """Check that outputs can be written, and are neither inputs nor other outputs.

    Raises:
        AudioError, SettingError: see the message, which names them.
    """
    inputs = [
        (f"--{name} {path}", path)
        for name in ("voice", "lexicon", "file", "batch")
        if (path := getattr(arguments, name)) is not None
    ]
    inputs += [*inputs_of(arguments), *model_files(arguments.model)]
    outputs: list[Named] = []
    job = None
    keep = arguments.save_voice
    if keep is not None:
        _check_voice_file(keep)
        outputs.append((f"--save-voice {keep}", keep))
    if arguments.batch is not None and arguments.output_dir is None:
        pass  # --show-text writes nothing
    elif arguments.batch is not None:
        job = arguments.output_dir / FOLDER_NAME
        outputs += _batch_outputs(arguments.output_dir)
    elif arguments.output != STANDARD_OUTPUT:
        check_output(arguments.output)
        if arguments.file is not None and not arguments.stream:
            job = job_folder(arguments.output)
        outputs += _text_outputs(arguments.output, job, arguments.subtitles)
    check_apart(outputs, inputs)
    if job is not None:
        _check_job(job, [*inputs, *outputs])


def _check_voice_file(path: Path) -> None:
    if path.suffix != ".safetensors" or not path.parent.is_dir() or path.is_dir():
        raise AudioError(
            f"--save-voice {path}: the name must end in .safetensors and its folder must exist."
        )


def _batch_outputs(folder: Path) -> list[Named]:
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"--output-dir {folder} is a file: name a folder.")
    report = folder / REPORT_NAME
    return [(f"{report}, the report of --batch,", report)]


def _text_outputs(output: Path, job: Path | None, subtitles: str | None) -> list[Named]:
    outputs: list[Named] = [(f"--output {output}", output)]
    if subtitles is not None:
        path = subtitles_path(output, subtitles)
        if path.is_dir():
            raise SettingError(f"--subtitles would be {path}, which is a folder: rename --output.")
        outputs.append((f"{path}, of --subtitles {subtitles},", path))
    if job is not None:
        if os.path.exists(job) and not job.is_dir():
            raise SettingError(
                f"{job} is a file, but --output {output} needs a folder of this name for finished "
                "pieces: rename --output."
            )
        outputs.append((f"{job}, where finished pieces are kept,", job))
    return outputs


def _check_job(job: Path, files: Sequence[Named]) -> None:
    """Raise SettingError if a file lies in the job's folder, whose content the job may remove."""
    for name, path in files:
        if path is not None and path != job and is_within(path, job):
            raise SettingError(
                f"{name} lies in {job}, whose content is replaced and removed: name another file."
            )
