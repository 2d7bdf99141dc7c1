"""Files of torch.save are read without PyTorch, and no code in them is run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from typing import ClassVar

import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.weights.formats.unpickle import TorchReader, load_torch

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "uint16": "BFloat16Storage",  # the same bytes
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


class FakeTensor:
    """Pickles like a tensor that views `storage`."""

    def __init__(self, storage: np.ndarray, size=None, stride=None, offset=0, parameter=False):
        self.storage, self.offset, self.parameter = storage, offset, parameter
        self.size = tuple(storage.shape) if size is None else size
        contiguous = tuple(int(np.prod(self.size[i + 1 :])) for i in range(len(self.size)))
        self.stride = contiguous if stride is None else stride


class Global:
    """Pickles as the name `module.name`, called with `args` where there are any."""

    def __init__(self, module: str, name: str, args: tuple | None = None):
        self.module, self.name, self.args = module, name, args


class TorchPickler(pickle._Pickler):
    """Writes what torch.save writes; in Python, so that any name can be spelt."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def __init__(self, file):
        super().__init__(file, protocol=2)
        self.storages: list[np.ndarray] = []

    def persistent_id(self, value):
        if not isinstance(value, np.ndarray):
            return None
        self.storages.append(value)
        kind = Global("torch", STORAGES[str(value.dtype)])
        return ("storage", kind, str(len(self.storages) - 1), "cpu", value.size)

    def save_global_name(self, value):
        self.write(b"c" + f"{value.module}\n{value.name}\n".encode())
        if value.args is not None:
            self.save(value.args)
            self.write(b"R")

    def save_tensor(self, value):
        args = (value.storage, value.offset, value.size, value.stride, False, OrderedDict())
        rebuilt = Global("torch._utils", "_rebuild_tensor_v2", args)
        if value.parameter:
            rebuilt = Global("torch._utils", "_rebuild_parameter", (rebuilt, True, OrderedDict()))
        self.save(rebuilt)

    dispatch[Global] = save_global_name
    dispatch[FakeTensor] = save_tensor


def torch_save(path, value, **changes):
    """Write `value` as torch.save would; `changes` replace parts of the archive."""
    buffer = io.BytesIO()
    pickler = TorchPickler(buffer)
    pickler.dump(value)
    records = {"data.pkl": buffer.getvalue(), "byteorder": b"little", "version": b"3\n"}
    records |= {f"data/{i}": values.tobytes() for i, values in enumerate(pickler.storages)}
    records |= changes.pop("records", {})
    with zipfile.ZipFile(path, "w", **changes) as archive:
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return path


def refuses(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        load_torch(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [name for name in STORAGES if name != "uint16"])
def test_every_type_is_read(tmp_path, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    loaded = load_torch(torch_save(tmp_path / "a.pt", {"x": FakeTensor(values)}))["x"]
    assert loaded.dtype == values.dtype
    np.testing.assert_array_equal(loaded, values)


def test_bfloat16_becomes_float32(tmp_path):
    values = np.array([1.0, -2.5, 1e30], dtype=np.float32)
    stored = (values.view(np.uint32) >> 16).astype(np.uint16)
    loaded = load_torch(torch_save(tmp_path / "a.pt", FakeTensor(stored)))
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, values, rtol=2**-7)


def test_containers_and_plain_values_keep_their_form(tmp_path):
    value = {"a": [1, 2.5, None, True, "text"], "b": (2**63, {"c": OrderedDict(x=1)})}
    assert load_torch(torch_save(tmp_path / "a.pt", value)) == value


def test_strides_and_offsets_are_respected(tmp_path):
    storage = np.arange(20, dtype=np.float32)
    value = [
        FakeTensor(storage, (3, 4), (1, 3), offset=5),
        FakeTensor(storage, (2, 3), (0, 2), offset=1),
        FakeTensor(storage, (), (), offset=19),
        FakeTensor(storage, (0, 3), (3, 1), offset=19),
    ]
    transposed, expanded, scalar, empty = load_torch(torch_save(tmp_path / "a.pt", value))
    np.testing.assert_array_equal(transposed, storage[5:17].reshape(4, 3).T)
    np.testing.assert_array_equal(expanded, [[1, 3, 5]] * 2)
    assert scalar == 19
    assert scalar.shape == ()
    assert empty.shape == (0, 3)


def test_parameters_devices_and_sizes(tmp_path):
    value = {
        "p": FakeTensor(np.ones(3, np.float32), parameter=True),
        "d": Global("torch", "device", ("cuda", 1)),
        "s": Global("torch", "Size", ((1, 2),)),
    }
    loaded = load_torch(torch_save(tmp_path / "a.pt", value))
    np.testing.assert_array_equal(loaded["p"], np.ones(3))
    assert (loaded["d"], loaded["s"]) == ("cuda:1", (1, 2))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((21,), (1,), 0),
        ((2,), (1,), 19),
        ((3, 3), (8, 3), 0),
        ((2,), (-1,), 5),
        ((2,), (1,), -1),
        ((-1,), (1,), 0),
        ((2,), (1, 1), 0),
        ((2.0,), (1,), 0),
        ((1 << 40,), (0,), 0),
        ((1 << 62, 1 << 62), (1, 1), 0),
    ],
)
def test_a_tensor_past_its_storage_is_refused(tmp_path, size, stride, offset):
    storage = np.arange(20, dtype=np.float32)
    path = torch_save(tmp_path / "a.pt", FakeTensor(storage, size, stride, offset))
    refuses(path, "tensor")


