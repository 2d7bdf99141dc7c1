"""The public text-to-speech classes: upstream's names, arguments, order and defaults.

A script changes by its import and by the line that saves (at upstream's revision 5de7a54:
`tts.py`, `mtl_tts.py`, `tts_turbo.py`). A setting that is left out is the checkpoint's own,
which for upstream's checkpoints is the number in the signature. Additions are keyword-only
(`SpeechOptions`).

Every `generate` returns (samples,) float32 at `sr`, 24 kHz, and raises TextError (nothing to
speak), SettingError (a setting outside its range, or no voice) or AudioError (a reference that
cannot serve).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SettingError
from ..runtime.device_argument import is_device, on_device
from ..synthesis.request import Progress, Request, SpeechOptions
from ..text.checked_text import checked_text
from ..text.multilingual import SUPPORTED_LANGUAGES
from ..weights.checkpoint import Checkpoint, load
from .flash import ChatterboxFlashTTS
from .signatures import same_arguments, shows_options, upstreams
from .text_to_speech import Recording, TextToSpeech

if TYPE_CHECKING:
    from typing_extensions import Unpack

MULTILINGUAL_T3_MODELS = {
    "v2": "t3_mtl23ls_v2.safetensors",
    "t3_mtl23ls_v2": "t3_mtl23ls_v2.safetensors",
    "v3": "t3_mtl23ls_v3.safetensors",
    "t3_mtl23ls_v3": "t3_mtl23ls_v3.safetensors",
}


class ChatterboxTTS(TextToSpeech):
    """English."""

    kind = "english"
    default_model = "chatterbox"

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str | None = None,
        *,
        dtype: str | None = None,
        progress: Progress | None = None,
    ) -> ChatterboxTTS:
        """Load a model by name, hub repository or folder.

        Args:
            model: by default upstream's own repository. Upstream's device names are accepted here
                too: `from_pretrained("mps")`.
            device: "cpu" runs on the CPU, anything else on MLX's default device.
            dtype: "float32", "float16" or "bfloat16" instead of the checkpoint's own.
            progress: callback(stage, done, total) while upstream's files are converted.

        Raises:
            CheckpointError, HubError: see `checkpoint.load`.
        """
        if is_device(model):
            model, device = None, model
        return cls._load(model, device, dtype=dtype, progress=progress)

    @classmethod
    def from_local(
        cls, ckpt_dir: str | Path, device: str | None = None, *, dtype: str | None = None
    ) -> ChatterboxTTS:
        """Load from a folder, converted or with upstream's own files; see `from_pretrained`."""
        return cls._load(Path(ckpt_dir), device, dtype=dtype)

    @shows_options
    def request(
        self,
        text: str | Sequence[str],
        repetition_penalty: float = upstreams(1.2),
        min_p: float = upstreams(0.05),
        top_p: float = upstreams(1.0),
        audio_prompt_path: Recording | None = None,
        exaggeration: float = upstreams(0.5),
        cfg_weight: float = upstreams(0.5),
        temperature: float = upstreams(0.8),
        **options: Unpack[SpeechOptions],
    ) -> Request:
        """A request for what `generate` speaks; see there. `text` may be a list of several."""
        return self._request(
            text,
            audio_prompt_path=audio_prompt_path,
            exaggeration=exaggeration,
            cfg_weight=cfg_weight,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            min_p=min_p,
            top_p=top_p,
            **options,
        )

    @same_arguments(request)
    def generate(self, text: str, *arguments, **options) -> np.ndarray:
        """Speak.

        Args:
            text: the text to speak.
            repetition_penalty, min_p, top_p, temperature: see `SamplingSettings`.
            audio_prompt_path: a reference recording, kept as the voice for later calls as
                upstream does.
            exaggeration: emotion, 0 to 1 (and beyond, at your own risk); 0.5 is neutral.
            cfg_weight: how strongly the text guides; 0 is faster and off.
            voice, seed, ...: see `SpeechOptions` (`synthesis/request.py`).
        """
        request = self.request(checked_text(text), *arguments, **options)
        return self._speak_request(request).waveform


