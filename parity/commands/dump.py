"""`python -m parity dump`: outputs or taps of one side, from a dump of inputs."""

from __future__ import annotations

from ..dumps import read_dump, write_dump
from ..errors import ParityError


def dump(arguments) -> None:
    """Do what the command line asks for.

    Raises:
        ParityError: the inputs are those of no stage, or the reference failed.
    """
    inputs = read_dump(arguments.inputs)
    if arguments.backend == "torch":
        _by_torch(arguments)
        return
    if arguments.backend == "numpy":
        from ..numpy.backend import compute

        outputs = compute(inputs, _numpy_networks(arguments))
    elif arguments.taps:
        from mlx_chatterbox.checkpoint import load

        from ..mlx.backend import record_with
        from ..taps.recording import write_taps

        networks = load(arguments.checkpoint, **_model(arguments)).networks
        outputs = record_with(networks, inputs, arguments.stages, arguments.calls)
        if outputs:
            write_taps(arguments.output, outputs, inputs, {"backend": "mlx"})
            return
    else:
        from ..mlx.backend import compute

        outputs = compute(arguments.checkpoint, inputs, arguments.stages, **_model(arguments))
    if not outputs:
        raise ParityError(f"{arguments.inputs} has the inputs of no stage; nothing was written.")
    write_dump(arguments.output, outputs, {"backend": arguments.backend})


def _model(arguments) -> dict:
    return {"variant": arguments.variant, "t3_file": arguments.t3_file}


def _numpy_networks(arguments):
    """Of upstream's files, where a checkpoint is given; NumPy needs none for signal processing."""
    if arguments.checkpoint is None:
        return None
    from mlx_chatterbox.config import ModelConfig
    from mlx_chatterbox.hub import is_converted
    from mlx_chatterbox.variants import variant_named

    from ..numpy.networks import networks_of
    from ..upstream.process import upstream_of

    found = upstream_of(arguments.checkpoint, arguments.variant, arguments.t3_file)
    config = variant_named(found.variant).default_config()
    if is_converted(arguments.checkpoint):
        config = ModelConfig.load(arguments.checkpoint)
    return networks_of(found.folder, config, found.variant)


def _by_torch(arguments) -> None:
    from ..upstream.process import find_interpreter, torch_dump, upstream_of

    python = find_interpreter(arguments.reference_python)
    found = upstream_of(arguments.checkpoint, arguments.variant, arguments.t3_file)
    files = (arguments.inputs, arguments.output)
    if not arguments.taps:
        torch_dump(python, found.folder, *files, found.variant, found.t3_file)
        return
    from mlx_chatterbox.checkpoint import build
    from mlx_chatterbox.variants import variant_named

    from ..layers.both_sides import torch_taps

    # Only the names of its layers are asked for; nothing is computed.
    networks = build(variant_named(found.variant).default_config())
    torch_taps(python, found, networks, *files, arguments.stages, arguments.calls)
