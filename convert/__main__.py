"""`python -m convert`: any Chatterbox weights to a checkpoint of ours, small and published."""

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

if TYPE_CHECKING:
    from .core import Conversion, Progress

DESCRIPTION = """\
Converts Chatterbox, in whatever form it is published, into a folder that this library loads.

SOURCE is a folder, a hub repository OWNER/NAME, or a model's name (chatterbox, multilingual,
multilingual-v2, turbo, nano, pocket). What it holds is recognised by what is in it:
  upstream's files        the voice encoder's, T3's and S3Gen's weights (.safetensors or .pt), the
                          tokenizer's files, conds.pt (the built-in voice) where there is one;
                          language packs, whose T3 has a name of its own
  mlx-audio's             what is under mlx-community: one model.safetensors, in any precision. The
                          newer ones leave out the speech tokenizer: it is fetched with a
                          repository, and looked for in S3TokenizerV2 in or beside a folder
  this library's          to be converted again: another type, packed weights unpacked
  our trainer's           its output folder, or the final_model in it
Where SOURCE holds several models, English is taken unless --variant says otherwise.
OUTPUT is the folder to make. It appears only when everything in it is complete and loads, with a
manifest of what its files must be, which --check compares.

Precision: the source's own types unless said otherwise, float32 for upstream's files. --dtype
rounds every weight to one type. --quantize puts linear layers and embeddings in the same few bits;
--recipe chooses them by layer, from measured damage: balanced is a little over half of float16's
size, small about two fifths, exact is float32. What no group of numbers divides, and what makes a
voice, a pitch or a token, is never quantised. What the source has in few bits stays so, to the bit,
unless --recipe or --quantize says otherwise.

--verify holds the result against the source in float32 and writes verification.json beside the
weights. --upload-repo does so by itself, and publishes nothing past the bounds, or unverified,
without --force-upload. Without OUTPUT it publishes the converted folder SOURCE, or goes on where
an upload broke off.

Whatever ends a conversion, OUTPUT is as it was before; with --force the old one stays until the new
one is complete. A file that is cut short or damaged, and a pickle that asks for anything but
tensors, is refused."""

EXAMPLES = """\
examples:
  python -m convert ResembleAI/chatterbox chatterbox
  python -m convert chatterbox chatterbox-fp16 --dtype float16
  python -m convert chatterbox chatterbox-balanced --recipe balanced --verify
  python -m convert chatterbox chatterbox-4bit --quantize 4 --group-size 32
  python -m convert chatterbox chatterbox-small --recipe small --upload-repo me/chatterbox-small
  python -m convert chatterbox-small --upload-repo me/chatterbox-small --private
  python -m convert ~/Downloads/chatterbox multilingual --variant multilingual
  python -m convert ~/Downloads/hindi-pack hindi --t3 t3_hindi.safetensors
  python -m convert mlx-community/chatterbox-4bit community-4bit
  python -m convert voice-training my-voice --recipe balanced
  python -m convert ~/Downloads/chatterbox mine --s3gen ~/Downloads/s3gen-hf
  python -m convert --check chatterbox
  python -m convert.damage pocket      # what each precision does to each group of layers
  python -m mlx_chatterbox.generate --model chatterbox-fp16 --text "Hello." --output hello.wav"""


def parser() -> argparse.ArgumentParser:
    """The command line; importing nothing heavy, so that --help answers at once."""
    result = argparse.ArgumentParser(
        prog="python -m convert",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "source", metavar="SOURCE", help="folder with a model's files, or OWNER/NAME"
    )
    result.add_argument("output", metavar="OUTPUT", nargs="?", help="folder to make")
    result.add_argument(
        "--check",
        action="store_true",
        help="write nothing: compare the files of SOURCE, a converted folder, with its manifest",
    )
    _add_precisions(result)
    _add_verification(result)
    _add_publishing(result)
    result.add_argument(
        "--variant",
        metavar="NAME",
        help="english, multilingual (v3), multilingual-v2, turbo or nano (default: the first "
        "whose files are there)",
    )
    result.add_argument(
        "--t3", metavar="FILE", help="T3's .safetensors file in SOURCE, if it has a name of its own"
    )
    result.add_argument(
        "--s3gen",
        metavar="PATH",
        help="another S3Gen than SOURCE's: a file or folder of upstream's, or one in Hugging "
        "Face's layout (flow.*, mel2wav.*, tokenizer.s3_model.*)",
    )
    result.add_argument(
        "--force",
        action="store_true",
        help="replace OUTPUT if it is a checkpoint already",
    )
    result.add_argument(
        "--verbose", action="store_true", help="name every dropped key; show tracebacks"
    )
    return result


