"""The reference's watermark: resemble-perth 1.0.1, with the weights that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

SAMPLE_RATE = 24000


@cache
def watermarker():
    """Upstream's own marker and detector (`PerthImplicitWatermarker`)."""
    from perth.perth_net.perth_net_implicit.perth_watermarker import PerthImplicitWatermarker

    return PerthImplicitWatermarker()


def answer(waveform: np.ndarray, sample_rate: int) -> float:
    """Detector's output before it is clipped to 0 to 1, step by step as in `get_watermark`."""
    import torch
    from librosa import resample

    network = watermarker().perth_net
    at_32k = resample(
        waveform,
        orig_sr=sample_rate,
        target_sr=network.hp.sample_rate,
        res_type="polyphase",
    )
    magnitude, _ = network.ap.signal_to_magphase(torch.from_numpy(at_32k.copy()).float())
    return network.decoder(magnitude[None]).item()


def watermark(networks, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The stage of `parity.stages`."""
    waveform = np.array(inputs["audio/ref_24k"], dtype=np.float32)
    return {
        "watermark/marked": watermarker().apply_watermark(waveform, SAMPLE_RATE),
        "watermark/answer": np.array([answer(waveform, SAMPLE_RATE)], dtype=np.float32),
    }