def test_a_storage_shorter_than_stated_is_refused(tmp_path):
    value = FakeTensor(np.arange(20, dtype=np.float32))
    path = torch_save(tmp_path / "a.pt", value, records={"data/0": b"\0" * 76})
    refuses(path, "storage 0 has 19 elements, not 20")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (os.system.__module__, "system"),
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy", "load"),
    ],
)
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, module, name):
    marker = tmp_path / "ran"
    value = {"t3": Global(module, name, (f"touch {marker}",))}
    refuses(torch_save(tmp_path / "a.pt", value), rf"asks for {module}\.{name}")
    assert not marker.exists()


def test_a_module_is_not_even_imported(tmp_path, monkeypatch):
    """Importing already runs code, so a name is refused before its module is looked up."""
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    refuses(torch_save(tmp_path / "a.pt", Global("trap_module", "f", ())), "trap_module")
    assert "trap_module" not in sys.modules


@pytest.mark.parametrize("state", [b"}U\x01aK\x01s", b"N}U\x09_functionK\x01s\x86"])
def test_stand_ins_cannot_be_changed(tmp_path, state):
    """BUILD sets attributes on whatever a pickle can name."""
    code = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + state + b"b."
    path = torch_save(tmp_path / "a.pt", None, records={"data.pkl": code})
    with pytest.raises(CheckpointError):
        load_torch(path)
    storage = FakeTensor(np.arange(3, dtype=np.int64))
    np.testing.assert_array_equal(load_torch(torch_save(tmp_path / "b.pt", storage)), [0, 1, 2])


@pytest.mark.parametrize("read", [load_torch, TorchReader])
@pytest.mark.parametrize("state", [b"}U\x05shapeK\x01K\x09\x86s", b"N}U\x05shapeK\x09\x85s\x86"])
def test_tensors_cannot_be_changed_after_their_check(tmp_path, read, state):
    """A larger size, set by BUILD once the right one has been checked."""
    pickler = TorchPickler(file := io.BytesIO())
    pickler.dump(FakeTensor(np.arange(3, dtype=np.int64)))
    code = file.getvalue().removesuffix(b".") + state + b"b."
    records = {"data.pkl": code, "data/0": pickler.storages[0].tobytes()}
    path = torch_save(tmp_path / "a.pt", None, records=records)
    with pytest.raises(CheckpointError, match=r"changes a tensor|damaged"):
        read(path)


def test_persistent_ids_that_are_not_storages_are_refused(tmp_path):
    for code in (b"\x80\x02X\x01\0\0\0aQ.", b"\x80\x02(U\x07storageK\x01K\x01K\x01K\x01tQ."):
        path = torch_save(tmp_path / "a.pt", None, records={"data.pkl": code})
        refuses(path, "storage")


def test_other_files_are_refused(tmp_path):
    whole = torch_save(tmp_path / "whole.pt", {"x": FakeTensor(np.ones(100, np.float32))})
    blob = whole.read_bytes()
    cases = {
        "truncated": blob[:-100],
        "before 1.6": pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        "not a file written by torch.save": b"hello",
    }
    for match, content in cases.items():
        path = tmp_path / "case.pt"
        path.write_bytes(content)
        refuses(path, match)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    refuses(tmp_path / "other.zip", "not one written by torch.save")
    refuses(tmp_path / "nowhere.pt", "missing")
    refuses(torch_save(tmp_path / "big.pt", 1, records={"byteorder": b"big"}), "big-endian")
    compressed = torch_save(tmp_path / "z.pt", [1] * 99, compression=zipfile.ZIP_DEFLATED)
    refuses(compressed, "compressed")


def test_changed_bytes_are_noticed(tmp_path):
    path = torch_save(tmp_path / "a.pt", {"x": FakeTensor(np.ones(100, np.float32))})
    blob = path.read_bytes()
    one = struct.pack("<f", 1.0)
    path.write_bytes(blob.replace(one * 2, one + b"\0\0\0\0", 1))
    refuses(path, "damaged")


def test_a_pickle_that_nests_for_ever_is_refused(tmp_path):
    code = b"\x80\x02" + b"(" * 10_000_000 + b"."
    refuses(torch_save(tmp_path / "a.pt", None, records={"data.pkl": code}), "operations")


@pytest.mark.reference
def test_what_torch_saves_is_read_equal(tmp_path):
    """PyTorch's own files: types, views, parameters, modules' states, upstream's voices."""
    import torch

    base = torch.arange(24).reshape(4, 6)
    given = {
        "t3": {"speaker_emb": torch.randn(1, 256), "clap_emb": None},
        "gen": {"prompt_token": base[1:, ::2], "prompt_feat": torch.randn(1, 80, 5).mT},
        "types": [
            base.to(getattr(torch, name))
            for name in ("bfloat16", *(name for name in STORAGES if name != "uint16"))
        ],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "empty": torch.zeros(0, 4),
        "size": base.size(),
        "state": torch.nn.BatchNorm1d(4).state_dict(),
    }
    torch.save(given, tmp_path / "a.pt")
    loaded = load_torch(tmp_path / "a.pt")

    def compare(got, expected):
        if isinstance(expected, torch.Tensor):
            as_numpy = expected.detach()
            if expected.dtype == torch.bfloat16:
                as_numpy = as_numpy.float()
            assert got.dtype == as_numpy.numpy().dtype
            np.testing.assert_array_equal(got, as_numpy.numpy())
        elif isinstance(expected, dict):
            assert list(got) == list(expected)
            for key in expected:
                compare(got[key], expected[key])
        elif isinstance(expected, list):
            assert len(got) == len(expected)
            for pair in zip(got, expected, strict=True):
                compare(*pair)
        else:
            assert got == expected

    compare(loaded, given)
    torch.save(given, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before 1\.6"):
        load_torch(tmp_path / "old.pt")
