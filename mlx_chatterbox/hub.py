"""Finding a model: a folder, a name of ours, or a repository of the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .config import CONFIG_NAME
from .errors import CheckpointError, HubError
from .variants import VARIANTS

WEIGHTS_NAME = "model.safetensors"
ALIASES = {"chatterbox": "english"}
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def cache_folder() -> Path:
    """Where converted checkpoints are kept, following the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mlx-chatterbox"


def is_converted(folder: Path) -> bool:
    """Whether the folder is a checkpoint of ours."""
    return (folder / CONFIG_NAME).is_file() and (folder / WEIGHTS_NAME).is_file()


def repository_of(name: str) -> str | None:
    """The hub repository that a name means, or None if it means none."""
    variant = VARIANTS.get(ALIASES.get(name, name))
    if variant is not None:
        return variant.repo
    return name if _REPOSITORY.fullmatch(name) else None


def resolve(name: str | Path) -> Path:
    """The folder of a model, downloaded first if it is a repository that is not here yet.

    Raises:
        CheckpointError: neither a folder, nor a name, nor the form of a repository.
        HubError: the hub cannot be reached, or has no such repository.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    repository = repository_of(str(name))
    if repository is None:
        known = ", ".join(sorted({*ALIASES, *VARIANTS}))
        raise CheckpointError(
            f"{name} is no folder, no known model ({known}) and no repository (OWNER/NAME)."
        )
    return download(repository)


def _wanted_files(repository: str) -> list[str]:
    for variant in VARIANTS.values():
        if variant.repo == repository:
            return [*variant.required_files, variant.voice_file]
    return ["*.json", "*.safetensors", "*.pt", "*.txt"]


def on_this_machine(name: str) -> Path | None:
    """The model's folder if it has been downloaded before, without asking the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository = repository_of(name)
    if repository is None:
        return None
    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    wanted = [file for file in _wanted_files(repository) if "*" not in file]
    required = [file for file in wanted if file != "conds.pt"]
    return folder if all((folder / file).is_file() for file in required) else None


def download(repository: str) -> Path:
    """Download what a model needs, or go on with what is here if the hub cannot be reached.

    Raises:
        HubError: see `resolve`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=_wanted_files(repository)))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403, 404):
            raise HubError(
                f"the hub has no repository {repository}, or it is private (see `hf auth login`)."
            ) from None
        raise HubError(f"the hub failed on {repository}: {error}") from None
    except (LocalEntryNotFoundError, OSError):
        raise HubError(
            f"{repository} is not on this machine and the hub cannot be reached: check the "
            "network, or give --model a folder with the model's files."
        ) from None
