"""Upstream's networks from a folder of its files: strictly, in float32, when first needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DumpError, WeightMismatch

VOICE_ENCODER_FILE = "ve"
S3GEN_MAY_LACK = frozenset({"tokenizer._mel_filters", "tokenizer.window"})

# Nano's row of upstream's table at 5de7a54, which the package is too old to have; what is not
# named is as in the row of Turbo.
GPT2_SMALL = {"n_embd": 768, "hidden_size": 768, "n_head": 12, "n_layer": 12}


@dataclass(frozen=True)
class UpstreamModel:
    """Files and sizes of a model, as upstream's `from_local` has them."""

    t3_file: str
    backbone: str = "Llama_520M"
    text_vocabulary: int = 704
    s3gen_file: str = "s3gen"
    is_flash: bool = False

    @property
    def is_turbo(self) -> bool:
        """Turbo or Nano: GPT-2."""
        return self.backbone.startswith("GPT2")

    @property
    def meanflow(self) -> bool:
        """True for an S3Gen of two steps."""
        return self.is_turbo or self.is_flash


def _multilingual(version: str) -> UpstreamModel:
    return UpstreamModel(f"t3_mtl23ls_{version}.safetensors", text_vocabulary=2454)


def _turbo(name: str, backbone: str) -> UpstreamModel:
    return UpstreamModel(f"t3_{name}_v1.safetensors", backbone, 50276, "s3gen_meanflow")


VARIANTS: dict[str, UpstreamModel] = {
    "english": UpstreamModel("t3_cfg.safetensors"),
    "multilingual": _multilingual("v3"),
    "multilingual-v2": _multilingual("v2"),
    "turbo": _turbo("turbo", "GPT2_medium"),
    "nano": _turbo("nano", "GPT2_small"),
    "flash": UpstreamModel("t3_flash.safetensors", is_flash=True),
}


class Networks:
    """Upstream's three modules, each loaded from `folder` when a stage first needs it.

    Args:
        folder: upstream's files; None when no weights are needed.
        variant: which member of the family.
        t3_file: T3's file where it is not the variant's own.
        t3_layers: depth of T3's backbone in tests; everything else has upstream's own sizes, many
            of which its constructors fix.
    """

    def __init__(
        self,
        folder: str | Path | None,
        variant: str = "english",
        t3_file: str | None = None,
        t3_layers: int | None = None,
    ):
        self.folder = None if folder is None else Path(folder)
        self.variant = VARIANTS[variant]
        self.t3_layers = t3_layers
        self._t3_file = t3_file or self.variant.t3_file
        self._loaded: dict[str, object] = {}
        # Called with the name and the module of each network once it is loaded.
        self.when_loaded: Callable[[str, object], None] | None = None

    @property
    def t3(self):
        return self._once("t3", self._build_t3, self._t3_file)

    @property
    def s3gen(self):
        return self._once(
            "s3gen", self._build_s3gen, self.variant.s3gen_file, may_lack=S3GEN_MAY_LACK
        )

    @property
    def voice_encoder(self):
        return self._once("voice_encoder", self._build_voice_encoder, VOICE_ENCODER_FILE)

    def _once(self, name: str, build: Callable, file: str, may_lack=frozenset()):
        if name not in self._loaded:
            if self.folder is None:
                raise DumpError(f"{file} is needed for these inputs: give a checkpoint folder.")
            module = build()
            _load_strictly(module, _weights_path(self.folder, file), may_lack)
            self._loaded[name] = module.eval()
            if self.when_loaded is not None:
                self.when_loaded(name, module)
        return self._loaded[name]

    def _t3_class(self):
        if self.variant.is_flash:
            from chatterbox_flash.model import ChatterboxFlashT3

            _crop_to_lengths()

            return ChatterboxFlashT3
        from chatterbox.models.t3 import T3

        return T3

    def _build_t3(self):
        from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS

        LLAMA_CONFIGS.setdefault("GPT2_small", {**LLAMA_CONFIGS["GPT2_medium"], **GPT2_SMALL})
        table = LLAMA_CONFIGS[self.variant.backbone]
        depth = "n_layer" if self.variant.is_turbo else "num_hidden_layers"
        full = table[depth]
        table[depth] = self.t3_layers or full
        try:
            return self._t3_class()(self._t3_settings())
        finally:
            table[depth] = full

    def _t3_settings(self):
        from chatterbox.models.t3.modules.t3_config import T3Config

        class T3Settings(T3Config):
            """Settings without the alignment analyser, which the repository has given up since."""

            is_multilingual = False

        settings = T3Settings(text_tokens_dict_size=self.variant.text_vocabulary)
        if self.variant.is_turbo:
            settings.llama_config_name = self.variant.backbone
            settings.speech_tokens_dict_size = 6563
            settings.input_pos_emb = None
            settings.speech_cond_prompt_len = 375
            settings.use_perceiver_resampler = False
            settings.emotion_adv = False
        return settings

    def _build_s3gen(self):
        from chatterbox.models.s3gen import S3Gen

        return S3Gen(meanflow=self.variant.meanflow)

    @staticmethod
    def _build_voice_encoder():
        from chatterbox.models.voice_encoder import VoiceEncoder

        return VoiceEncoder()


def _weights_path(folder: Path, file: str) -> Path:
    """Path of a file; where it has no ending, of whichever format exists.

    Raises:
        WeightMismatch: it is not there.
    """
    names = [file] if Path(file).suffix else [f"{file}.safetensors", f"{file}.pt"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise WeightMismatch(
        f"{folder} has no {' or '.join(names)}: the folder is not in upstream's format."
    )


def _read(path: Path) -> dict:
    """The tensors of a file, read as upstream reads them."""
    if path.suffix == ".pt":
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors.torch import load_file

    return load_file(path)


def _load_strictly(module, path: Path, may_lack: frozenset[str]) -> None:
    """Load `path` into `module`, in float32, every tensor accounted for.

    Raises:
        WeightMismatch: the file lacks tensors, or has more than the module.
    """
    import torch

    missing, unexpected = module.load_state_dict(_read(path), strict=False)
    missing = sorted(set(missing) - may_lack)
    if missing or unexpected:
        raise WeightMismatch(
            f"{path}: {len(missing)} tensor(s) missing {missing[:3]}, "
            f"{len(unexpected)} unknown {sorted(unexpected)[:3]}."
        )
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise WeightMismatch(f"{path}: {name} became {tensor.dtype}, not float32.")


def _crop_to_lengths() -> None:
    """Let `DynamicCache.crop` take the length that stays, as upstream's engine for Flash calls it.

    So it does in transformers 5.2, which upstream was written for; newer ones, which other
    packages in an environment may want, take the number of tokens to remove, below zero.
    """
    from transformers import DynamicCache

    exact = DynamicCache.crop
    if getattr(exact, "takes_lengths", False):
        return

    def crop(self, length: int) -> None:
        removed = self.get_seq_length() - length if length > 0 else -length
        if removed > 0:
            exact(self, -removed)

    crop.takes_lengths = True  # type: ignore[attr-defined]
    DynamicCache.crop = crop
