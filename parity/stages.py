"""The table of parity stages: inputs in a dump, outputs, and the bound within which they agree.

A stage reads its inputs from the dump and never from another stage's result, so that errors do
not add up. No array library is imported here: every backend and the comparison share this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .errors import ParityError

RELATIVE_RMS = "relative rms"
MAX_ABS = "max abs"
EQUAL = "unequal entries"
UNEQUAL_SHARE = "share unequal"

FLOAT32_BOUND = 1e-4
SCORE_BOUND = 1e-3
PROBABILITY_BOUND = 1e-6
# From a recording's file to marked samples, through everything.
PIPELINE_BOUND = 1e-3
# Upstream adds F0 up sample by sample in float32, and the ninth harmonic's phase nine times over.
SOURCE_BOUND = 1e-3


PIPELINE = "pipeline"


@dataclass(frozen=True)
class StageOutput:
    """One tensor of a stage. `measure` says which error is held against `bound`."""

    name: str
    shape: str
    dtype: str = "float32"
    measure: str = RELATIVE_RMS
    bound: float = FLOAT32_BOUND


@dataclass(frozen=True)
class Stage:
    """A step that can be computed on its own. It runs when all of `inputs` are in the dump."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[StageOutput, ...]
    optional_inputs: tuple[str, ...] = ()


def _tokens(name: str, shape: str) -> StageOutput:
    return StageOutput(name, shape, dtype="int32", measure=EQUAL, bound=0.0)


STAGES: tuple[Stage, ...] = (
    Stage(
        "voice_encoder",
        inputs=("audio/ref_16k",),
        outputs=(
            StageOutput("voice_encoder/trimmed", "(n,)"),
            StageOutput("voice_encoder/mel", "(T, 40)"),
            StageOutput("voice_encoder/embedding", "(1, 256)"),
        ),
    ),
    Stage(
        "s3_tokenizer",
        inputs=("audio/ref_16k",),
        outputs=(
            StageOutput("s3_tokenizer/log_mel", "(128, T)"),
            _tokens("s3_tokenizer/tokens", "(n,)"),
        ),
    ),
    # Rounding hides most of what goes wrong before it: the numbers that become digits, too.
    Stage(
        "s3_encoder",
        inputs=("s3_encoder/log_mel",),
        outputs=(StageOutput("s3_encoder/codes", "(T/4, 8)"),),
    ),
    Stage(
        "speaker_encoder",
        inputs=("audio/ref_16k",),
        outputs=(
            StageOutput("speaker_encoder/fbank", "(T, 80)"),
            StageOutput("speaker_encoder/embedding", "(1, 192)"),
        ),
    ),
    Stage(
        "ref_mel",
        inputs=("audio/ref_24k",),
        outputs=(StageOutput("s3gen/ref_mel", "(T, 80)"),),
    ),
    Stage(
        "resample",
        inputs=("audio/ref_24k",),
        outputs=(StageOutput("resample/ref_16k", "(n,)"),),
    ),
    Stage(
        "sinc_resample",
        inputs=("audio/ref_24k",),
        outputs=(StageOutput("resample/sinc_16k", "(n,)"),),
    ),
    Stage(
        "t3",
        inputs=(
            "voice_encoder/embedding",
            "t3/cond_prompt_tokens",
            "t3/emotion",
            "t3/text_tokens",
            "t3/speech_tokens",
        ),
        outputs=(
            StageOutput("t3/cond_emb", "(C, dim)"),
            StageOutput("t3/logits", "(2, S+1, V), GPT-2 (S+1, V)"),
        ),
    ),
    Stage(
        "t3_greedy",
        inputs=(
            "voice_encoder/embedding",
            "t3/cond_prompt_tokens",
            "t3/emotion",
            "t3/text_tokens",
            "t3/greedy_steps",
        ),
        outputs=(_tokens("t3/greedy_tokens", "(k,)"),),
    ),
    Stage(
        "sampler",
        inputs=("sampler/logits", "sampler/history", "sampler/settings"),
        outputs=(StageOutput("sampler/probs", "(N, V)", measure=MAX_ABS, bound=PROBABILITY_BOUND),),
    ),
    # Turbo's and Nano's order: temperature, top-k, top-p, and the repetition penalty last.
    Stage(
        "sampler_turbo",
        inputs=("sampler_turbo/logits", "sampler_turbo/history", "sampler_turbo/settings"),
        outputs=(
            StageOutput("sampler_turbo/probs", "(N, V)", measure=MAX_ABS, bound=PROBABILITY_BOUND),
        ),
    ),
    Stage(
        "flow",
        inputs=(
            "flow/prompt_token",
            "flow/prompt_feat",
            "speaker_encoder/embedding",
            "flow/speech_tokens",
            "flow/noise",
            "flow/n_timesteps",
        ),
        outputs=(
            StageOutput("flow/mu", "(2n+2m, 80)"),
            StageOutput("flow/speaker", "(1, 80)"),
            StageOutput("flow/mel", "(2m, 80)"),
        ),
    ),
    Stage(
        "estimator",
        inputs=(
            "estimator/x",
            "estimator/mu",
            "estimator/cond",
            "estimator/spks",
            "estimator/t",
        ),
        outputs=(StageOutput("estimator/out", "(B, 80, T)"),),
        optional_inputs=("estimator/r",),
    ),
    # The vocoder's excitation, with fixed randomness.
    Stage(
        "source",
        inputs=("source/f0", "source/phases", "source/noise"),
        outputs=(StageOutput("source/excitation", "(480*T,)", bound=SOURCE_BOUND),),
    ),
    Stage(
        "vocoder",
        inputs=("vocoder/mel", "vocoder/source"),
        outputs=(
            StageOutput("vocoder/f0", "(T,)"),
            StageOutput("vocoder/waveform", "(480*T,)"),
        ),
    ),
    # With the published weights in every model. Upstream's detector clips its answer to
    # 0 to 1; the one compared is from before that, or it would mostly be 0 or 1.
    Stage(
        "watermark",
        inputs=("audio/ref_24k",),
        outputs=(
            StageOutput("watermark/marked", "(n,)"),
            StageOutput("watermark/answer", "(1,)", measure=MAX_ABS, bound=SCORE_BOUND),
        ),
    ),
    # `generate`, as a user calls it, with fixed randomness; text and language are
    # code points. In float32 only, since one different token would change the whole waveform.
    Stage(
        PIPELINE,
        inputs=(
            "pipeline/ref_24k",
            "pipeline/text",
            "pipeline/seed",
            "pipeline/gumbel",
            "pipeline/noise",
            "pipeline/source",
        ),
        outputs=(
            _tokens("pipeline/tokens", "(m,)"),
            StageOutput("pipeline/waveform", "(n,)", bound=PIPELINE_BOUND),
        ),
        optional_inputs=("pipeline/language",),
    ),
)

