"""Cases of ChatTTS's stages in a dump of inputs: padded prompts, and settings of the sampler.

Both sides read them here, so nothing is computed, and neither MLX nor the library is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ParityError
from ..progress import say

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Prompts:
    """Prompts of a case, padded on the left.

    Attributes:
        ids: (B, T, codebooks) int32.
        mask: (B, T), 0 at padding and 1 elsewhere.
        is_text: (B, T) bool.
        start: the position of the first of the codes whose logits are wanted; None: none are.
    """

    ids: np.ndarray
    mask: np.ndarray
    is_text: np.ndarray
    start: int | None


def prompts(inputs: Arrays, case: str, positions: int) -> Prompts:
    """Read the prompts of a case.

    Args:
        positions: at most so many, padding included.

    Raises:
        ParityError: shapes that do not fit together, or padding elsewhere than on the left.
    """
    name = f"gpt/{case}"
    ids, mask, is_text = (
        np.asarray(inputs[f"{name}/{part}"])
        for part in ("input_ids", "attention_mask", "text_mask")
    )
    if ids.ndim != 3 or not ids.size or ids.shape[1] > positions:
        raise ParityError(
            f"{name}/input_ids has shape {ids.shape}; it must be (B, T, codebooks), T at most "
            f"{positions}."
        )
    for part, values in (("attention_mask", mask), ("text_mask", is_text)):
        if values.shape != ids.shape[:2]:
            raise ParityError(f"{name}/{part} has shape {values.shape}; it must be {ids.shape[:2]}")
    if ids.dtype.kind not in "iu":
        raise ParityError(f"{name}/input_ids must be whole numbers; got {ids.dtype}.")
    if not np.isin(mask, (0, 1)).all() or (np.diff(mask.astype(int), axis=1) < 0).any():
        raise ParityError(f"{name}/attention_mask must be 0 on the left of a row and then 1.")
    start = None
    if f"{name}/start" in inputs:
        values = np.asarray(inputs[f"{name}/start"]).reshape(-1)
        if values.size != 1 or not 1 <= values[0] <= ids.shape[1]:
            raise ParityError(f"{name}/start must be one position from 1 to {ids.shape[1]}.")
        start = int(values[0])
    return Prompts(ids.astype(np.int32), mask.astype(np.int32), is_text == 1, start)


def has_speaker(ids: np.ndarray, case: str, token: int, inputs: Arrays) -> bool:
    """Tell whether the speaker's vector is to take the place of its token.

    Args:
        ids: (B, T, codebooks).
        token: the speaker's.
    """
    if not case.startswith("code") or not (ids[..., 0] == token).any():
        return False
    if "speaker/vector" not in inputs:
        say(f"{case}: no speaker/vector, so its token is embedded as any other.")
        return False
    return True


@dataclass(frozen=True)
class Greedy:
    """Prompts to go on with greedily.

    Attributes:
        prompts: of each row (T, codebooks), text only.
        writes_codes: or text tokens.
        limit: most draws of a row.
        repetition_penalty: of the likeliest tokens.
    """

    prompts: list[np.ndarray]
    writes_codes: bool
    limit: int
    repetition_penalty: float


def greedy(inputs: Arrays, case: str, codebooks: int) -> Greedy | None:
    """Read a case of greedy decoding; None, and a line, if `notes` lacks its settings.

    Raises:
        ParityError: shapes that do not fit together.
    """
    name = f"generate/{case}"
    ids, mask = (np.asarray(inputs[f"{name}/{part}"]) for part in ("input_ids", "attention_mask"))
    writes_codes = ids.ndim == 3
    if ids.ndim not in (2, 3) or mask.shape != ids.shape[:2]:
        raise ParityError(f"{name}: shapes {ids.shape} and {mask.shape} do not belong together.")
    if not writes_codes:
        ids = np.repeat(ids[..., None], codebooks, axis=2)
    rows = [row[there == 1].astype(np.int32) for row, there in zip(ids, mask, strict=True)]
    values = _notes(inputs).get(f"greedy_{case}")
    if not isinstance(values, dict):
        say(f"{name}: left out, since notes has no greedy_{case}.")
        return None
    limit = values.get("max_new_token", max(values.get("lengths", [1])))
    return Greedy(rows, writes_codes, limit, values.get("repetition_penalty", 1.0))


@dataclass(frozen=True)
class SamplerCase:
    """Logits and settings of a case of the sampler.

    Attributes:
        logits: (R, V) float32.
        history: (R, n) int32, what the row has drawn.
        temperature: one, or one for each codebook.
        top_p, top_k: None: all tokens are kept.
        eos: the token that ends a row.
        step: number of draws before this one.
    """

    logits: np.ndarray
    history: np.ndarray
    temperature: float | tuple[float, ...]
    top_p: float | None
    top_k: int | None
    repetition_penalty: float
    min_new_tokens: int
    eos: int
    step: int


def sampler_case(inputs: Arrays, case: str) -> SamplerCase | None:
    """Read a case of the sampler; None, and a line, if `notes` lacks a setting.

    Raises:
        ParityError: shapes that do not fit together.
    """
    name = f"sampler/{case}"
    logits, history = (np.asarray(inputs[f"{name}/{part}"]) for part in ("logits", "history"))
    if logits.ndim != 2 or history.ndim != 2 or len(logits) != len(history):
        raise ParityError(
            f"{name}/logits has shape {logits.shape} and its history {history.shape}; they must be "
            "(R, V) and (R, n)."
        )
    values = _notes(inputs).get("sampler", {}).get(case)
    if not isinstance(values, dict):
        say(f"{name}: left out, since notes has no settings of it.")
        return None
    try:
        temperature = values["temperature"]
        return SamplerCase(
            logits.astype(np.float32),
            history.astype(np.int32),
            tuple(temperature) if isinstance(temperature, list) else temperature,
            values["top_P"],
            values["top_K"],
            values["repetition_penalty"],
            values.get("min_new_token", 0),
            values.get("eos", logits.shape[1] - 1),
            values.get("step", history.shape[1]),
        )
    except KeyError as error:
        say(f"{name}: left out, since notes lacks its {error}.")
        return None


def _notes(inputs: Arrays) -> dict[str, Any]:
    """Settings of cases from `notes`, JSON in UTF-8.

    Raises:
        ParityError: it is no such JSON.
    """
    try:
        return dict(json.loads(np.asarray(inputs["notes"], dtype=np.uint8).tobytes()))
    except (ValueError, TypeError) as error:
        raise ParityError(f"notes is no JSON with settings of cases: {error}.") from None


def as_notes(values: Mapping[str, Any]) -> np.ndarray:
    """Settings of cases as they are read here, (n,) uint8."""
    return np.frombuffer(json.dumps(values).encode(), np.uint8)
