"""The corpus that the pocket voice is trained on: lists of clips, arrays, embeddings."""

# ruff: noqa: E501
from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from tests.fuzz_damage import damage_bytes, damage_json, damage_text
from tests.fuzzing import Reader

SHARD = "slt-00"
_LENGTHS = (2, 3)
_SHAPES = {
    "mel": (2, 80), "log_mel_16k": (4, 128), "waveform": (960,), "phones": (2,),
    "speech_tokens": (1,), "f0": (2,), "source": (960,),
}  # fmt: skip
_TYPES = {
    "mel": np.float16, "log_mel_16k": np.float16, "waveform": np.int16, "phones": np.uint8,
    "speech_tokens": np.int16, "f0": np.float32, "source": np.int16,
}  # fmt: skip


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@cache
def shard_files() -> dict[str, bytes]:
    """A shard of two clips, and the embeddings of its voice."""
    first, lines = 0, []
    for number, tokens in enumerate(_LENGTHS):
        lines.append(
            {"id": f"{SHARD}-{number:03}", "voice": "slt", "text": "Yes, it's late.",
             "first": first, "tokens": tokens, "part": "train" if number else "eval"}
        )  # fmt: skip
        first += tokens
    files = {"clips.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode()}
    for name, (per_token, *width) in _SHAPES.items():
        count = per_token * sum(_LENGTHS)
        values = np.arange(count * int(np.prod(width))).reshape(count, *width) % 40
        files[f"{name}.npy"] = npy(values.astype(_TYPES[name]))
    rows = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)
    file = io.BytesIO()
    np.savez(file, **{"slt/xvector": rows, "slt/speaker_embedding": rows})
    return {**files, "embeddings.npz": file.getvalue()}


def write_corpus(folder: Path, changed: dict[str, bytes]) -> Path:
    """Write the corpus with other content for some files."""
    (folder / SHARD).mkdir(parents=True)
    for name, content in {**shard_files(), **changed}.items():
        place = folder if name == "embeddings.npz" else folder / SHARD
        (place / name).write_bytes(content)
    return folder


def read_all(folder: Path) -> None:
    """Read what training reads of a corpus, and use it as training does."""
    from mlx_chatterbox.train.pocket.corpus import PER_TOKEN, Corpus
    from mlx_chatterbox.train.pocket.speakers import Embeddings

    corpus, embeddings = Corpus(folder), Embeddings(Corpus(folder))
    tokens, phones = _table(729), _table(len(_phones()))
    for index, clip in enumerate(corpus.clips):
        found = corpus.features(index, PER_TOKEN)
        for name, value in found.items():
            if name in PER_TOKEN:
                assert len(value) == clip.tokens * PER_TOKEN[name]
                assert np.isfinite(np.asarray(value, np.float64)).all()
        np.array(tokens[_array(found["speech_tokens"])])
        np.array(phones[_array(found["phones"])])
        for feature in ("xvector", "speaker_embedding"):
            drawn = embeddings.draw(clip.voice, feature, np.random.default_rng(0))
            assert drawn.shape == (64,)
            assert np.isfinite(drawn).all()
    samples = corpus.samples(["mel"], 2, 0, part="eval")
    assert samples is not None


def _phones():
    from mlx_chatterbox.train.pocket.synthesisers import PHONES

    return PHONES


def _table(rows: int):
    import mlx.core as mx

    return mx.zeros((rows, 4))


def _array(values: np.ndarray):
    import mlx.core as mx

    return mx.array(values)


def read_shard(path: Path) -> None:
    """Read a shard; the first line of the input names the damaged file."""
    name, _, content = path.read_bytes().partition(b"\n")
    known = name.decode("latin-1") if name.decode("latin-1") in shard_files() else "mel.npy"
    read_all(write_corpus(path.parent / "corpus", {known: content}))


def read_clips(path: Path) -> None:
    read_all(write_corpus(path.parent / "corpus", {"clips.jsonl": path.read_bytes()}))


def read_embeddings(path: Path) -> None:
    read_all(write_corpus(path.parent / "corpus", {"embeddings.npz": path.read_bytes()}))


def named_files() -> list[bytes]:
    return [
        name.encode() + b"\n" + content
        for name, content in shard_files().items()
        if name.endswith(".npy")
    ]


def clip_lists() -> list[bytes]:
    return [shard_files()["clips.jsonl"]]


def archives() -> list[bytes]:
    return [shard_files()["embeddings.npz"]]


# --- Damage --------------------------------------------------------------------------------------

