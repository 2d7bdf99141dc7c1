"""S3Gen over any number of tokens, in memory that does not grow with it.

Up to 30 s it is S3Gen as it is, and so upstream's result. Beyond that the flow is computed for
windows of 30 s that overlap by 4 s or more (`flow_windows.py`); the mel goes from one to the next
by a cross-fade in the middle, 2 s from where either ends. The vocoder then sees one mel
(`hift_stream.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mlx.core as mx

from .flow_windows import FadeIn, FlowWindows, extra_frames
from .hift_stream import HiFTStream
from .s3gen import S3Gen, S3GenConditionals

# 30 s, as long as the tokenizer's windows. After a reference of 10 s the flow then takes 0.6 GB at
# full size beside its weights; 40 s would take 0.9.
PIECE_TOKENS = 750
OVERLAP_TOKENS = 100
CROSS_FADE_FRAMES = 20


def plan_pieces(n_tokens: int) -> list[tuple[int, int]]:
    """First and last token of each piece: all of the same length, overlaps as even as can be."""
    if n_tokens <= PIECE_TOKENS:
        return [(0, n_tokens)]
    gaps = -(-(n_tokens - PIECE_TOKENS) // (PIECE_TOKENS - OVERLAP_TOKENS))
    starts = [(n_tokens - PIECE_TOKENS) * i // gaps for i in range(gaps + 1)]
    return [(start, start + PIECE_TOKENS) for start in starts]


def waveform_length(s3gen: S3Gen, n_tokens: int, reference: S3GenConditionals) -> int:
    """Total number of samples that `speak_in_pieces` yields."""
    ratio = s3gen.config.token_mel_ratio
    return (ratio * n_tokens - extra_frames(reference, ratio)) * s3gen.mel2wav.samples_per_frame


def speak_in_pieces(
    s3gen: S3Gen,
    tokens: mx.array,
    reference: S3GenConditionals,
    key: mx.array,
    n_timesteps: int = 10,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[mx.array]:
    """Speak, piece by piece.

    Args:
        tokens: (m,) speech tokens, 0 to 6560.
        reference: the voice.
        key: source of all randomness.
        n_timesteps: Euler steps of the flow.
        on_step: callback(steps done, total), over all pieces.

    Yields:
        (n,) float32 at 24 kHz, evaluated; together 960 m samples, faded in over the first 40 ms.

    Raises:
        SettingError: fewer than one step.
    """
    if len(plan_pieces(tokens.shape[0])) == 1:
        yield s3gen(tokens, reference, key=key, n_timesteps=n_timesteps, on_step=on_step)
        return
    flow_key, source_key = mx.random.split(key)
    vocoder = HiFTStream(s3gen.mel2wav, source_key)
    fade_in = FadeIn(s3gen.config.sampling_rate)
    for mel, last in mel_pieces(s3gen, tokens, reference, flow_key, n_timesteps, on_step):
        yield fade_in(vocoder.push(mel, last))


def mel_pieces(
    s3gen: S3Gen,
    tokens: mx.array,
    reference: S3GenConditionals,
    key: mx.array,
    n_timesteps: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[mx.array, bool]]:
    """The flow's part of `speak_in_pieces`.

    Yields:
        (1, T, 80) log-mel at 50 frames/s, 2 m frames together, and True for the last.
    """
    ratio = s3gen.config.token_mel_ratio
    windows = FlowWindows(s3gen, reference, key, n_timesteps, CROSS_FADE_FRAMES)
    pieces = plan_pieces(tokens.shape[0])
    for index, (start, end) in enumerate(pieces):
        last = index + 1 == len(pieces)
        stop = ratio * end
        if not last:
            middle = ratio * (end + pieces[index + 1][0]) // 2
            stop = middle - CROSS_FADE_FRAMES // 2
        on_piece_step = _of_piece(on_step, index, len(pieces))
        yield windows.mel(tokens[start:end], start, stop, on_piece_step), last


def _of_piece(
    on_step: Callable[[int, int], None] | None, index: int, n_pieces: int
) -> Callable[[int, int], None] | None:
    """Callback for one piece that reports the progress over all pieces."""
    if on_step is None:
        return None
    return lambda done, total: on_step(index * total + done, n_pieces * total)
