"""`--verify`: a converted model held against its source in float32, stage by stage and as a whole.

The source is converted once more, to float32, beside the output, and removed. One of the two models
is in memory at a time; of the first only what it computed is kept.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)
from mlx_chatterbox._version import __version__
from mlx_chatterbox.checks.json_file import read_json
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import GenerationConfig, ModelConfig
from mlx_chatterbox.parity.compare import relative_rms
from mlx_chatterbox.parity.inputs.make import Sizes, make_inputs
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.runtime.own_files import write_whole
from mlx_chatterbox.voices.voice import Voice
from mlx_chatterbox.weights.checkpoint import Checkpoint, load_converted
from mlx_chatterbox.weights.conversion.bounds import BOUNDS, Bounds, precision_name
from mlx_chatterbox.weights.hub import weight_files
from mlx_chatterbox.weights.manifest import sha256

from .measures import (
    POSITIONS,
    SPOKEN_TOKENS,
    TEXTS,
    Distance,
    Material,
    ModelOutputs,
    compute_outputs,
    distance,
    prepare,
)

FILE_NAME = "verification.json"

# Results of the parity stages that weights take part in; the others are signal processing.
OUTPUTS = (
    "voice_encoder/embedding",
    "s3_encoder/codes",
    "speaker_encoder/embedding",
    "t3/cond_emb",
    "t3/logits",
    "flow/mu",
    "flow/speaker",
    "flow/mel",
    "estimator/out",
    "vocoder/f0",
    "vocoder/waveform",
)
TOKENS = "s3_tokenizer/tokens"
# Nothing is verified without these, each with its bound.
WHOLE = ("next token", "mel", "waveform", "spectrum")
REQUIRED = (*OUTPUTS, TOKENS, *WHOLE)
SAID = "word error rate"
# Inputs that only stages without weights read, and greedy decoding, where one flip changes all.
_UNUSED = ("audio/ref_24k", "sampler", "t3/greedy_steps")


@dataclass(frozen=True)
class Measurement:
    """One measured figure. `bound` None: it is told, not judged."""

    name: str
    measure: str
    value: float
    bound: float | None

    @property
    def holds(self) -> bool:
        """NaN holds no bound."""
        return self.bound is None or self.value <= self.bound


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        precision: the row of `BOUNDS` that was asked for.
        positions: distributions of T3 that were compared.
        weights: SHA-256 of each weight file, which say what was verified.
    """

    precision: str
    rows: tuple[Measurement, ...]
    positions: int
    spoken: int
    weights: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.missing and all(row.holds for row in self.rows)

    @property
    def missing(self) -> tuple[str, ...]:
        """What ought to have been measured and judged, and was not."""
        judged = {row.name for row in self.rows if row.bound is not None}
        return tuple(name for name in REQUIRED if name not in judged)

    @property
    def heard(self) -> bool:
        """Whether word errors were counted."""
        return any(row.name == SAID for row in self.rows)

    @property
    def failures(self) -> tuple[Measurement, ...]:
        return tuple(row for row in self.rows if not row.holds)

    def save(self, folder: Path) -> Path:
        """Write it beside the weights, whole or not at all."""
        path = folder / FILE_NAME
        rows = [
            {
                **dataclasses.asdict(row),
                # JSON has no infinity.
                "value": row.value if np.isfinite(row.value) else None,
                "holds": row.holds,
            }
            for row in self.rows
        ]
        document = {**dataclasses.asdict(self), "holds": self.holds, "rows": rows}
        write_whole(path, json.dumps(document, indent=2) + "\n", clean=True)
        return path

    @classmethod
    def load(cls, folder: Path) -> Verification | None:
        """What stands beside the weights, or None.

        Raises:
            CheckpointError: it cannot be read, or is of other weights, to the bit.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            document = read_json(path)
            rows = tuple(
                Measurement(
                    row["name"],
                    row["measure"],
                    float("inf") if row["value"] is None else float(row["value"]),
                    row["bound"],
                )
                for row in document["rows"]
            )
            found = cls(rows=rows, **{key: document[key] for key in _SAVED})
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from None
        if found.weights != weight_hashes(folder):
            raise CheckpointError(f"{path} is of other weights than those beside it.")
        return found


_SAVED = ("precision", "positions", "spoken", "weights", "versions")


def weight_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files with tensors."""
    return {path.name: sha256(path) for path in weight_files(folder)}


