"""`python -m mlx_chatterbox.generate`: speak a text into a file or through the speakers."""

from __future__ import annotations

import argparse
import inspect
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .commands.chattts import (
    add_chattts,
    chattts_settings,
    check_family,
    job_settings,
    take_speaker,
)
from .commands.cli import (
    Bars,
    add_check,
    add_common,
    add_watermark,
    choose_model,
    play,
    run_command,
)
from .commands.flash import NormalizeAction, add_flash, check_voice, flash_settings, take_exact_text
from .commands.live import STANDARD_OUTPUT, SpeechSummary, add_stream, check_stream, speak_live
from .commands.longform_options import add_long_text, add_many_texts, check_batch_options
from .commands.option_table import check_options
from .commands.speech_options import add_speech_settings
from .errors import AudioError, SettingError, TextError
from .runtime.own_files import problem_of
from .text.checked_text import checked_text

if TYPE_CHECKING:
    from .synthesis.result import Outcome

EXAMPLES = """\
examples:
  mlx-chatterbox --text "Hello." --voice me.wav
      speak in the voice of a recording (10 s of clear speech work best)
  mlx-chatterbox --file letter.txt --voice me.wav --output letter.flac --seed 1
      the same seed gives the same file
  mlx-chatterbox --text "Hello." --voice me.wav --save-voice me.safetensors
      save the voice; later: --voice me.safetensors
  mlx-chatterbox --text "Bonjour." --model multilingual --language fr --voice me.wav
  mlx-chatterbox --text "Oh [laugh], no." --model turbo --voice me.wav
  mlx-chatterbox --text "Fast." --model flash --voice me.wav --num-steps 8
  mlx-chatterbox --text "你好。" --model chattts --speaker seed:42 --save-voice anna.safetensors
  echo "Hello." | mlx-chatterbox --text - --model path/to/checkpoint
  mlx-chatterbox --text "Hear the first words at once." --stream --play
  mlx-chatterbox --text "Into a pipe." --stream --output - | ffmpeg -i - hello.ogg
  mlx-chatterbox --file book.epub --voice me.wav --output book.m4b --subtitles srt
      a long text, piece by piece; after an interruption the same command resumes
  mlx-chatterbox --file book.epub --voice me.wav --output book.m4b --subtitles srt --redo 12
      speak piece 12 again with another seed; all other pieces are kept
  mlx-chatterbox --file book.epub --list-chapters
      list the chapters with their expected minutes; --chapters 2-5,8 then speaks only these
  mlx-chatterbox --batch rows.csv --output-dir spoken --voice me.wav
      speak each row (text, voice, language, output, speed) into its own file
  mlx-chatterbox doctor
      check this machine and the installation, and show how fast each model will speak

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
        help='text to speak; "-" reads it from standard input (if the text looks like an option: '
        "--text=--play)",
    )
    what.add_argument(
        "--file",
        type=Path,
        help="file to speak, of any length: .txt, .md, .epub, or subtitles (.srt, .vtt)",
    )
    what.add_argument(
        "--batch",
        type=Path,
        metavar="FILE.csv|FOLDER",
        help="many texts to speak, each into its own file (see below)",
    )
    parser.add_argument(
        "--model",
        default="auto",
        metavar="NAME",
        help="auto (a full model that is already on this machine, else pocket; the default), "
        "pocket (small, part of the package, English), chatterbox, multilingual, multilingual-v2, "
        "turbo, nano, flash (2 to 3 GB to download the first time), chattts (1 GB, see below), a "
        "folder "
        "(one named like a model: "
        "./pocket), or OWNER/REPOSITORY on the Hugging Face hub",
    )
    parser.add_argument(
        "--language",
        metavar="CODE",
        help="language of the text, for multilingual models: en, fr, zh, ...",
    )
    parser.add_argument(
        "--voice",
        type=Path,
        metavar="FILE",
        help="recording (wav, flac, mp3, ogg, m4a, ...) or saved voice (.safetensors) to speak "
        "with (default: the model's built-in voice)",
    )
    parser.add_argument(
        "--save-voice",
        type=Path,
        metavar="FILE",
        help="save the voice to this .safetensors file, for a later --voice",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out.wav"),
        metavar="FILE",
        help="audio file to write; its ending sets the format: wav, flac, mp3, ogg, opus, m4b, ... "
        "(default: out.wav); with --stream, - writes WAV to standard output",
    )
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="file of words and respellings that correct their pronunciation, one entry a line: "
        "word, tab, respelling",
    )
    parser.add_argument(
        "--normalize",
        action=NormalizeAction,
        help="write out numbers, times, money, units, abbreviations and signs in words before the "
        "model reads them, or not (default: on for pocket and flash, off for Resemble AI's other "
        "models); upstream: as flash's own cleaner does, to compare single texts",
    )
    parser.add_argument(
        "--show-text",
        action="store_true",
        help="speak nothing; print the pieces that would be spoken, one a line, after --lexicon "
        "and --normalize",
    )
    add_stream(parser)
    add_speech_settings(parser)
    add_flash(parser)
    add_chattts(parser)
    add_long_text(parser)
    add_many_texts(parser)
    add_check(parser)
    add_watermark(parser)
    add_common(parser)
    return parser


def settings_for(tts, arguments: argparse.Namespace) -> dict:
    """Make the keyword arguments of the model's `generate` from the options that were set.

    A language may be missing for `--batch`, where each row can have its own.

    Raises:
        SettingError: an option that this model does not have, or a language that is missing.
    """
    guidance = "cfg_scale" if tts.networks.t3.config.has_mask else "cfg_weight"
    options = {
        "repetition_penalty": arguments.repetition_penalty,
        "min_p": arguments.min_p,
        "top_p": arguments.top_p,
        "top_k": arguments.top_k,
        "exaggeration": arguments.exaggeration,
        guidance: arguments.cfg_weight,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
        "max_new_tokens": arguments.max_new_tokens,
        "n_cfm_timesteps": arguments.cfm_steps,
        "language_id": arguments.language,
        "lexicon": arguments.lexicon,
        "guard": False if arguments.no_guard else None,
        "batch_size": arguments.batch_size,
        "normalize": arguments.normalize,
        # A speed of 1 is left out, so that a job that was started without one can resume.
        "speed": None if arguments.speed == 1.0 else arguments.speed,
        **flash_settings(arguments),
    }
    known = inspect.signature(tts.generate).parameters
    variant = tts.checkpoint.config.variant
    if "language_id" in known and arguments.language is None and arguments.batch is None:
        codes = ", ".join(tts.checkpoint.tokenizer.languages)
        raise SettingError(f"--language is required: the language of the text, one of {codes}.")
    settings = {name: value for name, value in options.items() if value is not None}
    foreign = sorted(set(settings) - set(known))
    if foreign == ["language_id"] and arguments.language.lower() == "en":
        foreign = []
        del settings["language_id"]
    if tts.networks.t3.config.is_gpt2:
        # `generate` accepts them with a warning, as upstream's does.
        foreign += [n for n in ("cfg_weight", "exaggeration", "min_p") if settings.get(n)]
    if foreign:
        raise SettingError(f"{variant} has no {', '.join(foreign)}: leave it out.")
    return settings


def standard_input() -> str:
    """Read all of standard input and decode it as a text file.

    Raises:
        TextError: it is closed, or is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    if sys.stdin is None:
        raise TextError("standard input is closed: pass the text itself, or use --file.")
    from .longform.readers.plain import decoded

    # In a notebook or a test it has characters only, no bytes.
    source = getattr(sys.stdin, "buffer", None)
    if source is None:
        return checked_text(sys.stdin.read(), "standard input")
    return decoded(source.read(), "standard input")


