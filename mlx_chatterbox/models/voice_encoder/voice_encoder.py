"""Voice encoder: a speaker embedding for T3 from a mel spectrogram.

Three LSTM layers over partial utterances of 1.6 s, whose embeddings are averaged (GE2E,
https://arxiv.org/abs/1710.10467). Source: upstream `models/voice_encoder/voice_encoder.py`.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

from ...audio.mel import voice_encoder_mel
from ...audio.silence import trim_silence
from ...nn.lstm import LSTM
from .config import VoiceEncoderConfig

SAMPLE_RATE = 16000
PARTIALS_PER_SECOND = 1.3
MIN_COVERAGE = 0.8
TRIM_DB = 20.0


def partial_starts(n_frames: int, partial_frames: int) -> list[int]:
    """Start frames of the partial utterances; the last may reach past the end, into zeros.

    A last partial is added where at least 80 % of it is covered. Source: upstream `get_num_wins`
    and `get_frame_step` with its default rate of 1.3 partials a second.
    """
    step = round(SAMPLE_RATE / PARTIALS_PER_SECOND / partial_frames)
    count, rest = divmod(max(n_frames - partial_frames + step, 0), step)
    if count == 0 or (rest + partial_frames - step) / partial_frames >= MIN_COVERAGE:
        count += 1
    return [i * step for i in range(count)]


def speaker_embedding(embeddings: mx.array) -> mx.array:
    """One embedding for a speaker, (256,), from those of several recordings, (n, 256).

    Source: upstream `utt_to_spk_embed`.
    """
    mean = embeddings.mean(axis=0)
    return mean / mx.linalg.norm(mean)


def voice_similarity(first: mx.array, second: mx.array) -> float:
    """Similarity of two voices, -1 to 1: the cosine between embeddings (256,) of unit length."""
    return float((first.reshape(-1) * second.reshape(-1)).sum())


class VoiceEncoder(nn.Module):
    """Speaker encoder; embeddings have unit length."""

    def __init__(self, config: VoiceEncoderConfig):
        super().__init__()
        self._partial_frames = config.partial_frames
        self.lstm = LSTM(config.num_mels, config.hidden_size, config.num_layers)
        self.proj = nn.Linear(config.hidden_size, config.speaker_embed_size)

    def __call__(self, mels: mx.array) -> mx.array:
        """Embed partial utterances: mels (B, T, 40) to (B, 256)."""
        raw = nn.relu(self.proj(self.lstm(mels)[:, -1]))
        return raw / mx.linalg.norm(raw, axis=-1, keepdims=True)

    def embed_mel(self, mel: mx.array) -> mx.array:
        """Embed an utterance: mel (T, 40), power, at 100 frames/s, to (1, 256)."""
        starts = partial_starts(mel.shape[0], self._partial_frames)
        missing = starts[-1] + self._partial_frames - mel.shape[0]
        if missing > 0:
            mel = mx.pad(mel, [(0, missing), (0, 0)])
        partials = mx.stack([mel[start : start + self._partial_frames] for start in starts])
        mean = self(partials).mean(axis=0, keepdims=True)
        return mean / mx.linalg.norm(mean, axis=-1, keepdims=True)

    def embed(self, waveform) -> mx.array:
        """Embed a recording: waveform (n,) at 16 kHz; its silent ends are cut off first."""
        return self.embed_mel(voice_encoder_mel(mx.array(trim_silence(waveform, TRIM_DB))))
