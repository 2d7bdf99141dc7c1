"""Long recordings for the S3 tokenizers: windows of 30 s that overlap by 4 s.

Each window's tokens are kept up to the middle of the overlap with the next one, so that every
stretch of 40 ms (20 in version 1 at 50 tokens/s) has exactly one token. Upstream instead drops 2 s
at each side that has a neighbour, which is the same wherever a window has its 30 s. But where the
length past a multiple of 26 s is under 4 s, the last window but one ends with the recording, and
2 s are dropped from it although the last window does not begin 2 s before them: up to 2 s are lost
(53 s become 51). Here they are kept. All other tokens are upstream's, at those lengths too.

Source: S3Tokenizer `_quantize_mixed_batch` and `merge_tokenized_segments`.
"""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx
import numpy as np

from ...audio.mel import clip_log_power, s3_tokenizer_log_mel, s3_tokenizer_log_power

WINDOW_FRAMES = 3000
STRIDE_FRAMES = 2600
HALF_OVERLAP_FRAMES = 200
FRAMES_PER_TOKEN = 4  # of version 2
SAMPLES_PER_FRAME = 160
# A frame's window reaches 200 samples to both sides.
_FRAMES_AROUND = 2


def split_windows(n_frames: int) -> list[tuple[int, int]]:
    """Start and end frames of the windows over a log-mel at 100 frames/s.

    A last window that would add no token, because the one before it reaches the end and has the
    better context there, is left out.
    """
    if n_frames <= WINDOW_FRAMES:
        return [(0, n_frames)]
    starts = range(0, n_frames - HALF_OVERLAP_FRAMES, STRIDE_FRAMES)
    return [(start, min(start + WINDOW_FRAMES, n_frames)) for start in starts]


def merge_windows(codes: list[mx.array], frames_per_token: int = FRAMES_PER_TOKEN) -> mx.array:
    """Join the windows' tokens, each from the middle of one overlap to the middle of the next."""
    half, stride = HALF_OVERLAP_FRAMES // frames_per_token, STRIDE_FRAMES // frames_per_token
    if len(codes) == 1:
        return codes[0]
    first, *between, last = codes
    kept = [window[half : stride + half] for window in between]
    return mx.concatenate([first[: stride + half], *kept, last[half:]])


def window_log_mels(waveform: np.ndarray | mx.array) -> Iterator[mx.array]:
    """The log-mel of each window, (128, T), without that of the whole in memory.

    It is clipped below the loudest value of the whole recording, which is looked for first: the
    spectra are computed twice, a small part of what the encoder does with them.

    Args:
        waveform: (n,) at 16 kHz.
    """
    n_frames = waveform.shape[0] // SAMPLES_PER_FRAME
    if n_frames <= WINDOW_FRAMES:
        yield s3_tokenizer_log_mel(mx.array(waveform))
        return
    loudest = max(
        float(_log_power(waveform, start, min(start + WINDOW_FRAMES, n_frames)).max())
        for start in range(0, n_frames, WINDOW_FRAMES)
    )
    for start, end in split_windows(n_frames):
        yield clip_log_power(_log_power(waveform, start, end), mx.array(loudest))


def _log_power(waveform: np.ndarray | mx.array, start: int, end: int) -> mx.array:
    """Frames `start` to `end` of the whole recording's log power, (end - start, 128)."""
    first = max(start - _FRAMES_AROUND, 0)
    cut = waveform[first * SAMPLES_PER_FRAME : (end + _FRAMES_AROUND) * SAMPLES_PER_FRAME]
    return s3_tokenizer_log_power(mx.array(cut))[start - first : end - first]
