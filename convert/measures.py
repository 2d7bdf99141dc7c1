"""The distance of a model from another with the same configuration: tokens, mel and waveform.

The float32 reference fixes text, voice, speech tokens and noise once, so that only the weights
differ: T3's distributions are compared along the reference's speech tokens, or in blocks that it
decided, and S3Gen synthesises these tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import mlx_chatterbox  # noqa: F401  (before mlx.core, so that a fast BLAS is found)
from mlx_chatterbox.audio.mel import s3gen_mel
from mlx_chatterbox.models.flash.writer import BlockWriter
from mlx_chatterbox.synthesis.tokens import audible_tokens
from mlx_chatterbox.train.data.text import TextEncoder
from mlx_chatterbox.voices.voice import Voice, embed_voice
from mlx_chatterbox.weights.checkpoint import Checkpoint

from .written import Written, write_sentences

# isort: split
import mlx.core as mx

POSITIONS = 500
SPOKEN_TOKENS = 75
MEL_TO_DB = 20.0 / np.log(10.0)  # a log-mel is the natural logarithm of a magnitude
QUIETEST_DB = 60.0

# Ordinary sentences: questions, numbers, names, long and short ones.
TEXTS = (
    "The ferry leaves the island at seven, and the last bus waits for it.",
    "Did you remember to bring the keys to the garden shed?",
    "She had walked along that river every morning for thirty-one years.",
    "No, I don't think so.",
    "Heavy rain is expected tonight, clearing from the west by Thursday.",
    "My grandfather kept bees behind the old schoolhouse in Whitby.",
    "Please turn left at the second light, then drive straight on for two miles.",
    "What a wonderful surprise!",
    "The committee voted nine to four against building the new bridge.",
    "If the dough is too wet, add a little flour and knead it again.",
    "He read the letter twice, folded it, and put it back in his coat.",
    "Quick foxes jump over lazy dogs while zebras graze by the quiet lake.",
)


@dataclass(frozen=True)
class Material:
    """The input of a comparison, the same for every model.

    Attributes:
        sentences: those that the reference has written.
        spoken: (T,) int32, the speech tokens that S3Gen synthesises.
        seed: of S3Gen's noise.
        block_size: of the prior that is compared; None: T3 writes no blocks, and has none.
    """

    voice: Voice
    sentences: tuple[Written, ...]
    spoken: np.ndarray
    seed: int
    block_size: int | None = None

    @property
    def positions(self) -> int:
        """The number of distributions to compare."""
        return sum(sentence.positions for sentence in self.sentences)


@dataclass(frozen=True)
class ModelOutputs:
    """A model's results for the material.

    Attributes:
        tokens: (P, V) log-probabilities of the next token, or of a token of a block, without
            guidance.
        guided: (P, V) the same with classifier-free guidance; tokens are drawn from these.
        mel: (T, 80) natural logarithms.
        waveform: (480 T,) with the model's own excitation.
        source: (480 T,) the model's own excitation.
        same_source: (480 T,) the waveform with the reference's excitation.
        prior: (V,) logarithms of the prediction by which blocks are calibrated; None: no blocks.
    """

    tokens: np.ndarray
    guided: np.ndarray
    mel: np.ndarray
    waveform: np.ndarray
    source: np.ndarray
    same_source: np.ndarray
    prior: np.ndarray | None = None


@dataclass(frozen=True)
class Distance:
    """The distance between two models' outputs.

    Attributes:
        kl, kl_guided: mean Kullback-Leibler divergence of the next token's distribution, nats.
        kl_worst: the largest divergence at any position, nats.
        agreement: share of positions with the same likeliest token.
        mel: mean absolute difference, dB.
        waveform: relative RMS, the excitation being the same.
        spectrum: mean absolute difference of the waveforms' mel spectra, dB, each with its own F0.
        prior: divergence of the prior, nats; None: T3 writes no blocks.
    """

    kl: float
    kl_guided: float
    kl_worst: float
    agreement: float
    mel: float
    waveform: float
    spectrum: float
    prior: float | None = None


def prepare(
    reference: Checkpoint,
    texts: Sequence[str] | None = None,
    positions: int = POSITIONS,
    spoken: int = SPOKEN_TOKENS,
    seed: int = 0,
    language: str = "en",
) -> Material:
    """Have the reference draw speech tokens for the texts.

    Args:
        texts: by default `TEXTS`.
        positions: about how many of T3's predictions to compare; sentences are cut to fit.
        spoken: number of speech tokens for mel and waveform.
        seed: of sampling, and of S3Gen's noise.
        language: of the texts, for a multilingual model.

    Raises:
        TextError: a text that the model cannot read.
    """
    config = reference.config
    texts = TEXTS if texts is None else texts
    voice = reference.voice
    if voice is None:
        from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

        seconds = max(4.0, config.generation.min_reference_seconds + 1.0)
        voice = embed_voice(reference.networks, synthetic_voice(seconds, seed), config.generation)
    encode = TextEncoder(reference.tokenizer, config)
    t3, ids = reference.networks.t3, [encode(text, language) for text in texts]
    written = write_sentences(t3, config, _conditioning(t3, voice), ids, positions, seed)
    start, codes = config.t3.start_speech_token, config.s3gen.vocab_size
    audible = [
        token for one in written for token in audible_tokens(one.tokens.tolist(), start, codes)
    ]
    if len(audible) < spoken:  # a model that hardly speaks still has an S3Gen
        audible += np.random.default_rng(seed).integers(0, codes, spoken - len(audible)).tolist()
    size = config.blocks.size if config.t3.has_mask else None
    return Material(voice, written, np.array(audible[:spoken], dtype=np.int32), seed, size)


def _conditioning(t3, voice: Voice) -> mx.array:
    return t3.embed_conditioning(voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion)


def compute_outputs(
    networks, material: Material, generation, source: np.ndarray | None = None
) -> ModelOutputs:
    """Run networks on the material.

    Args:
        generation: has `cfg_weight` and `cfm_steps`.
        source: (480 T,) the reference's excitation; None: these networks are the reference.
    """
    tokens, guided = token_distributions(networks.t3, material, generation.cfg_weight)
    s3gen, reference = networks.s3gen, material.voice.reference
    flow_key, source_key = mx.random.split(mx.random.key(material.seed))
    spoken = mx.array(material.spoken)
    mel = s3gen.flow.inference(
        spoken[None],
        reference.prompt_token,
        reference.prompt_feat,
        reference.embedding,
        s3gen.noise_for(len(material.spoken), reference, flow_key),
        generation.cfm_steps,
    )
    waveform, own_source = s3gen.mel2wav(mel, None, source_key)
    same_source = waveform
    if source is not None:
        same_source = s3gen.mel2wav.decode(mel, mx.array(source)[None])
    arrays = [_float32(value[0]) for value in (mel, waveform, own_source, same_source)]
    prior = None
    if material.block_size is not None:
        prior = _float32(BlockWriter(networks.t3).log_prior(material.block_size))
    return ModelOutputs(tokens, guided, *arrays, prior)


def token_distributions(t3, material: Material, cfg_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute T3's log-probabilities of speech tokens along the material.

    Returns:
        (P, V) float32 without guidance, and with classifier-free guidance.
    """
    conditioning = _conditioning(t3, material.voice)
    plain, guided = [], []
    for sentence in material.sentences:
        rows = _float32(sentence.logits(t3, conditioning))
        plain.append(log_softmax(rows[0]))
        both = rows[0] if len(rows) == 1 else rows[0] + cfg_weight * (rows[0] - rows[1])
        guided.append(log_softmax(both))
    return np.concatenate(plain), np.concatenate(guided)


