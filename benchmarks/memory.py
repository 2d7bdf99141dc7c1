"""Memory of a whole model: one utterance, and many.

    python -m benchmarks.memory FOLDER [FOLDER ...]

Each model gets a process of its own. It hears ten seconds of a made-up voice and says one sentence
several times; what that takes does not depend on what the weights are worth, so fabricated ones
serve (`python -m parity fabricate`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx

from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.weights.hub import weight_files
from parity.inputs.synthetic_voice import synthetic_voice

from .worker import peak_resident

TEXT = "The ferry leaves the island at seven, and the last bus of the evening waits for it."
REFERENCE_SECONDS = 10.0


def measure(folder: Path, tokens: int, times: int) -> dict:
    """Memory of this process in bytes: "peaks", its largest resident size after each utterance.

    "imported" is its size before the model is opened, "needed" the most that MLX held at once
    (weights and activations). What the peaks are above both is kept for the next utterance.

    Args:
        folder: a model, converted or not.
        tokens: speech tokens at most of each utterance, 40 ms of audio each.
    """
    imported = peak_resident()
    tts = open_model(folder)
    config = tts.checkpoint.config
    language = {"language_id": "en"} if config.text.tokenizer == "multilingual" else {}
    voice = tts.voice_of(synthetic_voice(REFERENCE_SECONDS, 0))
    peaks, seconds = [], []
    for seed in range(times):
        waveform = tts.generate(
            TEXT, voice=voice, seed=seed, max_new_tokens=tokens, guard=False, **language
        )
        seconds.append(len(waveform) / tts.sr)
        peaks.append(peak_resident())
    return {
        "variant": config.variant,
        "weights": sum(path.stat().st_size for path in weight_files(tts.checkpoint.folder)),
        "imported": imported,
        "needed": mx.get_peak_memory(),
        "peaks": peaks,
        "seconds": seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory",
        description=__doc__.split("\n")[0],
        epilog="On a GPU the figures leave out what the GPU has of its own.",
    )
    parser.add_argument("models", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--tokens", type=whole(1, 1_000_000), default=150, help="of 40 ms (default: %(default)s)"
    )
    parser.add_argument(
        "--times",
        type=whole(1, 10_000),
        default=5,
        help="number of times that each is spoken (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    add_verbose(parser)
    return run_program(parser, argv, _work, name="")


def _work(arguments: argparse.Namespace) -> int:
    if arguments.worker:
        print(json.dumps(measure(arguments.models[0], arguments.tokens, arguments.times)))
        return 0
    rows = []
    print("| model | weights | one utterance | after all |\n|---|---|---|---|")
    for model in arguments.models:
        command = [sys.executable, "-m", "benchmarks.memory", "--worker", str(model)]
        command += ["--tokens", str(arguments.tokens), "--times", str(arguments.times)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"error: {model} could not be measured.", file=sys.stderr)
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        sizes = (row["weights"], row["peaks"][0], row["peaks"][-1])
        shown = " | ".join(f"{size / 1e9:.2f} GB" for size in sizes)
        print(f"| {row['variant']} | {shown} |", flush=True)
        rows.append({"model": str(model), **row})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