def check_before_loading(arguments: argparse.Namespace) -> str:
    """Report every error that can be found before the model is loaded.

    Returns:
        The text to speak; "" for --file and --batch.

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

        # Read again once the model's longest piece is known.
        check_document(arguments)
        return ""
    text = standard_input() if arguments.text == "-" else checked_text(arguments.text, "--text")
    if not text.strip():
        raise TextError("there is no text to speak.")
    return text


def guard_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Report what the guards found, a line for each finding; [] if they found nothing."""
    lines = []
    again = [outcome for outcome in outcomes if outcome.tries > 1 and not outcome.verdict]
    if again:
        seeds = ", ".join(str(outcome.seed) for outcome in again)
        lines.append(
            f"guard: {len(again)} of {len(outcomes)} piece(s) spoken again with another seed, now "
            f"without a fault (seed {seeds})"
        )
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.verdict:
            tries = "1 try" if outcome.tries == 1 else f"{outcome.tries} tries"
            lines.append(
                f"guard: piece {number} of {len(outcomes)} is still wrong after {tries}: "
                f"{outcome.verdict} (--no-guard keeps the first result)"
            )
    return lines


def unread_lines(outcomes: Sequence[Outcome], has_tags: bool = False) -> list[str]:
    """Report the characters that the model does not know, a line for each piece that has some.

    Args:
        has_tags: the model has tags; unknown ones were already reported by warnings.
    """
    from .text.unread import not_read

    lines = []
    for number, outcome in enumerate(outcomes, start=1):
        unread = [text for text in outcome.unread if not (has_tags and text[0] in "[<")]
        if unread:
            lines.append(not_read(f"piece {number} of {len(outcomes)}", unread))
    return lines


