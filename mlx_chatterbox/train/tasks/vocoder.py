"""Training of the HiFT vocoder without a discriminator: multi-resolution spectra, log-mels, and F0.

Spectral convergence and log magnitude follow Parallel WaveGAN
(https://arxiv.org/abs/1910.11480). The excitation comes from the true F0, so that the
harmonics are where the recording has them; the F0 predictor is trained as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...audio.mel import mel_filters
from ...audio.stft import hann_window, raised_cosine, reflect_pad, stft
from ...errors import DataError
from ...models.s3gen.config import HiFTNetConfig
from ...runtime import device
from .base import (
    Batch,
    MetricSums,
    Sample,
    Sums,
    Task,
    Totals,
    generator,
    keys_of,
    length_mask,
    padded,
    total,
)

# FFT size, hop and number of mel bands of each resolution.
RESOLUTIONS = ((256, 64, 32), (512, 128, 64), (1024, 256, 80), (2048, 512, 128))
# Magnitudes below this count as silence: differences of their logarithms mean nothing.
MIN_MAGNITUDE = 1e-4
F0_UNIT_HZ = 100.0
# Up to this FFT size a matrix product with its gradient is faster than an FFT on the CPU.
_LARGEST_PRODUCT = 2048

_CROP, _PHASES, _NOISE = range(3)


class VocoderTask(Task):
    """Losses "convergence", "magnitude", "mel" (means over crops) and "f0" (mean over frames).

    Samples need "mel" (T, 80), "waveform" (480 T,) at 24 kHz and "f0" (T,) in Hz, 0 where
    unvoiced. A shorter clip is extended by silence.

    Args:
        config: the vocoder's.
        frames: length of the crops in mel frames; 32 are 0.64 s.
        given_source: samples hold the excitation as "source" (480 T,), so that the sines of many
            harmonics need not be made at every step; the layer that merges them is not trained.
        resolutions: FFT size, hop and number of mel bands of each.
        weights: of the parts; "f0" is measured in units of 100 Hz.
    """

    name = "vocoder"
    parts = ("convergence", "magnitude", "mel", "f0")

    def __init__(
        self,
        config: HiFTNetConfig,
        frames: int = 32,
        given_source: bool = False,
        resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS,
        weights: dict[str, float] | None = None,
    ):
        super().__init__(weights)
        self.config, self.frames = config, frames
        self.given_source, self.resolutions = given_source, tuple(resolutions)
        self.features = frozenset({"mel", "waveform", "f0", *(["source"] if given_source else [])})
        self._per_frame = int(np.prod(config.upsample_rates)) * config.istft_hop_len

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        mels, waveforms, pitches, sources = zip(*map(self._crop, samples), strict=True)
        # The log-mel of silence, which extends a short clip.
        silence = float(np.log(1e-5))
        mel = padded([row - silence for row in mels], self.frames, np.float32) + np.float32(silence)
        batch = {
            "keys": keys_of(samples),
            "mel": mx.array(mel),
            "waveform": mx.array(padded(waveforms, self.frames * self._per_frame, np.float32)),
            "f0": mx.array(padded(pitches, self.frames, np.float32)),
            "mask": mx.array(length_mask([len(row) for row in mels], self.frames)),
        }
        if self.given_source:
            excitation = padded(sources, self.frames * self._per_frame, np.float32)
            return {**batch, "source": mx.array(excitation)}
        drawn = [self._draw(sample) for sample in samples]
        return {
            **batch,
            "phases": mx.array(np.stack([phases for phases, _ in drawn])),
            "noise": mx.array(np.stack([noise for _, noise in drawn])),
        }

    def _crop(self, sample: Sample) -> tuple[np.ndarray, ...]:
        """Return a random stretch of mel, waveform, F0 and excitation (else the waveform again)."""
        mel, waveform, f0 = (
            np.asarray(sample[name], dtype=np.float32) for name in ("mel", "waveform", "f0")
        )
        source = np.asarray(sample["source"]) if self.given_source else waveform
        expected = self._per_frame * len(mel)
        if not (len(mel) and len(f0) == len(mel) and len(waveform) == len(source) == expected):
            raise DataError(
                f"{sample.get('id', 'a sample')} has {len(mel)} mel frames, {len(f0)} values of F0 "
                f"and {len(waveform)} samples; there must be {self._per_frame} samples a frame."
            )
        spare = max(len(mel) - self.frames, 0)
        start = int(generator(sample["key"], _CROP).integers(spare + 1))
        stop = start + self.frames
        within = slice(self._per_frame * start, self._per_frame * stop)
        return mel[start:stop], waveform[within], f0[start:stop], source[within]

    def _draw(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """Draw the excitation's phases (1, harmonics) and noise (samples,)."""
        harmonics = self.config.nb_harmonics + 1
        phases = generator(sample["key"], _PHASES).uniform(-np.pi, np.pi, (1, harmonics))
        phases[:, 0] = 0.0
        samples = self.frames * self._per_frame
        noise = generator(sample["key"], _NOISE).standard_normal(samples, dtype=np.float32)
        return phases.astype(np.float32), noise

    def counts(self, batch: Batch) -> Totals:
        stretches = float(batch["mel"].shape[0])
        return {
            **dict.fromkeys(("convergence", "magnitude", "mel"), stretches),
            "f0": total(batch["mask"]),
        }

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[Sums, MetricSums]:
        hift = self.module(networks)
        dtype = hift.conv_pre.weight.dtype
        mel = batch["mel"].astype(dtype)
        if self.given_source:
            source = batch["source"]
        else:
            excite = hift.m_source.excite
            source, _ = excite(batch["f0"], self._per_frame, batch["phases"], batch["noise"])
        waveform = hift.decode(mel, source)
        sums = spectral_losses(
            waveform.astype(mx.float32),
            batch["waveform"],
            self.config.sampling_rate,
            self.resolutions,
        )
        distance = mx.abs(hift.f0_predictor(mel).astype(mx.float32) - batch["f0"]) / F0_UNIT_HZ
        sums["f0"] = (distance * batch["mask"]).sum()
        return sums, {}


