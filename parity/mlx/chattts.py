"""ChatTTS's networks of ours, stage by stage; names of inputs and outputs are its reference's.

Rows are computed without their padding, so what stands there in `layer_*` and `hidden` is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_chatterbox.checks.tensors import check_tokens
from mlx_chatterbox.models.chattts.gpt import GPT, position_ids
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks
from mlx_chatterbox.models.chattts.requests import CodeRow, TextRow
from mlx_chatterbox.models.chattts.sampling import ChatTTSSampling, process_logits
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.voices.chattts.strings import checked_vector, normalised

from ..errors import ParityError
from ..inputs.chattts_cases import SamplerCase, greedy, has_speaker, prompts, sampler_case
from ..progress import say

Arrays = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]
# Layers, counted from 1, after which the residual stream is compared.
LAYERS = (1, 10)
# As many steps as positions; a minute and a half.
_MOST_STEPS = 4096


def _gpt(networks: ChatTTSNetworks, inputs: Arrays, case: str) -> Outputs:
    """Outputs of the GPT; logits of a whole prompt's end, or of the positions of given codes."""
    gpt, name = networks.gpt, f"gpt/{case}"
    config = gpt.config
    given = prompts(inputs, case, config.max_position_embeddings)
    check_tokens(
        given.ids[..., 0][given.is_text], config.num_text_tokens, f"{name}/input_ids", ParityError
    )
    codes = given.ids[~given.is_text]
    check_tokens(codes, config.num_audio_tokens, f"{name}/input_ids, of codes", ParityError)
    vector = None
    if has_speaker(given.ids, case, config.speaker_token, inputs):
        vector = mx.array(_normalised(inputs, config.hidden_size).astype(np.float32))
    embedded = gpt.embed_prompt(mx.array(given.ids), mx.array(given.is_text), vector)
    results = {"position_ids": position_ids(given.mask), "embeds": _array(embedded)}
    taken = [number for number in LAYERS if number <= config.num_hidden_layers]
    states = _states(networks, embedded, given.mask == 1, taken)
    hidden = mx.array(states["hidden"])
    if given.start is not None:
        logits = networks.codes.predict(hidden[:, given.start - 1 :])
        states["logits_tail"] = _array(logits).swapaxes(2, 3)
    elif given.is_text[:, -1].all() and not case.startswith("code"):
        states["logits_last"] = _array(networks.text.predict(hidden[:, -1:]))
    else:
        say(f"{name}/logits_tail: left out, since {name}/start is not given.")
    return {f"{name}/{key}": value for key, value in (results | states).items()}


def _states(
    networks: ChatTTSNetworks, embedded: mx.array, own: np.ndarray, taken: list[int]
) -> Outputs:
    """States after the layers in `taken` and after the final norm, zero where `own` is false."""
    states = {f"layer_{number}": np.zeros(embedded.shape, np.float32) for number in taken}
    states["hidden"] = np.zeros(embedded.shape, np.float32)
    with _kept_layers(networks.gpt, taken) as kept:
        for row, there in enumerate(own):
            if not there.any():
                continue
            hidden, _ = networks.codes.hidden_states(embedded[row : row + 1, int((~there).sum()) :])
            states["hidden"][row, there] = _array(hidden[0])
            for number, layer in kept.items():
                states[f"layer_{number}"][row, there] = _array(layer.latest)
    return states


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


def _speaker(networks: ChatTTSNetworks, inputs: Arrays) -> Outputs:
    return {"speaker/normalised": _normalised(inputs, networks.gpt.config.hidden_size)}


def _normalised(inputs: Arrays, size: int) -> np.ndarray:
    return normalised(checked_vector(inputs["speaker/vector"], size, "speaker/vector"))


def _hidden_decoder(networks: ChatTTSNetworks, inputs: Arrays) -> Outputs:
    hidden = _floats(inputs, "decoder/hidden", (None, None, networks.gpt.config.hidden_size))
    return {"decoder/mel": _swapped(networks.decoder(mx.array(hidden)))}


def _dvae_decoder(networks: ChatTTSNetworks, inputs: Arrays) -> Outputs:
    dvae, ids = networks.dvae, np.asarray(inputs["dvae/ids"])
    books = dvae.config.groups * dvae.config.stages
    _check_shape("dvae/ids", ids, (None, books, None))
    check_tokens(ids, dvae.config.codes, "dvae/ids", ParityError)
    codes = mx.array(ids.swapaxes(1, 2).astype(np.int32))
    return {
        "dvae/features": _swapped(dvae.features(codes)),
        "dvae/mel": _swapped(dvae.decode(codes)),
    }


