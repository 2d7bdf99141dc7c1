"""The pocket model, which is part of the package, so that its speech can be checked anywhere."""

from __future__ import annotations

import numpy as np

from ..api.tts import ChatterboxTTS
from ..weights.hub import POCKET

TEXT = "The ferry leaves the island at seven, and the last bus waits for it."
OTHER_TEXT = "Nobody knew the way."


def open_pocket(device: str | None = None, dtype: str | None = None) -> ChatterboxTTS:
    """Load the model again, so that no state of earlier speech is left."""
    return ChatterboxTTS.from_pretrained(POCKET, device, dtype=dtype)


def say(tts: ChatterboxTTS, text: str = TEXT, seed: int = 1, **settings) -> np.ndarray:
    """Speak once, without guards, whose repetitions would hide what happened."""
    return tts.generate(text, seed=seed, guard=False, **settings)


def recording(seconds: float) -> np.ndarray:
    """A recording of that length, (n,) at 24 kHz, spoken by the model itself."""
    tts = open_pocket()
    spoken = say(tts, watermark=False)
    return np.resize(spoken, round(seconds * tts.sr))
