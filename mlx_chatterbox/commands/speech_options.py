"""Options of `mlx-chatterbox` that shape the speech: sampling, speed, precision."""

from __future__ import annotations

import argparse

from ..runtime.number_options import any_real, any_whole
from .cli import add_speed


def add_speech_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings of `generate` that shape the speech."""
    group = parser.add_argument_group("speech settings")
    group.add_argument(
        "--no-guard",
        action="store_true",
        help="keep the first result; by default, speech that babbles, loops, stops early or is "
        "silent is generated again with another seed, at most twice",
    )
    settings = {
        "--seed": (
            any_whole,
            "random seed: the same seed gives the same audio (default: a new one each run)",
        ),
        "--temperature": (
            any_real,
            "sampling randomness; 0 always takes the likeliest token (default: 0.8)",
        ),
        "--cfg-weight": (
            any_real,
            "strength of classifier-free guidance by the text; 0 is faster (default: 0.5)",
        ),
        "--exaggeration": (any_real, "emotion, 0 to 2; 0.5 is neutral (default: 0.5)"),
        "--repetition-penalty": (
            any_real,
            "values above 1 discourage repeated tokens (default: 1.2)",
        ),
        "--min-p": (
            any_real,
            "drop tokens whose probability is below this fraction of the likeliest one's "
            "(default: 0.05)",
        ),
        "--top-p": (
            any_real,
            "keep the likeliest tokens up to this cumulative probability (default: 1; turbo 0.95)",
        ),
        "--top-k": (
            any_whole,
            "keep only this many of the likeliest tokens; turbo and nano (default: 1000)",
        ),
        "--max-new-tokens": (any_whole, "limit of speech tokens, 40 ms each (default: 1000)"),
        "--cfm-steps": (
            any_whole,
            "flow-matching steps; fewer are faster and rougher (default: 10; turbo 2)",
        ),
        "--batch-size": (
            any_whole,
            "number of pieces of a long text to generate together (default: 8 or 16)",
        ),
    }
    add_speed(group)
    for flag, (kind, text) in settings.items():
        group.add_argument(flag, type=kind, metavar="N", help=text)
    group.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        help="precision of the weights (default: the checkpoint's)",
    )
