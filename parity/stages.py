"""The table of parity stages: inputs in a dump, outputs, and the bound within which they agree.

A stage reads its inputs from the dump and never from another stage's result, so that errors do
not add up. No array library is imported here: every backend and the comparison share this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from .errors import ParityError

RELATIVE_RMS = "relative rms"
MAX_ABS = "max abs"
EQUAL = "unequal entries"
UNEQUAL_SHARE = "share unequal"

FLOAT32_BOUND = 1e-4
SCORE_BOUND = 1e-3
PROBABILITY_BOUND = 1e-6
# Logits over a temperature of 0.2 or 0.3, as ChatTTS's usually are, have as much less precision.
COLD_PROBABILITY_BOUND = 1e-5
# From a recording's file to marked samples, through everything.
PIPELINE_BOUND = 1e-3
# Upstream adds F0 up sample by sample in float32, and the ninth harmonic's phase nine times over.
SOURCE_BOUND = 1e-3


PIPELINE = "pipeline"
# Of the second family (`stages.CHATTTS_STAGES`); a variant beside those of Chatterbox.
CHATTTS = "chattts"
FLASH = "flash"


@dataclass(frozen=True)
class StageOutput:
    """One tensor of a stage. `measure` says which error is held against `bound`.

    Attributes:
        mask: an input, (B, T); where it is 0 nothing is compared, as at padding.
    """

    name: str
    shape: str
    dtype: str = "float32"
    measure: str = RELATIVE_RMS
    bound: float = FLOAT32_BOUND
    mask: str = ""


@dataclass(frozen=True)
class Stage:
    """A step that can be computed on its own. It runs when all of `inputs` are in the dump.

    A `*` in names stands for a case, of which a dump may hold any number (`expanded`).

    Attributes:
        case: what the `*` stands for; empty in the table and for stages without one.
        pattern: the name in the table.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[StageOutput, ...]
    optional_inputs: tuple[str, ...] = ()
    case: str = ""
    pattern: str = ""

    @property
    def key(self) -> str:
        """Name in the table, by which backends have their functions."""
        return self.pattern or self.name

    def of_case(self, case: str) -> Stage:
        """The stage with a case in the place of each `*`."""

        def put(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name.replace("*", case) for name in names)

        outputs = tuple(
            replace(one, name=one.name.replace("*", case), mask=one.mask.replace("*", case))
            for one in self.outputs
        )
        name = self.name.replace("*", case)
        optional = put(self.optional_inputs)
        return Stage(name, put(self.inputs), outputs, optional, case, self.name)

    def cases(self, names: Iterable[str]) -> list[str]:
        """List the cases that inputs or outputs of these names are of, in their order."""
        own = [*self.inputs, *self.optional_inputs, *(one.name for one in self.outputs)]
        ways = [re.escape(name).replace(r"\*", "([^/]+)") for name in own if "*" in name]
        matches = (re.fullmatch("|".join(ways), name) for name in names)
        found = (next(filter(None, match.groups())) for match in matches if match)
        return list(dict.fromkeys(found))


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
        optional_inputs=("pipeline/language", "pipeline/uniform"),
    ),
)


def _states(name: str) -> StageOutput:
    """States of each position of padded rows."""
    return StageOutput(name, "(B, T, C)", mask="gpt/*/attention_mask")