GREEDY_CFG_WEIGHT = 0.5
GREEDY_REPETITION_PENALTY = 1.2


def computable(names: Iterable[str]) -> tuple[Stage, ...]:
    """The stages whose inputs are all among `names`, in the order of the table."""
    present = set(names)
    return tuple(stage for stage in STAGES if present.issuperset(stage.inputs))


def input_names() -> tuple[str, ...]:
    """Every input name of the table, once, in order."""
    names = [name for stage in STAGES for name in (*stage.inputs, *stage.optional_inputs)]
    return tuple(dict.fromkeys(names))


def compute_each(
    functions: Mapping[str, Callable],
    networks,
    inputs: Mapping,
    only: Iterable[str] | None = None,
    recorder=None,
    as_array: Callable | None = None,
) -> dict:
    """Call every computable stage's function with (networks, inputs) and gather the outputs.

    Args:
        only: names of stages; the others are left out.
        recorder: `taps.recording.Recorder` to record each stage with.
        as_array: makes an array of NumPy's of an output, for the recorder.

    Raises:
        ParityError: inputs do not fit together or the model; names the stage.
    """
    outputs: dict = {}
    for stage in computable(inputs):
        # Not every backend has every stage: networks alone cannot generate.
        if stage.name not in functions or (only is not None and stage.name not in only):
            continue
        try:
            if recorder is None:
                outputs.update(functions[stage.name](networks, inputs))
                continue
            with recorder.stage(stage.name) as tap:
                results = functions[stage.name](networks, inputs)
                tap.outputs = {name: as_array(value) for name, value in results.items()}
            outputs.update(results)
        except (ValueError, IndexError, TypeError) as error:
            raise ParityError(f"stage {stage.name}: {error}") from error
    return outputs
