"""Speech tokens of one utterance: the audible ones, and the reason for their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.t3.config import T3Config

TOKENS_PER_SECOND = 25


@dataclass(frozen=True)
class TokenLimit:
    """The largest number of tokens that are decoded for a piece of text.

    Attributes:
        is_callers: True if the caller set it, so that reaching it is no fault; False if it is the
            model's own.
    """

    tokens: int
    is_callers: bool


@dataclass
class DecodedTokens:
    """The tokens of one attempt.

    Attributes:
        count: tokens decoded, with and without a sound.
        audible: the tokens that have a sound.
        was_ended: a monitor ended the decoding before the stop token.
        is_cut_off: they reached the caller's limit.
        ran_on: they reached the model's own limit.
    """

    count: int
    audible: list[int]
    was_ended: bool
    is_cut_off: bool
    ran_on: bool = False

    @classmethod
    def within(
        cls, limit: TokenLimit, count: int, audible: list[int], was_ended: bool
    ) -> DecodedTokens:
        """Tokens that were decoded up to a limit, which they may have reached.

        The last of as many as the limit may still have been followed by the stop token, which is
        not drawn then.
        """
        is_full = count >= limit.tokens
        wish = limit.is_callers
        return cls(count, audible, was_ended, is_full and wish, is_full and not wish)

    @property
    def stopped(self) -> bool:
        """True if they ended before their limit."""
        return not (self.is_cut_off or self.ran_on)


class AudibleTokens:
    """Collects the tokens that have a sound, in the order in which they are decoded.

    The first start token makes all before it void; a further one is dropped like any other token
    without a sound.
    Source: upstream `drop_invalid_tokens` and the filter after it, which fails on a second start
    token.

    Args:
        start: the start token, or `voiding_token`.
        n_codes: tokens from here on have no sound.
        into: a list that they are added to, after what it holds already.
    """

    def __init__(self, start: int, n_codes: int, into: list[int] | None = None):
        self._start, self._n_codes, self._has_started = start, n_codes, False
        self._all = [] if into is None else into
        self._first = len(self._all)

    def add(self, token: int, is_played: bool = False) -> bool:
        """Take the next token.

        Args:
            is_played: True if the tokens so far were played already, and cannot be dropped.

        Returns:
            Whether it has a sound.
        """
        if token == self._start:
            if not self._has_started and not is_played:
                del self._all[self._first :]
            self._has_started = True
            return False
        if token < self._n_codes:
            self._all.append(token)
            return True
        return False

    @property
    def tokens(self) -> list[int]:
        return self._all[self._first :]


def voiding_token(config: T3Config) -> int:
    """The token that makes all tokens before it void; -1 for none.

    It is the start token, which a network that writes one token at a time draws, if at all, to
    begin anew. Where blocks are filled in it is like any token without a sound (upstream
    `_trim_to_eos`).
    """
    return -1 if config.has_mask else config.start_speech_token


def audible_tokens(tokens: Sequence[int], start: int, n_codes: int) -> list[int]:
    """Tokens that have a sound; see `AudibleTokens`."""
    audible = AudibleTokens(start, n_codes)
    for token in tokens:
        audible.add(token)
    return audible.tokens
