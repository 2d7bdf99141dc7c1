"""ChatTTS at full size, made-up weights: a step with several rows, its decoders, and memory.

    python -m benchmarks.chattts
    python -m benchmarks.chattts --precision 8bit --short --json chattts.json

A step is compared with the time that this machine needs to read the weights of a step once, since
no step can be faster; both take turns. The lookahead of a stream is measured as the loudness of
what it gets wrong, on random hidden states; on a model's own it is smaller or larger.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import mlx_chatterbox  # noqa: F401  (before mlx.core)

# isort: split
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from mlx_chatterbox._version import __version__
from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.doctor.made_up import GROUP_SIZE, bits_of, fill, float_type
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks
from mlx_chatterbox.models.chattts.requests import CodeRow
from mlx_chatterbox.models.chattts.sampling import ChatTTSSampling
from mlx_chatterbox.models.chattts.windows import (
    CONTEXT_STEPS,
    SAMPLES_PER_FRAME,
    SAMPLES_PER_STEP,
    steps_before_sound,
)
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from parity.progress import say

from .company import PRECISIONS
from .company_parts import step_seconds
from .limits import default_device, device_memory, limits, use_device
from .prepare import machine_name
from .report import in_units, ratio

COUNTS = (1, 2, 4, 8, 16)
LOOKAHEADS = (CONTEXT_STEPS, 26, 12, 6)
_PROMPT, _LIMIT, _STEPS = 40, 400, 12
# A stream decodes after so many steps.
_EVERY = 24


def make_networks(precision: str) -> ChatTTSNetworks:
    """Networks of full size; of few bits are the GPT's projections."""
    networks = ChatTTSNetworks(ChatTTSConfig())
    if bits_of(precision):
        nn.quantize(networks.gpt.model, GROUP_SIZE, bits_of(precision))
    fill(networks, float_type(precision))
    return networks


def bytes_of_step(networks: ChatTTSNetworks) -> int:
    """Bytes of the weights that a step of codes reads."""
    parts = [networks.gpt.model, *networks.gpt.head_code]
    return sum(
        weight.nbytes for part in parts for weight in dict(tree_flatten(part.parameters())).values()
    )


def steps_by_count(networks: ChatTTSNetworks, rounds: int) -> dict[str, dict]:
    """Seconds of a step by the number of rows, and of reading as many bytes, in turns."""
    seconds: dict[int, list[float]] = {count: [] for count in COUNTS}
    reading: list[float] = []
    size = bytes_of_step(networks)
    for number in range(rounds + 1):
        per_byte = 1 / limits()["bytes_per_second"]
        engine = DecodingEngine(rows=max(COUNTS), prefills=None)
        taken = {}
        for count in range(1, max(COUNTS) + 1):
            engine.join(_request(networks, count))
            for _ in range(3):
                engine.step()
            if count in COUNTS:
                taken[count] = median(step_seconds(engine, _STEPS))
                assert len(engine.running) == count, "a row ended"
        if number:
            reading.append(size * per_byte)
            for count in COUNTS:
                seconds[count].append(taken[count])
    return {"steps": {str(count): own for count, own in seconds.items()}, "reading": reading}


def _request(networks: ChatTTSNetworks, number: int) -> CodeRow:
    draw = np.random.default_rng(number)
    ids = draw.integers(1, networks.gpt.config.stop_text_token, (_PROMPT, 1)).repeat(4, axis=1)
    # The stop token is banned for as long as it is timed.
    settings = ChatTTSSampling(min_new_tokens=_LIMIT)
    is_text = np.ones(_PROMPT, bool)
    return CodeRow(networks, ids, is_text, None, settings, _LIMIT, mx.random.key(number))


