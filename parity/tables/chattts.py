"""Stages of ChatTTS."""

from __future__ import annotations

from .stage import COLD_PROBABILITY_BOUND, EQUAL, MAX_ABS, Stage, StageOutput, tokens


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
            tokens("gpt/*/position_ids", "(B, T)"),
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
            tokens("dvae/encoded_ids", "(4, F/2)"),
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
            tokens("generate/*/ids_0", "(n,), of codes (n, codebooks)"),
            tokens("generate/*/ids_1", "(n,), of codes (n, codebooks)"),
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
