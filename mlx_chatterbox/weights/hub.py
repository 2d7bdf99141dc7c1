"""Finding a model: a folder, a name of ours, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..checks.json_file import read_json
from ..errors import CheckpointError, HubError
from ..models.config import CHATTTS_TYPE, CONFIG_NAME, FAMILIES, MODEL_TYPE
from ..text.checked_text import described
from . import chattts_files, shards
from .atomic_folder import moved_aside
from .downloads import fetch_large_files
from .hub_errors import explain, incomplete, is_offline, why
from .hub_files import HubFiles
from .variants import VARIANTS, Variant

WEIGHTS_NAME = "model.safetensors"
PARTS_PATTERN = "model-*.safetensors"
SPEECH_TOKENIZER_REPO = "mlx-community/S3TokenizerV2"
POCKET = "pocket"
AUTO = "auto"  # a full model if one is on this machine, else pocket (`cli.choose_model`)
CHATTTS = CHATTTS_TYPE  # the other family, which `weights.chattts` loads
# The model that comes with the package.
POCKET_FOLDER = Path(__file__).parents[1] / "pocket"
ALIASES = {"chatterbox": "english", "multilingual-v3": "multilingual"}
# Model types of other libraries' folders that can be converted.
_OTHERS = ("chatterbox_turbo", "s3gen", "hiftnet")
# Model types of folders with a part of a model: S3Gen, its vocoder (`weights/s3gen_store.py`).
OUR_PARTS = ("chatterbox-s3gen", "chatterbox-hiftnet")
S3_TOKENIZER_V1 = "s3tokenizer-v1"  # `weights/speech_tokenizer_v1.py`
# Files that a model may have, for repositories that are not in the table of variants.
ANY_FILES = ("*.json", "*.safetensors", "*.pt", "*.txt", "*.txt.gz")
_WEIGHTS = (".safetensors", ".pt")
_REPOSITORY = re.compile(r"\w[\w.-]*/[\w.-]*\w")


def is_known(name: str | Path) -> bool:
    """Tell whether this is the name of a model, even if the working directory has such a folder."""
    return isinstance(name, str) and name in {AUTO, POCKET, CHATTTS, *ALIASES, *VARIANTS}


def is_path(name: str | Path) -> bool:
    """Tell whether a name is written as a path: `./pocket`, `pocket/`, `~/pocket`, `/pocket`."""
    return isinstance(name, Path) or name.startswith(("/", "./", "../", "~")) or name.endswith("/")


def local_folder(name: str | Path) -> Path | None:
    """Find the folder that a name refers to, without the hub; None if it refers to no folder.

    Names of models come first: "pocket" is the folder in the package, the others are none. Any
    other name that is not written as a path means a folder of the working directory if that holds a
    model, or if the name cannot be a repository's. Nothing is changed on disk.

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
                f"{folder} is missing: a conversion that was replacing it was killed, and it is "
                f"called {old.name} now. Start the same conversion again, or rename it back."
            )
        return None
    is_meant = is_path(name) or holds_model(folder) or not _REPOSITORY.fullmatch(str(name))
    return folder if is_meant else None


def holds_model(folder: Path) -> bool:
    """Tell whether a folder has any part of a model: weights, a configuration, a training run."""
    if (folder / CONFIG_NAME).is_file():
        return True
    patterns = ("*.safetensors", "*.pt", "final_model/", "checkpoint-*/", "asset/*.safetensors")
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def say_passed_over(name: str | Path) -> None:
    """Warn if the working directory has a folder of this name that is not the model meant by it."""
    if is_path(name) or not Path(name).is_dir() or local_folder(name) == Path(name):
        return
    why = "it has the name of a model" if is_known(name) else "it holds no model"
    warnings.warn(
        f"the folder {name} here is not used ({why}): write ./{name} to use it.", stacklevel=3
    )


def weight_files(folder: Path) -> list[Path]:
    """List a converted folder's files of tensors: one, its shards, or one a network (in the cache).

    Raises:
        CheckpointError: a shard is missing, or the index cannot be used.
    """
    whole = folder / WEIGHTS_NAME
    return shards.files_of(whole) if shards.is_there(whole) else sorted(folder.glob(PARTS_PATTERN))


def has_weights(folder: Path) -> bool:
    """Tell whether a folder has tensors under our file names, complete or not."""
    return shards.is_there(folder / WEIGHTS_NAME) or any(folder.glob(PARTS_PATTERN))


def is_converted(folder: Path) -> bool:
    """Tell by its configuration whether a folder is a checkpoint of ours.

    mlx-audio's folders look the same from outside, and Hugging Face's S3Gen nearly so.
    """
    if not (folder / CONFIG_NAME).is_file() or not has_weights(folder):
        return False
    try:
        values = read_json(folder / CONFIG_NAME)
    except CheckpointError:
        return True  # damaged: loading it reports that
    kind = values.get("model_type")
    return kind not in (*_OTHERS, *OUR_PARTS, S3_TOKENIZER_V1) and not (
        kind == MODEL_TYPE and "variant" not in values
    )


