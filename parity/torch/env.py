"""Preparations for importing upstream's package outside its own environment.

Three stand-ins, registered without loading anything:
- `chatterbox`: an empty package with the installed package's path. Its own `__init__` imports the
  watermarker and all pipelines, of which the reference uses none.
- `torchaudio._extension`: the compiled part, which does not load beside every build of PyTorch.
  Upstream uses only torchaudio's pure-Python resampling, spectrograms and Kaldi features.
- `pkg_resources`, where setuptools no longer has it: the watermarker asks it for a path.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from ..errors import ReferenceMissing

CHATTERBOX_VERSION = "0.1.7"
FLASH_VERSION = "0.1.0"

# Module to look for, and what to install for it. s3tokenizer is pinned, though upstream leaves it
# open, because the epsilon of its attention's layer norm was 1e-6 up to 0.2.0 and is 1e-5 now.
REQUIREMENTS: dict[str, str] = {
    "torch": "torch==2.13.0",
    "chatterbox": f"chatterbox-tts=={CHATTERBOX_VERSION}",
    "chatterbox_flash": f"chatterbox-flash=={FLASH_VERSION}",
    "torchaudio": "torchaudio",
    "s3tokenizer": "s3tokenizer==0.3.0",
    "diffusers": "diffusers==0.29.0",
    "conformer": "conformer==0.3.2",
    "transformers": "transformers==5.2.0",
    "librosa": "librosa==0.11.0",
    "einops": "einops",
    "omegaconf": "omegaconf",
    "pyloudnorm": "pyloudnorm",
    "onnx": "onnx",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "perth": "resemble-perth==1.0.1",
    "pykakasi": "pykakasi==2.3.0",
    "spacy_pkuseg": "spacy-pkuseg==1.0.2",
}

# Installed without dependencies: their pins exclude each other or pull in what is not used.
WITHOUT_DEPENDENCIES = (
    "chatterbox",
    "chatterbox_flash",
    "torchaudio",
    "s3tokenizer",
    "diffusers",
    "conformer",
    "perth",
)


def missing_requirements() -> list[str]:
    """Names of the packages to install before the reference can run here."""
    return [
        package
        for module, package in REQUIREMENTS.items()
        if module not in sys.modules and importlib.util.find_spec(module) is None
    ]


def prepare() -> None:
    """Register the stand-ins. Calling it again changes nothing.

    Raises:
        ReferenceMissing: something is not installed; the message says what and how to get it.
    """
    missing = missing_requirements()
    if missing:
        raise ReferenceMissing(
            f"the PyTorch reference needs {', '.join(missing)}, not installed for "
            f"{sys.executable}. `parity setup` makes an environment that has everything."
        )
    if "chatterbox" not in sys.modules:
        spec = importlib.util.find_spec("chatterbox")
        sys.modules["chatterbox"] = importlib.util.module_from_spec(spec)
    if "torchaudio" not in sys.modules and "torchaudio._extension" not in sys.modules:
        sys.modules["torchaudio._extension"] = _torchaudio_extension()
    if "pkg_resources" not in sys.modules and importlib.util.find_spec("pkg_resources") is None:
        sys.modules["pkg_resources"] = _pkg_resources()


def _pkg_resources() -> ModuleType:
    name = "pkg_resources"
    module = ModuleType(name, "Stand-in: the one function that resemble-perth calls.")
    module.__spec__ = ModuleSpec(name, loader=None)
    module.resource_filename = lambda package, path: str(
        Path(sys.modules[package].__file__).parent / path
    )
    return module


def _torchaudio_extension() -> ModuleType:
    name = "torchaudio._extension"
    module = ModuleType(name, "Stand-in: the compiled part of torchaudio is not loaded.")
    module.__spec__ = ModuleSpec(name, loader=None)
    module._IS_TORCHAUDIO_EXT_AVAILABLE = False
    module._IS_ALIGN_AVAILABLE = False
    module.fail_if_no_align = lambda function: function
    return module


def versions() -> dict[str, str]:
    """Installed versions of the packages whose numbers the reference's results depend on."""
    installed = {"python": sys.version.split()[0]}
    for package in ("torch", "torchaudio", "chatterbox-tts", "chatterbox-flash",
                    "s3tokenizer", "transformers",
                    "librosa", "resemble-perth", "numpy"):  # fmt: skip
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            installed[package] = "unknown"
    return installed


if __name__ == "__main__":
    prepare()
    for name in ("models.t3", "models.s3gen", "models.voice_encoder", "models.tokenizers"):
        importlib.import_module(f"chatterbox.{name}")
    importlib.import_module("chatterbox_flash.model")
