"""`--upload-repo`: upload a converted folder to a repository of the Hugging Face hub.

It is a single commit, so that nobody can download half a model. The hub keeps the files that an
interrupted upload has sent, by their hashes, and they are not sent again.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_chatterbox.errors import CheckpointError, HubError
from mlx_chatterbox.runtime.own_files import write_whole
from mlx_chatterbox.weights.atomic_folder import recover
from mlx_chatterbox.weights.configuration import read_config
from mlx_chatterbox.weights.hub import is_converted
from mlx_chatterbox.weights.hub_errors import why
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, check_manifest, update_manifest

from . import COMMAND, model_card
from .model_card import is_pocket
from .verification import Verification, verdict

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Published:
    """A finished upload, or a dry run.

    Attributes:
        url: of the commit; empty for a dry run.
        files: bytes of each file by its name.
        card: text of the model card.
    """

    repo: str
    url: str
    files: dict[str, int]
    card: str

    @property
    def size(self) -> int:
        return sum(self.files.values())


def check_repository(repo: str) -> None:
    """Raise CheckpointError unless the name has the form OWNER/NAME."""
    if not _REPOSITORY.fullmatch(repo) or ".." in repo or "--" in repo:
        raise CheckpointError(f"{repo!r} is not the name of a repository: OWNER/NAME.")


def check_access() -> str:
    """Return the name of the user who is logged in to the hub; called before hours of work.

    Raises:
        HubError: nobody is logged in, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        return HfApi().whoami()["name"]
    except LocalTokenNotFoundError:
        raise HubError(
            "nobody is logged in to the hub: run `hf auth login`, or set HF_TOKEN."
        ) from None
    except Exception as error:  # the client's own, its HTTP library's, the system's
        raise HubError(f"the login at the hub failed: {why(error, 'your account')}.") from None


def publish(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    force: bool = False,
    license: str | None = None,
    say: Callable[[str], object] = print,
) -> Published:
    """Write the model card into a converted folder and upload it.

    Args:
        folder: a checkpoint of ours with its `verification.json`.
        repo: OWNER/NAME; made if it does not exist.
        private: whether a new repository is private.
        dry_run: write the card and list the files, without any request to the hub.
        force: publish also what was not verified, or is out of bounds.
        license: the hub's identifier of it, for the card; None: upstream's.
        say: called with each warning and note for the user.

    Raises:
        CheckpointError: no checkpoint, or one that does not match its manifest, was not verified
            or is out of bounds.
        HubError: the hub refused, or the upload was interrupted; it can be resumed.
    """
    folder = Path(folder).expanduser().resolve()
    check_repository(repo)
    if not folder.is_dir():
        recover(folder)  # a conversion over it may have been killed
    if not is_converted(folder):
        raise CheckpointError(f"{folder} is not a converted checkpoint: nothing can be published.")
    if listed := (folder / MANIFEST_NAME).is_file():
        check_manifest(folder)  # or a damaged file would be listed below as if it were right
    verification = Verification.load(folder)
    refused = refusal(verification)
    if refused and not force:
        raise CheckpointError(f"{refused} Not published; --force-upload publishes it anyway.")
    if refused:
        say(f"warning: {refused} Published anyway, because of --force-upload.")
    is_measured = verification is None or verification.has_word_errors
    if not is_measured and is_pocket(read_config(folder)):
        say(f"note: {model_card.NO_WORD_ERRORS}")
    if _hide_paths(folder) and listed:
        update_manifest(folder)
    card = model_card.model_card(folder, repo, verification, license=license)
    _write(folder / model_card.NAME, card)
    files = published_files(folder)
    if dry_run:
        return Published(repo, "", files, card)
    try:
        url = _upload(folder, repo, private, list(files))
    except Exception as error:  # the client's own, its HTTP library's, the system's
        goes_on = resumption(folder, repo, private=private, force=force, license=license)
        raise HubError(f"the upload to {repo} failed: {why(error, repo)}. {goes_on}") from None
    return Published(repo, url, files, card)


def resumption(
    folder: str | Path, repo: str, *, private: bool, force: bool, license: str | None
) -> str:
    """Describe how to resume an upload that was interrupted; arguments as of `publish`."""
    words = [COMMAND, shlex.quote(str(folder)), "--upload-repo", repo]
    words += ["--private"] * private + ["--force-upload"] * force
    words += ["--license", license] if license is not None else []
    return (
        f"The model is complete in {folder}; `{' '.join(words)}` resumes the upload, without the "
        "files that have arrived."
    )


def refusal(verification: Verification | None) -> str:
    """Explain why a model should not be published; empty if it may be."""
    if verification is None:
        return "The model was not verified (--verify)."
    return "" if verification.holds else verdict(verification)


def published_files(folder: Path) -> dict[str, int]:
    """List the files to publish, with their bytes: all except hidden and temporary ones."""
    return {
        str(path.relative_to(folder).as_posix()): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.suffix != ".tmp"
    }


def _hide_paths(folder: Path) -> bool:
    """Remove paths on this machine from `config.json`; return whether there were any."""
    config = read_config(folder)
    shown = model_card.public(config.source)
    if shown == config.source:
        return False
    config.source = shown
    config.save(folder)
    return True


def _write(path: Path, text: str) -> None:
    write_whole(path, text, clean=True)


def _upload(folder: Path, repo: str, private: bool, names: list[str]) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars

    if not sys.stderr.isatty() and not are_progress_bars_disabled():
        disable_progress_bars()  # the client would draw them into a file or pipe too
    api = HfApi()
    # None leaves the visibility of an existing repository as it is.
    api.create_repo(repo, private=private or None, exist_ok=True)
    # Not `upload_folder`, which may make several commits.
    made = api.create_commit(
        repo,
        [CommitOperationAdd(name, folder / name) for name in names],
        commit_message="Upload by mlx-chatterbox",
    )
    return made.commit_url
