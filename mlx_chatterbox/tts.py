"""The public text-to-speech classes: upstream's names, arguments, order and defaults.

A script changes by its import and by the line that saves (at upstream's revision 5de7a54:
`tts.py`, `mtl_tts.py`, `tts_turbo.py`). A setting that is left out is the checkpoint's own, which
for upstream's checkpoints is the number in the signature. What is added is keyword-only:

voice: a `Voice` for this call alone; the model's own stays.
seed: the same seed gives the same audio; None draws another each time.
max_new_tokens: at most this many tokens of 40 ms.
n_cfm_timesteps: steps of the flow.
noise, source: the flow's start (1, 2 n + 2 m, 80) and the vocoder's excitation (1, 960 m).
progress: told ("tokens" or "flow", done, in all).
watermark: False leaves the speech without the mark that says that a machine made it.
lexicon: words and how to write them so that they are said right: a file's path, a mapping, or a
    `Respelling` (`text/respelling.py`).
guard: False speaks once, whatever comes of it, as upstream does. Otherwise what babbles, loops,
    stops early or is silent is spoken again with another seed, and `outcomes` says of every piece
    what was found (`docs/guards.md`). Not with `noise` or `source`, which are of one try.
speed: how much faster, 0.5 to 2, at the same pitch (`audio/stretch.py`); pauses too. 1 changes
    nothing.
batch_size: so many pieces of a long text, or texts of a batch, are written together; 8 with
    guidance, else 16.
normalize: write numbers, abbreviations and signs out in words first; None does what the checkpoint
    says, and upstream's say no (`docs/spoken-forms.md`).

Every `generate` returns (samples,) float32 at `sr`, 24 kHz, and raises TextError (nothing to
speak), SettingError (a setting outside its range, or no voice) or AudioError (a reference that
cannot serve).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import mlx.core as mx
import numpy as np

from .checkpoint import Checkpoint, load
from .devices import is_device, on_device
from .errors import SettingError
from .synthesis.request import Default, Extras, Progress
from .synthesis.streaming import StreamingPipeline
from .text.given import described
from .text.multilingual import SUPPORTED_LANGUAGES
from .text.respelling import Lexicon
from .voice import Voice

MULTILINGUAL_T3_MODELS = {
    "v2": "t3_mtl23ls_v2.safetensors",
    "t3_mtl23ls_v2": "t3_mtl23ls_v2.safetensors",
    "v3": "t3_mtl23ls_v3.safetensors",
    "t3_mtl23ls_v3": "t3_mtl23ls_v3.safetensors",
}

Recording = str | Path | np.ndarray


class ChatterboxTTS(StreamingPipeline):
    """English."""

    tokenizer_kind = "english"
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
            model: without it upstream's own repository. Upstream's device names are understood
                here too: `from_pretrained("mps")`.
            device: "cpu" runs on the CPU, anything else on MLX's default device.
            dtype: "float32", "float16" or "bfloat16" instead of the checkpoint's own.
            progress: told (what, done, in all) while upstream's files are converted.

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

    def generate(
        self,
        text: str,
        repetition_penalty: float = Default(1.2),
        min_p: float = Default(0.05),
        top_p: float = Default(1.0),
        audio_prompt_path: Recording | None = None,
        exaggeration: float = Default(0.5),
        cfg_weight: float = Default(0.5),
        temperature: float = Default(0.8),
        *,
        voice: Voice | None = None,
        seed: int | None = None,
        max_new_tokens: int | None = None,
        n_cfm_timesteps: int | None = None,
        noise: mx.array | None = None,
        source: mx.array | None = None,
        progress: Progress | None = None,
        watermark: bool | None = None,
        lexicon: Lexicon = None,
        guard: bool = True,
        batch_size: int | None = None,
        speed: float | None = None,
        normalize: bool | None = None,
    ) -> np.ndarray:
        """Speak.

        Args:
            repetition_penalty, min_p, top_p, temperature: see `SamplingSettings`.
            audio_prompt_path: a reference recording, kept as the voice for later calls as
                upstream does.
            exaggeration: emotion, 0 to 1 (and beyond, at your own risk); 0.5 is neutral.
            cfg_weight: how strongly the text guides; 0 is faster and off.
            voice, seed, ...: see the module.
        """
        return self._speak(
            text,
            self._settings(temperature, repetition_penalty, min_p, top_p),
            self._or_default("cfg_weight", cfg_weight),
            self._or_default("exaggeration", exaggeration),
            audio_prompt_path,
            Extras(
                voice,
                seed,
                max_new_tokens,
                n_cfm_timesteps,
                noise,
                source,
                progress,
                watermark,
                lexicon,
                guard,
                batch_size,
                speed,
                normalize,
            ),
        )


class ChatterboxMultilingualTTS(StreamingPipeline):
    """23 languages: v2 (upstream's default), v3, and the single-language packs."""

    tokenizer_kind = "multilingual"
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
        """As `ChatterboxTTS.from_pretrained`.

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

    def generate(
        self,
        text: str,
        language_id: str | None,
        audio_prompt_path: Recording | None = None,
        exaggeration: float = Default(0.5),
        cfg_weight: float = Default(0.5),
        temperature: float = Default(0.8),
        repetition_penalty: float = Default(1.2),
        min_p: float = Default(0.05),
        top_p: float = Default(1.0),
        *,
        voice: Voice | None = None,
        seed: int | None = None,
        max_new_tokens: int | None = None,
        n_cfm_timesteps: int | None = None,
        noise: mx.array | None = None,
        source: mx.array | None = None,
        progress: Progress | None = None,
        watermark: bool | None = None,
        lexicon: Lexicon = None,
        guard: bool = True,
        batch_size: int | None = None,
        speed: float | None = None,
        normalize: bool | None = None,
    ) -> np.ndarray:
        """Speak; as `ChatterboxTTS.generate`.

        Args:
            language_id: a code of `SUPPORTED_LANGUAGES`, or one that a fine-tuned model has learnt;
                None leaves the language open.

        Raises:
            TextError: an unknown language, or one whose front end is missing.
        """
        return self._speak(
            text,
            self._settings(temperature, repetition_penalty, min_p, top_p),
            self._or_default("cfg_weight", cfg_weight),
            self._or_default("exaggeration", exaggeration),
            audio_prompt_path,
            Extras(
                voice,
                seed,
                max_new_tokens,
                n_cfm_timesteps,
                noise,
                source,
                progress,
                watermark,
                lexicon,
                guard,
                batch_size,
                speed,
                normalize,
            ),
            language_id=_code(language_id),
        )


class ChatterboxTurboTTS(StreamingPipeline):
    """English in two steps instead of ten, with tags such as `[laugh]`: Turbo, and Nano."""

    tokenizer_kind = "gpt2"
    default_model = "turbo"

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
        """As `ChatterboxTTS.from_pretrained`.

        Args:
            nano: the smaller model, if none is named.
        """
        if is_device(model):
            # Upstream's order: device, nano.
            model, device, nano = None, model, nano or bool(device)
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

    def generate(
        self,
        text: str,
        repetition_penalty: float = Default(1.2),
        min_p: float = Default(0.0),
        top_p: float = Default(0.95),
        audio_prompt_path: Recording | None = None,
        exaggeration: float = Default(0.0),
        cfg_weight: float = Default(0.0),
        temperature: float = Default(0.8),
        top_k: int = Default(1000),
        norm_loudness: bool = True,
        *,
        voice: Voice | None = None,
        seed: int | None = None,
        max_new_tokens: int | None = None,
        n_cfm_timesteps: int | None = None,
        noise: mx.array | None = None,
        source: mx.array | None = None,
        progress: Progress | None = None,
        watermark: bool | None = None,
        lexicon: Lexicon = None,
        guard: bool = True,
        batch_size: int | None = None,
        speed: float | None = None,
        normalize: bool | None = None,
    ) -> np.ndarray:
        """Speak; as `ChatterboxTTS.generate`. Guidance, min-p and emotion do nothing here.

        Args:
            top_k: keep this many of the likeliest tokens; 0 keeps all.
            norm_loudness: bring the reference to -27 LUFS.
        """
        ignored = {"cfg_weight": cfg_weight, "min_p": min_p, "exaggeration": exaggeration}
        asked = [name for name, value in ignored.items() if value > 0]
        if asked:
            warnings.warn(f"Turbo and Nano ignore {', '.join(asked)}.", stacklevel=2)
        return self._speak(
            text,
            self._settings(temperature, repetition_penalty, 0.0, top_p, top_k),
            0.0,
            0.0,
            audio_prompt_path,
            Extras(
                voice,
                seed,
                max_new_tokens,
                n_cfm_timesteps,
                noise,
                source,
                progress,
                watermark,
                lexicon,
                guard,
                batch_size,
                speed,
                normalize,
            ),
            norm_loudness=norm_loudness,
        )


CLASSES = {
    kind.tokenizer_kind: kind
    for kind in (ChatterboxTTS, ChatterboxMultilingualTTS, ChatterboxTurboTTS)
}


def _code(language_id: str | None) -> str | None:
    if language_id is not None and not isinstance(language_id, str):
        raise SettingError(
            f"language_id must be a code such as 'fr'; got {described(language_id)}."
        )
    return language_id.lower() if language_id else None


def t3_file(t3_model: str | None) -> str | None:
    """The file that upstream's `t3_model` names.

    Raises:
        ValueError: neither a known name nor a `.safetensors` file (upstream's own error).
    """
    if t3_model is None or t3_model.endswith(".safetensors"):
        return t3_model
    if t3_model not in MULTILINGUAL_T3_MODELS:
        known = ", ".join(MULTILINGUAL_T3_MODELS)
        raise ValueError(f"t3_model {t3_model!r} is none of {known}, and no .safetensors file.")
    return MULTILINGUAL_T3_MODELS[t3_model]


def open_model(
    name: str | Path,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
    check: bool = False,
) -> StreamingPipeline:
    """Load any model, whichever class it wants; see `ChatterboxTTS.from_pretrained`.

    Args:
        check: compare every file with the folder's manifest first.
    """
    with on_device(device):
        checkpoint: Checkpoint = load(name, dtype=dtype, progress=progress, check=check)
        return CLASSES[checkpoint.config.text.tokenizer](checkpoint, device)
