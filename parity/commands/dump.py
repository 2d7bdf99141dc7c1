"""`python -m parity dump`: outputs or taps of one side, from a dump of inputs."""

from __future__ import annotations

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.runtime.apart import check_apart
from mlx_chatterbox.weights.checkpoint import build, load
from mlx_chatterbox.weights.hub import is_converted
from mlx_chatterbox.weights.variants import variant_named

from ..dumps import read_dump, write_dump
from ..errors import ParityError
from ..layers.both_sides import torch_taps
from ..mlx.backend import compute as compute_mlx
from ..mlx.backend import record_with
from ..numpy.backend import compute as compute_numpy
from ..numpy.networks import networks_of
from ..taps.recording import write_taps
from ..upstream.files import upstream_of
from ..upstream.interpreter import find_interpreter
from ..upstream.jobs import torch_dump
from . import options
from .parser import parser


def dump(arguments) -> int:
    """Run `python -m parity dump`.

    Raises:
        ParityError: the inputs are those of no stage, or the reference failed.
    """
    if arguments.checkpoint is None and arguments.backend != "numpy":
        parser().error(f"dump --backend {arguments.backend} needs --checkpoint FOLDER")
    if arguments.taps and arguments.backend == "numpy":
        parser().error("dump --taps is of networks: --backend mlx or torch")
    options.check_folders(arguments.output)
    check_apart(
        [(f"--output {arguments.output}", arguments.output)],
        [(f"--inputs {arguments.inputs}", arguments.inputs)],
    )
    inputs = read_dump(arguments.inputs)
    if arguments.backend == "torch":
        _by_torch(arguments)
    elif arguments.taps:
        _taps_by_mlx(arguments, inputs)
    else:
        _outputs(arguments, inputs)
    return 0


def _outputs(arguments, inputs: dict) -> None:
    """Write what NumPy or our networks make of the inputs."""
    if arguments.backend == "numpy":
        outputs = compute_numpy(inputs, _numpy_networks(arguments))
    else:
        outputs = compute_mlx(arguments.checkpoint, inputs, arguments.stages, **_model(arguments))
    _check_any(arguments, outputs)
    write_dump(arguments.output, outputs, {"backend": arguments.backend})


def _taps_by_mlx(arguments, inputs: dict) -> None:
    """Write inputs and outputs of every layer of ours."""
    networks = load(arguments.checkpoint, **_model(arguments)).networks
    taps = record_with(networks, inputs, arguments.stages, arguments.calls)
    _check_any(arguments, taps)
    write_taps(arguments.output, taps, inputs, {"backend": "mlx"})


def _check_any(arguments, results) -> None:
    if not results:
        raise ParityError(
            f"{arguments.inputs} does not have all inputs of any stage; nothing was written."
        )


def _model(arguments) -> dict:
    return {"variant": arguments.variant, "t3_file": arguments.t3_file}


def _numpy_networks(arguments):
    """NumPy's networks of upstream's files; None without a checkpoint, for signal processing."""
    if arguments.checkpoint is None:
        return None
    upstream = upstream_of(arguments.checkpoint, arguments.variant, arguments.t3_file)
    config = variant_named(upstream.variant).default_config()
    if is_converted(arguments.checkpoint):
        config = ModelConfig.load(arguments.checkpoint)
    return networks_of(upstream.folder, config, upstream.variant)


def _by_torch(arguments) -> None:
    """Have the reference's process write its outputs or taps."""
    python = find_interpreter(arguments.reference_python)
    upstream = upstream_of(arguments.checkpoint, arguments.variant, arguments.t3_file)
    files = (arguments.inputs, arguments.output)
    if not arguments.taps:
        torch_dump(python, upstream.folder, *files, upstream.variant, upstream.t3_file)
        return
    # Only the names of its layers are asked for; nothing is computed.
    networks = build(variant_named(upstream.variant).default_config())
    torch_taps(python, upstream, networks, *files, arguments.stages, arguments.calls)
