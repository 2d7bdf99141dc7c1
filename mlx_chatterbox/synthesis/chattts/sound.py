"""Steps of ChatTTS's GPT to sound, all of them or window by window, and a recording to codes."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from ...models.chattts.networks import ChatTTSNetworks
from ...models.chattts.windows import next_window
from ...runtime.memory import clear_device_cache
from ...runtime.parallel import core_lock


class StepSound:
    """The networks after the GPT.

    Args:
        uses_hidden: True for steps that are hidden states; False for codes.
    """

    def __init__(self, networks: ChatTTSNetworks, uses_hidden: bool = True):
        self._networks, self._uses_hidden = networks, uses_hidden

    def __call__(self, steps: Sequence) -> np.ndarray:
        """Make sound of a row's steps, which are decoded by themselves.

        Args:
            steps: n arrays (C,), or n tuples of codes.

        Returns:
            (512 n - 256,) float32 at 24 kHz; (0,) of no steps.
        """
        if not len(steps):
            return np.zeros(0, np.float32)
        networks = self._networks
        with core_lock():
            if self._uses_hidden:
                hidden = mx.array(np.stack(steps))[None]
                mel = networks.decoder(hidden.astype(networks.decoder.coef.dtype))
            else:
                mel = networks.dvae.decode(mx.array(np.array(steps, np.int32))[None])
            waveform = np.array(networks.vocos(mel)[0].astype(mx.float32))
            # The next piece has other sizes: what this one leaves fits none of its arrays.
            clear_device_cache()
        return waveform

    def codes_of(self, waveform: np.ndarray) -> np.ndarray:
        """Encode a recording, (n,) float32 at 24 kHz, as (codebooks, steps) int32.

        Raises:
            AudioError: too short for a step.
        """
        with core_lock():
            codes = np.array(self._networks.dvae.encode(mx.array(waveform)))
            clear_device_cache()
        return np.ascontiguousarray(codes.T.astype(np.int32))


class WindowedSound:
    """The sound of one row while it grows, each sample once.

    Attributes:
        samples: computed so far.
    """

    def __init__(self, sound: StepSound, lookahead: int):
        self._sound, self._lookahead = sound, lookahead
        self._waiting: list[np.ndarray] = []
        self.samples = 0

    def advance(self, steps: Sequence, is_end: bool) -> None:
        """Compute all samples that the steps so far determine."""
        window = next_window(self.samples, len(steps), is_end, self._lookahead)
        if window is not None:
            part = self._sound(steps[window.start : window.stop])[window.slice]
            self._waiting.append(part)
            self.samples += len(part)

    def take(self, most: int) -> np.ndarray:
        """Take the next samples, or as many of them as there are, (n,) float32."""
        waiting = np.concatenate([np.zeros(0, np.float32), *self._waiting])
        self._waiting = [waiting[most:]]
        return waiting[:most]
