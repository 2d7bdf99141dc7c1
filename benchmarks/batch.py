"""Several sentences together and one by one: throughput, tokens, audio.

    python -m benchmarks.batch pocket

The same sentences are spoken by `generate`, one after the other, and by `generate_batch`, in turns,
after a round that is not counted. Of each sentence the tokens must be the same, and the audio up to
rounding.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from parity.compare import relative_rms
from parity.inputs.synthetic_voice import synthetic_voice

from .worker import peak_resident

# The first Harvard sentences (IEEE Recommended Practice for Speech Quality Measurements, 1969).
TEXTS = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It's easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
    "The source of the huge river is the clear spring.",
    "Kick the ball straight and follow through.",
    "Help the woman get back to her feet.",
    "A pot of tea helps to pass the evening.",
)
REFERENCE_SECONDS = 10.0


def measure(
    model: str, sentences: int, batch_size: int, rounds: int, tokens: int | None, plain: bool
) -> dict:
    """Measure both ways: seconds, and how far the results are apart.

    Args:
        tokens: at most so many a sentence; None leaves it to the model.
        plain: speak as upstream does, without guards and watermark.
    """
    tts = open_model(model)
    config = tts.checkpoint.config
    settings: dict = {"max_new_tokens": tokens}
    if config.text.tokenizer == "multilingual":
        settings["language_id"] = "en"
    if plain:
        settings |= {"guard": False, "watermark": False}
    if tts.conds is None:
        tts.prepare_conditionals(synthetic_voice(REFERENCE_SECONDS, 0))
    texts = [TEXTS[i % len(TEXTS)] for i in range(sentences)]

    def alone() -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
        results = [tts.speak(text, seed=1 + i, **settings) for i, text in enumerate(texts)]
        return [one.waveform for one in results], [tuple(one.tokens) for one in results]

    def together() -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
        result = tts.speak(texts, seed=1, batch_size=batch_size, **settings)
        return result.waveforms, [outcome.tokens for outcome in result.outcomes]

    ways = {"one by one": alone, "together": together}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results, peaks = {}, {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            results[name] = way()
            if number:
                seconds[name].append(time.perf_counter() - started)
            peaks.setdefault(name, peak_resident())
    (one_by_one, tokens_alone), (batch, tokens_together) = results.values()
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    return {
        "variant": config.variant,
        "sentences": sentences,
        "batch_size": batch_size,
        "speech": sum(map(len, batch)) / tts.sr,
        "seconds": {name: statistics.median(result) for name, result in seconds.items()},
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "same_tokens": sum(a == b for a, b in zip(tokens_alone, tokens_together, strict=True)),
        "audio": max(map(_distance, batch, one_by_one)),
        "peaks": peaks,
    }


def _distance(result: np.ndarray, expected: np.ndarray) -> float:
    """Relative RMS error of a waveform; infinite for another length."""
    return relative_rms(expected, result) if result.shape == expected.shape else float("inf")


def table(result: dict) -> str:
    """Table of the figures."""
    count, speech = result["sentences"], result["speech"]
    lines = [f"{result['variant']}: {count} sentences, {speech:.1f} s of speech"]
    for name, seconds in result["seconds"].items():
        peak = result["peaks"][name] / 1e9
        lines.append(
            f"{name}: {seconds:.2f} s, {speech / seconds:.2f} s of speech a second, "
            f"{peak:.2f} GB at most so far"
        )
    shown = ", ".join(f"{ratio:.2f}" for ratio in result["ratios"])
    lines.append(f"together is {result['ratio']:.2f} times as fast ({shown})")
    lines.append(
        f"same tokens: {result['same_tokens']} of {count}; audio apart by at most "
        f"{result['audio']:.1e} (relative RMS)"
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batch", description=__doc__.split("\n")[0]
    )
    parser.add_argument("model", help="a name or a folder, as mlx-chatterbox --model")
    parser.add_argument(
        "--sentences", type=whole(1, 10_000), default=16, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--batch-size", type=whole(1, 10_000), default=16, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=whole(0, 10_000), default=3, help="counted ones (default: %(default)s)"
    )
    parser.add_argument(
        "--tokens", type=whole(1, 1_000_000), metavar="N", help="at most, of 40 ms, a sentence"
    )
    parser.add_argument("--plain", action="store_true", help="without guards and watermark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    add_verbose(parser)
    return run_program(parser, argv, _work, name="")


def _work(arguments: argparse.Namespace) -> int:
    result = measure(
        arguments.model,
        arguments.sentences,
        arguments.batch_size,
        arguments.rounds,
        arguments.tokens,
        arguments.plain,
    )
    print(table(result))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
