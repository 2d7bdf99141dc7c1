"""Verification of a converted ChatTTS against its source in float32."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.config import CHATTTS_TYPE
from mlx_chatterbox.parity.compare import relative_rms
from mlx_chatterbox.weights.chattts import load_converted_chattts
from mlx_chatterbox.weights.conversion.bounds import BOUNDS, Bounds, bounds_of, precision_name

from .chattts_measures import ChatTTSOutputs, compute_chattts, prepare_codes
from .measures import MEL_TO_DB, POSITIONS, SPOKEN_TOKENS, TEXTS, divergence, spectral_distance
from .verification import Measurement, Verification, software, weight_hashes


def verify_chattts(
    reference: Path,
    converted: Path,
    *,
    texts: Sequence[str] = TEXTS,
    positions: int = POSITIONS,
    spoken: int = SPOKEN_TOKENS,
    seed: int = 0,
) -> Verification:
    """Compare a converted folder with the same model in float32.

    Args:
        reference: converted folder in float32, nothing quantised.
        texts: for the GPT's distributions.
        positions, spoken: numbers of its predictions of codes, and of steps of sound, to compare.
        seed: of everything random.

    Raises:
        CheckpointError: a folder does not load, or the reference is not float32.
    """
    config = ChatTTSConfig.load(reference)
    if config.dtype != "float32" or config.quantization.rules:
        raise CheckpointError(f"{reference} is not float32, so it cannot be the reference.")
    model = load_converted_chattts(reference)
    material = prepare_codes(model, texts, positions, spoken, seed)
    expected = compute_chattts(model.networks, material)
    del model
    gc.collect()  # one model in memory at a time
    own = load_converted_chattts(converted)
    results = compute_chattts(own.networks, material, expected)
    rows = _rows(expected, results, bounds_of(own.config), BOUNDS[own.config.dtype])
    return Verification(
        precision_name(own.config),
        tuple(rows),
        material.positions,
        len(expected.hidden),
        weight_hashes(converted),
        software(),
        CHATTTS_TYPE,
    )


def _rows(
    expected: ChatTTSOutputs, own: ChatTTSOutputs, bounds: Bounds, floats: Bounds
) -> list[Measurement]:
    """Measure; names as `verification.CHATTTS_REQUIRED` lists them.

    Args:
        floats: bounds of networks that are not quantised.
    """
    text, codes = divergence(expected.text, own.text), divergence(expected.codes, own.codes)
    agreement = (expected.codes.argmax(-1) == own.codes.argmax(-1)).mean()
    mel = np.abs(expected.mel - own.mel).mean() * MEL_TO_DB
    stages = {
        "decoder/mel": (expected.given_mel, own.given_mel),
        "dvae/mel": (expected.codes_mel, own.codes_mel),
        "vocos/waveform": (expected.given_waveform, own.given_waveform),
    }
    unequal = float((expected.encoded != own.encoded).mean())
    hidden = relative_rms(expected.hidden, own.hidden)
    return [
        Measurement("gpt/code/hidden", "relative RMS", finite(hidden), bounds.stage),
        *(
            Measurement(name, "relative RMS", finite(relative_rms(*pair)), floats.stage)
            for name, pair in stages.items()
        ),
        Measurement("dvae/encoded_ids", "share unequal", unequal, bounds.tokens),
        Measurement("next text token", "KL, nats", float(text.mean()), bounds.kl),
        Measurement("next code", "KL, nats", float(codes.mean()), bounds.kl),
        Measurement("next code, worst", "KL, nats", float(codes.max()), None),
        Measurement("likeliest code", "share unequal", float(1.0 - agreement), None),
        Measurement("mel", "mean difference, dB", finite(mel), bounds.mel),
        Measurement(
            "waveform",
            "relative RMS",
            finite(relative_rms(expected.waveform, own.waveform)),
            bounds.waveform if np.isfinite(bounds.waveform) else None,
        ),
        Measurement(
            "spectrum",
            "mean difference, dB",
            spectral_distance(expected.waveform, own.waveform),
            bounds.spectrum,
        ),
    ]


def finite(value) -> float:
    """Return a figure, Inf where it is NaN."""
    return float(value) if np.isfinite(value) else float("inf")
