"""Values for a fabricated checkpoint: any tensor of upstream's files, from its name and shape.

Every tensor has a generator of its own, seeded by the run's seed and the name, so that one tensor
does not depend on which others exist. The scales keep activations of order one through the depth
of each network, so that a fault anywhere stays visible at the end and nothing saturates; no
statistic that could hide one (unit variances, zero biases, equal alphas) is left at its neutral
value.
"""

from __future__ import annotations

import math
import re
import zlib

import numpy as np

# Gains on top of normal/sqrt(fan-in), first match wins. Branches that add to a residual stream
# are damped, and so is what ends in an exponential or a rounding; what follows a ReLU or a gate
# is raised by what those take away.
GAINS: tuple[tuple[str, float], ...] = (
    # Voice encoder: the power mel that comes in is mostly far below one
    (r"^lstm\.weight_ih_l0$", 6.0),
    (r"^lstm\.weight_ih_", 3.0),
    # T3
    (r"^tfmr\..*\.(o_proj|down_proj|c_proj)\.weight", 0.5),
    # Far enough from zero that GPT-2's two approximations of GELU differ
    (r"^tfmr\..*\.c_fc\.weight", 2.0),
    (r"^speech_head\.weight", 2.0),
    # S3 tokenizer
    (r"^tokenizer\.encoder\..*\.(attn\.out|mlp\.2)\.weight", 0.5),
    (r"^tokenizer\.encoder\..*\.fsmn_block\.weight", 0.5),
    (r"^tokenizer\.quantizer\..*\.project_down\.weight", 0.35),
    # S3Gen's token encoder and estimator; the speaker embedding comes in with unit length
    (r"^flow\.spk_embed_affine_layer\.weight", 10.0),
    (r"^flow\.encoder\..*\.(self_attn\.linear_out|feed_forward\.w_2)\.weight", 0.5),
    (r"^flow\.decoder\.estimator\..*\.(attn1\.to_out\.0|ff\.net\.2)\.weight", 0.4),
    (r"^flow\.decoder\.estimator\..*\.res_conv\.weight", 0.8),
    # Speaker encoder: features have an rms of five; the gates must not saturate
    (r"^speaker_encoder\.head\.conv1\.weight", 0.2),
    (r"^speaker_encoder\.head\.layer.*\.(conv2|shortcut\.0)\.weight", 0.7),
    (r"^speaker_encoder\..*\.linear_local\.weight", 2.0),
    (r"^speaker_encoder\..*\.weight", math.sqrt(2.0)),
    # Vocoder: a log mel has an rms of about four, the source of a tenth
    (r"^mel2wav\.(conv_pre|f0_predictor\.condnet\.0)\.weight", 0.4),
    (r"^mel2wav\.source_downs\.", 6.0),
    (r"^mel2wav\.(source_)?resblocks\..*\.convs2\.", 0.35),
    (r"^mel2wav\.conv_post\.", 0.6),
    (r"^mel2wav\.f0_predictor\.classifier\.weight", 110.0),
)

F0_CENTRE_HZ = 180.0

_FIXED = {"similarity_weight": 10.0, "similarity_bias": -5.0}
_EMBEDDINGS = re.compile(r"(^|\.)(text_emb|speech_emb|input_embedding|embed_tokens|wte)\.weight$")
_POSITIONS = re.compile(r"(_pos_emb\.emb|^tfmr\.wpe)\.weight$")
_TRANSPOSED = re.compile(r"^mel2wav\.ups\.\d+\.weight$")
# Hugging Face's GPT-2 stores its linear layers as (in, out).
_INPUTS_FIRST = re.compile(r"^tfmr\.h\.\d+\.(attn|mlp)\.c_[a-z]+\.weight$")
_MAGNITUDE = re.compile(r"\.(parametrizations\.weight\.original0|weight_g)$")
_DIRECTION = re.compile(r"\.(parametrizations\.weight\.original1|weight_v)$")


def tensor(key: str, shape: tuple[int, ...], seed: int, direction_shape=None) -> np.ndarray:
    """The value of upstream's tensor `key`.

    Both spellings of weight norm get the same values.

    Args:
        key: name in upstream's file.
        shape: its shape.
        seed: of the whole checkpoint.
        direction_shape: for a weight-norm magnitude, the shape of the direction beside it.

    Returns:
        float32, or int64 for a batch-norm counter.
    """
    if _MAGNITUDE.search(key):
        return _magnitude(_MAGNITUDE.sub(".weight", key), shape, seed, direction_shape)
    key = _DIRECTION.sub(".weight", key)
    rng = _generator(key, seed)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.array(rng.integers(1, 1000), dtype=np.int64).reshape(shape)
    return _floats(key, last, shape, rng).astype(np.float32, copy=False)


def _floats(key: str, last: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if key in _FIXED:
        return np.full(shape, _FIXED[key])
    if last in ("running_var", "alpha"):
        return rng.uniform(0.5, 1.5, shape)
    if last == "running_mean":
        return 0.1 * rng.standard_normal(shape)
    if key.endswith("f0_predictor.classifier.bias"):
        return np.full(shape, F0_CENTRE_HZ)
    if last.startswith("bias"):
        return 0.05 * rng.standard_normal(shape)
    if last in ("pos_bias_u", "pos_bias_v", "pre_attention_query"):
        return 0.3 * rng.standard_normal(shape)
    if _POSITIONS.search(key):
        return 0.05 * rng.standard_normal(shape, dtype=np.float32)
    if _EMBEDDINGS.search(key):
        return rng.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        return 1.0 + 0.1 * rng.standard_normal(shape)
    return _matrix(key, shape, rng)


def _matrix(key: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= np.float32(_gain(key) / math.sqrt(_fan_in(key, shape)))
    return values


def _fan_in(key: str, shape: tuple[int, ...]) -> int:
    if _TRANSPOSED.match(key):
        # (I, O, K) with a stride of about half the kernel: two taps reach every output.
        return 2 * shape[0]
    if _INPUTS_FIRST.match(key):
        return shape[0]
    return math.prod(shape[1:])


def _gain(key: str) -> float:
    for pattern, gain in GAINS:
        if re.search(pattern, key):
            return gain
    return 1.0


def _magnitude(key: str, shape: tuple[int, ...], seed: int, direction_shape) -> np.ndarray:
    """The direction's own norm, over all dimensions but the first, times 0.8 to 1.2."""
    direction = tensor(key, direction_shape, seed).reshape(direction_shape[0], -1)
    norms = np.linalg.norm(direction, axis=1).reshape(shape)
    factors = _generator(key + ".magnitude", seed).uniform(0.8, 1.2, shape)
    return (norms * factors).astype(np.float32)


def _generator(key: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(key.encode())])
