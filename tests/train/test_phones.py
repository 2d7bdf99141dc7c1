"""T3 from scratch: labels of phones beside the tokens, and tokens replaced by noise."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.errors import DataError
from mlx_chatterbox.train.tasks.t3 import T3Task
from tests.train.small_networks import gradients, sample, small_networks

PHONES = 5


def task(**settings) -> T3Task:
    networks = small_networks()
    mx.random.seed(0)
    return T3Task(networks.t3.config, text_dropout=0.0, phones=PHONES, **settings)


def labelled(index: int, **sizes) -> dict:
    made = sample(index, **sizes)
    count = 2 * len(made["speech_tokens"])
    return {**made, "phones": np.arange(count) // 3 % PHONES}


def test_labels_are_the_phone_of_a_token_and_the_one_that_comes_next():
    one = labelled(0, speech=4)
    one["phones"] = np.array([1, 1, 1, 2, 2, 3, 3, 3])
    batch = task().collate([one])
    weights = np.array(batch["phones_weights"])
    labels = np.array(batch["phones_labels"])[weights > 0]
    # The second half of each token; the last phone is followed by itself.
    assert labels.tolist() == [[1, 2], [2, 3], [3, 3], [3, 3]]
    # The place of the stop token is scored for speech and not for phones.
    assert weights.sum() == np.array(batch["speech_weights"]).sum() - 1


@pytest.mark.numbers
def test_phones_are_a_part_of_the_loss_that_adds_up_over_micro_batches():
    made, networks = task(), small_networks()
    samples = [labelled(0, speech=9), labelled(1, speech=14), labelled(2, speech=5)]
    whole, _ = gradients(made, networks, samples)
    totals = made.counts(made.collate(samples))
    assert totals["phones"] == sum(len(one["speech_tokens"]) for one in samples)
    parts = sum(gradients(made, networks, [one], totals)[0] for one in samples)
    assert parts == pytest.approx(whole, rel=1e-5)
    without = T3Task(networks.t3.config, text_dropout=0.0)
    assert whole > gradients(without, networks, samples)[0]


def test_the_head_is_thrown_away():
    assert T3Task(small_networks().t3.config).extra_module(None) is None
    made = task()
    assert made.extra_module(None) is made.extra_module(None) is not None


def test_phones_must_be_two_a_token():
    one = labelled(0)
    one["phones"] = one["phones"][:-1]
    with pytest.raises(DataError, match="two phones"):
        task().collate([one])
    del one["phones"]
    with pytest.raises(DataError, match="lacks phones"):
        task().collate([one])


def test_replaced_tokens_are_inputs_and_not_labels():
    one = labelled(3, speech=40)
    noisy = task(token_noise=0.5)
    heard, clean = noisy.collate([one]), task().collate([one])
    changed = np.array(heard["speech"] != clean["speech"]).sum()
    assert 8 <= changed <= 32
    assert np.array_equal(np.array(heard["speech_labels"]), np.array(clean["speech_labels"]))
    again = noisy.collate([one])
    assert np.array_equal(np.array(heard["speech"]), np.array(again["speech"]))
    judged = noisy.for_evaluation().collate([one])
    assert np.array_equal(np.array(judged["speech"]), np.array(clean["speech"]))
