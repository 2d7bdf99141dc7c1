"""`python -m mlx_chatterbox.train.pocket`: the pocket voice from nothing."""

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
Makes the pocket voice: texts, speech by free synthesisers, every network from scratch, the
checkpoint folder, and how well it speaks. Hours on a CPU; stop it when you like, and start it again
to go on. Needs Debian's packages flite, espeak-ng, wordnet-base and wamerican, and for the last
stage pocketsphinx (pip). See docs/pocket.md."""

SEED = 20261121
ROUNDS = 24
_CONVERSIONS = (("rms", "slt"), ("slt", "rms"))
_SPEAKING = ("slt", "rms")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION)
    parser.add_argument(
        "--work", type=Path, required=True, metavar="FOLDER", help="for everything that is made"
    )
    parser.add_argument(
        "--stage",
        choices=list(STAGES),
        action="append",
        metavar="NAME",
        help=f"only this one (may be repeated): {', '.join(STAGES)}; default: all, in this order",
    )
    parser.add_argument(
        "--rounds",
        type=whole(1, 10_000),
        default=ROUNDS,
        metavar="N",
        help=f"how much is synthesised: about an hour each ({ROUNDS})",
    )
    parser.add_argument("--verbose", action="store_true", help="show tracebacks of errors")
    add_version(parser)
    return parser


class Places:
    """Where everything lies below the work folder."""

    def __init__(self, work: Path):
        self.corpus = work / "corpus"
        self.texts = work / "start"
        self.runs = work / "runs"
        self.model = work / "pocket"
        self.figures = work / "figures.json"
        self.samples = work / "samples"


def _lexicon(places: Places, arguments, progress: Bars) -> None:
    from ...text.files import ENGLISH_FILE, LEXICON_FILE
    from ...text.lexicon import write_vocabulary
    from .lexicon import make_lexicon

    places.texts.mkdir(parents=True, exist_ok=True)
    if not (places.texts / LEXICON_FILE).is_file():
        write_vocabulary(places.texts / ENGLISH_FILE)
        make_lexicon(places.texts / LEXICON_FILE, progress)


def _corpus(places: Places, arguments, progress: Bars) -> None:
    from . import corpus

    corpus.make(places.corpus, SEED, arguments.rounds, progress)


def _tokenizer(places: Places, arguments, progress: Bars) -> None:
    from . import tokenizer
    from .corpus import Corpus

    corpus, folder = Corpus(places.corpus), places.runs / tokenizer.NAME
    tokenizer.train(corpus, folder)
    tokenizer.tokenise(corpus, folder, progress)


def _speakers(places: Places, arguments, progress: Bars) -> None:
    from . import speakers
    from .corpus import Corpus

    corpus = Corpus(places.corpus)
    folders = {name: places.runs / name for name in speakers.NAMES}
    for name, folder in folders.items():
        speakers.train(corpus, folder, name)
    speakers.embed(corpus, folders)


def _flow(places: Places, arguments, progress: Bars) -> None:
    from . import flow
    from .corpus import Corpus

    flow.train(Corpus(places.corpus), places.runs / "flow")


def _vocoder(places: Places, arguments, progress: Bars) -> None:
    from . import vocoder
    from .corpus import Corpus

    # Some hours are plenty, and the F0 of all would take long.
    some = Corpus(places.corpus, vocoder.SHARDS)
    vocoder.train(some, places.runs / "vocoder")


def _t3(places: Places, arguments, progress: Bars) -> None:
    from . import t3
    from .corpus import Corpus

    t3.train(Corpus(places.corpus), places.texts, places.runs / t3.NAME)


def _assemble(places: Places, arguments, progress: Bars) -> None:
    from .assembling import assemble

    steps = assemble(places.runs, places.texts, places.model)
    size = sum(path.stat().st_size for path in places.model.rglob("*") if path.is_file())
    shown = ", ".join(f"{name} {step}" for name, step in steps.items())
    print(f"{places.model}: {size / 1e6:.1f} MB; steps: {shown}")


def _judge(places: Places, arguments, progress: Bars) -> None:
    from ...api.tts import ChatterboxTTS
    from ...api.vc import ChatterboxVC
    from ...recognition.held_out import HELD_OUT, OTHERS
    from ...recognition.recogniser import Recogniser
    from .assembling import write_figures
    from .evaluation import as_text, evaluate_conversion, evaluate_speech

    recogniser = Recogniser()
    tts = ChatterboxTTS.from_local(places.model)
    vc = ChatterboxVC(tts.checkpoint)
    figures = {
        "held_out": evaluate_speech(tts, HELD_OUT, _SPEAKING, recogniser),
        "others": evaluate_speech(tts, OTHERS, _SPEAKING, recogniser),
        "conversion": evaluate_conversion(vc, HELD_OUT[:20], _CONVERSIONS, recogniser),
    }
    write_whole(places.figures, json.dumps(figures, indent=1) + "\n")
    shown = as_text(figures)
    write_figures(places.model, shown)
    print(shown)


def _samples(places: Places, arguments, progress: Bars) -> None:
    from ...api.tts import ChatterboxTTS
    from .samples import write_samples

    write_samples(ChatterboxTTS.from_local(places.model), _SPEAKING, places.samples)
    print(f"recordings and a spectrogram: {places.samples}")


STAGES: dict[str, Callable] = {
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
    """Do the stages that are asked for; one that is finished already takes no time."""
    places = Places(arguments.work)
    for name in arguments.stage or STAGES:
        print(f"stage: {name}", file=sys.stderr)
        STAGES[name](places, arguments, progress)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