def run(arguments: argparse.Namespace, progress: Bars) -> int | None:
    """Run the command; returns the exit code of a job, None (success) for anything else."""
    if arguments.list_chapters:
        from .commands.long_text import list_chapters

        return list_chapters(arguments)
    from .text.unread import CutOffWarning, UnreadWarning

    # Reported once instead, at the end, with the number of the piece.
    warnings.simplefilter("ignore", UnreadWarning)
    warnings.simplefilter("ignore", CutOffWarning)
    text = check_before_loading(arguments)
    arguments.model = model = choose_model(arguments.model)
    from .api.opening import is_chattts, open_any
    from .audio.files import save_audio
    from .commands.long_text import document_of, is_job, run_batch, run_document, write_subtitles
    from .longform.plan import Piece
    from .longform.wording import warn_unread

    of_chattts = is_chattts(model)
    check_family(arguments, of_chattts)
    if not of_chattts:
        take_exact_text(arguments)
        check_voice(arguments, model)
    if arguments.show_text:
        from .commands.show_text import show_text

        return show_text(arguments, text, of_chattts)

    started = time.perf_counter()
    tts = open_any(model, dtype=arguments.dtype, progress=progress, check=arguments.check)
    loaded = time.perf_counter()
    if of_chattts:
        take_speaker(arguments, tts)
        settings = chattts_settings(arguments)
    else:
        settings = settings_for(tts, arguments)
    if arguments.batch is not None:
        from .commands.show_text import batch_texts

        warn_unread(tts.checkpoint, arguments, batch_texts(arguments))
        if of_chattts:
            settings = job_settings(arguments, tts, settings)
        return run_batch(arguments, tts, settings)
    pieces = [Piece(text)]
    if arguments.file is not None:
        document = document_of(arguments, tts)
        if not arguments.stream and is_job(arguments, document):
            warn_unread(tts.checkpoint, arguments, (piece.text for piece in document.pieces))
            if of_chattts:
                settings = job_settings(arguments, tts, settings)
            return run_document(arguments, tts, document, settings)
        pieces = document.pieces
    warn_unread(tts.checkpoint, arguments, (piece.text for piece in pieces))
    if arguments.voice is not None:
        tts.conds = tts.voice_of(arguments.voice)
    settings["watermark"] = False if arguments.no_watermark else None
    result = None
    if arguments.stream:
        summary = speak_live(tts, pieces, arguments, progress, settings)
    else:
        result = tts.speak(pieces[0].text, progress=progress, **settings)
        seconds = len(result.waveform) / tts.sr
        summary = SpeechSummary(seconds, len(result.tokens), "", result.outcomes, result.stopped)
    progress.close()
    if result is not None:
        save_audio(arguments.output, result.waveform, tts.sr)
    # Only now, so that the audio is not lost if the voice cannot be written.
    if arguments.save_voice is not None:
        assert tts.conds is not None  # without a voice nothing was spoken
        tts.conds.save(arguments.save_voice)
    if result is not None and arguments.subtitles is not None:
        write_subtitles(arguments, tts, pieces[0].text, result.spans)
    piped = arguments.output == STANDARD_OUTPUT
    print(
        f"{'standard output' if piped else arguments.output}: {summary.seconds:.2f} s of speech, "
        f"{summary.tokens} tokens; loaded in {loaded - started:.1f} s, "
        f"spoken in {time.perf_counter() - loaded:.1f} s{summary.note}",
        file=sys.stderr if piped else sys.stdout,
    )
    # Warnings have already reported the tags that a model with tags does not know.
    has_tags = hasattr(getattr(tts, "tokenizer", None), "tags")
    for line in [*unread_lines(summary.outcomes, has_tags), *guard_lines(summary.outcomes)]:
        print(line, file=sys.stderr)
    if not summary.stopped:
        print(
            f"the text was not finished within {tts.limit} tokens: the audio may be cut off "
            "(--max-new-tokens)",
            file=sys.stderr,
        )
    if arguments.play and result is not None:
        play(result.waveform, tts.sr)
    return None


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["doctor"]:
        from .doctor.__main__ import main as doctor

        return doctor(argv[1:])
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
