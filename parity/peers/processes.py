"""Processes of other ports: their environment variables and their output."""

from __future__ import annotations

import os
import subprocess

from mlx_chatterbox.runtime.linux_cpu import blas_core, loaded_blas

from ..errors import PeerError


def peer_environment(peer: str) -> dict[str, str]:
    """Environment variables that keep libraries quiet; for mlx-audio the BLAS and kernels of ours.

    Args:
        peer: "mlx-audio", "torch", or any other name, which gets the quiet libraries alone.
    """
    quiet = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    environment = os.environ | quiet | {"TRANSFORMERS_VERBOSITY": "error"}
    if peer == "mlx-audio":
        if library := loaded_blas():
            environment["LD_PRELOAD"] = library
        if core := blas_core():
            environment["OPENBLAS_CORETYPE"] = core
    return environment


def output_of(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run a command; returns what it prints to standard output.

    Raises:
        PeerError: it failed; the message is the last line that it printed.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    except OSError as error:
        raise PeerError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise PeerError("".join(lines[-1:]) or f"exit code {done.returncode}")
    return done.stdout
