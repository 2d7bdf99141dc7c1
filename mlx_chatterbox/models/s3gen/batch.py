"""S3Gen over several rows of different lengths: each result is what the row gives alone.

Upstream asserts or assumes one row, or rows that are equally long: it pads a prompt in the middle
of a sequence and takes the padding for speech. Here a row's tokens follow right after its own
prompt, padding comes after both, and masks keep it out of every convolution and every attention.
The vocoder, which mirrors the signal at its ends, takes rows of one length together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np

from .flow import CausalMaskedDiffWithXvec
from .hift import HiFTGenerator
from .s3gen import S3Gen, S3GenConditionals, faded_in


def stack_padded(rows: Sequence[mx.array], value: float = 0.0) -> mx.array:
    """Rows (n_i, ...), padded after with `value`, as (B, max n_i, ...)."""
    longest = max(row.shape[0] for row in rows)
    after = [[(0, longest - row.shape[0])] + [(0, 0)] * (row.ndim - 1) for row in rows]
    return mx.stack(
        [mx.pad(row, pad, constant_values=value) for row, pad in zip(rows, after, strict=True)]
    )


def _mask(lengths: Sequence[int], dtype: mx.Dtype) -> mx.array | None:
    """(B, longest), 1 in each row's length and 0 after it; None where all are equally long."""
    if len(set(lengths)) == 1:
        return None
    inside = np.arange(max(lengths))[None] < np.array(lengths)[:, None]
    return mx.array(inside).astype(dtype)


def mel_frames(
    flow: CausalMaskedDiffWithXvec, n_tokens: int, reference: S3GenConditionals, unspoken: int = 0
) -> tuple[int, int]:
    """Mel frames of the prompt and of the new tokens, of which the last `unspoken` have none.

    An odd frame that the prompt's mel has beyond its tokens is taken from the new ones'.
    """
    prompt = reference.prompt_feat.shape[1]
    in_all = flow.ratio * (reference.prompt_token.shape[1] + n_tokens - unspoken)
    return prompt, max(in_all - prompt, 0)


def mels_of(
    flow: CausalMaskedDiffWithXvec,
    tokens: Sequence[mx.array],
    references: Sequence[S3GenConditionals],
    noises: Sequence[mx.array],
    n_timesteps: int,
    unspoken: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> list[mx.array]:
    """Mels of several rows of new tokens, each in a voice of its own.

    Args:
        tokens: (m_i,) each.
        references: one for each row.
        noises: (2 (n_i + m_i - unspoken), 80) each, n_i the tokens of the row's prompt.
        n_timesteps: Euler steps.
        unspoken: tokens at the end of each row that are lookahead, and get no mel.

    Returns:
        (T_i, 80) each, log-mel at 50 frames/s; T_i as `mel_frames` says.

    Raises:
        SettingError: fewer than one step.
    """
    sequences = [
        mx.concatenate([reference.prompt_token[0], row.astype(reference.prompt_token.dtype)])
        for row, reference in zip(tokens, references, strict=True)
    ]
    spans = [
        mel_frames(flow, len(row), reference, unspoken)
        for row, reference in zip(tokens, references, strict=True)
    ]
    ends = [noise.shape[0] for noise in noises]
    conds = [
        mx.pad(reference.prompt_feat[0, :end], [(0, max(end - prompt, 0)), (0, 0)])
        for reference, (prompt, _), end in zip(references, spans, ends, strict=True)
    ]
    mel = flow.solve(
        stack_padded(sequences),
        stack_padded(conds),
        mx.concatenate([reference.embedding for reference in references]),
        stack_padded(noises),
        n_timesteps,
        _mask([len(row) for row in sequences], flow.dtype),
        _mask(ends, flow.dtype),
        on_step,
    )
    return [row[prompt : prompt + frames] for row, (prompt, frames) in zip(mel, spans, strict=True)]


def waveforms_of(
    vocoder: HiFTGenerator,
    mels: Sequence[mx.array],
    keys: Sequence[mx.array],
    beginnings: Sequence[mx.array | None] | None = None,
) -> tuple[list[mx.array], list[mx.array]]:
    """Waveforms of several mels.

    Args:
        mels: (T_i, 80) each.
        keys: source of each row's random phases and noise.
        beginnings: (k_i,) each, the beginning of the row's source, from an earlier call; or None.

    Returns:
        Waveforms (480 T_i,) within +-0.99 each, and the sources that made them, as long.
    """
    beginnings = [None] * len(mels) if beginnings is None else beginnings
    sources = []
    for mel, key, start in zip(mels, keys, beginnings, strict=True):
        if mel.shape[0] == 0:
            sources.append(mx.zeros((0,)))
            continue
        source = vocoder.m_source(vocoder.f0_predictor(mel[None]), vocoder.samples_per_frame, key)[
            0
        ]
        if start is not None and start.shape[0]:
            start = start[: source.shape[0]].astype(source.dtype)
            source = mx.concatenate([start, source[start.shape[0] :]])
        sources.append(source)
    equally_long = defaultdict(list)
    for index, mel in enumerate(mels):
        equally_long[mel.shape[0]].append(index)
    waveforms: list[mx.array] = [mx.zeros((0,))] * len(mels)
    for length, rows in equally_long.items():
        if length:
            together = vocoder.decode(
                mx.stack([mels[i] for i in rows]), mx.stack([sources[i] for i in rows])
            )
            for index, waveform in zip(rows, together, strict=True):
                waveforms[index] = waveform
    return waveforms, sources


def speech_of(
    s3gen: S3Gen,
    tokens: Sequence[mx.array],
    references: Sequence[S3GenConditionals],
    keys: Sequence[mx.array],
    n_timesteps: int = 10,
    on_step: Callable[[int, int], None] | None = None,
) -> list[mx.array]:
    """Speak several sentences together: each as `S3Gen.__call__` speaks it, up to rounding.

    The flow computes all of them at once, as long as the longest. The vocoder, a small part of the
    work, computes together only those that are equally long.

    Args:
        tokens: (m_i,) speech tokens each, 0 to 6560.
        references: one for each row.
        keys: source of each row's noise and excitation.
        n_timesteps: Euler steps of the flow.
        on_step: callback(steps done, total).

    Returns:
        (960 m_i,) float32 at 24 kHz each, faded in over its first 40 ms.

    Raises:
        SettingError: fewer than one step.
    """
    pairs = [mx.random.split(key) for key in keys]
    noises = [
        s3gen.noise_for(row.shape[0], reference, flow_key)[0]
        for row, reference, (flow_key, _) in zip(tokens, references, pairs, strict=True)
    ]
    mels = mels_of(s3gen.flow, tokens, references, noises, n_timesteps, on_step=on_step)
    waveforms, _ = waveforms_of(s3gen.mel2wav, mels, [source_key for _, source_key in pairs])
    rate = s3gen.config.sampling_rate
    return [faded_in(waveform, rate).astype(mx.float32) for waveform in waveforms]
