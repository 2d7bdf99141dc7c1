"""Flow matching: speech tokens and a reference to a mel spectrogram.

Sources: upstream `models/s3gen/flow.py`, `flow_matching.py`, `configs.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...checks.plain import shown
from ...errors import SettingError
from ...runtime.parallel import can_run_two, run_two
from .config import MAX_CFM_STEPS, S3GenConfig
from .encoder import UpsampleConformerEncoder
from .estimator import ConditionalDecoder


def cosine_times(n_timesteps: int) -> mx.array:
    """Flow times 0 to 1, dense at the start: 1 - cos(pi i / 2 n), (n + 1,)."""
    steps = mx.linspace(0.0, 1.0, n_timesteps + 1)
    return 1.0 - mx.cos(steps * (0.5 * math.pi))


def check_steps(n_timesteps: int) -> None:
    """Raise SettingError unless the flow can take that many steps."""
    if isinstance(n_timesteps, bool) or not isinstance(n_timesteps, (int, np.integer)):
        raise SettingError(f"n_cfm_timesteps must be a whole number; got {shown(n_timesteps)}.")
    if n_timesteps < 1:
        raise SettingError(f"n_cfm_timesteps must be 1 or more; got {shown(n_timesteps)}.")
    if n_timesteps > MAX_CFM_STEPS:
        raise SettingError(
            f"n_cfm_timesteps must be {MAX_CFM_STEPS} or fewer; got {shown(n_timesteps)}."
        )


class ConditionalFlowMatching(nn.Module):
    """Euler integration of the estimator's velocity, with classifier-free guidance."""

    def __init__(self, config: S3GenConfig):
        super().__init__()
        self._cfg_rate = config.cfm_inference_cfg_rate
        self._noise_scale = config.cfm_noise_scale * config.cfm_noise_temperature
        self._meanflow = config.meanflow
        self.estimator = ConditionalDecoder(config)

    def __call__(
        self,
        noise: mx.array,
        mu: mx.array,
        spks: mx.array,
        cond: mx.array,
        n_timesteps: int,
        mask: mx.array | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Integrate from noise (B, T, 80) to mel (B, T, 80).

        Guidance doubles the batch: the second half sees neither tokens, speaker nor prompt. Mean
        flow models were distilled with guidance and take none; nor do those whose configuration
        has a rate of 0.

        Args:
            noise: standard normal; the configuration may scale it down.
            on_step: callback(steps done, total) after each step.
        """
        times = mx.linspace(0.0, 1.0, n_timesteps + 1)
        if not self._meanflow:
            times = cosine_times(n_timesteps)
        is_guided = not self._meanflow and self._cfg_rate > 0.0
        if is_guided:
            mu, spks, cond = (mx.concatenate([a, mx.zeros_like(a)]) for a in (mu, spks, cond))
            mask = None if mask is None else mx.concatenate([mask, mask])
        embedded = self.estimator.embed_time(times[:-1], times[1:] if self._meanflow else None)
        x = noise if self._noise_scale == 1.0 else noise * self._noise_scale
        for step in range(n_timesteps):
            time = embedded[step : step + 1]
            if not is_guided:
                velocity = self.estimator.velocity(x, mu, time, spks, cond, mask)
            else:
                guided, free = self._both(x, mu, time, spks, cond, mask)
                velocity = (1.0 + self._cfg_rate) * guided - self._cfg_rate * free
            x = x + (times[step + 1] - times[step]).astype(x.dtype) * velocity
            if on_step is not None:
                mx.eval(x)
                on_step(step + 1, n_timesteps)
        return x

    def _both(
        self,
        x: mx.array,
        mu: mx.array,
        time: mx.array,
        spks: mx.array,
        cond: mx.array,
        mask: mx.array | None,
    ) -> tuple[mx.array, mx.array]:
        """Velocities with and without guidance; all but x and time have twice x's batch."""
        if not can_run_two():
            both = self.estimator.velocity(mx.concatenate([x, x]), mu, time, spks, cond, mask)
            guided, free = mx.split(both, 2)
            return guided, free
        halves = [(None, None) if a is None else mx.split(a, 2) for a in (mu, spks, cond, mask)]
        inputs = [[x, *half] for half in zip(*halves, strict=True)]
        mx.eval(inputs, time, self.estimator.parameters())

        def half(x, mu, spks, cond, mask) -> mx.array:
            return self.estimator.velocity(x, mu, time, spks, cond, mask)

        return run_two(lambda: half(*inputs[0]), lambda: half(*inputs[1]))


class CausalMaskedDiffWithXvec(nn.Module):
    """Token embedding, encoder, speaker projection and the flow."""

    def __init__(self, config: S3GenConfig):
        super().__init__()
        self.ratio = config.token_mel_ratio
        self.input_embedding = nn.Embedding(config.vocab_size, config.token_embed_dim)
        self.spk_embed_affine_layer = nn.Linear(
            config.speaker_embed_dim, config.decoder_out_channels
        )
        self.encoder = UpsampleConformerEncoder(config)
        self.encoder_proj = nn.Linear(config.encoder_output_size, config.decoder_out_channels)
        self.decoder = ConditionalFlowMatching(config)

    @property
    def dtype(self) -> mx.Dtype:
        """Type in which mels are computed."""
        return self.decoder.estimator.final_proj.weight.dtype

    def encode(self, tokens: mx.array, mask: mx.array | None = None) -> mx.array:
        """Tokens (B, n) to the mel that the flow starts from, "mu", (B, 2 n, 80)."""
        return self.encoder_proj(self.encode_hidden(tokens, mask))

    def encode_hidden(self, tokens: mx.array, mask: mx.array | None = None) -> mx.array:
        """Tokens (B, n) to the encoder's features, (B, 2 n, C)."""
        embedded = self.input_embedding(tokens)
        if mask is not None:
            embedded = embedded * mask[..., None]
        return self.encoder(embedded, mask)

    def project_speaker(self, embedding: mx.array) -> mx.array:
        """Speaker embedding (B, 192), brought to unit length, to (B, 80)."""
        length = mx.linalg.norm(embedding.astype(mx.float32), axis=-1, keepdims=True)
        unit = embedding / mx.maximum(length, 1e-12)
        return self.spk_embed_affine_layer(unit.astype(self.dtype))

    def inference(
        self,
        tokens: mx.array,
        prompt_token: mx.array,
        prompt_feat: mx.array,
        embedding: mx.array,
        noise: mx.array,
        n_timesteps: int = 10,
        on_step: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Mel of new tokens in the voice of a reference.

        Args:
            tokens: (B, m).
            prompt_token: (B, n) or (1, n) tokens of the reference.
            prompt_feat: (B, P, 80) or (1, P, 80) its log-mel at 50 frames/s, P = 2 n or 2 n + 1.
            embedding: (B, 192) or (1, 192) its speaker embedding.
            noise: (B, 2 n + 2 m, 80) the flow's start.
            n_timesteps: Euler steps.

        Returns:
            (B, 2 n + 2 m - P, 80) log-mel at 50 frames/s, normally 2 m frames.

        Raises:
            SettingError: fewer than one step.
        """
        batch = tokens.shape[0]
        prompt_token, prompt_feat, embedding = (
            mx.broadcast_to(a, (batch, *a.shape[1:]))
            for a in (prompt_token, prompt_feat, embedding)
        )
        tokens = mx.concatenate([prompt_token, tokens], axis=1)
        prompt_frames = prompt_feat.shape[1]
        rest = tokens.shape[1] * self.ratio - prompt_frames
        cond = mx.pad(prompt_feat, [(0, 0), (0, rest), (0, 0)])
        mel = self.solve(tokens, cond, embedding, noise, n_timesteps, on_step=on_step)
        return mel[:, prompt_frames:]

    def solve(
        self,
        tokens: mx.array,
        cond: mx.array,
        embedding: mx.array,
        noise: mx.array,
        n_timesteps: int,
        token_mask: mx.array | None = None,
        frame_mask: mx.array | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Mel of tokens, those of the prompt included.

        Args:
            tokens: (B, n).
            cond: (B, T, 80) the prompt's mel, zeros after it; T is 2 n, or less where the last
                tokens are lookahead alone.
            embedding: (B, 192) speaker embedding.
            noise: (B, T, 80) the flow's start.
            n_timesteps: Euler steps.
            token_mask, frame_mask: (B, n) and (B, T), 1 where there is something and 0 for padding
                after it; None where nothing is padded.

        Returns:
            (B, T, 80) log-mel at 50 frames/s.

        Raises:
            SettingError: fewer than one step.
        """
        check_steps(n_timesteps)
        mu = self.encode(tokens, token_mask)[:, : noise.shape[1]]
        speakers = self.project_speaker(embedding)
        noise, cond = noise.astype(self.dtype), cond.astype(self.dtype)
        return self.decoder(
            noise, mu, speakers, cond, n_timesteps, mask=frame_mask, on_step=on_step
        )
