"""ChatTTS's stages in plain NumPy, from its own files, with taps of every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.weights.conversion.chattts import (
    DECODER_FILE,
    DVAE_FILE,
    EMBED_FILE,
    GPT_FILE,
    VOCOS_FILE,
)

from .. import stages
from ..dumps import read_dump
from ..inputs.chattts_cases import Greedy, greedy, has_speaker, prompts, sampler_case
from ..taps.recording import CALLS, Recorder, Tap
from . import chattts
from .chattts_taps import recorded
from .layers import Weights

Arrays = Mapping[str, np.ndarray]
Outputs = dict[str, np.ndarray]


class ChatTTSReference:
    """The networks of a folder of ChatTTS's own files, in float64; files are read when needed.

    Args:
        folder: with `asset/`.
        config: for what weights do not tell, such as heads.
    """

    def __init__(self, folder: str | Path, config: ChatTTSConfig):
        self._folder, self.config = Path(folder), config

    def _read(self, file: str) -> Weights:
        """Read a file in float64, weight norm resolved: both once, not for every token."""
        tensors = read_dump(self._folder / file)
        for key in [key for key in tensors if key.endswith(".parametrizations.weight.original1")]:
            module = key.removesuffix(".parametrizations.weight.original1")
            tensors[f"{module}.weight"] = Weights(tensors).at(module)["weight"]
        return Weights({key: value.astype(np.float64) for key, value in tensors.items()}, file=file)

    @cached_property
    def gpt(self) -> Weights:
        return self._read(GPT_FILE)

    @cached_property
    def embed(self) -> Weights:
        return self._read(EMBED_FILE)

    @cached_property
    def decoder(self) -> Weights:
        return self._read(DECODER_FILE)

    @cached_property
    def dvae(self) -> Weights:
        return self._read(DVAE_FILE)

    @cached_property
    def vocos(self) -> Weights:
        return self._read(VOCOS_FILE)


def compute(
    networks: ChatTTSReference, inputs: Arrays, only: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Compute the outputs of every stage whose inputs are present, as float32 (ids int32).

    Args:
        only: names of stages; the others are left out.

    Raises:
        ParityError: inputs that do not fit together or the model.
    """
    outputs = stages.compute_each(STAGES, networks, inputs, only)
    return {name: _narrow(value) for name, value in outputs.items()}


def record(
    networks: ChatTTSReference,
    inputs: Arrays,
    only: Iterable[str] | None = None,
    calls: int = CALLS,
) -> list[Tap]:
    """Record every layer's inputs and outputs by our layers' names; arguments as of `compute`."""
    recorder = Recorder(calls)
    with recorded(recorder):
        stages.compute_each(STAGES, networks, inputs, only, recorder, _narrow)
    return recorder.taps


