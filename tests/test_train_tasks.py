"""Losses, adapters and checkpointing of the training, on small seeded networks."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox.checkpoint import build
from mlx_chatterbox.errors import DataError, SettingError
from mlx_chatterbox.train.tasks.flow import FlowTask
from mlx_chatterbox.train.tasks.t3 import T3Task
from tests.small import small_config


def small_networks(variant: str = "english", seed: int = 1):
    """GPT-2's 50,276 words are cut to the Llama's 704, for speed."""
    mx.random.seed(seed)
    config = small_config(variant)
    config.t3.text_tokens_dict_size = 704
    networks = build(config)
    mx.eval(networks.parameters())
    return networks


def sample(index: int, seed: int = 0, text: int = 9, speech: int = 14, prompt: int = 11) -> dict:
    """Features as the store would give them, of random contents; lengths differ by sample."""
    rng = np.random.default_rng([seed, index])
    text, speech = text + 3 * index, speech + 5 * index
    return {
        "id": f"clip{index}",
        "key": rng.integers(0, 2**32, 2, dtype=np.uint32),
        "speaker": f"speaker{index % 2}",
        "text_tokens": np.r_[255, rng.integers(1, 250, text), 0].astype(np.int32),
        "speech_tokens": rng.integers(0, 6561, speech).astype(np.int32),
        "speaker_embedding": unit(rng.random(256)),
        "xvector": rng.standard_normal(192).astype(np.float32),
        "mel": (rng.standard_normal((2 * speech, 80)) - 4).astype(np.float32),
        "prompt": {
            "speech_tokens": rng.integers(0, 6561, max(prompt - 2 * index, 0)).astype(np.int32),
            "speaker_embedding": unit(rng.random(256)),
            "xvector": rng.standard_normal(192).astype(np.float32),
        },
    }


def unit(x):
    return (x / np.linalg.norm(x)).astype(np.float32)


def small_task(name: str, variant: str = "english"):
    config = small_config(variant)
    return T3Task(config.t3, text_dropout=0.4) if name == "t3" else FlowTask(config.s3gen)


def gradients(task, networks, samples, totals=None):
    """Loss and gradients of a batch, by key."""
    batch = task.collate(samples)
    totals = totals or task.counts(batch)

    def loss_of(parameters):
        task.module(networks).update(parameters)
        return task.loss(networks, batch, totals)[0]

    module = task.module(networks)
    value, grads = mx.value_and_grad(loss_of)(module.trainable_parameters())
    mx.eval(value, grads)
    return value.item(), {key: np.array(grad) for key, grad in tree_flatten(grads)}


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """Relative RMS difference by parameter; where both vanish, none."""
    assert ours.keys() == theirs.keys()
    return {
        key: float(np.linalg.norm(ours[key] - theirs[key]) / (np.linalg.norm(theirs[key]) or 1.0))
        for key in ours
    }


# --- Losses ------------------------------------------------------------------------------------


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
    added = {key: first[key] + second[key] for key in whole}
    # A key's bias has no gradient but rounding's: softmax does not see it.
    scale = max(np.abs(grad).max() for grad in whole.values())
    for key, difference in differences(added, whole).items():
        small = np.abs(added[key] - whole[key]).max() < 1e-7 * scale
        assert difference < 1e-5 or small, key


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
    for row, one in enumerate(samples):
        prompt = mx.array(one["prompt"]["speech_tokens"])[None]
        cond = networks.t3.embed_conditioning(
            mx.array(one["prompt"]["speaker_embedding"])[None], prompt, 0.5
        )
        speech = mx.array(one["speech_tokens"])
        expected = networks.t3.teacher_forced_logits(cond, mx.array(one["text_tokens"]), speech)[0]
        assert mx.allclose(logits[row, : len(speech) + 1], expected, atol=1e-5)
        labels = np.array(batch["speech_labels"][row])[np.array(batch["speech_weights"][row]) > 0]
        stop = networks.t3.config.stop_speech_token
        assert labels.tolist() == [*one["speech_tokens"], stop]
        weights = np.array(batch["text_weights"][row]) > 0
        assert (
            np.array(batch["text_labels"][row])[weights].tolist() == one["text_tokens"][1:].tolist()
        )


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


def test_t3_is_not_asked_for_the_part_that_is_its_prompt():
    task = T3Task(small_config().t3)
    one = {**sample(0), "prompt_span": np.array([3, 8], dtype=np.int32)}
    weights = np.array(task.collate([one])["speech_weights"][0])
    assert weights[:15].tolist() == [1.0] * 3 + [0.0] * 5 + [1.0] * 7
    assert not weights[15:].any()


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


def test_flow_draws_by_upstreams_rules():
    """Shares of prompts, their lengths, of dropped conditions, and times; over many keys."""
    task = FlowTask(small_config().s3gen, condition_dropout=0.2)
    samples = [{**sample(0), "key": np.array([5, i], np.uint32)} for i in range(600)]
    batch = task.collate(samples)
    prompts = np.array(batch["prompt_mask"]).sum(axis=1)
    frames = len(samples[0]["mel"])
    assert prompts.max() == int(0.3 * frames)
    # Half without, and a ninth of the others has drawn the length 0.
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


def train(task, networks, samples, steps: int, rate: float, extra=None) -> list[float]:
    """Plain AdamW on one batch; the losses of all steps."""
    from mlx.optimizers import AdamW

    batch = task.collate(samples)
    totals = task.counts(batch)
    modules = [task.module(networks), *([extra] if extra is not None else [])]
    optimizers = [AdamW(rate, weight_decay=0.0) for _ in modules]

    def loss_of(trees):
        for module, tree in zip(modules, trees, strict=True):
            module.update(tree)
        return task.loss(networks, batch, totals)[0]

    step = mx.value_and_grad(loss_of)
    losses = []
    for module in modules:
        module.train()
    for _ in range(steps):
        value, grads = step([module.trainable_parameters() for module in modules])
        for module, optimizer, grad in zip(modules, optimizers, grads, strict=True):
            optimizer.update(module, grad)
        mx.eval(value, [module.parameters() for module in modules], [o.state for o in optimizers])
        losses.append(value.item())
    for module in modules:
        module.eval()
    return losses


def spoken(networks, one) -> list[int]:
    """Greedy decoding of a sample's text in its own voice."""
    from mlx_chatterbox.models.t3.decoding import decode
    from mlx_chatterbox.models.t3.sampling import SamplingSettings

    t3 = networks.t3
    cond = t3.embed_conditioning(
        mx.array(one["prompt"]["speaker_embedding"])[None],
        mx.array(one["prompt"]["speech_tokens"])[None],
        0.5,
    )
    order = "penalty_last" if t3.config.is_gpt2 else "penalty_first"
    settings = SamplingSettings(
        temperature=0.0, repetition_penalty=1.0, min_p=0.0, top_p=1.0, order=order
    )
    return list(decode(t3, cond, mx.array(one["text_tokens"]), settings, 0.0, max_new_tokens=60))