def spectral_losses(
    generated: mx.array,
    recorded: mx.array,
    rate: int,
    resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS,
) -> dict[str, mx.array]:
    """Compute "convergence", "magnitude" and "mel", sums over the batch, means over resolutions.

    Args:
        generated, recorded: waveforms (B, n).
        rate: of the waveforms, Hz.
        resolutions: FFT size, hop and number of mel bands of each.
    """
    sums = {name: mx.array(0.0) for name in ("convergence", "magnitude", "mel")}
    for n_fft, hop, bands in resolutions:
        magnitudes, target = (_magnitudes(x, n_fft, hop) for x in (generated, recorded))
        error = mx.sqrt(mx.square(target - magnitudes).sum(axis=(1, 2)) + 1e-12)
        size = mx.sqrt(mx.square(target).sum(axis=(1, 2)))
        # A silent crop would divide by zero.
        sums["convergence"] += (error / mx.maximum(size, 1.0)).sum() / len(resolutions)
        distance = mx.abs(mx.log(magnitudes) - mx.log(target)).mean(axis=(1, 2))
        sums["magnitude"] += distance.sum() / len(resolutions)
        filters = mx.array(mel_filters(rate, n_fft, bands)).T
        log_mels = [mx.log(mx.maximum(x @ filters, MIN_MAGNITUDE)) for x in (magnitudes, target)]
        sums["mel"] += mx.abs(log_mels[0] - log_mels[1]).mean(axis=(1, 2)).sum() / len(resolutions)
    return sums


def _magnitudes(x: mx.array, n_fft: int, hop: int) -> mx.array:
    """Compute magnitude spectra, (B, n) to (B, frames, bins), never 0.

    On the CPU by matrix products, whose gradients take a fifth of the time of those of MLX's FFT.
    """
    if device.on_cpu() and n_fft <= _LARGEST_PRODUCT and n_fft % hop == 0:
        real, imag = mx.split(_frames(x, n_fft, hop) @ _windowed_basis(n_fft), 2, axis=-1)
    else:
        real, imag = stft(x, n_fft, hop, hann_window(n_fft))
    # Above zero, so that root and logarithm have finite gradients.
    return mx.sqrt(real * real + imag * imag + MIN_MAGNITUDE**2)


def _frames(x: mx.array, length: int, hop: int) -> mx.array:
    """Return the frames of a centred `stft`, (B, frames, length).

    They are concatenated from pieces of `hop` samples, since the gradient of an overlapping view
    is a slow scatter.
    """
    x = reflect_pad(x, length // 2, length // 2)
    pieces, each = x.shape[1] // hop, length // hop
    x = x[:, : pieces * hop].reshape(x.shape[0], pieces, hop)
    count = pieces - each + 1
    return mx.concatenate([x[:, i : i + count] for i in range(each)], axis=-1)


@cache
def _windowed_basis(n_fft: int) -> mx.array:
    """Return a Hann window times cosines and sines, (n_fft, 2 bins)."""
    basis = np.exp(-2j * np.pi * np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1)) / n_fft)
    basis *= raised_cosine(n_fft, n_fft)[:, None]
    return mx.array(np.concatenate([basis.real, basis.imag], axis=1).astype(np.float32))
