"""Upstream's networks from a folder of its files: strictly, in float32, when first needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .errors import DumpError, WeightMismatch

T3_FILE = "t3_cfg.safetensors"
S3GEN_FILE = "s3gen.safetensors"
VOICE_ENCODER_FILE = "ve.safetensors"
S3GEN_MAY_LACK = frozenset({"tokenizer._mel_filters", "tokenizer.window"})


class Networks:
    """Upstream's three modules, each loaded from `folder` when a stage first needs it.

    `t3_layers` shortens T3's backbone for tests; everything else has upstream's own sizes, many of
    which its constructors fix.
    """

    def __init__(self, folder: str | Path | None, t3_layers: int | None = None):
        self.folder = None if folder is None else Path(folder)
        self.t3_layers = t3_layers
        self._loaded: dict[str, object] = {}

    @property
    def t3(self):
        return self._once("t3", self._build_t3, T3_FILE)

    @property
    def s3gen(self):
        return self._once("s3gen", self._build_s3gen, S3GEN_FILE, may_lack=S3GEN_MAY_LACK)

    @property
    def voice_encoder(self):
        return self._once("voice_encoder", self._build_voice_encoder, VOICE_ENCODER_FILE)

    def _once(self, name: str, build: Callable, file: str, may_lack=frozenset()):
        if name not in self._loaded:
            if self.folder is None:
                raise DumpError(f"{file} is needed for these inputs: give a checkpoint folder.")
            module = build()
            _load_strictly(module, self.folder / file, may_lack)
            self._loaded[name] = module.eval()
        return self._loaded[name]

    def _build_t3(self):
        from chatterbox.models.t3 import T3
        from chatterbox.models.t3.llama_configs import LLAMA_CONFIGS

        if self.t3_layers is None:
            return T3()
        table = LLAMA_CONFIGS["Llama_520M"]
        full = table["num_hidden_layers"]
        table["num_hidden_layers"] = self.t3_layers
        try:
            return T3()
        finally:
            table["num_hidden_layers"] = full

    @staticmethod
    def _build_s3gen():
        from chatterbox.models.s3gen import S3Gen

        return S3Gen()

    @staticmethod
    def _build_voice_encoder():
        from chatterbox.models.voice_encoder import VoiceEncoder

        return VoiceEncoder()


def _load_strictly(module, path: Path, may_lack: frozenset[str]) -> None:
    """Load `path` into `module`, in float32, every tensor accounted for.

    Raises:
        WeightMismatch: the file is missing, or lacks tensors, or has more than the module.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightMismatch(f"{path} is missing: the folder is not in upstream's format.")
    missing, unexpected = module.load_state_dict(load_file(path), strict=False)
    missing = sorted(set(missing) - may_lack)
    if missing or unexpected:
        raise WeightMismatch(
            f"{path}: {len(missing)} tensor(s) missing {missing[:3]}, "
            f"{len(unexpected)} unknown {sorted(unexpected)[:3]}."
        )
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise WeightMismatch(f"{path}: {name} became {tensor.dtype}, not float32.")
