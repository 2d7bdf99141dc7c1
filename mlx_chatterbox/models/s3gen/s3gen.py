"""S3Gen: speech tokens to a waveform in the voice of a reference.

Source: upstream `models/s3gen/s3gen.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from ...checks.tensors import check_shape
from ...errors import SettingError
from .campplus import CAMPPlus
from .config import S3GenConfig
from .flow import CausalMaskedDiffWithXvec
from .hift import HiFTGenerator


@dataclass
class S3GenConditionals:
    """The voice to speak in, as S3Gen takes it.

    Attributes:
        prompt_token: (1, n) int32 speech tokens of the reference, at most 10 s.
        prompt_feat: (1, 2 n or 2 n + 1, 80) its log-mel at 50 frames/s.
        embedding: (1, 192) its speaker embedding.
    """

    prompt_token: mx.array
    prompt_feat: mx.array
    embedding: mx.array


def trim_fade(sampling_rate: int) -> mx.array:
    """20 ms of silence and 20 ms of fade-in, against spill-over from the reference."""
    n = sampling_rate // 50
    rising = (mx.cos(mx.linspace(math.pi, 0.0, n)) + 1.0) / 2.0
    return mx.concatenate([mx.zeros((n,)), rising])


def faded_in(waveform: mx.array, sampling_rate: int) -> mx.array:
    """A waveform (n,), its first 40 ms multiplied by `trim_fade`."""
    fade = trim_fade(sampling_rate)[: waveform.shape[0]]
    length = fade.shape[0]
    return mx.concatenate([waveform[:length] * fade, waveform[length:]])


class S3Gen(nn.Module):
    """Flow, vocoder and speaker encoder; the S3 tokenizer is a part of its own in a checkpoint."""

    def __init__(self, config: S3GenConfig):
        super().__init__()
        self.config = config
        self.flow = CausalMaskedDiffWithXvec(config)
        self.speaker_encoder = CAMPPlus(config.speaker_encoder)
        self.mel2wav = HiFTGenerator(config.hift)

    def noise_for(self, n_tokens: int, reference: S3GenConditionals, key: mx.array) -> mx.array:
        """Fresh noise for the flow over prompt and new tokens, (1, 2 n + 2 m, 80)."""
        frames = (reference.prompt_token.shape[1] + n_tokens) * self.config.token_mel_ratio
        return mx.random.normal((1, frames, self.config.mel_bins), key=key)

    def __call__(
        self,
        tokens: mx.array,
        reference: S3GenConditionals,
        key: mx.array | None = None,
        noise: mx.array | None = None,
        source: mx.array | None = None,
        n_timesteps: int = 10,
        on_step: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Speak.

        Args:
            tokens: (m,) speech tokens, 0 to 6560.
            reference: the voice.
            key: source of the noise and the excitation where they are not passed.
            noise: (1, 2 n + 2 m, 80) start of the flow.
            source: (1, 960 m) excitation of the vocoder.
            n_timesteps: Euler steps of the flow.

        Returns:
            (960 m,) float32 at 24 kHz, faded in over its first 40 ms.

        Raises:
            SettingError: noise of another shape.
        """
        flow_key, source_key = mx.random.split(mx.random.key(0) if key is None else key)
        if noise is None:
            noise = self.noise_for(tokens.shape[0], reference, flow_key)
        frames = (reference.prompt_token.shape[1] + tokens.shape[0]) * self.config.token_mel_ratio
        check_shape(noise, (1, frames, self.config.mel_bins), "noise", SettingError)
        mel = self.flow.inference(
            tokens[None],
            reference.prompt_token,
            reference.prompt_feat,
            reference.embedding,
            noise,
            n_timesteps,
            on_step,
        )
        waveform, _ = self.mel2wav(mel, source, source_key)
        return faded_in(waveform[0], self.config.sampling_rate).astype(mx.float32)
