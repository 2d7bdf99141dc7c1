"""Upstream's weights to ours: `python -m convert`, or `weights.conversion.core.convert_folder`."""

# Looks up the BLAS, which must come before any module here imports mlx.core.
import mlx_chatterbox  # noqa: F401

# How its commands are started: installed within the library, or in a checkout under its own name.
COMMAND = f"python -m {__name__}"
