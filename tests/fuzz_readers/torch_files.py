"""Files of torch.save, and the built-in voice in one."""
# ruff: noqa: E501

from __future__ import annotations

import io
import pickle
import random
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from tests.fuzz_damage import damage_bytes
from tests.fuzzing import Reader


def read_weights(path: Path) -> None:
    from mlx_chatterbox.weights.formats.unpickle import TorchReader

    reader = TorchReader(path)
    try:
        for key in reader.shapes:
            np.array(reader.read(key).astype(_float32()))
    finally:
        reader.close()


def _float32():
    import mlx.core as mx

    return mx.float32


def read_voice(path: Path) -> None:
    from mlx_chatterbox.voices.voice import Voice
    from mlx_chatterbox.weights.conversion.voice import convert_voice

    folder = path.parent / "voice"
    folder.mkdir()
    convert_voice(path, folder)
    Voice.load(folder / "conds.safetensors")


@cache
def weights() -> list[bytes]:
    from mlx_chatterbox.weights.formats.torch_zip import write_state_dict
    from tests.weights.test_unpickle import FakeTensor, torch_save

    rng = np.random.default_rng(0)
    values = [rng.standard_normal((3, 4)).astype(np.float32), np.arange(5)]
    layout = {"a.weight": ((3, 4), "float32"), "b": ((5,), "int64")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pt"
        list(write_state_dict(path, layout, values))
        ours = path.read_bytes()
        views = {
            "c": FakeTensor(np.arange(20, dtype=np.float32), (3, 4), (1, 3), 5),
            "d": FakeTensor(np.arange(4, dtype=np.float16), parameter=True),
            "e": FakeTensor(np.arange(3, dtype=np.uint16), (5, 3), (0, 1)),
            "f": FakeTensor(np.ones(3), (), (), 1),
        }
        return [ours, torch_save(path, views).read_bytes()]


@cache
def voices() -> list[bytes]:
    from mlx_chatterbox.weights.formats.torch_zip import write_sections

    rng = np.random.default_rng(0)
    sections = {
        "t3": {
            "speaker_emb": rng.standard_normal((1, 256)).astype(np.float32),
            "clap_emb": None,
            "cond_prompt_speech_tokens": np.arange(150)[None],
            "emotion_adv": np.full((1, 1, 1), 0.5, np.float32),
        },
        "gen": {
            "prompt_token": np.arange(100)[None],
            "prompt_token_len": np.array([100]),
            "prompt_feat": rng.standard_normal((1, 200, 80)).astype(np.float32),
            "prompt_feat_len": None,
            "embedding": rng.standard_normal((1, 192)).astype(np.float32),
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "conds.pt"
        write_sections(path, sections)
        return [path.read_bytes()]


def damage_pickle(rng: random.Random, content: bytes) -> bytes:
    """Damage of the pickle in a valid zip file: bytes, inserted operations, numbers."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        name = next(name for name in records if name.endswith("data.pkl"))
    except Exception:
        return damage_bytes(rng, content)
    code = bytearray(records[name])
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(code) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            code[at:at] = rng.choice(_ODD) * rng.choice((1, 1, 2, 1000))
        elif kind == 1:
            at = max(
                code.find(rng.choice((b"J", b"K", b"M", b"\x8a", b"(", b"t", b"Q", b"R")), at), 0
            )
            code[at + 1 : at + 1 + rng.choice((0, 1, 2, 4))] = rng.randbytes(rng.choice((1, 2, 4)))
        else:
            code = bytearray(damage_bytes(rng, bytes(code)))
    records[name] = bytes(code)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, record in records.items():
            archive.writestr(zipfile.ZipInfo(name), record)
    return file.getvalue()


_ODD = (
    b"(", b"t", b"R", b"b", b"0", b"1", b"2", b"N", b"K\x01", b"}", b"]", b")", b"u", b"s", b"a", b"e", b"Q",
    b"h\x00", b"q\x00", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x91", b"\x81", b"cos\nsystem\n", b"ctorch\ndevice\n",
    b"ctorch\nSize\n", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_parameter\n", b"o", b"i\nx\n",
    b"\x8a\x09" + b"\xff" * 9, b"M\xff\xff", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"G" + b"\x7f" * 8, b"P0\n",
    pickle.dumps({1: 2}, 2)[2:-1], pickle.dumps((2**62,) * 3, 2)[2:-1], b"\x95" + b"\xff" * 8,
)  # fmt: skip

_DAMAGES = (damage_pickle, damage_pickle, damage_bytes)

READERS = (
    Reader("torch-weights", read_weights, weights, _DAMAGES, ".pt"),
    Reader("torch-voice", read_voice, voices, _DAMAGES, ".pt"),
)