def lora(**settings):
    from mlx_chatterbox.train.config import LoraConfig

    return LoraConfig(**settings)


@pytest.mark.parametrize("variant", ["english", pytest.param("nano", marks=pytest.mark.slow)])
def test_t3_learns_its_samples_by_heart(variant):
    networks = small_networks(variant)
    task = T3Task(networks.t3.config, text_dropout=0.0)
    samples = [sample(index) for index in range(3)]
    losses = train(task, networks, samples, steps=60, rate=5e-3)
    assert losses[-1] < losses[0] / 10
    for one in samples:
        assert spoken(networks, one) == one["speech_tokens"].tolist()


def test_the_flow_learns_its_samples():
    networks = small_networks()
    task = FlowTask(networks.s3gen.config, condition_dropout=0.0)
    losses = train(task, networks, [sample(index) for index in range(3)], steps=40, rate=5e-3)
    assert losses[-1] < losses[0] / 2


# --- Adapters ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learnt():
    """The weights of a T3 that knows two samples by heart, as pretraining would leave it.

    Adapters leave the heads alone, so these must know the tokens already.
    """
    networks = small_networks()
    task = T3Task(networks.t3.config, text_dropout=0.0)
    train(task, networks, [sample(0), sample(1)], steps=50, rate=5e-3)
    return dict(tree_flatten(networks.parameters()))


def swapped() -> list[dict]:
    """The two samples with each other's speech."""
    one, other = sample(0), sample(1)
    return [
        {**one, "speech_tokens": other["speech_tokens"]},
        {**other, "speech_tokens": one["speech_tokens"]},
    ]


