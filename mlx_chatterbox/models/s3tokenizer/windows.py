"""Long recordings for the S3 tokenizer: windows of 30 s that overlap by 4 s.

Source: S3Tokenizer `_quantize_mixed_batch` and `merge_tokenized_segments`.
"""

from __future__ import annotations

import mlx.core as mx

WINDOW_FRAMES = 3000
OVERLAP_FRAMES = 400
OVERLAP_HALF_TOKENS = 50


def split_windows(n_frames: int) -> list[tuple[int, int]]:
    """Start and end frames of the windows over a log-mel at 100 frames/s."""
    if n_frames <= WINDOW_FRAMES:
        return [(0, n_frames)]
    starts = range(0, n_frames, WINDOW_FRAMES - OVERLAP_FRAMES)
    return [(start, min(start + WINDOW_FRAMES, n_frames)) for start in starts]


def merge_windows(codes: list[mx.array]) -> mx.array:
    """Join the windows' tokens, each without 2 s at the sides where it has a neighbour."""
    if len(codes) == 1:
        return codes[0]
    kept = []
    for index, window in enumerate(codes):
        first = 0 if index == 0 else OVERLAP_HALF_TOKENS
        last = None if index == len(codes) - 1 else -OVERLAP_HALF_TOKENS
        kept.append(window[first:last])
    return mx.concatenate(kept)
