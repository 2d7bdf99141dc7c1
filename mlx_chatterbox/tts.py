"""ChatterboxTTS: text and a voice to a waveform.

The class has upstream's methods, arguments and defaults (`tts.py` at revision 5de7a54), so that a
script changes by its import and by the line that saves; what is added is keyword-only.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from .checkpoint import Checkpoint, load
from .errors import SettingError, TextError
from .models.t3.decoding import decode
from .models.t3.sampling import SamplingSettings
from .text.normalize import punc_norm
from .voice import Voice, embed_voice, is_saved_voice

DEVICES = ("cpu", "gpu", "cuda", "mps")
Progress = Callable[[str, int, int], None]


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


class ChatterboxTTS:
    """English text to speech.

    Attributes:
        sr: sample rate of what `generate` returns, 24000.
        conds: the voice in use, or None.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        self.checkpoint = checkpoint
        self.networks = checkpoint.networks
        self.tokenizer = checkpoint.tokenizer
        self.device = device
        self.sr = checkpoint.config.s3gen.sampling_rate
        self.conds: Voice | None = checkpoint.voice
        self.last_tokens: list[int] = []
        self.stopped = True

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "chatterbox",
        device: str | None = None,
        *,
        dtype: str | None = None,
        progress: Progress | None = None,
    ) -> ChatterboxTTS:
        """Load a model by name, hub repository or folder.

        Args:
            model: without it upstream's own repository. Upstream's device names are understood
                here too: `from_pretrained("mps")`.
            device: "cpu" runs on the CPU, anything else on MLX's default device.
            dtype: "float32", "float16" or "bfloat16" instead of the checkpoint's own.
            progress: told (what, done, in all) while upstream's files are converted.

        Raises:
            CheckpointError, HubError: see `checkpoint.load`.
        """
        if is_device(model):
            model, device = "chatterbox", model
        with _on(device):
            return cls(load(model, dtype, progress), device)

    @classmethod
    def from_local(
        cls, ckpt_dir: str | Path, device: str | None = None, *, dtype: str | None = None
    ) -> ChatterboxTTS:
        """Load from a folder, converted or with upstream's own files; see `from_pretrained`."""
        return cls.from_pretrained(Path(ckpt_dir), device, dtype=dtype)

    def prepare_conditionals(
        self, wav_fpath: str | Path | np.ndarray, exaggeration: float = 0.5
    ) -> None:
        """Take the voice of a recording for what `generate` says from now on.

        Args:
            wav_fpath: a file of any format and rate that soundfile reads, or (n,) samples at
                24 kHz; 10 s are used.

        Raises:
            AudioError: it cannot be read, is silent, or too short.
        """
        self.conds = self.voice_of(wav_fpath, exaggeration)

    def voice_of(self, recording: str | Path | np.ndarray, exaggeration: float = 0.5) -> Voice:
        """The voice of a recording, or a saved voice, without taking it into use."""
        if isinstance(recording, (str, Path)) and is_saved_voice(recording):
            return Voice.load(recording)
        with _on(self.device):
            return embed_voice(self.networks, recording, exaggeration)

    def generate(
        self,
        text: str,
        repetition_penalty: float = 1.2,
        min_p: float = 0.05,
        top_p: float = 1.0,
        audio_prompt_path: str | Path | np.ndarray | None = None,
        exaggeration: float = 0.5,
        cfg_weight: float = 0.5,
        temperature: float = 0.8,
        *,
        voice: Voice | None = None,
        seed: int | None = None,
        max_new_tokens: int = 1000,
        n_cfm_timesteps: int = 10,
        noise: mx.array | None = None,
        source: mx.array | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Speak.

        Args:
            repetition_penalty, min_p, top_p, temperature: see `SamplingSettings`.
            audio_prompt_path: a reference recording, kept as the voice for later calls as
                upstream does.
            exaggeration: emotion, 0 to 1 (and beyond, at your own risk); 0.5 is neutral.
            cfg_weight: how strongly the text guides; 0 is faster and off.
            voice: a `Voice` for this call alone; the model's own stays.
            seed: the same seed gives the same audio; None draws another each time.
            max_new_tokens: at most this many tokens of 40 ms.
            n_cfm_timesteps: steps of the flow.
            noise, source: the flow's start (1, 2 n + 2 m, 80) and the vocoder's excitation
                (1, 960 m), for comparisons.
            progress: told ("tokens" or "flow", done, in all).

        Returns:
            (samples,) float32 at `sr`, 960 for each speech token that has a sound.

        Raises:
            TextError: nothing to speak. SettingError: a setting outside its range, or no voice.
            AudioError: see `prepare_conditionals`.
        """
        settings = SamplingSettings(temperature, repetition_penalty, min_p, top_p)
        text_tokens = self._text_tokens(text)
        with _on(self.device):
            voice = self._voice_for(voice, audio_prompt_path, exaggeration)
            token_key, audio_key = mx.random.split(_key(seed))
            tokens = self._speech_tokens(
                voice, text_tokens, settings, cfg_weight, max_new_tokens, token_key, progress
            )
            waveform = self.networks.s3gen(
                mx.array(tokens, dtype=mx.int32),
                voice.reference,
                key=audio_key,
                noise=noise,
                source=source,
                n_timesteps=n_cfm_timesteps,
                on_step=None if progress is None else lambda i, n: progress("flow", i, n),
            )
            return np.array(waveform)

    def _text_tokens(self, text: str) -> mx.array:
        """Token ids with start and stop, (n,); the checks come before any work."""
        if not text.strip():
            raise TextError("there is no text to speak.")
        if not any(character.isalnum() for character in text):
            raise TextError(
                f"there is nothing to speak in {text.strip()[:40]!r}: no letter, no digit."
            )
        if not self.tokenizer.knows_any(text):
            raise TextError(
                f"the model knows none of the letters in {text.strip()[:40]!r}: it speaks English."
            )
        config = self.checkpoint.config.t3
        ids = self.tokenizer.encode(punc_norm(text))
        return mx.array([config.start_text_token, *ids, config.stop_text_token], dtype=mx.int32)

    def _voice_for(self, voice, audio_prompt_path, exaggeration: float) -> Voice:
        if voice is not None:
            return voice.with_emotion(exaggeration)
        if audio_prompt_path is not None:
            self.prepare_conditionals(audio_prompt_path, exaggeration)
        if self.conds is None:
            raise SettingError(
                "no voice: this checkpoint has none built in, so give a reference recording "
                "(audio_prompt_path=, or --voice on the command line)."
            )
        self.conds = self.conds.with_emotion(exaggeration)
        return self.conds

    def _speech_tokens(
        self, voice, text_tokens, settings, cfg_weight, max_new_tokens, key, progress
    ) -> list[int]:
        t3 = self.networks.t3
        cond_emb = t3.embed_conditioning(
            voice.speaker_embedding, voice.cond_prompt_tokens, voice.emotion
        )
        steps = decode(t3, cond_emb, text_tokens, settings, cfg_weight, max_new_tokens, key)
        tokens = []
        for token in steps:
            tokens.append(token)
            if progress is not None:
                progress("tokens", len(tokens), max_new_tokens)
        # The last token may still have been followed by the stop token, which is then not drawn.
        self.stopped = len(tokens) < max_new_tokens
        self.last_tokens = audible_tokens(
            tokens, t3.config.start_speech_token, self.checkpoint.config.s3gen.vocab_size
        )
        if not self.last_tokens:
            raise TextError(
                f"the model wrote {len(tokens)} speech tokens and none that has a sound; "
                "try another seed or more max_new_tokens."
            )
        return self.last_tokens


def _key(seed: int | None) -> mx.array:
    """A random key; the global generator is neither read nor moved."""
    if seed is None:
        seed = secrets.randbits(63)
    if not 0 <= seed < 2**64:
        raise SettingError(f"seed must be from 0 to 2^64 - 1; got {seed}.")
    return mx.random.key(seed)


def _on(device: str | None):
    """Compute on the CPU where that was asked for, else on MLX's default device."""
    if device is not None and device.split(":")[0] == "cpu":
        return mx.stream(mx.cpu)
    return contextlib.nullcontext()
