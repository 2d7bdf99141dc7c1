"""Rules of the conversion, checked by hand: the operation of each key, and its effect on axes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mlx_chatterbox.weights.conversion import upstream
from mlx_chatterbox.weights.conversion.rules import (
    OPERATIONS,
    RULES,
    WEIGHT_NORMED,
    Drop,
    FileRules,
    axes_of,
    file_rules,
    operation_on,
    permuted,
)

# Axes in PyTorch's layout, and in MLX's: output, input, kernel height and width.
LAYOUTS = {
    "transpose": ("IO", "OI"),
    "conv1d": ("OIK", "OKI"),
    "conv2d": ("OIHW", "OHWI"),
    "conv_transpose1d": ("IOK", "OKI"),
}


@pytest.mark.parametrize("operation", LAYOUTS)
def test_an_operation_brings_pytorchs_axes_into_mlxs_order(operation):
    given, ours = LAYOUTS[operation]
    assert "".join(given[axis] for axis in axes_of(operation)) == ours
    assert "".join(ours[axis] for axis in axes_of(operation, inverse=True)) == given
    shape = dict(zip("OIKHW", (7, 5, 3, 2, 4), strict=True))
    before, after = tuple(shape[a] for a in given), tuple(shape[a] for a in ours)
    assert permuted(before, operation) == after
    assert permuted(after, operation, inverse=True) == before
    array = np.arange(np.prod(before)).reshape(before)
    there_and_back = array.transpose(axes_of(operation)).transpose(axes_of(operation, True))
    np.testing.assert_array_equal(there_and_back, array)


def test_what_is_copied_keeps_its_axes():
    assert OPERATIONS.keys() == {*LAYOUTS, "copy", "zeros"}
    for operation in ("copy", "zeros"):
        for inverse in (False, True):
            assert axes_of(operation, inverse) is None
            assert permuted((3, 2), operation, inverse) == (3, 2)


@pytest.mark.parametrize(
    ("role", "key", "rank", "operation"),
    [
        ("s3gen_file", "mel2wav.ups.0.weight", 3, "conv_transpose1d"),
        ("s3gen_file", "mel2wav.conv_pre.weight", 3, "conv1d"),
        ("s3gen_file", "flow.encoder.embed.out.0.weight", 2, "copy"),
        ("s3gen_file", "speaker_encoder.head.conv1.weight", 4, "conv2d"),
        ("s3gen_file", "mel2wav.conv_pre.bias", 1, "copy"),
        ("t3_file", "tfmr.h.11.attn.c_attn.weight", 2, "transpose"),
        ("t3_file", "tfmr.h.0.attn.c_proj.weight", 2, "transpose"),
        ("t3_file", "tfmr.h.0.mlp.c_proj.weight", 2, "transpose"),
        ("t3_file", "tfmr.h.0.mlp.c_fc.weight", 2, "transpose"),
        ("t3_file", "tfmr.h.0.attn.c_attn.bias", 1, "copy"),
        ("t3_file", "tfmr.layers.0.self_attn.q_proj.weight", 2, "copy"),
        ("t3_file", "text_head.weight", 2, "copy"),
        ("voice_encoder_file", "proj.weight", 2, "copy"),
    ],
)
def test_the_operation_for_a_key(role, key, rank, operation):
    rules = RULES[role]
    assert operation_on(key, rank, rules) == operation
    # A pattern is for the whole key.
    if operation != "copy":
        assert operation_on(f"{key}.more", rank, rules) == "copy"
        assert operation_on(key, rank + 7, rules) == "copy"


@pytest.mark.parametrize(
    ("key", "normed"),
    [
        ("mel2wav.conv_pre.weight", True),
        ("mel2wav.conv_post.weight", True),
        ("mel2wav.ups.2.weight", True),
        ("mel2wav.f0_predictor.condnet.8.weight", True),
        ("mel2wav.resblocks.8.convs2.2.weight", True),
        ("mel2wav.source_resblocks.0.convs1.0.weight", True),
        ("mel2wav.source_downs.0.weight", False),
        ("mel2wav.f0_predictor.classifier.weight", False),
        ("flow.input_embedding.weight", False),
    ],
)
def test_what_upstream_normalises(key, normed):
    assert bool(WEIGHT_NORMED.fullmatch(key)) is normed


def test_each_variant_has_rules_for_its_files():
    for variant in ("english", "multilingual", "turbo", "nano"):
        rules = file_rules(variant)
        assert len(rules) == 3
        assert set(map(id, rules.values())) == set(map(id, RULES.values()))


def test_every_pattern_can_be_read_and_names_an_operation():
    for rules in RULES.values():
        for pattern, rank, operation in rules.operations:
            re.compile(pattern)
            assert len(OPERATIONS[operation]) == rank
        for drop in rules.drops:
            re.compile(drop.pattern)
            assert drop.reason


@pytest.mark.parametrize("halves", [("_g", "_v"), ("_g",), ("_v",)])
def test_a_dropped_weight_norm_is_listed_by_the_keys_that_are_there(monkeypatch, halves):
    rules = {"a.safetensors": FileRules((), (Drop(r"left\.weight", "unused"),))}
    monkeypatch.setattr(upstream, "file_rules", lambda variant: rules)
    shapes = {f"left.weight{half}": (2, 3) for half in halves}
    dropped = upstream.plan({"a.safetensors": shapes}, "english").dropped
    assert [one.key for one in dropped] == list(shapes)
