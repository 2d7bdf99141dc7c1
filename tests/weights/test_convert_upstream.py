"""Upstream's names and ours map to each other in both directions."""

from __future__ import annotations

import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.weights.checkpoint import build
from mlx_chatterbox.weights.conversion.upstream import plan, upstream_layout
from mlx_chatterbox.weights.variants import VARIANTS


def shapes_of(variant: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the published model; no weight is ever computed."""
    networks = build(VARIANTS[variant].default_config())
    return {key: value.shape for key, value in tree_flatten(networks.parameters())}


@pytest.fixture(scope="module")
def full_size() -> dict[str, tuple[int, ...]]:
    return shapes_of("english")


@pytest.mark.parametrize("weight_norm", ["parametrizations", "g_v"])
@pytest.mark.parametrize("filter_buffers", [True, False])
def test_backwards_and_forwards_again_is_the_identity(full_size, weight_norm, filter_buffers):
    result = plan(upstream_layout(full_size, weight_norm, filter_buffers), "english")
    assert {entry.target: entry.shape for entry in result.entries} == full_size
    assert len(result.dropped) == 125 + 2 * filter_buffers


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_its_files_and_comes_back(variant):
    shapes, row = shapes_of(variant), VARIANTS[variant]
    layout = upstream_layout(shapes, variant=variant)
    assert set(layout) == set(row.weight_files)
    result = plan(layout, variant)
    assert {entry.target: entry.shape for entry in result.entries} == shapes
    assert len(result.dropped) == 127


def test_gpt2_is_laid_out_as_hugging_face_has_it():
    layout = upstream_layout(shapes_of("nano"), variant="nano")
    t3 = layout["t3_nano_v1.safetensors"]
    assert t3["tfmr.wte.weight"] == (50276, 768)
    assert t3["tfmr.wpe.weight"] == (8196, 768)
    assert t3["tfmr.h.11.attn.c_attn.weight"] == (768, 3 * 768)
    assert t3["tfmr.h.0.mlp.c_fc.weight"] == (768, 4 * 768)
    assert t3["tfmr.h.0.mlp.c_proj.weight"] == (4 * 768, 768)
    assert t3["speech_head.bias"] == (6563,)
    assert "text_pos_emb.emb.weight" not in t3
    assert "flow.decoder.estimator.time_embed_mixer.weight" in layout["s3gen_meanflow.safetensors"]


def test_counts_are_the_published_ones(full_size):
    """A voice encoder of 16 tensors, T3 of 292, S3Gen with the tokenizer of 2,490."""
    layout = upstream_layout(full_size)
    assert {name: len(keys) for name, keys in layout.items()} == {
        "ve.safetensors": 16,
        "t3_cfg.safetensors": 292,
        "s3gen.safetensors": 2490,
    }


@pytest.mark.parametrize(
    ("file", "given", "ours"),
    [
        ("ve.safetensors", {"lstm.weight_hh_l2": (8, 2)}, {"ve.lstm.weight_hh_l2": (8, 2)}),
        (
            "t3_cfg.safetensors",
            {"tfmr.layers.0.mlp.up_proj.weight": (8, 2)},
            {"t3.tfmr.model.layers.0.mlp.up_proj.weight": (8, 2)},
        ),
        (
            "t3_cfg.safetensors",  # three axes, but not a convolution
            {"cond_enc.perceiver.pre_attention_query": (1, 4, 2)},
            {"t3.cond_enc.perceiver.pre_attention_query": (1, 4, 2)},
        ),
        (
            "s3gen.safetensors",
            {"tokenizer.encoder.conv1.weight": (8, 4, 3)},
            {"s3_tokenizer.encoder.conv1.weight": (8, 3, 4)},
        ),
        (
            "s3gen.safetensors",
            {"tokenizer.quantizer._codebook.project_down.weight": (8, 4)},
            {"s3_tokenizer.quantizer.codebook.project_down.weight": (8, 4)},
        ),
        (
            "s3gen.safetensors",
            {"speaker_encoder.head.conv1.weight": (8, 4, 3, 5)},
            {"s3gen.speaker_encoder.head.conv1.weight": (8, 3, 5, 4)},
        ),
        (
            "s3gen.safetensors",
            {"mel2wav.source_downs.0.weight": (8, 4, 3)},
            {"s3gen.mel2wav.source_downs.0.weight": (8, 3, 4)},
        ),
        (
            "s3gen.safetensors",
            {
                "mel2wav.ups.0.parametrizations.weight.original0": (8, 1, 1),
                "mel2wav.ups.0.parametrizations.weight.original1": (8, 4, 3),
            },
            {"s3gen.mel2wav.ups.0.weight": (4, 3, 8)},
        ),
        (
            "s3gen.safetensors",
            {"mel2wav.conv_post.weight_g": (8, 1, 1), "mel2wav.conv_post.weight_v": (8, 4, 3)},
            {"s3gen.mel2wav.conv_post.weight": (8, 3, 4)},
        ),
    ],
)
def test_names_and_layouts(file, given, ours):
    result = plan({file: given}, "english")
    assert {entry.target: entry.shape for entry in result.entries} == ours
    assert (
        upstream_layout(ours, "g_v" if "weight_g" in str(given) else "parametrizations")[
            file
        ].items()
        >= given.items()
    )


def test_buffers_of_older_versions_are_dropped():
    key = "tfmr.layers.0.self_attn.rotary_emb.inv_freq"
    result = plan({"t3_cfg.safetensors": {key: (32,)}}, "english")
    assert [item.key for item in result.dropped] == [key]


@pytest.mark.parametrize("key", ["attn.bias", "attn.masked_bias"])
def test_gpt2s_causal_masks_are_dropped(key):
    given = {f"tfmr.h.3.{key}": (1, 1, 8, 8), "tfmr.h.3.attn.c_attn.bias": (24,)}
    result = plan({"t3_turbo_v1.safetensors": given}, "turbo")
    assert [item.key for item in result.dropped] == [f"tfmr.h.3.{key}"]
    assert [entry.target for entry in result.entries] == ["t3.tfmr.model.h.3.attn.c_attn.bias"]


def test_all_keys_left_over_are_named_at_once():
    given = {"ve.safetensors": {"one": (1,), "two": (1,)}, "s3gen.safetensors": {"three": (1,)}}
    with pytest.raises(CheckpointError, match=r"3 key.*one.*two.*three"):
        plan(given, "english")


@pytest.mark.parametrize("half", ["weight_g", "parametrizations.weight.original1"])
def test_half_a_weight_norm_is_left_over(half):
    with pytest.raises(CheckpointError, match=half):
        plan({"s3gen.safetensors": {f"mel2wav.conv_pre.{half}": (4, 1, 1)}}, "english")


def test_a_weight_stored_twice_is_refused():
    both = {
        "mel2wav.conv_pre.weight_g": (4, 1, 1),
        "mel2wav.conv_pre.weight_v": (4, 2, 3),
        "mel2wav.conv_pre.weight": (4, 2, 3),
    }
    with pytest.raises(CheckpointError, match="more than once"):
        plan({"s3gen.safetensors": both}, "english")


def test_keys_that_are_not_ours_have_no_place_upstream():
    with pytest.raises(CheckpointError, match=r"vae\.weight"):
        upstream_layout({"vae.weight": (1,)})


@pytest.mark.reference
@pytest.mark.parametrize("variant", VARIANTS)
def test_full_size_is_upstreams_own_state(variant):
    """Every key and every shape, against upstream's modules as PyTorch lists them."""
    from mlx_chatterbox.parity.torch.env import prepare
    from mlx_chatterbox.parity.torch.networks import Networks

    prepare()
    import torch

    networks, row = Networks(None, variant), VARIANTS[variant]
    build_of = {
        row.voice_encoder_file: networks._build_voice_encoder,
        row.t3_file: networks._build_t3,
        row.s3gen_file: networks._build_s3gen,
    }
    layout = upstream_layout(shapes_of(variant), variant=variant)
    for file, build_network in build_of.items():
        # S3Gen computes with its buffers while it is made, so it cannot be made without memory.
        with torch.device("cpu" if file == row.s3gen_file else "meta"):
            state = build_network().state_dict()
        assert layout[file] == {key: tuple(value.shape) for key, value in state.items()}
