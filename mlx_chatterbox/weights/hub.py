"""Finding a model: a folder, a name of ours, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from ..checks.json_file import read_json
from ..errors import CheckpointError, HubError
from ..models.config import CONFIG_NAME, MODEL_TYPE
from ..text.given import described
from . import shards
from .atomic_folder import moved_aside
from .downloads import fetch_large_files
from .hub_errors import explain, incomplete, is_offline, why
from .variants import VARIANTS, Variant

WEIGHTS_NAME = "model.safetensors"
PARTS_PATTERN = "model-*.safetensors"
SPEECH_TOKENIZER_REPO = "mlx-community/S3TokenizerV2"
POCKET = "pocket"
AUTO = "auto"  # whatever is on this machine (`cli.choose_model`)
# The model that comes with the package.
POCKET_FOLDER = Path(__file__).parents[1] / "pocket"
ALIASES = {"chatterbox": "english", "multilingual-v3": "multilingual"}
# Model types of other libraries' folders that can be converted.
_OTHERS = ("chatterbox_turbo", "s3gen", "hiftnet")
# Of folders with a part of a model: S3Gen, its vocoder (`weights/s3gen_store.py`).
OUR_PARTS = ("chatterbox-s3gen", "chatterbox-hiftnet")
S3_TOKENIZER_V1 = "s3tokenizer-v1"  # `weights/speech_tokenizer_v1.py`
# Of a repository that is none of ours to know: all that could be a model's.
ANY_FILES = ("*.json", "*.safetensors", "*.pt", "*.txt", "*.txt.gz")
_WEIGHTS = (".safetensors", ".pt")
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
        raise CheckpointError(f"a model is a name or a folder; got {described(name)}.")
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
    """Where a converted folder's tensors are: one file, its shards, or in the cache parts.

    Raises:
        CheckpointError: a shard is missing, or the index cannot be used.
    """
    whole = folder / WEIGHTS_NAME
    return shards.files_of(whole) if shards.is_there(whole) else sorted(folder.glob(PARTS_PATTERN))


def has_weights(folder: Path) -> bool:
    """Whether a folder has tensors where ours have them, complete or not."""
    return shards.is_there(folder / WEIGHTS_NAME) or any(folder.glob(PARTS_PATTERN))


def is_converted(folder: Path) -> bool:
    """Whether the folder is a checkpoint of ours, by its configuration.

    mlx-audio's folders look the same from outside, and Hugging Face's S3Gen nearly so.
    """
    if not (folder / CONFIG_NAME).is_file() or not has_weights(folder):
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
    variant = _variant_of(str(name), repository)
    if variant is None:
        return download(repository, list(ANY_FILES), cache_dir, [t3_file] if t3_file else [])
    required = required_files(variant, t3_file)
    return download(repository, variant_files(variant, t3_file), cache_dir, required)


def resolve_texts(name: str | Path, cache_dir: str | Path | None = None) -> Path:
    """A repository's folder with its configuration and tokenizer alone; errors as `resolve`."""
    small = [pattern for pattern in ANY_FILES if not pattern.endswith((".safetensors", ".pt"))]
    return download(_repository(name), small, cache_dir)


def _repository(name: str | Path) -> str:
    repository = None if is_path(name) else repository_of(str(name))
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


def _variant_of(name: str, repository: str) -> Variant | None:
    """The variant that a name or a repository means, if it is in the table."""
    variant = variant_called(name)
    if variant is None:
        variant = next((row for row in VARIANTS.values() if row.repo == repository), None)
    return variant


def required_files(variant: Variant, t3_file: str | None = None) -> list[str]:
    """What a variant cannot do without, with another T3 than its own if one is named."""
    required = [file for file in variant.required_files if file != variant.t3_file]
    return [*required, t3_file or variant.t3_file]


def variant_files(variant: Variant, t3_file: str | None = None) -> list[str]:
    """A variant's files in its repository, with another T3 than its own if one is named."""
    return [*required_files(variant, t3_file), *variant.optional_files, variant.voice_file]