_TYPES_OF_HEADERS = (
    "<f2", "<f4", "<f8", "<i2", "<i8", "|u1", "|O", "|S8", "<U4", "<M8", "<c8", "|b1", ">f2", "f", "",
    "(2,)<f4", "<i99", "|V4", "x" * 5000,
)  # fmt: skip
_SHAPES_OF_HEADERS = (
    "()", "(0,)", "(-1,)", "(-1, -80)", "(10,)", "(10, 80)", "(80, 10)", "(1099511627776,)", "(1e9,)",
    "(9223372036854775807, 9223372036854775807)", "[10]", "(True,)", "None", "((1,),)",
    "(" + "1, " * 40 + ")", "(" * 3000, "(10L, 80L)", "__import__('os').system('true')", "(4294967296, 0)",
)  # fmt: skip


def damage_npy(rng: random.Random, content: bytes) -> bytes:
    """Another type, shape or order in the header, its length set right or not; or other numbers."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        return damage_bytes(rng, content)
    start = 10 + int.from_bytes(content[8:10], "little")
    header, body = content[10:start].decode("latin-1"), content[start:]
    kind = rng.randrange(8)
    if kind == 0:
        header = _put(header, "'descr': ", ",", repr(rng.choice(_TYPES_OF_HEADERS)))
    elif kind == 1:
        header = _put(header, "'shape': ", "}", rng.choice(_SHAPES_OF_HEADERS) + ", ")
    elif kind == 2:
        header = header.replace("False", rng.choice(("True", "None", "0", "false")))
    elif kind == 3:
        header = damage_text(rng, header.encode("latin-1")).decode("latin-1")[:70_000]
    elif kind == 4:
        body = body[: rng.randrange(len(body) + 1)]
    elif kind == 5:
        body = body + bytes(rng.choice((1, 2, 160, 4096)))
    else:
        at = rng.randrange(len(body) + 1)
        odd = (b"\xff\x7f", b"\x00\x7e", b"\xff\xff", b"\x00\x7c", b"\x00\x00\xc0\x7f", b"\x2a")
        put = rng.choice(odd) * rng.choice((1, 2, 8))
        body = (body[:at] + put + body[at + len(put) :])[: len(body)]
    length = len(header) if rng.random() < 0.9 else rng.choice((0, 1, 65535, len(header) + 8))
    version = content[6:8] if rng.random() < 0.9 else rng.choice((b"\x02\0", b"\x03\0", b"\x09\0"))
    width = 2 if version[0] in (0, 1) else 4
    length %= 1 << 8 * width
    prefix = content[:6] + version + length.to_bytes(width, "little")
    return prefix + header.encode("latin-1") + body


def _put(text: str, after: str, before: str, value: str) -> str:
    start = text.find(after) + len(after)
    end = text.rfind(before) if before == "}" else text.find(before, start)
    return text[:start] + value + text[end:]


def damage_named_npy(rng: random.Random, content: bytes) -> bytes:
    name, _, rest = content.partition(b"\n")
    return name + b"\n" + damage_npy(rng, rest)


def damage_line(rng: random.Random, content: bytes) -> bytes:
    """A clip's line, as JSON."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = damage_json(rng, lines[at]) if lines[at] else b"{}"
    return b"\n".join(lines)


def damage_member(rng: random.Random, content: bytes) -> bytes:
    """An array within the archive, its name, or the way it is packed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = [(one.filename, archive.read(one)) for one in archive.infolist()]
    except Exception:
        return damage_bytes(rng, content)
    at = rng.randrange(len(files))
    name, array = files[at]
    kind = rng.randrange(6)
    if kind == 0:
        del files[at]
    elif kind == 1:
        files[at] = (rng.choice(("../x.npy", "/x", "", "x" * 300, "\x1b[2J.npy")), array)
    elif kind == 2:
        files += [(name, array)] * rng.choice((1, 20))
    else:
        files[at] = (name, damage_npy(rng, array))
    way = rng.choice((zipfile.ZIP_STORED,) * 6 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", way) as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, array in files:
            archive.writestr(zipfile.ZipInfo(name), array, way)
    return file.getvalue()


READERS = (
    Reader(
        "corpus", read_shard, named_files, (damage_named_npy, damage_named_npy, damage_bytes),
        quick=40,
    ),
    Reader(
        "clips", read_clips, clip_lists, (damage_line, damage_line, damage_text, damage_bytes),
        quick=40,
    ),
    Reader(
        "embeddings", read_embeddings, archives, (damage_member, damage_member, damage_bytes),
        quick=40,
    ),
)  # fmt: skip
