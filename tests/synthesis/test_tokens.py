"""Speech tokens: which of them are audible, and why they ended."""

from __future__ import annotations

import pytest

from mlx_chatterbox.synthesis.tokens import (
    AudibleTokens,
    DecodedTokens,
    TokenLimit,
    audible_tokens,
)


def test_audible_tokens_come_after_the_start_and_are_codes():
    start, codes = 6561, 6561
    assert audible_tokens([1, 2, 3], start, codes) == [1, 2, 3]
    assert audible_tokens([1, start, 2, 3], start, codes) == [2, 3]
    assert audible_tokens([start, 2, start, 6560, 6562], start, codes) == [2, 6560]
    assert audible_tokens([1, start], start, codes) == audible_tokens([], start, codes) == []


def test_played_tokens_are_kept():
    collected = [9]
    audible = AudibleTokens(6561, 6561, into=collected)
    assert audible.add(1)
    assert not audible.add(6561, is_played=True)
    assert audible.add(2)
    # A second start token changes nothing, played or not.
    assert not audible.add(6561)
    assert audible.tokens == [1, 2]
    assert collected == [9, 1, 2]


@pytest.mark.parametrize(("count", "full"), [(4, False), (5, True)])
@pytest.mark.parametrize("is_callers", [True, False])
def test_the_owner_of_a_limit_decides_what_reaching_it_means(count, full, is_callers):
    decoded = DecodedTokens.within(TokenLimit(5, is_callers), count, [1], was_ended=False)
    assert decoded.is_cut_off is (full and is_callers)
    assert decoded.ran_on is (full and not is_callers)
    assert decoded.stopped is not full
