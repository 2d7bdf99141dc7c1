"""Stages of Chatterbox's variants; `parity/stages.py` has all tables."""

from __future__ import annotations

from .stage import (
    MAX_ABS,
    PIPELINE,
    PIPELINE_BOUND,
    PROBABILITY_BOUND,
    SCORE_BOUND,
    SOURCE_BOUND,
    Stage,
    StageOutput,
    tokens,
)

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
            tokens("s3_tokenizer/tokens", "(n,)"),
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
        outputs=(tokens("t3/greedy_tokens", "(k,)"),),
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
            tokens("pipeline/tokens", "(m,)"),
            StageOutput("pipeline/waveform", "(n,)", bound=PIPELINE_BOUND),
        ),
        optional_inputs=("pipeline/language", "pipeline/uniform"),
    ),
)
