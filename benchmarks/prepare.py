"""What is ready before anything is timed: interpreters, each engine's weights, inputs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path

from parity.peers.environments import MLX_AUDIO, interpreter
from parity.upstream.process import module_command

from .engines import PACKAGES, Place, output_of, say
from .errors import BenchmarkError, PeerMissing
from .inputs import make_inputs

MLX_AUDIO_STAMP = "benchmarks-weights.json"


def find_interpreters(arguments: argparse.Namespace) -> dict[str, str]:
    """Engine -> its Python; a peer that cannot be had is said and left out."""
    given = {"torch": arguments.reference_python, "mlx-audio": arguments.mlx_audio_python}
    found = {"ours": sys.executable}
    for peer in arguments.peers:
        try:
            found[peer] = interpreter(peer, given[peer])
        except PeerMissing as error:
            say(f"left out: {error}")
    return found


def places(
    arguments: argparse.Namespace, interpreters: dict[str, str], work: Path, variant: str
) -> dict[str, Place]:
    """Engine -> where it runs and the folder that it loads, made if need be.

    mlx-audio has the English model only.
    """
    from parity.run import converted_weights, upstream_weights
    from parity.settings import Settings

    folder = work / variant
    folder.mkdir(parents=True, exist_ok=True)
    weights = arguments.weights if variant == "english" else None
    settings = Settings(variant=variant, weights=weights, work=work)
    upstream = upstream_weights(folder, settings)
    folders = {"ours": converted_weights(folder, upstream, settings), "torch": upstream}
    if "mlx-audio" in interpreters and variant == "english":
        try:
            folders["mlx-audio"] = mlx_audio_weights(
                interpreters["mlx-audio"], upstream, folder / "mlx-audio"
            )
        except BenchmarkError as error:
            say(f"left out: {error}")
    return {
        engine: Place(engine, python, folders[engine], arguments.device)
        for engine, python in interpreters.items()
        if engine in folders
    }


def mlx_audio_weights(python: str, upstream: Path, output: Path) -> Path:
    """The model in mlx-audio's files, kept while upstream's files stay as they are.

    Args:
        python: an interpreter with mlx-audio.

    Raises:
        PeerMissing: its classes do not take these weights.
    """
    files = {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(upstream.iterdir())}
    stamp, path = {"mlx-audio": MLX_AUDIO, "files": files}, output / MLX_AUDIO_STAMP
    try:
        if json.loads(path.read_text(encoding="utf-8")) == stamp:
            say(f"mlx-audio's weights: kept from before, in {output}")
            return output
    except (OSError, ValueError):
        pass
    shutil.rmtree(output, ignore_errors=True)
    say("writing the weights in mlx-audio's files ...")
    arguments = [str(upstream), str(output)]
    command = module_command(python, "parity.peers.mlx_audio_weights", arguments, PACKAGES)
    try:
        output_of(command)
    except BenchmarkError as error:
        raise PeerMissing(f"mlx-audio: {error}") from error
    path.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    return output


def write_inputs(work: Path) -> Path:
    """The inputs as a file that every engine reads."""
    from parity.dumps import write_dump

    work.mkdir(parents=True, exist_ok=True)
    return write_dump(work / "benchmark-inputs.safetensors", make_inputs())


def about(arguments: argparse.Namespace) -> dict:
    """What the figures depend on, and a title for the picture."""
    from importlib.metadata import version

    from mlx_chatterbox._version import __version__

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.system()} {platform.machine()}, {cores} cores"
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
