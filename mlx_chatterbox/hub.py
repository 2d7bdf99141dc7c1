"""Finding a model: a folder, a name of ours, or a repository of the Hugging Face hub."""

from __future__ import annotations

import errno
import re
import warnings
from pathlib import Path

from .checks.json_file import read_json
from .config import CONFIG_NAME, MODEL_TYPE
from .errors import CheckpointError, HubError
from .resuming import fetch_large_files
from .swap import moved_aside
from .text.given import shown
from .variants import VARIANTS, Variant

WEIGHTS_NAME = "model.safetensors"
SPEECH_TOKENIZER_REPO = "mlx-community/S3TokenizerV2"
POCKET = "pocket"
AUTO = "auto"  # whatever is on this machine (`cli.choose_model`)
# The model that comes with the package.
POCKET_FOLDER = Path(__file__).parent / "pocket"
ALIASES = {"chatterbox": "english", "multilingual-v3": "multilingual"}
# Model types of other libraries' folders that can be converted.
_OTHERS = ("chatterbox_turbo", "s3gen", "hiftnet")
# Of folders with a part of a model: S3Gen, its vocoder (`s3gen_store.py`).
OUR_PARTS = ("chatterbox-s3gen", "chatterbox-hiftnet")
S3_TOKENIZER_V1 = "s3tokenizer-v1"  # `speech_tokenizer_v1.py`
# Of a repository that is none of ours to know: all that could be a model's.
ANY_FILES = ("*.json", "*.safetensors", "*.pt", "*.txt", "*.txt.gz")
_REPOSITORY = re.compile(r"\w[\w.-]*/[\w.-]*\w")


def is_known(name: str | Path) -> bool:
    """Whether a model is called so, whatever there may be in the working directory."""
    return isinstance(name, str) and name in {AUTO, POCKET, *ALIASES, *VARIANTS}


def is_path(name: str | Path) -> bool:
    """Whether a name is written as a path: `./pocket`, `pocket/`, `~/pocket`, an absolute one."""
    return isinstance(name, Path) or name.startswith(("/", "./", "../", "~")) or name.endswith("/")


def local_folder(name: str | Path) -> Path | None:
    """The folder that a name means by itself: a path, or the model in the package.

    Names of models win. Another name that is not written as a path means a folder of the working
    directory if that holds a model, or if it can mean nothing else. Nothing is changed there.

    Raises:
        CheckpointError: a conversion that was killed has left it under another name.
    """
    if not isinstance(name, (str, Path)):
        raise CheckpointError(f"a model is a name or a folder; got {shown(name)}.")
    if is_known(name):
        return POCKET_FOLDER if name == POCKET else None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if (old := moved_aside(folder)) is not None:
            raise CheckpointError(
                f"{folder} is not there: a conversion that was to replace it was killed, and it "
                f"is called {old.name} now. The same conversion again, or renaming it, mends that."
            )
        return None
    is_meant = is_path(name) or holds_model(folder) or not _REPOSITORY.fullmatch(str(name))
    return folder if is_meant else None


def holds_model(folder: Path) -> bool:
    """Whether a folder has anything of a model: weights, a configuration, a training run."""
    if (folder / CONFIG_NAME).is_file():
        return True
    patterns = ("*.safetensors", "*.pt", "final_model/", "checkpoint-*/")
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def say_passed_over(name: str | Path) -> None:
    """Warn where a folder of the working directory is called like what was taken instead of it."""
    if is_path(name) or not Path(name).is_dir() or local_folder(name) == Path(name):
        return
    why = "a model is called so" if is_known(name) else "it holds no model"
    warnings.warn(
        f"the folder {name} here is not taken ({why}): write ./{name} for it.", stacklevel=3
    )


def weight_files(folder: Path) -> list[Path]:
    """Where a converted folder's tensors are: one file, or in the cache several parts."""
    whole = folder / WEIGHTS_NAME
    return [whole] if whole.is_file() else sorted(folder.glob("model-*.safetensors"))


def is_converted(folder: Path) -> bool:
    """Whether the folder is a checkpoint of ours, by its configuration.

    mlx-audio's folders look the same from outside, and Hugging Face's S3Gen nearly so.
    """
    if not (folder / CONFIG_NAME).is_file() or not weight_files(folder):
        return False
    try:
        values = read_json(folder / CONFIG_NAME)
    except CheckpointError:
        return True  # damaged: whoever loads it says so
    kind = values.get("model_type")
    return kind not in (*_OTHERS, *OUR_PARTS, S3_TOKENIZER_V1) and not (
        kind == MODEL_TYPE and "variant" not in values
    )


