"""Options of `mlx-chatterbox` for Chatterbox-Flash, and the settings that they make."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..runtime.number_options import any_real, any_whole
from ..text.writing import UPSTREAM, exact

# The options of Flash alone, by the names that its settings have in Python.
OF_FLASH = {
    "num_steps": "--num-steps",
    "time_shift_tau": "--time-shift-tau",
    "omnivoice_schedule_t_shift": "--omnivoice-schedule-t-shift",
    "position_temperature": "--position-temperature",
    "pmi_uncond_prior_precompute": "--pmi-uncond-prior-precompute",
    "block_size": "--block-size",
    "upstream_exact": "--upstream-exact",
}


def add_flash(parser: argparse.ArgumentParser) -> None:
    """Add the options that Flash alone has."""
    group = parser.add_argument_group(
        "Chatterbox-Flash (--model flash)",
        "English, 16 tokens at a time: each block is decided in a few passes, the surest tokens\n"
        "first. It has no built-in voice: give --voice. --temperature is 0.2 by default,\n"
        "--cfg-weight (upstream's cfg_scale) 1, --max-new-tokens 6 for each text token and 300 at\n"
        "least. It has no --repetition-penalty, --min-p, --top-p and --top-k.",
    )
    numbers = {
        "--num-steps": (any_whole, "most passes for a block; fewer are faster (default: 10)"),
        "--time-shift-tau": (
            any_real,
            "how much sooner than planned tokens are decided: 0 takes 10 passes a block, 0.5 takes "
            "8, 1 takes 6 (default: 0.5)",
        ),
        "--omnivoice-schedule-t-shift": (
            any_real,
            "shape of the plan: below 1 fewer tokens are decided in the first passes; 0 shares "
            "them out evenly (default: 0.5)",
        ),
        "--position-temperature": (
            any_real,
            "randomness of which positions are decided first; 0 takes the surest (default: 1, "
            "which is what 5 does in upstream's 0.1.0)",
        ),
        "--block-size": (
            any_whole,
            "tokens of a block, 40 ms each; larger ones are faster and rougher (default: 16)",
        ),
    }
    for flag, (kind, text) in numbers.items():
        group.add_argument(flag, type=kind, metavar="N", help=text)
    group.add_argument(
        "--pmi-uncond-prior-precompute",
        action=argparse.BooleanOptionalAction,
        help="measure how sure a token is against what the model expects without any text, "
        "computed once; or else against the block itself (default: on)",
    )
    group.add_argument(
        "--upstream-exact",
        action="store_true",
        default=None,
        help="compute as upstream's 0.1.0 does, its faults and its reading of the text included, "
        "and speak once; to compare single texts",
    )


class NormalizeAction(argparse.Action):
    """`--normalize`, `--normalize upstream` and `--no-normalize`."""

    def __init__(self, option_strings, dest, **settings):
        (name,) = option_strings
        names = [name, name.replace("--", "--no-", 1)]
        settings = {"nargs": "?", "choices": (UPSTREAM,), "metavar": UPSTREAM, **settings}
        super().__init__(names, dest, **settings)

    def __call__(self, parser, namespace, values, option_string=None):
        is_off = option_string is not None and option_string.startswith("--no-")
        if is_off and values is not None:
            raise argparse.ArgumentError(self, f"{option_string} takes no value")
        setattr(namespace, self.dest, (values or True) if not is_off else False)


def flash_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the settings that `ChatterboxFlashTTS.generate` alone has, of options that were set."""
    values = {name: getattr(arguments, name) for name in OF_FLASH}
    return {name: value for name, value in values.items() if value is not None}


def take_exact_text(arguments: argparse.Namespace) -> None:
    """Have the text read as `--upstream-exact` reads it, by what checks and shows it as well."""
    if arguments.upstream_exact:
        arguments.normalize = exact(arguments.normalize)


def check_voice(arguments: argparse.Namespace, model: str | Path) -> None:
    """Check that there is a voice for a model that is published without one, before it is loaded.

    Raises:
        SettingError: there is none.
    """
    if arguments.voice is not None or arguments.batch is not None or arguments.show_text:
        return
    from ..weights.checkpoint import variant_of
    from ..weights.hub import local_folder

    # A folder may have a voice that somebody put there.
    row = variant_of(model) if local_folder(model) is None else None
    if row is not None and not row.has_voice:
        raise SettingError(
            f"{row.name} has no built-in voice: give --voice, a recording of the voice to speak in."
        )
