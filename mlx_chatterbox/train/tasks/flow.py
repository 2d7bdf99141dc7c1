"""Training of S3Gen's flow: upstream's conditional flow matching, noise and times by sample keys.

Source: upstream `models/s3gen/flow.py` (`compute_loss`) and `flow_matching.py` (`compute_loss`).
Upstream's encoder has dropout of 0.1 in training; this one has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...errors import DataError, SettingError
from ...models.s3gen.config import S3GenConfig
from .base import (
    Batch,
    MetricSums,
    Sample,
    Sums,
    Task,
    Totals,
    bucket,
    generator,
    keys_of,
    length_mask,
    padded,
    phones_of,
    reference_feature,
    total,
)

# Upstream's rule: half of the samples have no prompt, the others up to 0.3 of their mel.
NO_PROMPT_SHARE = 0.5
LONGEST_PROMPT_SHARE = 0.3

_CROP, _PROMPT, _TIME, _NOISE, _CONDITION, _START = range(6)


class FlowTask(Task):
    """Flow matching loss ("flow") and, beyond upstream, the L1 distance of mu from the mel ("mu").

    The noise is scaled by `cfm_noise_scale`, which upstream has at 1.

    With `phones`, samples hold labels (2 n,), one for each mel frame, and a discarded layer learns
    to classify them from the encoder's features ("phones"): an encoder from scratch then learns
    sooner which sounds the tokens are.

    Mean flow models (Turbo, Nano, Flash) are refused: they are distilled, by a loss that upstream
    has not published. Plain flow matching would teach them infinitely short steps, and they take
    two long ones.

    Args:
        config: S3Gen's.
        condition_dropout: share of samples without tokens, speaker and prompt (upstream's
            `training_cfg_rate`), for classifier-free guidance.
        max_tokens: longer samples are cropped at random to this length.
        max_prompt_frames: upper limit of the prompt's mel frames; None: upstream's rule alone.
        start_share: share of samples at the flow's start, time 0. A flow with little noise does
            nearly all of its work there, and upstream's times seldom fall there.
        phones: number of phone labels; 0: samples have no labels.
        weights: of "flow" (default 1), "mu" (0) and "phones" (0.2).

    Raises:
        SettingError: a mean flow model.
    """

    name = "flow"
    prompt_features = frozenset({"xvector"})
    parts = ("flow", "mu", "phones")

    def __init__(
        self,
        config: S3GenConfig,
        condition_dropout: float = 0.2,
        max_tokens: int = 750,
        max_prompt_frames: int | None = None,
        start_share: float = 0.0,
        phones: int = 0,
        weights: dict[str, float] | None = None,
    ):
        super().__init__({"mu": 0.0, "phones": 0.2, **(weights or {})})
        if config.meanflow:
            raise SettingError(
                "the flow of Turbo, Nano and Flash is distilled to a mean flow, by a loss that "
                "upstream has not published: add s3gen to freeze_components and train T3 alone "
                "(Turbo's or Nano's)."
            )
        self.config = config
        self.condition_dropout = condition_dropout
        self.max_tokens = max_tokens
        self.max_prompt_frames = max_prompt_frames
        self.start_share = start_share
        self.phones = phones
        labels = ["phones"] if phones else []
        self.features = frozenset({"speech_tokens", "mel", "xvector", *labels})
        self._phone_head = nn.Linear(config.encoder_output_size, phones) if phones else None

    def extra_module(self, networks: nn.Module) -> nn.Module | None:
        return self._phone_head

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        cropped = [self._crop(sample) for sample in samples]
        tokens = [sample_tokens for sample_tokens, _, _ in cropped]
        mels = [mel for _, mel, _ in cropped]
        length = bucket(max(len(row) for row in tokens))
        frames = length * self.config.token_mel_ratio
        drawn = [self._draw(sample, len(mel)) for sample, mel in zip(samples, mels, strict=True)]
        prompts, times, noises, kept = zip(*drawn, strict=True)
        embeddings = np.stack(
            [reference_feature(sample, "xvector").reshape(-1) for sample in samples]
        )
        batch = {
            "keys": keys_of(samples),
            "tokens": mx.array(padded(tokens, length, np.int32)),
            "token_mask": mx.array(length_mask([len(row) for row in tokens], length)),
            "mel": mx.array(padded(mels, frames, np.float32)),
            "mel_mask": mx.array(length_mask([len(mel) for mel in mels], frames)),
            "prompt_mask": mx.array(length_mask(prompts, frames)),
            "embedding": mx.array(embeddings.astype(np.float32)),
            "time": mx.array(np.array(times, dtype=np.float32)),
            "noise": mx.array(padded(noises, frames, np.float32)),
            "kept": mx.array(np.array(kept, dtype=np.float32)),
        }
        if self.phones:
            phones = [labels for _, _, labels in cropped]
            batch["phones"] = mx.array(padded(phones, frames, np.int32))
        return batch

    def _crop(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens (n,), mel (2 n, 80) and phones, n at most `max_tokens`; 0 for no labels."""
        tokens = np.asarray(sample["speech_tokens"], dtype=np.int32)
        mel = np.asarray(sample["mel"], dtype=np.float32)
        ratio = self.config.token_mel_ratio
        if len(tokens) == 0 or len(mel) != ratio * len(tokens):
            raise DataError(
                f"{sample.get('id', 'a sample')} has {len(mel)} mel frames for {len(tokens)} "
                f"speech tokens; there must be {ratio} for each."
            )
        if tokens.min() < 0 or tokens.max() >= self.config.vocab_size:
            raise DataError(
                f"{sample.get('id', 'a sample')} has speech tokens outside the flow's vocabulary "
                f"of {self.config.vocab_size}."
            )
        spare = max(len(tokens) - self.max_tokens, 0)
        start = int(generator(sample["key"], _CROP).integers(spare + 1))
        stop = start + min(len(tokens), self.max_tokens)
        frames = slice(ratio * start, ratio * stop)
        phones = phones_of(sample, self.phones) if self.phones else np.zeros(len(mel), np.int32)
        return tokens[start:stop], mel[frames], phones[frames]

    def _draw(self, sample: Sample, frames: int) -> tuple[int, float, np.ndarray, bool]:
        """Draw the prompt's frames, the flow time, the noise, and whether to keep conditions."""
        prompt_rng = generator(sample["key"], _PROMPT)
        prompt = 0
        if prompt_rng.random() >= NO_PROMPT_SHARE:
            prompt = int(prompt_rng.integers(int(LONGEST_PROMPT_SHARE * frames) + 1))
        if self.max_prompt_frames is not None:
            prompt = min(prompt, self.max_prompt_frames)
        time = 1.0 - np.cos(generator(sample["key"], _TIME).random() * 0.5 * np.pi)
        if generator(sample["key"], _START).random() < self.start_share:
            time = 0.0
        shape = (frames, self.config.decoder_out_channels)
        noise = generator(sample["key"], _NOISE).standard_normal(shape, dtype=np.float32)
        kept = generator(sample["key"], _CONDITION).random() >= self.condition_dropout
        return prompt, float(time), self.config.cfm_noise_scale * noise, kept

    def counts(self, batch: Batch) -> Totals:
        frames = total(batch["mel_mask"])
        entries = frames * self.config.decoder_out_channels
        return {"flow": entries, "mu": entries, "phones": frames if self.phones else 0.0}

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[Sums, MetricSums]:
        flow = self.module(networks)
        mask = batch["mel_mask"]
        hidden = flow.encode_hidden(batch["tokens"], batch["token_mask"].astype(flow.dtype))
        mu = flow.encoder_proj(hidden)
        speakers = flow.project_speaker(batch["embedding"])
        cond = batch["mel"] * batch["prompt_mask"][..., None]
        velocity = self.velocity(flow, batch, mu, speakers, cond)
        squares = (velocity - self.target(batch)) ** 2 * mask[..., None]
        sums = {"flow": squares.sum()}
        if self.weights["mu"]:
            distance = mx.abs(mu.astype(mx.float32) - batch["mel"])
            sums["mu"] = (distance * mask[..., None]).sum()
        if self._phone_head is not None:
            logits = self._phone_head(hidden).astype(mx.float32)
            entropy = nn.losses.cross_entropy(logits, batch["phones"])
            sums["phones"] = (entropy * mask).sum()
        return sums, {}

    def target(self, batch: Batch) -> mx.array:
        """Return the velocity to learn, from noise to mel, (B, T, 80)."""
        return batch["mel"] - (1.0 - self.config.cfm_sigma_min) * batch["noise"]

    def velocity(
        self, flow: nn.Module, batch: Batch, mu: mx.array, speakers: mx.array, cond: mx.array
    ) -> mx.array:
        """Return the estimator's velocity, (B, T, 80) float32.

        Args:
            mu, cond: (B, T, 80).
            speakers: (B, 80).
        """
        time, kept = batch["time"], batch["kept"].astype(flow.dtype)
        share = (1.0 - (1.0 - self.config.cfm_sigma_min) * time)[:, None, None]
        noisy = share * batch["noise"] + time[:, None, None] * batch["mel"]
        velocity = flow.decoder.estimator(
            noisy.astype(flow.dtype),
            mu * kept[:, None, None],
            time,
            speakers * kept[:, None],
            cond.astype(flow.dtype) * kept[:, None, None],
            mask=batch["mel_mask"],
        )
        return velocity.astype(mx.float32)
