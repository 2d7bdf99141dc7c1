"""The names under which mlx-audio stores Chatterbox, and ours for them.

The models of mlx-community were written by mlx-audio's `sanitize` methods: tensors are already in
MLX's layout and weight norm is folded, so only names change. Its two implementations, `chatterbox`
and `chatterbox_turbo`, spell names differently, and the oldest files of the first differ from its
later ones; the rules below cover all three. These files store the sum of an LSTM's two biases: one
of ours becomes the sum and the other zero, which computes the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mlx_chatterbox.errors import CheckpointError

from .rules import ConversionPlan, Drop, Dropped, PlanEntry, Shapes

SPEECH_TOKENIZER_FOLDER = "S3TokenizerV2"
SPEECH_TOKENIZER = "s3_tokenizer."
# Numbers of tensors in a complete speech tokenizer, outside its blocks and in each block.
_OUTSIDE_BLOCKS, _IN_BLOCK = 6, 16

Renaming = str | Callable[[re.Match], str]


def _plus_one(template: str) -> Callable[[re.Match], str]:
    return lambda match: template.format(*(int(number) + 1 for number in match.groups()))


# Applied in this order, each to every match in a key.
_RENAMES: tuple[tuple[str, Renaming], ...] = (
    # Voice encoder: layers.0 to layers.2, in Turbo's tree lstm1 to lstm3.
    (r"^ve\.lstm([123])\.", lambda match: f"ve.lstm.layers.{int(match[1]) - 1}."),
    (r"^ve\.lstm\.layers\.(\d+)\.Wx$", r"ve.lstm.weight_ih_l\1"),
    (r"^ve\.lstm\.layers\.(\d+)\.Wh$", r"ve.lstm.weight_hh_l\1"),
    (r"^ve\.lstm\.layers\.(\d+)\.bias$", r"ve.lstm.bias_ih_l\1"),
    # T3: GPT-2 without the wrapper that the Llama has.
    (r"^t3\.tfmr\.(h|wpe|ln_f)\.", r"t3.tfmr.model.\1."),
    # Flow: Turbo's S3Gen has it unwrapped.
    (
        r"^s3gen\.(input_embedding|spk_embed_affine_layer|encoder_proj|encoder|decoder)\.",
        r"s3gen.flow.\1.",
    ),
    (r"(embed)\.linear\.", r"\1.out.0."),
    (r"(embed)\.norm\.", r"\1.out.1."),
    (r"\.((?:up_)?encoders)_(\d+)\.", r".\1.\2."),
    # The estimator's blocks: a residual block, transformers, a convolution.
    (r"\.((?:down|mid|up)_blocks)_(\d+)\.", r".\1.\2."),
    (r"(_blocks\.\d+)\.resnet\.", r"\1.0."),
    (r"(_blocks\.\d+)\.transformer_(?:blocks\.)?(\d+)\.", r"\1.1.\2."),
    (r"(_blocks\.\d+)\.(?:down|up)sample\.conv\.(?:conv\.)?", r"\1.2."),
    (r"(_blocks\.\d+\.0)\.(?:mlp_linear|mlp\.0)\.", r"\1.mlp.1."),
    (r"(block[12]|final_block)\.(?:block\.0\.)?conv\.conv\.", r"\1.block.0."),
    (r"(block[12]|final_block)\.(?:norm|block\.1)\.", r"\1.block.2."),
    (r"(res_conv|final_proj)\.conv\.", r"\1."),
    (r"\.attn\.(query|key|value)_proj\.", lambda match: f".attn1.to_{match[1][0]}."),
    (r"\.attn\.out_proj\.", ".attn1.to_out.0."),
    (r"\.ff\.layers\.0\.", ".ff.net.0.proj."),
    (r"\.ff\.(?:layers|net)\.1\.", ".ff.net.2."),
    # Vocoder: activations are not counted, and Turbo's convolutions are wrapped.
    (r"condnet\.(\d+)\.", lambda match: f"condnet.{2 * int(match[1])}."),
    (r"(mel2wav\..*)\.conv\.", r"\1."),
    # Speaker encoder.
    (r"\.shortcut_conv\.", ".shortcut.0."),
    (r"\.shortcut_bn\.", ".shortcut.1."),
    (
        r"speaker_encoder\.blocks\.(\d+)\.layers\.(\d+)\.",
        _plus_one("speaker_encoder.block{}.tdnnd{}."),
    ),
    (r"(?<=speaker_encoder\.)transits\.(\d+)\.", _plus_one("transit{}.")),
    (r"(tdnnd\d+)\.bn([12])\.", r"\1.nonlinear\2.batchnorm."),
    (r"(nonlinear[12]?)\.0\.", r"\1.batchnorm."),
    (r"speaker_encoder\.out_bn\.", "speaker_encoder.out_nonlinear.batchnorm."),
    (r"speaker_encoder\.(tdnn|dense|transit\d+)\.bn\.", r"speaker_encoder.\1.nonlinear.batchnorm."),
    (r"speaker_encoder\.(block|tdnn|transit|dense|out_)", r"speaker_encoder.xvector.\1"),
    # Speech tokenizer.
    (r"\.mlp\.layers\.(\d+)\.", r".mlp.\1."),
    (r"quantizer\.fsq_codebook\.", "quantizer.codebook."),
)
RENAMES = tuple((re.compile(pattern), replacement) for pattern, replacement in _RENAMES)

DROPS = (
    Drop(r"ve\.similarity_(weight|bias)", "used in the voice encoder's training only"),
    Drop(
        r"t3\.tfmr\.((model\.)?(embed_tokens|wte)|lm_head)\.(weight|scales|biases)",
        "never used: T3 embeds its tokens by itself and has heads of its own",
    ),
    Drop(r"s3gen\..*\.(pos_enc\.pe|rand_noise|stft_window)", "computed, not stored"),
    Drop(r"s3gen\.trim_fade", "computed, not stored"),
    Drop(r"s3_tokenizer\.(window|_?mel_filters|.*freqs_cis.*)", "computed, not stored"),
    Drop(r".*\.num_batches_tracked", "counts training steps only"),
    Drop(r"gen\..*", "a built-in voice among the weights, which no reader of them takes either"),
)
_PARTS = ("ve.", "t3.", "s3gen.", SPEECH_TOKENIZER)
_LSTM_BIAS = re.compile(r"(ve\.lstm\.)bias_ih(_l\d+)")
_OUT_PROJECTION = re.compile(r"(s3gen\..*\.attn1\.to_out\.0\.)weight")


def our_key(key: str) -> str | None:
    """Translate mlx-audio's `key` to ours; None if it belongs to no network."""
    if not key.startswith(_PARTS):
        return None
    for pattern, replacement in RENAMES:
        key = pattern.sub(replacement, key)
    return key


