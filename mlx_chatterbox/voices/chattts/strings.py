"""Speaker strings and audio-prompt strings, by which ChatTTS's voices are passed around.

A speaker string is a vector of 768 float16, compressed and written in base16384. An audio-prompt
string is the shape (codebooks, steps) as two uint16, and the codes, uint16, compressed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import SettingError
from ...text.checked_text import described
from ..base16384 import from_base16384, to_base16384
from .raw_lzma import compress, decompress

SPEAKER_SIZE = 768
CODEBOOKS, CODES = 4, 625
# The GPT has 4096 positions, of which a prompt needs one at least for text.
MAX_PROMPT_STEPS = 4095
_SHAPE_BYTES = 4


def encode_speaker(vector: Any) -> str:
    """Write a speaker's vector as a string.

    Args:
        vector: (768,), rounded to float16.

    Raises:
        SettingError: another shape, or NaN or Inf in float16.
    """
    return to_base16384(compress(checked_vector(vector).astype("<f2").tobytes()))


def decode_speaker(string: str, size: int = SPEAKER_SIZE) -> np.ndarray:
    """Read a speaker's vector, (size,) float16, from its string.

    Raises:
        SettingError: it is damaged, cut short, or no speaker's.
    """
    name = "the speaker string"
    data = decompress(_bytes(string, name), 2 * size, name)
    if len(data) != 2 * size:
        raise SettingError(
            f"{name} holds {len(data)} bytes, not the {2 * size} of a speaker's vector: an "
            "audio-prompt string, or another model's?"
        )
    return checked_vector(np.frombuffer(data, "<f2"), size, name)


def checked_vector(
    vector: Any, size: int = SPEAKER_SIZE, name: str = "the speaker's vector"
) -> np.ndarray:
    """Check a speaker's vector, and round it to float16, (size,).

    Raises:
        SettingError: another shape, no numbers, or NaN or Inf in float16.
    """
    try:
        values = np.asarray(vector)
        with np.errstate(over="ignore"):
            values = values.astype(np.float16)
    except (TypeError, ValueError):
        raise SettingError(f"{name} must be ({size},) numbers; got {described(vector)}.") from None
    if values.shape != (size,):
        raise SettingError(f"{name} has shape {values.shape}; it must be ({size},).")
    if not np.isfinite(values).all():
        raise SettingError(f"{name} holds NaN or Inf (in float16).")
    return values


def normalised(vector: np.ndarray) -> np.ndarray:
    """Divide a speaker's vector by its length, in float16 as upstream does.

    The length is rounded to float16, and so is the quotient: the difference from float32 reaches
    the network.

    Args:
        vector: (n,) float16.

    Returns:
        (n,) float16

    Raises:
        SettingError: its length is 0, or beyond float16.
    """
    values = vector.astype(np.float32)
    with np.errstate(over="ignore"):
        length = np.float16(np.sqrt(np.sum(values.astype(np.float64) ** 2)))
    if not 0 < length < np.inf:
        raise SettingError(f"the speaker's vector has the length {length} in float16: no voice.")
    return (values / np.float32(length)).astype(np.float16)


def encode_codes(codes: Any) -> str:
    """Write the codes of a recording as an audio-prompt string.

    Args:
        codes: (codebooks, steps), whole numbers.

    Raises:
        SettingError: another shape, or codes that there are not.
    """
    values = checked_codes(codes)
    shape = np.array(values.shape, "<u2").tobytes()
    return to_base16384(shape + compress(values.astype("<u2").tobytes()))


def decode_codes(string: str) -> np.ndarray:
    """Read codes, (codebooks, steps) int32, from an audio-prompt string.

    Raises:
        SettingError: it is damaged, cut short, or no audio prompt.
    """
    name = "the audio-prompt string"
    data = _bytes(string, name)
    if len(data) <= _SHAPE_BYTES:
        raise SettingError(f"{name} is cut short. Copy it again, whole.")
    codebooks, steps = (int(n) for n in np.frombuffer(data[:_SHAPE_BYTES], "<u2"))
    if codebooks != CODEBOOKS:
        raise SettingError(
            f"{name} has {codebooks} codebooks, not {CODEBOOKS}: a speaker string, or another "
            "model's?"
        )
    count = codebooks * steps
    content = decompress(data[_SHAPE_BYTES:], 2 * count, name)
    if len(content) != 2 * count:
        raise SettingError(f"{name} holds {len(content) // 2} codes, not the {count} it states.")
    return checked_codes(np.frombuffer(content, "<u2").reshape(codebooks, steps), name)


def checked_codes(codes: Any, name: str = "the audio prompt") -> np.ndarray:
    """Check codes of an audio prompt; return them as (codebooks, steps) int32.

    Raises:
        SettingError: another shape, not whole numbers, too long, or codes that there are not.
    """
    values = np.asarray(codes)
    if values.ndim != 2 or values.shape[0] != CODEBOOKS or values.shape[1] == 0:
        raise SettingError(f"{name} has shape {values.shape}; it must be ({CODEBOOKS}, steps).")
    if not np.issubdtype(values.dtype, np.integer):
        raise SettingError(f"{name} must be whole numbers; got {values.dtype}.")
    if values.shape[1] > MAX_PROMPT_STEPS:
        raise SettingError(
            f"{name} has {values.shape[1]} steps; the model has room for {MAX_PROMPT_STEPS}."
        )
    outside = values[(values < 0) | (values >= CODES)]
    if outside.size:
        raise SettingError(f"{name} has the code {outside[0]}; codes are from 0 to {CODES - 1}.")
    return values.astype(np.int32)


def _bytes(string: Any, name: str) -> bytes:
    if not isinstance(string, str):
        raise SettingError(f"{name} must be a str; got {described(string)}.")
    if not string.strip():
        raise SettingError(f"{name} is empty.")
    return from_base16384(string, name)