def verify(reference: Path, converted: Path, **settings) -> Verification:
    """Hold a converted folder against the same model in float32.

    Args:
        reference: converted folder in float32, nothing quantised.
        settings: of `ReferenceResults.of`.

    Raises:
        CheckpointError: a folder does not load, or the reference is not float32.
        MissingRecogniser: word errors are wanted and pocketsphinx is not there.
    """
    return ReferenceResults.of(reference, **settings).hold(converted)


@dataclass(frozen=True)
class ReferenceResults:
    """What the source in float32 computes and says; any number of models can be held against it.

    Attributes:
        inputs, stages: of parity's stages, and their results.
        outputs: of the model from the material.
        words: sentences that are said and written down by `listen`; () leaves that out.
        word_errors: the reference's own.
    """

    generation: GenerationConfig
    inputs: Mapping[str, np.ndarray]
    stages: Mapping[str, np.ndarray]
    material: Material
    outputs: ModelOutputs
    words: Sequence[str]
    listen: Callable[[np.ndarray], str] | None
    word_errors: float | None

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        texts: Sequence[str] = TEXTS,
        positions: int = POSITIONS,
        spoken: int = SPOKEN_TOKENS,
        word_errors: Sequence[str] = (),
        sizes: Sizes | None = None,
        seed: int = 0,
    ) -> ReferenceResults:
        """Let a folder in float32 compute; its networks are let go of.

        Args:
            texts: that T3 is compared on.
            positions, spoken: how many of T3's distributions and of S3Gen's tokens.
            word_errors: sentences to say for the word error rate.
            sizes: of the parity stages' inputs.

        Raises:
            as `verify`.
        """
        config = ModelConfig.load(folder)
        if config.dtype != "float32" or config.quantization.rules:
            raise CheckpointError(f"{folder} is not float32: nothing is verified against it.")
        listen = open_recogniser() if word_errors else None  # missing, it is missed at once
        made = make_inputs(config, seed, sizes=sizes or Sizes(audio_seconds=4.0))
        inputs = {name: value for name, value in made.items() if not name.startswith(_UNUSED)}
        checkpoint = load_converted(folder)
        material = prepare(checkpoint, texts, positions, spoken, seed)
        return cls(
            generation=config.generation,
            inputs=inputs,
            stages=compute_with(checkpoint.networks, inputs),
            material=material,
            outputs=compute_outputs(checkpoint.networks, material, config.generation),
            words=word_errors,
            listen=listen,
            word_errors=word_error_rate(checkpoint, word_errors, material.voice, listen),
        )

    def hold(self, folder: Path) -> Verification:
        """Hold a converted folder against it.

        Raises:
            CheckpointError: it does not load.
        """
        gc.collect()  # one model in memory at a time
        name = precision_name(ModelConfig.load(folder))
        bounds, checkpoint = BOUNDS[name], load_converted(folder)
        networks, voice = checkpoint.networks, self.material.voice
        found = compute_outputs(networks, self.material, self.generation, self.outputs.source)
        said = word_error_rate(checkpoint, self.words, voice, self.listen)
        rows = (
            *_stage_rows(self.stages, compute_with(networks, self.inputs), bounds),
            *_whole_rows(distance(self.outputs, found), bounds),
            *_word_rows(self.word_errors, said, bounds),
        )
        versions = {"mlx-chatterbox": __version__, "mlx": _mlx_version()}
        spoken = len(self.material.spoken)
        return Verification(
            name, rows, self.material.positions, spoken, weight_hashes(folder), versions
        )


