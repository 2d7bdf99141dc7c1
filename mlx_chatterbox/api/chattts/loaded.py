"""A ChatTTS that is loaded and unloaded as upstream's, with its networks, helpers and voices."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CheckpointError, warn_user
from ...runtime.device_argument import on_device
from ...runtime.memory import give_back_memory
from ...synthesis.chattts.outcome import SAMPLE_RATE
from ...synthesis.chattts.sound import StepSound
from ...synthesis.result import LatestResult, Result
from ...text.chattts.normalize import ChatTTSNormalizer
from ...voices.chattts.strings import encode_codes
from ...voices.voice import read_reference
from ...weights.chattts import ChatTTSModel
from ..latest import ReportsLatest
from . import parameters
from .helpers import SpeakerHelper, TokenizerHelper
from .loading import find_model, load_model, warn_of_unused

if TYPE_CHECKING:
    from typing_extensions import Self


class InterruptFlag:
    """Tells a call to end; upstream's `chat.context`."""

    def __init__(self):
        self._is_set = False

    def set(self, value: bool) -> None:
        self._is_set = bool(value)

    def get(self) -> bool:
        return self._is_set


class LoadsChatTTS(ReportsLatest):
    """Everything of `Chat` but speaking.

    Attributes:
        normalizer: `register(language, function)` and `unregister(language)`, and calling it.
        speaker, tokenizer: upstream's helpers; `tokenizer` is None before `load`.
        gpt, embed, dvae, decoder, vocos: the networks, None before `load`; the GPT has the tables
            of `embed` itself.
        config: sizes of the networks; None before `load`.
        context: the flag that `interrupt` sets.
        device: where it computes; None: MLX's default device.
        sr: sample rate, 24000 Hz.
        latest: the result of the latest call, of which `outcomes` and others are; see
            `ReportsLatest`.
    """

    sr = SAMPLE_RATE

    def __init__(self, logger: logging.Logger | None = None):
        """Make an empty one.

        Args:
            logger: takes what would otherwise be warnings.
        """
        self.logger = logger
        self.context = InterruptFlag()
        self.normalizer = ChatTTSNormalizer()
        self.speaker = SpeakerHelper()
        self.tokenizer: TokenizerHelper | None = None
        self.device: str | None = None
        self._loaded: ChatTTSModel | None = None
        self.latest = self._latest = LatestResult(
            Result(parameters.InferCodeParams().max_new_token)
        )

    @classmethod
    def of_model(cls, model: ChatTTSModel, device: str | None = None) -> Self:
        """Make one of a model that is loaded."""
        chat = cls()
        chat._take(model, device)
        return chat

    # --- Loading -----------------------------------------------------------------------------

    def load(
        self,
        source: str = "local",
        force_redownload: bool = False,
        compile: bool = False,
        custom_path: str | Path | None = None,
        device: Any = None,
        coef: str | None = None,
        use_flash_attn: bool = False,
        use_vllm: bool = False,
        enable_cache: bool = True,
        experimental: bool = False,
        *,
        dtype: str | None = None,
        speaker_statistics: str | Path | None = None,
    ) -> bool:
        """Load a model.

        Args:
            source: "huggingface": the hub's cache, or a download; "local": the folder `custom_path`
                or else the working folder, and where that holds no model as "huggingface";
                "custom": the folder `custom_path`. Beyond upstream: OWNER/REPOSITORY on the hub.
            force_redownload: ask the hub for the newest files even if there are some.
            custom_path: a folder with upstream's `asset/` or a converted one; for "huggingface" the
                folder of the hub's cache.
            device: "cpu" computes on the CPU, anything else on MLX's default device.
            compile, coef, use_flash_attn, use_vllm, enable_cache, experimental: upstream's; they
                have no effect, which a warning says. The engine always works in batches.
            dtype: "float32", "float16" or "bfloat16" instead of the checkpoint's own.
            speaker_statistics: for random speakers: a file or a string (`read_statistics`). None:
                those in the model's folder, if it has any.

        Returns:
            True. Upstream returns False where this raises.

        Raises:
            CheckpointError, HubError: there is no such model, or it cannot be loaded.
        """
        warn_of_unused(
            self._say,
            compile=(compile, False),
            coef=(coef, None),
            use_flash_attn=(use_flash_attn, False),
            use_vllm=(use_vllm, False),
            enable_cache=(enable_cache, True),
            experimental=(experimental, False),
        )
        device = None if device is None else str(device)
        with on_device(device):
            folder = find_model(source, force_redownload, custom_path)
            loaded = load_model(folder, dtype, speaker_statistics)
        self._take(loaded, device)
        return True

    def _take(self, model: ChatTTSModel, device: str | None) -> None:
        self._loaded, self.device = model, device
        self.tokenizer = TokenizerHelper(model.tokenizer)
        self.speaker.statistics = model.statistics

    def has_loaded(self, use_decoder: bool = False) -> bool:
        """Tell whether there is a model; all its networks are loaded together."""
        return self._loaded is not None

    def download_models(
        self,
        source: str = "local",
        force_redownload: bool = False,
        custom_path: str | Path | None = None,
    ) -> str:
        """Find or download the files of a model; arguments and errors as `load`'s.

        Returns:
            Their folder.
        """
        return str(find_model(source, force_redownload, custom_path))

    def unload(self) -> None:
        """Free the model; another can be loaded."""
        self._loaded = self.tokenizer = self.device = None
        self.speaker.statistics = None
        self.context.set(False)
        give_back_memory()

    def interrupt(self) -> None:
        """Have the running call end, from another thread; it returns what there is."""
        self.context.set(True)

    @property
    def config(self):
        return None if self._loaded is None else self._loaded.config

    @property
    def gpt(self):
        return self._network("gpt")

    @property
    def embed(self):
        return self._network("gpt")

    @property
    def dvae(self):
        return self._network("dvae")

    @property
    def decoder(self):
        return self._network("decoder")

    @property
    def vocos(self):
        return self._network("vocos")

    def _network(self, name: str):
        return None if self._loaded is None else getattr(self._loaded.networks, name)

    # --- Voices ------------------------------------------------------------------------------

    def sample_random_speaker(self, seed: int | None = None) -> str:
        """Draw a speaker, and write it as a string.

        Args:
            seed: the same one gives the same speaker; None draws another each time.

        Raises:
            SettingError: there are no statistics of speakers: see `load`.
        """
        return self.speaker.sample_random(seed)

    def sample_audio_speaker(self, wav: Any) -> str:
        """Write a recording as an audio-prompt string, for `InferCodeParams.spk_smp`.

        Args:
            wav: (n,) or (1, n) samples at 24 kHz, or a file of any rate.

        Raises:
            AudioError: it cannot be read, is silent or too short.
            SettingError: longer than the model has room for.
        """
        loaded = self._needed()
        if not isinstance(wav, (str, Path)):
            wav = np.asarray(wav, dtype=np.float32)
            wav = wav[0] if wav.ndim == 2 and wav.shape[0] == 1 else wav
        with on_device(self.device):
            samples = read_reference(wav, 0.0)
            return encode_codes(StepSound(loaded.networks).codes_of(samples))

    def _needed(self) -> ChatTTSModel:
        if self._loaded is None:
            raise CheckpointError("no model is loaded: call load() first.")
        return self._loaded

    def _say(self, message: Warning | str) -> None:
        if self.logger is not None:
            self.logger.warning(str(message))
        else:
            warn_user(message)