def distance(reference: ModelOutputs, other: ModelOutputs) -> Distance:
    """Measure the distance of `other` from the reference; infinite where `other` is not finite."""
    kl, guided = (
        divergence(reference.tokens, other.tokens),
        divergence(reference.guided, other.guided),
    )
    prior = None
    if reference.prior is not None and other.prior is not None:
        prior = float(divergence(reference.prior[None], other.prior[None])[0])
    return Distance(
        kl=float(kl.mean()),
        kl_guided=float(guided.mean()),
        kl_worst=float(kl.max()),
        agreement=float((reference.tokens.argmax(-1) == other.tokens.argmax(-1)).mean()),
        mel=_or_infinite(np.abs(reference.mel - other.mel).mean() * MEL_TO_DB),
        waveform=_relative_rms(reference.same_source, other.same_source),
        spectrum=spectral_distance(reference.waveform, other.waveform),
        prior=prior,
    )


def divergence(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute the Kullback-Leibler divergence of log-probabilities (P, V): (P,) nats, float64."""
    p, q = reference.astype(np.float64), other.astype(np.float64)
    terms = np.exp(p) * (p - q)
    kl = terms.sum(axis=-1)
    # Rounding leaves -1e-17 where nothing differs.
    return np.where(np.isfinite(kl), np.maximum(kl, 0.0), np.inf)


def spectral_distance(reference: np.ndarray, other: np.ndarray) -> float:
    """Compute the mean absolute difference of two waveforms' mel spectra, (n,) at 24 kHz, in dB.

    Mel bands are wide enough that a harmonic which has moved a little stays in its band. Levels
    more than 60 dB below the reference's maximum count as that level.
    """
    first, second = (
        _float32(s3gen_mel(mx.array(waveform))) * MEL_TO_DB for waveform in (reference, other)
    )
    floor = first.max() - QUIETEST_DB
    difference = np.maximum(first, floor) - np.maximum(second, floor)
    return _or_infinite(np.abs(difference).mean())


def _relative_rms(reference: np.ndarray, other: np.ndarray) -> float:
    from mlx_chatterbox.parity.compare import relative_rms

    return _or_infinite(relative_rms(reference, other))


def _or_infinite(value) -> float:
    return float(value) if np.isfinite(value) else float("inf")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)


def _float32(value: mx.array) -> np.ndarray:
    return np.array(value.astype(mx.float32))
