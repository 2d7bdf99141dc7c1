"""A voice: the conditionals computed from a reference recording, which can be saved.

It holds the conditionals of both networks: for T3 a speaker embedding, the tokens of the first
seconds (6, Turbo and Nano 15) and an emotion; for S3Gen the tokens, mel and speaker embedding of
the first 10 s.
Source: upstream `tts.py` (`Conditionals`, `prepare_conditionals`).
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..audio.blocks import check_finite_samples
from ..audio.files import load_audio
from ..audio.kaldi import fbank
from ..audio.kinds import kind_of_content
from ..audio.loudness import normalise_loudness
from ..audio.mel import s3gen_mel
from ..audio.resample import resample_sinc, resample_soxr
from ..checks.safetensors_header import load_safetensors
from ..errors import AudioError, CheckpointError, SettingError
from ..models.config import GenerationConfig
from ..models.s3gen.s3gen import S3GenConditionals
from ..runtime.own_files import open_input, problem_of, whole_file
from ..runtime.parallel import can_run_two, run_two
from ..runtime.saving import save_arrays
from ..runtime.threads import compute_in_this_thread
from ..text.checked_text import described
from .compressed import mend
from .layout import checked_tensors

ENCODER_RATE = 16000
DECODER_RATE = 24000
# Seconds of a recording that are read: the speaker embedding is the mean over all of them, which
# hardly changes after some minutes.
LONGEST_REFERENCE = 300.0
S3GEN_PROMPT_SECONDS = 10
SAMPLES_PER_TOKEN = DECODER_RATE // 25
# A recording whose loudest sample is under -60 dB of full scale holds no voice.
MIN_PEAK = 1e-3

_KEYS = {
    "speaker_embedding": "t3.speaker_emb",
    "cond_prompt_tokens": "t3.cond_prompt_speech_tokens",
    "emotion": "t3.emotion_adv",
    "prompt_token": "gen.prompt_token",
    "prompt_feat": "gen.prompt_feat",
    "embedding": "gen.embedding",
}


@dataclass(frozen=True)
class Voice:
    """Conditionals of a speaker.

    Attributes:
        speaker_embedding: (1, 256) from the voice encoder.
        cond_prompt_tokens: (1, n) int32, T3's prompt, at most 150 (Turbo and Nano 375).
        emotion: 0 to 1 and beyond, upstream's "exaggeration".
        prompt_token, prompt_feat, embedding: as in `S3GenConditionals`.
    """

    speaker_embedding: mx.array
    cond_prompt_tokens: mx.array
    emotion: float
    prompt_token: mx.array
    prompt_feat: mx.array
    embedding: mx.array

    @property
    def reference(self) -> S3GenConditionals:
        """S3Gen's part."""
        return S3GenConditionals(self.prompt_token, self.prompt_feat, self.embedding)

    def with_emotion(self, emotion: float) -> Voice:
        """Return the same voice at another emotion."""
        check_emotion(emotion)
        return dataclasses.replace(self, emotion=float(emotion))

    def save(self, path: str | Path) -> Path:
        """Write as safetensors, whole or not at all.

        Raises:
            AudioError: the folder does not exist, or writing fails.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise AudioError(f"the folder {path.parent} does not exist: the voice is not saved.")
        tensors = {key: getattr(self, name) for name, key in _KEYS.items() if name != "emotion"}
        tensors["t3.emotion_adv"] = mx.array(self.emotion, dtype=mx.float32).reshape(1, 1, 1)
        tensors["gen.prompt_token_len"] = mx.array([self.prompt_token.shape[1]], dtype=mx.int32)
        try:
            with whole_file(path, ".safetensors", clean=True) as file:
                save_arrays(Path(file.name), tensors, {"format": "mlx-chatterbox voice"})
        except OSError as error:
            reason = error.strerror or error
            raise AudioError(f"the voice cannot be saved as {path}: {reason}.") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Voice:
        """Read a saved voice.

        Its model is not known here: `voices.checks.check_voice` checks that it fits one.

        Raises:
            CheckpointError: it is missing, damaged, or not a voice.
        """
        compute_in_this_thread()
        if not isinstance(path, (str, os.PathLike)):
            raise SettingError(f"a voice is loaded from the path of a file; got {described(path)}.")
        if problem := problem_of(path):
            raise CheckpointError(f"the voice {path} {problem}.")
        try:
            tensors = load_safetensors(path)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is not a saved voice: {error}") from None
        missing = [key for key in _KEYS.values() if key not in tensors]
        if missing:
            raise CheckpointError(f"{path} is not a saved voice: it lacks {', '.join(missing)}.")
        tensors = checked_tensors(tensors, path)
        values = {name: tensors[key] for name, key in _KEYS.items()}
        emotion = float(values.pop("emotion"))
        # Evaluated now: another thread could not.
        mx.eval(list(values.values()))
        return cls(emotion=emotion, **values)


def check_emotion(emotion: float) -> None:
    """Raise SettingError unless the emotion is a number upstream's interface would offer."""
    if not isinstance(emotion, Real):
        raise SettingError(f"exaggeration must be a number; got {described(emotion)}.")
    if not 0.0 <= emotion <= 2.0:
        raise SettingError(f"exaggeration must be from 0 to 2; got {emotion}.")


