"""A voice of ChatTTS, which can be saved: a speaker's vector, an audio prompt, or both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from ...checks.safetensors_header import load_safetensors
from ...errors import AudioError, CheckpointError, SettingError
from ...runtime.own_files import problem_of, whole_file
from ...runtime.saving import save_arrays
from .strings import checked_codes, checked_vector

FORMAT = "mlx-chatterbox chattts voice"
_SPEAKER, _CODES, _TEXT = "chattts.speaker", "chattts.codes", "chattts.text"


@dataclass(frozen=True, eq=False)
class ChatTTSVoice:
    """The voice of a text.

    Attributes:
        speaker: (768,) float16 as in a speaker string; None: the model chooses, piece by piece.
        codes: (codebooks, steps) int32 of a recording, the audio prompt; None: none.
        text: the text of that recording.
    """

    speaker: np.ndarray | None = None
    codes: np.ndarray | None = None
    text: str | None = None

    @property
    def is_any(self) -> bool:
        """True for no voice of its own."""
        return self.speaker is None and self.codes is None

    def save(self, path: str | Path) -> Path:
        """Write as safetensors, whole or not at all.

        Raises:
            SettingError: there is no voice to save.
            AudioError: the folder does not exist, or writing fails.
        """
        path = Path(path)
        if self.is_any:
            raise SettingError("there is no voice to save: the model chose one for each piece.")
        if not path.parent.is_dir():
            raise AudioError(f"the folder {path.parent} does not exist: the voice is not saved.")
        tensors = {}
        if self.speaker is not None:
            tensors[_SPEAKER] = mx.array(self.speaker)
        if self.codes is not None:
            tensors[_CODES] = mx.array(self.codes)
        if self.text is not None:
            tensors[_TEXT] = mx.array(np.frombuffer(self.text.encode(), np.uint8))
        try:
            with whole_file(path, ".safetensors", clean=True) as file:
                save_arrays(Path(file.name), tensors, {"format": FORMAT})
        except OSError as error:
            reason = error.strerror or error
            raise AudioError(f"the voice cannot be saved as {path}: {reason}.") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> ChatTTSVoice:
        """Read a saved voice.

        Raises:
            CheckpointError: it is missing, damaged, or no voice of ChatTTS.
        """
        if problem := problem_of(Path(path)):
            raise CheckpointError(f"the voice {path} {problem}.")
        try:
            tensors = load_safetensors(path)
        except CheckpointError as error:
            raise CheckpointError(f"{path} is not a saved voice: {error}") from None
        if not {_SPEAKER, _CODES} & tensors.keys():
            raise CheckpointError(f"{path} is no saved voice of ChatTTS: another model's?")
        try:
            speaker, codes, text = (tensors.get(key) for key in (_SPEAKER, _CODES, _TEXT))
            return cls(
                None if speaker is None else checked_vector(np.array(speaker)),
                None if codes is None else checked_codes(np.array(codes)),
                None if text is None else bytes(np.array(text, np.uint8)).decode(),
            )
        except (SettingError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not a saved voice: {error}") from None