class ChatterboxMultilingualTTS(TextToSpeech):
    """23 languages: v2 (upstream's default), v3, and the single-language packs."""

    kind = "multilingual"
    default_model = "multilingual-v2"

    @classmethod
    def get_supported_languages(cls) -> dict[str, str]:
        """Language codes and their English names."""
        return dict(SUPPORTED_LANGUAGES)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str | None = None,
        t3_model: str | None = None,
        *,
        dtype: str | None = None,
        progress: Progress | None = None,
    ) -> ChatterboxMultilingualTTS:
        """Load a model; like `ChatterboxTTS.from_pretrained`.

        Args:
            t3_model: "v2", "v3", or the name of any T3 file (`.safetensors`) beside the others.
        """
        if is_device(model):
            # Upstream's order: device, t3_model.
            model, device, t3_model = None, model, t3_model or device
        return cls._load(model, device, dtype=dtype, progress=progress, t3_file=t3_file(t3_model))

    @classmethod
    def from_local(
        cls,
        ckpt_dir: str | Path,
        device: str | None = None,
        t3_model: str | None = None,
        *,
        dtype: str | None = None,
    ) -> ChatterboxMultilingualTTS:
        """Load from a folder; see `from_pretrained`."""
        settings = {"dtype": dtype, "t3_file": t3_file(t3_model), "variant": cls.default_model}
        return cls._load(Path(ckpt_dir), device, **settings)

    @shows_options
    def request(
        self,
        text: str | Sequence[str],
        language_id: str | None,
        audio_prompt_path: Recording | None = None,
        exaggeration: float = upstreams(0.5),
        cfg_weight: float = upstreams(0.5),
        temperature: float = upstreams(0.8),
        repetition_penalty: float = upstreams(1.2),
        min_p: float = upstreams(0.05),
        top_p: float = upstreams(1.0),
        **options: Unpack[SpeechOptions],
    ) -> Request:
        """A request for what `generate` speaks; see there. `text` may be a list of several."""
        return self._request(
            text,
            audio_prompt_path=audio_prompt_path,
            exaggeration=exaggeration,
            cfg_weight=cfg_weight,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            min_p=min_p,
            top_p=top_p,
            language_id=language_id,
            **options,
        )

    @same_arguments(request)
    def generate(self, text: str, *arguments, **options) -> np.ndarray:
        """Speak; as `ChatterboxTTS.generate`.

        Args:
            language_id: a code of `SUPPORTED_LANGUAGES`, or one that a fine-tuned model has learnt;
                None names no language to the model.

        Raises:
            TextError: an unknown language, or one whose front end is missing.
        """
        request = self.request(checked_text(text), *arguments, **options)
        return self._speak_request(request).waveform


class ChatterboxTurboTTS(TextToSpeech):
    """English in two steps instead of ten, with tags such as `[laugh]`: Turbo, and Nano."""

    kind = "gpt2"
    default_model = "turbo"
    ignored = ("cfg_weight", "min_p", "exaggeration")
    ignores = "Turbo and Nano ignore"

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        device: str | bool | None = None,
        nano: bool = False,
        *,
        dtype: str | None = None,
        progress: Progress | None = None,
    ) -> ChatterboxTurboTTS:
        """Load a model; like `ChatterboxTTS.from_pretrained`.

        Args:
            nano: True loads the smaller model, unless `model` names one.
        """
        if is_device(model):
            # Upstream's order: device, nano.
            model, device, nano = None, str(model), nano or bool(device)
        if isinstance(device, bool):
            raise SettingError(
                f"device must be a name such as 'cpu'; got {device} (nano=True selects Nano)."
            )
        if model is None and nano:
            model = "nano"
        return cls._load(model, device, dtype=dtype, progress=progress)

    @classmethod
    def from_local(
        cls,
        ckpt_dir: str | Path,
        device: str | None = None,
        nano: bool = False,
        *,
        dtype: str | None = None,
    ) -> ChatterboxTurboTTS:
        """Load from a folder; see `from_pretrained`."""
        variant = "nano" if nano else None
        return cls._load(Path(ckpt_dir), device, dtype=dtype, variant=variant)

    @shows_options
    def request(
        self,
        text: str | Sequence[str],
        repetition_penalty: float = upstreams(1.2),
        min_p: float = upstreams(0.0),
        top_p: float = upstreams(0.95),
        audio_prompt_path: Recording | None = None,
        exaggeration: float = upstreams(0.0),
        cfg_weight: float = upstreams(0.0),
        temperature: float = upstreams(0.8),
        top_k: int = upstreams(1000),
        norm_loudness: bool = True,
        **options: Unpack[SpeechOptions],
    ) -> Request:
        """A request for what `generate` speaks; see there. `text` may be a list of several."""
        return self._request(
            text,
            audio_prompt_path=audio_prompt_path,
            exaggeration=exaggeration,
            cfg_weight=cfg_weight,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            min_p=min_p,
            top_p=top_p,
            top_k=top_k,
            norm_loudness=norm_loudness,
            **options,
        )

    @same_arguments(request)
    def generate(self, text: str, *arguments, **options) -> np.ndarray:
        """Speak; as `ChatterboxTTS.generate`. Guidance, min-p and emotion do nothing here.

        Args:
            top_k: keep this many of the likeliest tokens; 0 keeps all.
            norm_loudness: bring the reference to -27 LUFS.
        """
        request = self.request(checked_text(text), *arguments, **options)
        return self._speak_request(request).waveform


CLASSES = {
    one.kind: one
    for one in (ChatterboxTTS, ChatterboxMultilingualTTS, ChatterboxTurboTTS, ChatterboxFlashTTS)
}


def t3_file(t3_model: str | None) -> str | None:
    """The file that upstream's `t3_model` names.

    Raises:
        ValueError: neither a known name nor a `.safetensors` file (upstream's own error).
    """
    if t3_model is None or t3_model.endswith(".safetensors"):
        return t3_model
    if t3_model not in MULTILINGUAL_T3_MODELS:
        known = ", ".join(MULTILINGUAL_T3_MODELS)
        raise ValueError(
            f"t3_model must be one of {known}, or a .safetensors file; got {t3_model!r}."
        )
    return MULTILINGUAL_T3_MODELS[t3_model]


def open_model(
    name: str | Path,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
    check: bool = False,
) -> TextToSpeech:
    """Load any model, as an object of its class; see `ChatterboxTTS.from_pretrained`.

    Args:
        check: compare every file with the folder's manifest first.
    """
    with on_device(device):
        checkpoint: Checkpoint = load(name, dtype=dtype, progress=progress, check=check)
        return CLASSES[checkpoint.config.kind](checkpoint, device)
