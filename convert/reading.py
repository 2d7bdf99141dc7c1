"""`python -m convert.reading MODEL [WAV ...]`: the error of precisions in reading recordings.

The speech tokenizer, the voice encoder and the speaker encoder are needed only to make a voice from
a recording, or to convert one to another voice. Each is converted to each precision alone, then the
whole model by each recipe; every result is saved, loaded, and compared with the model in float32.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_chatterbox.commands.cli import add_verbose
from mlx_chatterbox.runtime.number_options import whole
from mlx_chatterbox.runtime.program import run_program
from mlx_chatterbox.weights.conversion.components import READING
from mlx_chatterbox.weights.conversion.recipes import RECIPES, Recipe, plain, uniform

from . import MODULE

if TYPE_CHECKING:
    import numpy as np

RATE = 24000


@dataclass(frozen=True)
class RecordingFeatures:
    """A model's results for recordings, a list item for each.

    Attributes:
        tokens: (n,) int32 of the speech tokenizer.
        voices, speakers: (width,) float64 embeddings of the voice and the speaker encoder.
    """

    tokens: list[np.ndarray]
    voices: list[np.ndarray]
    speakers: list[np.ndarray]


@dataclass(frozen=True)
class ReadingChange:
    """The effect of a precision on reading recordings.

    Attributes:
        part: the network that is in this precision, or "all".
        precision: of the part, or the recipe's name.
        bytes: of the part's tensors, or of all.
        equal: share of the recordings' tokens that are the same as in float32.
        voice, speaker: the smallest cosine of an embedding with the one in float32.
    """

    part: str
    precision: str
    bytes: int
    equal: float
    voice: float
    speaker: float


def read(folder: Path, recordings: Sequence[np.ndarray]) -> RecordingFeatures:
    """Run the networks of a converted folder on recordings, (n,) float32 at 24 kHz each."""
    import numpy as np

    from mlx_chatterbox.audio.resample import resample_soxr
    from mlx_chatterbox.voices.voice import ENCODER_RATE, embed_reference
    from mlx_chatterbox.weights.checkpoint import load_converted

    networks = load_converted(folder).networks
    tokens, voices, speakers = [], [], []
    for recording in recordings:
        reference = embed_reference(networks, recording)
        at_16k = resample_soxr(recording, RATE, ENCODER_RATE)
        tokens.append(np.array(reference.prompt_token[0]))
        speakers.append(_plain(reference.embedding))
        voices.append(_plain(networks.ve.embed(at_16k)))
    return RecordingFeatures(tokens, voices, speakers)


def _plain(embedding) -> np.ndarray:
    import mlx.core as mx
    import numpy as np

    return np.array(embedding.astype(mx.float32)).reshape(-1).astype(np.float64)


def measure(
    source: str | Path, recordings: Sequence[np.ndarray], bits: Sequence[int] = (8, 6, 4, 3)
) -> Iterator[ReadingChange]:
    """Convert each part, then the whole model, to each precision, and measure the effect.

    Args:
        source: a folder, as for `convert`.
        recordings: (n,) float32 at 24 kHz each, at most 10 s.
    """
    from mlx_chatterbox.weights.conversion.core import convert

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"

        def read_with(recipe: Recipe) -> tuple[RecordingFeatures, dict[str, int], int]:
            made = convert(
                source, folder, dtype=recipe.dtype, quantization=recipe.quantization, force=True
            )
            sizes = {name: sum(kinds.values()) for name, kinds in made.components.items()}
            return read(made.folder, recordings), sizes, made.size

        # Layers that are quantised in the source are dequantised.
        reference, *_ = read_with(Recipe("source", "", "float32", _nothing()))
        for part, layers in READING.items():
            for name, rule in _precisions(bits):
                recipe = Recipe(name, "", "float32", ({"layers": layers, **rule},))
                features, sizes, _ = read_with(recipe)
                yield _change(part, name, sizes[part], reference, features)
        for recipe in (plain("float16"), plain("bfloat16"), *map(uniform, bits), *_recipes()):
            features, _, size = read_with(recipe)
            yield _change("all", recipe.name, size, reference, features)


def _nothing() -> tuple[dict, ...]:
    return ({"layers": "*", "dtype": "float32"},)


def _recipes() -> list[Recipe]:
    return [recipe for recipe in RECIPES.values() if recipe.rules]


def _precisions(bits: Sequence[int]) -> Iterator[tuple[str, dict]]:
    for dtype in ("float32", "float16", "bfloat16"):
        yield dtype, {"dtype": dtype}
    for count in bits:
        yield f"{count} bits", {"bits": count, "group_size": 64, "dtype": "float16"}


def _change(
    part: str, name: str, size: int, reference: RecordingFeatures, other: RecordingFeatures
) -> ReadingChange:
    import numpy as np

    same = [a == b for a, b in zip(reference.tokens, other.tokens, strict=True)]
    return ReadingChange(
        part,
        name,
        size,
        float(np.mean(np.concatenate(same))),
        _least_cosine(reference.voices, other.voices),
        _least_cosine(reference.speakers, other.speakers),
    )


def _least_cosine(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    import numpy as np

    return min(
        float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
        for a, b in zip(first, second, strict=True)
    )


# --- Command line ---------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog=f"{MODULE}.reading",
        description="Measures the effect of each precision on the networks that read recordings: "
        "the share of equal tokens, the least cosine of the embeddings, and the size.",
    )
    result.add_argument("model", metavar="MODEL", help="folder, or pocket")
    result.add_argument(
        "recordings",
        metavar="WAV",
        nargs="*",
        help="recordings to read (default: a synthetic voice)",
    )
    result.add_argument(
        "--bits", type=whole(), nargs="+", default=[8, 6, 4, 3], choices=(3, 4, 6, 8), metavar="N"
    )
    add_verbose(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run_program(parser(), argv, _work, name="")


def _work(arguments: argparse.Namespace) -> None:
    from mlx_chatterbox.weights.hub import refuse_chattts, resolve

    refuse_chattts(arguments.model)
    recordings = [piece for path in arguments.recordings for piece in _pieces(path)]
    print("part | precision | MB | equal tokens | voice cosine | speaker cosine")
    for row in measure(resolve(arguments.model), recordings or _made_up(), arguments.bits):
        figures = (f"{row.bytes / 1e6:.2f}", f"{row.equal:.1%}", f"{row.voice:.5f}",
                   f"{row.speaker:.5f}")  # fmt: skip
        print(" | ".join((row.part, row.precision, *figures)), flush=True)


def _pieces(path: str) -> list[np.ndarray]:
    """Cut a recording into pieces of 10 s, as much as is read of a reference.

    A last piece of less than 1 s is left out.
    """
    from mlx_chatterbox.audio.files import load_audio

    samples = load_audio(path, RATE)
    pieces = [samples[at : at + 10 * RATE] for at in range(0, len(samples), 10 * RATE)]
    return [piece for piece in pieces if len(piece) >= RATE] or [samples]


def _made_up() -> list[np.ndarray]:
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    return [synthetic_voice(10.0, seed) for seed in range(4)]


if __name__ == "__main__":
    sys.exit(main())
