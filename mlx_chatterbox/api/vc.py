"""ChatterboxVC: a recording, converted to another voice.

Words, melody and timing stay; the voice changes. The class has upstream's methods and arguments
(`vc.py` at revision 5de7a54); additions are keyword-only. A recording may be of any length, and
memory beyond the audio itself does not grow with it. `python -m mlx_chatterbox.vc` does the same
from the command line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..audio.files import load_audio
from ..audio.resample import resample_soxr
from ..audio.stretch import checked_speed, stretch_stream
from ..errors import AudioError, SettingError
from ..models.s3gen.flow import check_steps
from ..models.s3gen.long import speak_in_pieces, waveform_length
from ..models.s3gen.s3gen import S3GenConditionals
from ..models.s3tokenizer.s3tokenizer import SAMPLE_RATE as TOKENIZER_RATE
from ..runtime.device_argument import computed_on, is_device, on_device
from ..runtime.memory import clear_device_cache
from ..runtime.seeds import random_key
from ..synthesis.request import Progress
from ..voices.checks import check_reference
from ..voices.compressed import mend
from ..voices.voice import (
    DECODER_RATE,
    MIN_PEAK,
    S3GEN_PROMPT_SECONDS,
    Voice,
    checked_samples,
    embed_reference,
    is_saved_voice,
    read_reference,
    whole_tokens,
)
from ..watermark.marker import apply as mark
from ..watermark.marker import mark_stream
from ..watermark.weights import is_wanted
from ..weights.checkpoint import Checkpoint, load

Recording = str | Path | np.ndarray
# Of these, the first 40 ms are faded in.
MIN_SECONDS = 0.1
MIN_REFERENCE_SECONDS = 0.5


class ChatterboxVC:
    """Voice conversion. Of a checkpoint it uses S3Gen and the S3 tokenizer, whichever the variant.

    Attributes:
        sr: sample rate of `generate`'s result, 24000 Hz.
        reference: the voice in use, the checkpoint's built-in one at first, or None.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        self.checkpoint = checkpoint
        # The other networks' weights are never read, so that they stay on the disk.
        self.networks = checkpoint.networks
        # These now: arrays belong to the thread that made them until they are evaluated.
        mx.eval(self.networks.s3gen.state, self.networks.s3_tokenizer.state)
        self.device = device
        self.sr = checkpoint.config.s3gen.sampling_rate
        voice = checkpoint.voice
        self.reference: S3GenConditionals | None = None if voice is None else voice.reference

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str | None = None,
        *,
        dtype: str | None = None,
        progress: Progress | None = None,
        check: bool = False,
    ) -> ChatterboxVC:
        """Load a model by name, hub repository or folder.

        Args:
            model: by default upstream's own repository. Upstream's device names are accepted here
                too: `from_pretrained("mps")`.
            device: "cpu" runs on the CPU, anything else on MLX's default device.
            dtype: "float32", "float16" or "bfloat16" instead of the checkpoint's own.
            progress: callback(stage, done, total) while upstream's files are converted.
            check: True compares every file with the folder's manifest first.

        Raises:
            CheckpointError, HubError: see `checkpoint.load`.
        """
        if is_device(model):
            model, device = None, model
        with on_device(device):
            checkpoint = load(model or "chatterbox", dtype=dtype, progress=progress, check=check)
            return cls(checkpoint, device)

    @classmethod
    def from_local(
        cls, ckpt_dir: str | Path, device: str | None = None, *, dtype: str | None = None
    ) -> ChatterboxVC:
        """Load from a folder, converted or with upstream's own files; see `from_pretrained`."""
        return cls.from_pretrained(Path(ckpt_dir), device, dtype=dtype)

    def set_target_voice(self, wav_fpath: Recording) -> None:
        """Take the voice of a recording for all later calls of `generate`.

        Args:
            wav_fpath: a file of any format and rate (`audio.files`), (n,) samples at 24 kHz, or a
                saved voice (.safetensors); 10 s are used.

        Raises:
            AudioError: it cannot be read, is silent, or too short. CheckpointError: no saved voice.
        """
        self.reference = self.reference_of(wav_fpath)

    def reference_of(self, recording: Recording) -> S3GenConditionals:
        """The voice of a recording, or a saved voice, without taking it into use."""
        if not isinstance(recording, np.ndarray) and is_saved_voice(recording):
            return self._checked(Voice.load(recording).reference, f"the voice {recording}")
        waveform = read_reference(recording, MIN_REFERENCE_SECONDS, S3GEN_PROMPT_SECONDS)
        with on_device(self.device):
            prompt = whole_tokens(waveform[: S3GEN_PROMPT_SECONDS * DECODER_RATE])
            reference = embed_reference(self.networks, prompt)
            steps = self.checkpoint.config.generation.cfm_steps
            name = "the reference"
            if not isinstance(recording, np.ndarray):
                name += f" {recording}"
            reference = mend(self.networks, reference, prompt, steps, name)
            mx.eval(reference.prompt_token, reference.prompt_feat, reference.embedding)
        return reference

    def generate(
        self,
        audio: Recording,
        target_voice_path: Recording | None = None,
        *,
        voice: Voice | None = None,
        seed: int | None = None,
        n_cfm_timesteps: int | None = None,
        progress: Progress | None = None,
        watermark: bool | None = None,
        speed: float | None = None,
    ) -> np.ndarray:
        """Convert.

        Args:
            audio: the speech: a file of any format and rate, or (n,) samples at 24 kHz.
            target_voice_path: a recording of the voice, kept for later calls as upstream does.
            voice: a `Voice` for this call alone; the model's own stays.
            seed: the same seed gives the same audio; None draws another each time.
            n_cfm_timesteps: steps of the flow; None takes the checkpoint's.
            progress: callback(stage, done, total): "windows" of 30 s, then "seconds" of speech.
            watermark: False leaves out the mark that identifies the speech as made by a machine;
                None takes the checkpoint's setting, which is to mark.
            speed: factor of the tempo, 0.5 to 2, at the same pitch.

        Returns:
            (samples,) float32 at `sr`: 960 for each begun 40 ms of the recording, over the speed.

        Raises:
            AudioError: a recording that cannot be read, is silent, or too short.
            SettingError: a setting outside its range, or no voice.
        """
        marks = is_wanted(watermark, self.checkpoint.config.generation.watermark)
        work = self._prepare(
            audio, target_voice_path, voice, seed, n_cfm_timesteps, progress, speed
        )
        length = waveform_length(self.networks.s3gen, work.tokens.shape[0], work.reference)
        length = round(length / work.speed)
        waveform = np.empty(length, dtype=np.float32)
        done = 0
        for piece in self._speak(work, marks=False):
            waveform[done : done + len(piece)] = piece
            done += len(piece)
        if not marks:
            return waveform
        with on_device(self.device):
            return mark(waveform, self.sr)

    def stream(
        self,
        audio: Recording,
        target_voice_path: Recording | None = None,
        *,
        voice: Voice | None = None,
        seed: int | None = None,
        n_cfm_timesteps: int | None = None,
        progress: Progress | None = None,
        watermark: bool | None = None,
        speed: float | None = None,
    ) -> Iterator[np.ndarray]:
        """Convert like `generate`, but yield the waveform in pieces of up to half a minute."""
        marks = is_wanted(watermark, self.checkpoint.config.generation.watermark)
        work = self._prepare(
            audio, target_voice_path, voice, seed, n_cfm_timesteps, progress, speed
        )
        return self._speak(work, marks)

    def _checked(self, reference: S3GenConditionals, name: str = "the voice") -> S3GenConditionals:
        check_reference(reference, self.networks.s3gen.config, name)
        return reference

    def _prepare(
        self, audio, target_voice_path, voice, seed, n_cfm_timesteps, progress, speed
    ) -> _PreparedConversion:
        """Check the arguments, then compute the tokens of the recording."""
        key, speed = random_key(seed), checked_speed(speed)
        steps = n_cfm_timesteps
        steps = self.checkpoint.config.generation.cfm_steps if steps is None else steps
        check_steps(steps)
        waveform = read_speech(audio)
        if voice is not None:
            reference = voice.reference
        else:
            if target_voice_path is not None:
                self.set_target_voice(target_voice_path)
            reference = self.reference
        if reference is not None:
            self._checked(reference)
        else:
            raise SettingError(
                "no voice: this checkpoint has none built in, so give a recording of the voice "
                "(set_target_voice, target_voice_path=, or --voice on the command line)."
            )
        on_window = None if progress is None else partial(progress, "windows")
        with on_device(self.device):
            tokens = self.networks.s3_tokenizer(waveform, on_window=on_window)
            mx.eval(tokens)
        return _PreparedConversion(tokens, reference, key, steps, progress, speed)

    def _speak(self, work: _PreparedConversion, marks: bool) -> Iterator[np.ndarray]:
        rate = self.checkpoint.config.s3gen.input_frame_rate
        seconds = -(-work.tokens.shape[0] // rate)

        def on_step(done: int, steps: int) -> None:
            if work.progress is not None:
                work.progress("seconds", seconds * done // steps, seconds)

        pieces = speak_in_pieces(
            self.networks.s3gen, work.tokens, work.reference, work.key, work.steps, on_step
        )

        def as_numpy(piece: mx.array) -> np.ndarray:
            samples = np.array(piece)
            # The next piece, or recording, has other sizes.
            clear_device_cache()
            return samples

        length = waveform_length(self.networks.s3gen, work.tokens.shape[0], work.reference)

        def and_whether_last() -> Generator[tuple[np.ndarray, bool]]:
            done = 0
            for piece in pieces:
                done += piece.shape[0]
                yield as_numpy(piece), done == length

        chunks = and_whether_last()
        if work.speed != 1.0:
            chunks = stretch_stream(chunks, self.sr, work.speed)
        if marks:
            return computed_on(self.device, mark_stream(chunks, self.sr))
        return computed_on(self.device, (chunk for chunk, _ in chunks if chunk.size))


@dataclass
class _PreparedConversion:
    """Everything that is checked and computed before the first sample."""

    tokens: mx.array
    reference: S3GenConditionals
    key: mx.array
    steps: int
    progress: Progress | None
    speed: float


def read_speech(audio: Recording) -> np.ndarray:
    """A recording to convert, (n,) float32 at 16 kHz.

    Args:
        audio: a file, or (n,) samples at 24 kHz.

    Raises:
        AudioError: it cannot be read, is silent, or too short.
    """
    if isinstance(audio, np.ndarray):
        name = "the recording"
        waveform = resample_soxr(checked_samples(audio, name), DECODER_RATE, TOKENIZER_RATE)
    else:
        name, waveform = str(audio), load_audio(audio, TOKENIZER_RATE)
    seconds = len(waveform) / TOKENIZER_RATE
    if seconds < MIN_SECONDS:
        raise AudioError(f"{name} lasts {seconds:.2f} s; at least {MIN_SECONDS} s are needed.")
    if max(waveform.max(), -waveform.min()) < MIN_PEAK:
        raise AudioError(f"{name} is silent: there is nothing to convert.")
    return waveform
