"""The flow over windows of one utterance that overlap, joined into one mel.

In the flow every frame sees every other, so its memory grows with the square of a window's length;
a long utterance, or one whose end is not written yet, is computed window by window, each after
the reference as upstream's only one. Frames that two windows share start from the same noise in
both, and the mel goes from one to the next by a short cross-fade.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from .noise import FrameNoise
from .s3gen import S3Gen, S3GenConditionals, trim_fade


def extra_frames(reference: S3GenConditionals, ratio: int) -> int:
    """Mel frames that the prompt has beyond its tokens' (0 or 1); they are not spoken."""
    return reference.prompt_feat.shape[1] - ratio * reference.prompt_token.shape[1]


class FlowWindows:
    """The mel of one utterance, taken window by window.

    Attributes:
        emitted: up to which frame, counted from the first token's first, the mel has been given.
    """

    def __init__(
        self,
        s3gen: S3Gen,
        reference: S3GenConditionals,
        key: mx.array,
        n_timesteps: int,
        fade_frames: int,
    ):
        """key: source of the noise; n_timesteps: Euler steps; fade_frames: of a cross-fade."""
        ratio, bins = s3gen.config.token_mel_ratio, s3gen.config.mel_bins
        prompt_key, noise_key = mx.random.split(key)
        prompt_frames = reference.prompt_token.shape[1] * ratio
        self._prompt_noise = mx.random.normal((1, prompt_frames, bins), key=prompt_key)
        self._noise = FrameNoise(noise_key, bins)
        self._flow, self._ratio, self._reference = s3gen.flow, ratio, reference
        self._steps, self._fade = n_timesteps, fade_frames
        self._rising = ((mx.arange(fade_frames) + 0.5) / fade_frames)[:, None]
        self._tail: mx.array | None = None
        # Evaluated now: another thread, which may compute the next window, could not.
        mx.eval(self._prompt_noise, self._rising)
        self.emitted = extra_frames(reference, ratio)

    def mel(
        self,
        tokens: mx.array,
        start: int,
        stop: int,
        on_step: Callable[[int, int], None] | None = None,
        reference_tokens: int | None = None,
    ) -> mx.array:
        """Mel of the next window.

        Args:
            tokens: (n,) the window's, of which the first is the utterance's number `start`.
            stop: the frame up to which this window's mel is returned. Either the window goes on for
                a cross-fade or more after it, or it ends there and is the last.
            on_step: callback(steps done, total) of this window.
            reference_tokens: number of the reference's last tokens that are used; None: all.

        Returns:
            (1, stop - emitted, 80) log-mel at 50 frames/s, evaluated; its first frames are
            cross-faded from the window before.

        Raises:
            SettingError: fewer than one step.
        """
        end, reference = start + tokens.shape[0], self._reference
        fresh = self._noise.between(self._ratio * start, self._ratio * end)
        cut = 0
        if reference_tokens is not None:
            cut = max(0, reference.prompt_token.shape[1] - reference_tokens)
        mel = self._flow.inference(
            tokens[None],
            reference.prompt_token[:, cut:],
            reference.prompt_feat[:, self._ratio * cut :],
            reference.embedding,
            mx.concatenate([self._prompt_noise[:, self._ratio * cut :], fresh], axis=1),
            self._steps,
            on_step,
        )
        first = self._ratio * end - mel.shape[1]
        kept = mel[:, self.emitted - first : stop - first]
        if self._tail is not None:
            fading = kept[:, : self._fade]
            # The rest of an utterance may be shorter than a cross-fade.
            frames = fading.shape[1]
            tail = self._tail[:, :frames]
            fading = (tail + self._rising[:frames] * (fading - tail)).astype(mel.dtype)
            kept = mx.concatenate([fading, kept[:, frames:]], axis=1)
        tail = mel[:, stop - first : stop - first + self._fade]
        # Copies, so that the window itself is not kept while the next is computed.
        kept, self._tail = mx.contiguous(kept), mx.contiguous(tail)
        mx.eval(kept, self._tail)
        self.emitted = stop
        return kept


class FadeIn:
    """`trim_fade` over the beginning of a waveform that comes in pieces."""

    def __init__(self, sampling_rate: int):
        self._rest = trim_fade(sampling_rate)
        mx.eval(self._rest)

    def __call__(self, waveform: mx.array) -> mx.array:
        """The next (n,) samples, float32."""
        waveform = waveform.astype(mx.float32)
        fade = self._rest[: waveform.shape[0]]
        if fade.shape[0] == 0:
            return waveform
        self._rest = self._rest[fade.shape[0] :]
        # Evaluated: another thread may ask for the next piece.
        mx.eval(self._rest)
        faded = waveform[: fade.shape[0]] * fade
        return mx.concatenate([faded, waveform[fade.shape[0] :]])
