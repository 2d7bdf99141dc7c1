"""ChatTTS's networks, small, against plain NumPy that reads the same files by itself."""

from __future__ import annotations

import gc
from weakref import ref

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlx_chatterbox.errors import AudioError, CheckpointError
from mlx_chatterbox.models.chattts.config import ChatTTSConfig, GPTConfig
from mlx_chatterbox.models.chattts.gpt import position_ids
from mlx_chatterbox.models.decoder.cache import RowCache
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.parity.fabricate import chattts as fabricate
from mlx_chatterbox.parity.numpy import chattts as reference
from mlx_chatterbox.parity.numpy.layers import Weights
from mlx_chatterbox.runtime import native
from mlx_chatterbox.weights.chattts import load_upstream
from mlx_chatterbox.weights.conversion.chattts import (
    DECODER_FILE,
    DVAE_FILE,
    EMBED_FILE,
    GPT_FILE,
    VOCOS_FILE,
)

from .small_chattts import small_chattts

pytestmark = pytest.mark.numbers

# Of float32 against float64, through a few layers.
CLOSE = 3e-6


@pytest.fixture(scope="module")
def config() -> ChatTTSConfig:
    return small_chattts()


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chattts")
    fabricate.write(folder, config, seed=5)
    return folder


@pytest.fixture(scope="module")
def networks(config, folder):
    return load_upstream(folder, config=config)[1]


@pytest.fixture(scope="module")
def weights(folder):
    return lambda file: Weights(load_file(folder / file))


