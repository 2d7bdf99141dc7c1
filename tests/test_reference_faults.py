"""Against upstream itself: our networks are equal to its own, and planted faults are not.

Upstream's constructors fix most sizes, so the networks are full size, but for T3's depth.
"""

from __future__ import annotations

import pytest

from mlx_chatterbox.config import ModelConfig
from mlx_chatterbox.models.t3.config import T3Config
from parity.compare import compare
from parity.dumps import read_dump, write_dump
from parity.inputs import make_inputs
from parity.mlx_backend import compute_with
from parity.reference import find_interpreter, torch_dump
from tests.test_parity_dump import SMALL
from tests.test_parity_faults import by_name, red_stages, selected

pytestmark = [pytest.mark.reference, pytest.mark.slow]

T3_LAYERS = 2


@pytest.fixture(scope="module")
def config():
    return ModelConfig(t3=T3Config(num_hidden_layers=T3_LAYERS))


@pytest.fixture(scope="module")
def inputs(config):
    return make_inputs(config, seed=2, sizes=SMALL)


@pytest.fixture(scope="module")
def folders(config, tmp_path_factory):
    """Upstream's files and our conversion of them, gigabytes that are removed at the end."""
    from shutil import rmtree

    from convert.core import convert_folder
    from parity.fabricate import fabricate

    root = tmp_path_factory.mktemp("reference")
    upstream = fabricate(root / "upstream", config=config, seed=2)
    yield upstream, convert_folder(upstream, root / "converted", config=config)
    rmtree(root)


@pytest.fixture(scope="module")
def upstream(folders, inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dumps")
    write_dump(folder / "in.safetensors", inputs)
    torch_dump(
        find_interpreter(),
        folders[0],
        folder / "in.safetensors",
        folder / "out.safetensors",
        t3_layers=T3_LAYERS,
    )
    return read_dump(folder / "out.safetensors")


@pytest.fixture(scope="module")
def networks(folders):
    from mlx_chatterbox.checkpoint import load

    return load(folders[1]).networks


def test_without_a_fault_every_stage_is_upstreams(networks, inputs, upstream):
    assert [
        row for row in compare(upstream, compute_with(networks, inputs)).rows if row.problem
    ] == []


@by_name
def test_a_fault_turns_its_stages_red_and_no_others(fault, networks, inputs, upstream, monkeypatch):
    wanted = selected(inputs, fault)
    fault.plant(monkeypatch)
    faulty = compute_with(networks, wanted)
    expected = {name: value for name, value in upstream.items() if name in faulty}
    assert fault.stages <= red_stages(compare(expected, faulty)) <= fault.stages | fault.may


def test_a_file_with_a_tensor_too_few_or_too_many_is_refused(folders, inputs, tmp_path):
    from safetensors.numpy import load_file, save_file

    from parity.errors import ParityError

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
