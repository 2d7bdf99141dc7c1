"""Preparations for a run: interpreters, each engine's weights, inputs."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from mlx_chatterbox._version import __version__
from parity.dumps import write_dump
from parity.errors import PeerError, PeerMissing
from parity.peers.environments import MLX_AUDIO, interpreter
from parity.peers.mlx_audio_files import mlx_audio_files
from parity.progress import say
from parity.settings import RunSettings
from parity.weights import converted_weights, upstream_weights

from .engines import Place
from .inputs import make_inputs


def find_interpreters(arguments: argparse.Namespace) -> dict[str, str]:
    """Python of each engine; a peer without one is left out, with a line on standard error."""
    chosen = {"torch": arguments.reference_python, "mlx-audio": arguments.mlx_audio_python}
    interpreters = {"ours": sys.executable}
    for peer in arguments.peers:
        try:
            interpreters[peer] = interpreter(peer, chosen[peer])
        except PeerMissing as error:
            say(f"left out: {error}")
    return interpreters


def places(
    arguments: argparse.Namespace, interpreters: dict[str, str], work: Path, variant: str
) -> dict[str, Place]:
    """Place of each engine, with the folder that it loads, made if need be.

    mlx-audio has the English model only.
    """
    folder = work / variant
    folder.mkdir(parents=True, exist_ok=True)
    weights = arguments.weights if variant == "english" else None
    settings = RunSettings(variant=variant, weights=weights, work=work)
    upstream = upstream_weights(folder, settings)
    folders = {"ours": converted_weights(folder, upstream, settings), "torch": upstream}
    if "mlx-audio" in interpreters and variant == "english":
        try:
            folders["mlx-audio"] = mlx_audio_files(
                interpreters["mlx-audio"], upstream, folder / "mlx-audio"
            )
        except PeerError as error:
            say(f"left out: {error}")
    return {
        engine: Place(engine, python, folders[engine], arguments.device)
        for engine, python in interpreters.items()
        if engine in folders
    }


def write_inputs(work: Path) -> Path:
    """Write the inputs as a file that every engine reads."""
    work.mkdir(parents=True, exist_ok=True)
    return write_dump(work / "benchmark-inputs.safetensors", make_inputs())


def machine_name() -> str:
    """The kind of this machine: system, architecture, and cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores"


def metadata(arguments: argparse.Namespace) -> dict:
    """Machine, settings and versions that the figures depend on, and a title for the picture."""
    machine = machine_name()
    device = "" if arguments.device == "cpu" else ", GPU"
    return {
        "title": f"mlx-chatterbox {__version__} on {machine}{device}: float32, full size",
        "machine": machine,
        "device": arguments.device,
        "runs": arguments.runs,
        "steps": arguments.steps,
        "weights": "made up" if arguments.weights is None else str(arguments.weights),
        "versions": {"mlx-chatterbox": __version__, "mlx": version("mlx"), "mlx-audio": MLX_AUDIO},
    }
