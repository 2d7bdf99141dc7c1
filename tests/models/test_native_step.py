"""A step of decoding in C equals MLX's."""

from __future__ import annotations

import copy

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from mlx_chatterbox.models.decoder.cache import CAPACITY_STEP, RowCache
from mlx_chatterbox.models.decoder.native_step import MOST_ROWS, NativeStep
from mlx_chatterbox.models.decoder.sampling import gumbel_noise
from mlx_chatterbox.models.t3 import decoding
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.sampling import SamplingSettings, process_logits
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.runtime import device, native
from tests.rounding import Rounding

pytestmark = pytest.mark.numbers

SIZES = {
    "text_tokens_dict_size": 40,
    "start_text_token": 38,
    "speech_tokens_dict_size": 33,
    "start_speech_token": 30,
    "stop_speech_token": 31,
    "num_hidden_layers": 3,
}
# Widths that fill vectors, and widths that do not.
EVEN = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "head_dim": 64}
ODD = {
    "hidden_size": 30,
    "intermediate_size": 50,
    "num_attention_heads": 3,
    "head_dim": 10,
    "perceiver_heads": 3,
}
# Weights that are multiplied differently from nine rows on, where a vector has sixteen lanes.
LARGE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "head_dim": 64}
# Weights that are read from memory, so that a Llama's are multiplied in another order.
LARGEST = {**LARGE, "hidden_size": 1024, "intermediate_size": 1024, "num_attention_heads": 16}
BACKBONES = {"llama": {}, "gpt2": {"backbone": "gpt2", "max_position_embeddings": 700}}


@pytest.fixture(params=[EVEN, ODD], ids=["even", "odd"])
def widths(request):
    return request.param


@pytest.fixture(params=BACKBONES)
def t3(request, widths):
    return made(widths, request.param)


def made(widths: dict, backbone: str) -> T3:
    if native.library() is None or not device.on_cpu():
        pytest.skip("nothing was compiled here, or it is not for this device")
    mx.random.seed(5)
    network = T3(T3Config(**SIZES, **widths, **BACKBONES[backbone]))
    # Norms and biases that do something.
    network.update(tree_map(lambda a: a + 0.1 * mx.random.normal(a.shape), network.parameters()))
    network.eval()
    return network


def caches_of(t3: T3, lengths: list[int], guided: bool) -> list[RowCache]:
    width = t3.config.hidden_size
    rows = 2 if guided else 1
    shapes = [(rows, length, width) for length in lengths]
    return [RowCache(t3.hidden_states(mx.random.normal(shape))[1]) for shape in shapes]


@pytest.mark.parametrize(
    ("lengths", "guided"), [([7], False), ([7], True), ([3, 40, 1], True), ([5] * 8, True)]
)
def test_logits_and_memory(t3, lengths, guided):
    """Sentences of different lengths, beyond the end of the existing slots."""
    lengths = [length + CAPACITY_STEP - 44 for length in lengths]
    begun, rows = caches_of(t3, lengths, guided), len(lengths) * (1 + guided)
    tokens = [mx.random.randint(0, 30, (rows,)) for _ in range(8)]
    mx.eval(tokens)

    def stepped(step) -> list[mx.array]:
        caches, logits = [copied(cache) for cache in begun], []
        for index, drawn in enumerate(tokens, start=1):
            for cache in caches:
                cache.make_room()
            logits.append(step(drawn, index, caches))
        return [*logits, *written(caches)]

    def by_mlx(drawn: mx.array, index: int, caches: list[RowCache]) -> mx.array:
        slots = [cache.used for cache in caches for _ in range(cache.rows)]
        return t3.step_apart(drawn, mx.array([index]), mx.array(slots), caches)[0]

    in_c = NativeStep.of(t3)

    def by_c(drawn: mx.array, index: int, caches: list[RowCache]) -> np.ndarray:
        return in_c(np.array(drawn), np.full(rows, index), caches)[0]

    Rounding(lambda: stepped(by_mlx), [t3]).check(stepped(by_c))


def copied(cache: RowCache) -> RowCache:
    other = copy.copy(cache)
    other.keys, other.values = (
        [mx.array(np.array(layer)) for layer in layers] for layers in (cache.keys, cache.values)
    )
    return other


def written(caches: list[RowCache]) -> list[mx.array]:
    """Keys and values of each layer and row that are those of a token."""
    return [layer[:, :, : cache.used] for cache in caches for layer in (*cache.keys, *cache.values)]


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("rows", [1, 8, 9, 16])
@pytest.mark.parametrize("widths", [LARGE, LARGEST], ids=["large", "largest"])
def test_many_rows_of_larger_weights(backbone, rows, widths):
    """Results agree within the rounding of some twenty products in a row, each of its depth."""
    t3 = made(widths, backbone)
    caches = caches_of(t3, [5] * rows, False)
    others = [copied(cache) for cache in caches]
    tokens = mx.random.randint(0, 30, (rows,))
    expected, _ = t3.step_apart(tokens, mx.array([1]), mx.array([5] * rows), others)
    got, _ = NativeStep.of(t3)(np.array(tokens), np.ones(rows, np.int64), caches)
    error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
    products = 7 * t3.config.num_hidden_layers
    assert error <= products * np.finfo(np.float32).eps * t3.config.intermediate_size**0.5


