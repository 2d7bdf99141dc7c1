"""The command line of the converter: options, help, and options that exclude each other.

Imports nothing heavy, so that --help answers at once.
"""

from __future__ import annotations

import argparse

from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.option_rules import Rule, ignored, name_of

from . import COMMAND, MODULE

MAX_POSITIONS = 100_000

DESCRIPTION = """\
Converts Chatterbox, in any form in which it is published, and ChatTTS into a folder that this
library loads.

SOURCE is a folder, a hub repository OWNER/NAME, or a model's name (chatterbox, multilingual,
multilingual-v2, turbo, nano, flash, pocket, chattts); write a folder that has the name of a model
as a path (./turbo). The layout of SOURCE is recognised by its files:
  upstream's files        weights of the voice encoder, T3 and S3Gen (.safetensors or .pt), the
                          tokenizer's files, and conds.pt if there is a built-in voice; language
                          packs too, whose T3 file has a name of its own
  ChatTTS's               the folder that holds asset/: five files of weights, the GPT's
                          config.json, the tokenizer, and asset/spk_stat.pt if there are statistics
                          of speakers. The weights are CC BY-NC 4.0, also when converted
  mlx-audio's             the models of mlx-community: one model.safetensors, in any precision.
                          Newer ones lack the speech tokenizer: it is downloaded with a repository,
                          and looked for in S3TokenizerV2 in or beside a folder
  this library's          checkpoints, to change their type or unpack their weights
  our trainer's           its output folder, or the final_model in it
If SOURCE holds several models, the English one is converted unless --variant names another.
A large file may be split into shards, with or without an index.
OUTPUT is the folder to make. It appears only when all of its files are complete and load, with a
manifest of their sizes and hashes, which --check compares.

Precision: by default that of the source, float32 for upstream's files. --dtype rounds every weight
to one type. --quantize stores linear layers and embeddings with the same number of bits; --recipe
chooses the bits layer by layer, by measured damage: balanced takes a little less than three fifths
of the space of float16, small half of it, exact is float32. Layers whose width no group size
divides, and those that compute a voice, a pitch or speech tokens, are never quantised: the speech
tokenizer, needed only to read recordings, stays float16. Of ChatTTS only the GPT is quantised:
decoders and vocoder stay float16, what reads recordings float32. Layers that are quantised in the
source keep their exact bits unless --recipe or --quantize is given. docs/conversion.md has figures.

--verify compares the result with the source in float32 and writes verification.json next to the
weights. --upload-repo verifies too, and publishes a model that is out of bounds or unverified only
with --force-upload. Without OUTPUT it publishes SOURCE, a converted folder, or resumes an upload
that was interrupted.

If a conversion fails or is interrupted, OUTPUT stays as it was; with --force the old one stays
until the new one is complete. Files that are truncated or damaged, and pickles that contain
anything but tensors, are refused."""

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
  {COMMAND} chattts chattts-8bit --quantize 8
  {COMMAND} ~/Downloads/ChatTTS chattts-fp16 --dtype float16
  {COMMAND} mlx-community/chatterbox-4bit community-4bit
  {COMMAND} voice-training my-voice --recipe balanced
  {COMMAND} ~/Downloads/chatterbox mine --s3gen ~/Downloads/s3gen-hf
  {COMMAND} --check my-chatterbox
  {MODULE}.damage pocket      # error of each group of layers in each precision
  {MODULE}.reading pocket     # ... and of the networks that read recordings
  python -m mlx_chatterbox.generate --model chatterbox-fp16 --text "Hello." --output hello.wav"""


def parser() -> argparse.ArgumentParser:
    """Make the parser; nothing heavy is imported, so that --help answers at once."""
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
        help="english, multilingual (v3), multilingual-v2, turbo, nano, flash or chattts (default: "
        "the first whose files are there)",
    )
    result.add_argument(
        "--t3",
        metavar="FILE",
        help="the file of T3 in SOURCE (.safetensors), if its name is unusual",
    )
    result.add_argument(
        "--s3gen",
        metavar="PATH",
        help="take S3Gen from here instead of SOURCE: a file or folder of upstream's, or one in "
        "Hugging Face's layout (flow.*, mel2wav.*, tokenizer.s3_model.*)",
    )
    result.add_argument(
        "--force",
        action="store_true",
        help="replace OUTPUT if it is a checkpoint of this library's or an empty folder",
    )
    result.add_argument(
        "--verbose", action="store_true", help="list every dropped key, and show tracebacks"
    )
    return result


def _add_precisions(result: argparse.ArgumentParser) -> None:
    section = result.add_argument_group("precision")
    group = section.add_mutually_exclusive_group()
    group.add_argument(
        "--recipe",
        choices=("small", "balanced", "exact"),
        help="mixed precision, chosen by layer; config.json lists which layer has which",
    )
    group.add_argument(
        "--quantize",
        type=whole(),
        choices=(3, 4, 6, 8),
        metavar="BITS",
        help="store linear layers and embeddings in 3, 4, 6 or 8 bits, the rest in --dtype (the "
        "speech tokenizer in float16 or float32)",
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
        help="type of the weights (default: that of the source, float32 for upstream's files; "
        "float16 with --quantize)",
    )


def _add_verification(result: argparse.ArgumentParser) -> None:
    group = result.add_argument_group("verification")
    group.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        help="compare the result with the source in float32: each stage, T3's next token along "
        "real text, mel and waveform (default: only with --upload-repo)",
    )
    group.add_argument(
        "--positions",
        type=whole(1, MAX_POSITIONS),
        default=500,
        metavar="N",
        help="number of predictions of T3, or of ChatTTS's GPT, to compare (default: %(default)s)",
    )
    group.add_argument(
        "--word-errors",
        action=argparse.BooleanOptionalAction,
        help="also measure the word error rate of both models by speech recognition (needs "
        "pocketsphinx; default: only with --upload-repo, for the pocket model and models made from "
        "it, if pocketsphinx is installed)",
    )


def _add_publishing(result: argparse.ArgumentParser) -> None:
    group = result.add_argument_group("publishing")
    group.add_argument(
        "--upload-repo",
        metavar="OWNER/NAME",
        help="publish on the Hugging Face hub, with a model card",
    )
    group.add_argument("--private", action="store_true", help="make a new repository private")
    group.add_argument(
        "--license",
        metavar="ID",
        help="license in the model card, as the hub names it (default: upstream's, mit; of ChatTTS "
        "cc-by-nc-4.0, which allows no other)",
    )
    group.add_argument(
        "--force-upload",
        action="store_true",
        help="publish even a model that was not verified or is out of bounds",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="do everything except the upload: write the model card and list the files",
    )


def misuse(arguments: argparse.Namespace) -> str:
    """Check arguments that depend on each other; return a message, empty if all is well."""
    if arguments.check and (arguments.output is not None or arguments.upload_repo is not None):
        return "--check takes only SOURCE."
    if not arguments.check and arguments.output is None and arguments.upload_repo is None:
        return "OUTPUT is missing (it may be left out only with --upload-repo, to publish SOURCE)."
    if wrong := ignored(given_in(arguments), modes_of(arguments), RULES):
        return wrong
    if arguments.group_size is not None and arguments.quantize is None:
        return "--group-size needs --quantize."
    if arguments.recipe is not None and arguments.dtype is not None:
        return "--recipe chooses the types itself: leave out --dtype."
    if arguments.word_errors and arguments.verify is False:
        return "--word-errors is part of verification, which --no-verify turns off."
    verifies = arguments.verify or (arguments.verify is None and arguments.upload_repo is not None)
    measured = given_in(arguments) & {"--positions", "--word-errors"}
    if measured and not verifies:
        return f"{min(measured)} is part of verification: add --verify."
    return ""


CHECK, CONVERT, PUBLISH, BOTH = "--check", "OUTPUT", "SOURCE alone", "OUTPUT and --upload-repo"
_MAKES = Rule((CONVERT, BOTH), "belongs to a conversion into OUTPUT")
_PUBLISHES = Rule((PUBLISH, BOTH), "belongs to --upload-repo")
_ALWAYS = Rule((CHECK, CONVERT, PUBLISH, BOTH))
RULES = {
    **dict.fromkeys(("--recipe", "--quantize", "--group-size", "--dtype"), _MAKES),
    **dict.fromkeys(("--verify", "--positions", "--word-errors"), _MAKES),
    **dict.fromkeys(("--variant", "--t3", "--s3gen"), _MAKES),
    "--force": Rule((CONVERT, BOTH), "belongs to OUTPUT, which it replaces"),
    **dict.fromkeys(("--private", "--license", "--force-upload", "--dry-run"), _PUBLISHES),
    "--upload-repo": _PUBLISHES,
    "--check": Rule((CHECK,), "takes only SOURCE"),
    "--verbose": _ALWAYS,
    "--help": _ALWAYS,
}


def modes_of(arguments: argparse.Namespace) -> tuple[str]:
    """Name the mode of a command line, as the rules call it."""
    if arguments.check:
        return (CHECK,)
    if arguments.output is None:
        return (PUBLISH,)
    return (CONVERT if arguments.upload_repo is None else BOTH,)


def given_in(arguments: argparse.Namespace) -> frozenset[str]:
    """List the options of a command line: as `parse` notes them, else those that differ from their
    defaults."""
    if hasattr(arguments, "given"):
        return arguments.given
    options = [action for action in parser()._actions if action.option_strings]
    return frozenset(
        name_of(action)
        for action in options
        if getattr(arguments, action.dest, action.default) != action.default
    )