def reason_to_drop(key: str) -> str | None:
    """Return the reason for which mlx-audio's `key` is dropped; None if it is not."""
    return next((drop.reason for drop in DROPS if re.fullmatch(drop.pattern, key)), None)


def has_speech_tokenizer(keys) -> bool:
    """Tell whether the keys of a file include a complete speech tokenizer.

    In files from mlx-audio's first weeks every block lacks a tensor.
    """
    ours = {our_key(key) for key in keys if key.startswith(SPEECH_TOKENIZER)}
    kept = {key for key in ours if key is not None and reason_to_drop(key) is None}
    blocks = {match[1] for key in kept if (match := re.search(r"\.blocks\.(\d+)\.", key))}
    return bool(blocks) and len(kept) == _OUTSIDE_BLOCKS + _IN_BLOCK * len(blocks)


def plan(available: Mapping[str, Shapes], tokenizer_file: str) -> ConversionPlan:
    """Plan the conversion of mlx-audio's files.

    Args:
        available: for each file its keys and shapes, as if packed tensors were not packed.
        tokenizer_file: the file from which the speech tokenizer is taken; in a file of its own its
            keys have no prefix.

    Raises:
        CheckpointError: there are keys without a rule; all of them are named.
    """
    entries: dict[str, PlanEntry] = {}
    dropped: list[Dropped] = []
    left_over: list[str] = []
    for file, shapes in available.items():
        for key, shape in shapes.items():
            alone = file == tokenizer_file and not key.startswith(_PARTS)
            full = SPEECH_TOKENIZER + key if alone else key
            reason = reason_to_drop(full)
            if reason is None and full.startswith(SPEECH_TOKENIZER) and file != tokenizer_file:
                reason = f"taken from {tokenizer_file}"
            target = our_key(full)
            if reason is not None:
                dropped.append(Dropped(file, key, reason))
            elif target is None:
                left_over.append(f"{file}: {key}")
            elif target in entries:
                raise CheckpointError(f"{file}: {key} and another key are both {target}.")
            else:
                entries[target] = PlanEntry(target, file, (key,), "copy", tuple(shape))
    if left_over:
        raise CheckpointError(
            f"{len(left_over)} key(s) belong to no network of this model: {', '.join(left_over)}."
        )
    return ConversionPlan((*entries.values(), *_zeros(entries)), tuple(dropped))


def _zeros(entries: Mapping[str, PlanEntry]) -> list[PlanEntry]:
    """Plan tensors that the files lack and that become zero: one bias of each LSTM, and biases
    that mlx-audio lost."""
    zeros = []
    for target, entry in entries.items():
        if match := _LSTM_BIAS.fullmatch(target):
            zeros.append(_zero(f"{match[1]}bias_hh{match[2]}", entry, entry.shape))
        match = _OUT_PROJECTION.fullmatch(target)
        if match and f"{match[1]}bias" not in entries:
            zeros.append(_zero(f"{match[1]}bias", entry, entry.shape[:1]))
    return zeros


def _zero(target: str, like: PlanEntry, shape: tuple[int, ...]) -> PlanEntry:
    return PlanEntry(target, like.file, like.sources, "zeros", shape)


def lost_biases(todo: ConversionPlan) -> list[str]:
    """List the keys that mlx-audio's first files lack although upstream's values are not zero."""
    return [e.target for e in todo.entries if e.operation == "zeros" and ".to_out." in e.target]