def sound_seconds(networks: ChatTTSNetworks, rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds for the sound of so many steps, by each of its networks."""
    sizes = networks.gpt.config
    hidden = mx.random.normal((1, steps, sizes.hidden_size), key=mx.random.key(0))
    shape = (1, steps, sizes.num_vq)
    codes = mx.random.randint(0, sizes.stop_code, shape, key=mx.random.key(1))
    mel = networks.decoder(hidden)
    mx.eval(mel)
    ways: dict[str, Callable[[], mx.array]] = {
        "decoder of hidden states": lambda: networks.decoder(hidden),
        "decoder of codes": lambda: networks.dvae.decode(codes),
        "vocoder": lambda: networks.vocos(mel),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            mx.eval(way())
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def lookahead_errors(networks: ChatTTSNetworks) -> dict[str, float]:
    """Relative RMS error of sound after which fewer steps are known, by their number."""
    steps, until = 3 * CONTEXT_STEPS, CONTEXT_STEPS + 24
    hidden = mx.random.normal((1, steps, networks.gpt.config.hidden_size), key=mx.random.key(2))
    first, last = SAMPLES_PER_STEP * CONTEXT_STEPS, SAMPLES_PER_STEP * until
    exact = np.array(networks.vocos(networks.decoder(hidden))[0], np.float64)[first:last]
    errors = {}
    for lookahead in LOOKAHEADS:
        known = hidden[:, : until + lookahead]
        sound = np.array(networks.vocos(networks.decoder(known))[0], np.float64)[first:last]
        error = np.linalg.norm(sound - exact[: len(sound)]) / np.linalg.norm(exact)
        errors[str(lookahead)] = float(error)
    return errors


def measure(precision: str, rounds: int, steps: int) -> dict:
    """Measure all."""
    say(f"ChatTTS, {precision}: making weights")
    networks = make_networks(precision)
    say("measuring steps")
    timed = steps_by_count(networks, rounds)
    say("measuring sound")
    sound = sound_seconds(networks, rounds, steps)
    say("measuring lookaheads")
    errors = lookahead_errors(networks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "about": {
            "precision": precision,
            "machine": machine_name(),
            "device": default_device(),
            "rounds": rounds,
            "sound_steps": steps,
            "bytes_of_step": bytes_of_step(networks),
            "versions": {"mlx-chatterbox": __version__, "mlx": version("mlx")},
        },
        **timed,
        "sound": sound,
        "lookaheads": errors,
        "peak_bytes": device_memory() or peak * (1 if sys.platform == "darwin" else 1024),
    }


def tables(result: dict) -> str:
    """Tables of the figures, as Markdown."""
    about, reading = result["about"], result["reading"]
    lines = [
        f"ChatTTS, {about['precision']}, {about['machine']}, {about['device'].upper()}; a step "
        f"reads {about['bytes_of_step'] / 1e6:.0f} MB, by themselves in "
        f"{in_units(median(reading))}",
        "",
        "| rows | a step | of the memory's bandwidth | a step of a row |",
        "| --- | --- | --- | --- |",
    ]
    for count, taken in result["steps"].items():
        share, low, high = ratio(reading, taken)
        lines.append(
            f"| {count} | {in_units(median(taken))} | {share:.0%} ({low:.0%} to {high:.0%}) "
            f"| {in_units(median(taken) / int(count))} |"
        )
    samples = SAMPLES_PER_STEP * about["sound_steps"] - SAMPLES_PER_FRAME
    lines += ["", f"| sound of {samples / 24000:.1f} s | takes | of real time |"]
    lines += ["| --- | --- | --- |"]
    for name, taken in result["sound"].items():
        middle = median(taken)
        lines.append(f"| {name} | {in_units(middle)} | {middle / (samples / 24000):.3f} |")
    lines += ["", "| lookahead, steps | steps before the first sound | error (relative RMS) |"]
    lines += ["| --- | --- | --- |"]
    for lookahead, error in result["lookaheads"].items():
        before = steps_before_sound(_EVERY, int(lookahead))
        lines.append(f"| {lookahead} | {before} | {error:.1e} |")
    return "\n".join([*lines, "", f"peak memory: {result['peak_bytes'] / 1e9:.2f} GB"])


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chattts", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), help="(default: MLX's default device, on a Mac the GPU)"
    )
    parser.add_argument(
        "--rounds", type=whole(1, 10_000), default=3, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("--short", action="store_true", help="one round, two seconds of sound")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    add_verbose(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return run_program(build_parser(), argv, _work, name="")


def _work(arguments: argparse.Namespace) -> int:
    if arguments.device is not None:
        use_device(arguments.device)
    rounds = 1 if arguments.short else arguments.rounds
    result = measure(arguments.precision, rounds, 100 if arguments.short else 470)
    print(tables(result))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
