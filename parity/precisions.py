"""Precisions beside float32, and the bounds of the stages in each.

The reference stays upstream's float32. What has no weights (features, resampling, samplers) is held
to float32's bounds in every precision; the networks to those of `weights.conversion.bounds`,
several times what conversion does to trained models, so that they catch what is wrong and not what
is rounded.
"""

from __future__ import annotations

from dataclasses import replace

from .errors import ParityError
from .stages import EQUAL, RELATIVE_RMS, UNEQUAL_SHARE, StageOutput

PRECISIONS = ("float32", "float16", "bfloat16", "8bit", "4bit")

# Outputs computed without the model's weights; the watermark's own are always float32.
_WITHOUT_WEIGHTS = frozenset(
    {
        *("voice_encoder/trimmed", "voice_encoder/mel", "s3_tokenizer/log_mel"),
        *("speaker_encoder/fbank", "s3gen/ref_mel", "resample/ref_16k", "resample/sinc_16k"),
        *("sampler/probs", "sampler_turbo/probs", "watermark/marked", "watermark/answer"),
    }
)
# Greedy decoding diverges after one token that differs, so the share is reported, not bounded.
_REPORTED = frozenset({"t3/greedy_tokens"})


def with_bound(output: StageOutput, precision: str) -> StageOutput:
    """An output of the table with its measure and bound in a precision.

    Raises:
        ParityError: there is no such precision.
    """
    # Not at the top: `reproduce.py` compares where PyTorch is installed and this library is not.
    from mlx_chatterbox.weights.conversion.bounds import BOUNDS

    if precision not in PRECISIONS:
        raise ParityError(f"{precision!r} is not a precision; choose from {', '.join(PRECISIONS)}.")
    if precision == "float32" or output.name in _WITHOUT_WEIGHTS:
        return output
    bounds = BOUNDS[precision]
    if output.name in _REPORTED:
        return replace(output, measure=UNEQUAL_SHARE, bound=1.0)
    if output.measure == EQUAL:
        return replace(output, measure=UNEQUAL_SHARE, bound=bounds.tokens)
    if output.measure == RELATIVE_RMS:
        return replace(output, bound=max(output.bound, bounds.stage))
    return output


def as_float32(outputs: dict) -> dict:
    """A dump with its floating-point arrays in float32, as the reference's are."""
    return {
        name: value.astype("float32") if value.dtype.kind == "f" else value
        for name, value in outputs.items()
    }
