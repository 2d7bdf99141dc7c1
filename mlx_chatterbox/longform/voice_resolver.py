"""Resolving of the model, voice and settings that the pieces of a job are spoken with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import AudioError, CheckpointError, JobError, SettingError
from ..runtime.own_files import is_regular, own_folder, problem_of
from ..voices.voice import Voice
from .identity import digest, file_hash, model_hash, settings_hash
from .job import Job
from .speaking import VoiceSettings, checked_settings
from .store import disk_error

_BUILT_IN = "conds.safetensors"


class VoiceResolver:
    """Makes `VoiceSettings`; each recording is encoded once and kept in the job's folder."""

    def __init__(self, job: Job, tts, settings: dict[str, Any]):
        """Args:
        settings: keyword arguments of `generate`, without seed, voice and language.
        """
        self._job, self._tts, self._settings = job, tts, settings
        self.model = model_hash(tts.checkpoint.folder, job.files)
        self._made: dict[tuple[Path | None, str | None, float | None], VoiceSettings] = {}

    def resolve(
        self, voice: Path | None, language: str | None, speed: float | None = None
    ) -> VoiceSettings:
        """Make the voice and settings of some pieces.

        Args:
            voice: a recording or a saved voice; None: the model's own.
            language: for multilingual models.
            speed: replaces that of the settings; None: theirs.

        Raises:
            AudioError, CheckpointError: the voice cannot be used.
            SettingError, TextError: the model has no such voice, setting or language.
        """
        key = voice, language, speed
        if key not in self._made:
            settings = self._settings if speed is None else {**self._settings, "speed": speed}
            settings = checked_settings(self._tts, settings, language)
            saved, voice_hash = self._voice(voice)
            # The precision is no argument of `generate`, but it changes the speech.
            hashed = {**settings, "dtype": self._tts.checkpoint.config.dtype}
            identity = settings_hash(self.model, voice_hash, hashed)
            self._made[key] = VoiceSettings(settings, saved, voice_hash, self.model, identity)
        return self._made[key]

    def _voice(self, voice: Path | None) -> tuple[Path | None, str]:
        if voice is None:
            if self._tts.conds is None:
                raise SettingError(
                    "no voice: this checkpoint has none built in; name a recording with --voice."
                )
            built_in = self._tts.checkpoint.folder / _BUILT_IN
            return None, file_hash(built_in, self._job.files) if built_in.is_file() else ""
        if problem := problem_of(voice):
            raise AudioError(f"the voice {voice} {problem}.")
        voice_hash = file_hash(voice, self._job.files)
        folder = self._job.folder / "voices"
        try:
            own_folder(folder)
        except OSError as error:
            raise disk_error(folder, error) from None
        saved = folder / f"{digest([voice_hash, self.model])}.safetensors"
        if not _is_kept(saved, getattr(self._tts, "load_voice", Voice.load)):
            encoded = self._tts.voice_of(voice)
            try:
                encoded.save(saved)
            except (OSError, RuntimeError) as error:
                raise JobError(f"the voice cannot be saved in {folder}: {error}.") from None
        return saved, voice_hash


def _is_kept(saved: Path, load: Callable[[Path], object]) -> bool:
    """Tell whether a saved voice exists and is neither a link nor damaged."""
    if not is_regular(saved):
        return False
    try:
        load(saved)
    except CheckpointError as error:
        warnings.warn(f"{error} The recording is encoded again.", stacklevel=2)
        return False
    return True
