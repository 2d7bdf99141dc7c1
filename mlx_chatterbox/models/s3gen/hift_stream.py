"""The vocoder over a mel that comes in pieces: the waveform is that of the whole.

Nothing is approximated. The fundamental's phase is carried from piece to piece, and each piece is
decoded with as many frames around it as the convolutions can see. So the result does not depend on
how the mel was cut, and memory not on its length.
"""

from __future__ import annotations

import math

import mlx.core as mx

from .config import HiFTNetConfig
from .f0_predictor import LAYERS
from .hift import HiFTGenerator
from .noise import FrameNoise

# Decoded at once; the context costs 6 % on top, and 10 s take 250 MB at full size.
_PIECE_FRAMES = 500


def context_frames(config: HiFTNetConfig) -> int:
    """The number of mel frames to each side that a sample of the waveform can depend on."""
    reach, rate = 3.0, 1  # conv_pre
    last_rate = math.prod(config.upsample_rates)
    for stage, (up, kernel) in enumerate(
        zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
    ):
        reach += math.ceil(kernel / up) / rate
        rate *= up
        source_kernel = config.source_resblock_kernel_sizes[stage]
        source_dilations = config.source_resblock_dilation_sizes[stage]
        # The source's STFT, the strided convolution over it, and its residual block.
        of_source = (config.istft_n_fft / config.istft_hop_len + 2 * last_rate / rate) / last_rate
        of_source += _resblock_reach(source_kernel, source_dilations) / rate
        of_mel = max(
            _resblock_reach(kernel, dilations)
            for kernel, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            )
        )
        reach = max(reach, of_source) + of_mel / rate
    # conv_post, the frame that the last stage mirrors, and the inverse STFT.
    reach += (3 + 1 + config.istft_n_fft / config.istft_hop_len) / last_rate
    return math.ceil(reach)


def _resblock_reach(kernel_size: int, dilations: list[int]) -> int:
    """Samples to each side that a residual block sees; each dilated convolution has a plain one."""
    return (kernel_size - 1) // 2 * (sum(dilations) + len(dilations))


class HiFTStream:
    """Vocodes one mel piece by piece; the state is here and not in the network.

    A sample comes out once the mel `context_frames` and five frames (those that F0 depends on)
    after it is known.
    """

    def __init__(self, vocoder: HiFTGenerator, key: mx.array):
        """key: source of the excitation's random phases and noise."""
        self._vocoder = vocoder
        self._context = context_frames(vocoder.config)
        self._hop = vocoder.samples_per_frame
        phase_key, noise_key = mx.random.split(key)
        self._noise = FrameNoise(noise_key, self._hop)
        self._phases = vocoder.m_source.draw_phases(1, phase_key)
        self._phase: mx.array | None = None
        # Mel and source are kept from frame `_first` on; the source reaches to `_excited`, the
        # samples that were returned to `_done`.
        self._mel = mx.zeros((1, 0, vocoder.config.in_channels))
        self._source = mx.zeros((1, 0))
        self._first = self._excited = self._done = 0
        # Evaluated: the next piece may be asked for in another thread.
        mx.eval(self._phases, self._mel, self._source)

    def push(self, mel: mx.array, last: bool = False) -> mx.array:
        """Take more of the mel.

        Args:
            mel: (1, T, 80) log-mel at 50 frames/s, after the earlier ones.
            last: True if nothing follows, so that all samples that are left are returned.

        Returns:
            (n,) the samples that no later mel can change, evaluated; n may be 0.
        """
        self._mel = mx.concatenate([self._mel.astype(mel.dtype), mel], axis=1)
        mx.eval(self._mel)
        end = self._first + self._mel.shape[1]
        self._excite_until(end if last else max(end - LAYERS, self._excited))
        ready = self._excited if last else max(self._excited - self._context, self._done)
        pieces = [mx.zeros((0,))]
        for start in range(self._done, ready, _PIECE_FRAMES):
            pieces.append(self._decode(start, min(start + _PIECE_FRAMES, ready)))
            mx.eval(pieces[-1])
        self._done = ready
        self._forget_before(ready - self._context)
        return mx.concatenate(pieces)

    def _excite_until(self, end: int) -> None:
        known = self._first + self._mel.shape[1]
        for start in range(self._excited, end, _PIECE_FRAMES):
            stop = min(start + _PIECE_FRAMES, end)
            around = max(start - LAYERS, 0), min(stop + LAYERS, known)
            f0 = self._vocoder.f0_predictor(self._mel_between(*around))
            noise = self._noise.between(start, stop)
            source, self._phase = self._vocoder.m_source.excite(
                f0[:, start - around[0] : stop - around[0]],
                self._hop,
                self._phases,
                noise.reshape(1, -1),
                self._phase,
            )
            self._source = mx.concatenate([self._source.astype(source.dtype), source], axis=1)
            mx.eval(self._source, self._phase)
            self._excited = stop

    def _decode(self, start: int, stop: int) -> mx.array:
        first, end = max(start - self._context, 0), min(stop + self._context, self._excited)
        source = self._source[
            :, (first - self._first) * self._hop : (end - self._first) * self._hop
        ]
        waveform = self._vocoder.decode(self._mel_between(first, end), source)[0]
        return waveform[(start - first) * self._hop : (stop - first) * self._hop]

    def _mel_between(self, start: int, stop: int) -> mx.array:
        return self._mel[:, start - self._first : stop - self._first]

    def _forget_before(self, frame: int) -> None:
        if frame > self._first:
            # Copies: a view would keep the whole array in memory.
            self._source = mx.contiguous(self._source[:, (frame - self._first) * self._hop :])
            self._mel = mx.contiguous(self._mel[:, frame - self._first :])
            mx.eval(self._source, self._mel)
            self._first = frame
