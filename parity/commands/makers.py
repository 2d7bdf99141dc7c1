"""`fabricate`, `inputs` and `setup`, which make what the other commands need."""

from __future__ import annotations

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.weights.variants import variant_named

from ..dumps import write_dump
from ..errors import ParityError
from ..fabricate.chattts import fabricate_chattts
from ..fabricate.checkpoint import STAMP, fabricate
from ..fabricate.small import small_chattts_config, small_config
from ..inputs.chattts import make_inputs
from ..inputs.make import inputs_with_pipeline
from ..progress import phase
from ..settings import default_seed
from ..tables.stage import CHATTTS
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
    is_chattts = arguments.variant == CHATTTS
    if is_chattts and (arguments.filter_buffers or arguments.weight_norm != PARAMETRIZATIONS):
        wrong = "--filter-buffers" if arguments.filter_buffers else "--weight-norm"
        raise ParityError(f"{wrong} is for Chatterbox: ChatTTS's files have one spelling.")
    seed = default_seed(arguments.variant) if arguments.seed is None else arguments.seed
    with phase("fabricate weights") as progress:
        if is_chattts:
            chattts = small_chattts_config() if arguments.small else None
            fabricate_chattts(folder, chattts, seed, progress)
            return 0
        fabricate(
            folder,
            variant=arguments.variant,
            config=small_config(arguments.variant) if arguments.small else None,
            seed=seed,
            weight_norm=arguments.weight_norm,
            filter_buffers=arguments.filter_buffers,
            progress=progress,
        )
    return 0


def inputs(arguments) -> int:
    """Run `python -m parity inputs`."""
    variant, seed = arguments.variant, arguments.seed
    seed = default_seed(variant) if seed is None else seed
    if variant == CHATTTS:
        made = make_inputs(ChatTTSConfig(), seed, arguments.audio)
    else:
        config = variant_named(variant).default_config()
        made = inputs_with_pipeline(config, seed, arguments.audio)
    write_dump(arguments.output, made)
    return 0


def setup(arguments) -> int:
    """Run `python -m parity setup`."""
    python = make_environment(arguments.venv or default_venv(), arguments.torch_index)
    print(f"ready: {python}")
    if arguments.venv is not None:
        print(f"use it with --reference-python {python}")
    return 0
