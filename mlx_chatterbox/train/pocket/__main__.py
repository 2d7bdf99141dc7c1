"""`python -m mlx_chatterbox.train.pocket`: make the pocket model from scratch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from ...commands.cli import add_version, run_command
from ...runtime.number_options import whole
from ...runtime.own_files import write_whole
from ...runtime.progress import Bars

PROGRAM = "python -m mlx_chatterbox.train.pocket"

DESCRIPTION = """\
Make the pocket model from scratch: texts, speech by free synthesisers, the training of every
network, the checkpoint folder, an evaluation, and sample recordings. This takes hours on a CPU;
stop it at any time, and run the same command again to continue. It needs Debian's packages flite,
espeak-ng, wordnet-base and wamerican; the stage `judge` also needs pocketsphinx
(pip install 'mlx-chatterbox[recognition]'). See docs/pocket.md."""

ROUNDS = 24
_CONVERSIONS = (("rms", "slt"), ("slt", "rms"))
_VOICES = ("slt", "rms")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION)
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder for everything that is made; created if missing",
    )
    parser.add_argument(
        "--stage",
        choices=list(STAGES),
        action="append",
        metavar="NAME",
        help=f"run only this stage (may be repeated): {', '.join(STAGES)}; "
        "default: all, in this order",
    )
    parser.add_argument(
        "--rounds",
        type=whole(1, 10_000),
        default=ROUNDS,
        metavar="N",
        help=f"amount of speech to synthesise: about an hour for each round (default {ROUNDS})",
    )
    parser.add_argument("--verbose", action="store_true", help="show the traceback of an error")
    add_version(parser)
    return parser


class WorkPaths:
    """The files and folders below the work folder."""

    def __init__(self, work: Path) -> None:
        self.corpus = work / "corpus"
        self.texts = work / "start"
        self.runs = work / "runs"
        self.model = work / "pocket"
        self.figures = work / "figures.json"
        self.samples = work / "samples"


def _lexicon(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from ...text.files import ENGLISH_FILE, LEXICON_FILE
    from ...text.lexicon import write_vocabulary
    from .pronunciations import make_lexicon

    paths.texts.mkdir(parents=True, exist_ok=True)
    if not (paths.texts / LEXICON_FILE).is_file():
        write_vocabulary(paths.texts / ENGLISH_FILE)
        make_lexicon(paths.texts / LEXICON_FILE, progress)


def _corpus(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .corpus import make_corpus
    from .stage import SEED

    make_corpus(paths.corpus, SEED, arguments.rounds, progress)


def _tokenizer(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .corpus import Corpus
    from .tokenizer import NAME, tokenise_corpus, train_tokenizer

    corpus, folder = Corpus(paths.corpus), paths.runs / NAME
    train_tokenizer(corpus, folder)
    tokenise_corpus(corpus, folder, progress)


def _speakers(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .corpus import Corpus
    from .speakers import NAMES, embed_voices, train_speaker_network

    corpus = Corpus(paths.corpus)
    folders = {name: paths.runs / name for name in NAMES}
    for name, folder in folders.items():
        train_speaker_network(corpus, folder, name)
    embed_voices(corpus, folders)


def _flow(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .corpus import Corpus
    from .flow import train_flow

    train_flow(Corpus(paths.corpus), paths.runs / "flow")


def _vocoder(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .corpus import Corpus
    from .vocoder import SHARDS, train_vocoder

    train_vocoder(Corpus(paths.corpus, SHARDS), paths.runs / "vocoder")


def _t3(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .corpus import Corpus
    from .t3 import NAME, train_t3

    train_t3(Corpus(paths.corpus), paths.texts, paths.runs / NAME)


def _assemble(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from .checkpoint_folder import write_checkpoint_folder

    steps = write_checkpoint_folder(paths.runs, paths.texts, paths.model)
    size = sum(path.stat().st_size for path in paths.model.rglob("*") if path.is_file())
    of_each = ", ".join(f"{name} {step}" for name, step in steps.items())
    print(f"{paths.model}: {size / 1e6:.1f} MB; training steps: {of_each}")


def _judge(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from ...api.tts import ChatterboxTTS
    from ...api.vc import ChatterboxVC
    from ...recognition.held_out import HELD_OUT, OTHERS
    from ...recognition.recogniser import Recogniser
    from .checkpoint_folder import write_figures
    from .evaluation import as_text, evaluate_conversion, evaluate_speech

    recogniser = Recogniser()
    tts = ChatterboxTTS.from_local(paths.model)
    vc = ChatterboxVC(tts.checkpoint)
    figures = {
        "held_out": evaluate_speech(tts, HELD_OUT, _VOICES, recogniser),
        "others": evaluate_speech(tts, OTHERS, _VOICES, recogniser),
        "conversion": evaluate_conversion(vc, HELD_OUT[:20], _CONVERSIONS, recogniser),
    }
    write_whole(paths.figures, json.dumps(figures, indent=1) + "\n")
    text = as_text(figures)
    write_figures(paths.model, text)
    print(text)


def _samples(paths: WorkPaths, arguments: argparse.Namespace, progress: Bars) -> None:
    from ...api.tts import ChatterboxTTS
    from .sample_recordings import write_samples

    write_samples(ChatterboxTTS.from_local(paths.model), _VOICES, paths.samples)
    print(f"sample recordings and their spectrograms: {paths.samples}")


STAGES: dict[str, Callable[[WorkPaths, argparse.Namespace, Bars], None]] = {
    "lexicon": _lexicon,
    "corpus": _corpus,
    "tokenizer": _tokenizer,
    "speakers": _speakers,
    "flow": _flow,
    "vocoder": _vocoder,
    "t3": _t3,
    "assemble": _assemble,
    "judge": _judge,
    "samples": _samples,
}


def run(arguments: argparse.Namespace, progress: Bars) -> None:
    """Run the stages in the order in which they are named; a finished one takes no time."""
    paths = WorkPaths(arguments.work)
    for name in arguments.stage or STAGES:
        print(f"stage: {name}", file=sys.stderr)
        STAGES[name](paths, arguments, progress)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