@pytest.mark.parametrize(
    ("dora", "bits"),
    [
        (False, None),
        pytest.param(True, None, marks=pytest.mark.slow),
        pytest.param(False, 4, marks=pytest.mark.slow),
    ],
)
def test_lora_learns_other_samples_by_heart_and_is_fused(learnt, dora, bits):
    from mlx_chatterbox.train.adapters import (
        adapter_weights,
        apply_lora,
        fuse,
        quantize_base,
        trainable,
    )

    networks = small_networks()
    networks.update(tree_unflatten(list(learnt.items())))
    task = T3Task(networks.t3.config, text_dropout=0.0)
    before = dict(tree_flatten(networks.parameters()))
    if bits is not None:
        assert len(quantize_base(networks, "t3", bits)) == 2 * 6  # down_proj is 96 wide
    paths = apply_lora(networks, "t3", lora(rank=16, alpha=32.0, dora=dora))
    assert len(paths) == 2 * 7
    trained = trainable(networks, [networks.t3])
    assert trained.keys() == adapter_weights(networks).keys()
    assert len(trained) == len(paths) * (3 if dora else 2)
    samples = swapped()
    losses = train(task, networks, samples, steps=80, rate=2e-3)
    assert losses[-1] < losses[0] / 10, losses[::5]
    for one in samples:
        assert spoken(networks, one) == one["speech_tokens"].tolist()
    batch = task.collate(samples)
    adapted = task.loss(networks, batch, task.counts(batch))[0].item()
    fuse(networks)
    after = dict(tree_flatten(networks.parameters()))
    assert after.keys() == before.keys()
    for key, value in after.items():
        assert (value.shape, value.dtype) == (before[key].shape, before[key].dtype)
    assert task.loss(networks, batch, task.counts(batch))[0].item() == pytest.approx(
        adapted, rel=2e-3, abs=2e-4
    )
    untouched = [key for key in before if "tfmr" not in key or "norm" in key]
    assert all(mx.array_equal(before[key], after[key]) for key in untouched)


def test_fusing_into_the_original_weights_loses_nothing_to_the_quantised():
    from mlx_chatterbox.train.adapters import apply_lora, fuse, quantize_base

    networks = small_networks()
    original = dict(tree_flatten(networks.parameters()))
    quantize_base(networks, "t3", 4)
    apply_lora(networks, "t3", lora())
    fuse(networks, original)
    after = dict(tree_flatten(networks.parameters()))
    assert all(mx.array_equal(original[key], after[key]) for key in original)


@pytest.mark.parametrize("component", ["t3", "flow"])
@pytest.mark.parametrize("dora", [False, True])
def test_new_adapters_change_nothing(component, dora):
    from mlx_chatterbox.train.adapters import apply_lora

    networks, task = small_networks(), small_task(component)
    batch = task.collate([sample(0), sample(1)])
    before = task.loss(networks, batch, task.counts(batch))[0].item()
    assert apply_lora(networks, component, lora(dora=dora, dropout=0.5))
    after = task.loss(networks, batch, task.counts(batch))[0].item()
    assert after == pytest.approx(before, rel=1e-6)


def test_adapters_dropout_comes_from_the_samples_keys():
    """The same whatever else is in the batch, off in evaluation, other for another key."""
    from mlx_chatterbox.train.adapters import apply_lora, trainable

    networks, task = small_networks(), T3Task(small_config().t3, text_dropout=0.0)
    apply_lora(networks, "t3", lora(dropout=0.3))
    for path, part in networks.t3.named_modules():
        if "lora_b" in part:
            part.lora_b = mx.random.normal(part.lora_b.shape, key=mx.random.key(len(path))) * 0.2
    trainable(networks, [networks.t3])
    samples = [sample(0), sample(2)]
    totals = task.counts(task.collate(samples))
    still = gradients(task, networks, samples, totals)[0]
    networks.t3.train()
    whole, _ = gradients(task, networks, samples, totals)
    assert whole != pytest.approx(still, rel=1e-4)
    apart = [gradients(task, networks, [one], totals)[0] for one in samples]
    assert sum(apart) == pytest.approx(whole, rel=1e-6)
    other = [{**samples[0], "key": np.array([1, 2], np.uint32)}, samples[1]]
    assert gradients(task, networks, other, totals)[0] != pytest.approx(whole, rel=1e-4)