def _dvae_encoder(networks: ChatTTSNetworks, inputs: Arrays) -> Outputs:
    waveform = np.asarray(inputs["dvae/waveform"])
    _check_shape("dvae/waveform", waveform, (None,))
    sound = mx.array(waveform.astype(np.float32))
    return {
        "dvae/mel_of_waveform": _array(networks.dvae.log_mel(sound)).T,
        "dvae/encoded_ids": np.array(networks.dvae.encode(sound)).T,
    }


def _vocos(networks: ChatTTSNetworks, inputs: Arrays) -> Outputs:
    mels = networks.dvae.mel_filters.shape[1]
    mel = _floats(inputs, "vocos/mel", (None, mels, None))
    return {"vocos/waveform": _array(networks.vocos(mx.array(mel.swapaxes(1, 2))))}


def _generate(networks: ChatTTSNetworks, inputs: Arrays, case: str) -> Outputs:
    config, name = networks.gpt.config, f"generate/{case}"
    given = greedy(inputs, case, config.num_vq)
    if given is None:
        return {}
    settings = ChatTTSSampling(0.0, repetition_penalty=given.repetition_penalty)
    engine = DecodingEngine(rows=len(given.prompts), prefills=None)
    rows = []
    for ids in given.prompts:
        check_tokens(ids, config.num_text_tokens, f"{name}/input_ids", ParityError)
        vector = None
        if has_speaker(ids[None], case, config.speaker_token, inputs):
            vector = _normalised(inputs, config.hidden_size).astype(np.float32)
        if given.writes_codes:
            is_text = np.ones(len(ids), bool)
            row = CodeRow(networks, ids, is_text, vector, settings, given.limit)
            rows.append(engine.join(row))
        else:
            rows.append(engine.join(TextRow(networks, ids[:, 0], settings, given.limit)))
    engine.run_until_idle()
    outputs = {}
    for number, row in enumerate(rows):
        if row.error is not None:
            raise ParityError(f"{name}: row {number} failed: {row.error}")
        shape = (-1, config.num_vq) if given.writes_codes else (-1,)
        outputs[f"{name}/ids_{number}"] = np.array(row.tokens, np.int32).reshape(shape)
        if given.writes_codes:
            hidden = np.array(row.hidden, np.float32).reshape(-1, config.hidden_size)
            outputs[f"{name}/hidden_{number}"] = hidden
    return outputs


def _sampler(networks: ChatTTSNetworks, inputs: Arrays, case: str) -> Outputs:
    given = sampler_case(inputs, case)
    if given is None:
        return {}
    processed = process_logits(
        mx.array(given.logits), mx.array(given.history), _settings(given), given.eos, given.step
    )
    # In float64, since `mx.softmax` of many entries loses more on the CPU than the bound allows.
    logits = np.array(processed).astype(np.float64)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = weights / weights.sum(axis=1, keepdims=True)
    return {f"sampler/{case}/probabilities": shares.astype(np.float32)}


def _settings(case: SamplerCase) -> ChatTTSSampling:
    return ChatTTSSampling(
        case.temperature, case.top_p, case.top_k, case.repetition_penalty, case.min_new_tokens
    )


def _floats(inputs: Arrays, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    values = np.asarray(inputs[name])
    _check_shape(name, values, shape)
    return values.astype(np.float32)


def _check_shape(name: str, values: np.ndarray, shape: tuple[int | None, ...]) -> None:
    fits = values.ndim == len(shape) and all(
        size and wanted in (None, size) for size, wanted in zip(values.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise ParityError(f"{name} has shape {values.shape}; it must be ({wanted}).")
    if max(values.shape[1:], default=0) > 2 * _MOST_STEPS:
        raise ParityError(f"{name} has shape {values.shape}; at most {_MOST_STEPS} steps, please.")


def _array(value: mx.array) -> np.ndarray:
    return np.array(value.astype(mx.float32))


def _swapped(value: mx.array) -> np.ndarray:
    """(B, T, C) to (B, C, T)."""
    return _array(value).swapaxes(1, 2)


STAGES: dict[str, Callable[..., Outputs]] = {
    "gpt_*": _gpt,
    "speaker_vector": _speaker,
    "hidden_decoder": _hidden_decoder,
    "dvae_decoder": _dvae_decoder,
    "dvae_encoder": _dvae_encoder,
    "vocos": _vocos,
    "generate_*": _generate,
    "chattts_sampler_*": _sampler,
}
