"""Features of clips, which are the input of the networks, computed once and cached.

A clip is cut to its speech, brought to its loudness, resampled to 24 kHz, and padded with zeros to
a whole number n of speech tokens of 40 ms. All features have matching lengths:

| feature | shape | content |
|---|---|---|
| speech_tokens | (n,) int32 | by the S3 tokenizer, 25/s |
| mel | (2 n, 80) | S3Gen's log-mel, 50/s |
| f0 | (2 n,) | Hz, at the middle of each mel frame; 0 unvoiced |
| waveform, waveform_16k | (960 n,), (640 n,) | at 24 and 16 kHz |
| log_mel_16k | (4 n, 128) | the S3 tokenizer's input, 100/s |
| fbank | (4 n - 2, 80) | CAM++'s input at 100/s; its mean over time is not subtracted |
| ve_mel | (T, 40) | the voice encoder's input at 100/s; silent ends cut off |
| speaker_embedding | (256,) | by the voice encoder, of the whole clip |
| xvector | (192,) | by CAM++, of the first 10 s |
| text_tokens | (m,) int32 | see `TextEncoder` |

All are float32 unless stated. Front ends and networks are inference's own
(`voices/voice.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from ...audio.kaldi import fbank
from ...audio.loudness import normalise_loudness
from ...audio.mel import s3_tokenizer_log_mel, s3gen_mel, voice_encoder_mel
from ...audio.resample import resample_sinc, resample_soxr
from ...audio.silence import trim_silence
from ...errors import AudioError, DataError
from ...models.voice_encoder.voice_encoder import TRIM_DB
from ...voices.voice import (
    DECODER_RATE,
    ENCODER_RATE,
    S3GEN_PROMPT_SECONDS,
    SAMPLES_PER_TOKEN,
    whole_tokens,
)
from .array_cache import ArrayCache, short_hash
from .check import Progress
from .clip import Clip
from .listen import ahead, content_hash, read_audio, reader_threads
from .pitch import f0
from .text import TextEncoder

# Increased whenever the same recording gives other features than before.
_VERSION = "1"
# The highest peak of a clip whose loudness is changed; above 1 it would clip in a file.
_MAX_PEAK = 0.99
TEXT_TOKENS = "text_tokens"


@dataclass(frozen=True)
class PreparedClip:
    """A clip's samples, ready for features.

    Attributes:
        exact: (k,) at 24 kHz, unpadded.
        waveform: (960 n,), the same padded with zeros.
        f0: (2 n,) if it is needed: computed in the reading thread, as it uses no MLX.
    """

    exact: np.ndarray
    waveform: np.ndarray
    f0: np.ndarray | None

    def at_16k(self) -> mx.array:
        """Resample the waveform as for S3Gen's conditionals; (640 n,)."""
        return resample_sinc(mx.array(self.waveform), DECODER_RATE, ENCODER_RATE)

    def for_voice_encoder(self) -> np.ndarray:
        """Resample to 16 kHz as for T3's conditionals."""
        return resample_soxr(self.exact, DECODER_RATE, ENCODER_RATE)


def _xvector(networks, clip: PreparedClip) -> mx.array:
    start = whole_tokens(clip.exact[: S3GEN_PROMPT_SECONDS * DECODER_RATE])
    features = fbank(resample_sinc(mx.array(start), DECODER_RATE, ENCODER_RATE))
    features = features - features.mean(axis=0, keepdims=True)
    return networks.s3gen.speaker_encoder(features[None])[0]


def _voice_mel(clip: PreparedClip) -> mx.array:
    return voice_encoder_mel(mx.array(trim_silence(clip.for_voice_encoder(), TRIM_DB)))


_FEATURES: dict[str, Callable] = {
    "speech_tokens": lambda networks, p: networks.s3_tokenizer(p.at_16k()),
    "speaker_embedding": lambda networks, p: networks.ve.embed(p.for_voice_encoder())[0],
    "xvector": _xvector,
    "mel": lambda networks, p: s3gen_mel(mx.array(p.waveform)),
    "waveform": lambda networks, p: p.waveform,
    "waveform_16k": lambda networks, p: p.at_16k(),
    "log_mel_16k": lambda networks, p: s3_tokenizer_log_mel(p.at_16k()).T,
    "fbank": lambda networks, p: fbank(p.at_16k()),
    "f0": lambda networks, p: p.f0,
    "ve_mel": lambda networks, p: _voice_mel(p),
}
_WIDTHS = {"mel": 80, "log_mel_16k": 128, "fbank": 80, "ve_mel": 40}
# Features with a time axis; the others are of a clip as a whole.
_IN_TIME = frozenset(_FEATURES) - {"speaker_embedding", "xvector"}
# The network that computes a feature, by its path in the networks.
_NETWORK = {
    "speech_tokens": "s3_tokenizer",
    "speaker_embedding": "ve",
    "xvector": "s3gen.speaker_encoder",
}
FEATURES = (*_FEATURES, TEXT_TOKENS)


