"""Against upstream itself: our networks are equal to its own, and planted faults are not.

Upstream's constructors fix most sizes, so the networks are full size, but for T3's depth.
"""

from __future__ import annotations

import pytest

from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.mlx.backend import compute_with
from mlx_chatterbox.parity.upstream.interpreter import find_interpreter
from mlx_chatterbox.parity.upstream.jobs import torch_dump
from mlx_chatterbox.weights.variants import variant_named
from tests.parity.test_dump import SMALL
from tests.parity.test_faults import FAULTS, red_stages, selected

pytestmark = [pytest.mark.reference, pytest.mark.slow]

T3_LAYERS = 2


@pytest.fixture(scope="module", params=["english", "nano"])
def variant(request):
    return request.param


@pytest.fixture(scope="module")
def config(variant):
    config = variant_named(variant).default_config()
    config.t3.num_hidden_layers = T3_LAYERS
    return config


@pytest.fixture(scope="module")
def inputs(config):
    return make_inputs(config, seed=2, sizes=SMALL)


@pytest.fixture(scope="module")
def folders(variant, config, tmp_path_factory):
    """Upstream's files and our conversion of them, gigabytes that are removed at the end."""
    from shutil import rmtree

    from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
    from mlx_chatterbox.weights.conversion.core import convert_folder

    root = tmp_path_factory.mktemp("reference")
    upstream = fabricate(root / "upstream", variant, config=config, seed=2)
    yield upstream, convert_folder(upstream, root / "converted", variant=variant, config=config)
    rmtree(root)


@pytest.fixture(scope="module")
def upstream(variant, folders, inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    paths = folder / "in.safetensors", folder / "out.safetensors"
    write_dump(paths[0], inputs)
    torch_dump(find_interpreter(), folders[0], *paths, variant, t3_layers=T3_LAYERS)
    return read_dump(paths[1])


@pytest.fixture(scope="module")
def networks(folders):
    from mlx_chatterbox.weights.checkpoint import load

    return load(folders[1]).networks


def test_without_a_fault_every_stage_is_upstreams(networks, inputs, upstream):
    assert [
        row for row in compare(upstream, compute_with(networks, inputs)).rows if row.problem
    ] == []


def test_a_fault_turns_its_stages_red_and_no_others(variant, networks, inputs, upstream):
    """One test for all of them, as the weights of one variant at a time fill the disk."""
    faults = [fault for fault in FAULTS if fault.variant == variant]
    assert len(faults) > 3
    for fault in faults:
        wanted = selected(inputs, fault)
        with pytest.MonkeyPatch.context() as monkeypatch:
            fault.plant(monkeypatch)
            faulty = compute_with(networks, wanted)
        expected = {name: value for name, value in upstream.items() if name in faulty}
        red = red_stages(compare(expected, faulty))
        assert fault.stages <= red <= fault.stages | fault.may, fault.plant.__name__


def test_a_file_with_a_tensor_too_few_or_too_many_is_refused(folders, inputs, tmp_path):
    from safetensors.numpy import load_file, save_file

    from mlx_chatterbox.parity.errors import ParityError

    tensors = load_file(folders[0] / "ve.safetensors")
    audio = {"audio/ref_16k": inputs["audio/ref_16k"]}
    write_dump(tmp_path / "in.safetensors", audio)
    paths = (tmp_path, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    for change, message in (
        ({**tensors, "proj.extra": tensors["proj.bias"]}, "1 unknown"),
        (
            {key: value for key, value in tensors.items() if key != "proj.bias"},
            "1 tensor.s. missing",
        ),
    ):
        save_file(change, tmp_path / "ve.safetensors")
        with pytest.raises(ParityError, match=message):
            torch_dump(find_interpreter(), *paths)
