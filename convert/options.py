"""The command line of `python -m convert`: its options, its help, and what does not go together.

Imports nothing heavy, so that --help answers at once.
"""

from __future__ import annotations

import argparse

from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.option_rules import Rule, ignored, name_of

from . import COMMAND, MODULE

MAX_POSITIONS = 100_000

DESCRIPTION = """\
Converts Chatterbox, in whatever form it is published, into a folder that this library loads.

SOURCE is a folder, a hub repository OWNER/NAME, or a model's name (chatterbox, multilingual,
multilingual-v2, turbo, nano, pocket); a folder that is called like a model is written as a path
(./turbo). What it holds is recognised by what is in it:
  upstream's files        the voice encoder's, T3's and S3Gen's weights (.safetensors or .pt), the
                          tokenizer's files, conds.pt (the built-in voice) where there is one;
                          language packs, whose T3 has a name of its own
  mlx-audio's             what is under mlx-community: one model.safetensors, in any precision. The
                          newer ones leave out the speech tokenizer: it is fetched with a
                          repository, and looked for in S3TokenizerV2 in or beside a folder
  this library's          to be converted again: another type, packed weights unpacked
  our trainer's           its output folder, or the final_model in it
Where SOURCE holds several models, English is taken unless --variant says otherwise.
A large file may be split into shards, with an index or without.
OUTPUT is the folder to make. It appears only when everything in it is complete and loads, with a
manifest of what its files must be, which --check compares.

Precision: the source's own types unless said otherwise, float32 for upstream's files. --dtype
rounds every weight to one type. --quantize puts linear layers and embeddings in the same few bits;
--recipe chooses them by layer, from measured damage: balanced is a little under three fifths of
float16's size, small half, exact is float32. What no group of numbers divides, and what makes a
voice, a pitch or a token, is never quantised: the speech tokenizer, which serves only when a
recording is read, stays in float16. What the source has in few bits stays so, to the bit, unless
--recipe or --quantize says otherwise. docs/conversion.md has figures.

--verify holds the result against the source in float32 and writes verification.json beside the
weights. --upload-repo does so by itself, and publishes nothing past the bounds, or unverified,
without --force-upload. Without OUTPUT it publishes the converted folder SOURCE, or goes on where
an upload broke off.

Whatever ends a conversion, OUTPUT is as it was before; with --force the old one stays until the new
one is complete. A file that is cut short or damaged, and a pickle that asks for anything but
tensors, is refused."""

EXAMPLES = f"""\
examples:
  {COMMAND} ResembleAI/chatterbox my-chatterbox
  {COMMAND} chatterbox chatterbox-fp16 --dtype float16
  {COMMAND} chatterbox chatterbox-balanced --recipe balanced --verify
  {COMMAND} chatterbox chatterbox-4bit --quantize 4 --group-size 32
  {COMMAND} chatterbox chatterbox-small --recipe small --upload-repo me/chatterbox-small
  {COMMAND} chatterbox-small --upload-repo me/chatterbox-small --private
  {COMMAND} ~/Downloads/chatterbox multilingual --variant multilingual
  {COMMAND} ~/Downloads/hindi-pack hindi --t3 t3_hindi.safetensors
  {COMMAND} mlx-community/chatterbox-4bit community-4bit
  {COMMAND} voice-training my-voice --recipe balanced
  {COMMAND} ~/Downloads/chatterbox mine --s3gen ~/Downloads/s3gen-hf
  {COMMAND} --check my-chatterbox
  {MODULE}.damage pocket      # what each precision does to each group of layers
  {MODULE}.reading pocket     # ... and to what reads recordings
  python -m mlx_chatterbox.generate --model chatterbox-fp16 --text "Hello." --output hello.wav"""


def parser() -> argparse.ArgumentParser:
    """The command line; importing nothing heavy, so that --help answers at once."""
    result = argparse.ArgumentParser(
        prog=COMMAND,
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
        help="replace OUTPUT if it is a checkpoint of this library's or an empty folder",
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
        type=whole(),
        choices=(3, 4, 6, 8),
        metavar="BITS",
        help="linear layers and embeddings in 3, 4, 6 or 8 bits, the rest in --dtype (the speech "
        "tokenizer in float16 at least)",
    )
    section.add_argument(
        "--group-size",
        type=whole(),
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
        type=whole(1, MAX_POSITIONS),
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


def misuse(arguments: argparse.Namespace) -> str:
    """What is wrong with the arguments together; empty if nothing is."""
    if arguments.check and (arguments.output is not None or arguments.upload_repo is not None):
        return "--check takes SOURCE alone."
    if not arguments.check and arguments.output is None and arguments.upload_repo is None:
        return "OUTPUT is missing (without it, --upload-repo publishes SOURCE as it is)."
    if wrong := ignored(given_in(arguments), modes_of(arguments), RULES):
        return wrong
    if arguments.group_size is not None and arguments.quantize is None:
        return "--group-size goes with --quantize."
    if arguments.recipe is not None and arguments.dtype is not None:
        return "--recipe says the types by itself: leave --dtype out."
    if arguments.word_errors and arguments.verify is False:
        return "--word-errors is a part of verification."
    verifies = arguments.verify or (arguments.verify is None and arguments.upload_repo is not None)
    measured = given_in(arguments) & {"--positions", "--word-errors"}
    if measured and not verifies:
        return f"{min(measured)} is a part of verification: give --verify too."
    return ""


CHECK, CONVERT, PUBLISH, BOTH = "--check", "OUTPUT", "SOURCE alone", "OUTPUT and --upload-repo"
_MAKES = Rule((CONVERT, BOTH), "is of a conversion into OUTPUT")
_PUBLISHES = Rule((PUBLISH, BOTH), "goes with --upload-repo")
_ALWAYS = Rule((CHECK, CONVERT, PUBLISH, BOTH))
RULES = {
    **dict.fromkeys(("--recipe", "--quantize", "--group-size", "--dtype"), _MAKES),
    **dict.fromkeys(("--verify", "--positions", "--word-errors"), _MAKES),
    **dict.fromkeys(("--variant", "--t3", "--s3gen"), _MAKES),
    "--force": Rule((CONVERT, BOTH), "goes with OUTPUT, which it replaces"),
    **dict.fromkeys(("--private", "--license", "--force-upload", "--dry-run"), _PUBLISHES),
    "--upload-repo": _PUBLISHES,
    "--check": Rule((CHECK,), "takes SOURCE alone"),
    "--verbose": _ALWAYS,
    "--help": _ALWAYS,
}


def modes_of(arguments: argparse.Namespace) -> tuple[str]:
    """What a command line means."""
    if arguments.check:
        return (CHECK,)
    if arguments.output is None:
        return (PUBLISH,)
    return (CONVERT if arguments.upload_repo is None else BOTH,)


def given_in(arguments: argparse.Namespace) -> frozenset[str]:
    """The options that were written: as `parse` notes them, else those that are not as usual."""
    if hasattr(arguments, "given"):
        return arguments.given
    options = [action for action in parser()._actions if action.option_strings]
    return frozenset(
        name_of(action)
        for action in options
        if getattr(arguments, action.dest, action.default) != action.default
    )
