"""`--verify`: compare a converted model with its source in float32, stage by stage and as a whole.

The source is also converted to float32, beside the output, and removed afterwards. Only one of the
two models is in memory at a time: of the first, only the results are kept.
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
from mlx_chatterbox.models.config import CHATTTS_TYPE, MODEL_TYPE, GenerationConfig, ModelConfig
from mlx_chatterbox.parity.compare import relative_rms
from mlx_chatterbox.parity.inputs.make import Sizes, make_inputs
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.runtime.own_files import write_whole
from mlx_chatterbox.voices.voice import Voice
from mlx_chatterbox.weights.checkpoint import Checkpoint, load_converted
from mlx_chatterbox.weights.conversion.bounds import BOUNDS, Bounds, precision_name
from mlx_chatterbox.weights.hub import family_of, weight_files
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

# Results of the parity stages that use weights; the others are signal processing.
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
# A verification must have all of these, each with its bound.
WHOLE = ("next token", "mel", "waveform", "spectrum")
REQUIRED = (*OUTPUTS, TOKENS, *WHOLE)
# A T3 that writes blocks does not predict the token after a given one, and has a prior.
BLOCK_OUTPUTS = (
    *(name for name in OUTPUTS if name != "t3/logits"),
    *("flash/prefix_shift", "flash/block0_logits", "flash/block1_logits"),
)
PRIOR = "prior of a block"
BLOCKS_REQUIRED = (*BLOCK_OUTPUTS, TOKENS, *WHOLE, PRIOR)
CHATTTS_REQUIRED = (
    *("gpt/code/hidden", "decoder/mel", "dvae/mel", "vocos/waveform", "dvae/encoded_ids"),
    *("next text token", "next code", "mel", "spectrum"),
)
WORD_ERRORS = "word error rate"
# Inputs of stages without weights, and of greedy decoding, where one other token changes all later.
_UNUSED = ("audio/ref_24k", "sampler", "t3/greedy_steps", "flash/greedy", "flash/noise")


@dataclass(frozen=True)
class Measurement:
    """One measured figure. `bound` None: it is reported, not judged."""

    name: str
    measure: str
    value: float
    bound: float | None

    @property
    def holds(self) -> bool:
        """Tell whether the figure is within its bound; NaN is not."""
        return self.bound is None or self.value <= self.bound


@dataclass(frozen=True)
class Verification:
    """The result of a verification, as `verification.json` holds it.

    Attributes:
        precision: the row of `BOUNDS` that applies.
        positions: number of T3's distributions that were compared.
        spoken: number of speech tokens that S3Gen synthesised.
        weights: SHA-256 of each weight file, which identify the verified model.
        versions: of the software that computed it.
        family: model type of the verified model.
        writes_blocks: whether its T3 does.
    """

    precision: str
    rows: tuple[Measurement, ...]
    positions: int
    spoken: int
    weights: Mapping[str, str]
    versions: Mapping[str, str] = field(default_factory=dict)
    family: str = MODEL_TYPE
    writes_blocks: bool = False

    @property
    def holds(self) -> bool:
        return not self.missing and all(row.holds for row in self.rows)

    @property
    def missing(self) -> tuple[str, ...]:
        """List the required figures that were not measured, or have no bound."""
        judged = {row.name for row in self.rows if row.bound is not None}
        required = BLOCKS_REQUIRED if self.writes_blocks else REQUIRED
        if self.family == CHATTTS_TYPE:
            required = CHATTTS_REQUIRED
        return tuple(name for name in required if name not in judged)

    @property
    def has_word_errors(self) -> bool:
        """Tell whether word errors were counted."""
        return any(row.name == WORD_ERRORS for row in self.rows)

    @property
    def failures(self) -> tuple[Measurement, ...]:
        return tuple(row for row in self.rows if not row.holds)

    def save(self, folder: Path) -> Path:
        """Write it into the checkpoint's folder, whole or not at all."""
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
        """Read the verification of a checkpoint's folder; None if there is none.

        Raises:
            CheckpointError: it cannot be read, or the weights have changed since.
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
            # Older ones do not state these.
            newer = {"family": MODEL_TYPE, "writes_blocks": False}
            values = {**newer, **document}
            result = cls(rows=rows, **{key: values[key] for key in (*_SAVED, *newer)})
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from None
        if result.weights != weight_hashes(folder):
            raise CheckpointError(f"{path} verifies other weights than those in {folder}.")
        if result.family != family_of(folder):
            raise CheckpointError(f"{path} verifies another kind of model than {folder} holds.")
        return result


_SAVED = ("precision", "positions", "spoken", "weights", "versions")


def weight_hashes(folder: Path) -> dict[str, str]:
    """Hash each file with tensors: SHA-256 by file name."""
    return {path.name: sha256(path) for path in weight_files(folder)}


def verify(reference: Path, converted: Path, **settings) -> Verification:
    """Compare a converted folder with the same model in float32.

    Args:
        reference: converted folder in float32, nothing quantised.
        settings: of `ReferenceResults.of`.

    Raises:
        CheckpointError: a folder does not load, or the reference is not float32.
        MissingRecogniser: word errors are wanted and pocketsphinx is not installed.
    """
    return ReferenceResults.of(reference, **settings).compare(converted)


@dataclass(frozen=True)
class ReferenceResults:
    """The results of the source in float32, with which any number of models can be compared.

    Attributes:
        inputs, stages: inputs of parity's stages, and their results.
        outputs: for the material.
        words: sentences to speak for the word error rate; () measures none.
        listen: transcribes speech, (n,) float32 at 24 kHz; None without `words`.
        word_errors: word error rate of the reference itself.
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
        """Compute the results of a folder in float32; its networks do not stay in memory.

        Args:
            texts: for T3's distributions.
            positions, spoken: numbers of T3's distributions and of S3Gen's tokens to compare.
            word_errors: sentences to speak for the word error rate.
            sizes: of the parity stages' inputs.
            seed: of everything random.

        Raises:
            CheckpointError, MissingRecogniser: see `verify`.
        """
        config = ModelConfig.load(folder)
        if config.dtype != "float32" or config.quantization.rules:
            raise CheckpointError(f"{folder} is not float32, so it cannot be the reference.")
        listen = open_recogniser() if word_errors else None  # fails before anything is computed
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

    def compare(self, folder: Path) -> Verification:
        """Compare a converted folder with these results.

        Raises:
            CheckpointError: it does not load.
        """
        gc.collect()  # one model in memory at a time
        name = precision_name(ModelConfig.load(folder))
        bounds, checkpoint = BOUNDS[name], load_converted(folder)
        networks, voice = checkpoint.networks, self.material.voice
        outputs = compute_outputs(networks, self.material, self.generation, self.outputs.source)
        word_errors = word_error_rate(checkpoint, self.words, voice, self.listen)
        writes_blocks = self.material.block_size is not None
        rows = (
            *_stage_rows(
                BLOCK_OUTPUTS if writes_blocks else OUTPUTS,
                self.stages,
                compute_with(networks, self.inputs),
                bounds,
            ),
            *_whole_rows(distance(self.outputs, outputs), bounds),
            *_word_rows(self.word_errors, word_errors, bounds),
        )
        return Verification(
            name,
            rows,
            self.material.positions,
            len(self.material.spoken),
            weight_hashes(folder),
            software(),
            writes_blocks=writes_blocks,
        )


