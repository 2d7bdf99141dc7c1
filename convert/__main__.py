"""`python -m convert`: any Chatterbox weights to a checkpoint of this library."""

from __future__ import annotations

import argparse
import re
import sys
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
multilingual-v2, turbo, nano). What it holds is recognised by what is in it:
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
manifest of what its files must be, which --check compares."""

EXAMPLES = """\
examples:
  python -m convert ResembleAI/chatterbox chatterbox
  python -m convert ~/Downloads/chatterbox chatterbox-fp16 --dtype float16
  python -m convert ~/Downloads/chatterbox multilingual --variant multilingual
  python -m convert ~/Downloads/hindi-pack hindi --t3 t3_hindi.safetensors
  python -m convert mlx-community/chatterbox-4bit chatterbox
  python -m convert chatterbox chatterbox-fp16 --dtype float16
  python -m convert voice-training my-voice --dtype float16
  python -m convert ~/Downloads/chatterbox mine --s3gen ~/Downloads/s3gen-hf
  python -m convert --check chatterbox
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
    result.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="type of the weights (default: %(default)s, exact; the others halve the size)",
    )
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
        "--force", action="store_true", help="replace OUTPUT if it is a checkpoint already"
    )
    result.add_argument(
        "--verbose", action="store_true", help="name every dropped key; show tracebacks"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 when done, 1 on an error. Wrong use exits with 2."""
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.check == (arguments.output is not None):
        command.error("--check takes SOURCE alone" if arguments.check else "OUTPUT is missing")
    from mlx_chatterbox.errors import ChatterboxError

    try:
        _check(arguments) if arguments.check else _run(arguments)
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


def _check(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.checkpoint import verify_folder
    from mlx_chatterbox.hub import resolve
    from mlx_chatterbox.manifest import check_manifest

    folder = resolve(arguments.source)
    with _progress_bar() as progress:
        count = check_manifest(folder, progress)
    verify_folder(folder)
    print(f"{folder}: {count} files are what was written, and load.")


def _run(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.checkpoint import verify_folder
    from mlx_chatterbox.hub import resolve, speech_tokenizer, variant_called

    from .core import convert

    source, variant, repo = arguments.source, arguments.variant, None
    named = None if Path(source).exists() else variant_called(source)
    if named is not None:
        repo, variant = named.repo, variant or named.name
    elif _looks_like_repository(source):
        repo = source
    if repo is not None:
        source = resolve(variant if _publishes(repo, variant) else source, arguments.t3)
    with _progress_bar() as progress:
        result = convert(
            source,
            arguments.output,
            dtype=arguments.dtype,
            variant=variant,
            t3_file=arguments.t3,
            force=arguments.force,
            verify=verify_folder,
            progress=progress,
            repo=repo,
            s3gen=arguments.s3gen,
            speech_tokenizer=None if repo is None else speech_tokenizer,
        )
    print(summary(result, arguments.verbose))


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
