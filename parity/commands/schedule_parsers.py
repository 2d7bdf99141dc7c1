"""The options of `schedules`."""

from __future__ import annotations

import argparse

from mlx_chatterbox.runtime.number_options import whole

from .. import COMMAND

# As in `doctor.repertoires`, which needs MLX.
VARIANTS = ("english", "multilingual", "turbo", "nano", "flash", "chattts")

DESCRIPTION = """\
Plays random schedules in a decoding engine: rows with texts, voices and settings of their own join,
leave, end, fail and are preempted. Each row's logits at every step must be to the bit those of the
same request alone. The networks are small and have random weights; their heads and vocabularies
are of full size."""

EXAMPLES = f"""\
examples:
  {COMMAND} schedules --count 200                     as this machine decodes
  {COMMAND} schedules --count 200 --steps mlx         as one on which nothing was compiled
  {COMMAND} schedules --count 200 --steps gpu --nudge places    results that depend on the place
  {COMMAND} schedules --steps gpu --nudge places --mode fast    shows that the proof can fail
  {COMMAND} schedules --fault seen_of_another                   so does a planted fault"""


def add_schedules(commands) -> None:
    """Add `python -m parity schedules`."""
    command = commands.add_parser(
        "schedules",
        help="prove that a row's logits do not depend on the others in its engine",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--count", type=whole(1, 10**6), default=40, metavar="N", help="schedules (default: 40)"
    )
    command.add_argument(
        "--first", type=whole(0, 2**31), default=0, metavar="SEED", help="the first one's seed"
    )
    command.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT",
        help=f"which networks, of {', '.join(VARIANTS)} (default: all)",
    )  # fmt: skip
    command.add_argument(
        "--precision", choices=("float32", "float16", "bfloat16", "8bit", "4bit"),
        default="float32", help="of the weights (default: float32)",
    )  # fmt: skip
    command.add_argument(
        "--steps", choices=("c", "mlx", "gpu"), default="c",
        help="c: this package's C where it is in use; mlx: MLX alone; gpu: MLX alone, by the "
        "branches for GPUs (default: c)",
    )  # fmt: skip
    command.add_argument(
        "--nudge", choices=("none", "rows", "places"), default="none",
        help="change the last digit of MLX's products, softmax and attention by a hash of the "
        "number of rows, extent and padding (rows), and also of a row's place (places)",
    )  # fmt: skip
    command.add_argument(
        "--mode", choices=("invariant", "fast"), default="invariant",
        help="the engine's (default: invariant); in fast mode rows of MLX's steps may differ",
    )  # fmt: skip
    command.add_argument(
        "--width", type=whole(2, 16), default=16, metavar="N", help="the engine's (default: 16)"
    )
    command.add_argument(
        "--fault", default="", metavar="NAME",
        help="plant a fault of how rows share an engine, such as one_position",
    )  # fmt: skip
    command.set_defaults(action="schedules.schedules")