def _stage_rows(
    outputs: Sequence[str], reference: Mapping, converted: Mapping, bounds: Bounds
) -> list[Measurement]:
    for name in (*outputs, TOKENS):
        if name not in reference or name not in converted:
            raise CheckpointError(f"{name} was not computed, which a verification needs.")
    rows = []
    for name in outputs:
        error = relative_rms(_plain(reference[name]), _plain(converted[name]))
        rows.append(Measurement(name, "relative RMS", _number(error), bounds.stage))
    share = float(np.mean(reference[TOKENS] != converted[TOKENS]))
    return [*rows, Measurement(TOKENS, "share unequal", share, bounds.tokens)]


def _whole_rows(error: Distance, bounds: Bounds) -> list[Measurement]:
    prior = [] if error.prior is None else [Measurement(PRIOR, "KL, nats", error.prior, bounds.kl)]
    return [
        Measurement("next token", "KL, nats", error.kl, bounds.kl),
        Measurement("next token, guided", "KL, nats", error.kl_guided, None),
        Measurement("next token, worst", "KL, nats", error.kl_worst, None),
        Measurement("likeliest token", "share unequal", 1.0 - error.agreement, None),
        *prior,
        Measurement("mel", "mean difference, dB", error.mel, bounds.mel),
        Measurement("waveform", "relative RMS", error.waveform, bounds.waveform),
        Measurement("spectrum", "mean difference, dB", error.spectrum, bounds.spectrum),
    ]


def _word_rows(
    reference: float | None, converted: float | None, bounds: Bounds
) -> list[Measurement]:
    if reference is None or converted is None:
        return []
    return [
        Measurement("word error rate, source", "share of words", reference, None),
        Measurement(WORD_ERRORS, "share of words", converted, reference + bounds.word_errors),
    ]


def open_recogniser() -> Callable[[np.ndarray], str]:
    from mlx_chatterbox.recognition.recogniser import Recogniser

    return Recogniser()


def word_error_rate(
    checkpoint: Checkpoint, texts: Sequence[str], voice: Voice, listen: Callable | None
) -> float | None:
    """Have the model speak the texts, and count the words that a recogniser gets wrong.

    Args:
        listen: transcribes speech, (n,) float32 at 24 kHz; None measures nothing.

    Returns:
        Wrong words a word of the texts; None without `listen`.
    """
    if listen is None:
        return None
    from mlx_chatterbox.api.tts import CLASSES
    from mlx_chatterbox.recognition.word_errors import count_word_errors

    kind = checkpoint.config.text.tokenizer
    tts = CLASSES[checkpoint.config.kind](checkpoint)
    language = {"language_id": "en"} if kind == "multilingual" else {}

    def speak(text: str) -> np.ndarray:
        return tts.generate(text, voice=voice, seed=1, watermark=False, guard=False, **language)

    return count_word_errors(texts, speak, listen).rate


def software() -> dict[str, str]:
    """List the versions of the software that verifies."""
    import mlx.core as mx

    return {"mlx-chatterbox": __version__, "mlx": mx.__version__}


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


_HEADINGS = ("name", "measure", "value", "bound", "result")


def as_text(verification: Verification) -> str:
    """Format a table for a terminal, and the verdict."""
    table = [_HEADINGS, *_cells(verification)]
    widths = [max(len(line[i]) for line in table) for i in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([*lines, verdict(verification)])


def as_markdown(verification: Verification) -> str:
    """Format a table for the model card."""
    lines = [_HEADINGS, tuple("---" for _ in _HEADINGS), *_cells(verification)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(verification: Verification) -> str:
    """State the result in one sentence, with what is out of bounds and what is missing."""
    failed, name = verification.failures, verification.precision
    problems = []
    if failed:
        problems.append(f"out of bounds for {name}: {', '.join(row.name for row in failed)}.")
    if verification.missing:
        problems.append(f"not measured: {', '.join(verification.missing)}.")
    if problems:
        return f"VERIFICATION FAILS: {' '.join(problems)}"
    return f"Verified: within the bounds of {name}."
