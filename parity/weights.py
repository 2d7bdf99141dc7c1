"""Real weights for a comparison: a folder, or a repository of the hub, downloaded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlx_chatterbox.hub import ANY_FILES, download, files_of, repository_of, variant_called
from mlx_chatterbox.variants import VARIANTS

from .errors import ParityError
from .progress import phase
from .settings import Settings
from .upstream.process import upstream_of


def located(settings: Settings) -> Settings:
    """The settings with `weights` a folder and `variant` known.

    A repository is downloaded into the hub's cache unless it is there. Without a variant it is the
    one that the repository is of, else the one that the folder's files are.

    Raises:
        ParityError: neither a folder nor the form of a repository.
        HubError: the hub cannot be reached, or has no such repository.
        CheckpointError: not upstream's files.
    """
    if settings.weights is None:
        return replace(settings, variant=settings.variant or "english")
    given = str(settings.weights)
    folder = Path(given).expanduser()
    row = None
    if not folder.is_dir():
        folder, row = _downloaded(given, settings)
    variant = settings.variant or (row and row.name)
    if variant is None:
        variant = upstream_of(folder, t3_file=settings.t3_file).variant
    return replace(settings, weights=folder, weights_name=given_name(given), variant=variant)


def given_name(given: str) -> str:
    """A repository's name, or the last part of a folder's path: the rest is nobody's business."""
    return Path(given).expanduser().resolve().name if Path(given).expanduser().is_dir() else given


def _downloaded(given: str, settings: Settings):
    """The repository's folder, and its row of the table of variants if it is in it."""
    repository = None if variant_called(given) else repository_of(given)
    if repository is None:
        raise ParityError(f"--weights {given}: no such folder, and no repository (OWNER/NAME).")
    rows = [row for row in VARIANTS.values() if row.repo == repository]
    if settings.variant is not None:
        rows = [row for row in rows if row.name == settings.variant]
    row = rows[0] if rows else None
    files = ANY_FILES if row is None else files_of(row, settings.t3_file)
    with phase(f"download {repository}"):
        return download(repository, list(files)), row
