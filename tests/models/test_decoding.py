"""T3 decoding: batches, cached voices, compiled steps, memory."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.errors import SettingError, TextError
from mlx_chatterbox.models.decoder import cache
from mlx_chatterbox.models.t3.config import T3Config
from mlx_chatterbox.models.t3.decoding import decode, decode_batch
from mlx_chatterbox.models.t3.prefix import PrefixMemory
from mlx_chatterbox.models.t3.sampler import SpeechSampler
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.runtime import device
from mlx_chatterbox.weights.checkpoint import build
from tests.rounding import Rounding, assert_no_draw_is_close, pitched
from tests.small import small_config

TEXTS = [[255, 9, 8, 7, 0], [255, 5, 0], [255, *range(20, 60), 0], [255, 3, 3, 0]]
TEXTS += [[255, 100 + i, 0] for i in range(4)]


@pytest.fixture(scope="module", params=["english", "turbo"])
def t3(request):
    """Small T3 with weights from a seed; stop tokens come after some tens of tokens."""
    t3 = build(small_config(request.param)).t3
    rng = np.random.default_rng(5)
    t3.update(
        tree_unflatten(
            [
                (key, mx.array((rng.standard_normal(value.shape) * 0.3).astype(np.float32)))
                for key, value in sorted(tree_flatten(t3.parameters()))
            ]
        )
    )
    return t3


@pytest.fixture(scope="module")
def cond(t3):
    return t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)


@pytest.fixture
def settings(t3):
    order = "penalty_last" if t3.config.is_gpt2 else "penalty_first"
    return SamplingSettings(2.0, 1.2, 0.0, 0.98, order=order)


@pytest.fixture
def early_stops(t3, monkeypatch):
    """One token in thirty counts as the stop token, so that rows leave at different times."""

    class Stop(int):
        def __eq__(self, other):
            return other % 30 == 7

        __hash__ = int.__hash__

    monkeypatch.setattr(t3.config, "stop_speech_token", Stop(6562))


def texts(count):
    return [mx.array(text) for text in TEXTS[:count]]


def batch_tokens(t3, cond, count, settings, limit=60, **options):
    keys = [mx.random.key(10 + i) for i in range(count)]
    written = [[] for _ in range(count)]
    steps = decode_batch(t3, cond, texts(count), settings, 0.5, limit, keys, **options)
    for step in steps:
        for sentence, token in step:
            written[sentence].append(token)
    return written


@pytest.mark.numbers
@pytest.mark.parametrize("count", [2, 4, 8])
def test_a_row_writes_what_it_writes_alone(t3, cond, settings, early_stops, count):
    """Texts of different length, rows that end at different times."""

    def each() -> list[list[int]]:
        return [
            list(decode(t3, cond, text, settings, 0.5, 60, mx.random.key(10 + i)))
            for i, text in enumerate(texts(count))
        ]

    assert_no_draw_is_close(each, t3)
    alone = each()
    assert batch_tokens(t3, cond, count, settings) == alone
    assert len({len(tokens) for tokens in alone}) > 1


@pytest.mark.numbers
def test_rows_leave_once_they_have_ended(t3, cond, settings, early_stops, monkeypatch):
    rows = []
    step = type(t3).step

    def counted(self, tokens, *rest):
        rows.append(tokens.shape[0])
        return step(self, tokens, *rest)

    monkeypatch.setattr(type(t3), "step", counted)
    written = batch_tokens(t3, cond, 8, settings)
    assert rows == sorted(rows, reverse=True)
    per_sentence = 1 if t3.config.is_gpt2 else 2
    # A row is computed for every token except the first, and once more before its end is noticed.
    assert sum(rows) <= per_sentence * sum(len(tokens) + 1 for tokens in written)


def test_a_row_is_penalised_for_its_own_tokens_also_after_others_have_left(
    t3, cond, settings, early_stops
):
    """A penalty that outweighs every logit: the likeliest token never comes twice in a row."""

    def written(penalty: float) -> list[list[int]]:
        likeliest = replace(settings, temperature=1e-4, top_p=1.0, repetition_penalty=penalty)
        return batch_tokens(t3, cond, 8, likeliest, limit=120)

    def repeated(rows: list[list[int]]) -> list[int]:
        return [len(row) - len(set(row)) for row in rows]

    rows = written(1e6)
    assert len({len(row) for row in rows}) > 3
    assert repeated(rows) == [0] * 8
    assert sum(repeated(written(1.0))) > 8


@pytest.mark.numbers
def test_slots_grow(t3, cond, settings, monkeypatch):
    expected = batch_tokens(t3, cond, 2, settings)
    monkeypatch.setattr(cache, "CAPACITY_STEP", 16)
    monkeypatch.setattr(cache, "_EXTENT_STEP", 4)
    assert batch_tokens(t3, cond, 2, settings) == expected


@pytest.mark.numbers
def test_the_compiled_step_of_the_gpu_gives_the_same(t3, cond, settings, early_stops, monkeypatch):
    expected = batch_tokens(t3, cond, 4, settings)
    traces = []
    step = type(t3).step
    monkeypatch.setattr(type(t3), "step", lambda *given: traces.append(1) or step(*given))
    monkeypatch.setattr(t3, "_compiled_step", None)
    with device.pretend("gpu"):
        assert batch_tokens(t3, cond, 4, settings) == expected
        # Traced for 4 sentences, 2 and 1 at most, and not again in the next call.
        assert 1 <= len(traces) <= 3
        traces.clear()
        assert batch_tokens(t3, cond, 4, settings) == expected
    assert not traces


@pytest.mark.numbers
def test_teacher_forced_logits_equal_a_cacheless_pass(t3, cond):
    """Conditioning first and the rest on top of it is the same as all at once."""
    text, speech = texts(1)[0], mx.arange(7)
    logits = t3.teacher_forced_logits(cond, text, speech)
    sentence = t3.sentence_embeddings(text, guided=not t3.config.is_gpt2)
    rows = sentence.shape[0]
    spoken = t3.embed_speech(mx.broadcast_to(speech[None], (rows, 7)), 1)
    whole = mx.concatenate(
        [mx.broadcast_to(cond, (rows, *cond.shape[1:])), sentence, spoken], axis=1
    )
    expected = t3.speech_head(t3.hidden_states(whole)[0][:, -8:])
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.numbers
def test_a_voice_is_remembered_by_its_contents(t3, cond, settings):
    memory = PrefixMemory()
    speaker, prompt = mx.ones((1, 256)) / 16, mx.arange(20)[None]
    past = memory.cache_of(t3, speaker, prompt, 0.5)
    assert memory.cache_of(t3, mx.array(speaker), mx.array(prompt), 0.5) is past
    assert batch_tokens(t3, past, 2, settings) == batch_tokens(t3, cond, 2, settings)
    assert memory.cache_of(t3, speaker, prompt, 0.7) is not past
    assert memory.cache_of(t3, speaker, prompt + 1, 0.7) is not past


@pytest.mark.numbers
def test_other_weights_make_another_memory(t3):
    memory = PrefixMemory()
    given = (mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    past = memory.cache_of(t3, *given)
    bias = t3.cond_enc.spkr_enc.bias
    t3.cond_enc.spkr_enc.bias = -bias
    changed = memory.cache_of(t3, *given)
    t3.cond_enc.spkr_enc.bias = bias
    assert float(mx.abs(changed.keys[0] - past.keys[0]).max()) > 1e-3


def test_weights_in_the_place_of_replaced_ones_are_other_weights(t3):
    """A new array may have the `id` of a freed one; the prefix must be computed again."""
    memory, layer = PrefixMemory(), t3.cond_enc.spkr_enc
    given = (mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    bias = np.array(layer.bias)
    past = memory.cache_of(t3, *given)
    address = id(layer.bias)
    layer.bias = mx.zeros(bias.shape)
    others = []
    while id(layer.bias) != address:
        assert len(others) < 10_000
        others.append(layer.bias)
        layer.bias = mx.array(-bias)
    changed = memory.cache_of(t3, *given)
    layer.bias = mx.array(bias)
    assert float(mx.abs(changed.keys[0] - past.keys[0]).max()) > 1e-3


def scale_all(bias: mx.array) -> None:
    bias *= 2


def set_one(bias: mx.array) -> None:
    bias[0] = 5


def set_all(bias: mx.array) -> None:
    bias[:] = mx.ones(bias.shape)


@pytest.mark.numbers
@pytest.mark.parametrize("change", [scale_all, set_one, set_all])
@pytest.mark.parametrize("evaluated", [True, False])
def test_weights_changed_in_place_make_another_memory(t3, change, evaluated):
    """The array is the same object afterwards, and of the same address perhaps."""
    memory, layer = PrefixMemory(), t3.cond_enc.spkr_enc
    arguments = (mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    original = np.array(layer.bias)
    weight = layer.bias = mx.array(original)
    past = memory.cache_of(t3, *arguments)
    for _ in range(2):
        change(weight)
        assert layer.bias is weight
        if evaluated:
            mx.eval(weight)
    changed = memory.cache_of(t3, *arguments)
    expected = PrefixMemory().cache_of(t3, *arguments)
    layer.bias = mx.array(original)
    assert float(mx.abs(changed.keys[0] - past.keys[0]).max()) > 1e-3
    np.testing.assert_array_equal(changed.keys[0], expected.keys[0])


def test_unchanged_weights_are_recognized_after_they_were_used(t3):
    memory, arguments = PrefixMemory(), (mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    past = memory.cache_of(t3, *arguments)
    mx.eval([weight * 2 for _, weight in tree_flatten(t3.parameters())])
    assert memory.cache_of(t3, *arguments) is past


def test_replaced_weights_are_not_kept_alive(t3):
    memory, layer = PrefixMemory(), t3.cond_enc.spkr_enc
    bias = np.array(layer.bias)
    layer.bias = mx.array(bias)
    memory.cache_of(t3, mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    replaced = weakref.ref(layer.bias)
    layer.bias = mx.array(bias)
    assert replaced() is None


def test_the_contents_of_replaced_weights_are_not_kept_alive(t3):
    memory, table = PrefixMemory(), t3.text_emb
    weight = np.array(table.weight)
    memory.cache_of(t3, mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
    held = mx.get_active_memory()
    table.weight = mx.zeros((1, 1))
    mx.eval(table.weight)
    freed = held - mx.get_active_memory()
    table.weight = mx.array(weight)
    assert freed > weight.nbytes / 2


def drawn(logits: mx.array, keys: mx.array) -> mx.array:
    return SpeechSampler(T3Config()).draw(logits, keys, SamplingSettings())


@pytest.mark.numbers
def test_a_row_draws_from_its_own_key():
    logits = mx.random.normal((3, 50), key=mx.random.key(1))
    keys = mx.stack([mx.random.key(i) for i in (4, 5, 6)])
    together = drawn(logits, keys)
    for row in range(3):
        alone = drawn(logits[row : row + 1], keys[row : row + 1])
        assert alone.item() == together[row].item()


@pytest.mark.numbers
def test_draws_follow_the_distribution():
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    logits = mx.broadcast_to(mx.log(mx.array(probabilities.astype(np.float32))), (4000, 4))
    tokens = np.array(drawn(logits, mx.random.split(mx.random.key(0), 4000)))
    np.testing.assert_allclose(np.bincount(tokens) / 4000, probabilities, atol=0.03)


def test_as_many_keys_as_sentences(t3, cond, settings):
    with pytest.raises(SettingError, match="2 sentences need as many keys"):
        next(decode_batch(t3, cond, texts(2), settings, keys=[mx.random.key(0)]))


@pytest.fixture(scope="module", params=["english", "nano"])
def tts(request, small_models):
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    tts = open_model(small_models(request.param))
    tts.prepare_conditionals(synthetic_voice(6.0, seed=4))
    return tts


SHORT = {"max_new_tokens": 10, "n_cfm_timesteps": 2}
SENTENCES = ["Hello there.", "Yes.", "A rather longer sentence than the others."]


@pytest.mark.numbers
def test_generate_batch_is_generate_for_each(tts):
    def alone() -> list[np.ndarray]:
        return [
            tts.generate(text, seed=3 + i, temperature=0.9, **SHORT)
            for i, text in enumerate(SENTENCES)
        ]

    s3gen = tts.networks.s3gen
    with pitched(s3gen.mel2wav):
        together = tts.generate_batch(SENTENCES, seed=3, temperature=0.9, **SHORT)
        Rounding(alone, [s3gen], t3=tts.networks.t3).check(together)
    together = tts.generate_batch(SENTENCES, seed=3, temperature=0.9, **SHORT)
    again = tts.generate_batch(SENTENCES, seeds=[3, 4, 5], temperature=0.9, **SHORT)
    for first, second in zip(together, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_generate_batch_refuses(tts):
    with pytest.raises(SettingError, match="at least one"):
        tts.generate_batch([], **SHORT)
    with pytest.raises(SettingError, match="a list"):
        tts.generate_batch("Hello.", **SHORT)
    with pytest.raises(SettingError, match="one for each of the 3 texts; got 1"):
        tts.generate_batch(SENTENCES, seeds=[1], **SHORT)
    with pytest.raises(SettingError, match="noise"):
        tts.generate_batch(SENTENCES, noise=mx.zeros((1, 2, 80)), **SHORT)
    with pytest.raises(TextError, match="no text"):
        tts.generate_batch(["Hello.", " "], **SHORT)


def test_memory_does_not_grow(tts):
    """The same after 50 utterances as after 5."""

    def used() -> tuple[int, int]:
        gc.collect()
        return mx.get_active_memory(), mx.get_peak_memory()

    for i in range(5):
        tts.generate(SENTENCES[i % 3], seed=i, **SHORT)
    mx.reset_peak_memory()
    for i in range(5):
        tts.generate(SENTENCES[i % 3], seed=i, **SHORT)
    early = used()
    for i in range(45):
        tts.generate(SENTENCES[i % 3], seed=i, **SHORT)
    late = used()
    assert late[0] <= 1.05 * early[0]
    assert late[1] <= 1.05 * early[1]
