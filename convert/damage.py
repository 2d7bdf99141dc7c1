"""`python -m convert.damage MODEL`: the error that few bits cause in each group of layers.

One group at a time is rounded to each precision while all else stays float32, and the model is
compared with the unchanged one. `weights.conversion.recipes` is chosen by this table: groups that
save much and lose little get few bits.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import seed, whole
from mlx_chatterbox.runtime.program import run_program

from . import MODULE
from .options import MAX_POSITIONS

if TYPE_CHECKING:
    from mlx_chatterbox.weights.checkpoint import Checkpoint

    from .measures import Distance, Material, ModelOutputs

# A layer belongs to the first group with a pattern that matches it.
GROUPS: dict[str, tuple[str, ...]] = {
    "T3 attention": ("t3.tfmr.*attn*",),
    "T3 feed-forward": ("t3.tfmr.*mlp*",),
    "T3 speech head": ("t3.speech_head",),
    "T3 embeddings": ("t3.*emb*",),
    "T3 conditioning": ("t3.cond_enc*",),
    "flow encoder": ("s3gen.flow.encoder*", "s3gen.flow.input_embedding"),
    "flow decoder": ("s3gen.flow.decoder*",),
    "flow projections": ("s3gen.flow.*",),
    "F0 predictor": ("s3gen.mel2wav.f0_predictor*",),
    "vocoder": ("s3gen.mel2wav*",),
}


@dataclass(frozen=True)
class Damage:
    """The error that one group causes in one precision, all else being float32.

    Attributes:
        bytes: of the group in this precision.
        half: bytes of the group in float16, for comparison.
        word_errors: word error rate of the model's speech; None: not measured.
    """

    group: str
    precision: str
    bytes: int
    half: int
    distance: Distance
    word_errors: float | None = None


def measure(
    checkpoint: Checkpoint,
    material: Material,
    bits: Sequence[int] = (8, 6, 4, 3),
    group_size: int = 64,
    dtypes: Sequence[str] = ("float16", "bfloat16"),
    groups: Sequence[str] | None = None,
) -> Iterator[Damage]:
    """Measure the groups one after the other; the weights are restored afterwards.

    Args:
        checkpoint: in float32, nothing quantised.
        bits, dtypes: the precisions to measure.
        group_size: numbers that share a scale.
        groups: names in `GROUPS` to measure; None: all.
    """
    from .measures import compute_outputs, distance

    generation = checkpoint.config.generation
    reference = compute_outputs(checkpoint.networks, material, generation)
    for group, members in _members(checkpoint.networks).items():
        if not members or (groups is not None and group not in groups):
            continue
        for precision in (*dtypes, *(f"{n} bits" for n in bits)):
            changed, size, is_rounded = _damaged(members, precision, group_size)
            if not is_rounded:
                continue
            _put(checkpoint.networks, changed)
            try:
                other = compute_outputs(checkpoint.networks, material, generation, reference.source)
            finally:
                _put(checkpoint.networks, members)
            half = 2 * sum(value.size for value in members.values())
            yield Damage(group, precision, size, half, distance(reference, other))


@contextmanager
def rounded_by(checkpoint: Checkpoint, recipe) -> Iterator[None]:
    """Round the weights by a recipe within the block, and keep them in float32.

    The results are those of a folder converted by the recipe. On a CPU, where MLX has no fast
    quantised products, they take a fraction of the time.
    """
    from mlx.utils import tree_flatten

    from mlx_chatterbox.weights.quantization import precision_of

    config = dataclasses.replace(
        checkpoint.config, dtype=recipe.dtype, quantization=recipe.quantization
    )
    weights = dict(tree_flatten(checkpoint.networks.parameters()))
    changed = {
        key: _rounded(value, precision_of(config, key, value.shape))
        for key, value in weights.items()
    }
    _put(checkpoint.networks, changed)
    try:
        yield
    finally:
        _put(checkpoint.networks, weights)


def measure_recipe(
    checkpoint: Checkpoint, material: Material, recipe, reference: ModelOutputs | None = None
) -> Distance:
    """Measure the error that a whole recipe causes.

    Args:
        reference: outputs of the unchanged checkpoint; computed if None.
    """
    from .measures import compute_outputs, distance

    generation = checkpoint.config.generation
    reference = reference or compute_outputs(checkpoint.networks, material, generation)
    with rounded_by(checkpoint, recipe):
        other = compute_outputs(checkpoint.networks, material, generation, reference.source)
    return distance(reference, other)


def _members(networks) -> dict[str, dict]:
    """Sort the floating-point weights into groups: by group, then by key."""
    from fnmatch import fnmatchcase

    import mlx.core as mx
    from mlx.utils import tree_flatten

    members: dict[str, dict] = {group: {} for group in GROUPS}
    for key, value in tree_flatten(networks.parameters()):
        layer = key.rpartition(".")[0]
        for group, patterns in GROUPS.items():
            if any(fnmatchcase(layer, pattern) for pattern in patterns):
                if mx.issubdtype(value.dtype, mx.floating):
                    members[group][key] = value
                break
    return members


def _damaged(members: dict, precision: str, group_size: int) -> tuple[dict, int, bool]:
    """Round a group's weights.

    Returns:
        The weights by key, their bytes in this precision, and whether any of them is rounded.
    """
    from math import prod

    from mlx_chatterbox.models.config import ModelConfig, QuantizationConfig
    from mlx_chatterbox.weights.quantization import precision_of, stored_shapes

    config = ModelConfig(dtype=precision if " " not in precision else "float16")
    if " " in precision:
        rule = {"layers": "*", "bits": int(precision.split()[0]), "group_size": group_size}
        config.quantization = QuantizationConfig(rules=[rule])
    changed, size, is_rounded = {}, 0, False
    for key, value in members.items():
        target = precision_of(config, key, value.shape)
        stored = stored_shapes(key, value.shape, target)
        size += sum(prod(shape) * kind.size for shape, kind in stored.values())
        # Tensors that stay floating-point are not rounded: only the bits are to have an effect.
        if target.bits or " " not in precision:
            changed[key], is_rounded = _rounded(value, target), True
        else:
            changed[key] = value
    return changed, size, is_rounded


def _rounded(value, precision):
    """Round a tensor to a precision, and return it in its own type."""
    import mlx.core as mx

    if not mx.issubdtype(value.dtype, mx.floating):
        return value
    if not precision.bits:
        return value.astype(getattr(mx, precision.dtype)).astype(value.dtype)
    from mlx_chatterbox.weights.quantization import quantized

    codes, scales, offsets = quantized("weight", value, precision).values()
    kind = mx.float32
    return mx.dequantize(
        codes, scales.astype(kind), offsets.astype(kind), precision.group_size, precision.bits
    )


def _put(networks, weights: dict) -> None:
    import mlx.core as mx
    from mlx.utils import tree_unflatten

    mx.eval(list(weights.values()))
    networks.update(tree_unflatten(list(weights.items())))


# --- Command line ---------------------------------------------------------------------------------

EXAMPLES = f"""\
examples:
  {MODULE}.damage pocket
  {MODULE}.damage chatterbox --bits 6 4 --group "T3 attention" --group "T3 feed-forward"
  {MODULE}.damage chatterbox-folder --recipes --json damage.json"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=f"{MODULE}.damage",
        description="Measures the error that each precision causes in each group of layers: KL "
        "divergence of T3's next token (nats), mel and spectrum (dB), waveform (relative RMS), "
        "and the size of the group.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("model", metavar="MODEL", help="folder, known name or OWNER/NAME")
    result.add_argument(
        "--bits", type=whole(), nargs="+", default=[8, 6, 4, 3], choices=(3, 4, 6, 8), metavar="N"
    )
    result.add_argument("--group-size", type=whole(), default=64, choices=(32, 64, 128))
    result.add_argument(
        "--group", action="append", choices=tuple(GROUPS), help="measure only this one (repeatable)"
    )
    result.add_argument(
        "--recipes", action="store_true", help="measure whole models: recipes, and uniform bits"
    )
    result.add_argument(
        "--word-errors",
        action="store_true",
        help="with --recipes: also measure the word error rate (needs pocketsphinx)",
    )
    result.add_argument(
        "--positions",
        type=whole(1, MAX_POSITIONS),
        default=500,
        help="number of T3's predictions to compare (default: %(default)s)",
    )
    result.add_argument("--seed", type=seed, default=0)
    result.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the figures to a file"
    )
    add_verbose(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run_program(parser(), argv, _work, name="")


def _work(arguments: argparse.Namespace) -> int:
    if arguments.word_errors and not arguments.recipes:
        parser().error("--word-errors needs --recipes.")
    if arguments.group and arguments.recipes:
        parser().error("--group measures layers, --recipes whole models: leave one out.")
    from mlx_chatterbox.errors import ChatterboxError
    from mlx_chatterbox.runtime.apart import check_apart
    from mlx_chatterbox.weights.model_files import model_files

    if arguments.json is not None:
        if arguments.json.is_dir() or not arguments.json.parent.is_dir():
            raise ChatterboxError(f"--json {arguments.json}: name a file in a folder that exists.")
        check_apart([(f"--json {arguments.json}", arguments.json)], model_files(arguments.model))
    rows = _run(arguments)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


_HEADINGS = ("group", "precision", "MB", "of float16", "KL", "worst", "guided", "same", "mel dB",
             "waveform", "spectrum dB")  # fmt: skip


def _run(arguments: argparse.Namespace) -> list[dict]:
    from mlx_chatterbox.weights.checkpoint import load

    from .measures import prepare

    checkpoint = load(arguments.model, dtype="float32")
    from mlx_chatterbox.weights.quantization import quantized_layers

    if quantized_layers(checkpoint.networks):
        from mlx_chatterbox.errors import CheckpointError

        raise CheckpointError(
            f"{arguments.model} is quantised already: give the model that it was made from."
        )
    material = prepare(checkpoint, positions=arguments.positions, seed=arguments.seed)
    print(f"{material.positions} positions, {len(material.spoken)} speech tokens")
    print(" | ".join(_HEADINGS))
    measured = []
    for item in _rows(checkpoint, material, arguments):
        d, share = item.distance, item.bytes / item.half
        figures = (f"{item.bytes / 1e6:.2f}", f"{share:.0%}", f"{d.kl:.2e}", f"{d.kl_worst:.2e}",
                   f"{d.kl_guided:.2e}", f"{d.agreement:.1%}", f"{d.mel:.3f}", f"{d.waveform:.2e}",
                   f"{d.spectrum:.3f}")  # fmt: skip
        if item.word_errors is not None:
            figures += (f"{item.word_errors:.1%}",)
        print(" | ".join((item.group, item.precision, *figures)), flush=True)
        measured.append(dataclasses.asdict(item))
    return measured


def _rows(checkpoint, material, arguments) -> Iterator[Damage]:
    if not arguments.recipes:
        yield from measure(
            checkpoint, material, arguments.bits, arguments.group_size, groups=arguments.group
        )
        return
    from mlx_chatterbox.weights.conversion.recipes import RECIPES, plain, uniform

    from .measures import TEXTS, compute_outputs
    from .verification import open_recogniser, word_error_rate

    listen = open_recogniser() if arguments.word_errors else None
    reference = compute_outputs(checkpoint.networks, material, checkpoint.config.generation)
    half = weight_bytes(checkpoint, plain("float16"))
    uniforms = [uniform(bits, arguments.group_size) for bits in arguments.bits]
    for recipe in (plain("float16"), plain("bfloat16"), *uniforms, *RECIPES.values()):
        error = measure_recipe(checkpoint, material, recipe, reference)
        with rounded_by(checkpoint, recipe):
            word_errors = word_error_rate(checkpoint, TEXTS, material.voice, listen)
        size = weight_bytes(checkpoint, recipe)
        yield Damage("all", recipe.name, size, half, error, word_errors)


def weight_bytes(checkpoint: Checkpoint, recipe) -> int:
    """Compute from shapes the bytes that a model's weights take under a recipe."""
    from math import prod

    import mlx.core as mx
    from mlx.utils import tree_flatten

    from mlx_chatterbox.weights.quantization import precision_of, stored_shapes

    config = dataclasses.replace(
        checkpoint.config, dtype=recipe.dtype, quantization=recipe.quantization
    )
    size = 0
    for key, value in tree_flatten(checkpoint.networks.parameters()):
        if not mx.issubdtype(value.dtype, mx.floating):
            size += value.nbytes
            continue
        stored = stored_shapes(key, value.shape, precision_of(config, key, value.shape))
        size += sum(prod(shape) * kind.size for shape, kind in stored.values())
    return size


if __name__ == "__main__":
    sys.exit(main())
