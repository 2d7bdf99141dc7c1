"""`python -m parity`: compare what runs here with what upstream's authors trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mlx_chatterbox.runtime.program import run_program

from .commands.parser import parser, perform


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 if everything asked for holds or is done, 1 if not. Wrong use exits with 2.
    """
    return run_program(parser(), argv, perform, name="")


if __name__ == "__main__":
    sys.exit(main())