def is_saved_voice(path: str | Path) -> bool:
    """Return True for a saved voice rather than a recording.

    The contents decide, or, if they are of no known kind, the ending `.safetensors`.
    """
    path = Path(path)
    has_ending = path.suffix.lower() == ".safetensors"
    try:
        with open_input(path) as file:
            kind, head = kind_of_content(file), file.read(9)
    except OSError:
        return has_ending
    # The file begins with the length of a JSON table, then comes the table.
    is_safetensors = head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 24
    return is_safetensors or (has_ending and (kind is None or not kind.demuxer))


def check_recording(
    waveform: np.ndarray, sample_rate: int, min_seconds: float, name: str | Path
) -> None:
    """Raise AudioError unless the recording can serve as a reference."""
    seconds = len(waveform) / sample_rate
    if seconds <= min_seconds:
        raise AudioError(
            f"{name} lasts {seconds:.2f} s; this model needs more than "
            f"{min_seconds} s, and {S3GEN_PROMPT_SECONDS} s give the best likeness."
        )
    if float(np.abs(waveform).max()) < MIN_PEAK:
        raise AudioError(f"{name} is silent.")


def checked_samples(samples: np.ndarray, name: str) -> np.ndarray:
    """Check samples passed as an array, and convert them to float32.

    Raises:
        AudioError: it is not one-dimensional, empty, or not finite.
    """
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if samples.ndim != 1 or len(samples) == 0:
        raise AudioError(f"{name} has shape {samples.shape}; it must be (n,) samples at 24 kHz.")
    check_finite_samples(samples, name)
    return samples


def read_reference(
    recording: str | Path | np.ndarray, min_seconds: float, seconds: float | None = None
) -> np.ndarray:
    """Read a recording at 24 kHz, (n,) float32, from a file, or take samples that are that.

    Args:
        min_seconds: it must last longer.
        seconds: the length to read from its beginning; None: all.

    Raises:
        AudioError: it cannot be read, is silent, or too short.
    """
    if isinstance(recording, np.ndarray):
        name = "the reference"
        waveform = checked_samples(recording, name)
    elif not isinstance(recording, (str, os.PathLike)):
        raise AudioError(
            "the reference must be the path of a recording, or its samples as (n,) float32 at 24 "
            f"kHz; got {described(recording)}."
        )
    else:
        name = f"the reference {recording}"
        waveform = load_audio(recording, DECODER_RATE, seconds)
    check_recording(waveform, DECODER_RATE, min_seconds, name)
    return waveform


def _beginning_of(recording: str | Path | np.ndarray, min_seconds: float) -> np.ndarray:
    """Read a reference, at most its first `LONGEST_REFERENCE` seconds."""
    waveform = read_reference(recording, min_seconds, LONGEST_REFERENCE)
    longest = round(LONGEST_REFERENCE * DECODER_RATE)
    if isinstance(recording, np.ndarray) or len(waveform) <= longest:
        return waveform
    warnings.warn(
        f"the reference {recording} is long: its first {LONGEST_REFERENCE / 60:g} minutes are "
        "used.",
        stacklevel=4,
    )
    return waveform[:longest]


def embed_reference(
    networks, waveform: np.ndarray, at_16k: mx.array | None = None
) -> S3GenConditionals:
    """Compute S3Gen's conditionals of a recording.

    Args:
        networks: has `s3gen` and `s3_tokenizer`.
        waveform: (n,) at 24 kHz, at most 10 s.
        at_16k: the same at 16 kHz, where it comes from another rate than 24 kHz.

    Source: upstream `S3Token2Mel.embed_ref`, whose 16 kHz version comes from torchaudio's
    resampler, and which shortens the tokens where mel and tokens disagree.
    """
    at_16k = _at_16k(waveform) if at_16k is None else at_16k
    return _reference(
        _reference_tokens(networks, at_16k), *_reference_sound(networks, waveform, at_16k)
    )