def _stage_rows(expected: Mapping, found: Mapping, bounds: Bounds) -> list[Measurement]:
    for name in (*OUTPUTS, TOKENS):
        if name not in expected or name not in found:
            raise CheckpointError(f"nothing computed {name}, which belongs to a verification.")
    rows = []
    for name in OUTPUTS:
        error = relative_rms(_plain(expected[name]), _plain(found[name]))
        rows.append(Measurement(name, "relative RMS", _number(error), bounds.stage))
    share = float(np.mean(expected[TOKENS] != found[TOKENS]))
    return [*rows, Measurement(TOKENS, "share unequal", share, bounds.tokens)]


def _whole_rows(found: Distance, bounds: Bounds) -> list[Measurement]:
    return [
        Measurement("next token", "KL, nats", found.kl, bounds.kl),
        Measurement("next token, guided", "KL, nats", found.kl_guided, None),
        Measurement("next token, worst", "KL, nats", found.kl_worst, None),
        Measurement("likeliest token", "share unequal", 1.0 - found.agreement, None),
        Measurement("mel", "mean difference, dB", found.mel, bounds.mel),
        Measurement("waveform", "relative RMS", found.waveform, bounds.waveform),
        Measurement("spectrum", "mean difference, dB", found.spectrum, bounds.spectrum),
    ]


def _word_rows(expected: float | None, found: float | None, bounds: Bounds) -> list[Measurement]:
    if expected is None or found is None:
        return []
    return [
        Measurement("word error rate, source", "share of words", expected, None),
        Measurement(SAID, "share of words", found, expected + bounds.word_errors),
    ]


def open_recogniser() -> Callable[[np.ndarray], str]:
    from mlx_chatterbox.train.pocket.judging import Recogniser

    return Recogniser()


def word_error_rate(
    checkpoint: Checkpoint, texts: Sequence[str], voice: Voice, listen: Callable | None
) -> float | None:
    """What a recogniser mishears of the texts, as the model says them."""
    if listen is None:
        return None
    from mlx_chatterbox.api.tts import CLASSES
    from mlx_chatterbox.train.pocket.judging import score

    kind = checkpoint.config.text.tokenizer
    tts = CLASSES[kind](checkpoint)
    language = {"language_id": "en"} if kind == "multilingual" else {}

    def speak(text: str) -> np.ndarray:
        return tts.generate(text, voice=voice, seed=1, watermark=False, guard=False, **language)

    return score(texts, speak, listen).rate


def _mlx_version() -> str:
    import mlx.core as mx

    return mx.__version__


def _plain(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def _number(error: float) -> float:
    return error if np.isfinite(error) else float("inf")


# --- Tables ---------------------------------------------------------------------------------------


def _cells(verification: Verification) -> list[tuple[str, ...]]:
    return [
        (
            row.name,
            row.measure,
            _figure(row),
            "-" if row.bound is None else f"{row.bound:.3g}",
            "FAILS" if not row.holds else "" if row.bound is None else "ok",
        )
        for row in verification.rows
    ]


def _figure(row: Measurement) -> str:
    return f"{row.value:.1%}" if row.measure.startswith("share") else f"{row.value:.3g}"


_HEADINGS = ("what", "measure", "found", "bound", "result")


def as_text(verification: Verification) -> str:
    """A table for a terminal, and the verdict."""
    table = [_HEADINGS, *_cells(verification)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([*lines, verdict(verification)])


def as_markdown(verification: Verification) -> str:
    """A table for the model card."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *_cells(verification)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(verification: Verification) -> str:
    """In one sentence."""
    failed, name = verification.failures, verification.precision
    said = []
    if failed:
        said.append(f"past the bounds of {name}: {', '.join(row.name for row in failed)}.")
    if verification.missing:
        said.append(f"not measured: {', '.join(verification.missing)}.")
    if said:
        return f"VERIFICATION FAILS: {' '.join(said)}"
    return f"Verified: within the bounds of {name}."
