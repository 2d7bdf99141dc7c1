"""S3Gen's flow: upstream's conditional flow matching, on noise and times from the samples' keys.

Source: upstream `models/s3gen/flow.py` (`compute_loss`) and `flow_matching.py` (`compute_loss`).
Upstream's encoder has dropout of 0.1 in training mode; here there is none.
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
    Sample,
    Task,
    Totals,
    bucket,
    generator,
    keys_of,
    length_mask,
    of_reference,
    padded,
    phones_of,
    total,
)

# Upstream's rule for the part of the mel that is given as prompt.
NO_PROMPT_SHARE = 0.5
LONGEST_PROMPT_SHARE = 0.3

_CROP, _PROMPT, _TIME, _NOISE, _CONDITION, _START = range(6)


class FlowTask(Task):
    """Flow matching ("flow") and, beyond upstream, the L1 distance of mu from the mel ("mu").

    The noise is scaled by `cfm_noise_scale`; upstream's is 1.

    With `phones`, samples bring labels (2 n,), one a mel frame, and a throwaway layer learns to
    name them from the encoder's features ("phones"): an encoder from scratch then finds sooner what
    is said.

    Mean flow models (Turbo, Nano) are refused: they are distilled, by a loss that upstream has not
    published. Plain flow matching would only teach them steps of no length, while they are used for
    two long ones.

    Args:
        config: S3Gen's.
        condition_dropout: share of samples that see neither tokens, speaker nor prompt (upstream's
            `training_cfg_rate`), for classifier-free guidance.
        max_tokens: of longer samples a stretch of so many tokens is taken, at random.
        max_prompt_frames: the prompt has at most so many mel frames; None is upstream's rule alone.
        start_share: share of samples at the flow's very start, time 0. A flow with little noise
            does nearly all of its work there, and upstream's times seldom fall there.
        phones: how many there are; 0: the samples have no labels.
        weights: of "flow", "mu" and "phones"; "mu" is 0 unless given, "phones" 0.2.

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
                "the flow of Turbo and Nano is distilled to a mean flow, by a loss that upstream "
                "has not published: add s3gen to freeze_components and train T3 alone."
            )
        self.config = config
        self.condition_dropout = condition_dropout
        self.max_tokens = max_tokens
        self.max_prompt_frames = max_prompt_frames
        self.start_share = start_share
        self.phones = phones
        labels = ["phones"] if phones else []
        self.features = frozenset({"speech_tokens", "mel", "xvector", *labels})
        self._namer = nn.Linear(config.encoder_output_size, phones) if phones else None

    def extra_module(self, networks: nn.Module) -> nn.Module | None:
        return self._namer

    def collate(self, samples: Sequence[Sample]) -> Batch:
        self.check(samples)
        cut = [self._cut(sample) for sample in samples]
        tokens, mels, phones = ([parts[i] for parts in cut] for i in range(3))
        length = bucket(max(len(row) for row in tokens))
        frames = length * self.config.token_mel_ratio
        drawn = [self._draw(sample, len(mel)) for sample, mel in zip(samples, mels, strict=True)]
        prompts, times, noises, kept = zip(*drawn, strict=True)
        embeddings = np.stack([of_reference(sample, "xvector").reshape(-1) for sample in samples])
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
            batch["phones"] = mx.array(padded(phones, frames, np.int32))
        return batch

    def _cut(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Tokens, mel and, where they are used, phones, no longer than `max_tokens`."""
        tokens = np.asarray(sample["speech_tokens"], dtype=np.int32)
        mel = np.asarray(sample["mel"], dtype=np.float32)
        ratio = self.config.token_mel_ratio
        if len(tokens) == 0 or len(mel) != ratio * len(tokens):
            raise DataError(
                f"{sample.get('id', 'a sample')} has {len(mel)} mel frames for {len(tokens)} "
                f"speech tokens; there must be {ratio} for each."
            )
        if tokens.min() < 0 or tokens.max() >= self.config.vocab_size:
            raise DataError(f"{sample.get('id', 'a sample')} has speech tokens that have no sound.")
        spare = max(len(tokens) - self.max_tokens, 0)
        start = int(generator(sample["key"], _CROP).integers(spare + 1))
        stop = start + min(len(tokens), self.max_tokens)
        frames = slice(ratio * start, ratio * stop)
        phones = phones_of(sample, self.phones)[frames] if self.phones else None
        return tokens[start:stop], mel[frames], phones

    def _draw(self, sample: Sample, frames: int) -> tuple[int, float, np.ndarray, bool]:
        """Frames of prompt, flow time, noise, and whether the condition is kept."""
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

    def sums(self, networks: nn.Module, batch: Batch) -> tuple[dict, dict]:
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
        if self._namer is not None:
            named = self._namer(hidden).astype(mx.float32)
            entropy = nn.losses.cross_entropy(named, batch["phones"])
            sums["phones"] = (entropy * mask).sum()
        return sums, {}

    def target(self, batch: Batch) -> mx.array:
        """The direction from noise to mel, (B, T, 80)."""
        return batch["mel"] - (1.0 - self.config.cfm_sigma_min) * batch["noise"]

    def velocity(
        self, flow: nn.Module, batch: Batch, mu: mx.array, speakers: mx.array, cond: mx.array
    ) -> mx.array:
        """What the estimator takes for that direction, (B, T, 80) float32.

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
