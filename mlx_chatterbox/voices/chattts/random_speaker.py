"""Random speakers, drawn from the statistics of a model's speakers.

The statistics come with the model, not with this package (its licence: CC BY-NC), so the user names
the file or the string that holds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from scipy.special import ndtri

from ...errors import SettingError
from ...runtime.seeds import random_key
from ..base16384 import from_base16384
from .strings import SPEAKER_SIZE, checked_vector

HOW_TO_GET = (
    "Name the model's asset/spk_stat.pt, or the string that ChatTTS's Config().spk_stat holds in "
    "your own installation of it, or a text file with that string."
)


@dataclass(frozen=True, eq=False)
class SpeakerStatistics:
    """Standard deviation and mean of a model's speakers, (768,) float16 each."""

    std: np.ndarray
    mean: np.ndarray

    @classmethod
    def from_values(cls, values: np.ndarray, name: str = "the statistics") -> SpeakerStatistics:
        """Take them from one array: the deviations, then the means.

        Args:
            values: 2 x 768 numbers, of any shape.

        Raises:
            SettingError: another number, NaN or Inf, or a negative deviation.
        """
        both = checked_vector(np.asarray(values).reshape(-1), 2 * SPEAKER_SIZE, name)
        std, mean = both[:SPEAKER_SIZE], both[SPEAKER_SIZE:]
        if (std < 0).any():
            raise SettingError(f"{name} hold a negative deviation: something else?")
        return cls(std, mean)

    @classmethod
    def from_string(cls, string: str, name: str = "the statistics") -> SpeakerStatistics:
        """Read them from upstream's string, which is not compressed.

        Raises:
            SettingError: it is damaged, or something else.
        """
        data = from_base16384(string, name)
        wanted = 4 * SPEAKER_SIZE
        if len(data) != wanted:
            raise SettingError(f"{name} hold {len(data)} bytes, not {wanted}: something else?")
        return cls.from_values(np.frombuffer(data, "<f2"), name)

    def speaker(self, normal: np.ndarray) -> np.ndarray:
        """Compute the speaker of a draw: (768,) float16 of as many normal numbers, in float16."""
        return normal.astype(np.float16) * self.std + self.mean


def random_speaker(statistics: SpeakerStatistics | None, seed: int | None = None) -> np.ndarray:
    """Draw a speaker's vector, (768,) float16.

    Args:
        seed: the same one gives the same speaker, on every device; None: another each time.

    Raises:
        SettingError: there are no statistics, or the seed is outside 0 to 2^64 - 1.
    """
    if statistics is None:
        raise SettingError(f"a random speaker needs the statistics of speakers. {HOW_TO_GET}")
    # Not MLX's own normal numbers: its devices differ in their last bits. Keys are whole numbers,
    # two of 32 random bits each.
    bits = np.array(mx.random.split(random_key(seed), SPEAKER_SIZE // 2)).reshape(-1)
    return statistics.speaker(ndtri((bits.astype(np.float64) + 0.5) / 2.0**32))