def error(got, expected) -> float:
    got, expected = np.array(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def swapped(array) -> np.ndarray:
    """(B, T, C) to (B, C, T) and back."""
    return np.array(array).swapaxes(1, 2)


def draws(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- Convolutional networks ----------------------------------------------------------------------


def test_the_decoder_of_hidden_states(networks, weights, config):
    hidden = draws(2, 7, config.gpt.hidden_size)
    expected = reference.decode_steps(weights(DECODER_FILE), swapped(hidden), 2)
    assert error(swapped(networks.decoder(mx.array(hidden))), expected) < CLOSE


def test_the_decoder_of_codes(networks, weights):
    ids = np.random.default_rng(1).integers(0, 625, (2, 4, 9))
    features = reference.code_features(weights(DVAE_FILE), ids)
    codes = mx.array(swapped(ids).astype(np.int32))
    assert error(swapped(networks.dvae.features(codes)), features) < CLOSE
    expected = reference.decode_steps(weights(DVAE_FILE), features, 2)
    assert error(swapped(networks.dvae.decode(codes)), expected) < CLOSE


@pytest.mark.parametrize("samples", [32, 63, 64, 1000, 4001])
def test_a_recordings_mel_and_codes(networks, weights, samples):
    waveform = 0.3 * draws(samples, seed=samples)
    w = weights(DVAE_FILE)
    mel = networks.dvae.log_mel(mx.array(waveform))
    assert error(np.array(mel).T, reference.log_mel(w, waveform, 128, 32)) < CLOSE
    codes = networks.dvae.encode(mx.array(waveform))
    assert codes.shape == ((1 + samples // 32) // 2, 4)
    expected = reference.encode(w, waveform, 2, 128, 32)
    assert np.array_equal(np.array(codes).T, expected)
    together = networks.dvae.encode(mx.array(np.stack([waveform, waveform])))
    assert mx.array_equal(together, mx.stack([codes, codes]))


def test_codes_of_many_features(networks, weights):
    features = 3 * draws(2, 300, 24, seed=2)
    codes = networks.dvae.quantizer.encode(mx.array(features))
    expected = reference.encode_features(weights(DVAE_FILE), swapped(features))
    assert len(np.unique(expected)) > 100
    assert np.array_equal(swapped(codes), expected)


def test_a_recording_without_a_code_is_refused(networks):
    with pytest.raises(AudioError, match=r"31 samples .* needs 32"):
        networks.dvae.encode(mx.zeros((31,)))


def test_the_vocoder(networks, weights):
    mel = 2 * draws(1, 21, 10)
    waveform = networks.vocos(mx.array(mel))
    assert waveform.shape == (1, 32 * 20)
    expected = reference.vocos(weights(VOCOS_FILE), mel[0].T, 2, 128, 32)
    assert error(waveform[0], expected) < CLOSE


def test_large_magnitudes_are_bounded(networks, weights):
    mel = 200 * draws(1, 12, 10)
    waveform = networks.vocos(mx.array(mel))
    expected = reference.vocos(weights(VOCOS_FILE), mel[0].T, 2, 128, 32)
    assert error(waveform[0], expected) < 1e-5
    assert mx.isfinite(networks.vocos(1e6 * mx.array(mel))).all()


# --- GPT -----------------------------------------------------------------------------------------


def prompt(config: GPTConfig, length: int = 11, codes: int = 4, seed: int = 3):
    """Ids (T, 4) of which the last are codes, and where there is text (T,)."""
    random = np.random.default_rng(seed)
    ids = np.repeat(random.integers(626, config.num_text_tokens, (length, 1)), 4, axis=1)
    ids[ids == config.speaker_token] = 0
    ids[1] = config.speaker_token
    is_text = np.ones(length, bool)
    if codes:
        ids[-codes:], is_text[-codes:] = random.integers(0, 625, (codes, 4)), False
    return ids.astype(np.int32), is_text


def states(weights, config: GPTConfig, ids, is_text, speaker) -> list[np.ndarray]:
    embedded = reference.embed(weights(EMBED_FILE), ids, is_text, speaker, config.speaker_token)
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    return [embedded, *reference.llama(weights(GPT_FILE), embedded, layers, heads)]


@pytest.mark.parametrize("has_speaker", [False, True])
def test_prompts_and_hidden_states(networks, weights, config, has_speaker):
    ids, is_text = prompt(config.gpt)
    speaker = draws(32, seed=9) if has_speaker else None
    expected = states(weights, config.gpt, ids, is_text, speaker)
    gpt = networks.gpt
    vector = None if speaker is None else mx.array(speaker)
    embedded = gpt.embed_prompt(mx.array(ids[None]), mx.array(is_text[None]), vector)
    assert error(embedded[0], expected[0]) < CLOSE
    hidden, _ = networks.codes.hidden_states(embedded)
    assert error(hidden[0], expected[-1]) < CLOSE
    embeddings = weights(EMBED_FILE)
    code_logits = reference.code_logits(embeddings, expected[-1], 4)
    assert error(networks.codes.predict(hidden[0]), code_logits) < CLOSE
    text_logits = reference.text_logits(embeddings, expected[-1])
    assert error(networks.text.predict(hidden[0]), text_logits) < CLOSE


@pytest.mark.parametrize("writes", ["text", "codes"])
def test_steps_equal_a_whole_pass(networks, weights, config, writes):
    """In one array for all rows, row by row, and in C; rows have lengths of their own."""
    gpt, embeddings = networks.gpt, weights(EMBED_FILE)
    network = getattr(networks, writes)
    beginnings, expected, caches = (7, 5), [], []
    rows = [prompt(config.gpt, 11, 0 if writes == "text" else 6, seed) for seed in (3, 4)]
    for (ids, is_text), first in zip(rows, beginnings, strict=True):
        hidden = states(weights, config.gpt, ids, is_text, None)[-1]
        logits = (
            reference.text_logits(embeddings, hidden)
            if writes == "text"
            else reference.code_logits(embeddings, hidden, 4)
        )
        expected.append((logits, hidden))
        embedded = gpt.embed_prompt(mx.array(ids[None, :first]), mx.array(is_text[None, :first]))
        caches.append(RowCache(network.hidden_states(embedded)[1]))
    in_c = NativeStep.of(network)
    for_c = [RowCache.__new__(RowCache) for _ in caches]
    for own, cache in zip(for_c, caches, strict=True):
        vars(own).update(vars(cache), keys=[k + 0 for k in cache.keys])
        own.values = [v + 0 for v in cache.values]
    memory = [
        mx.concatenate([getattr(cache, part)[layer] for cache in caches])
        for part in ("keys", "values")
        for layer in range(config.gpt.num_hidden_layers)
    ]
    for step in range(4):
        at = [first + step for first in beginnings]
        tokens = np.stack([ids[i] for (ids, _), i in zip(rows, at, strict=True)])
        tokens = tokens[:, 0] if writes == "text" else tokens
        slots, none = mx.array(at, dtype=mx.int32), mx.zeros((2,), dtype=mx.int32)
        *together, memory = network.step(mx.array(tokens), none, slots, memory, 64)
        apart = network.step_apart(mx.array(tokens), none, slots, caches)
        results = [together, apart]
        if in_c is not None:
            results.append(in_c(tokens, np.zeros(2, np.int64), for_c))
        wanted = [np.stack([e[k][i] for e, i in zip(expected, at, strict=True)]) for k in (0, 1)]
        for logits, hidden in results:
            assert error(logits, wanted[0]) < CLOSE
            assert error(hidden, wanted[1]) < CLOSE


@pytest.mark.parametrize("writes", ["text", "codes"])
def test_a_step_in_c_takes_quantised_tables_and_heads(folder, config, writes):
    if not native.takes():
        pytest.skip("no compiled code")
    networks = load_upstream(folder, config=config)[1]
    gpt = networks.gpt
    nn.quantize(gpt, 32, 8, class_predicate=lambda path, _: path.startswith(("emb_", "head_")))
    assert type(gpt.emb_code[0]) is nn.QuantizedEmbedding
    network = getattr(networks, writes)
    in_c = NativeStep.of(network)
    assert in_c is not None
    tokens = np.array([[3, 5, 7, 9], [600, 2, 4, 6]], np.int32)
    tokens = tokens[:, 0] if writes == "text" else tokens
    none = mx.zeros((2,), dtype=mx.int32)
    caches, for_c = ([RowCache(network.empty_cache()) for _ in range(2)] for _ in range(2))
    expected = network.step_apart(mx.array(tokens), none, none, caches)
    for got, wanted in zip(in_c(tokens, np.array(none), for_c), expected, strict=True):
        assert error(got, wanted) < CLOSE


@pytest.mark.parametrize("writes", ["text", "codes"])
def test_a_row_in_c_is_to_the_bit_what_it_is_alone(networks, writes):
    if not native.takes():
        pytest.skip("no compiled code")
    network = getattr(networks, writes)
    step = NativeStep.of(network)
    random = np.random.default_rng(8)
    tokens = random.integers(0, 625, (3, 5, 4), dtype=np.int32)
    tokens = tokens[..., 0] if writes == "text" else tokens

    def states(rows: list[int]) -> list[np.ndarray]:
        caches = [RowCache(network.empty_cache()) for _ in rows]
        none = np.zeros(len(rows), np.int64)
        return [part for one in tokens for part in step(one[rows], none, caches)]

    together = states([0, 1, 2, 3, 4])
    for row in range(5):
        for got, wanted in zip(states([row]), together, strict=True):
            assert np.array_equal(got[0], wanted[row])


def test_writing_text_is_no_writing_of_codes(networks):
    """The compiled step of each is its own."""
    assert networks.text.compiled_step is not networks.codes.compiled_step
    assert networks.text.compiled_step is networks.text.compiled_step


def test_positions_begin_after_the_padding():
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    assert position_ids(mask).tolist() == [[1, 1, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_heads_have_the_length_that_the_file_states(networks, folder):
    tensors = load_file(folder / EMBED_FILE)
    for key, head in [("text", networks.gpt.head_text)] + [
        (f"code.{i}", head) for i, head in enumerate(networks.gpt.head_code)
    ]:
        stated = tensors[f"head_{key}.parametrizations.weight.original0"][:, 0]
        assert np.allclose(np.linalg.norm(head.weight, axis=1), stated, rtol=1e-5)


# --- Loading -------------------------------------------------------------------------------------


def changed(folder, target, file, change) -> None:
    """Copy a folder's files, one of them changed."""
    for name in (*(GPT_FILE, EMBED_FILE, DECODER_FILE, DVAE_FILE, VOCOS_FILE),):
        tensors = load_file(folder / name)
        if name == file:
            change(tensors)
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, target / name)


@pytest.mark.parametrize("file", [GPT_FILE, EMBED_FILE, DECODER_FILE, DVAE_FILE, VOCOS_FILE])
def test_an_unknown_tensor_is_refused(folder, config, tmp_path, file):
    changed(folder, tmp_path, file, lambda tensors: tensors.update(odd=np.zeros(1, np.float32)))
    with pytest.raises(CheckpointError, match="odd"):
        load_upstream(tmp_path, config=config)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (GPT_FILE, "layers.1.mlp.up_proj.weight"),
        (EMBED_FILE, "head_code.2.parametrizations.weight.original0"),
        (DECODER_FILE, "decoder.decoder_block.1.weight"),
        (DVAE_FILE, "preprocessor_mel.mel_spec.mel_scale.fb"),
        (VOCOS_FILE, "backbone.convnext.0.gamma"),
    ],
)
def test_a_missing_tensor_is_refused(folder, config, tmp_path, file, key):
    changed(folder, tmp_path, file, lambda tensors: tensors.pop(key))
    with pytest.raises(CheckpointError):
        load_upstream(tmp_path, config=config)


def test_what_was_never_used_may_be_there(folder, config, networks, tmp_path):
    unused = {
        "embed_tokens.weight": np.zeros((8, 32), np.float32),
        "layers.0.self_attn.rotary_emb.inv_freq": np.zeros(4, np.float32),
    }
    changed(folder, tmp_path, GPT_FILE, lambda tensors: tensors.update(unused))
    loaded = load_upstream(tmp_path, config=config)[1]
    assert mx.array_equal(loaded.gpt.model.norm.weight, networks.gpt.model.norm.weight)


def test_halves_become_the_type_that_is_asked_for(folder, config, networks, tmp_path):
    def halve(tensors):
        for key, tensor in tensors.items():
            tensors[key] = tensor.astype(np.float16)

    changed(folder, tmp_path, DECODER_FILE, halve)
    loaded = load_upstream(tmp_path, config=config)[1]
    assert loaded.decoder.coef.dtype == mx.float32
    assert error(loaded.decoder.coef, networks.decoder.coef) < 1e-3


def test_the_configuration_is_read(folder, config):
    values = {"rms_norm_eps": 1e-6, "rope_theta": 1e4, "num_vq": 4, "num_audio_tokens": 626}
    values |= {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 20}
    values |= {"num_attention_heads": 12, "max_position_embeddings": 4096}
    values |= {"num_text_tokens": 21178, "spk_emb_dim": 192, "vocab_size": 32000}
    assert GPTConfig.from_upstream(values) == GPTConfig()
    for key, wrong in {"hidden_act": "gelu", "num_key_value_heads": 4, "rope_scaling": {}}.items():
        with pytest.raises(CheckpointError, match=key):
            GPTConfig.from_upstream({**values, key: wrong})
    with pytest.raises(CheckpointError, match="num_vq missing"):
        GPTConfig.from_upstream({k: v for k, v in values.items() if k != "num_vq"})


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_upstream(tmp_path)


def test_networks_are_freed_when_they_are_dropped(folder, config):
    networks = load_upstream(folder, config=config)[1]
    gone = ref(networks.gpt)
    gc.disable()
    try:
        del networks
        assert gone() is None
    finally:
        gc.enable()