def is_own_configuration(folder: Path) -> bool:
    """Whether a folder has a whole model's configuration of ours, its weights or not."""
    try:
        values = read_json(folder / CONFIG_NAME)
    except CheckpointError:
        return False
    return values.get("model_type") == MODEL_TYPE and "variant" in values


def variant_called(name: str | Path) -> Variant | None:
    """The variant that a user's name means, or None for folders and repositories."""
    if isinstance(name, Path):
        return None
    return VARIANTS.get(ALIASES.get(name, name))


def repository_of(name: str) -> str | None:
    """The hub repository that a name means, or None if it means none."""
    variant = variant_called(name)
    if variant is not None:
        return variant.repo
    return name if _REPOSITORY.fullmatch(name) else None


def resolve(
    name: str | Path, t3_file: str | None = None, cache_dir: str | Path | None = None
) -> Path:
    """The folder of a model, downloaded first if it is a repository that is not here yet.

    Args:
        t3_file: another T3 checkpoint of the repository than the variant's own.
        cache_dir: where downloads are kept; None: the hub's own cache.

    Raises:
        CheckpointError: neither a folder, nor a name, nor the form of a repository.
        HubError: the hub cannot be reached, or has no such repository.
    """
    say_passed_over(name)
    folder = local_folder(name)
    if folder is not None:
        return folder
    repository = _repository(name)
    return download(repository, _wanted_files(str(name), repository, t3_file), cache_dir)


def resolve_texts(name: str | Path, cache_dir: str | Path | None = None) -> Path:
    """A repository's folder with its configuration and tokenizer alone; errors as `resolve`."""
    small = [pattern for pattern in ANY_FILES if not pattern.endswith((".safetensors", ".pt"))]
    return download(_repository(name), small, cache_dir)


def _repository(name: str | Path) -> str:
    repository = None if is_path(name) else repository_of(name)
    if repository is None and Path(name).is_file():
        raise CheckpointError(f"{name} is a file: a model is the folder that it lies in.")
    if repository is None and is_path(name):
        raise CheckpointError(f"there is no folder {name}.")
    if repository is None:
        known = ", ".join(sorted({*ALIASES, *VARIANTS, POCKET}))
        raise CheckpointError(
            f"{name} is no folder, no known model ({known}) and no repository (OWNER/NAME)."
        )
    return repository


def _wanted_files(name: str, repository: str, t3_file: str | None = None) -> list[str]:
    """What to download: a variant's files, or of an unknown repository all that could be used."""
    variant = variant_called(name)
    if variant is None:
        variant = next((row for row in VARIANTS.values() if row.repo == repository), None)
    if variant is None:
        return list(ANY_FILES)
    return files_of(variant, t3_file)


def files_of(variant: Variant, t3_file: str | None = None) -> list[str]:
    """A variant's files in its repository, with another T3 than its own if one is named."""
    required = [file for file in variant.required_files if file != variant.t3_file]
    return [*required, t3_file or variant.t3_file, *variant.optional_files, variant.voice_file]


def on_this_machine(name: str, cache_dir: str | Path | None = None) -> Path | None:
    """The model's folder if it has been downloaded before, without asking the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    variant = variant_called(name)
    if variant is None:
        return None
    try:
        folder = Path(snapshot_download(variant.repo, cache_dir=cache_dir, local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
    return folder if all((folder / file).is_file() for file in variant.required_files) else None


def speech_tokenizer(cache_dir: str | Path | None = None) -> Path:
    """The speech tokenizer that mlx-audio's checkpoints share, downloaded unless it is here."""
    return download(SPEECH_TOKENIZER_REPO, [WEIGHTS_NAME], cache_dir) / WEIGHTS_NAME


def download(repository: str, files: list[str], cache_dir: str | Path | None = None) -> Path:
    """Download files, or go on with what is here if the hub cannot be reached.

    What has come of an interrupted download is kept, and the next one goes on behind it.

    Raises:
        HubError: see `resolve`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    fetch_large_files(repository, files, cache_dir)
    try:
        return Path(snapshot_download(repository, cache_dir=cache_dir, allow_patterns=files))
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403, 404):
            raise HubError(
                f"the hub has no repository {repository}, or it is private (see `hf auth login`)."
            ) from None
        raise HubError(f"the hub failed on {repository}: {error}") from None
    except (LocalEntryNotFoundError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise HubError(
                f"the disk is full: {repository} is not here as a whole. Make room and start "
                "again; what has come is kept."
            ) from None
        raise HubError(
            f"{repository} is not on this machine and the hub cannot be reached: check the "
            "network, or give --model a folder with the model's files."
        ) from None
