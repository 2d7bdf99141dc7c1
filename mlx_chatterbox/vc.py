"""`python -m mlx_chatterbox.vc`: convert the speech in a recording to another voice."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .api.vc import ChatterboxVC
from .audio.files import check_output, save_audio
from .audio.stretch import checked_speed
from .commands.cli import (
    add_check,
    add_common,
    add_speed,
    add_watermark,
    choose_model,
    play,
    run_command,
)
from .errors import AudioError
from .runtime.apart import check_apart
from .runtime.number_options import any_whole
from .runtime.own_files import problem_of
from .runtime.progress import Bars
from .weights.model_files import model_files

EXAMPLES = """\
examples:
  python -m mlx_chatterbox.vc --input talk.wav --voice target.wav --output out.wav
      talk.wav in the voice of target.wav (10 s of clear speech serve best)
  python -m mlx_chatterbox.vc --input talk.mp3 --voice me.safetensors --seed 1
      a saved voice; the same seed gives the same file
  python -m mlx_chatterbox.vc --input talk.wav --model path/to/checkpoint
      the checkpoint's built-in voice

Clone a voice only with its owner's consent.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlx_chatterbox.vc",
        description="Convert the speech in a recording, of any length, to another voice.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="FILE",
        help="the recording to convert (wav, flac, mp3, ogg, m4a, a video, ...)",
    )
    parser.add_argument(
        "--voice",
        type=Path,
        metavar="FILE",
        help="a recording of the voice to speak in, or a saved voice (.safetensors); "
        "without it the checkpoint's built-in voice",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out.wav"),
        metavar="FILE",
        help="the file to write; its ending sets the format: wav, flac, mp3, ogg, ... "
        "(default: out.wav)",
    )
    parser.add_argument(
        "--model",
        default="auto",
        metavar="NAME",
        help="auto (a model already on this machine; the default), chatterbox (3 GB to download "
        "the first time), a folder (./turbo for one named like a model), or OWNER/REPOSITORY on "
        "the hub",
    )
    parser.add_argument(
        "--seed",
        type=any_whole,
        metavar="N",
        help="same seed, same audio; without it every run differs",
    )
    parser.add_argument(
        "--cfm-steps",
        type=any_whole,
        metavar="N",
        help="steps of the flow; fewer are faster and rougher (default: the checkpoint's, 10)",
    )
    add_speed(parser)
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        help="precision of the weights (default: the checkpoint's own)",
    )
    add_check(parser)
    add_watermark(parser)
    add_common(parser)
    return parser


def run(arguments: argparse.Namespace, progress: Bars) -> None:
    """Run the command line."""
    # All checks that need no model come first, so that errors come before it is loaded.
    check_output(arguments.output)
    read = [
        (f"--{name} {path}", path)
        for name, path in (("input", arguments.input), ("voice", arguments.voice))
    ]
    check_apart(
        [(f"--output {arguments.output}", arguments.output)],
        [*read, *model_files(arguments.model)],
    )
    checked_speed(arguments.speed)
    for what, path in (("recording", arguments.input), ("voice", arguments.voice)):
        if path is not None and (problem := problem_of(path)):
            raise AudioError(f"the {what} {path} {problem}.")
    model = choose_model(arguments.model)

    started = time.perf_counter()
    settings = {"dtype": arguments.dtype, "progress": progress, "check": arguments.check}
    vc = ChatterboxVC.from_pretrained(model, **settings)
    loaded = time.perf_counter()
    waveform = vc.generate(
        arguments.input,
        arguments.voice,
        seed=arguments.seed,
        n_cfm_timesteps=arguments.cfm_steps,
        progress=progress,
        watermark=False if arguments.no_watermark else None,
        speed=arguments.speed,
    )
    progress.close()
    save_audio(arguments.output, waveform, vc.sr)
    print(
        f"{arguments.output}: {len(waveform) / vc.sr:.2f} s of speech; loaded in "
        f"{loaded - started:.1f} s, converted in {time.perf_counter() - loaded:.1f} s"
    )
    if arguments.play:
        play(waveform, vc.sr)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