def _narrow(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float16:
        return array
    return array.astype(np.int32 if array.dtype.kind in "iu" else np.float32)


def _gpt(networks: ChatTTSReference, inputs: Arrays, case: str) -> Outputs:
    config, name = networks.config.gpt, f"gpt/{case}"
    given = prompts(inputs, case, config.max_position_embeddings)
    vector = None
    if has_speaker(given.ids, case, config.speaker_token, inputs):
        vector = chattts.normalised_speaker(np.asarray(inputs["speaker/vector"]))
    embedded = chattts.embed_rows(
        networks.embed, given.ids, given.is_text, vector, config.speaker_token
    )
    counted = np.cumsum(given.mask, axis=1) - 1
    outputs = {"position_ids": np.where(given.mask == 1, counted, 1), "embeds": embedded}
    layers = config.num_hidden_layers
    places = {f"layer_{n}": n - 1 for n in (1, 10) if n <= layers} | {"hidden": -1}
    outputs |= {place: np.zeros(embedded.shape) for place in places}
    for row, there in enumerate(given.mask == 1):
        if there.any():
            own = embedded[row][there]
            states = chattts.llama(networks.gpt, own, layers, config.num_attention_heads)
            for place, index in places.items():
                outputs[place][row, there] = states[index]
    hidden = outputs["hidden"]
    if given.start is not None:
        tail = hidden[:, given.start - 1 :]
        logits = chattts.code_logits(networks.embed, tail, config.num_vq)
        outputs["logits_tail"] = logits.swapaxes(2, 3)
    elif given.is_text[:, -1].all() and not case.startswith("code"):
        outputs["logits_last"] = chattts.text_logits(networks.embed, hidden[:, -1:])
    return {f"{name}/{key}": value for key, value in outputs.items()}


def _speaker(networks: ChatTTSReference, inputs: Arrays) -> Outputs:
    vector = np.asarray(inputs["speaker/vector"])
    return {"speaker/normalised": chattts.normalised_speaker(vector)}


def _hidden_decoder(networks: ChatTTSReference, inputs: Arrays) -> Outputs:
    steps = np.asarray(inputs["decoder/hidden"], dtype=np.float64).swapaxes(1, 2)
    layers = networks.config.decoder.num_layers
    return {"decoder/mel": chattts.decode_steps(networks.decoder, steps, layers)}


def _dvae_decoder(networks: ChatTTSReference, inputs: Arrays) -> Outputs:
    config = networks.config.dvae
    features = chattts.code_features(networks.dvae, np.asarray(inputs["dvae/ids"]), config.groups)
    mel = chattts.decode_steps(networks.dvae, features, config.decoder.num_layers)
    return {"dvae/features": features, "dvae/mel": mel}


def _dvae_encoder(networks: ChatTTSReference, inputs: Arrays) -> Outputs:
    config, w = networks.config.dvae, networks.dvae
    waveform = np.asarray(inputs["dvae/waveform"])
    sizes = config.n_fft, config.hop
    return {
        "dvae/mel_of_waveform": chattts.log_mel(w, waveform, *sizes),
        "dvae/encoded_ids": chattts.encode(w, waveform, config.encoder.num_layers, *sizes),
    }


def _vocos(networks: ChatTTSReference, inputs: Arrays) -> Outputs:
    config = networks.config.vocos
    waveforms = [
        chattts.vocos(networks.vocos, mel, config.num_layers, config.n_fft, config.hop)
        for mel in np.asarray(inputs["vocos/mel"], dtype=np.float64)
    ]
    return {"vocos/waveform": np.stack(waveforms)}


def _generate(networks: ChatTTSReference, inputs: Arrays, case: str) -> Outputs:
    """Write greedily, one row after the other."""
    given = greedy(inputs, case, networks.config.gpt.num_vq)
    if given is None:
        return {}
    outputs = {}
    for number, prompt in enumerate(given.prompts):
        vector = None
        if has_speaker(prompt[None], case, networks.config.gpt.speaker_token, inputs):
            vector = chattts.normalised_speaker(np.asarray(inputs["speaker/vector"]))
        ids, hidden = _row(networks, given, prompt, vector)
        outputs[f"generate/{case}/ids_{number}"] = ids
        if given.writes_codes:
            outputs[f"generate/{case}/hidden_{number}"] = hidden
    return outputs


def _row(
    networks: ChatTTSReference, given: Greedy, prompt: np.ndarray, speaker: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """A row's ids, (n,) or (n, codebooks), and the states that they follow from, (n, C)."""
    config, w = networks.config.gpt, networks.embed
    ids, new = prompt, prompt
    kept: list[np.ndarray] = []
    past = chattts.Past()
    for _ in range(given.limit):
        is_text = np.full(len(new), not given.writes_codes or not kept)
        embedded = chattts.embed(w, new, is_text, speaker, config.speaker_token)
        layers, heads = config.num_hidden_layers, config.num_attention_heads
        hidden = chattts.llama(networks.gpt, embedded, layers, heads, past)[-1][-1]
        if given.writes_codes:
            logits = chattts.code_logits(w, hidden, config.num_vq)
        else:
            logits = chattts.text_logits(w, hidden)[None]
        written = ids[len(prompt) :].T[: len(logits)]
        stop = config.stop_code if given.writes_codes else config.stop_text_token
        tokens = [
            int(chattts.penalised(row, past, given.repetition_penalty, stop).argmax())
            for row, past in zip(logits, written, strict=True)
        ]
        if stop in tokens:
            break
        new = np.resize(tokens, (1, config.num_vq))
        ids = np.concatenate([ids, new])
        kept.append(hidden)
    written = ids[len(prompt) :]
    states = np.reshape(kept, (-1, config.hidden_size))
    return (written if given.writes_codes else written[:, 0]), states


def _sampler(networks: ChatTTSReference, inputs: Arrays, case: str) -> Outputs:
    given = sampler_case(inputs, case)
    if given is None:
        return {}
    return {f"sampler/{case}/probabilities": chattts.sampler_probabilities(given)}


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