def test_keyed_dropout_drops_its_share():
    from mlx_chatterbox.train.adapters import KeyedDropout, _Keys

    source = _Keys()
    source.keys = mx.array(np.array([[1, 2], [3, 4]], dtype=np.uint32))
    dropped = np.array(KeyedDropout(0.3, 11, source)(mx.ones((2, 200, 100))))
    assert np.unique(dropped).tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.01)
    zeros = dropped == 0
    assert (zeros[0] & zeros[1]).mean() == pytest.approx(0.09, abs=0.01)
    assert (zeros[:, 1:] & zeros[:, :-1]).mean() == pytest.approx(0.09, abs=0.01)


def test_targets_and_layers_are_chosen_by_name():
    from mlx_chatterbox.train.adapters import targets

    networks = small_networks()
    chosen = targets(networks, "t3", lora(targets=["q_proj"], layers=1))
    assert [path for path, _ in chosen] == ["tfmr.model.layers.1.self_attn.q_proj"]
    with pytest.raises(SettingError, match="ends in query"):
        targets(networks, "t3", lora(targets=["query"]))
    with pytest.raises(SettingError, match="train vocoder in full"):
        targets(networks, "vocoder", lora())
    assert len(targets(small_networks("nano"), "t3", lora())) == 2 * 4


def test_only_what_is_asked_for_is_trained():
    from mlx_chatterbox.train.adapters import apply_lora, quantize_base, trainable

    networks = small_networks()
    keys = trainable(networks, [networks.s3gen.flow])
    assert keys
    assert all(key.startswith("s3gen.flow.") for key in keys)
    apply_lora(networks, "t3", lora(targets=["q_proj"]))
    keys = trainable(networks, [networks.t3], also=["t3.text_emb.weight"])
    assert {key.rsplit(".", 1)[1] for key in keys} == {"lora_a", "lora_b", "weight"}
    assert len(keys) == 5
    with pytest.raises(SettingError, match="nothing is left"):
        trainable(networks, [])
    quantised = small_networks()
    quantize_base(quantised, "t3", 8)
    with pytest.raises(SettingError, match="add `lora`"):
        trainable(quantised, [quantised.t3])


# --- Gradient checkpointing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "name"), [("english", "t3"), ("nano", "t3"), ("english", "flow")]
)
@pytest.mark.parametrize("adapted", [False, True])
def test_checkpointing_keeps_the_gradients(variant, name, adapted):
    from mlx_chatterbox.train import checkpointing
    from mlx_chatterbox.train.adapters import apply_lora, trainable

    networks, task = small_networks(variant), small_task(name, variant)
    module, samples = task.module(networks), [sample(0), sample(1)]
    if adapted:
        apply_lora(networks, name, lora(dropout=0.2))
        for part in module.modules():
            if "lora_b" in part:
                part.lora_b = part.lora_b + 0.1
    trainable(networks, [module])
    module.train()
    value, expected = gradients(task, networks, samples)
    keys = [key for key, _ in tree_flatten(module.parameters())]
    assert checkpointing.enable(module) >= 2
    assert [key for key, _ in tree_flatten(module.parameters())] == keys
    again, grads = gradients(task, networks, samples)
    assert again == pytest.approx(value, rel=1e-6)
    largest = max(np.abs(grad).max() for grad in expected.values())
    for key, grad in grads.items():
        assert np.allclose(grad, expected[key], rtol=1e-4, atol=1e-6 * largest), key
    checkpointing.disable(module)
    assert gradients(task, networks, samples)[0] == pytest.approx(value, rel=1e-6)


def test_checkpointing_saves_memory():
    from mlx_chatterbox.train import checkpointing

    config = small_config()
    config.t3.num_hidden_layers = 8
    networks = build(config)
    mx.eval(networks.t3.parameters())
    task = T3Task(config.t3, text_dropout=0.0)
    samples = [sample(0, text=240, speech=240)]
    networks.t3.train()

    def peak() -> int:
        gradients(task, networks, samples)
        mx.clear_cache()
        mx.reset_peak_memory()
        held = mx.get_active_memory()
        gradients(task, networks, samples)
        return mx.get_peak_memory() - held

    kept = peak()
    checkpointing.enable(networks.t3)
    assert peak() < 0.6 * kept