def _add_precisions(result: argparse.ArgumentParser) -> None:
    section = result.add_argument_group("precision")
    group = section.add_mutually_exclusive_group()
    group.add_argument(
        "--recipe",
        choices=("small", "balanced", "exact"),
        help="mixed precisions by layer; how they are put together is in config.json",
    )
    group.add_argument(
        "--quantize",
        type=int,
        choices=(3, 4, 6, 8),
        metavar="BITS",
        help="linear layers and embeddings in 3, 4, 6 or 8 bits, the rest in --dtype",
    )
    section.add_argument(
        "--group-size",
        type=int,
        choices=(32, 64, 128),
        metavar="N",
        help="numbers that share a scale: 32, 64 (the default) or 128",
    )
    section.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="type of the weights (default: the source's own, float32 for upstream's files; with "
        "--quantize float16)",
    )


def _add_verification(result: argparse.ArgumentParser) -> None:
    group = result.add_argument_group("verification")
    group.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        help="hold the result against the source in float32: each stage, T3's next token along "
        "real text, mel and waveform (default: with --upload-repo)",
    )
    group.add_argument(
        "--positions",
        type=int,
        default=500,
        metavar="N",
        help="of T3 to compare (default: %(default)s)",
    )
    group.add_argument(
        "--word-errors",
        action=argparse.BooleanOptionalAction,
        help="also let both speak, and count what a recogniser mishears (needs pocketsphinx; "
        "default: with --upload-repo, of the pocket model and what was made from it, where "
        "pocketsphinx is installed)",
    )


