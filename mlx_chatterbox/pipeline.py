"""From text and a voice to a waveform, the same way for every variant.

What differs between variants is data: the checkpoint's configuration says how text is prepared, in
which order tokens are filtered, what follows the last one. The public classes in `tts.py` add
upstream's signatures and nothing else.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import mlx.core as mx
import numpy as np

from . import watermark
from .checkpoint import Checkpoint, load
from .errors import CheckpointError, SettingError, TextError
from .models.t3.decoding import decode_batch
from .models.t3.prefix import PrefixMemory
from .models.t3.sampling import SamplingSettings
from .seeds import random_key
from .text.clauses import pieces
from .text.gpt2 import drop_unknown_tags
from .text.normalize import punc_norm
from .voice import Voice, embed_voice, is_saved_voice
from .watermark.weights import is_wanted

DEVICES = ("cpu", "gpu", "cuda", "mps")
# Upstream's token of silence (`models/s3gen/const.py`).
SILENCE_TOKEN = 4299
# Of a long text that is said in pieces, so many are written at once: memory stays bounded.
PIECES_TOGETHER = 16
Progress = Callable[[str, int, int], None]


class Default(float):
    """A setting that the caller left out: upstream's number, and the checkpoint's may differ."""


@dataclass(frozen=True)
class Extras:
    """What every `generate` takes beyond upstream's arguments, by keyword."""

    voice: Voice | None = None
    seed: int | None = None
    max_new_tokens: int | None = None
    n_cfm_timesteps: int | None = None
    noise: mx.array | None = None
    source: mx.array | None = None
    progress: Progress | None = None
    watermark: bool | None = None


@dataclass(frozen=True)
class Batch:
    """What `generate_batch` hands to `generate` in place of a text: texts, and a seed for each."""

    texts: tuple[str, ...]
    seeds: tuple[int | None, ...]


def is_device(name) -> bool:
    """Whether a first argument is one of upstream's device names rather than a model."""
    return isinstance(name, str) and name.split(":")[0] in DEVICES


def audible_tokens(tokens: list[int], start: int, n_codes: int) -> list[int]:
    """Tokens that have a sound: those behind a predicted start token, under `n_codes`.

    Source: upstream `drop_invalid_tokens` and the filter behind it; where upstream fails on a
    second start token, that one is dropped like any other token without sound.
    """
    if start in tokens:
        tokens = tokens[tokens.index(start) + 1 :]
    return [token for token in tokens if token < n_codes]


