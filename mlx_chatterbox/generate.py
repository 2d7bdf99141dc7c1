"""`python -m mlx_chatterbox.generate`: speak a text into a file, or aloud."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .cli import Bars, add_common, choose_model, play, run_command
from .errors import AudioError, TextError

EXAMPLES = """\
examples:
  mlx-chatterbox --text "Hello." --voice me.wav
      speak in the voice of a recording (10 s of clear speech serve best)
  mlx-chatterbox --file letter.txt --voice me.wav --output letter.flac --seed 1
      the same seed gives the same file
  mlx-chatterbox --text "Hello." --voice me.wav --save-voice me.safetensors
      keep the voice; later: --voice me.safetensors
  echo "Hello." | mlx-chatterbox --text - --model path/to/checkpoint

Clone a voice only with its owner's consent.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlx-chatterbox",
        description="Speak a text in the voice of a short recording.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", help='what to say; "-" reads it from standard input')
    what.add_argument("--file", type=Path, help="a text file (UTF-8) with what to say")
    parser.add_argument(
        "--model",
        default="auto",
        metavar="NAME",
        help="auto (a model that is already here; the default), chatterbox (downloads 3 GB the "
        "first time), a folder, or OWNER/REPOSITORY on the hub",
    )
    parser.add_argument(
        "--voice",
        type=Path,
        metavar="FILE",
        help="a recording (wav, flac, mp3, ogg, ...) or a saved voice (.safetensors); "
        "without it the checkpoint's built-in voice",
    )
    parser.add_argument("--save-voice", type=Path, metavar="FILE", help="keep the voice for later")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out.wav"),
        metavar="FILE",
        help="its ending says the format: wav, flac, mp3, ogg, ... (default: out.wav)",
    )
    _add_settings(parser.add_argument_group("how it is said"))
    add_common(parser)
    return parser


def _add_settings(group) -> None:
    settings = {
        "--seed": (int, None, "same seed, same audio; without it every run differs"),
        "--temperature": (float, 0.8, "randomness; 0 always takes the likeliest token"),
        "--cfg-weight": (float, 0.5, "how strongly the text guides; 0 is faster"),
        "--exaggeration": (float, 0.5, "emotion, 0 to 2; 0.5 is neutral"),
        "--repetition-penalty": (float, 1.2, "above 1 discourages repeated tokens"),
        "--min-p": (float, 0.05, "drop tokens less likely than this share of the likeliest"),
        "--top-p": (float, 1.0, "keep the likeliest tokens up to this probability"),
        "--max-new-tokens": (int, 1000, "at most this many tokens of 40 ms"),
        "--cfm-steps": (int, 10, "steps of the flow; fewer are faster and rougher"),
    }
    for flag, (kind, default, text) in settings.items():
        shown = "" if default is None else f" (default: {default})"
        group.add_argument(flag, type=kind, default=default, metavar="N", help=text + shown)
    group.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        help="precision of the weights (default: the checkpoint's own)",
    )


def read_text(text: str | None, file: Path | None) -> str:
    """The text to speak.

    Raises:
        TextError: the file is missing or no UTF-8 text.
    """
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise TextError(f"{file} is no UTF-8 text: save it as UTF-8.") from None
        except OSError as error:
            raise TextError(f"{file} cannot be read: {error.strerror}.") from None
    return sys.stdin.read() if text == "-" else text


def check_before_loading(arguments: argparse.Namespace) -> str:
    """Find whatever can be wrong without the model, so that nobody waits for it; the text.

    Raises:
        ChatterboxError: see the message.
    """
    from .audio.files import check_output

    check_output(arguments.output)
    keep = arguments.save_voice
    if keep is not None and (keep.suffix != ".safetensors" or not keep.parent.is_dir()):
        raise AudioError(
            f"--save-voice {keep}: the name must end in .safetensors and its folder must exist."
        )
    text = read_text(arguments.text, arguments.file)
    if not text.strip():
        raise TextError("there is no text to speak.")
    if arguments.voice is not None and not arguments.voice.is_file():
        raise AudioError(f"the voice {arguments.voice} does not exist.")
    return text


def run(arguments: argparse.Namespace, progress: Bars) -> None:
    """Do what the command line says."""
    text = check_before_loading(arguments)
    model = choose_model(arguments.model)

    from .audio.files import save_audio
    from .tts import ChatterboxTTS

    started = time.perf_counter()
    tts = ChatterboxTTS.from_pretrained(model, dtype=arguments.dtype, progress=progress)
    loaded = time.perf_counter()
    if arguments.voice is not None:
        tts.conds = tts.voice_of(arguments.voice, arguments.exaggeration)
    waveform = tts.generate(
        text,
        repetition_penalty=arguments.repetition_penalty,
        min_p=arguments.min_p,
        top_p=arguments.top_p,
        exaggeration=arguments.exaggeration,
        cfg_weight=arguments.cfg_weight,
        temperature=arguments.temperature,
        seed=arguments.seed,
        max_new_tokens=arguments.max_new_tokens,
        n_cfm_timesteps=arguments.cfm_steps,
        progress=progress,
    )
    progress.close()
    if arguments.save_voice is not None:
        tts.conds.save(arguments.save_voice)
    save_audio(arguments.output, waveform, tts.sr)
    print(
        f"{arguments.output}: {len(waveform) / tts.sr:.2f} s of speech, {len(tts.last_tokens)} "
        f"tokens; loaded in {loaded - started:.1f} s, "
        f"spoken in {time.perf_counter() - loaded:.1f} s"
    )
    if not tts.stopped:
        print(
            f"the text was not finished within {arguments.max_new_tokens} tokens: the audio may "
            "be cut off (--max-new-tokens)",
            file=sys.stderr,
        )
    if arguments.play:
        play(waveform, tts.sr)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
