"""Other precisions: each stage of a converted model within its precision's bounds of float32's."""

import numpy as np
import pytest

from mlx_chatterbox.parity import precisions
from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.dumps import write_dump
from mlx_chatterbox.parity.errors import ParityError
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.parity.stages import expanded
from mlx_chatterbox.parity.tables.chatterbox import STAGES
from mlx_chatterbox.parity.tables.chattts import CHATTTS_STAGES
from mlx_chatterbox.parity.tables.stage import UNEQUAL_SHARE
from mlx_chatterbox.parity.upstream.files import upstream_of
from mlx_chatterbox.parity.weights import convert_to
from mlx_chatterbox.weights.checkpoint import load
from mlx_chatterbox.weights.conversion.bounds import CHATTTS_BOUNDS
from tests.small import small_config

WATERMARK = {"watermark"}
COMPUTED = [stage.name for stage in STAGES if stage.name not in WATERMARK]


@pytest.fixture(scope="module")
def inputs():
    return make_inputs(small_config(), seed=5, sizes=SMALL_SIZES)


@pytest.fixture(scope="module")
def reference(small_checkpoint, inputs):
    return compute_with(load(small_checkpoint).networks, inputs, COMPUTED)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "8bit", "4bit"])
def test_a_model_in_another_precision_holds_to_its_bounds(
    precision, inputs, reference, small_checkpoint, tmp_path
):
    upstream = upstream_of(small_checkpoint).folder
    config = small_config()
    folder = convert_to(precision, upstream, tmp_path / precision, config=config)
    outputs = compute_with(load(folder).networks, inputs, COMPUTED)
    comparison = compare(reference, precisions.as_float32(outputs), precision=precision)
    assert [row for row in comparison.rows if not row.holds] == []
    assert comparison.precision == precision
    # It really is another precision.
    assert not compare(reference, precisions.as_float32(outputs)).holds


def outputs():
    names = ["gpt/code/position_ids", "gpt/code/hidden", "generate/text/ids_0"]
    names += ["sampler/usual/probabilities"]
    stages = (*STAGES, *expanded(names, CHATTTS_STAGES))
    return {output.name: output for stage in stages for output in stage.outputs}


def test_what_has_no_weights_has_float32s_bounds_always():
    known = outputs()
    assert set(known) >= precisions._WITHOUT_WEIGHTS
    cases = {"gpt/code/position_ids", "sampler/usual/probabilities"}
    for name in precisions._WITHOUT_WEIGHTS | cases:
        assert precisions.with_bound(known[name], "4bit") == known[name]


def test_fewer_bits_have_wider_bounds():
    logits = outputs()["t3/logits"]
    bounds = [precisions.with_bound(logits, name).bound for name in precisions.PRECISIONS]
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[1] < bounds[-1]
    with pytest.raises(ParityError, match="not a precision"):
        precisions.with_bound(logits, "2bit")
    own = precisions.with_bound(outputs()["gpt/code/hidden"], "4bit").bound
    assert own == CHATTTS_BOUNDS["4bit"].stage
    greedy = precisions.with_bound(outputs()["generate/text/ids_0"], "4bit")
    assert (greedy.measure, greedy.bound) == (UNEQUAL_SHARE, 1.0)


def test_codes_in_two_dimensions_are_counted():
    name = "dvae/encoded_ids"
    codes = np.arange(100, dtype=np.int32).reshape(4, 25)
    other = codes.copy()
    other[2, 3] += 1
    (row,) = compare({name: codes}, {name: other}, precision="bfloat16").rows
    assert row.error == pytest.approx(0.01)
    assert row.holds
    assert not compare({name: codes}, {name: other}).holds


def test_tokens_are_counted_and_may_be_fewer():
    name = "s3_tokenizer/tokens"
    assert precisions.with_bound(outputs()[name], "bfloat16").measure == UNEQUAL_SHARE
    tokens = np.arange(25, dtype=np.int32)
    rows = compare({name: tokens}, {name: tokens[:24]}, precision="bfloat16").rows
    assert rows[0].error == pytest.approx(0.04)
    assert rows[0].holds
    for other in ("float32", "8bit", "4bit"):
        assert not compare({name: tokens}, {name: tokens[:24]}, precision=other).holds


def test_the_command_holds_a_dump_to_its_precision(reference, tmp_path):
    rough = {name: value for name, value in reference.items() if name == "vocoder/waveform"}
    exact = write_dump(tmp_path / "exact", rough)
    other = {name: value * np.float32(1.01) for name, value in rough.items()}
    out = write_dump(tmp_path / "out", other)
    assert main(["compare", str(exact), str(out)]) == 1
    assert main(["compare", str(exact), str(out), "--precision", "float16"]) == 0