class Pipeline:
    """A loaded model with a voice.

    Attributes:
        sr: sample rate of what `generate` returns, 24000.
        conds: the voice in use, or None.
        last_tokens: speech tokens of the last call that have a sound; of a batch all texts'.
        limit, stopped: how many tokens the last call could write for a text, and whether all ended
            before.
    """

    #: Kind of tokenizer (`TextConfig.tokenizer`) of the checkpoints that the class can use.
    tokenizer_kind: ClassVar[str]
    #: What `from_pretrained` loads without a name.
    default_model: ClassVar[str]

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        kind = checkpoint.config.text.tokenizer
        if kind != self.tokenizer_kind:
            raise CheckpointError(
                f"{checkpoint.folder} is a {checkpoint.config.variant} model, which "
                f"{type(self).__name__} does not speak; see the README for its class."
            )
        self.checkpoint = checkpoint
        self.networks = checkpoint.networks
        self.tokenizer = checkpoint.tokenizer
        self.defaults = checkpoint.config.generation
        self.device = device
        self.sr = checkpoint.config.s3gen.sampling_rate
        self.conds: Voice | None = checkpoint.voice
        self.last_tokens: list[int] = []
        self.limit = self.defaults.max_new_tokens
        self.stopped = True
        self._prefixes = PrefixMemory()

    @classmethod
    def _load(cls, model: str | Path | None, device: str | None, **settings):
        with on_device(device):
            return cls(load(model or cls.default_model, **settings), device)

    def prepare_conditionals(
        self,
        wav_fpath: str | Path | np.ndarray,
        exaggeration: float = Default(0.5),
        norm_loudness: bool = True,
    ) -> None:
        """Take the voice of a recording for what `generate` says from now on.

        Args:
            wav_fpath: a file of any format and rate that soundfile reads, or (n,) samples at
                24 kHz; 10 s are used.
            exaggeration: emotion; Turbo and Nano have none.
            norm_loudness: bring the recording to the loudness that Turbo and Nano want.

        Raises:
            AudioError: it cannot be read, is silent, or too short.
        """
        self.conds = self.voice_of(wav_fpath, exaggeration, norm_loudness)

    def voice_of(
        self,
        recording: str | Path | np.ndarray,
        exaggeration: float = Default(0.5),
        norm_loudness: bool = True,
    ) -> Voice:
        """The voice of a recording, or a saved voice, without taking it into use."""
        if isinstance(recording, (str, Path)) and is_saved_voice(recording):
            return Voice.load(recording)
        with on_device(self.device):
            emotion = self._or_default("exaggeration", exaggeration)
            return embed_voice(self.networks, recording, self.defaults, emotion, norm_loudness)

    def generate_batch(
        self,
        texts: Sequence[str],
        *arguments,
        seed: int | None = None,
        seeds: Sequence[int | None] | None = None,
        **settings,
    ) -> list[np.ndarray]:
        """Speak several texts together, in one voice and with the same settings.

        T3 writes all texts at once, which takes little longer than one of them; S3Gen then speaks
        one after the other. What a text becomes does not depend on the others: it is what
        `generate` makes of it with the same seed, up to rounding (see `decode_batch`). Memory for
        T3's keys and values grows with the number of texts, by 0.5 MB a token and text for the
        Llama models with guidance in float32; eight at a time are a good number.

        Args:
            texts: at least one.
            arguments, settings: as `generate`'s behind its text; `noise` and `source` are of one
                text and cannot be given.
            seed: of the first text; text i is spoken with seed + i. None draws another for each.
            seeds: one for each text instead.

        Returns:
            For each text (samples,) float32 at `sr`.

        Raises:
            TextError, AudioError: as `generate`, before anything is spoken.
            SettingError: also for no texts, for one string, or not a seed a text.
        """
        if isinstance(texts, str) or not texts:
            raise SettingError("generate_batch takes a list of at least one text.")
        if seeds is None:
            seeds = [None if seed is None else seed + i for i in range(len(texts))]
        elif seed is not None or len(seeds) != len(texts):
            raise SettingError(f"{len(texts)} texts need a seed, or {len(texts)} seeds.")
        given = [name for name in ("noise", "source") if settings.get(name) is not None]
        if given:
            raise SettingError(f"{', '.join(given)}: of one text, which generate_batch has not.")
        return self.generate(Batch(tuple(texts), tuple(seeds)), *arguments, **settings)

    def _or_default(self, name: str, value: float) -> float:
        return getattr(self.defaults, name) if isinstance(value, Default) else value

    def _settings(
        self, temperature, repetition_penalty, min_p, top_p, top_k: float = Default(0)
    ) -> SamplingSettings:
        """Sampling settings, the checkpoint's own where they were left out."""
        given = {
            "temperature": temperature,
            "repetition_penalty": repetition_penalty,
            "min_p": min_p,
            "top_p": top_p,
            "top_k": top_k,
        }
        values = {name: self._or_default(name, value) for name, value in given.items()}
        return SamplingSettings(**values, order=self.defaults.sampler_order)

    def _speak(
        self,
        text: str | Batch,
        settings: SamplingSettings,
        cfg_weight: float,
        exaggeration: float,
        audio_prompt_path: str | Path | np.ndarray | None,
        extras: Extras,
        language_id: str | None = None,
        norm_loudness: bool = True,
    ) -> np.ndarray | list[np.ndarray]:
        """Text to waveform, (samples,) float32; for a `Batch` one for each text."""
        batch = text if isinstance(text, Batch) else Batch((text,), (extras.seed,))
        said = [pieces(text, self.defaults.longest_piece) for text in batch.texts]
        text_tokens = [
            self._text_tokens(piece, language_id) for of_text in said for piece in of_text
        ]
        if len(text_tokens) > len(said) and (extras.noise is not None or extras.source is not None):
            raise SettingError("noise and source are of one piece; this text is said in several.")
        marks = is_wanted(extras.watermark, self.defaults.watermark)
        with on_device(self.device):
            keys = [
                mx.random.split(key)
                for seed, of_text in zip(batch.seeds, said, strict=True)
                for key in piece_keys(random_key(seed), len(of_text))
            ]
            voice = self._voice_for(extras.voice, audio_prompt_path, exaggeration, norm_loudness)
            token_keys = [key[0] for key in keys]
            written = self._speech_tokens(
                voice, text_tokens, settings, cfg_weight, token_keys, extras
            )
            spoken = iter(
                [
                    self._waveform(tokens, voice, key[1], extras)
                    for tokens, key in zip(written, keys, strict=True)
                ]
            )
            waveforms = [np.concatenate([next(spoken) for _ in of_text]) for of_text in said]
            if marks:
                waveforms = [watermark.apply(waveform, self.sr) for waveform in waveforms]
        return waveforms if isinstance(text, Batch) else waveforms[0]

    def _waveform(
        self, tokens: list[int], voice: Voice, key: mx.array, extras: Extras
    ) -> np.ndarray:
        """Speech tokens to a waveform, (samples,) float32."""
        progress, steps = extras.progress, extras.n_cfm_timesteps
        waveform = self.networks.s3gen(
            mx.array(tokens + [SILENCE_TOKEN] * self.defaults.silence_tokens, dtype=mx.int32),
            voice.reference,
            key=key,
            noise=extras.noise,
            source=extras.source,
            n_timesteps=self.defaults.cfm_steps if steps is None else steps,
            on_step=None if progress is None else lambda i, n: progress("flow", i, n),
        )
        waveform = np.array(waveform)
        if self.defaults.drop_last_token:
            # Upstream: written just before the stop token, it decodes to 40 ms of noise.
            waveform = waveform[: max(1, len(tokens) - 1) * (self.sr // 25)]
        return waveform

    def _text_tokens(self, text: str, language_id: str | None) -> mx.array:
        """Token ids, (n,), for the Llama with start and stop; checks come before any work."""
        shown = repr(text.strip()[:40])
        if not text.strip():
            raise TextError("there is no text to speak.")
        if not any(character.isalnum() for character in text):
            raise TextError(f"there is nothing to speak in {shown}: no letter.")
        config = self.checkpoint.config
        style = config.text.punctuation
        if config.text.tokenizer == "gpt2":
            text, unknown = drop_unknown_tags(text, self.tokenizer)
            if unknown:
                known = ", ".join(sorted(self.tokenizer.tags))
                warnings.warn(
                    f"unknown tag(s) left out: {', '.join(unknown)}; known are {known}.",
                    stacklevel=4,
                )
            if not any(character.isalnum() for character in text):
                raise TextError(f"there is nothing to speak in {shown} but unknown tags.")
            return mx.array(self.tokenizer.encode(punc_norm(text, style)), dtype=mx.int32)
        language = (language_id,) if config.text.tokenizer == "multilingual" else ()
        if not self.tokenizer.knows_any(text, *language):
            raise TextError(f"the model knows none of the letters in {shown}.")
        keeps_case = getattr(self.tokenizer, "keeps_case", False)
        ids = self.tokenizer.encode(punc_norm(text, style, capitalize=not keeps_case), *language)
        return mx.array(
            [config.t3.start_text_token, *ids, config.t3.stop_text_token], dtype=mx.int32
        )

    def _voice_for(self, voice, recording, exaggeration: float, norm_loudness: bool) -> Voice:
        if voice is not None:
            return voice.with_emotion(exaggeration)
        if recording is not None:
            self.prepare_conditionals(recording, exaggeration, norm_loudness)
        if self.conds is None:
            raise SettingError(
                "no voice: this checkpoint has none built in, so give a reference recording "
                "(audio_prompt_path=, or --voice on the command line)."
            )
        self.conds = self.conds.with_emotion(exaggeration)
        return self.conds

    def _speech_tokens(
        self, voice, text_tokens, settings, cfg_weight, keys, extras: Extras
    ) -> list[list[int]]:
        """Audible speech tokens of each text."""
        t3 = self.networks.t3
        limit = extras.max_new_tokens
        self.limit = limit = self.defaults.max_new_tokens if limit is None else limit
        past = self._prefixes.past_of(
            t3, voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion
        )
        written: list[list[int]] = [[] for _ in text_tokens]
        together = PIECES_TOGETHER if self.defaults.longest_piece else len(text_tokens)
        for first in range(0, len(text_tokens), together):
            some = slice(first, first + together)
            steps = decode_batch(
                t3, past, text_tokens[some], settings, cfg_weight, limit, keys[some]
            )
            for done, step in enumerate(steps, start=1):
                for sentence, token in step:
                    written[first + sentence].append(token)
                if extras.progress is not None:
                    extras.progress("tokens", done, limit)
        # The last token may still have been followed by the stop token, which is then not drawn.
        self.stopped = all(len(tokens) < limit for tokens in written)
        start, n_codes = t3.config.start_speech_token, self.checkpoint.config.s3gen.vocab_size
        audible = [audible_tokens(tokens, start, n_codes) for tokens in written]
        for index, tokens in enumerate(audible):
            if not tokens:
                which = f" for text {index + 1}" if len(audible) > 1 else ""
                raise TextError(
                    f"the model wrote {len(written[index])} speech tokens{which} and none that "
                    "has a sound; try another seed or more max_new_tokens."
                )
        self.last_tokens = [token for tokens in audible for token in tokens]
        return audible


def piece_keys(key: mx.array, count: int) -> list[mx.array]:
    """A key for each piece of a text; a text in one piece keeps its own."""
    return [key] if count == 1 else list(mx.random.split(key, count))


def on_device(device: str | None):
    """Compute on the CPU where that was asked for, else on MLX's default device."""
    if device is not None and device.split(":")[0] == "cpu":
        return mx.stream(mx.cpu)
    return contextlib.nullcontext()


def computed_on(device: str | None, results: Iterator) -> Iterator:
    """What a generator yields, each computed `on_device`; closing this one closes it.

    The device is chosen anew for each result: whoever takes them must not be affected.
    """
    with contextlib.closing(results):
        while True:
            with on_device(device):
                try:
                    result = next(results)
                except StopIteration:
                    return
            yield result
