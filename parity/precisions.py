"""Precisions beside float32, and the bounds of the stages in each.

The reference stays upstream's float32. What has no weights (features, resampling, samplers) is held
to float32's bounds in every precision; the networks to those of `weights.conversion.bounds`,
several times what conversion does to trained models, so that they catch what is wrong and not what
is rounded.
"""

from __future__ import annotations

import re
from dataclasses import replace

from .errors import ParityError
from .tables.stage import EQUAL, RELATIVE_RMS, UNEQUAL_SHARE, StageOutput

PRECISIONS = ("float32", "float16", "bfloat16", "8bit", "4bit")

# Outputs computed without the model's weights; the watermark's own are always float32.
_WITHOUT_WEIGHTS = frozenset(
    {
        *("voice_encoder/trimmed", "voice_encoder/mel", "s3_tokenizer/log_mel"),
        *("speaker_encoder/fbank", "s3gen/ref_mel", "resample/ref_16k", "resample/sinc_16k"),
        *("sampler/probs", "sampler_turbo/probs", "watermark/marked", "watermark/answer"),
        # The DVAE's filters are its own, and rounded with the others.
        "speaker/normalised",
    }
)
# In float16 on both sides, whatever the precision.
_HALF = frozenset({"speaker/normalised"})
_CASES_WITHOUT_WEIGHTS = re.compile(r"gpt/[^/]+/position_ids|sampler/[^/]+/probabilities")
# Greedy decoding diverges after one token that differs, so the share is reported, not bounded.
_REPORTED = frozenset({"t3/greedy_tokens"})
_REPORTED_CASES = re.compile(
    r"generate/[^/]+/ids_\d+|flash/(greedy|noise)/(tokens|candidates|after)"
)


# Outputs of ChatTTS begin with these.
_CHATTTS = frozenset({"gpt", "decoder", "dvae", "vocos", "generate"})


def with_bound(output: StageOutput, precision: str) -> StageOutput:
    """An output of the table with its measure and bound in a precision.

    Raises:
        ParityError: there is no such precision.
    """
    # Not at the top: `reproduce.py` compares where PyTorch is installed and this library is not.
    from mlx_chatterbox.weights.conversion.bounds import BOUNDS, CHATTTS_BOUNDS

    if precision not in PRECISIONS:
        raise ParityError(f"{precision!r} is not a precision; choose from {', '.join(PRECISIONS)}.")
    is_exact = output.name in _WITHOUT_WEIGHTS or _CASES_WITHOUT_WEIGHTS.fullmatch(output.name)
    if precision == "float32" or is_exact:
        return output
    is_chattts = output.name.partition("/")[0] in _CHATTTS
    bounds = (CHATTTS_BOUNDS if is_chattts else BOUNDS)[precision]
    if output.name in _REPORTED or _REPORTED_CASES.fullmatch(output.name):
        return replace(output, measure=UNEQUAL_SHARE, bound=1.0)
    if output.measure == EQUAL:
        return replace(output, measure=UNEQUAL_SHARE, bound=bounds.tokens)
    if output.measure == RELATIVE_RMS:
        return replace(output, bound=max(output.bound, bounds.stage))
    return output


def as_float32(outputs: dict) -> dict:
    """A dump with its floating-point arrays in float32, where the reference's are."""
    return {
        name: value.astype("float32") if value.dtype.kind == "f" and name not in _HALF else value
        for name, value in outputs.items()
    }
