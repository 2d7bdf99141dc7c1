"""The common part of both versions of the S3 tokenizer: recordings of any length to tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from ...audio.mel import s3_tokenizer_log_mel
from ...checks.tensors import check_tokens
from .windows import SAMPLES_PER_FRAME, merge_windows, split_windows, window_log_mels

SAMPLE_RATE = 16000


class SpeechTokenizer(nn.Module):
    """An `encoder` of log-mels and a `quantizer` of its output.

    Attributes:
        frames_per_token: mel frames, 100 a second, of a token.
    """

    frames_per_token: int

    def encode_mel(self, log_mel: mx.array) -> mx.array:
        """Tokens of a log-mel.

        Args:
            log_mel: (128, T) at 100 frames/s; over 30 s it is taken in overlapping windows.

        Returns:
            (ceil(T / frames_per_token),) int32.
        """
        n_frames = log_mel.shape[1]
        windows = split_windows(n_frames)
        return self._encode((log_mel[:, start:end] for start, end in windows), n_frames, None)

    def _encode(
        self,
        log_mels: Iterable[mx.array],
        n_frames: int,
        on_window: Callable[[int, int], None] | None,
    ) -> mx.array:
        """Tokens of the windows' log-mels, one after the other: memory holds one at a time."""
        in_all = len(split_windows(n_frames))
        codes = []
        for log_mel in log_mels:
            # On purpose float32 whatever the weights are: a token of version 2 is eight numbers
            # rounded to three levels. Of 1,970 tokens of pocket's, 0 come out differently in
            # float16 and 0.6 % in bfloat16; with the mel cast to the weights' type it is 0.1 % and
            # 1.4 %.
            codes.append(self.quantizer.encode(self.encoder(log_mel.T[None]))[0])
            mx.eval(codes[-1])
            # Of weights that hold NaN, no code is one.
            check_tokens(codes[-1], self.quantizer.codes, "output of the speech tokenizer")
            if on_window is not None:
                on_window(len(codes), in_all)
        return merge_windows(codes, self.frames_per_token)

    def __call__(
        self,
        waveform: mx.array | np.ndarray,
        max_tokens: int | None = None,
        on_window: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Tokens of a recording of any length.

        At some lengths over 30 s upstream loses up to 2 s, which are kept here (`windows.py`).

        Args:
            waveform: (n,) at 16 kHz.
            max_tokens: cut the log-mel to this many tokens' frames before encoding, as upstream
                does for T3's prompt (the encoder sees nothing after the cut).
            on_window: callback(windows done, total).

        Returns:
            (ceil(n // 160 / frames_per_token),) int32.
        """
        if max_tokens is not None:
            log_mel = s3_tokenizer_log_mel(mx.array(waveform))
            return self.encode_mel(log_mel[:, : max_tokens * self.frames_per_token])
        n_frames = waveform.shape[0] // SAMPLES_PER_FRAME
        return self._encode(window_log_mels(waveform), n_frames, on_window)
