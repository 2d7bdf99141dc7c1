"""`python -m parity peer`: errors of another port of Chatterbox on the weights of a run."""

from __future__ import annotations

from pathlib import Path

from ..compare import Comparison, compare
from ..dumps import read_dump
from ..errors import ParityError, PeerError
from ..progress import phase
from ..report.report import TORCH_NAME
from ..upstream.interpreter import module_command
from .environments import MLX_AUDIO, interpreter
from .mlx_audio_files import mlx_audio_files
from .processes import output_of, peer_environment

PEER = "mlx-audio"
DUMP_NAME = "mlx-audio.safetensors"


def score(folder: Path, python: Path | None = None) -> Comparison:
    """Errors of mlx-audio against PyTorch on the inputs and weights of a run that was kept.

    Args:
        folder: WORK/english of `run --work WORK`; mlx-audio has no other variant in these files.
        python: an interpreter with mlx-audio; its environment is made without one.

    Raises:
        ParityError: no such run, no environment, or mlx-audio failed; the message is its own.
    """
    dumps = [folder / "inputs.safetensors", folder / TORCH_NAME]
    upstream = folder / "upstream"
    if not all(path.exists() for path in (*dumps, upstream)):
        raise ParityError(
            f"{folder} is not a kept run of made-up weights; see `run --variant english --work`."
        )
    output = folder / DUMP_NAME
    output.unlink(missing_ok=True)
    try:
        its_python = interpreter(PEER, python)
        with phase("mlx-audio's files"):
            files = mlx_audio_files(its_python, upstream, folder / PEER)
        arguments = ["--checkpoint", str(files), "--inputs", str(dumps[0])]
        arguments += ["--output", str(output)]
        command = module_command(its_python, "parity.peers.mlx_audio_stages", arguments)
        with phase(PEER):
            output_of(command, peer_environment(PEER))
    except PeerError as error:
        raise ParityError(f"{PEER}: {error}") from error
    names = (MLX_AUDIO.replace("==", " "), "torch")
    theirs = read_dump(output)
    reference = read_dump(dumps[1])
    # Outputs that it does not have do not count as errors.
    return compare({name: reference[name] for name in theirs}, theirs, names=names)