def family_of(folder: Path) -> str | None:
    """Read the model type of a checkpoint of ours, with or without weights; None: it is none."""
    try:
        values = read_json(folder / CONFIG_NAME)
    except CheckpointError:
        return None
    kind = values.get("model_type")
    return kind if isinstance(kind, str) and kind in FAMILIES and "variant" in values else None


def holds_chattts(folder: Path) -> bool:
    """Tell whether a folder has a ChatTTS, converted or upstream's files, complete or not."""
    return family_of(folder) == CHATTTS_TYPE or chattts_files.has_chattts_files(folder)


def is_own_configuration(folder: Path) -> bool:
    """Tell whether a folder has our configuration of a whole Chatterbox, perhaps no weights."""
    return family_of(folder) == MODEL_TYPE


def refuse_chattts(name: str | Path) -> None:
    """Raise CheckpointError if a name or folder is ChatTTS; nothing is downloaded for that."""
    if (folder := local_folder(name)) is not None:
        is_chattts = holds_chattts(folder)
    else:
        is_chattts = not is_path(name) and repository_of(str(name)) == chattts_files.PUBLISHED.repo
    if is_chattts:
        raise CheckpointError(
            f"{name} is ChatTTS, and this takes Chatterbox alone; ChatTTS speaks by "
            "mlx_chatterbox.chattts.Chat, or --model chattts where a command has it."
        )


def variant_called(name: str | Path) -> Variant | None:
    """Look up the variant that a user's name means; None for folders and repositories."""
    if isinstance(name, Path):
        return None
    return VARIANTS.get(ALIASES.get(name, name))


def repository_of(name: str) -> str | None:
    """Look up the hub repository that a name means; None if it means none."""
    if name == CHATTTS:
        return chattts_files.PUBLISHED.repo
    variant = variant_called(name)
    if variant is not None:
        return variant.repo
    return name if _REPOSITORY.fullmatch(name) else None


def resolve(
    name: str | Path, t3_file: str | None = None, cache_dir: str | Path | None = None
) -> Path:
    """Find the folder of a model, and download it if it is not on this machine yet.

    Args:
        t3_file: another T3 checkpoint of the repository than the variant's own.
        cache_dir: where downloads are kept; None: the hub's own cache.

    Raises:
        CheckpointError: it is no folder, no known name, and not of the form OWNER/NAME.
        HubError: the hub cannot be reached, or has no such repository.
    """
    say_passed_over(name)
    folder = local_folder(name)
    if folder is not None:
        return folder
    return fetch(_hub_files(str(name), _repository(name), t3_file), cache_dir)


def fetch(files: HubFiles, cache_dir: str | Path | None = None) -> Path:
    """Download a model's files, and state the terms of its licence unless it was here before.

    Raises:
        HubError: see `resolve`.
    """
    here = not files.terms or _snapshot_here(files, cache_dir) is not None
    folder = download(files.repo, list(files.patterns), cache_dir, files.required)
    if not here:
        warnings.warn(files.terms, stacklevel=3)
    return folder


def resolve_chattts(name: str | Path, cache_dir: str | Path | None = None) -> Path:
    """Find the folder of a ChatTTS, and download it if it is not on this machine yet.

    Args:
        name: a folder, "chattts", or OWNER/NAME of upstream's files or of a converted model.

    Raises:
        CheckpointError: the name is of another model; else see `resolve`.
        HubError: see `resolve`.
    """
    say_passed_over(name)
    if (folder := local_folder(name)) is not None:
        return folder
    if variant_called(name) is not None:
        raise CheckpointError(f"{name} is a Chatterbox; this takes ChatTTS alone.")
    files, repository = chattts_files.PUBLISHED, _repository(name)
    if repository != files.repo:
        files = replace(files, repo=repository, required=())
    return fetch(files, cache_dir)


def _hub_files(name: str, repository: str, t3_file: str | None = None) -> HubFiles:
    """State what to download: a known model's files, all that may be a model's of another's."""
    if repository == chattts_files.PUBLISHED.repo:
        if t3_file is not None:
            raise CheckpointError(f"{name} is ChatTTS, which has no T3 ({t3_file}).")
        return chattts_files.PUBLISHED
    variant = _variant_of(name, repository)
    if variant is None:
        return HubFiles(repository, (t3_file,) if t3_file else (), ANY_FILES)
    required = required_files(variant, t3_file)
    return HubFiles(repository, tuple(required), tuple(variant_files(variant, t3_file)))


