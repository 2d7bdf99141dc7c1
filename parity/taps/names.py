"""Differences between the two sides' layers in name, layout or cut, as data.

Names are ours, the keys of `model.safetensors`; upstream's follow from the converter's rules. Our
arrays have channels last; PyTorch's convolutions have them second. No array library but NumPy.
"""

from __future__ import annotations

import re

# Calls of a layer that are kept in a stage by default: the steps of the flow and of
# decoding repeat the same layers; two show what a step does, and what it leaves to the next.
CALLS = 2
# As many more in these: what comes before the blocks, with text and without, and the priors.
MORE_CALLS = {"flash": 5, "flash_steps": 5}

# Stages that have taps. The watermark's network has weights of its own, in no checkpoint.
TAPPED_STAGES = (
    *("voice_encoder", "s3_tokenizer", "s3_encoder", "speaker_encoder", "ref_mel", "resample"),
    *("sinc_resample", "t3", "t3_greedy", "flash", "flash_steps", "sampler", "sampler_turbo"),
    *("flow", "estimator", "source", "vocoder"),
)
CHATTTS_TAPPED_STAGES = (
    *("gpt_*", "speaker_vector", "hidden_decoder", "dvae_decoder", "dvae_encoder", "vocos"),
    *("generate_*", "chattts_sampler_*"),
)

# --- Names ------------------------------------------------------------------------------------

# Upstream's module that a file of weights belongs to.
NETWORK_OF_FILE = {"voice_encoder_file": "voice_encoder", "t3_file": "t3", "s3gen_file": "s3gen"}

# Names that the converter's rules do not give.
# The GPT-2 backbone and the Llama have their names from Hugging Face; the three that compute
# positions are modules there and functions here.
EXTRA_NAMES: tuple[tuple[str, str, str], ...] = (
    ("voice_encoder", "", "ve"),
    ("s3gen", "tokenizer", "audio.mel.s3_tokenizer_log_mel"),
    ("t3", "tfmr.rotary_emb", "t3.tfmr.model.rotary_emb"),
    ("s3gen", "flow.encoder.embed.pos_enc", "s3gen.flow.encoder.embed.pos_enc"),
    ("s3gen", "flow.encoder.up_embed.pos_enc", "s3gen.flow.encoder.up_embed.pos_enc"),
    (
        "s3gen",
        "flow.decoder.estimator.time_embeddings",
        "s3gen.flow.decoder.estimator.time_embeddings",
    ),
)

# Calls that the two sides make differently often, and whose inner parts are recorded anyway.
NOT_TAPPED = re.compile(r"t3\.(text|speech)_pos_emb$|s3gen$|s3_tokenizer$|s3_tokenizer\.quantizer$")


# --- Layout, by the name of upstream's class ---------------------------------------------------

_CONVOLUTIONS = {"Conv1d", "Conv2d", "ConvTranspose1d", "CausalConv1d"}
_BOTH_WAYS = {
    *("Snake", "ResBlock", "HiFTGenerator", "BatchNorm1d", "BatchNorm2d"),
    *("CausalBlock1D", "CausalResnetBlock1D", "ConditionalDecoder", "CausalConditionalCFM"),
    *("BasicResBlock", "FCM", "TDNNLayer", "CAMLayer", "CAMDenseTDNNLayer", "TransitLayer"),
    # Numbered ones are all batch norm and ReLU.
    "Sequential",
    "Upsample1D",
}
CHANNELS_SECOND_IN = _CONVOLUTIONS | _BOTH_WAYS | {"AudioEncoderV2", "ConvRNNF0Predictor"}
CHANNELS_SECOND_OUT = _CONVOLUTIONS | _BOTH_WAYS