# --- From scratch ------------------------------------------------------------------------------


def recorded(index: int, seconds: float = 0.8) -> dict:
    """Features of a synthetic voice."""
    from mlx_chatterbox.audio.kaldi import fbank
    from mlx_chatterbox.audio.mel import s3_tokenizer_log_mel, s3gen_mel, voice_encoder_mel
    from mlx_chatterbox.audio.resample import resample_sinc
    from parity.synthetic_voice import synthetic_voice

    # Behind the silence that it begins with.
    waveform = synthetic_voice(2.0, seed=index)[8400:]
    waveform = waveform[: round(seconds * 25) * 960]
    at_16k = resample_sinc(mx.array(waveform), 24000, 16000)
    mel = np.array(s3gen_mel(mx.array(waveform)))
    rng = np.random.default_rng(index)
    return {
        "id": f"clip{index}",
        "key": np.array([3, index], dtype=np.uint32),
        "speaker": f"speaker{index % 2}",
        "waveform": waveform,
        "mel": mel,
        "f0": np.where(mel.mean(axis=1) > -8, 120.0 + 40 * index, 0.0).astype(np.float32),
        "log_mel_16k": np.array(s3_tokenizer_log_mel(at_16k)),
        "fbank": np.array(fbank(at_16k)),
        "ve_mel": np.array(voice_encoder_mel(at_16k)),
        "phones": rng.integers(0, 5, len(mel)),
    }


def scratch_task(name: str):
    from mlx_chatterbox.train.tasks.speaker import SpeakerTask
    from mlx_chatterbox.train.tasks.tokenizer import TokenizerTask
    from mlx_chatterbox.train.tasks.vocoder import VocoderTask

    config = small_config()
    speakers = ["speaker0", "speaker1"]
    if name == "vocoder":
        return VocoderTask(config.s3gen.hift, frames=10)
    if name == "s3_tokenizer":
        return TokenizerTask(config.s3_tokenizer, tokens=12, active_dims=6, phones=5, width=32)
    width = 192 if name == "speaker_encoder" else 256
    return SpeakerTask(name, speakers, width=width, frames=40)


@pytest.mark.parametrize(
    ("name", "steps", "rate"),
    [
        pytest.param("vocoder", 40, 1e-3, marks=pytest.mark.slow),
        ("s3_tokenizer", 60, 2e-3),
        ("speaker_encoder", 15, 1e-3),
        ("voice_encoder", 20, 1e-2),
    ],
)
def test_networks_from_scratch_learn(name, steps, rate):
    networks, task = small_networks(), scratch_task(name)
    if hasattr(task, "prepare"):
        task.prepare(networks)
    samples = [recorded(index) for index in range(2)]
    losses = train(task, networks, samples, steps, rate, task.extra_module(networks))
    assert losses[-1] < losses[0] / 2, losses


@pytest.mark.parametrize("name", ["vocoder", "s3_tokenizer", "voice_encoder"])
def test_micro_batches_from_scratch_add_up(name):
    networks, task = small_networks(), scratch_task(name)
    samples = [recorded(index, 0.3 + 0.2 * index) for index in range(3)]
    value, whole = gradients(task, networks, samples)
    totals = task.counts(task.collate(samples))
    parts = [gradients(task, networks, [one], totals) for one in samples]
    assert sum(part[0] for part in parts) == pytest.approx(value, rel=1e-5)
    largest = max(np.abs(grad).max() for grad in whole.values())
    for key, grad in whole.items():
        added = sum(part[1][key] for part in parts)
        assert np.allclose(added, grad, rtol=1e-3, atol=1e-5 * largest), key


def test_unused_dimensions_of_the_tokenizer_stay_silent():
    networks, task = small_networks(), scratch_task("s3_tokenizer")
    task.prepare(networks)
    one = recorded(0)
    train(task, networks, [one], 2, 1e-2, task.extra_module(networks))
    codes = np.array(networks.s3_tokenizer.encode_mel(mx.array(one["log_mel_16k"])))
    assert (codes // 3**6 == 1 + 3).all()


def test_one_speaker_is_refused():
    from mlx_chatterbox.train.tasks.speaker import SpeakerTask

    with pytest.raises(SettingError, match="two speakers"):
        SpeakerTask("speaker_encoder", ["a", "a"], width=192)