def resolve_texts(name: str | Path, cache_dir: str | Path | None = None) -> Path:
    """Download a repository's configuration and tokenizer alone; errors as for `resolve`."""
    small = [pattern for pattern in ANY_FILES if not pattern.endswith((".safetensors", ".pt"))]
    return download(_repository(name), small, cache_dir)


def _repository(name: str | Path) -> str:
    repository = None if is_path(name) else repository_of(str(name))
    if repository is None and Path(name).is_file():
        raise CheckpointError(f"{name} is a file: name the folder that it lies in.")
    if repository is None and is_path(name):
        raise CheckpointError(f"there is no folder {name}.")
    if repository is None:
        known = ", ".join(sorted({*ALIASES, *VARIANTS, POCKET, CHATTTS}))
        raise CheckpointError(
            f"{name} is neither a folder, a known model ({known}) nor a repository (OWNER/NAME)."
        )
    return repository


def _variant_of(name: str, repository: str) -> Variant | None:
    """Look up the variant of a name or repository; None if it is not in the table."""
    variant = variant_called(name)
    if variant is None:
        variant = next((row for row in VARIANTS.values() if row.repo == repository), None)
    return variant


def required_files(variant: Variant, t3_file: str | None = None) -> list[str]:
    """List the files that a variant needs, with `t3_file` in place of its own T3 if it is given."""
    required = [file for file in variant.required_files if file != variant.t3_file]
    return [*required, t3_file or variant.t3_file]


def variant_files(variant: Variant, t3_file: str | None = None) -> list[str]:
    """List all of a variant's files, with `t3_file` in place of its own T3 if it is given."""
    return [*required_files(variant, t3_file), *variant.optional_files, variant.voice_file]


def on_this_machine(name: str, cache_dir: str | Path | None = None) -> Path | None:
    """Find the folder of a model that was downloaded before, without a request to the hub."""
    variant = variant_called(name)
    if variant is None and name != CHATTTS:
        return None
    return _snapshot_here(_hub_files(name, _repository(name)), cache_dir)


def _snapshot_here(files: HubFiles, cache_dir: str | Path | None) -> Path | None:
    """Find a complete copy in the hub's cache, without a request; None: there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                files.repo,
                cache_dir=cache_dir,
                local_files_only=True,
                # Newer clients refuse a copy that lacks a requested file.
                allow_patterns=list(files.required or files.patterns),
            )
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    if not files.required and not any(folder.rglob("*.safetensors")):
        return None  # the small files alone, as `resolve_texts` downloads them
    return folder if all((folder / file).is_file() for file in files.required) else None


def speech_tokenizer(cache_dir: str | Path | None = None) -> Path:
    """Find the file of the speech tokenizer that mlx-audio's checkpoints share, or download it."""
    return download(SPEECH_TOKENIZER_REPO, [WEIGHTS_NAME], cache_dir, [WEIGHTS_NAME]) / WEIGHTS_NAME


def download(
    repository: str,
    files: list[str],
    cache_dir: str | Path | None = None,
    required: Sequence[str] = (),
) -> Path:
    """Download files of a repository and return their folder.

    If the hub cannot be reached, an earlier copy is used, with a warning. An interrupted download
    is resumed by the next one.

    Args:
        files: names and patterns of the files.
        cache_dir: where downloads are kept; None: the hub's own cache.
        required: names that must exist, which is checked before anything is downloaded.

    Raises:
        HubError: see `resolve`.
    """
    from huggingface_hub import HfApi, constants, snapshot_download

    try:
        about = HfApi().model_info(repository, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # the client's own, its HTTP library's, the system's
        return _earlier_copy(repository, files, cache_dir, required, error)
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
    """Raise HubError if a repository lacks files that a model needs."""
    if missing := [name for name in required if name not in names]:
        raise HubError(f"{repository} has no {', '.join(missing)}; it has {_listed(names)}.")
    if not required and not _are_wanted(names, files):
        raise HubError(
            f"{repository} holds no weights (.safetensors or .pt): it is not a model that can be "
            f"converted. It has {_listed(names)}."
        )


def _are_wanted(names: Iterable[str], files: Iterable[str]) -> bool:
    """Tell whether any name matches the patterns: those of weights, if there are such, else all."""
    patterns = [file for file in files if file.endswith(_WEIGHTS)] or list(files)
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(sorted(names)[:most]) or "nothing") + more


def _earlier_copy(
    repository: str,
    files: list[str],
    cache_dir: str | Path | None,
    required: Sequence[str],
    failure: BaseException,
) -> Path:
    """Use the copy in the hub's cache, after the hub could not be reached.

    Args:
        failure: raised by the request to the hub.

    Raises:
        HubError: there is no copy, or it lacks required files.
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
            f"{why(failure, repository)}; the copy of {repository} on this machine is used, "
            "which may be older.",
            stacklevel=4,
        )
    return folder
