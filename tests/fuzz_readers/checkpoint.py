"""Readers of a checkpoint folder's files. Readable files are used to speak, on the pocket model."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import numpy as np

from mlx_chatterbox.models.config import CONFIG_NAME
from mlx_chatterbox.weights.hub import POCKET_FOLDER, WEIGHTS_NAME
from mlx_chatterbox.weights.manifest import MANIFEST_NAME
from tests.fuzz_damage import (
    compressed,
    damage_bytes,
    damage_header,
    damage_json,
    damage_tensors,
    damage_text,
    safetensors_of,
)
from tests.fuzzing import Reader

TEXT = "Yes, it's 3 o'clock."
ENGLISH, LEXICON = "tokenizer.json", "lexicon.txt.gz"


def with_file(path: Path, name: str) -> Path:
    """A copy of the pocket model's folder, with one file replaced by another."""
    folder = path.parent / "model"
    folder.mkdir()
    for file in POCKET_FOLDER.iterdir():
        if file.is_file() and file.name != name:
            os.symlink(file, folder / file.name)
    os.replace(path, folder / name)
    return folder


def speak(folder: Path) -> np.ndarray:
    """A word by the model in a folder, cut off after a few tokens."""
    from mlx_chatterbox import ChatterboxTTS

    tts = ChatterboxTTS.from_local(folder)
    return tts.generate("Yes.", seed=0, max_new_tokens=3, n_cfm_timesteps=1, watermark=False)


def pocket_file(name: str):
    return lambda: [(POCKET_FOLDER / name).read_bytes()]


def read_config(path: Path) -> None:
    speak(with_file(path, CONFIG_NAME))


def read_manifest(path: Path) -> None:
    from mlx_chatterbox.weights.manifest import check_manifest

    check_manifest(with_file(path, MANIFEST_NAME))


def read_model(path: Path) -> None:
    speak(with_file(path, WEIGHTS_NAME))


def read_english(path: Path) -> None:
    """Read a tokenizer and encode phones: a file with an entry for every character."""
    from mlx_chatterbox.models.t3.requests import check_lengths
    from mlx_chatterbox.text.tokenizer import EnglishTokenizer

    tokenizer = EnglishTokenizer(path)
    ids = tokenizer.encode("jˈɛs ɪts")
    if ids:
        import mlx.core as mx

        check_lengths(_pocket_t3(), mx.array(ids, dtype=mx.int32), 0.0, 1)
    tokenizer.decode(ids)
    tokenizer.unread(TEXT)
    tokenizer.has_token("[sigh]")


@cache
def _pocket_t3():
    from mlx_chatterbox.models.config import ModelConfig
    from mlx_chatterbox.weights.checkpoint import build

    return build(ModelConfig.load(POCKET_FOLDER)).t3


def english_files() -> list[bytes]:
    from mlx_chatterbox.parity.fabricate.english import tokenizer_json

    return [(POCKET_FOLDER / ENGLISH).read_bytes(), tokenizer_json().encode()]


def read_gpt2(path: Path) -> None:
    """Read GPT-2's tokenizer files; the first line of the input names the damaged one."""
    from mlx_chatterbox.text.gpt2 import GPT2Tokenizer

    name, _, content = path.read_bytes().partition(b"\n")
    files = {file: text.encode() for file, text in _gpt2_files().items()}
    files[name.decode("utf-8", "replace")] = content
    for file, text in files.items():
        if file in _GPT2:
            (path.parent / file).write_bytes(text)
    tokenizer = GPT2Tokenizer(path.parent)
    ids = tokenizer.encode(TEXT + " [laugh] [nonsense]")
    tokenizer.decode(ids)
    tokenizer.unknown_tags(TEXT)


_GPT2 = ("vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json", "tokenizer.json")


@cache
def _gpt2_files() -> dict[str, str]:
    from mlx_chatterbox.parity.fabricate.gpt2 import files

    return files()


def gpt2_files() -> list[bytes]:
    return [name.encode() + b"\n" + text.encode() for name, text in _gpt2_files().items()]


def damage_after_name(damage):
    """Damage of what follows the first line."""

    def damaged(rng, content: bytes) -> bytes:
        name, _, rest = content.partition(b"\n")
        return name + b"\n" + damage(rng, rest)

    return damaged


def read_lexicon(path: Path) -> None:
    from mlx_chatterbox.text.lexicon import LexiconTokenizer

    tokenizer = LexiconTokenizer(POCKET_FOLDER / ENGLISH, path)
    tokenizer.encode(TEXT + " The cats and dogs of NASA.")


def small_lexicon() -> list[bytes]:
    import gzip

    words = gzip.decompress((POCKET_FOLDER / LEXICON).read_bytes()).splitlines(keepends=True)
    return [gzip.compress(b"".join(words[::1000]) + "cat\tkæt\n".encode(), mtime=0)]


def read_cangjie(path: Path) -> None:
    from mlx_chatterbox.text.languages.zh import CangjieConverter

    CangjieConverter(path)("日月 好")


def cangjie() -> list[bytes]:
    return [json.dumps([f"{sign}\ta{sign}\tx" for sign in "日月明好"], ensure_ascii=False).encode()]


def read_index(path: Path) -> None:
    """Read weights in two files with an index."""
    from mlx_chatterbox.weights.formats.safetensors_file import SafetensorsReader
    from mlx_chatterbox.weights.shards import check_shards, index_of, weight_map

    whole = path.parent / WEIGHTS_NAME
    path.rename(index_of(whole))
    for name, content in _shards().items():
        (path.parent / name).write_bytes(content)
    files = sorted(set(weight_map(whole).values()))
    check_shards(
        whole, {name: list(SafetensorsReader(path.parent / name).shapes) for name in files}
    )


def _shards() -> dict[str, bytes]:
    tensor = np.zeros(3, np.float32)
    return {
        f"part-{number}.safetensors": safetensors_of({key: tensor})
        for number, key in enumerate("ab")
    }


def indices() -> list[bytes]:
    named = {"a": "part-0.safetensors", "b": "part-1.safetensors"}
    return [json.dumps({"metadata": {"total_size": 24}, "weight_map": named}).encode()]


READERS = (
    Reader("cangjie", read_cangjie, cangjie, (damage_json, damage_bytes), ".json", quick=40),
    Reader("index", read_index, indices, (damage_json, damage_json, damage_bytes), quick=40),
    Reader(
        "config", read_config, pocket_file(CONFIG_NAME), (damage_json, damage_json, damage_bytes),
        quick=20,
    ),
    Reader(
        "manifest", read_manifest, pocket_file(MANIFEST_NAME), (damage_json, damage_bytes),
        quick=60,
    ),
    Reader(
        "model", read_model, pocket_file(WEIGHTS_NAME),
        (damage_tensors, damage_header, damage_bytes), ".safetensors",
        quick=0, many=100,
    ),
    Reader(
        "tokenizer", read_english, english_files, (damage_json, damage_json, damage_bytes),
        ".json",
    ),
    Reader(
        "gpt2", read_gpt2, gpt2_files,
        tuple(map(damage_after_name, (damage_json, damage_text, damage_bytes))), quick=0, many=150,
    ),
    Reader(
        "lexicon", read_lexicon, small_lexicon,
        (damage_bytes, compressed(damage_text), compressed(damage_bytes)), ".gz",
    ),
)  # fmt: skip
