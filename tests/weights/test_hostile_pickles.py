"""Small files of torch.save that would take for ever, or all memory, are refused at once."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.weights.conversion.voice import convert_voice
from mlx_chatterbox.weights.formats.pickle_machine import MAX_OPERATIONS
from mlx_chatterbox.weights.formats.unpickle import MAX_EXPANDED, TorchReader, load_torch

from .test_unpickle import FakeTensor, Global, TorchPickler, torch_save

READERS = pytest.mark.parametrize("read", [load_torch, TorchReader])
# Seconds for any of these; without limits each takes minutes, or more memory than there is.
SECONDS = 5.0


def with_pickle(path, code: bytes):
    return torch_save(path, None, records={"data.pkl": code})


def refused(read, path, match: str) -> None:
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=match) as caught:
        read(path)
    assert time.monotonic() - started < SECONDS
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000


def nested(depth: int, bottom: bytes = b"K\x01") -> bytes:
    """A tuple of one tuple twice, and so on: 2 ** depth parts, in a few bytes each."""
    code = bottom + b"q\x00"
    for _ in range(depth):
        code += b"h\x00\x86q\x00"
    return code


@READERS
@pytest.mark.parametrize(
    ("code", "match"),
    [
        # str() and hash() go through all parts of a nest.
        (b"\x80\x02ctorch\ndevice\n" + nested(40) + b"\x85R.", "device"),
        (b"\x80\x02ctorch\ndevice\nK\x01K\x02\x86R.", "device"),
        (b"\x80\x02}" + nested(40) + b"K\x01s.", "keys"),
        (b"\x80\x02}(" + nested(40) + b"K\x01u.", "keys"),
        (b"\x80\x02(" + nested(40) + b"K\x01d.", "keys"),
        (b"\x80\x02ccollections\nOrderedDict\n]" + nested(40) + b"K\x01\x86a\x85R.", "keys"),
        (b"\x80\x04\x8f(" + nested(40) + b"\x90.", "EMPTY_SET"),
        (b"\x80\x04(" + nested(40) + b"\x91.", "FROZENSET"),
        (b"\x80\x02ctorch\nSize\n" + nested(40) + b"\x85R.", "size"),
    ],
)
def test_a_nest_that_is_gone_through(tmp_path, read, code, match):
    refused(read, with_pickle(tmp_path / "a.pt", code), match)


@READERS
def test_a_nest_in_place_of_a_tensor(tmp_path, read):
    code = b"\x80\x02}X\x02\0\0\0t3" + nested(40) + b"s."
    path = with_pickle(tmp_path / "conds.pt", code)
    if read is TorchReader:
        refused(read, path, "does not hold weights")
    else:
        assert list(read(path)) == ["t3"]


def test_a_voice_of_nests(tmp_path):
    """NumPy would make an array of 2 ** 40 numbers from one nest."""
    keys = (
        "t3.speaker_emb t3.cond_prompt_speech_tokens t3.emotion_adv gen.prompt_token "
        "gen.prompt_token_len gen.prompt_feat gen.embedding"
    )
    parts = []
    for part in ("t3", "gen"):
        names = [key.split(".")[1] for key in keys.split() if key.startswith(f"{part}.")]
        items = b"".join(
            b"X" + struct.pack("<I", len(name)) + name.encode() + nested(40) for name in names
        )
        parts.append(b"X" + struct.pack("<I", len(part)) + part.encode() + b"}(" + items + b"u")
    path = with_pickle(tmp_path / "conds.pt", b"\x80\x02}(" + b"".join(parts) + b"u.")
    refused(lambda source: convert_voice(source, tmp_path), path, "is not a tensor")


@READERS
def test_numbers_of_millions_of_digits(tmp_path, read):
    """Multiplying them would take hours."""
    huge = b"\x8b" + struct.pack("<i", 4_000_000) + b"\x7f" * 4_000_000
    refused(read, with_pickle(tmp_path / "a.pt", b"\x80\x02(" + huge + b"t."), "64 bits")
    digits = b"I" + b"9" * 1_000_000 + b"\n."
    refused(read, with_pickle(tmp_path / "a.pt", digits), "damaged")


@READERS
def test_keys_that_collide(tmp_path, read):
    keys = {n * (2**61 - 1): 0 for n in range(30)}
    refused(read, with_pickle(tmp_path / "a.pt", pickle.dumps(keys, 2)), "keys")


@READERS
def test_many_tensors_that_repeat_few_elements(tmp_path, read):
    storage = np.zeros(1, np.float32)
    value = {str(n): FakeTensor(storage, (MAX_EXPANDED // 4,), (0,)) for n in range(5)}
    refused(read, torch_save(tmp_path / "a.pt", value), "repeated, not stored")
    del value["4"]
    read(torch_save(tmp_path / "b.pt", value))


class OfOneStorage(TorchPickler):
    """Writes every tensor as a view of the first storage."""

    def persistent_id(self, value):
        found = super().persistent_id(value)
        return found if found is None else (*found[:2], "0", *found[3:])


def test_many_tensors_of_one_storage(tmp_path):
    """Memory would be 40 times the file, or any other multiple."""
    storage = np.zeros(2**20, np.float32)
    pickler = OfOneStorage(file := io.BytesIO())
    pickler.dump({str(n): FakeTensor(storage) for n in range(40)})
    records = {"data.pkl": file.getvalue(), "data/0": storage.tobytes()}
    path = torch_save(tmp_path / "a.pt", None, records=records)
    refused(load_torch, path, "more memory than the file")
    # Weights that are read one by one may share a storage.
    assert len(TorchReader(path).shapes) == 40


@READERS
def test_operations_without_end(tmp_path, read):
    code = b"\x80\x02" + b"N0" * (MAX_OPERATIONS // 2 + 1) + b"N."
    refused(read, with_pickle(tmp_path / "a.pt", code), "operations")


@READERS
def test_records_that_lie_in_each_other(tmp_path, read):
    """The same bytes would be a thousand storages."""
    path = torch_save(tmp_path / "a.pt", {"x": FakeTensor(np.zeros(1000, np.float32))})
    with zipfile.ZipFile(path, "a") as archive:
        info = archive.getinfo("archive/data/0")
        for n in range(1, 1000):
            other = zipfile.ZipInfo(f"archive/data/{n}")
            other.header_offset, other.CRC = info.header_offset, info.CRC
            other.file_size = other.compress_size = info.file_size
            archive.filelist.append(other)
        archive._didModify = True
    refused(read, path, "sizes")


@READERS
def test_a_record_with_too_large_a_stated_size(tmp_path, read):
    path = torch_save(tmp_path / "a.pt", {"x": FakeTensor(np.zeros(1000, np.float32))})
    blob = path.read_bytes()
    at = blob.rindex(b"archive/data/0") - 46
    path.write_bytes(blob[: at + 24] + struct.pack("<I", 0xFFFF0000) + blob[at + 28 :])
    refused(read, path, "sizes|truncated")


@READERS
def test_long_names_are_shortened(tmp_path, read):
    code = b"\x80\x02c" + b"x" * 100_000 + b"\n" + b"\x1b[2J" * 1000 + b"\n."
    refused(read, with_pickle(tmp_path / "a.pt", code), "asks for 'xxx")
    value = {"t3": {"x" * 10_000: 1}, "gen": {"y" * 10_000 + str(n): 1 for n in range(100)}}
    path = torch_save(tmp_path / "conds.pt", value)
    refused(lambda source: convert_voice(source, tmp_path), path, "that no voice has")


@READERS
@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x80\x02cos\nsystem\n)\x81.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93)R.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02ccollections\nOrderedDict\n)\x81}b.",
        b"\x80\x02]K\x01R.",
        b"\x80\x02K\x01)R.",
        b"\x80\x02K\x01h\x05.",
        b"\x80\x02a.",
        b"\x80\x02u.",
        b"\x80\x02]e.",
        b"\x80\x020.",
        b"\x80\x02\x87.",
        b"",
        b"\x80\x02",
        b"N",
    ],
)
def test_pickles_of_anything_but_tensors(tmp_path, read, code):
    refused(read, with_pickle(tmp_path / "a.pt", code), "is not read|damaged")


def test_pickles_of_every_protocol_are_read(tmp_path):
    value = {"a": [1, -5, 300, 70_000, 2**40, 2.5, None, True, False], "b": ("é", "x" * 300, ())}
    for protocol in range(6):
        path = with_pickle(tmp_path / "a.pt", pickle.dumps(value, protocol))
        assert load_torch(path) == value, protocol


def test_metadata_of_a_state_dict_is_left_out(tmp_path):
    state = OrderedDict(x=1)
    state._metadata = OrderedDict({"": {"version": 1}})
    path = with_pickle(tmp_path / "a.pt", pickle.dumps(state, 2))
    assert load_torch(path) == {"x": 1}


def test_a_device_is_its_name(tmp_path):
    value = [Global("torch", "device", ("cuda", 1)), Global("torch", "device", ("cpu",))]
    assert load_torch(torch_save(tmp_path / "a.pt", value)) == ["cuda:1", "cpu"]
