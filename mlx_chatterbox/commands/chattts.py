"""Options of `mlx-chatterbox` for ChatTTS, and the settings that they make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import SettingError, TextError
from ..runtime.number_options import whole
from .flash import OF_FLASH

SPEAKER_HELP = (
    "voice: a speaker string, a file with one, a voice of --save-voice or its name, or seed:42 for "
    "a random one (default: the model chooses)"
)
# Options of one family alone; all others mean the same to both.
OF_CHATTTS = frozenset(
    ("--speaker", "--refine", "--prompt", "--speaker-statistics", "--homophones", "--lookahead")
)
OF_CHATTERBOX = {
    "--voice": "ChatTTS has --speaker",
    "--cfg-weight": "ChatTTS has no guidance",
    "--exaggeration": 'ChatTTS has --prompt, as in "[oral_2]"',
    "--min-p": "ChatTTS has --top-p and --top-k",
    "--cfm-steps": "ChatTTS has no flow",
    "--no-guard": "ChatTTS has no guards",
    **dict.fromkeys(OF_FLASH.values(), "ChatTTS writes no blocks"),
}


def add_chattts(parser: argparse.ArgumentParser) -> None:
    """Add the options that ChatTTS alone has."""
    group = parser.add_argument_group(
        "ChatTTS (--model chattts)",
        "Dialogue in Chinese and English. Its weights are licensed CC BY-NC 4.0: not for\n"
        "commercial use. --temperature (default 0.3), --top-p (0.7), --top-k (20),\n"
        "--repetition-penalty (1.05) and --max-new-tokens (2048, of 21 ms) are of the speech.",
    )
    group.add_argument("--speaker", metavar="SPEAKER", help=SPEAKER_HELP)
    group.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        help="let the model add pauses, laughter and colloquialisms to the text first (default: "
        "yes)",
    )
    group.add_argument(
        "--prompt",
        metavar="TOKENS",
        help='manner: "[oral_2][laugh_0][break_6]" of the refined text (oral 0 to 9, laugh 0 to 2, '
        'break 0 to 7), "[speed_5]" of the speech (0 to 9)',
    )
    group.add_argument(
        "--speaker-statistics",
        metavar="FILE",
        help="for seed:N: spk_stat.pt, or a file with the string (or the string itself) that "
        "Config().spk_stat of your ChatTTS installation holds (default: those in the model's "
        "folder)",
    )
    group.add_argument(
        "--homophones",
        metavar="FILE",
        help="replace rare Chinese characters by a JSON table of common ones that sound the same; "
        "pinyin makes one (extra: zh)",
    )
    group.add_argument(
        "--lookahead",
        type=whole(0, 10_000),
        metavar="STEPS",
        help="with --stream: steps of 21 ms after a sample that must be written before it is "
        "output (default: 52, with which streamed speech is that of the whole; with 26 and 12 the "
        "first sound comes after 48 and 24 steps instead of 72, and the ends of chunks differ)",
    )


def check_family(arguments: argparse.Namespace, is_chattts: bool) -> None:
    """Check that every option means something to the model.

    Raises:
        SettingError: one that the other family alone has, or that ChatTTS needs and lacks.
    """
    if not is_chattts:
        foreign = sorted(OF_CHATTTS & arguments.given)
        if foreign:
            raise SettingError(f"{foreign[0]} is for ChatTTS (--model chattts): leave it out.")
        return
    for option, instead in OF_CHATTERBOX.items():
        if option in arguments.given:
            raise SettingError(f"{option} is for Chatterbox; {instead}: leave it out.")
    if isinstance(arguments.normalize, str):
        raise SettingError("--normalize upstream is for Chatterbox-Flash: leave upstream out.")
    if arguments.save_voice is not None and arguments.speaker is None:
        raise SettingError("--save-voice needs --speaker: the voice that is to be saved.")
    if arguments.batch is not None and arguments.speaker is None:
        raise SettingError("--batch needs --speaker: without it each piece has another voice.")


def inputs_of(arguments: argparse.Namespace) -> list[tuple[str, Path]]:
    """List the files that these options name, for `check_apart`."""
    from ..api.chattts.speakers import file_of

    inputs = []
    for name in ("speaker", "speaker_statistics", "homophones"):
        value = getattr(arguments, name, None)
        path = None if value is None else file_of(value)
        if path is not None:
            inputs.append((f"--{name.replace('_', '-')} {path}", path))
    return inputs


def take_speaker(arguments: argparse.Namespace, tts) -> None:
    """Take the speaker and statistics that the command line names into use.

    Raises:
        SettingError, CheckpointError: there is no such speaker, or a random one needs statistics.
    """
    from ..api.chattts.speakers import is_random
    from ..voices.chattts.random_speaker import HOW_TO_GET
    from ..weights.speaker_statistics import read_statistics

    if arguments.speaker_statistics is not None:
        tts.take_statistics(read_statistics(arguments.speaker_statistics))
    if arguments.speaker is None:
        return
    if is_random(arguments.speaker) and tts.checkpoint.statistics is None:
        raise SettingError(
            f"--speaker {arguments.speaker}: a random speaker needs --speaker-statistics, since "
            f"the model's folder has none. {HOW_TO_GET}"
        )
    tts.conds = tts.voice_of(arguments.speaker)


def chattts_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the settings of `ChatTTSSpeech` from the options that were set."""
    options = {
        "repetition_penalty": arguments.repetition_penalty,
        "top_p": arguments.top_p,
        "top_k": arguments.top_k,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
        "max_new_tokens": arguments.max_new_tokens,
        "lexicon": arguments.lexicon,
        "batch_size": arguments.batch_size,
        "refine": arguments.refine,
        "prompt": arguments.prompt,
        "homophones": arguments.homophones,
        # On by default.
        "normalize": arguments.normalize,
        "speed": None if arguments.speed == 1.0 else arguments.speed,
        "lang": arguments.language,
        # Of a stream alone, which the table of options sees to.
        "lookahead": arguments.lookahead,
    }
    return {name: value for name, value in options.items() if value is not None}


def job_settings(arguments: argparse.Namespace, tts, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings for a job, whose pieces all have the speaker; a file of one becomes `voice`.

    Raises:
        SettingError: there is none.
    """
    if tts.conds is None:
        raise SettingError(
            "a long text needs --speaker: without it each piece has another voice "
            "(--speaker seed:42, or a saved one)."
        )
    from ..api.chattts.speakers import file_of

    arguments.voice = file_of(arguments.speaker)
    own = {} if arguments.voice is not None else {"speaker": tts.speaker_string}
    # The texts of a job are written out piece by piece, in the language of each.
    keeps = {"as_written": True} if arguments.normalize is False else {}
    arguments.normalize = None
    others = {name: value for name, value in settings.items() if name not in ("lang", "normalize")}
    return {**others, **own, **keeps}


def show_pieces(arguments: argparse.Namespace, texts: list[str]) -> int:
    """Print the pieces in which ChatTTS speaks texts, one a line, before they are refined."""
    from ..api.chattts.speech import pieces_for_show

    lines, left_out = pieces_for_show(
        texts,
        normalize=arguments.normalize is not False,
        language=arguments.language,
        lexicon=arguments.lexicon,
        homophones=arguments.homophones,
    )
    if not any(lines):
        raise TextError("there is nothing to speak: ChatTTS knows no letter of the text.")
    print("\n".join(lines))
    if left_out:
        from ..errors import warn_user

        warn_user(left_out)
    return 0
