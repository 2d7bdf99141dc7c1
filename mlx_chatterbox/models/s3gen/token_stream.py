"""S3Gen over speech tokens that come one by one: speech comes out while they are still written.

Each chunk is computed in a window of its own (`flow_windows.py`): the reference, some tokens whose
audio was returned already, the chunk, and some tokens of lookahead. A window does not see what
follows it, and in the flow every frame sees every other, so the mel is near that of the
whole but not equal; `docs/streaming.md` says how near. All else is exact: the vocoder carries phase
and excitation from chunk to chunk (`hift_stream.py`), and an utterance that ends before the first
chunk is due is spoken as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from .f0_predictor import LAYERS
from .flow_windows import FadeIn, FlowWindows, extra_frames
from .hift_stream import HiFTStream, context_frames
from .s3gen import S3Gen, S3GenConditionals

# Short, and within the lookahead, which the next window does not know better.
CROSS_FADE_FRAMES = 6
# Each chunk is this much longer than the one before, up to the largest.
GROWTH = 2


@dataclass(frozen=True)
class ChunkTokens:
    """Sizes in tokens of 40 ms.

    Attributes:
        first: of the first chunk's sound.
        largest: of any chunk.
        context: tokens before a chunk that its window sees.
        lookahead: tokens after a chunk that its window sees; 3 or more.
        delay: tokens more for the first window, where what comes after this holds sound back.
        first_reference: tokens of the reference that the first window sees; None: all.
    """

    first: int
    largest: int
    context: int
    lookahead: int
    delay: int = 0
    first_reference: int | None = None


def vocoder_delay(s3gen: S3Gen) -> int:
    """Tokens by which the vocoder's sound lags behind its mel."""
    frames = context_frames(s3gen.config.hift) + LAYERS
    return -(-frames // s3gen.config.token_mel_ratio)


class TokenStream:
    """Flow and vocoder over one utterance, token by token; the state is here, not in the networks.

    Attributes:
        begun: True once a chunk has been computed.
        samples: number of samples that were returned.
    """

    def __init__(
        self,
        s3gen: S3Gen,
        reference: S3GenConditionals,
        key: mx.array,
        sizes: ChunkTokens,
        n_timesteps: int = 10,
    ):
        """key: source of all randomness; n_timesteps: Euler steps of the flow."""
        self._s3gen, self._reference, self._key = s3gen, reference, key
        self._steps, self._sizes = n_timesteps, sizes
        self._ratio = s3gen.config.token_mel_ratio
        self._hop = s3gen.mel2wav.samples_per_frame
        # Whoever asks for the end may be another thread, which could not evaluate the key.
        mx.eval(key)
        flow_key, source_key = mx.random.split(key)
        self._windows = FlowWindows(s3gen, reference, flow_key, n_timesteps, CROSS_FADE_FRAMES)
        self._vocoder = HiFTStream(s3gen.mel2wav, source_key)
        self._fade_in = FadeIn(s3gen.config.sampling_rate)
        # The tokens from number `_first` on; the next chunk comes when `_due` are known.
        self._tokens: list[int] = []
        self._first = 0
        self._due = sizes.first + sizes.delay + vocoder_delay(s3gen) + sizes.lookahead
        self._size = min(GROWTH * sizes.first, sizes.largest)
        self.begun = False
        self.samples = 0

    def push(self, token: int) -> mx.array | None:
        """Take a token, 0 to 6560.

        Returns:
            (n,) float32 at 24 kHz, evaluated, faded in over the first 40 ms of the utterance;
            None as long as no chunk is due.
        """
        self._tokens.append(token)
        known = self._first + len(self._tokens)
        if known < self._due:
            return None
        self._due += self._size
        self._size = min(GROWTH * self._size, self._sizes.largest)
        until = known - self._sizes.lookahead
        waveform = self._speak(self._ratio * until, last=False)
        self._forget_before(until - self._sizes.context)
        return waveform

    def drop(self) -> None:
        """Forget the tokens so far; only before a chunk has `begun`."""
        self._tokens.clear()

    def finish(self, after: int = 0, silence: int = 0, drop_last: bool = False) -> mx.array:
        """Return the rest, once there are no more tokens; at least one was pushed.

        Args:
            after: number of `silence` tokens that follow.
            drop_last: leave out the last token's 40 ms, if there is another, and all after it.

        Returns:
            (n,) as `push`, possibly nothing. All together they are as long as `S3Gen`'s waveform
            of the same tokens, and its equal to the bit if this is all.
        """
        spoken = self._first + len(self._tokens)
        self._tokens += [silence] * after
        total = self._ratio * (spoken + after) - extra_frames(self._reference, self._ratio)
        if self.begun:
            waveform = self._speak(self._ratio * (spoken + after), last=True)
        else:
            waveform = self._s3gen(
                mx.array(self._tokens, dtype=mx.int32),
                self._reference,
                key=self._key,
                n_timesteps=self._steps,
            )
            self.begun, self.samples = True, waveform.shape[0]
        mx.eval(waveform)
        wanted = total * self._hop
        if drop_last:
            wanted = min(wanted, max(1, spoken - 1) * self._ratio * self._hop)
        too_many = max(0, self.samples - wanted)
        self.samples -= too_many
        return waveform[: waveform.shape[0] - too_many]

    def _speak(self, stop: int, last: bool) -> mx.array:
        seen = None if self.begun else self._sizes.first_reference
        self.begun = True
        tokens = mx.array(self._tokens, dtype=mx.int32)
        mel = self._windows.mel(tokens, self._first, stop, reference_tokens=seen)
        waveform = self._fade_in(self._vocoder.push(mel, last))
        mx.eval(waveform)
        self.samples += waveform.shape[0]
        return waveform

    def _forget_before(self, token: int) -> None:
        if token > self._first:
            del self._tokens[: token - self._first]
            self._first = token
