"""`python -m mlx_chatterbox.generate`: speak a text into a file, or aloud."""

from __future__ import annotations

import argparse
import inspect
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .commands.cli import (
    Bars,
    add_check,
    add_common,
    add_speed,
    add_watermark,
    choose_model,
    play,
    run_command,
)
from .commands.live import STANDARD_OUTPUT, Spoken, add_stream, check_stream, speak_live
from .commands.longform_options import add_long_text, add_many_texts, check_batch_options
from .commands.option_table import check_options
from .errors import AudioError, SettingError, TextError
from .runtime.number_options import any_real, any_whole
from .runtime.own_files import problem_of
from .text.given import checked_text

if TYPE_CHECKING:
    from .synthesis.result import Outcome

EXAMPLES = """\
examples:
  mlx-chatterbox --text "Hello." --voice me.wav
      speak in the voice of a recording (10 s of clear speech serve best)
  mlx-chatterbox --file letter.txt --voice me.wav --output letter.flac --seed 1
      the same seed gives the same file
  mlx-chatterbox --text "Hello." --voice me.wav --save-voice me.safetensors
      keep the voice; later: --voice me.safetensors
  mlx-chatterbox --text "Bonjour." --model multilingual --language fr --voice me.wav
  mlx-chatterbox --text "Oh [laugh], no." --model turbo --voice me.wav
  echo "Hello." | mlx-chatterbox --text - --model path/to/checkpoint
  mlx-chatterbox --text "Hear the first words at once." --stream --play
  mlx-chatterbox --text "Into a pipe." --stream --output - | ffmpeg -i - hello.ogg
  mlx-chatterbox --file book.epub --voice me.wav --output book.m4b --subtitles srt
      a long text, piece by piece; killed, the same command goes on where it stopped
  mlx-chatterbox --file book.epub --voice me.wav --output book.m4b --subtitles srt --redo 12
      piece 12 once more, with another seed; nothing else is spoken
  mlx-chatterbox --file book.epub --list-chapters
      its chapters, and how long each will take; then --chapters 2-5,8 speaks some
  mlx-chatterbox --batch rows.csv --output-dir spoken --voice me.wav
      every row of (text, voice, language, output, speed) into a file of its own
  mlx-chatterbox doctor
      what this machine can do, whether all is right on it, and how fast each model will speak

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
    what.add_argument(
        "--text",
        help='what to say; "-" reads it from standard input (a text that is an option\'s name: '
        "--text=--play)",
    )
    what.add_argument(
        "--file",
        type=Path,
        help="a text of any length to say: .txt, .md, .epub, or subtitles: .srt, .vtt",
    )
    what.add_argument(
        "--batch",
        type=Path,
        metavar="FILE.csv|FOLDER",
        help="many texts, each into a file of its own (see below)",
    )
    parser.add_argument(
        "--model",
        default="auto",
        metavar="NAME",
        help="auto (a full model that is already here, else pocket; the default), pocket (small, "
        "in the package, English), chatterbox, multilingual, multilingual-v2, turbo, nano (2 to 3 "
        "GB to download the first time), a folder (one called like a model: ./pocket), or "
        "OWNER/REPOSITORY on the hub",
    )
    parser.add_argument(
        "--language", metavar="CODE", help="of the text, for multilingual models: en, fr, zh, ..."
    )
    parser.add_argument(
        "--voice",
        type=Path,
        metavar="FILE",
        help="a recording (wav, flac, mp3, ogg, m4a, ...) or a saved voice (.safetensors); "
        "without it the checkpoint's built-in voice",
    )
    parser.add_argument("--save-voice", type=Path, metavar="FILE", help="keep the voice for later")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out.wav"),
        metavar="FILE",
        help="its ending says the format: wav, flac, mp3, ogg, opus, m4b, ... (default: out.wav); "
        "with --stream - is standard output, as WAV",
    )
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="words and how to write them so that they are said right, one entry a line: "
        "word, tab, respelling",
    )
    parser.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="write numbers, times, money, units, abbreviations and signs out in words before the "
        "model reads them (default: on for pocket, off for upstream's models)",
    )
    parser.add_argument(
        "--show-text",
        action="store_true",
        help="speak nothing: print the pieces that would be spoken, one a line, as --lexicon and "
        "--normalize leave them",
    )
    add_stream(parser)
    _add_settings(parser.add_argument_group("how it is said"))
    add_long_text(parser)
    add_many_texts(parser)
    add_check(parser)
    add_watermark(parser)
    add_common(parser)
    return parser


def _add_settings(group) -> None:
    group.add_argument(
        "--no-guard",
        action="store_true",
        help="speak once, whatever comes of it: otherwise what babbles, loops, stops early or is "
        "silent is spoken again with another seed, twice at most",
    )
    settings = {
        "--seed": (
            any_whole,
            "same seed, same audio; without it every run differs",
        ),
        "--temperature": (any_real, "randomness; 0 always takes the likeliest token (0.8)"),
        "--cfg-weight": (any_real, "how strongly the text guides; 0 is faster (0.5)"),
        "--exaggeration": (any_real, "emotion, 0 to 2; 0.5 is neutral (0.5)"),
        "--repetition-penalty": (any_real, "above 1 discourages repeated tokens (1.2)"),
        "--min-p": (any_real, "drop tokens less likely than this share of the likeliest (0.05)"),
        "--top-p": (any_real, "keep the likeliest tokens up to this probability (1; turbo 0.95)"),
        "--top-k": (any_whole, "keep this many of the likeliest tokens; turbo and nano (1000)"),
        "--max-new-tokens": (any_whole, "at most this many tokens of 40 ms (1000)"),
        "--cfm-steps": (any_whole, "steps of the flow; fewer are faster and rougher (10; turbo 2)"),
        "--batch-size": (any_whole, "so many pieces of a long text are written together (8 or 16)"),
    }
    add_speed(group)
    for flag, (kind, text) in settings.items():
        group.add_argument(flag, type=kind, metavar="N", help=text)
    group.add_argument(
        "--dtype",
        choices=["float32", "float16", "bfloat16"],
        help="precision of the weights (default: the checkpoint's own)",
    )


def settings_for(tts, arguments: argparse.Namespace) -> dict:
    """Keyword arguments of `generate`: what was given, and what the model's class knows.

    Rows of a batch can each have a language of their own.

    Raises:
        SettingError: an option that this model does not have, or a language that is missing.
    """
    given = {
        "repetition_penalty": arguments.repetition_penalty,
        "min_p": arguments.min_p,
        "top_p": arguments.top_p,
        "top_k": arguments.top_k,
        "exaggeration": arguments.exaggeration,
        "cfg_weight": arguments.cfg_weight,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
        "max_new_tokens": arguments.max_new_tokens,
        "n_cfm_timesteps": arguments.cfm_steps,
        "language_id": arguments.language,
        "lexicon": arguments.lexicon,
        "guard": False if arguments.no_guard else None,
        "batch_size": arguments.batch_size,
        "normalize": arguments.normalize,
        # A speed of 1 is none, so that a job that was begun without one goes on.
        "speed": None if arguments.speed == 1.0 else arguments.speed,
    }
    known = inspect.signature(tts.generate).parameters
    variant = tts.checkpoint.config.variant
    if "language_id" in known and arguments.language is None and arguments.batch is None:
        codes = ", ".join(tts.checkpoint.tokenizer.languages)
        raise SettingError(f"--language is needed: the text's, one of {codes}.")
    settings = {name: value for name, value in given.items() if value is not None}
    foreign = sorted(set(settings) - set(known))
    if foreign == ["language_id"] and arguments.language.lower() == "en":
        foreign = []
        del settings["language_id"]
    if tts.networks.t3.config.is_gpt2:
        # `generate` takes them, as upstream's does, and warns.
        foreign += [n for n in ("cfg_weight", "exaggeration", "min_p") if settings.get(n)]
    if foreign:
        raise SettingError(f"{variant} has no {', '.join(foreign)}: leave it out.")
    return settings


def standard_input() -> str:
    """All of standard input, decoded as a file is.

    Raises:
        TextError: it is closed, or is no text in UTF-8, nor in UTF-16 with a byte order mark.
    """
    if sys.stdin is None:
        raise TextError("standard input is closed: give a text, or --file.")
    from .longform.readers.plain import decoded

    # A notebook's, or a test's, has characters alone.
    source = getattr(sys.stdin, "buffer", None)
    if source is None:
        return checked_text(sys.stdin.read(), "standard input")
    return decoded(source.read(), "standard input")


def check_before_loading(arguments: argparse.Namespace) -> str:
    """Find whatever can be wrong without the model, so that nobody waits for it; the text.

    Raises:
        ChatterboxError: see the message.
    """
    from .audio.stretch import checked_speed
    from .commands.paths import check_paths

    check_options(arguments)
    checked_speed(arguments.speed)
    check_stream(arguments)
    check_batch_options(arguments)
    check_paths(arguments)
    if arguments.voice is not None and (problem := problem_of(arguments.voice)):
        raise AudioError(f"the voice {arguments.voice} {problem}.")
    if arguments.lexicon is not None:
        from .text.respelling import Respelling

        arguments.lexicon = Respelling.read(arguments.lexicon)
    if arguments.batch is not None:
        return ""
    if arguments.file is not None:
        from .commands.long_text import check_document

        # Read again when it is known how much the model says at once.
        check_document(arguments)
        return ""
    text = standard_input() if arguments.text == "-" else checked_text(arguments.text, "--text")
    if not text.strip():
        raise TextError("there is no text to speak.")
    return text


def what_guards_found(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines for people; none where nothing was found."""
    lines = []
    again = [one for one in outcomes if one.tries > 1 and not one.verdict]
    if again:
        seeds = ", ".join(str(one.seed) for one in again)
        lines.append(
            f"guard: {len(again)} of {len(outcomes)} piece(s) spoken again with another seed, and "
            f"well (seed {seeds})"
        )
    for number, one in enumerate(outcomes, start=1):
        if one.verdict:
            tries = "1 try" if one.tries == 1 else f"{one.tries} tries"
            lines.append(
                f"guard: piece {number} of {len(outcomes)} is still wrong after {tries}: "
                f"{one.verdict} (--no-guard speaks it once, as it comes)"
            )
    return lines


