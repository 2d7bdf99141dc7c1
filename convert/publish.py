"""`--upload-repo`: a converted folder to a repository of the Hugging Face hub.

One commit, so that nobody ever downloads half a model. What has arrived of an interrupted upload is
kept by the hub, by its hash, and is not sent a second time.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_chatterbox.errors import CheckpointError, HubError
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.runtime.own_files import write_whole
from mlx_chatterbox.weights.atomic_folder import recover
from mlx_chatterbox.weights.hub import is_converted
from mlx_chatterbox.weights.hub_errors import why
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, check_manifest, update_manifest

from . import COMMAND, model_card
from .model_card import is_pocket
from .verification import Verification, verdict

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Published:
    """What went up, or in a dry run would: `files` with their bytes; `url` is empty then."""

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
        raise CheckpointError(f"{repo!r} is no name of a repository: OWNER/NAME.")


def check_access() -> str:
    """Who is logged in; asked before hours of work.

    Raises:
        HubError: nobody, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        return HfApi().whoami()["name"]
    except LocalTokenNotFoundError:
        raise HubError(
            "nobody is logged in to the hub: `hf auth login`, or set HF_TOKEN."
        ) from None
    except Exception as error:  # the client's own, its HTTP library's, the system's
        raise HubError(f"the hub does not know you: {why(error, 'your account')}.") from None


def publish(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    force: bool = False,
    license: str = model_card.LICENSE,
    say: Callable[[str], object] = print,
) -> Published:
    """Write the model card into a converted folder and upload it.

    Args:
        folder: a checkpoint of ours with its `verification.json`.
        repo: OWNER/NAME; made if it is not there.
        private: of a new repository.
        dry_run: write the card, tell what would go up, and ask the hub nothing.
        force: also what was not verified, or is past its bounds.
        say: told what the user should know.

    Raises:
        CheckpointError: no checkpoint, one that is not what its manifest lists, not verified, or
            past its bounds.
        HubError: the hub refused, or the upload broke off; it can be taken up again.
    """
    folder = Path(folder).expanduser().resolve()
    check_repository(repo)
    if not folder.is_dir():
        recover(folder)  # a conversion over it may have been killed
    if not is_converted(folder):
        raise CheckpointError(f"{folder} is no converted checkpoint; there is nothing to publish.")
    if listed := (folder / MANIFEST_NAME).is_file():
        check_manifest(folder)  # what is damaged must not be listed anew as if it were right
    verification = Verification.load(folder)
    refused = refusal(verification)
    if refused and not force:
        raise CheckpointError(f"{refused} Not published; --force-upload does it all the same.")
    if refused:
        say(f"warning: {refused} Published all the same, as --force-upload says.")
    if verification is not None and not verification.heard and is_pocket(ModelConfig.load(folder)):
        say(f"note: {model_card.NOT_HEARD}")
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
        raise HubError(f"the upload to {repo} broke off: {why(error, repo)}. {goes_on}") from None
    return Published(repo, url, files, card)


def resumption(folder: str | Path, repo: str, *, private: bool, force: bool, license: str) -> str:
    """How to go on after an upload that broke off; arguments as of `publish`."""
    words = [COMMAND, shlex.quote(str(folder)), "--upload-repo", repo]
    words += ["--private"] * private + ["--force-upload"] * force
    words += ["--license", license] if license != model_card.LICENSE else []
    return (
        f"The model is whole in {folder}; `{' '.join(words)}` goes on; files that have arrived are "
        "not sent again."
    )


def refusal(verification: Verification | None) -> str:
    """Why a model should not be published; empty if it may."""
    if verification is None:
        return "The model was not verified (--verify)."
    return "" if verification.holds else verdict(verification)


def published_files(folder: Path) -> dict[str, int]:
    """Names and bytes of what is published: all but hidden and temporary files."""
    return {
        str(path.relative_to(folder).as_posix()): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.suffix != ".tmp"
    }


def _hide_paths(folder: Path) -> bool:
    """Nobody else is to read where the source lay on this machine; whether anything was hidden."""
    config = ModelConfig.load(folder)
    shown = model_card.public(config.source)
    if shown == config.source:
        return False
    dataclasses.replace(config, source=shown).save(folder)
    return True


def _write(path: Path, text: str) -> None:
    write_whole(path, text, clean=True)


def _upload(folder: Path, repo: str, private: bool, names: list[str]) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars

    if not sys.stderr.isatty() and not are_progress_bars_disabled():
        disable_progress_bars()  # it would draw them into a file, too
    api = HfApi()
    # The visibility of a repository that is there already is its owner's affair.
    api.create_repo(repo, private=private or None, exist_ok=True)
    # Not `upload_folder`, which may make several commits of it.
    made = api.create_commit(
        repo,
        [CommitOperationAdd(name, folder / name) for name in names],
        commit_message="Upload by mlx-chatterbox",
    )
    return made.commit_url