# Inputs that both sides name, where it is not the first alone: the class, and for each name that
# is recorded the parameter.
INPUTS_OURS: dict[str, dict[str, str]] = {
    "GPT": {"x": "ids", "is_text": "is_text", "speaker": "speaker"},
    "ConditionalDecoder": {"x": "x", "mu": "mu", "time": "time", "spks": "spks", "cond": "cond"},
    "CausalResnetBlock1D": {"x": "x", "time": "time"},
    "ConditionalFlowMatching": {
        "mu": "mu",
        "spks": "spks",
        "cond": "cond",
        # Not arguments of upstream's; needed to call the layer again.
        "noise": "noise",
        "n_timesteps": "n_timesteps",
    },
    "RelativeAttention": {"x": "x", "positions": "positions"},
    "ConformerLayer": {"x": "x", "positions": "positions"},
    "AttentionBlock": {"x": "x", "context": "context"},
    "T3CondEnc": {"speaker": "speaker", "prompt": "prompt", "emotion": "emotion"},
    "HiFTGenerator": {"x": "mel", "source": "source"},
}
INPUTS_UPSTREAM: dict[str, dict[str, str]] = {
    "ConditionalDecoder": {"x": "x", "mu": "mu", "spks": "spks", "cond": "cond"},
    "CausalResnetBlock1D": {"x": "x", "time": "time_emb"},
    "CausalConditionalCFM": {"mu": "mu", "spks": "spks", "cond": "cond"},
    "RelPositionMultiHeadedAttention": {"x": "query", "positions": "pos_emb"},
    "ConformerEncoderLayer": {"x": "x", "positions": "pos_emb"},
    "AttentionBlock2": {"x": "x1", "context": "x2"},
    "HiFTGenerator": {"x": "x", "source": "s"},
    "LlamaModel": {"x": "inputs_embeds"},
    "GPT2Model": {"x": "inputs_embeds"},
    "LlamaRotaryEmbedding": {},
    "SinusoidalPosEmb": {"t": "x"},
}

# Layers of whose results more than the first is compared.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "LinearEmbedding": ("0", "1"),
    "LinearNoSubsampling": ("0", "1"),
    "VocosHead": ("0", "1"),
}

# --- Cuts ---------------------------------------------------------------------------------------

# Upstream pads in front of these; ours do it themselves. Frames before and after.
PADDED_OUTSIDE: tuple[tuple[re.Pattern, int, int], ...] = (
    (re.compile(r"fsmn_block$"), 15, 15),
    (re.compile(r"pre_lookahead_layer\.conv1$"), 0, 3),
    (re.compile(r"pre_lookahead_layer\.conv2$"), 2, 0),
    (re.compile(r"up_layer\.conv$"), 4, 0),
)

# CAM++'s gates are the same all along a segment of 100 frames: computed for each frame there, once
# for each segment here.
PER_SEGMENT = re.compile(r"cam_layer\.linear[12]$")
SEGMENT = 100

# Their batch norms are one step with the ReLU after them here.
WITH_RELU = re.compile(
    r"speaker_encoder\.(head\.(layer\d\.\d\.)?bn1|head\.bn2|xvector\.(?!dense).*\.batchnorm)$"
)
# Ours append the result to the input; upstream's caller does.
APPENDED = re.compile(r"xvector\.block\d\.tdnnd\d+$")

# --- Calls --------------------------------------------------------------------------------------

# T3's backbone takes the conditioning by itself, once for a voice, and then the rest; upstream all
# at once. Two calls of ours are one of theirs.
BACKBONE = re.compile(r"t3\.tfmr\.model(\.|$)")
# Parts of it that attend.
ATTENDS = re.compile(r"t3\.tfmr\.model(\.layers\.\d+(\.self_attn)?)?$")
# ChatTTS's, whose calls are the same on both sides: a row each.
GPT_BACKBONE = re.compile(r"gpt\.model(\.|$)")
# Upstream embeds the same start token more than once.
EMBEDDINGS = re.compile(r"t3\.((text|speech)_emb|(text|speech)_pos_emb\.emb)$")
# Flow times are embedded for all steps in one call here, step by step there.
TIMES = re.compile(r"s3gen\.flow\.decoder\.estimator\.time_(embeddings|mlp|embed_mixer)")
# Upstream norms the queries first, then what they attend to; ours the other way round.
SWAPPED = re.compile(r"perceiver\.attn\.norm$")
