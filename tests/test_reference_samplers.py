"""Samplers: after all processors, the distribution drawn from is Hugging Face's."""

import numpy as np
import pytest

from parity import numpy_reference
from parity.compare import compare
from parity.dumps import read_dump, write_dump
from parity.mlx_backend import compute_with
from parity.reference import find_interpreter, torch_dump
from parity.sampler_cases import sampler_cases

pytestmark = pytest.mark.reference

CASES, VOCABULARY = 200, 8194


@pytest.fixture(scope="module", params=[0, 1])
def cases(request):
    return sampler_cases(CASES, VOCABULARY, seed=request.param)


@pytest.fixture(scope="module")
def upstream(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampler")
    inputs, output = folder / "in.safetensors", folder / "out.safetensors"
    write_dump(inputs, cases)
    torch_dump(find_interpreter(), folder, inputs, output)
    return read_dump(output)


def test_200_distributions_are_upstreams_within_a_millionth(cases, upstream):
    ours = compute_with(None, cases)
    assert ours["sampler/probs"].shape == (CASES, VOCABULARY)
    assert np.abs(ours["sampler/probs"] - upstream["sampler/probs"]).max() <= 1e-6
    assert compare(upstream, ours).holds


def test_the_numpy_reference_is_upstreams_too(cases, upstream):
    assert compare(upstream, numpy_reference.compute(cases)).holds


def test_the_same_tokens_are_removed(cases, upstream):
    ours = compute_with(None, cases)["sampler/probs"]
    settings = cases["sampler/settings"]
    removing = (settings[:, 2] > 0) | (settings[:, 3] < 1)
    kept = upstream["sampler/probs"][removing] > 0
    assert np.array_equal(ours[removing] > 0, kept)
    assert kept.sum(axis=1).min() >= 1
    assert (kept.sum(axis=1) < VOCABULARY).all()