def _add_publishing(result: argparse.ArgumentParser) -> None:
    group = result.add_argument_group("publishing")
    group.add_argument(
        "--upload-repo", metavar="OWNER/NAME", help="publish on the Hugging Face hub, with a card"
    )
    group.add_argument("--private", action="store_true", help="a new repository is private")
    group.add_argument(
        "--license",
        default="mit",
        metavar="ID",
        help="in the card, as the hub calls it (default: %(default)s, upstream's)",
    )
    group.add_argument(
        "--force-upload",
        action="store_true",
        help="publish also what was not verified, or is past its bounds",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="do everything but the upload: write the card and say what would go up",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 when done, 1 on an error. Wrong use exits with 2."""
    command_line = parser()
    arguments = command_line.parse_args(argv)
    if wrong := _misuse(arguments):
        command_line.error(wrong)
    from mlx_chatterbox.errors import ChatterboxError

    try:
        _run(arguments)
    except KeyboardInterrupt:
        if arguments.verbose:
            raise
        print("interrupted; nothing was written.", file=sys.stderr)
        return 1
    except (ChatterboxError, OSError) as error:
        if arguments.verbose:
            import traceback

            traceback.print_exc()
        else:
            print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check_files(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.checkpoint import verify_folder
    from mlx_chatterbox.hub import resolve
    from mlx_chatterbox.manifest import check_manifest

    folder = resolve(arguments.source)
    with _progress_bar() as progress:
        count = check_manifest(folder, progress)
    verify_folder(folder)
    print(f"{folder}: {count} files are what was written, and load.")


def _misuse(arguments: argparse.Namespace) -> str:
    """What is wrong with the arguments together; empty if nothing is."""
    if arguments.check:
        alone = arguments.output is None and arguments.upload_repo is None
        return "" if alone else "--check takes SOURCE alone."
    if arguments.output is None and arguments.upload_repo is None:
        return "OUTPUT is missing (without it, --upload-repo publishes SOURCE as it is)."
    if arguments.group_size is not None and arguments.quantize is None:
        return "--group-size goes with --quantize."
    if arguments.recipe is not None and arguments.dtype is not None:
        return "--recipe says the types by itself: leave --dtype out."
    alone = [name for name in ("private", "dry_run", "force_upload") if getattr(arguments, name)]
    if alone and arguments.upload_repo is None:
        return f"--{alone[0].replace('_', '-')} goes with --upload-repo."
    if arguments.force and arguments.output is None:
        return "--force goes with OUTPUT, which it replaces."
    if arguments.word_errors and arguments.verify is False:
        return "--word-errors is a part of verification."
    if arguments.positions < 1:
        return "--positions must be 1 or more."
    return ""


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
        from mlx_chatterbox.train.pocket.judging import Recogniser

        Recogniser()
    if arguments.output is not None:
        _convert(arguments)
    if arguments.upload_repo is not None:
        _publish(arguments)


def _convert(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.hub import local_folder, resolve, speech_tokenizer, variant_called

    from .core import convert
    from .recipes import RECIPES, uniform

    source, variant, repo = arguments.source, arguments.variant, None
    here = local_folder(source)  # a folder, or the model in the package by its name
    named = variant_called(source) if here is None else None
    if here is not None:
        source = here
    elif named is not None:
        repo, variant = named.repo, variant or named.name
    elif _looks_like_repository(source):
        repo = source
    if repo is not None:
        source = resolve(variant if _publishes(repo, variant) else source, arguments.t3)
    if arguments.recipe is not None:
        recipe = RECIPES[arguments.recipe]
    elif arguments.quantize is not None:
        recipe = uniform(arguments.quantize, arguments.group_size or 64)
    else:
        recipe = None  # the source's own
    given = {
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
            **given,
            force=arguments.force,
            verify=lambda folder: _check(folder, source, given, arguments),
            with_reference=_verifies(arguments),
            progress=progress,
            repo=repo,
        )
    print(summary(result, arguments.verbose))


def _check(folder: Path, source: str | Path, given: dict, arguments: argparse.Namespace) -> None:
    """Of a finished folder, before it takes its name: it loads; if wanted, how good it is."""
    from mlx_chatterbox.checkpoint import verify_folder

    verify_folder(folder)
    if not _verifies(arguments):
        return
    import tempfile

    from mlx_chatterbox.config import QuantizationConfig
    from mlx_chatterbox.manifest import list_again

    from .core import convert_folder
    from .verification import TEXTS, as_text, verify

    print("verifying against the source in float32 ...", file=sys.stderr)
    # In the folder that is being made, so that it goes with it if the process is killed.
    with tempfile.TemporaryDirectory(prefix=".float32-", dir=folder) as temporary:
        # What the source has of few bits is unpacked, too.
        exact = {**given, "dtype": "float32", "quantization": QuantizationConfig()}
        reference = convert_folder(source, Path(temporary) / "reference", **exact)
        texts = TEXTS if _listens(folder, arguments) else ()
        found = verify(reference, folder, positions=arguments.positions, word_errors=texts)
    found.save(folder)
    list_again(folder)
    print(as_text(found))


def _verifies(arguments: argparse.Namespace) -> bool:
    return arguments.upload_repo is not None if arguments.verify is None else arguments.verify


def _listens(folder: Path, arguments: argparse.Namespace) -> bool:
    """Whether word errors are counted; says so where they would be and cannot."""
    if arguments.word_errors is not None:
        return arguments.word_errors
    from mlx_chatterbox.config import ModelConfig
    from mlx_chatterbox.train.pocket.judging import MissingRecogniser, Recogniser

    from .model_card import is_pocket

    if arguments.upload_repo is None or not is_pocket(ModelConfig.load(folder)):
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
    """Ctrl-C ends the process: the hub's client would first finish the file that is going up.

    What `publish` writes on this machine appears whole or not at all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main one alone
        return

    def stop(*_) -> None:
        os.write(sys.stderr.fileno(), f"\n{message}\n".encode())
        os._exit(1)

    sys.stdout.flush()
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _looks_like_repository(source: str) -> bool:
    named = re.fullmatch(r"[A-Za-z0-9_][\w.-]*/[\w.-]+", source)
    return named is not None and not Path(source).exists()


def _publishes(repo: str, variant: str | None) -> bool:
    """Whether the variant's own files are this repository's, so that only they are fetched."""
    from mlx_chatterbox.variants import VARIANTS

    return variant in VARIANTS and VARIANTS[variant].repo == repo


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """Shows bytes on a terminal and nothing in a pipe."""
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def summary(result: Conversion, verbose: bool = False) -> str:
    """What was written and what was left behind, for people."""
    voice = "with the built-in voice" if result.voice else "without a built-in voice"
    lines = [
        f"{result.folder}: {result.variant}, {result.tensors} tensors in {result.dtype}, "
        f"{result.size / 1e6:.1f} MB, {voice}; from {result.layout}'s files",
        *(f"note: {note}" for note in result.notes),
    ]
    groups = Counter((item.file, _pattern(item.key), item.reason) for item in result.dropped)
    for (file, pattern, reason), count in groups.items():
        times = f" ({count} keys)" if count > 1 else ""
        lines.append(f"dropped {file}: {pattern}{times}: {reason}")
        if verbose and count > 1:
            lines += [
                f"    {item.key}"
                for item in result.dropped
                if (item.file, _pattern(item.key)) == (file, pattern)
            ]
    return "\n".join(lines)


def _pattern(key: str) -> str:
    """Keys that there are many of, by what they have in common."""
    for ending in (".num_batches_tracked", ".inv_freq"):
        if key.endswith(ending):
            return f"*{ending}"
    return key


if __name__ == "__main__":
    sys.exit(main())
