"""The distance of a ChatTTS from another with the same configuration: text, codes, mel, waveform.

The float32 reference fixes texts, codes, hidden states and a recording once, so that only the
weights differ: distributions are compared along its texts and codes, and each decoder reads what
the reference had before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)
from mlx_chatterbox.models.chattts.networks import ChatTTSNetworks
from mlx_chatterbox.models.chattts.requests import CodeRow
from mlx_chatterbox.models.chattts.sampling import ChatTTSSampling
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.text.chattts.prompts import refining_prompt, speech_prompt
from mlx_chatterbox.weights.chattts import ChatTTSModel

from .measures import log_softmax

# isort: split
import mlx.core as mx

RECORDING_SECONDS = 4.0


@dataclass(frozen=True)
class CodesMaterial:
    """The input of a comparison, the same for every model.

    Attributes:
        texts: for each sentence the ids of its refining prompt, (n,) int32.
        spoken: for each sentence prompt and codes, (T, 4) int32, and the number of codes.
        recording: (n,) float32 at 24 kHz, to be encoded.
        steps: codes that become sound.
    """

    texts: tuple[np.ndarray, ...]
    spoken: tuple[tuple[np.ndarray, int], ...]
    recording: np.ndarray
    steps: int

    @property
    def positions(self) -> int:
        """The number of steps whose codes are predicted."""
        return sum(count for _, count in self.spoken)


@dataclass(frozen=True)
class ChatTTSOutputs:
    """A model's results for the material; `given` ones from the reference's results before them.

    Attributes:
        text: (P, V) log-probabilities of the next text token.
        codes: (P, W, V) log-probabilities of the next codes.
        hidden: (n, C) hidden states of the codes that become sound.
        mel, waveform: (2 n, n_mels) and (samples,), of the model's own hidden states.
        given_mel, given_waveform: of the reference's.
        codes_mel: (2 n, n_mels) of the reference's codes.
        encoded: (m, W) codes of the recording.
    """

    text: np.ndarray
    codes: np.ndarray
    hidden: np.ndarray
    mel: np.ndarray
    waveform: np.ndarray
    given_mel: np.ndarray
    given_waveform: np.ndarray
    codes_mel: np.ndarray
    encoded: np.ndarray


def prepare_codes(
    reference: ChatTTSModel, texts: Sequence[str], positions: int, steps: int, seed: int
) -> CodesMaterial:
    """Have the reference write codes for the texts, with its usual settings.

    Args:
        positions: about how many predictions of codes to compare.
        steps: of sound.
        seed: of sampling and of the recording.
    """
    each = max(-(-positions // len(texts)), -(-steps // len(texts)))
    encode = reference.tokenizer.encode
    engine, rows = DecodingEngine(prefills=None), []
    for number, text in enumerate(texts):
        ids = np.repeat(np.array(encode(speech_prompt(text)), np.int32)[:, None], 4, axis=1)
        request = CodeRow(
            reference.networks,
            ids,
            np.ones(len(ids), bool),
            None,
            # A model that ends at once is to be compared as well.
            ChatTTSSampling(min_new_tokens=each),
            max_new_tokens=each,
            key=mx.random.key(seed + number),
        )
        rows.append((ids, engine.join(request)))
    engine.run_until_idle()
    spoken = tuple(
        (np.concatenate([ids, np.array(row.tokens, np.int32)]), len(row.tokens))
        for ids, row in rows
    )
    return CodesMaterial(
        texts=tuple(np.array(encode(refining_prompt(text)), np.int32) for text in texts),
        spoken=spoken,
        recording=synthetic_voice(RECORDING_SECONDS, seed),
        steps=steps,
    )


def compute_chattts(
    networks: ChatTTSNetworks, material: CodesMaterial, reference: ChatTTSOutputs | None = None
) -> ChatTTSOutputs:
    """Run networks on the material; without `reference` they are the reference themselves."""
    text = [_text_distributions(networks, ids) for ids in material.texts]
    spoken = [_code_distributions(networks, *sentence) for sentence in material.spoken]
    hidden = np.concatenate([states for _, states in spoken])[: material.steps]
    codes = np.concatenate([ids[-count:] for ids, count in material.spoken])[: material.steps]
    mel = _float32(networks.decoder(mx.array(hidden)[None])[0])
    of_reference = mel
    if reference is not None:
        of_reference = _float32(networks.decoder(mx.array(reference.hidden)[None])[0])
    before = mel if reference is None else reference.mel
    return ChatTTSOutputs(
        text=np.concatenate(text),
        codes=np.concatenate([logs for logs, _ in spoken]),
        hidden=hidden,
        mel=mel,
        waveform=_float32(networks.vocos(mx.array(mel)[None])[0]),
        given_mel=of_reference,
        given_waveform=_float32(networks.vocos(mx.array(before)[None])[0]),
        codes_mel=_float32(networks.dvae.decode(mx.array(codes)[None])[0]),
        encoded=np.array(networks.dvae.encode(mx.array(material.recording))),
    )


def _text_distributions(networks: ChatTTSNetworks, ids: np.ndarray) -> np.ndarray:
    hidden, _ = networks.text.hidden_states(networks.gpt.emb_text(mx.array(ids))[None])
    return log_softmax(_float32(networks.text.predict(hidden[0])))


def _code_distributions(
    networks: ChatTTSNetworks, ids: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of the last `count` codes, (count, W, V), and the states before them."""
    is_text = np.arange(len(ids)) < len(ids) - count
    embedded = networks.gpt.embed_prompt(mx.array(ids)[None], mx.array(is_text)[None])
    hidden = networks.codes.hidden_states(embedded)[0][0, len(ids) - count - 1 : -1]
    return log_softmax(_float32(networks.codes.predict(hidden))), _float32(hidden)


def _float32(value: mx.array) -> np.ndarray:
    return np.array(value.astype(mx.float32))