def weights_hash(module: nn.Module) -> str:
    """Hash all parameters of a network: names, types, shapes and values.

    The values count, not the model's name: weights in training have no name.
    """
    parts: list[str | bytes] = []
    for name, value in sorted(dict(tree_flatten(module.parameters())).items()):
        parts.append(f"{name} {value.dtype} {value.shape}")
        if value.dtype == mx.bfloat16:
            value = value.view(mx.uint16)
        parts.append(short_hash(np.array(value).tobytes()))
    return short_hash(*parts)


class FeatureStore:
    """Features of clips: `compute` them once, then `store[clip.id]` reads them.

    Attributes:
        computed: number of features that were computed and not read from the cache.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike,
        networks,
        text_encoder: TextEncoder | None = None,
        *,
        loudness_lufs: float | Mapping[str, float] | None = None,
        workers: int | None = None,
    ):
        """Open the cache; nothing is computed yet.

        Args:
            cache_dir: made at the first write.
            networks: has `ve`, `s3gen` and `s3_tokenizer`; a network that computes a needed feature
                must not change while the store is in use.
            text_encoder: for `text_tokens`.
            loudness_lufs: target loudness of the clips; None: unchanged. Or by speaker: those who
                are not named are unchanged.
            workers: threads that read recordings.
        """
        self._cache = ArrayCache(cache_dir)
        self._networks = networks
        self._text_encoder = text_encoder
        self._loudness = loudness_lufs
        self._workers = reader_threads(workers)
        self._kinds: dict[str, str] = {}
        self._clips: dict[str, Clip] = {}
        self._wanted: dict[str, frozenset[str]] = {}
        self._text_tokens: dict[str, np.ndarray] = {}
        self.computed = 0

    def compute(
        self, clips: Iterable[Clip], needed: Iterable[str], progress: Progress | None = None
    ) -> None:
        """Compute what the cache lacks, so that `store[clip.id]` has all of `needed`.

        After an interruption a second call continues where the first one stopped.

        Args:
            progress: callback("computing features", clips done, all clips).

        Raises:
            DataError: an unknown feature, or a recording that has changed since it was checked.
            TextError: a text without tokens.
        """
        clips, needed = list(clips), frozenset(needed)
        if unknown := needed - set(FEATURES):
            raise DataError(f"unknown feature(s) {', '.join(sorted(unknown))}.")
        for clip in clips:
            self._clips[clip.id] = clip
            self._wanted[clip.id] = self._wanted.get(clip.id, frozenset()) | needed
            if TEXT_TOKENS in needed:
                if self._text_encoder is None:
                    raise ValueError("text_tokens need a text_encoder")
                self._text_tokens[clip.id] = self._text_encoder(clip.text, clip.language)
        missing = {}
        for clip in clips:
            names = [name for name in _FEATURES if name in needed and not self._has(clip, name)]
            if names:
                missing[clip.id] = names
        done = len(clips) - len(missing)
        if progress is not None:
            progress("computing features", done, len(clips))
        todo = [self._clips[clip_id] for clip_id in missing]
        with ThreadPoolExecutor(self._workers) as pool:
            prepared = ahead(
                pool, lambda clip: self._prepare(clip, missing[clip.id]), todo, 2 * self._workers
            )
            for clip, ready in zip(todo, prepared, strict=True):
                for name, value in self._features(ready, missing[clip.id]).items():
                    self._cache.write(self._kind(name), self._key(clip), value)
                done += 1
                if progress is not None:
                    progress("computing features", done, len(clips))

    def __getitem__(self, clip_id: str) -> dict[str, np.ndarray]:
        """Return the features of a clip that `compute` was called for.

        Those that are damaged on the disk are computed again.

        Raises:
            KeyError: `compute` was not called for the clip.
            DataError: a damaged feature cannot be computed again, because its recording or its
                network has changed.
        """
        clip = self._clips[clip_id]
        values, damaged = {}, []
        for name in sorted(self._wanted[clip_id]):
            if name == TEXT_TOKENS:
                values[name] = self._text_tokens[clip_id]
                continue
            value = self._cache.read(self._kind(name), self._key(clip))
            if value is None or not self._is_sound(name, value):
                damaged.append(name)
            else:
                values[name] = value
        # Features of one clip have one length; otherwise some are of another recording.
        if len({len(values[name]) // n for name, n in _PER_TOKEN.items() if name in values}) > 1:
            damaged += [name for name in _PER_TOKEN if name in values]
        if damaged:
            values |= self._again(clip, damaged)
        return values

    def _again(self, clip: Clip, names: list[str]) -> dict[str, np.ndarray]:
        for name in names:
            if name in _NETWORK and self._kind(name) != self._fresh_kind(name):
                raise DataError(
                    f"{name} of {clip.id} is damaged in the cache, and {_NETWORK[name]} has been "
                    "trained since: start again from the last checkpoint."
                )
        values = self._features(self._prepare(clip, names), names)
        for name, value in values.items():
            self._cache.write(self._kind(name), self._key(clip), value)
        return values

    def _is_sound(self, name: str, value: np.ndarray) -> bool:
        """True if an array has a feature's type and shape, and tokens are in range."""
        width = self._width(name)
        shape = value.shape[1:] if name in _IN_TIME else value.shape
        if value.ndim == 0 or shape != (() if width is None else (width,)) or not len(value):
            return False
        if name == "speech_tokens":
            codes = self._networks.s3_tokenizer.quantizer.codes
            return value.dtype == np.int32 and value.min() >= 0 and value.max() < codes
        is_whole = len(value) % _PER_TOKEN.get(name, 1) == 0
        return value.dtype == np.float32 and is_whole and bool(np.isfinite(value).all())

    def _width(self, name: str) -> int | None:
        if name == "speaker_embedding":
            return self._networks.ve.proj.weight.shape[0]
        if name == "xvector":
            return self._networks.s3gen.config.speaker_encoder.embedding_size
        return _WIDTHS.get(name)

    def _has(self, clip: Clip, name: str) -> bool:
        return self._cache.has(self._kind(name), self._key(clip))

    def _key(self, clip: Clip) -> str:
        """Hash the samples, the used part, the loudness and the version."""
        used = f"{clip.start} {clip.end} {self._loudness_of(clip)} {_VERSION}"
        return short_hash(clip.content, used)

    def _loudness_of(self, clip: Clip) -> float | None:
        if isinstance(self._loudness, Mapping):
            return self._loudness.get(clip.speaker)
        return self._loudness

    def _kind(self, name: str) -> str:
        if name not in self._kinds:
            self._kinds[name] = self._fresh_kind(name)
        return self._kinds[name]

    def _fresh_kind(self, name: str) -> str:
        if name not in _NETWORK:
            return name
        module = self._networks
        for attribute in _NETWORK[name].split("."):
            module = getattr(module, attribute)
        return f"{name}-{weights_hash(module)[:16]}"

    def _prepare(self, clip: Clip, names: list[str]) -> PreparedClip:
        """Read and resample a clip; it runs in a reading thread and uses no MLX."""
        try:
            samples, rate = read_audio(clip.audio)
        except AudioError as error:
            raise DataError(f"{clip.id} has changed since it was checked: {error}") from None
        if content_hash(samples, rate) != clip.content:
            raise DataError(f"{clip.audio} has changed since it was checked: start again.")
        exact = resample_soxr(samples[clip.start : clip.end], rate, DECODER_RATE)
        loudness = self._loudness_of(clip)
        if loudness is not None:
            exact = normalise_loudness(exact, DECODER_RATE, loudness)
            peak = float(np.abs(exact).max())
            if peak > _MAX_PEAK:
                exact = exact * np.float32(_MAX_PEAK / peak)
        tokens = math.ceil(len(exact) / SAMPLES_PER_TOKEN)
        waveform = np.pad(exact, (0, tokens * SAMPLES_PER_TOKEN - len(exact)))
        return PreparedClip(exact, waveform, f0(waveform) if "f0" in names else None)

    def _features(self, prepared: PreparedClip, names: list[str]) -> dict[str, np.ndarray]:
        values = {}
        for name in names:
            value = _FEATURES[name](self._networks, prepared)
            if isinstance(value, mx.array) and value.dtype != mx.int32:
                value = value.astype(mx.float32)
            values[name] = np.array(value)
        self.computed += len(names)
        return values


def token_count(clip: Clip) -> int:
    """Number of speech tokens of a clip by its length; for planning batches."""
    return max(1, math.ceil(clip.seconds * DECODER_RATE / SAMPLES_PER_TOKEN - 1e-6))


def cut(features: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
    """Cut the features that run parallel to the tokens to tokens `start` to `end`.

    Embeddings of the whole clip stay; other features are left out.
    """
    parts = {}
    for name, per_token in _PER_TOKEN.items():
        if name in features:
            parts[name] = features[name][start * per_token : end * per_token]
    for name in ("speaker_embedding", "xvector"):
        if name in features:
            parts[name] = features[name]
    return parts


_PER_TOKEN = {
    "speech_tokens": 1,
    "mel": 2,
    "f0": 2,
    "log_mel_16k": 4,
    "waveform": 960,
    "waveform_16k": 640,
}


def tokens_in(features: Mapping[str, np.ndarray]) -> int:
    """Length of a clip's features in tokens; 0 if none runs parallel to the tokens."""
    for name, per_token in _PER_TOKEN.items():
        if name in features:
            return len(features[name]) // per_token
    return 0
