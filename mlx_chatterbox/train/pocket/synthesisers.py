"""The free synthesisers whose speech pocket learns from: flite, and espeak-ng for more variety.

flite also prints when each phone ends: labels that make every stage learn faster.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ...audio.resample import resample_soxr
from ...errors import DataError

RATE = 16000
SAMPLES_PER_TOKEN = 640
PAUSE = "pau"
PHONES = (
    "pau aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh "
    "uw v w y z zh"
).split()
_PHONE_INDEX = {phone: i for i, phone in enumerate(PHONES)}

FLITE_VOICES = ("slt", "rms", "awb", "kal16")
ESPEAK_VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 croak whisper Annie Denis "
    "Henrique Hugo Jacky Lee Mario Michael Storm Tweaky Alex Andy"
).split()
ESPEAK_VOICES = tuple(f"espeak-{variant}" for variant in ESPEAK_VARIANTS)


@dataclass(frozen=True)
class LabelledSpeech:
    """Speech of a synthesiser with labels of its phones.

    Attributes:
        waveform: (640 n,) float32 at 16 kHz, the last token padded with zeros.
        phones: (2 n,) uint8, indices into `PHONES` at 50 a second; all `PAUSE` for a voice of
            espeak-ng, which prints none.
    """

    waveform: np.ndarray
    phones: np.ndarray

    @property
    def tokens(self) -> int:
        """Length in tokens of 40 ms."""
        return len(self.waveform) // SAMPLES_PER_TOKEN


def check_programs() -> None:
    """Check that the synthesisers are installed.

    Raises:
        DataError: one is missing.
    """
    for program in ("flite", "espeak-ng", "t2p"):
        if shutil.which(program) is None:
            package = "espeak-ng" if program == "espeak-ng" else "flite"
            raise DataError(f"{program} is not installed: apt-get install {package}.")


def synthesise(voice: str, text: str) -> LabelledSpeech:
    """Speak a text with a synthesiser's voice.

    Args:
        voice: one of `FLITE_VOICES` or `ESPEAK_VOICES`.

    Raises:
        DataError: the synthesiser fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        if voice in FLITE_VOICES:
            command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
        else:
            variant = voice.removeprefix("espeak-")
            command = ["espeak-ng", "-v", f"en-us+{variant}", "-w", str(path), text]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            raise DataError(f"{command[0]} failed on {text!r}: {done.stderr.strip()}")
        samples, rate = soundfile.read(path, dtype="float32")
    if rate != RATE:
        samples = resample_soxr(samples, rate, RATE)
    tokens = -(-len(samples) // SAMPLES_PER_TOKEN)
    waveform = np.zeros(tokens * SAMPLES_PER_TOKEN, np.float32)
    waveform[: len(samples)] = samples
    phones = np.zeros(2 * tokens, np.uint8)
    if voice in FLITE_VOICES:
        phones = _phones(done.stdout, 2 * tokens)
    return LabelledSpeech(waveform, phones)


def _phones(output: str, frames: int) -> np.ndarray:
    """Parse flite's "phone:seconds ..." into the phone's index at each 20 ms frame's middle."""
    pairs = [item.rsplit(":", 1) for item in output.split()]
    ends = np.array([float(end) for _, end in pairs])
    names = np.array([_PHONE_INDEX[name] for name, _ in pairs] + [_PHONE_INDEX[PAUSE]], np.uint8)
    return names[np.searchsorted(ends, (np.arange(frames) + 0.5) * 0.02, side="right")]
