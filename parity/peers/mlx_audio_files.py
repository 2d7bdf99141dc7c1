"""Upstream's weights in the files that mlx-audio loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..errors import PeerError, PeerMissing
from ..progress import say
from ..upstream.interpreter import module_command
from .environments import MLX_AUDIO
from .processes import output_of

STAMP = "benchmarks-weights.json"


def mlx_audio_files(python: str, upstream: Path, output: Path) -> Path:
    """Write the model in mlx-audio's files, or keep them while upstream's stay as they are.

    Args:
        python: an interpreter with mlx-audio.

    Raises:
        PeerMissing: its classes do not take these weights.
    """
    files = {p.name: [p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(upstream.iterdir())}
    stamp, path = {"mlx-audio": MLX_AUDIO, "files": files}, output / STAMP
    try:
        if json.loads(path.read_text(encoding="utf-8")) == stamp:
            say(f"mlx-audio's weights: kept from before, in {output}")
            return output
    except (OSError, ValueError):
        pass
    shutil.rmtree(output, ignore_errors=True)
    say("writing the weights in mlx-audio's files ...")
    arguments = [str(upstream), str(output)]
    command = module_command(python, "parity.peers.mlx_audio_weights", arguments)
    try:
        output_of(command)
    except PeerError as error:
        raise PeerMissing(f"mlx-audio: {error}") from error
    path.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    return output
