"""Losses of the training, and that T3 and the flow learn, on small seeded networks."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_chatterbox.errors import DataError, SettingError
from mlx_chatterbox.train.tasks.flow import FlowTask
from mlx_chatterbox.train.tasks.t3 import T3Task
from tests.rounding import Rounding
from tests.small import small_config
from tests.train.small_networks import gradients, sample, small_networks, small_task, spoken, train

# --- Losses ------------------------------------------------------------------------------------


@pytest.mark.numbers
@pytest.mark.parametrize(
    ("variant", "name"), [("english", "t3"), ("nano", "t3"), ("english", "flow")]
)
def test_gradients_of_micro_batches_add_up(variant, name):
    networks, task = small_networks(variant), small_task(name, variant)
    samples = [sample(index) for index in range(4)]
    value, whole = gradients(task, networks, samples)
    counted = [task.counts(task.collate(samples[part])) for part in (slice(0, 2), slice(2, 4))]
    totals = {key: counted[0][key] + counted[1][key] for key in counted[0]}
    assert totals == task.counts(task.collate(samples))
    first_value, first = gradients(task, networks, samples[:2], totals)
    second_value, second = gradients(task, networks, samples[2:], totals)
    assert first_value + second_value == pytest.approx(value, rel=1e-5)
    # The gradient of a key's bias is only rounding: softmax does not see it.
    rounding = Rounding(
        lambda: [grad for _, grad in sorted(gradients(task, networks, samples)[1].items())],
        [task.module(networks)],
    )
    rounding.check([first[key] + second[key] for key in sorted(whole)], is_one=True)


@pytest.mark.numbers
@pytest.mark.parametrize("variant", ["english", "nano"])
def test_t3_rows_are_those_of_inference(variant):
    """Logits of a batch of unequal samples are the teacher-forced ones of each by itself."""
    networks = small_networks(variant)
    task = T3Task(networks.t3.config, text_dropout=0.0)
    samples = [sample(0), sample(1), sample(2, prompt=0), sample(3)]
    batch = task.collate(samples)
    hidden, _ = networks.t3.hidden_states(task.embeddings(networks.t3, batch))
    hidden = hidden.reshape(-1, hidden.shape[-1])
    logits = networks.t3.speech_head(hidden[batch["speech_at"]])
    labels = {part: np.array(batch[f"{part}_labels"]).tolist() for part in ("speech", "text")}
    done = {"speech": 0, "text": 0}
    for one in samples:
        prompt = mx.array(one["prompt"]["speech_tokens"])[None]
        cond = networks.t3.embed_conditioning(
            mx.array(one["prompt"]["speaker_embedding"])[None], prompt, 0.5
        )
        speech = mx.array(one["speech_tokens"])
        expected = networks.t3.teacher_forced_logits(cond, mx.array(one["text_tokens"]), speech)[0]
        start, stop = done["speech"], done["speech"] + len(speech) + 1
        assert mx.allclose(logits[start:stop], expected, atol=1e-5)
        end = networks.t3.config.stop_speech_token
        assert labels["speech"][start:stop] == [*one["speech_tokens"], end]
        done["speech"] = stop
        start, stop = done["text"], done["text"] + len(one["text_tokens"]) - 1
        assert labels["text"][start:stop] == one["text_tokens"][1:].tolist()
        done["text"] = stop
    for part, count in done.items():
        weights = np.array(batch[f"{part}_weights"])
        assert weights.tolist() == [1.0] * count + [0.0] * (len(weights) - count)


def test_t3_without_text_is_the_unguided_row():
    networks = small_networks()
    task = T3Task(networks.t3.config, text_dropout=1.0)
    one = sample(0)
    batch = task.collate([one])
    assert task.counts(batch) == {"text": 0.0, "speech": len(one["speech_tokens"]) + 1}
    loss, parts = task.loss(networks, batch, task.counts(batch))
    cond = networks.t3.embed_conditioning(
        mx.array(one["prompt"]["speaker_embedding"])[None],
        mx.array(one["prompt"]["speech_tokens"])[None],
        0.5,
    )
    speech = mx.array(one["speech_tokens"])
    logits = networks.t3.teacher_forced_logits(cond, mx.array(one["text_tokens"]), speech)[1]
    labels = mx.array(np.append(one["speech_tokens"], networks.t3.config.stop_speech_token))
    expected = nn.losses.cross_entropy(logits, labels, reduction="mean")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["text"].item() == 0.0


def test_t3_has_no_loss_on_its_prompt():
    task = T3Task(small_config().t3)
    one = {**sample(0), "prompt_span": np.array([3, 8], dtype=np.int32)}
    batch = task.collate([one])
    speech = [*one["speech_tokens"], task.config.stop_speech_token]
    assert np.array(batch["speech_labels"])[:10].tolist() == speech[:3] + speech[8:]
    assert np.array(batch["speech_weights"]).tolist() == [1.0] * 10 + [0.0] * 22


def test_gpt2_never_loses_its_text():
    assert T3Task(small_config("nano").t3, text_dropout=0.9).text_dropout == 0.0


def test_a_part_with_weight_zero_is_not_in_the_loss():
    networks = small_networks()
    task = T3Task(networks.t3.config, text_dropout=0.0, weights={"text": 0.0})
    batch = task.collate([sample(0)])
    loss, parts = task.loss(networks, batch, task.counts(batch))
    assert loss.item() == parts["speech"].item()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speech_tokens": np.zeros(0, np.int32)}, "0 speech tokens"),
        ({"speech_tokens": np.array([9000], np.int32)}, "outside"),
        ({"text_tokens": np.arange(300, dtype=np.int32)}, "more than 258"),
    ],
)
def test_t3_refuses_what_it_cannot_learn_from(change, message):
    with pytest.raises(DataError, match=message):
        T3Task(small_config().t3).collate([{**sample(0), **change}])


def test_a_missing_feature_is_named():
    lacking = sample(0)
    del lacking["mel"]
    with pytest.raises(DataError, match="clip0 lacks mel"):
        FlowTask(small_config().s3gen).collate([lacking])


def test_the_flow_of_turbo_is_refused():
    with pytest.raises(SettingError, match="not published"):
        FlowTask(small_config("turbo").s3gen)


@pytest.mark.numbers
def test_flow_draws_by_upstreams_rules():
    """Shares of prompts, their lengths, of dropped conditions, and times; over many keys."""
    task = FlowTask(small_config().s3gen, condition_dropout=0.2)
    samples = [{**sample(0), "key": np.array([5, i], np.uint32)} for i in range(600)]
    batch = task.collate(samples)
    prompts = np.array(batch["prompt_mask"]).sum(axis=1)
    frames = len(samples[0]["mel"])
    assert prompts.max() == int(0.3 * frames)
    # Half without a prompt, and a ninth of the others drew the length 0.
    assert np.mean(prompts == 0) == pytest.approx(0.5 + 0.5 / (1 + int(0.3 * frames)), abs=0.06)
    assert np.array(batch["kept"]).mean() == pytest.approx(0.8, abs=0.05)
    # 1 - cos(pi u / 2) has the mean 1 - 2 / pi.
    assert np.array(batch["time"]).mean() == pytest.approx(1 - 2 / np.pi, abs=0.03)
    noise = np.array(batch["noise"])[:, :frames]
    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1.0, abs=0.01)


def test_flow_cuts_long_clips_and_caps_the_prompt():
    one = sample(0, speech=90)
    batch = FlowTask(small_config().s3gen, max_tokens=40, max_prompt_frames=3).collate([one])
    assert np.array(batch["token_mask"]).sum() == 40
    assert np.array(batch["mel_mask"]).sum() == 80
    assert np.array(batch["prompt_mask"]).sum() <= 3
    start = one["speech_tokens"].tolist().index(int(batch["tokens"][0, 0].item()))
    assert np.allclose(batch["mel"][0, :80], one["mel"][2 * start : 2 * start + 80])


@pytest.mark.numbers
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("name", ["t3", "flow"])
def test_half_precision_gives_a_float32_loss_near_the_same(name, dtype):
    networks, task = small_networks(), small_task(name)
    batch = task.collate([sample(0), sample(1)])
    exact, _ = task.loss(networks, batch, task.counts(batch))
    networks.set_dtype(dtype)
    rough, _ = task.loss(networks, batch, task.counts(batch))
    assert rough.dtype == mx.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.03)


# --- Learning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["english", pytest.param("nano", marks=pytest.mark.slow)])
def test_t3_learns_its_samples_by_heart(variant):
    networks = small_networks(variant)
    task = T3Task(networks.t3.config, text_dropout=0.0)
    samples = [sample(index) for index in range(3)]
    losses = train(task, networks, samples, steps=60, rate=5e-3)
    assert losses[-1] < losses[0] / 10
    for one in samples:
        assert spoken(networks, one) == one["speech_tokens"].tolist()


@pytest.mark.numbers
def test_the_flow_learns_its_samples():
    networks = small_networks()
    task = FlowTask(networks.s3gen.config, condition_dropout=0.0)
    losses = train(task, networks, [sample(index) for index in range(3)], steps=40, rate=5e-3)
    assert losses[-1] < losses[0] / 2