def _at_16k(waveform: np.ndarray) -> mx.array:
    at_16k = resample_sinc(mx.array(waveform), DECODER_RATE, ENCODER_RATE)
    mx.eval(at_16k)
    return at_16k


def _reference_tokens(networks, at_16k: mx.array) -> mx.array:
    return networks.s3_tokenizer(at_16k)


def _reference_sound(networks, waveform: np.ndarray, at_16k: mx.array) -> tuple[mx.array, mx.array]:
    """Mel (1, T, 80) and speaker embedding (1, 192)."""
    features = fbank(at_16k)
    features = features - features.mean(axis=0, keepdims=True)
    embedding = networks.s3gen.speaker_encoder(features[None])
    return s3gen_mel(mx.array(waveform))[None], embedding


def _reference(tokens: mx.array, mel: mx.array, embedding: mx.array) -> S3GenConditionals:
    return S3GenConditionals(tokens[: mel.shape[1] // 2][None], mel, embedding)


def whole_tokens(waveform: np.ndarray) -> np.ndarray:
    """Cut a 24 kHz reference so that its mel has an even number of frames.

    A mel frame lasts 20 ms and a token 40. With an odd number upstream gives the last one to the
    prompt and speaks 20 ms less; without it every new token has its 40 ms.
    """
    frames = len(waveform) // (SAMPLES_PER_TOKEN // 2)
    if frames % 2 == 0:
        return waveform
    return waveform[: len(waveform) // SAMPLES_PER_TOKEN * SAMPLES_PER_TOKEN]


def embed_voice(
    networks,
    recording: str | Path | np.ndarray,
    generation: GenerationConfig,
    emotion: float | None = None,
    loudness: bool = True,
) -> Voice:
    """Compute the voice of a recording.

    Args:
        networks: has `ve`, `s3gen`, `s3_tokenizer` and `t3`.
        recording: a file, or (n,) samples at 24 kHz.
        generation: the model's requirements for references, and its emotion.
        emotion: upstream's "exaggeration", instead of the model's own.
        loudness: whether to bring the reference to the model's loudness, if it has one.

    Raises:
        AudioError: the recording cannot be read, is silent, or too short.
    """
    emotion = generation.exaggeration if emotion is None else emotion
    check_emotion(emotion)
    waveform = _beginning_of(recording, generation.min_reference_seconds)
    if loudness and generation.loudness_lufs is not None:
        waveform = normalise_loudness(waveform, DECODER_RATE, generation.loudness_lufs)
    at_16k = resample_soxr(waveform, DECODER_RATE, ENCODER_RATE)
    prompt = whole_tokens(waveform[: S3GEN_PROMPT_SECONDS * DECODER_RATE])
    prompt_at_16k = _at_16k(prompt)

    def tokens_and_speaker() -> tuple[mx.array, mx.array]:
        return _reference_tokens(networks, prompt_at_16k), networks.ve.embed(at_16k)

    def t3_tokens_and_sound() -> tuple[mx.array, mx.array, mx.array]:
        tokens = mx.zeros((0,), dtype=mx.int32)
        if networks.t3.config.hears_prompt:
            tokens = networks.s3_tokenizer(
                at_16k[: generation.t3_prompt_seconds * ENCODER_RATE],
                networks.t3.config.speech_cond_prompt_len,
            )
        return tokens, *_reference_sound(networks, prompt, prompt_at_16k)

    if can_run_two():
        # Both take about the same time.
        encoders = (networks.s3_tokenizer, networks.ve, networks.s3gen.speaker_encoder)
        mx.eval([encoder.parameters() for encoder in encoders])
        (tokens, speaker), (t3_tokens, *sound) = run_two(tokens_and_speaker, t3_tokens_and_sound)
    else:
        tokens, speaker = tokens_and_speaker()
        t3_tokens, *sound = t3_tokens_and_sound()
    name = "the reference" if isinstance(recording, np.ndarray) else f"the reference {recording}"
    reference = mend(networks, _reference(tokens, *sound), prompt, generation.cfm_steps, name)
    voice = Voice(
        speaker_embedding=speaker,
        cond_prompt_tokens=t3_tokens[None],
        emotion=float(emotion),
        prompt_token=reference.prompt_token,
        prompt_feat=reference.prompt_feat,
        embedding=reference.embedding,
    )
    mx.eval(voice.speaker_embedding, voice.cond_prompt_tokens, voice.prompt_token)
    mx.eval(voice.prompt_feat, voice.embedding)
    return voice
