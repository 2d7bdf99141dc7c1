"""`python -m parity dump`: outputs or taps of one side, from a dump of inputs."""

from __future__ import annotations

from typing import Any

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.runtime.apart import check_apart
from mlx_chatterbox.weights.checkpoint import build, load
from mlx_chatterbox.weights.hub import holds_chattts, is_converted
from mlx_chatterbox.weights.variants import variant_named

from ..dumps import read_dump, write_dump
from ..errors import ParityError
from ..layers.both_sides import torch_taps
from ..mlx.backend import compute as compute_mlx
from ..mlx.backend import compute_with, record_with
from ..numpy.backend import compute as compute_numpy
from ..numpy.chattts_backend import ChatTTSReference, record
from ..numpy.chattts_backend import compute as compute_chattts
from ..numpy.networks import networks_of
from ..stages import stages_of
from ..tables.stage import CHATTTS, FLASH
from ..taps.recording import write_taps
from ..upstream.chattts_files import load_chattts, own_files
from ..upstream.files import upstream_of
from ..upstream.interpreter import find_interpreter
from ..upstream.jobs import torch_dump
from . import options
from .parser import parser
from .unused import say_deeper, say_unused


def dump(arguments) -> int:
    """Run `python -m parity dump`.

    Raises:
        ParityError: the inputs are those of no stage, or the reference failed.
    """
    if arguments.checkpoint is None and arguments.backend != "numpy":
        parser().error(f"dump --backend {arguments.backend} needs --checkpoint FOLDER")
    second = _is_chattts(arguments)
    if arguments.taps and arguments.backend == "numpy" and not second:
        parser().error("dump --taps is of networks: --backend mlx or torch")
    if second and arguments.backend == "torch":
        parser().error("dump --backend torch is of Chatterbox; ChatTTS has mlx and numpy")
    options.check_folders(arguments.output)
    check_apart(
        [(f"--output {arguments.output}", arguments.output)],
        [(f"--inputs {arguments.inputs}", arguments.inputs)],
    )
    inputs = read_dump(arguments.inputs)
    say_unused(inputs, stages_of(CHATTTS if second else FLASH), arguments.inputs)
    if second:
        _chattts(arguments, inputs)
    elif arguments.backend == "torch":
        _by_torch(arguments)
    elif arguments.taps:
        _taps_by_mlx(arguments, inputs)
    else:
        _outputs(arguments, inputs)
    return 0


def _is_chattts(arguments) -> bool:
    """Tell whether the model is ChatTTS, by `--variant` or its folder.

    Raises:
        ParityError: the two contradict each other.
    """
    folder = arguments.checkpoint
    is_its_folder = folder is not None and holds_chattts(folder)
    is_wanted = arguments.variant == CHATTTS
    if None not in (folder, arguments.variant) and is_wanted != is_its_folder:
        raise ParityError(f"{folder} does not hold {arguments.variant}.")
    return is_its_folder or is_wanted


def _chattts(arguments, inputs: dict) -> None:
    """Write outputs or taps of ChatTTS.

    Raises:
        ParityError: no folder is given, or the original files are not here, which NumPy reads.
    """
    if arguments.checkpoint is None:
        raise ParityError("ChatTTS needs --checkpoint FOLDER: converted, or with its own files.")
    output, only, metadata = arguments.output, arguments.stages, {"backend": arguments.backend}
    by_numpy = arguments.backend == "numpy"
    if by_numpy:
        networks: Any = ChatTTSReference(*own_files(arguments.checkpoint))
    else:
        networks = load_chattts(arguments.checkpoint).networks
    if arguments.taps:
        taps = (record if by_numpy else record_with)(networks, inputs, only, arguments.calls)
        _check_any(arguments, taps)
        write_taps(output, taps, inputs, metadata)
        return
    outputs = (compute_chattts if by_numpy else compute_with)(networks, inputs, only)
    _check_any(arguments, outputs)
    say_deeper(inputs, outputs)
    write_dump(output, outputs, metadata)


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
    return networks_of(upstream.folder, config, upstream.variant, upstream.t3_file)


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