def what_was_not_read(outcomes: Sequence[Outcome], has_tags: bool = False) -> list[str]:
    """Lines for people; none where the model knew all of every piece.

    Args:
        has_tags: the model has tags, and warnings have said which it does not know.
    """
    from .text.unread import not_read

    lines = []
    for number, one in enumerate(outcomes, start=1):
        unread = [text for text in one.unread if not (has_tags and text[0] in "[<")]
        if unread:
            lines.append(not_read(f"piece {number} of {len(outcomes)}", unread))
    return lines


def run(arguments: argparse.Namespace, progress: Bars) -> int | None:
    """Do what the command line says; the exit code of a job."""
    if arguments.list_chapters:
        from .commands.long_text import list_chapters

        return list_chapters(arguments)
    from .text.unread import UnreadWarning

    # It is said once, at the end, with the number of the piece.
    warnings.simplefilter("ignore", UnreadWarning)
    text = check_before_loading(arguments)
    arguments.model = model = choose_model(arguments.model)
    if arguments.show_text:
        from .commands.show_text import show_text

        return show_text(arguments, text)

    from .api.tts import open_model
    from .audio.files import save_audio
    from .commands.long_text import document_of, is_job, run_batch, run_document, write_subtitles
    from .longform.plan import Piece
    from .longform.wording import tell_unread

    started = time.perf_counter()
    tts = open_model(model, dtype=arguments.dtype, progress=progress, check=arguments.check)
    loaded = time.perf_counter()
    settings = settings_for(tts, arguments)
    if arguments.batch is not None:
        from .commands.show_text import batch_texts

        tell_unread(tts.checkpoint, arguments, batch_texts(arguments))
        return run_batch(arguments, tts, settings)
    said = [Piece(text)]
    if arguments.file is not None:
        document = document_of(arguments, tts)
        if not arguments.stream and is_job(arguments, document):
            tell_unread(tts.checkpoint, arguments, (piece.text for piece in document.pieces))
            return run_document(arguments, tts, document, settings)
        said = document.pieces
    tell_unread(tts.checkpoint, arguments, (piece.text for piece in said))
    if arguments.voice is not None:
        tts.conds = tts.voice_of(arguments.voice)
    settings["watermark"] = False if arguments.no_watermark else None
    result = None
    if arguments.stream:
        spoken = speak_live(tts, said, arguments, progress, settings)
    else:
        result = tts.speak(said[0].text, progress=progress, **settings)
        seconds = len(result.waveform) / tts.sr
        spoken = Spoken(seconds, len(result.tokens), "", result.outcomes, result.stopped)
    progress.close()
    if result is not None:
        save_audio(arguments.output, result.waveform, tts.sr)
    # Only now: what was spoken is not lost if the voice cannot be written.
    if arguments.save_voice is not None:
        assert tts.conds is not None  # without a voice nothing was spoken
        tts.conds.save(arguments.save_voice)
    if result is not None and arguments.subtitles is not None:
        write_subtitles(arguments, tts, said[0].text, result.spans)
    piped = arguments.output == STANDARD_OUTPUT
    print(
        f"{'standard output' if piped else arguments.output}: {spoken.seconds:.2f} s of speech, "
        f"{spoken.tokens} tokens; loaded in {loaded - started:.1f} s, "
        f"spoken in {time.perf_counter() - loaded:.1f} s{spoken.note}",
        file=sys.stderr if piped else sys.stdout,
    )
    # Of a model with tags, warnings have said which it does not know.
    has_tags = hasattr(getattr(tts, "tokenizer", None), "tags")
    unread = what_was_not_read(spoken.outcomes, has_tags)
    for line in [*unread, *what_guards_found(spoken.outcomes)]:
        print(line, file=sys.stderr)
    if not spoken.stopped:
        print(
            f"the text was not finished within {tts.limit} tokens: the audio may be cut off "
            "(--max-new-tokens)",
            file=sys.stderr,
        )
    if arguments.play and result is not None:
        play(result.waveform, tts.sr)
    return None


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["doctor"]:
        from .doctor.__main__ import main as doctor

        return doctor(argv[1:])
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
