"""ChatTTS's networks at full size against tensors of its own modules, on fabricated weights.

`chattts-reference.safetensors` was computed once by ChatTTS's modules on the weights that
`parity/fabricate/chattts.py` makes from seed 2; no published weights are in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from safetensors.numpy import load_file

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.chattts.gpt import position_ids
from mlx_chatterbox.models.decoder.cache import RowCache
from mlx_chatterbox.parity.fabricate import chattts as fabricate
from mlx_chatterbox.weights.chattts import load_upstream

pytestmark = pytest.mark.slow

REFERENCE = load_file(Path(__file__).parents[1] / "data" / "chattts-reference.safetensors")
NOTES = json.loads(REFERENCE["notes"].tobytes())
CLOSE = 2e-5


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chattts")
    fabricate.write(folder, ChatTTSConfig(), seed=2)
    config, networks = load_upstream(folder)
    assert config == ChatTTSConfig()
    for path in folder.rglob("*.safetensors"):
        path.unlink()  # a gigabyte
    return networks


def error(got, name: str, where=...) -> float:
    expected = REFERENCE[name].astype(np.float64)
    got = np.array(got, np.float64)
    assert got.shape == expected.shape
    return float(np.linalg.norm((got - expected)[where]) / np.linalg.norm(expected[where]))


def swapped(array) -> np.ndarray:
    """(B, T, C) to (B, C, T) and back."""
    return np.array(array).swapaxes(1, 2)


def test_decoders(networks):
    mel = networks.decoder(mx.array(REFERENCE["decoder/hidden"]))
    assert error(swapped(mel), "decoder/mel") < CLOSE
    ids = mx.array(swapped(REFERENCE["dvae/ids"]))
    assert error(swapped(networks.dvae.features(ids)), "dvae/features") < CLOSE
    assert error(swapped(networks.dvae.decode(ids)), "dvae/mel") < CLOSE


def test_encoder(networks):
    waveform = mx.array(REFERENCE["dvae/waveform"])
    assert error(np.array(networks.dvae.log_mel(waveform)).T, "dvae/mel_of_waveform") < CLOSE
    codes = np.array(networks.dvae.encode(waveform)).T
    assert np.array_equal(codes, REFERENCE["dvae/encoded_ids"])


def test_vocoder(networks):
    mel = mx.array(swapped(REFERENCE["vocos/mel"]))
    assert error(networks.vocos(mel), "vocos/waveform") < CLOSE


@contextmanager
def kept_layers(model: nn.Module, numbers: Sequence[int]) -> Iterator[dict[int, Kept]]:
    """Keep the results of some layers, counted from 1."""
    layers = model.layers
    kept = {number: Kept(layers[number - 1]) for number in numbers}
    model.layers = [kept.get(number, layer) for number, layer in enumerate(layers, 1)]
    try:
        yield kept
    finally:
        model.layers = layers


class Kept(nn.Module):
    """A layer that keeps its latest result."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self._layer, self.latest = layer, None

    def __call__(self, *args):
        self.latest = self._layer(*args)
        return self.latest


@pytest.mark.parametrize("case", ["text", "code"])
def test_gpt(networks, case):
    gpt = networks.gpt
    inputs = ("input_ids", "attention_mask", "text_mask")
    ids, mask, is_text = (REFERENCE[f"gpt/{case}/{name}"] for name in inputs)
    assert np.array_equal(position_ids(mask), REFERENCE[f"gpt/{case}/position_ids"])
    speaker = mx.array(REFERENCE["speaker/normalised"]) if case == "code" else None
    embedded = gpt.embed_prompt(mx.array(ids), mx.array(is_text) == 1, speaker)
    assert error(embedded, f"gpt/{case}/embeds") < CLOSE

    states = {name: np.zeros(embedded.shape) for name in ("layer_1", "layer_10", "hidden")}
    with kept_layers(gpt.model, (1, 10)) as kept:
        for row, own in enumerate(mask == 1):
            hidden, _ = gpt.codes.hidden_states(embedded[row : row + 1, int((~own).sum()) :])
            states["hidden"][row, own] = hidden[0]
            for number, layer in kept.items():
                states[f"layer_{number}"][row, own] = layer.latest
    for name, got in states.items():
        assert error(got, f"gpt/{case}/{name}", mask == 1) < CLOSE

    hidden = mx.array(states["hidden"].astype(np.float32))
    if case == "text":
        assert error(gpt.text.predict(hidden[:, -1:]), "gpt/text/logits_last") < CLOSE
        return
    start = int(REFERENCE["gpt/code/start"][0])
    logits = gpt.codes.predict(hidden[:, start - 1 :])
    assert error(logits.swapaxes(2, 3), "gpt/code/logits_tail") < CLOSE


def penalised(logits: np.ndarray, history: list[int], penalty: float) -> np.ndarray:
    for token in history[-16:]:
        logits[token] *= penalty if logits[token] < 0 else 1 / penalty
    return logits


@pytest.mark.parametrize("writes", ["text", "code"])
@pytest.mark.parametrize("row", [0, 1])
def test_greedy_steps_write_the_same(networks, writes, row):
    gpt = networks.gpt
    network = gpt.text if writes == "text" else gpt.codes
    mask = REFERENCE[f"generate/{writes}/attention_mask"][row] == 1
    ids = REFERENCE[f"generate/{writes}/input_ids"][row][mask]
    ids = np.repeat(ids[:, None], 4, axis=1) if writes == "text" else ids
    speaker = None if writes == "text" else mx.array(REFERENCE["speaker/normalised"])
    is_text = mx.ones((1, len(ids)), dtype=mx.bool_)
    embedded = gpt.embed_prompt(mx.array(ids[None]), is_text, speaker)
    states, past = network.hidden_states(embedded)
    cache, hidden = RowCache(past), states[:, -1]
    logits = network.predict(hidden)
    expected = REFERENCE[f"generate/{writes}/ids_{row}"].reshape(-1, len(network.heads))
    margins = REFERENCE[f"generate/{writes}/margin"]
    penalty = NOTES[f"greedy_{writes}"].get("repetition_penalty", 1.0)
    for step, wanted in enumerate(expected):
        rows = np.array(logits).reshape(len(wanted), -1)
        pairs = zip(rows, expected[:step].T, strict=True)
        chosen = [penalised(one, list(seen), penalty).argmax() for one, seen in pairs]
        if margins[step] > 1e-2:
            assert chosen == list(wanted)
        if writes == "code":
            kept = REFERENCE[f"generate/code/hidden_{row}"][step]
            assert np.linalg.norm(hidden[0] - kept) < CLOSE * np.linalg.norm(kept)
        tokens = mx.array(wanted if writes == "text" else wanted[None])
        cache.make_room()
        none, slots = mx.zeros((1,), dtype=mx.int32), mx.array([cache.used], dtype=mx.int32)
        logits, hidden = network.step_apart(tokens, none, slots, [cache])
