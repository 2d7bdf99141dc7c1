"""`mlx-chatterbox-convert`: convert weights of any origin, check and publish them."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_chatterbox.harmless import one_line
from mlx_chatterbox.models.config import CHATTTS_TYPE
from mlx_chatterbox.runtime.begin import CODE as INTERRUPTED
from mlx_chatterbox.runtime.program import run_program

from .options import misuse, parser

if TYPE_CHECKING:
    from mlx_chatterbox.weights.conversion.core import Conversion, Progress


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 when done, 1 on an error. Wrong use exits with 2."""
    command_line = parser()

    def work(arguments: argparse.Namespace) -> None:
        if wrong := misuse(arguments):
            command_line.error(wrong)
        _run(arguments)

    return run_program(command_line, argv, work, name="")


def _check_files(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.weights.hub import resolve
    from mlx_chatterbox.weights.manifest import check_manifest

    from .families import check_loads

    folder = resolve(arguments.source)
    with _progress_bar() as progress:
        count = check_manifest(folder, progress)
    check_loads(folder)
    print(f"{folder}: {count} files match the manifest, and the model loads.")


def _run(arguments: argparse.Namespace) -> None:
    if arguments.check:
        _check_files(arguments)
        return
    if arguments.upload_repo is not None:
        from .publish import check_access, check_repository

        check_repository(arguments.upload_repo)
        if not arguments.dry_run:  # before hours of work
            check_access()
    if arguments.word_errors:
        from mlx_chatterbox.recognition.recogniser import Recogniser

        Recogniser()
    if arguments.output is not None:
        _convert(arguments)
    if arguments.upload_repo is not None:
        _publish(arguments)


def _convert(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.weights.atomic_folder import recover
    from mlx_chatterbox.weights.conversion.core import convert
    from mlx_chatterbox.weights.conversion.recipes import RECIPES_OF, uniform
    from mlx_chatterbox.weights.hub import (
        CHATTTS,
        is_known,
        local_folder,
        repository_of,
        resolve,
        say_passed_over,
        speech_tokenizer,
        variant_called,
    )

    from .families import family_in, refuse_for

    source, variant, repo = arguments.source, arguments.variant, None
    say_passed_over(source)
    if not Path(source).expanduser().is_dir() and not is_known(source):
        recover(Path(source).expanduser())  # a conversion over it may have been killed
    here = local_folder(source)  # a folder, or the model in the package by its name
    named = variant_called(source) if here is None else None
    if here is not None:
        source = here
    elif named is not None:
        repo, variant = named.repo, variant or named.name
    elif source == CHATTTS:
        repo = repository_of(source)
    elif _looks_like_repository(source):
        repo = source
    if repo is not None:
        source = resolve(variant if _publishes(repo, variant) else source, arguments.t3)
    family = family_in(source)
    refuse_for(family, arguments)
    if arguments.recipe is not None:
        recipe = RECIPES_OF[family][arguments.recipe]
    elif arguments.quantize is not None:
        recipe = uniform(
            arguments.quantize, arguments.group_size or 64, arguments.dtype or "float16", family
        )
    else:
        recipe = None  # the source's own
    settings = {
        "variant": variant,
        "t3_file": arguments.t3,
        "s3gen": arguments.s3gen,
        "speech_tokenizer": None if repo is None else speech_tokenizer,
    }
    with _progress_bar() as progress:
        result = convert(
            source,
            arguments.output,
            dtype=arguments.dtype or (recipe.dtype if recipe else None),
            quantization=recipe.quantization if recipe else None,
            **settings,
            force=arguments.force,
            verify=lambda folder: _check(folder, source, settings, arguments),
            with_reference=_verifies(arguments),
            progress=progress,
            repo=repo,
        )
    print(summary(result, arguments.verbose))
    if is_known(arguments.output):
        print(
            f"note: {arguments.output} is also the name of a model: write ./{arguments.output} to "
            "load this folder."
        )


def _check(folder: Path, source: str | Path, settings: dict, arguments: argparse.Namespace) -> None:
    """Check that a finished folder loads, and verify it if that is wanted, before it is renamed.

    Args:
        folder: the checkpoint under its temporary name.
        settings: of `convert`, but for the precision.
    """
    from .families import check_loads, verify_folders

    check_loads(folder)
    if not _verifies(arguments):
        return
    import tempfile

    from mlx_chatterbox.models.config import QuantizationConfig
    from mlx_chatterbox.weights.conversion.core import convert_folder
    from mlx_chatterbox.weights.manifest import update_manifest

    from .verification import TEXTS, as_text

    print("verifying against the source in float32 ...", file=sys.stderr)
    # In the folder that is being made, so that it goes with it if the process is killed.
    with tempfile.TemporaryDirectory(prefix=".float32-", dir=folder) as temporary:
        # Layers that are quantised in the source are dequantised.
        exact = {**settings, "dtype": "float32", "quantization": QuantizationConfig()}
        reference = convert_folder(source, Path(temporary) / "reference", **exact)
        texts = TEXTS if _listens(folder, arguments) else ()
        result = verify_folders(reference, folder, arguments.positions, texts)
    result.save(folder)
    update_manifest(folder)
    print(as_text(result))


def _verifies(arguments: argparse.Namespace) -> bool:
    return arguments.upload_repo is not None if arguments.verify is None else arguments.verify


def _listens(folder: Path, arguments: argparse.Namespace) -> bool:
    """Decide whether to count word errors; warn where they are wanted and cannot be counted."""
    if arguments.word_errors is not None:
        return arguments.word_errors
    from mlx_chatterbox.recognition.recogniser import MissingRecogniser, Recogniser
    from mlx_chatterbox.weights.configuration import read_config

    from .model_card import is_pocket

    if arguments.upload_repo is None or not is_pocket(read_config(folder)):
        return False
    try:
        Recogniser()
    except MissingRecogniser as error:
        print(f"warning: word errors are not measured: {error}", file=sys.stderr)
        return False
    return True


def _publish(arguments: argparse.Namespace) -> None:
    from .publish import publish, resumption

    folder = arguments.source if arguments.output is None else arguments.output
    settings = {
        "private": arguments.private,
        "force": arguments.force_upload,
        "license": arguments.license,
    }
    goes_on = resumption(folder, arguments.upload_repo, **settings)
    with _stops_at_once(f"interrupted; {goes_on}"):
        done = publish(
            folder,
            arguments.upload_repo,
            dry_run=arguments.dry_run,
            say=lambda line: print(line, file=sys.stderr),
            **settings,
        )
    if arguments.dry_run:
        print(done.card)
        print(f"dry run: nothing was uploaded. To {done.repo} would go:")
    else:
        print(f"published: {done.url}")
    for name, size in done.files.items():
        print(f"  {name}: {size / 1e6:.1f} MB")


@contextmanager
def _stops_at_once(message: str) -> Iterator[None]:
    """End the process at once on Ctrl-C: the hub's client would first finish uploading a file.

    That leaves no half-written file here: `publish` writes each file whole or not at all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main one alone
        return

    def stop(*_) -> None:
        os.write(sys.stderr.fileno(), f"\n{message}\n".encode())
        os._exit(INTERRUPTED)

    sys.stdout.flush()
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _looks_like_repository(source: str) -> bool:
    named = re.fullmatch(r"[A-Za-z0-9_][\w.-]*/[\w.-]+", source)
    return named is not None and not Path(source).is_file()


def _publishes(repo: str, variant: str | None) -> bool:
    """Tell whether a repository is the variant's own, so that only its files are downloaded."""
    from mlx_chatterbox.weights.variants import VARIANTS

    return variant in VARIANTS and VARIANTS[variant].repo == repo


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """Show bytes on a terminal and nothing in a pipe."""
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def summary(result: Conversion, verbose: bool = False) -> str:
    """Describe what was written and what was dropped, a line each.

    Args:
        verbose: name every dropped key, not only groups of them.
    """
    from mlx_chatterbox.weights.conversion.components import as_text

    lines = [
        f"{result.folder}: {result.variant}, {result.tensors} tensors in {result.dtype}, "
        f"{result.size / 1e6:.1f} MB, {_voices(result)}; from {result.layout}'s files",
        *(f"  {one_line(line)}" for line in as_text(result.components)),
        *(one_line(f"note: {note}") for note in result.notes),
    ]
    groups = Counter((item.file, _pattern(item.key), item.reason) for item in result.dropped)
    for (file, pattern, reason), count in groups.items():
        times = f" ({count} keys)" if count > 1 else ""
        lines.append(one_line(f"dropped {file}: {pattern}{times}: {reason}"))
        if verbose and count > 1:
            lines += [
                f"    {one_line(item.key)}"
                for item in result.dropped
                if (item.file, _pattern(item.key)) == (file, pattern)
            ]
    return "\n".join(lines)


def _voices(result: Conversion) -> str:
    """Describe the voices in a checkpoint; ChatTTS draws them from statistics."""
    if result.variant == CHATTTS_TYPE:
        own = "with" if result.statistics else "without"
        return f"{own} statistics of speakers"
    if result.voice:
        return "with the built-in voice"
    return "without a built-in voice (to speak, give a recording: --voice)"


def _pattern(key: str) -> str:
    """Replace a key of which there are many by a pattern for all of them."""
    for ending in (".num_batches_tracked", ".inv_freq"):
        if key.endswith(ending):
            return f"*{ending}"
    return key


if __name__ == "__main__":
    sys.exit(main())
