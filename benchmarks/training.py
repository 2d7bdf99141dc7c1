"""Time and memory of one optimizer step of T3 by LoRA.

    python -m benchmarks.training --model FOLDER
    python -m benchmarks.training --model FOLDER --checkpointing

The clip is random numbers, as the time does not depend on its content.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core: it chooses the BLAS)

# isort: split

import mlx.core as mx
import numpy as np

from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.train.config import TrainConfig
from mlx_chatterbox.train.distributed import Group
from mlx_chatterbox.train.optimizer import OptimizerSettings
from mlx_chatterbox.train.prepared import PreparedModel, prepare
from mlx_chatterbox.train.sections import LoraConfig
from mlx_chatterbox.train.trained import TrainedTask


def made_up_sample(config, text: int, speech: int, prompt: int, seed: int = 0) -> dict:
    """Sample of T3's training data, of random tokens.

    Args:
        config: T3's.
        text, speech, prompt: tokens of each.
    """
    rng = np.random.default_rng(seed)
    speaker = rng.random(config.speaker_embed_size, dtype=np.float32)
    return {
        "id": "made up",
        "key": np.array([seed, speech], np.uint32),
        "text_tokens": np.r_[255, rng.integers(1, 250, text - 2), 0].astype(np.int32),
        "speech_tokens": rng.integers(0, 6561, speech).astype(np.int32),
        "speaker_embedding": speaker / np.linalg.norm(speaker),
        "prompt": {"speech_tokens": rng.integers(0, 6561, prompt).astype(np.int32)},
    }


def measure(
    prepared: PreparedModel, steps: int, batch: int, text: int, speech: int, dtype: str
) -> dict:
    """Times of steps after a first one, in seconds, and peaks of memory, in bytes."""
    networks = prepared.checkpoint.networks
    task = prepared.tasks[0]
    trained = TrainedTask(task, networks, OptimizerSettings(dtype=dtype), adapters=True)
    config = prepared.checkpoint.config.t3
    prompt = min(75, config.speech_cond_prompt_len)
    samples = [made_up_sample(config, text, speech, prompt, seed) for seed in range(batch)]
    times = []
    for number in range(steps + 1):
        if number == 1:
            mx.reset_peak_memory()
        started = time.perf_counter()
        batches, totals = trained.batches([samples], True)
        trained.train()
        trained.step(batches, totals, True, 1e-4, Group())
        times.append(time.perf_counter() - started)
    per_unit = 1 if sys.platform == "darwin" else 1024
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * per_unit
    positions = int(np.prod(batches[0]["take"].shape))
    return {
        "times": times[1:],
        "mlx": mx.get_peak_memory(),
        "process": process,
        "positions": positions,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="a converted folder")
    parser.add_argument(
        "--steps", type=whole(1, 10_000), default=3, help="measured, after a first one"
    )
    parser.add_argument("--batch", type=whole(1, 10_000), default=1)
    parser.add_argument(
        "--speech", type=whole(1, 10_000), default=250, help="speech tokens of a clip"
    )
    parser.add_argument("--text", type=whole(1, 10_000), default=60, help="text tokens of a clip")
    parser.add_argument("--rank", type=whole(1, 10_000), default=16)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--bits", type=whole(), choices=(4, 8), help="of the frozen weights")
    parser.add_argument("--checkpointing", action="store_true", help="keep no activations")
    add_verbose(parser)
    return run_program(parser, argv, _work)


def _work(arguments: argparse.Namespace) -> int:
    config = TrainConfig()
    config.model.local_model_dir = str(arguments.model)
    config.model.freeze_components = ["voice_encoder", "s3gen"]
    config.model.lora = LoraConfig(rank=arguments.rank)
    config.model.quantize_base = arguments.bits
    config.training.text_dropout = 0.0
    config.training.gradient_checkpointing = arguments.checkpointing
    figures = measure(
        prepare(config),
        arguments.steps,
        arguments.batch,
        arguments.text,
        arguments.speech,
        arguments.dtype,
    )
    times = " ".join(f"{seconds:.2f}" for seconds in figures["times"])
    print(
        f"{arguments.batch} x {arguments.speech} speech tokens, {figures['positions']} positions, "
        f"{arguments.dtype}, checkpointing {'on' if arguments.checkpointing else 'off'}: "
        f"median {statistics.median(figures['times']):.2f} s a step ({times}), peak "
        f"{figures['mlx'] / 1e9:.2f} GB of MLX, {figures['process'] / 1e9:.2f} GB of the process"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
