"""The stage `pipeline` by our own `generate`, as a user calls it: a file, a text, a seed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)

# isort: split
import mlx.core as mx
import numpy as np

from ..inputs.encoding import decoded, written
from ..inputs.pipeline import TOKENS

Arrays = Mapping[str, np.ndarray]


class GivenRandomness:
    """S3Gen with fixed noise and source, of which it uses the beginning.

    Attributes:
        tokens: what it was last asked to say.
    """

    def __init__(self, s3gen, noise: mx.array, source: mx.array):
        """noise: (1, frames, 80); source: (1, samples)."""
        self._s3gen, self._noise, self._source = s3gen, noise, source
        self.tokens: list[int] = []

    def __getattr__(self, name: str):
        return getattr(self._s3gen, name)

    def __call__(self, tokens, reference, **settings) -> mx.array:
        self.tokens = tokens.tolist()
        ratio = self._s3gen.config.token_mel_ratio
        frames = ratio * (reference.prompt_token.shape[1] + len(self.tokens))
        samples = ratio * len(self.tokens) * self._s3gen.mel2wav.samples_per_frame
        settings |= {"noise": self._noise[:, :frames], "source": self._source[:, :samples]}
        return self._s3gen(tokens, reference, **settings)


class _WithS3Gen:
    """A model's networks with another S3Gen."""

    def __init__(self, networks, s3gen):
        self._networks, self.s3gen = networks, s3gen

    def __getattr__(self, name: str):
        return getattr(self._networks, name)


def pipeline(checkpoint, inputs: Arrays) -> dict[str, np.ndarray]:
    """Generate from the recording's file and the text to marked samples.

    Args:
        checkpoint: `checkpoint.Checkpoint`.
    """
    from mlx_chatterbox.api.tts import CLASSES

    speaker = GivenRandomness(
        checkpoint.networks.s3gen,
        mx.array(np.asarray(inputs["pipeline/noise"], dtype=np.float32)).T[None],
        mx.array(np.asarray(inputs["pipeline/source"], dtype=np.float32))[None],
    )
    kind = CLASSES[checkpoint.config.kind]
    tts = kind(replace(checkpoint, networks=_WithS3Gen(checkpoint.networks, speaker)))
    language = inputs.get("pipeline/language")
    own = {} if language is None else {"language_id": decoded(language)}
    is_flash = checkpoint.config.t3.has_mask
    if is_flash:  # whose upstream has no watermark
        own = {"upstream_exact": True, "watermark": False}
    with tempfile.TemporaryDirectory() as folder:
        waveform = tts.generate(
            decoded(inputs["pipeline/text"]),
            **own,
            audio_prompt_path=written(Path(folder) / "reference.wav", inputs["pipeline/ref_24k"]),
            seed=int(np.ravel(inputs["pipeline/seed"])[0]),
            max_new_tokens=TOKENS if is_flash else len(inputs["pipeline/gumbel"]),
            guard=False,
        )
    # Upstream's watermark cuts the end to whole frames of 10 ms.
    length = len(waveform) if is_flash else len(waveform) // 240 * 240
    return {
        "pipeline/tokens": np.array(speaker.tokens, dtype=np.int32),
        "pipeline/waveform": waveform[:length],
    }