@pytest.mark.parametrize(
    "widths", [EVEN, ODD, LARGE, LARGEST], ids=["even", "odd", "large", "largest"]
)
@pytest.mark.parametrize("guided", [False, True])
def test_logits_do_not_depend_on_the_other_rows(t3, guided):
    """To the bit: a row alone, and in every company up to the most rows, at every place."""
    sentences = MOST_ROWS // (1 + guided)
    lengths = [3 + 7 * i % 40 for i in range(sentences)]
    begun, step = caches_of(t3, lengths, guided), NativeStep.of(t3)
    tokens = np.arange(sentences) % 29

    def logits(company: list[int]) -> dict[int, np.ndarray]:
        caches = [copied(begun[i]) for i in company]
        drawn = np.repeat(tokens[company], 1 + guided)
        made, _ = step(drawn, np.full(len(drawn), 3), caches)
        return dict(zip(company, made.reshape(len(company), 1 + guided, -1), strict=True))

    alone = {i: logits([i])[i] for i in range(sentences)}
    everyone = list(range(sentences))
    for count in range(2, sentences + 1):
        for company in (everyone[:count], everyone[::-1][:count]):
            for i, made in logits(company).items():
                np.testing.assert_array_equal(made, alone[i], err_msg=f"row {i} of {company}")


def decoded(t3: T3, sentences: int) -> list:
    texts = [mx.arange(3 + i) for i in range(sentences)]
    cond = mx.random.normal((1, 4, t3.config.hidden_size), key=mx.random.key(1))
    steps = decoding.decode_batch(t3, cond, texts, SamplingSettings(), 0.5, 20)
    return list(steps)


def test_a_token_does_not_wait_for_the_next_ones_step(t3, monkeypatch):
    calls = []
    real = NativeStep.__call__
    monkeypatch.setattr(NativeStep, "__call__", lambda *a: calls.append(a[2][0]) or real(*a))
    cond = mx.random.normal((1, 4, t3.config.hidden_size), key=mx.random.key(1))
    steps = decoding.decode_batch(t3, cond, [mx.arange(3)], SamplingSettings(), 0.5, 20)
    for index, _ in enumerate(steps):
        assert calls == list(range(1, index + 1))


def test_more_sentences_than_a_step_has_rows(t3, monkeypatch):
    """Each step has at most so many rows, and every sentence the tokens that MLX draws."""
    calls = []
    real = NativeStep.__call__
    monkeypatch.setattr(NativeStep, "__call__", lambda *a: calls.append(a[1]) or real(*a))
    sentences = MOST_ROWS + 1
    in_c = decoded(t3, 3), decoded(t3, sentences)
    assert max(len(tokens) for tokens in calls) == MOST_ROWS
    monkeypatch.setattr(NativeStep, "of", classmethod(lambda cls, t3: None))
    assert in_c == (decoded(t3, 3), decoded(t3, sentences))


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(),
        SamplingSettings(temperature=0.0),
        SamplingSettings(top_p=0.7, repetition_penalty=1.0),
        SamplingSettings(top_k=5, top_p=0.9, order="penalty_last"),
    ],
)
def test_numpy_and_mlx_arrays_give_the_same_distribution(settings, rng):
    logits = rng.normal(size=(3, 700)).astype(np.float32) * 4
    seen = rng.random((3, 700)) < 0.1
    expected = process_logits(mx.array(logits), mx.array(seen), settings)
    found = process_logits(logits, seen, settings)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_noise_of_several_draws_is_that_of_each():
    keys = mx.stack([mx.random.split(mx.random.key(i), 7) for i in range(3)])
    together = np.array(gumbel_noise(keys, 50))
    assert together.shape == (3, 7, 50)
    for index in range(7):
        np.testing.assert_array_equal(together[:, index], gumbel_noise(keys[:, index], 50))


@pytest.mark.parametrize("change", ["half", "quantised", "adapter", "not compiled"])
@pytest.mark.parametrize("widths", [EVEN], ids=["even"])
def test_unsupported_networks_are_left_to_mlx(t3, change, monkeypatch):
    assert NativeStep.of(t3) is not None
    if change == "half":
        t3.set_dtype(mx.float16)
    elif change == "quantised":
        nn.quantize(t3.tfmr)
    elif change == "adapter":
        from mlx_lm.tuner.lora import LoRALinear

        layers = [(key, m) for key, m in t3.tfmr.named_modules() if isinstance(m, nn.Linear)]
        key, last = layers[-1]
        t3.tfmr.update_modules(nn.utils.tree_unflatten([(key, LoRALinear.from_base(last))]))
    else:
        monkeypatch.setattr(native, "library", lambda: None)
    assert NativeStep.of(t3) is None
    assert decoded(t3, 2)


@pytest.mark.parametrize("widths", [EVEN], ids=["even"])
def test_new_weights_are_new_steps(t3):
    before = decoded(t3, 2)
    t3.update(tree_map(lambda a: a * -1, t3.parameters()))
    after = decoded(t3, 2)
    assert before != after
    assert all(mx.isfinite(a).all() for _, a in tree_flatten(t3.parameters()))


def test_weights_changed_in_place_leave_a_step_as_it_was_made(t3):
    """A stream may be paused meanwhile: C must not read memory that has been reused."""
    [cache], token = caches_of(t3, [5], False), np.array([7])
    place = np.array([1])
    expected, _ = NativeStep.of(t3)(token, place, [copied(cache)])
    step = NativeStep.of(t3)
    for weight in dict(tree_flatten(t3.parameters())).values():
        for _ in range(2):
            weight *= 3
            mx.eval(weight)
    np.testing.assert_array_equal(step(token, place, [copied(cache)])[0], expected)
