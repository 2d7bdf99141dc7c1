"""Recordings, read as voices, for conversion and for training."""
# ruff: noqa: E501

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

import numpy as np

from tests.fuzz_damage import damage_bytes
from tests.fuzzing import Reader

_FORMATS = (
    ("WAV", "PCM_16", 24000), ("WAV", "FLOAT", 44100), ("FLAC", "PCM_16", 24000), ("OGG", "VORBIS", 44100),
    ("OGG", "OPUS", 48000), ("MP3", "MPEG_LAYER_III", 44100), ("AIFF", "PCM_24", 22050), ("AU", "ULAW", 8000),
    ("CAF", "ALAC_16", 16000), ("W64", "PCM_U8", 8000), ("WAV", "IMA_ADPCM", 16000), ("WAV", "GSM610", 8000),
)  # fmt: skip


@cache
def recordings() -> list[bytes]:
    import soundfile

    rng = np.random.default_rng(0)
    found = []
    for container, subtype, rate in _FORMATS:
        samples = 0.1 * rng.standard_normal((rate // 2, 1 if subtype == "GSM610" else 2))
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=container, subtype=subtype)
        found.append(file.getvalue())
    return found


def damage_header(rng: random.Random, content: bytes) -> bytes:
    """A number in the header, as formats write them: lengths, rates, channels."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2))):
        width = rng.choice((1, 2, 4, 4, 8))
        at = rng.randrange(min(len(data), 96))
        value = rng.choice((0, 1, 2, 255, 1000, 65535, 2**24, 2**31 - 1, 2**32 - 1, 2**36 - 1, -1))
        order = rng.choice(("little", "big"))
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)
    return bytes(data)


def read(path: Path) -> None:
    from mlx_chatterbox.audio.files import blocks_of, duration_of, load_audio, read_channels
    from mlx_chatterbox.voices.voice import LONGEST_REFERENCE, read_reference

    duration_of(path)
    samples, _ = read_channels(path)
    assert np.isfinite(samples).all()
    load_audio(path, 16000)
    with blocks_of(path) as (_, _, blocks):
        assert sum(map(len, blocks)) == len(samples)
    read_reference(path, 0.1, LONGEST_REFERENCE)


READERS = (
    Reader("audio", read, recordings, (damage_header, damage_header, damage_bytes), ".wav", quick=60),
)  # fmt: skip
