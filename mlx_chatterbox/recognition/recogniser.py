"""The speech recogniser that transcribes synthesised speech: pocketsphinx, with its own model.

pocketsphinx is optional (extra `recognition`) and English only. Its errors include its own: measure
a second speaker of the same sentences beside the one under test.
"""

from __future__ import annotations

import numpy as np

from ..audio.resample import resample_soxr
from ..errors import ChatterboxError

SAMPLE_RATE = 24000
_DECODER_RATE = 16000
# Silence before and after the speech, in samples at 16 kHz.
_PADDING = 4800
_PEAK = 0.5


class MissingRecogniser(ChatterboxError):
    """pocketsphinx is not installed."""


class Recogniser:
    """Transcribe speech with pocketsphinx.

    Raises:
        MissingRecogniser: pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError:
            raise MissingRecogniser(
                "counting word errors needs pocketsphinx: "
                "pip install 'mlx-chatterbox[recognition]' (or: pip install pocketsphinx)"
            ) from None
        self._decoder = Decoder(samprate=_DECODER_RATE, loglevel="FATAL")

    def __call__(self, waveform: np.ndarray) -> str:
        """Return the words in a waveform, (samples,) at 24 kHz, in lower case; "" for none."""
        at_16k = resample_soxr(waveform, SAMPLE_RATE, _DECODER_RATE)
        at_16k = at_16k * (_PEAK / max(float(np.abs(at_16k).max()), 1e-6))
        silence = np.zeros(_PADDING, np.float32)
        pcm = (np.concatenate([silence, at_16k, silence]) * 32767).astype(np.int16)
        self._decoder.start_utt()
        self._decoder.process_raw(pcm.tobytes(), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return "" if hypothesis is None else hypothesis.hypstr