# ChatTTS: the stages of its own reference, under the names that this has.
CHATTTS_STAGES: tuple[Stage, ...] = (
    # Prompts of text, and of text and codes; cases whose name begins with "code" have the speaker.
    Stage(
        "gpt_*",
        inputs=("gpt/*/input_ids", "gpt/*/attention_mask", "gpt/*/text_mask"),
        outputs=(
            _tokens("gpt/*/position_ids", "(B, T)"),
            StageOutput("gpt/*/embeds", "(B, T, C)"),
            _states("gpt/*/layer_1"),
            _states("gpt/*/layer_10"),
            _states("gpt/*/hidden"),
            StageOutput("gpt/*/logits_last", "(B, 1, V)"),
            StageOutput("gpt/*/logits_tail", "(B, T - start + 1, V, codebooks)"),
        ),
        optional_inputs=("gpt/*/start", "speaker/vector"),
    ),
    # In float16 on both sides, with the same roundings.
    Stage(
        "speaker_vector",
        inputs=("speaker/vector",),
        outputs=(
            StageOutput("speaker/normalised", "(C,)", dtype="float16", measure=EQUAL, bound=0.0),
        ),
    ),
    Stage(
        "hidden_decoder",
        inputs=("decoder/hidden",),
        outputs=(StageOutput("decoder/mel", "(B, 100, 2n)"),),
    ),
    Stage(
        "dvae_decoder",
        inputs=("dvae/ids",),
        outputs=(
            StageOutput("dvae/features", "(B, 1024, n)"),
            StageOutput("dvae/mel", "(B, 100, 2n)"),
        ),
    ),
    Stage(
        "dvae_encoder",
        inputs=("dvae/waveform",),
        outputs=(
            StageOutput("dvae/mel_of_waveform", "(100, F)"),
            _tokens("dvae/encoded_ids", "(4, F/2)"),
        ),
    ),
    Stage(
        "vocos",
        inputs=("vocos/mel",),
        outputs=(StageOutput("vocos/waveform", "(B, 256*(F-1))"),),
    ),
    # Greedy: the rows of a case together, each up to its own end. Limit and penalty in `notes`.
    Stage(
        "generate_*",
        inputs=("generate/*/input_ids", "generate/*/attention_mask", "notes"),
        outputs=(
            _tokens("generate/*/ids_0", "(n,), of codes (n, codebooks)"),
            _tokens("generate/*/ids_1", "(n,), of codes (n, codebooks)"),
            StageOutput("generate/*/hidden_0", "(n, C)"),
            StageOutput("generate/*/hidden_1", "(n, C)"),
        ),
        optional_inputs=("speaker/vector",),
    ),
    # Settings by case in `notes`, JSON in UTF-8.
    Stage(
        "chattts_sampler_*",
        inputs=("sampler/*/logits", "sampler/*/history", "notes"),
        outputs=(
            StageOutput(
                "sampler/*/probabilities", "(R, V)", measure=MAX_ABS, bound=COLD_PROBABILITY_BOUND
            ),
        ),
    ),
)

_FLASH_SENTENCE = (
    "flash/speaker_emb",
    "flash/cond_prompt_tokens",
    "flash/emotion",
    "flash/text_tokens",
)

# What Flash has instead of the stages `t3` and `t3_greedy`; [with text, without]. `t3/cond_emb` is
# computed with them.
FLASH_STAGES: tuple[Stage, ...] = (
    Stage(
        "flash",
        inputs=(
            *_FLASH_SENTENCE,
            "flash/block0_tokens",
            "flash/block0_final_tokens",
            "flash/block1_tokens",
        ),
        outputs=(
            StageOutput("flash/prior", "(V,)"),
            StageOutput("flash/prior_32", "(V,)"),
            StageOutput("flash/prefix_shift", "(2, dim)"),
            StageOutput("flash/block0_hidden", "(2, D, dim)"),
            StageOutput("flash/block0_logits", "(2, D, V)"),
            StageOutput("flash/block0_pmi_cond", "(D,)"),
            StageOutput("flash/block0_pmi_uncond", "(D,)"),
            StageOutput("flash/block0_pmi", "(D,)"),
            StageOutput("flash/block1_shift", "(2, dim)"),
            StageOutput("flash/block1_logits", "(2, D, V)"),
        ),
    ),
    # Each step from the recorded tokens before it.
    Stage(
        "flash_steps",
        inputs=(*_FLASH_SENTENCE, "flash/greedy/before", "flash/greedy/steps"),
        outputs=(
            _tokens("flash/greedy/candidates", "(S, D)"),
            StageOutput("flash/greedy/pmi", "(S, D)"),
            _tokens("flash/greedy/after", "(S, D)"),
        ),
    ),
    # Runs from the beginning; of what is recorded only the blocks' lengths are used.
    Stage(
        "flash_greedy",
        inputs=(*_FLASH_SENTENCE, "flash/greedy/before", "flash/greedy/steps"),
        outputs=(_tokens("flash/greedy/tokens", "(m,)"),),
    ),
    Stage(
        "flash_noise",
        inputs=(
            *_FLASH_SENTENCE,
            "flash/noise/before",
            "flash/noise/steps",
            "flash/noise/position_uniform",
        ),
        outputs=(
            _tokens("flash/noise/tokens", "(m,)"),
            _tokens("flash/noise/after", "(S, D)"),
        ),
    ),
)
# Of the likeliest tokens.
_FLASH_SCORES = frozenset(
    (
        *(f"flash/block0_pmi{row}" for row in ("", "_cond", "_uncond")),
        "flash/greedy/pmi",
    )
)
ALL_STAGES = (*STAGES, *CHATTTS_STAGES, *FLASH_STAGES)