def on_this_machine(name: str, cache_dir: str | Path | None = None) -> Path | None:
    """The model's folder if it has been downloaded before, without asking the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    variant = variant_called(name)
    if variant is None:
        return None
    try:
        folder = Path(
            snapshot_download(
                variant.repo,
                cache_dir=cache_dir,
                local_files_only=True,
                # Newer clients refuse a copy that lacks anything of what is asked for.
                allow_patterns=list(variant.required_files),
            )
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    return folder if all((folder / file).is_file() for file in variant.required_files) else None


def speech_tokenizer(cache_dir: str | Path | None = None) -> Path:
    """The speech tokenizer that mlx-audio's checkpoints share, downloaded unless it is here."""
    return download(SPEECH_TOKENIZER_REPO, [WEIGHTS_NAME], cache_dir, [WEIGHTS_NAME]) / WEIGHTS_NAME


def download(
    repository: str,
    files: list[str],
    cache_dir: str | Path | None = None,
    required: Sequence[str] = (),
) -> Path:
    """Download files, or go on with what is here if the hub cannot be asked, which is said.

    What has come of an interrupted download is kept, and the next one goes on where it ended.

    Args:
        files: names and patterns of what is wanted.
        required: names that must be there; looked for before anything is downloaded.

    Raises:
        HubError: see `resolve`.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        about = HfApi().model_info(repository, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # the client's own, its HTTP library's, the system's
        return _kept(repository, files, cache_dir, required, error)
    _check_listed(repository, [s.rfilename for s in about.siblings or []], files, required)
    with _bars_on_a_terminal():
        fetch_large_files(repository, files, cache_dir)
        try:
            return Path(snapshot_download(repository, cache_dir=cache_dir, allow_patterns=files))
        except Exception as error:
            raise HubError(explain(error, repository)) from None


@contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """Keep the client's progress bars out of pipes and files."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _check_listed(
    repository: str, names: list[str], files: list[str], required: Sequence[str]
) -> None:
    """Raise HubError where a repository does not list what a model needs."""
    if missing := [name for name in required if name not in names]:
        raise HubError(f"{repository} has no {', '.join(missing)}; it has {_listed(names)}.")
    if not required and not _are_wanted(names, files):
        raise HubError(
            f"{repository} holds no weights (.safetensors or .pt): it is no model that can be "
            f"converted. It has {_listed(names)}."
        )


def _are_wanted(names: Iterable[str], files: Iterable[str]) -> bool:
    """Whether something of names is wanted; weights, where weights are wanted at all."""
    patterns = [file for file in files if file.endswith(_WEIGHTS)] or list(files)
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(sorted(names)[:most]) or "nothing") + more


def _kept(
    repository: str,
    files: list[str],
    cache_dir: str | Path | None,
    required: Sequence[str],
    failure: BaseException,
) -> Path:
    """What is in the hub's cache, where the hub gave `failure` instead of an answer.

    Raises:
        HubError: nothing is, or not all that is needed.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repository, cache_dir=cache_dir, local_files_only=True, allow_patterns=files
            )
        )
    except LocalEntryNotFoundError as error:
        if not hasattr(error, "snapshot_path"):  # newer clients know that a copy is incomplete
            raise HubError(explain(failure, repository)) from None
        lacking = re.search(r"missing \((.+?)\)\.", str(error))
        raise HubError(incomplete(failure, repository, lacking[1] if lacking else "")) from None
    except OSError:
        raise HubError(explain(failure, repository)) from None
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    missing = [name for name in required if name not in names]
    if missing or not _are_wanted(names, files):
        raise HubError(incomplete(failure, repository, ", ".join(missing) or "any weights"))
    if not is_offline(failure):
        warnings.warn(
            f"{why(failure, repository)}; the copy of {repository} on this machine is taken, "
            "which may be older.",
            stacklevel=4,
        )
    return folder
