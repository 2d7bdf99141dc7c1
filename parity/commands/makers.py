"""`fabricate`, `inputs` and `setup`, which make what the other commands need."""

from __future__ import annotations

from mlx_chatterbox.models.config import CHATTTS_TYPE
from mlx_chatterbox.weights.variants import variant_named

from ..dumps import write_dump
from ..errors import ParityError
from ..fabricate.chattts import fabricate_chattts
from ..fabricate.checkpoint import STAMP, fabricate
from ..fabricate.small import small_chattts_config, small_config
from ..inputs.make import inputs_with_pipeline
from ..progress import phase
from ..upstream.interpreter import default_venv
from ..upstream.setup import make_environment

PARAMETRIZATIONS = "parametrizations"


def fabricated(arguments) -> int:
    """Run `python -m parity fabricate`."""
    folder = arguments.output
    if folder.is_file() or (
        folder.is_dir() and any(folder.iterdir()) and not (folder / STAMP).is_file()
    ):
        raise ParityError(f"{folder} exists and was not fabricated; choose another name.")
    is_chattts = arguments.variant == CHATTTS_TYPE
    if is_chattts and (arguments.filter_buffers or arguments.weight_norm != PARAMETRIZATIONS):
        wrong = "--filter-buffers" if arguments.filter_buffers else "--weight-norm"
        raise ParityError(f"{wrong} is for Chatterbox: ChatTTS's files have one spelling.")
    with phase("fabricate weights") as progress:
        if is_chattts:
            chattts = small_chattts_config() if arguments.small else None
            fabricate_chattts(folder, chattts, arguments.seed, progress)
            return 0
        fabricate(
            folder,
            variant=arguments.variant,
            config=small_config(arguments.variant) if arguments.small else None,
            seed=arguments.seed,
            weight_norm=arguments.weight_norm,
            filter_buffers=arguments.filter_buffers,
            progress=progress,
        )
    return 0


def inputs(arguments) -> int:
    """Run `python -m parity inputs`."""
    config = variant_named(arguments.variant).default_config()
    write_dump(arguments.output, inputs_with_pipeline(config, arguments.seed, arguments.audio))
    return 0


def setup(arguments) -> int:
    """Run `python -m parity setup`."""
    python = make_environment(arguments.venv or default_venv(), arguments.torch_index)
    print(f"ready: {python}")
    if arguments.venv is not None:
        print(f"use it with --reference-python {python}")
    return 0