FLASH_CFG_SCALE = 1.0
FLASH_TIME_SHIFT = 0.1
FLASH_SCHEDULE_SHIFT = 0.5
# Size of the prior beside that of the dump's blocks.
FLASH_LARGE_BLOCK = 32

GREEDY_CFG_WEIGHT = 0.5
GREEDY_REPETITION_PENALTY = 1.2


def stages_of(variant: str | None) -> tuple[Stage, ...]:
    """The table of a variant's family; of all families for None."""
    if variant is None:
        return ALL_STAGES
    if variant == CHATTTS:
        return CHATTTS_STAGES
    return (*STAGES, *FLASH_STAGES) if variant == FLASH else STAGES


def expanded(names: Iterable[str], table: Iterable[Stage] = ALL_STAGES) -> tuple[Stage, ...]:
    """The stages of a table, those with a `*` once for each case among `names`."""
    names = list(names)
    result: list[Stage] = []
    for stage in table:
        cases = stage.cases(names) if "*" in stage.name else []
        result += map(stage.of_case, cases) if "*" in stage.name else [stage]
    return tuple(result)


def is_of_float32(stage: Stage, output: StageOutput) -> bool:
    """True for what one different token would change as a whole: compared in float32 alone."""
    is_of_tokens = stage.key == "generate_*" and output.measure != EQUAL
    return stage.name == PIPELINE or is_of_tokens or output.name in _FLASH_SCORES


def computable(names: Iterable[str], table: Iterable[Stage] = ALL_STAGES) -> tuple[Stage, ...]:
    """The stages whose inputs are all among `names`, in the order of the table."""
    present = set(names)
    return tuple(stage for stage in expanded(names, table) if present.issuperset(stage.inputs))


def input_names(variant: str = "english") -> tuple[str, ...]:
    """Every input name of a variant's table, once, in order."""
    names = [
        name for stage in stages_of(variant) for name in (*stage.inputs, *stage.optional_inputs)
    ]
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
        functions: by the stages' names in the table; one of a stage with cases takes the case too.
        only: names of stages, or those in the table; the others are left out.
        recorder: `taps.recording.Recorder` to record each stage with.
        as_array: makes an array of NumPy's of an output, for the recorder.

    Raises:
        ParityError: inputs do not fit together or the model; names the stage.
    """
    outputs: dict = {}
    wanted = None if only is None else set(only)
    for stage in computable(inputs):
        # Not every backend has every stage: networks alone cannot generate.
        if stage.key not in functions:
            continue
        if wanted is not None and wanted.isdisjoint({stage.name, stage.key}):
            continue
        arguments = (networks, inputs, stage.case) if stage.case else (networks, inputs)
        try:
            if recorder is None:
                outputs.update(functions[stage.key](*arguments))
                continue
            with recorder.stage(stage.name) as tap:
                results = functions[stage.key](*arguments)
                tap.outputs = {name: as_array(value) for name, value in results.items()}
            outputs.update(results)
        except (ValueError, IndexError, TypeError) as error:
            raise ParityError(f"stage {stage.name}: {error}") from error
    return outputs
