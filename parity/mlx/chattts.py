"""ChatTTS's networks of ours on a dump of inputs; names of inputs and outputs as in the reference.

Rows are computed without their padding, so what stands there in `layer_*` and `hidden` is zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_chatterbox.models.chattts.gpt import GPT, position_ids
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks

Arrays = Mapping[str, np.ndarray]
# Layers, counted from 1, after which the residual stream is compared.
LAYERS = (1, 10)


def outputs(
    networks: ChatTTSNetworks, inputs: Arrays, speaker: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Compute whatever the inputs allow.

    Args:
        inputs: `gpt/*/{input_ids,attention_mask,text_mask}`, `gpt/code/start`, `decoder/hidden`,
            `dvae/{ids,waveform}`, `vocos/mel`; channels before time.
        speaker: (C,), normalised, of the case `code`.
    """
    results: dict[str, np.ndarray] = {}
    for case in ("text", "code"):
        if f"gpt/{case}/input_ids" in inputs:
            vector = speaker if case == "code" else None
            own = _gpt(networks, case, inputs, vector)
            results |= {f"gpt/{case}/{name}": value for name, value in own.items()}
    if "decoder/hidden" in inputs:
        results["decoder/mel"] = _swapped(networks.decoder(mx.array(inputs["decoder/hidden"])))
    dvae = networks.dvae
    if "dvae/ids" in inputs:
        codes = mx.array(_swapped(inputs["dvae/ids"]))
        results["dvae/features"] = _swapped(dvae.features(codes))
        results["dvae/mel"] = _swapped(dvae.decode(codes))
    if "dvae/waveform" in inputs:
        waveform = mx.array(inputs["dvae/waveform"])
        results["dvae/mel_of_waveform"] = np.array(dvae.log_mel(waveform)).T
        results["dvae/encoded_ids"] = np.array(dvae.encode(waveform)).T
    if "vocos/mel" in inputs:
        mel = mx.array(_swapped(inputs["vocos/mel"]))
        results["vocos/waveform"] = np.array(networks.vocos(mel))
    return results


def _swapped(array) -> np.ndarray:
    """(B, T, C) to (B, C, T) and back."""
    return np.array(array).swapaxes(1, 2)


def _gpt(
    networks: ChatTTSNetworks, case: str, inputs: Arrays, speaker: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Outputs of the GPT by their names within a case, "text" or "code"."""
    ids, mask, is_text = (
        inputs[f"gpt/{case}/{name}"] for name in ("input_ids", "attention_mask", "text_mask")
    )
    gpt = networks.gpt
    vector = None if speaker is None else mx.array(speaker.astype(np.float32))
    embedded = gpt.embed_prompt(mx.array(ids), mx.array(is_text) == 1, vector)
    results = {"position_ids": position_ids(mask), "embeds": np.array(embedded)}
    shape, taken = embedded.shape, [n for n in LAYERS if n <= gpt.config.num_hidden_layers]
    states = {f"layer_{number}": np.zeros(shape, np.float32) for number in taken}
    states["hidden"] = np.zeros(shape, np.float32)
    with _kept_layers(gpt, taken) as kept:
        for row, own in enumerate(mask == 1):
            hidden, _ = networks.codes.hidden_states(embedded[row : row + 1, int((~own).sum()) :])
            states["hidden"][row, own] = np.array(hidden[0])
            for number, layer in kept.items():
                states[f"layer_{number}"][row, own] = np.array(layer.latest)
    hidden = mx.array(states["hidden"])
    if case == "text":
        states["logits_last"] = np.array(networks.text.predict(hidden[:, -1:]))
    else:
        start = int(inputs["gpt/code/start"][0])
        logits = networks.codes.predict(hidden[:, start - 1 :])
        states["logits_tail"] = np.array(logits).swapaxes(2, 3)
    return results | states


class _Kept(nn.Module):
    """A layer that keeps its latest result."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self._layer = layer
        self.latest = mx.zeros(())

    def __call__(self, *args):
        self.latest = self._layer(*args)
        return self.latest


@contextmanager
def _kept_layers(gpt: GPT, numbers: list[int]) -> Iterator[dict[int, _Kept]]:
    """Keep the results of some layers, counted from 1."""
    layers = gpt.model.layers
    kept = {number: _Kept(layers[number - 1]) for number in numbers}
    gpt.model.layers = [kept.get(number, layer) for number, layer in enumerate(layers, 1)]
    try:
        yield kept
    finally:
        gpt.model.layers = layers
