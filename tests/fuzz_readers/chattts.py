"""ChatTTS's strings of voices, statistics of speakers, tables of homophones, and tokenizer."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import numpy as np

from tests.chattts_reference import reference, text
from tests.fuzz_damage import (
    damage_bytes,
    damage_header,
    damage_json,
    damage_tensors,
    damage_text,
)
from tests.fuzz_readers.torch_files import damage_pickle
from tests.fuzzing import Reader


def read_speaker(path: Path) -> None:
    from mlx_chatterbox.voices.chattts.strings import decode_speaker, encode_speaker, normalised

    vector = decode_speaker(path.read_text(encoding="utf-8", errors="replace"))
    normalised(vector)
    encode_speaker(vector)


def read_codes(path: Path) -> None:
    from mlx_chatterbox.voices.chattts.strings import decode_codes, encode_codes

    encode_codes(decode_codes(path.read_text(encoding="utf-8", errors="replace")))


def read_speakers(path: Path) -> None:
    from mlx_chatterbox.voices.chattts.random_speaker import random_speaker
    from mlx_chatterbox.weights.speaker_statistics import read_statistics

    random_speaker(read_statistics(path), 1)


def read_homophones(path: Path) -> None:
    from mlx_chatterbox.text.chattts.homophones import HomophoneTable
    from mlx_chatterbox.text.chattts.normalize import ChatTTSNormalizer

    ChatTTSNormalizer(HomophoneTable.load(path))("驫囍好 [laugh] 3")


def read_tokenizer(path: Path) -> None:
    from mlx_chatterbox.text.chattts.tokenizer import ChatTTSTokenizer

    tokenizer = ChatTTSTokenizer(path)
    tokenizer.refined(tokenizer.encode("[Sbreak]hello 世界 [laugh][Pbreak][oral_2]"))


def read_saved_voice(path: Path) -> None:
    from mlx_chatterbox.voices.chattts.voice import ChatTTSVoice

    ChatTTSVoice.load(path).save(path.parent / "again.safetensors")


def read_named_speaker(path: Path) -> None:
    from mlx_chatterbox.api.chattts.speakers import read_speaker as read_any

    read_any(str(path))


def saved_voices() -> list[bytes]:
    from mlx_chatterbox.voices.chattts.voice import ChatTTSVoice

    codes = reference()["dvae/ids"].reshape(-1, 4).T[:, :5]
    voice = ChatTTSVoice(reference()["speaker/vector"].astype(np.float16), codes, "hello")
    with tempfile.TemporaryDirectory() as folder:
        return [voice.save(Path(folder) / "a.safetensors").read_bytes()]


def damage_within(rng: random.Random, content: bytes) -> bytes:
    """Damage of the bytes that a string stands for; the string is sound."""
    from mlx_chatterbox.errors import SettingError
    from mlx_chatterbox.voices.base16384 import from_base16384, to_base16384

    try:
        data = from_base16384(content.decode("utf-8"))
    except (SettingError, UnicodeDecodeError):
        return damage_bytes(rng, content)
    return to_base16384(damage_bytes(rng, data)).encode("utf-8")


def strings(*keys: str):
    return lambda: [text(key).encode("utf-8") for key in keys]


def tables() -> list[bytes]:
    return [json.dumps({"驫": "标", "囍": "喜"}, ensure_ascii=False).encode("utf-8")]


def tokenizers() -> list[bytes]:
    """With a short vocabulary: most damage would fall on its words."""
    from mlx_chatterbox.parity.fabricate.chattts_tokenizer import tokenizer_json

    values = json.loads(tokenizer_json())
    words = list(values["model"]["vocab"].items())
    values["model"]["vocab"] = dict(words[:260])
    return [json.dumps(values).encode("utf-8")]


def torch_statistics() -> list[bytes]:
    from tests.weights.test_unpickle import FakeTensor, torch_save

    both = np.concatenate([reference()["speaker/std"], reference()["speaker/mean"]])
    with tempfile.TemporaryDirectory() as folder:
        return [torch_save(Path(folder) / "a.pt", FakeTensor(both)).read_bytes()]


_DAMAGES = (damage_within, damage_text, damage_bytes)

READERS = (
    Reader("speaker-string", read_speaker, strings("speaker/string"), _DAMAGES, ".txt"),
    Reader(
        "audio-prompt-string",
        read_codes,
        strings("prompt/string", "dvae/encoded_string"),
        _DAMAGES,
        ".txt",
    ),
    Reader("speaker-statistics", read_speakers, strings("speaker/stat_string"), _DAMAGES, ".txt"),
    Reader(
        "speaker-statistics-torch",
        read_speakers,
        torch_statistics,
        (damage_pickle, damage_bytes),
        ".pt",
    ),
    Reader(
        "chattts-voice",
        read_saved_voice,
        saved_voices,
        (damage_tensors, damage_header, damage_bytes),
        ".safetensors",
    ),
    Reader("named-speaker", read_named_speaker, strings("speaker/string"), _DAMAGES, ".txt"),
    Reader("homophones", read_homophones, tables, (damage_json, damage_bytes), ".json"),
    Reader(
        "chattts-tokenizer",
        read_tokenizer,
        tokenizers,
        (damage_json, damage_json, damage_bytes),
        ".json",
    ),
)
