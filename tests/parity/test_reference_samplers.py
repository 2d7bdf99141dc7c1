"""Samplers: after all processors, the distribution drawn from is Hugging Face's."""

import numpy as np
import pytest

from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.inputs.sampler_cases import sampler_cases, turbo_sampler_cases
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.parity.numpy import backend as numpy_reference
from mlx_chatterbox.parity.upstream.interpreter import find_interpreter
from mlx_chatterbox.parity.upstream.jobs import torch_dump

pytestmark = pytest.mark.reference

CASES = 200
VOCABULARY = {"sampler": 8194, "sampler_turbo": 6563}


@pytest.fixture(scope="module", params=VOCABULARY)
def stage(request):
    """Penalty first, as the Llama models; or penalty last, as Turbo and Nano."""
    return request.param


@pytest.fixture(scope="module", params=[0, 1, 2])
def cases(request, stage):
    make = sampler_cases if stage == "sampler" else turbo_sampler_cases
    return make(CASES, VOCABULARY[stage], seed=request.param)


@pytest.fixture(scope="module")
def upstream(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampler")
    inputs, output = folder / "in.safetensors", folder / "out.safetensors"
    write_dump(inputs, cases)
    torch_dump(find_interpreter(), folder, inputs, output)
    return read_dump(output)


def test_200_distributions_are_upstreams_within_a_millionth(stage, cases, upstream):
    ours, name = compute_with(None, cases), f"{stage}/probs"
    assert ours[name].shape == (CASES, VOCABULARY[stage])
    assert np.abs(ours[name] - upstream[name]).max() <= 1e-6
    assert compare(upstream, ours).holds


def test_the_numpy_reference_is_upstreams_too(cases, upstream):
    assert compare(upstream, numpy_reference.compute(cases)).holds


def test_the_same_tokens_are_removed(stage, cases, upstream):
    ours = compute_with(None, cases)[f"{stage}/probs"]
    third, top_p = cases[f"{stage}/settings"][:, 2:].T  # min-p or top-k
    removing = ((third > 0) & (third < VOCABULARY[stage])) | (top_p < 1)
    kept = upstream[f"{stage}/probs"][removing] > 0
    assert np.array_equal(ours[removing] > 0, kept)
    assert kept.sum(axis=1).min() >= 1
    assert (kept.sum(axis=1) < VOCABULARY[stage]).all()
