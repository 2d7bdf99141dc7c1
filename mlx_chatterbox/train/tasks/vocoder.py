"""The HiFT vocoder without a discriminator: spectra at several resolutions, log-mels, and F0.

Spectral convergence and log magnitude follow Parallel WaveGAN
(https://arxiv.org/abs/1910.11480). The excitation comes from the true F0, so that the harmonics
stand where the recording has them; the F0 predictor learns beside it.
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
from .base import Batch, Sample, Task, Totals, generator, keys_of, length_mask, padded, total

# FFT size, hop and number of mel bands of each resolution.
RESOLUTIONS = ((256, 64, 32), (512, 128, 64), (1024, 256, 80), (2048, 512, 128))
# Magnitudes below this are silence: their logarithm says nothing.
MIN_MAGNITUDE = 1e-4
F0_UNIT_HZ = 100.0
# Up to this FFT size a matrix product, there and back, beats an FFT on the CPU.
_LARGEST_PRODUCT = 2048

_CROP, _PHASES, _NOISE = range(3)


class VocoderTask(Task):
    """Parts "convergence", "magnitude", "mel" (a stretch each) and "f0" (a frame each).

    Samples need "mel" (T, 80), "waveform" (480 T,) at 24 kHz and "f0" (T,) in Hz, 0 where
    unvoiced. A clip that is shorter than a stretch ends in silence.

    Args:
        config: the vocoder's.
        frames: mel frames of a stretch; 32 are 0.64 s.
        given_source: samples bring the excitation as "source" (480 T,), so that the sines of many
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
        mels, waveforms, pitches, sources = zip(*map(self._cut, samples), strict=True)
        # The log-mel of silence, in which a short clip ends.
        quiet = float(np.log(1e-5))
        mel = padded([row - quiet for row in mels], self.frames, np.float32) + np.float32(quiet)
        batch = {
            "keys": keys_of(samples),
            "mel": mx.array(mel),
            "waveform": mx.array(padded(waveforms, self.frames * self._per_frame, np.float32)),
            "f0": mx.array(padded(pitches, self.frames, np.float32)),
            "mask": mx.array(length_mask([len(row) for row in mels], self.frames)),
        }
        if self.given_source:
            made = padded(sources, self.frames * self._per_frame, np.float32)
            return {**batch, "source": mx.array(made)}
        drawn = [self._draw(sample) for sample in samples]
        return {
            **batch,
            "phases": mx.array(np.stack([phases for phases, _ in drawn])),
            "noise": mx.array(np.stack([noise for _, noise in drawn])),
        }

    def _cut(self, sample: Sample) -> tuple[np.ndarray, ...]:
        """A stretch of mel, waveform, F0 and, where samples bring it, source."""
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
        """What is random in the excitation: phases (1, harmonics) and noise, one a sample."""
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

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[dict, dict]:
        hift = self.module(networks)
        dtype = hift.conv_pre.weight.dtype
        mel = batch["mel"].astype(dtype)
        if self.given_source:
            source = batch["source"]
        else:
            excite = hift.m_source.excite
            source, _ = excite(batch["f0"], self._per_frame, batch["phases"], batch["noise"])
        made = hift.decode(mel, source)
        sums = spectral_losses(
            made.astype(mx.float32),
            batch["waveform"],
            self.config.sampling_rate,
            self.resolutions,
        )
        distance = mx.abs(hift.f0_predictor(mel).astype(mx.float32) - batch["f0"]) / F0_UNIT_HZ
        sums["f0"] = (distance * batch["mask"]).sum()
        return sums, {}


def spectral_losses(
    made: mx.array,
    true: mx.array,
    rate: int,
    resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS,
) -> dict[str, mx.array]:
    """Sums over the batch of "convergence", "magnitude" and "mel", means over the resolutions.

    Args:
        made, true: waveforms (B, n) at `rate`.
        resolutions: FFT size, hop and number of mel bands of each.
    """
    sums = {name: mx.array(0.0) for name in ("convergence", "magnitude", "mel")}
    for n_fft, hop, bands in resolutions:
        ours, theirs = (_magnitudes(x, n_fft, hop) for x in (made, true))
        error = mx.sqrt(mx.square(theirs - ours).sum(axis=(1, 2)) + 1e-12)
        size = mx.sqrt(mx.square(theirs).sum(axis=(1, 2)))
        # A silent stretch would divide by nothing.
        sums["convergence"] += (error / mx.maximum(size, 1.0)).sum() / len(resolutions)
        distance = mx.abs(mx.log(ours) - mx.log(theirs)).mean(axis=(1, 2))
        sums["magnitude"] += distance.sum() / len(resolutions)
        filters = mx.array(mel_filters(rate, n_fft, bands)).T
        bands_of = [mx.log(mx.maximum(x @ filters, MIN_MAGNITUDE)) for x in (ours, theirs)]
        sums["mel"] += mx.abs(bands_of[0] - bands_of[1]).mean(axis=(1, 2)).sum() / len(resolutions)
    return sums


def _magnitudes(x: mx.array, n_fft: int, hop: int) -> mx.array:
    """(B, n) to (B, frames, bins).

    By matrix products on the CPU, whose gradients take a fifth of those of MLX's FFT.
    """
    if device.on_cpu() and n_fft <= _LARGEST_PRODUCT and n_fft % hop == 0:
        real, imag = mx.split(_frames(x, n_fft, hop) @ _windowed_basis(n_fft), 2, axis=-1)
    else:
        real, imag = stft(x, n_fft, hop, hann_window(n_fft))
    # Never zero, so that the root and the logarithm have gradients.
    return mx.sqrt(real * real + imag * imag + MIN_MAGNITUDE**2)


def _frames(x: mx.array, length: int, hop: int) -> mx.array:
    """Those of a centred `stft`, put together of pieces: a view's gradient is a slow scatter."""
    x = reflect_pad(x, length // 2, length // 2)
    pieces, each = x.shape[1] // hop, length // hop
    x = x[:, : pieces * hop].reshape(x.shape[0], pieces, hop)
    count = pieces - each + 1
    return mx.concatenate([x[:, i : i + count] for i in range(each)], axis=-1)


@cache
def _windowed_basis(n_fft: int) -> mx.array:
    """(n_fft, 2 bins): a Hann window's samples times cosines and sines."""
    basis = np.exp(-2j * np.pi * np.outer(np.arange(n_fft), np.arange(n_fft // 2 + 1)) / n_fft)
    basis *= raised_cosine(n_fft, n_fft)[:, None]
    return mx.array(np.concatenate([basis.real, basis.imag], axis=1).astype(np.float32))
