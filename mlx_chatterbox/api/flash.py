"""Chatterbox-Flash: upstream's class of its package `chatterbox-flash` 0.1.0, on MLX.

All arguments after the text are keyword-only, as upstream has them. What differs:

* `temperature` and `time_shift_tau` are by default those of upstream's later scripts and of the
  paper, 0.2 and 0.5. The package has 0.6 and 0.1, at which no token is ever decided early.
* `position_temperature` has its size, and is 1.0 by default. The package takes any value above 0
  for 1, so that this is what its default of 5.0 does.
* Texts are written out by this library's rules, unless `normalize="upstream"`.
* Speech is watermarked, guarded, and an array instead of a tensor.
* `upstream_exact=True` computes as the package does, its faults included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingError
from ..models.flash.settings import FlashSampling
from ..runtime.device_argument import is_device
from ..synthesis.decoding import BlockDecoding
from ..synthesis.request import Progress, Request, SpeechOptions, check_flag, check_whole
from ..text.checked_text import checked_text, described
from ..text.writing import exact
from ..voices.voice import Voice
from ..weights.checkpoint import Checkpoint
from .arguments import Arguments, Recording
from .signatures import same_arguments, shows_options, upstreams
from .text_to_speech import TextToSpeech

if TYPE_CHECKING:
    from typing_extensions import Unpack

BACKENDS = ("auto", "flashinfer", "torch", "mlx")
# Upstream's names of the settings of blocks, and the configuration's.
_OF_BLOCKS = {
    "num_steps": "num_steps",
    "time_shift_tau": "time_shift_tau",
    "omnivoice_schedule_t_shift": "schedule_t_shift",
    "position_temperature": "position_temperature",
}


class ChatterboxFlashTTS(TextToSpeech):
    """English, 16 tokens at a time, each block of them in a few passes.

    It has no built-in voice: give a recording.

    Attributes:
        block_size: tokens of a block, where a call has no other.
    """

    kind = "flash"
    default_model = "flash"
    ignored = ("use_cuda_graph", "backend")
    ignores = "MLX computes all of Flash, which ignores"

    def __init__(self, checkpoint: Checkpoint, device: str | None = None):
        super().__init__(checkpoint, device)
        self.block_size = checkpoint.config.blocks.size

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str | Path | None = None,
        device: str | None = None,
        *,
        dtype: Any = None,
        drf_block_size: int | None = None,
        progress: Progress | None = None,
    ) -> ChatterboxFlashTTS:
        """Load a model by name, hub repository or folder; see `ChatterboxTTS.from_pretrained`.

        Args:
            repo_id: by default upstream's own repository. A device name is accepted here too.
            dtype: "float32", "float16" or "bfloat16", or PyTorch's type of that name, instead of
                the checkpoint's own.
            drf_block_size: tokens of a block; None: the checkpoint's own, 16.

        Raises:
            CheckpointError, HubError: see `checkpoint.load`.
            SettingError: a block size that is not a whole number, or below 1.
        """
        if is_device(repo_id):
            repo_id, device = None, str(repo_id)
        tts = cls._load(repo_id, device, dtype=_name_of(dtype), progress=progress)
        return tts._with_blocks(drf_block_size)

    @classmethod
    def from_local(
        cls,
        ckpt_dir: str | Path,
        device: str | None = None,
        *,
        dtype: Any = None,
        drf_block_size: int | None = None,
    ) -> ChatterboxFlashTTS:
        """Load from a folder, converted or with upstream's own files; see `from_pretrained`."""
        tts = cls._load(Path(ckpt_dir), device, dtype=_name_of(dtype))
        return tts._with_blocks(drf_block_size)

    def _with_blocks(self, size: int | None) -> ChatterboxFlashTTS:
        check_whole("drf_block_size", size)
        if size is not None:
            if size < 1:
                raise SettingError(f"drf_block_size must be 1 or more; got {size}.")
            self.block_size = int(size)
        return self

    def prepare_conditionals(  # type: ignore[override]
        self, wav_fpath: Recording, exaggeration: float = upstreams(0.5)
    ) -> Voice:
        """Take the voice of a recording for all later calls, and return it.

        Args:
            wav_fpath: a file of any format and rate (`audio.files`), or (n,) samples at 24 kHz;
                10 s are used.
            exaggeration: emotion, which the voice keeps.

        Raises:
            AudioError: it cannot be read, is silent, or too short.
        """
        self.conds = self.voice_of(wav_fpath, exaggeration)
        return self.conds

    @shows_options
    def request(
        self,
        text: str | Sequence[str],
        *,
        audio_prompt_path: Recording | None = None,
        exaggeration: float = upstreams(0.5),
        normalize_text: bool = True,
        num_steps: int = upstreams(10),
        temperature: float = upstreams(0.2),
        time_shift_tau: float = upstreams(0.5),
        omnivoice_schedule_t_shift: float = upstreams(0.5),
        cfg_scale: float = upstreams(1.0),
        position_temperature: float = upstreams(1.0),
        pmi_uncond_prior_precompute: bool = True,
        use_cuda_graph: bool = True,
        backend: str = "auto",
        max_speech_tokens: int | None = None,
        block_size: int | None = None,
        upstream_exact: bool = False,
        **options: Unpack[SpeechOptions],
    ) -> Request:
        """A request for what `generate` speaks; see there. `text` may be a list of several."""
        return self._request(
            text,
            audio_prompt_path=audio_prompt_path,
            exaggeration=exaggeration,
            normalize_text=normalize_text,
            num_steps=num_steps,
            temperature=temperature,
            time_shift_tau=time_shift_tau,
            omnivoice_schedule_t_shift=omnivoice_schedule_t_shift,
            cfg_scale=cfg_scale,
            position_temperature=position_temperature,
            pmi_uncond_prior_precompute=pmi_uncond_prior_precompute,
            use_cuda_graph=use_cuda_graph,
            backend=backend,
            max_speech_tokens=max_speech_tokens,
            block_size=block_size,
            upstream_exact=upstream_exact,
            **options,
        )

    @same_arguments(request)
    def generate(self, text: str, **options) -> np.ndarray:
        """Speak.

        Args:
            text: the text to speak.
            audio_prompt_path: a reference recording, kept as the voice for later calls.
            exaggeration: emotion, 0 to 1 (and beyond, at your own risk); left out: the voice's own,
                0.5 of a recording. Upstream ignores it without a recording.
            normalize_text: False reads the text without writing it out.
            num_steps, temperature, time_shift_tau, cfg_scale, position_temperature: see
                `FlashSampling`.
            omnivoice_schedule_t_shift, pmi_uncond_prior_precompute: there `schedule_t_shift` and
                `prior_precompute`.
            use_cuda_graph, backend: no effect.
            max_speech_tokens: limit of a piece; None and higher ones: 6 for each text token, and
                300 at least. `max_new_tokens` replaces that limit instead.
            block_size: tokens of a block; None: the model's.
            upstream_exact: compute as upstream's 0.1.0 does (`FlashSampling`), with its limit and
                its text: `normalize` is "upstream", or "unchanged" instead of False. No guard
                speaks again. Settings stay those of this signature, and speech is marked unless
                `watermark` is False.
            voice, seed, ...: see `SpeechOptions` (`synthesis/request.py`).
        """
        return self._speak_request(self.request(checked_text(text), **options)).waveform

    # Its arguments are `generate_batch`'s.
    def batch_request(
        self,
        texts: Sequence[str],
        *arguments,
        audio_prompt_paths: Iterable[Recording | None] | None = None,
        conds_list: Iterable[Voice | None] | None = None,
        **options,
    ) -> Request:
        """A request for what `generate_batch` speaks; see there."""
        if conds_list is not None:
            if audio_prompt_paths is not None or options.get("voices") is not None:
                raise SettingError(
                    "give one of conds_list, audio_prompt_paths and voices: each has the voices."
                )
            options["voices"] = list(conds_list)
        if audio_prompt_paths is not None:
            recordings = _each(audio_prompt_paths, len(texts))
            options["settings"] = _with_recordings(options.get("settings"), recordings)
        return super().batch_request(texts, *arguments, **options)

    def generate_batch(
        self,
        texts: Iterable[str],
        *arguments,
        audio_prompt_paths: Iterable[Recording | None] | None = None,
        conds_list: Iterable[Voice | None] | None = None,
        **options,
    ) -> list[np.ndarray]:
        """Speak several texts together; see `TextToSpeech.generate_batch`.

        Blocks of several texts go through the layers in one pass, each at a step of its own.

        Args:
            texts: at least one.
            audio_prompt_paths: a recording for each text. Without it and `conds_list` all are
                spoken in the model's own voice.
            conds_list: a voice for each text, under upstream's name for `voices`.
            options: as `generate`'s and `TextToSpeech.generate_batch`'s.
        """
        return super().generate_batch(
            texts if isinstance(texts, str) else list(texts),
            *arguments,
            audio_prompt_paths=audio_prompt_paths,
            conds_list=conds_list,
            **options,
        )

    def own_value(self, name: str) -> Any:
        """See `TextToSpeech.own_value`; a voice keeps its emotion."""
        if name == "exaggeration":
            return None
        if name == "cfg_scale":
            return self.defaults.cfg_weight
        if name in _OF_BLOCKS:
            return getattr(self.checkpoint.config.blocks, _OF_BLOCKS[name])
        return super().own_value(name)

    def decoding_of(self, value: Callable[[str], Any]) -> BlockDecoding:
        """See `TextToSpeech.decoding_of`."""
        size, most = value("block_size"), value("max_speech_tokens")
        for name, number in (("block_size", size), ("max_speech_tokens", most)):
            check_whole(name, number)
            if number is not None and number < 1:
                raise SettingError(f"{name} must be 1 or more; got {number}.")
        for name in ("pmi_uncond_prior_precompute", "upstream_exact"):
            check_flag(name, value(name))
        sampling = FlashSampling(
            num_steps=value("num_steps"),
            temperature=value("temperature"),
            time_shift_tau=value("time_shift_tau"),
            schedule_t_shift=value("omnivoice_schedule_t_shift"),
            cfg_scale=value("cfg_scale"),
            position_temperature=value("position_temperature"),
            prior_precompute=bool(value("pmi_uncond_prior_precompute")),
            upstream_exact=bool(value("upstream_exact")),
        )
        return BlockDecoding(sampling, self.block_size if size is None else size, most)

    def options_of(self, arguments: Arguments) -> SpeechOptions:
        """See `TextToSpeech.options_of`."""
        options = super().options_of(arguments)
        is_exact, backend = arguments.get("upstream_exact"), arguments.get("backend", "auto")
        reads_words = arguments.get("normalize_text", True)
        check_flag("normalize_text", reads_words)
        if backend not in BACKENDS:
            raise SettingError(
                f"backend must be one of {', '.join(BACKENDS)}; got {described(backend)}."
            )
        if None not in (arguments.get("max_speech_tokens"), options.get("max_new_tokens")):
            raise SettingError("give either max_speech_tokens or max_new_tokens.")
        if options.get("normalize") is None and not reads_words:
            options["normalize"] = False
        if is_exact:
            options["guard"] = False
            options["normalize"] = exact(options.get("normalize"))
        return options


def _name_of(dtype: Any) -> str | None:
    """The name of a type, which may be PyTorch's."""
    return None if dtype is None else str(dtype).removeprefix("torch.")


def _each(recordings: Iterable[Recording | None], texts: int) -> list[Recording | None]:
    if isinstance(recordings, (str, Path)) or not isinstance(recordings, Iterable):
        raise SettingError(
            f"audio_prompt_paths must be a list, one for each text; got {described(recordings)}."
        )
    each = list(recordings)
    if len(each) != texts:
        raise SettingError(
            f"audio_prompt_paths must have one for each of the {texts} texts; got {len(each)}."
        )
    return each


def _with_recordings(
    settings: Sequence[Mapping[str, Any] | None] | None,
    recordings: Sequence[Recording | None],
) -> list[Any]:
    """The settings of each text with its recording."""
    own = [None] * len(recordings) if settings is None else list(settings)
    if len(own) != len(recordings):
        return own  # whose number is checked with those of the texts
    return [
        one if recording is None else {"audio_prompt_path": recording, **(one or {})}
        for one, recording in zip(own, recordings, strict=True)
    ]
