"""Seeds: what follows from one, and that it reaches everything random."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, Chunks
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.runtime.seeds import piece_keys, piece_seeds, random_key, row_keys

# Always the likeliest token: tokens do not depend on the seed, and only sound can differ.
GREEDY = {"temperature": 0.0, "n_cfm_timesteps": 1, "watermark": False, "guard": False}


@pytest.fixture(scope="module")
def tts(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    return tts


def numbers(keys) -> list[tuple[int, ...]]:
    return [tuple(np.array(key).tolist()) for key in keys]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_each_piece_of_a_text_has_a_key_of_its_own(count):
    keys = numbers(piece_keys(random_key(5), count))
    others = numbers(piece_keys(random_key(6), count))
    assert len(keys) == count
    assert len({*keys, *others}) == 2 * count
    assert keys == numbers(piece_keys(random_key(5), count))
    assert piece_seeds(5, count) == [high << 32 | low for high, low in keys]
    # A piece alone with its seed draws from the same key as among the others.
    assert numbers(random_key(seed) for seed in piece_seeds(5, count)) == keys


def test_a_text_in_one_piece_keeps_its_seed():
    assert piece_seeds(5, 1) == [5]
    assert piece_seeds(2**64 - 1, 1) == [2**64 - 1]
    assert numbers(piece_keys(random_key(5), 1)) == numbers([random_key(5)])


def test_without_a_seed_each_is_another():
    assert len({tuple(piece_seeds(None, 3)) for _ in range(5)}) == 5
    assert len(set(numbers(row_keys(None, 5)))) == 5
    assert len(set(numbers(row_keys([None, None, 7], 3)))) == 3


def test_rows_have_the_given_seeds():
    seven, eight = numbers([random_key(7), random_key(8)])
    assert numbers(row_keys(7, 3)) == [seven] * 3
    assert numbers(row_keys([7, 8], 2)) == [seven, eight]
    for seeds, rows in (([7, 8], 3), ([7, 8, 9], 2), ([], 1)):
        with pytest.raises(SettingError, match=rf"{len(seeds)} seeds for {rows} row"):
            row_keys(seeds, rows)


def test_the_range_of_seeds():
    assert len(set(numbers(map(random_key, (0, 1, 2**32, 2**63, 2**64 - 1))))) == 5
    for seed in (-1, 2**64):
        with pytest.raises(SettingError, match="from 0 to"):
            random_key(seed)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_same_sentence_twice_is_spoken_in_two_ways(tts, streamed):
    text, settings = "One two. [pause 0.1s] One two.", {**GREEDY, "max_new_tokens": 12, "seed": 3}
    settings["temperature"] = 0.8
    # With the same key twice the second would equal the first.
    list(tts.stream(text, **settings)) if streamed else tts.generate(text, **settings)
    first, second = tts.outcomes
    assert first.tokens != second.tokens


def test_the_same_tokens_sound_otherwise_with_another_seed(tts):
    sounds = {
        seed: tts.generate("Hello.", seed=seed, max_new_tokens=8, **GREEDY) for seed in (1, 2)
    }
    tokens = tts.last_tokens
    again = tts.generate("Hello.", seed=1, max_new_tokens=8, **GREEDY)
    assert tts.last_tokens == tokens
    np.testing.assert_array_equal(again, sounds[1])
    assert differ(sounds[1], sounds[2])


@pytest.mark.parametrize("chunks", [Chunks(), Chunks(0.2, 0.4, 0.2, 0.12)], ids=["one", "some"])
def test_the_same_tokens_are_streamed_otherwise_with_another_seed(tts, chunks):
    sounds, tokens = [], []
    for seed in (1, 2):
        settings = {**GREEDY, "seed": seed, "max_new_tokens": 30}
        sounds.append(np.concatenate(list(tts.stream("Hello.", chunks=chunks, **settings))))
        tokens.append(tts.last_tokens)
    assert tokens[0] == tokens[1]
    assert differ(*sounds)


def test_both_of_s3gens_noises_follow_from_its_key(tts):
    """The noise that the flow starts from, and that of the vocoder's excitation."""
    s3gen, reference = tts.networks.s3gen, tts.conds.reference
    tokens = mx.arange(100, 108)
    noises = [s3gen.noise_for(8, reference, mx.random.key(seed)) for seed in (1, 2)]
    assert differ(*map(np.array, noises))
    shape = {"n_timesteps": 1, "source": mx.zeros((1, 8 * 960))}
    by_flow = [s3gen(tokens, reference, mx.random.key(seed), **shape) for seed in (1, 2)]
    shape = {"n_timesteps": 1, "noise": noises[0]}
    by_source = [s3gen(tokens, reference, mx.random.key(seed), **shape) for seed in (1, 2)]
    assert differ(*map(np.array, by_flow))
    assert differ(*map(np.array, by_source))


def differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether two signals differ by more than rounding."""
    assert first.shape == second.shape
    return float(np.std(first - second)) > 1e-2 * float(np.std(first))
