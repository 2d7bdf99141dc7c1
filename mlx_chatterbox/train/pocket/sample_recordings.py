"""Sample recordings of the finished voices, and their spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from ...voices.voice import Voice
from .checkpoint_folder import VOICES_FOLDER

if TYPE_CHECKING:
    from ...api.tts import ChatterboxTTS

TEXT = "Hello world, this is a test of speech."
SEED = 1
# Of the spectrogram: window and hop in samples, and the range below the loudest that is drawn.
_WINDOW, _HOP, _RANGE_DB = 600, 120, 70.0


def write_samples(tts: ChatterboxTTS, names: Sequence[str], folder: Path) -> None:
    """Write `pocket-NAME.wav` for each voice, and `pocket.png` with all of their spectrograms.

    Args:
        tts: a `ChatterboxTTS` of the pocket model.
        names: of built-in voices.
        folder: created if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waveforms = {}
    for name in names:
        voice = Voice.load(tts.checkpoint.folder / VOICES_FOLDER / f"{name}.safetensors")
        waveforms[name] = tts.generate(TEXT, voice=voice, seed=SEED, guard=False)
        soundfile.write(folder / f"pocket-{name}.wav", waveforms[name], tts.sr, subtype="PCM_16")
    _draw(waveforms, tts.sr, folder / "pocket.png")


def spectrogram(waveform: np.ndarray) -> np.ndarray:
    """Compute the power in dB, (frequencies, frames), the loudest at 0."""
    padded = np.pad(waveform, _WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=-1)) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    return (decibels - decibels.max()).T


def _draw(waveforms: dict[str, np.ndarray], rate: int, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.4 * len(waveforms)), layout="constrained")
    axes = figure.subplots(len(waveforms), 1, squeeze=False)[:, 0]
    for axis, (name, waveform) in zip(axes, waveforms.items(), strict=True):
        extent = (0, len(waveform) / rate, 0, rate / 2000)
        axis.imshow(
            spectrogram(waveform),
            origin="lower",
            aspect="auto",
            extent=extent,
            vmin=-_RANGE_DB,
            cmap="magma",
        )
        axis.set(ylabel="kHz", title=f"{name}: {TEXT}")
    axes[-1].set_xlabel("s")
    figure.savefig(path, dpi=110)
