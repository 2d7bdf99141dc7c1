"""Errors as data: by layer and along time."""

import json

import numpy as np
import pytest

from mlx_chatterbox.parity.layers.bisect import bisect
from mlx_chatterbox.parity.layers.profiles import (
    TIME_AXES,
    as_plain,
    error_over_time,
    layer_errors,
    over_time,
)
from mlx_chatterbox.parity.stages import expanded
from mlx_chatterbox.parity.tables.chatterbox import STAGES
from mlx_chatterbox.parity.tables.chattts import CHATTTS_STAGES
from mlx_chatterbox.parity.taps.recording import Tap


def stage_of_two(change: float = 0.0) -> list[Tap]:
    x = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 2, 3)
    layer = Tap("flow", "s3gen.flow.layer", 1, "flow#1", 1, {"x": x}, {"0": x + change})
    return [layer, Tap("flow", "flow", 1, "", 0, {}, {"flow/mel": x[0] + change})]


def test_layers_come_in_order_of_computation_with_their_errors():
    finding = bisect(stage_of_two(), stage_of_two(0.1))[0]
    errors = layer_errors(finding)
    assert [(one.order, one.name) for one in errors] == [(0, "s3gen.flow.layer"), (1, "flow")]
    assert errors[0].input_error == 0.0
    assert errors[1].input_error is None
    assert errors[0].output_error == pytest.approx(0.1 / np.sqrt(91 / 6), rel=1e-3)


def test_they_are_plain_for_json():
    plain = as_plain(bisect(stage_of_two(), stage_of_two(float("nan"))))
    document = json.loads(json.dumps(plain, allow_nan=False))
    assert document[0]["differs_first"] == "s3gen.flow.layer#1"
    assert document[0]["layers"][0]["output_error"] is None


def test_an_error_shows_where_in_time_it_is():
    expected = np.ones((100, 80), dtype=np.float32)
    found = expected.copy()
    found[60:70] += 0.5
    profile = error_over_time("flow/mel", expected, found, points=10)
    assert profile.errors == pytest.approx([0, 0, 0, 0, 0, 0, 0.5, 0, 0, 0])
    assert profile.seconds[6] == pytest.approx(65 / 50)
    tokens = np.arange(10, dtype=np.int32)
    other = np.where(tokens < 5, tokens, 0)
    assert error_over_time("t3/greedy_tokens", tokens, other, points=2).errors == (0.0, 1.0)
    assert error_over_time("flow/mel", expected, found[:50]) is None
    assert (
        len(over_time({"flow/mel": expected, "flow/speaker": expected}, {"flow/mel": found})) == 1
    )


def test_the_outputs_with_time_are_the_tables():
    stages = (*STAGES, *expanded(TIME_AXES, CHATTTS_STAGES))
    names = {output.name for stage in stages for output in stage.outputs}
    assert set(TIME_AXES) <= names
    without = names - set(TIME_AXES)
    assert not [name for name in without if name.endswith(("mel", "tokens", "waveform"))]
