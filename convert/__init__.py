"""Conversion of published weights to this library's checkpoints, checking and publishing them."""

import sys
from pathlib import PurePath

# Looks up the BLAS, which must come before any module here imports mlx.core.
import mlx_chatterbox  # noqa: F401

# `python -m` with this package: "mlx_chatterbox.convert" where it is installed, or "convert" in a
# checkout.
MODULE = f"python -m {__name__}"
SCRIPT = "mlx-chatterbox-convert"
# The program as this process was started: what help and errors call it.
COMMAND = SCRIPT if sys.argv and PurePath(sys.argv[0]).name == SCRIPT else MODULE
