"""Weights for a comparison: given, downloaded or fabricated; and their conversions."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import mlx_chatterbox
from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.models.config import MODEL_TYPE
from mlx_chatterbox.weights import variants
from mlx_chatterbox.weights.chattts_files import PUBLISHED
from mlx_chatterbox.weights.conversion import core as converter
from mlx_chatterbox.weights.conversion.chattts_layout import layout
from mlx_chatterbox.weights.conversion.core import convert_folder
from mlx_chatterbox.weights.conversion.recipes import plain, uniform
from mlx_chatterbox.weights.hub import (
    ANY_FILES,
    download,
    holds_chattts,
    repository_of,
    resolve_chattts,
    variant_called,
    variant_files,
)
from mlx_chatterbox.weights.variants import VARIANTS, variant_named

from .errors import ParityError
from .fabricate.chattts import fabricate_chattts
from .fabricate.checkpoint import (
    STAMP,
    fabricate_layout,
    is_fabricated,
    layout_hash,
    upstream_shapes,
)
from .precisions import PRECISIONS
from .progress import phase, say
from .settings import RunSettings
from .tables.stage import CHATTTS
from .upstream.chattts_files import own_files
from .upstream.files import upstream_of
from .whole_file import write_text

CONVERTED_STAMP = "parity-run.json"


def located(settings: RunSettings) -> RunSettings:
    """Settings with `weights` a folder and `variant` known.

    A repository is downloaded into the hub's cache unless it is there. Without a variant it is the
    one that the repository is of, else the one that the folder's files are.

    Raises:
        ParityError: neither a folder nor the form of a repository; a variant without stages.
        HubError: the hub cannot be reached, or has no such repository.
        CheckpointError: not upstream's files.
    """
    if settings.weights is None:
        return replace(settings, variant=settings.variant or "english")
    if is_of_chattts(settings):
        return _located_chattts(settings)
    source = str(settings.weights)
    folder = Path(source).expanduser()
    row = None
    if not folder.is_dir():
        folder, row = _downloaded(source, settings)
    variant = settings.variant or (row and row.name)
    if variant is None:
        variant = upstream_of(folder, t3_file=settings.t3_file).variant
    return replace(settings, weights=folder, weights_name=weights_name(source), variant=variant)


def is_of_chattts(settings: RunSettings) -> bool:
    """Tell whether a run is of ChatTTS, before anything is downloaded."""
    if settings.variant is not None or settings.weights is None:
        return settings.variant == CHATTTS
    source = str(settings.weights)
    folder = Path(source).expanduser()
    return source in (CHATTTS, PUBLISHED.repo) or (folder.is_dir() and holds_chattts(folder))


def _located_chattts(settings: RunSettings) -> RunSettings:
    source = str(settings.weights)
    with phase(f"find {source}"):
        folder = resolve_chattts(source)
    if not holds_chattts(folder):
        raise ParityError(f"--weights {source}: it does not hold ChatTTS.")
    name = weights_name(source)
    return replace(settings, weights=own_files(folder)[0], weights_name=name, variant=CHATTTS)


def weights_name(source: str) -> str:
    """Name of a repository, or the last part of a folder's path: the rest is private."""
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else source


def _downloaded(source: str, settings: RunSettings):
    """Folder of a repository, and its row of the table of variants if it has one."""
    repository = None if variant_called(source) else repository_of(source)
    if repository is None:
        raise ParityError(f"--weights {source}: no such folder, and no repository (OWNER/NAME).")
    rows = [row for row in VARIANTS.values() if row.repo == repository]
    if settings.variant is not None:
        rows = [row for row in rows if row.name == settings.variant]
    row = rows[0] if rows else None
    files = ANY_FILES if row is None else variant_files(row, settings.t3_file)
    with phase(f"download {repository}"):
        return download(repository, list(files)), row


def upstream_weights(work: Path, settings: RunSettings) -> Path:
    """The weights in upstream's format: the given folder, or a fabricated one, kept in `work`."""
    if settings.weights is not None:
        if not Path(settings.weights).is_dir():
            raise ParityError(f"--weights {settings.weights}: no such folder.")
        return Path(settings.weights)
    folder = work / "upstream"
    if settings.variant == CHATTTS:
        return _fabricated_chattts(folder, settings.seed)
    variant = variant_named(settings.variant)
    layout = upstream_shapes(variant.default_config(), variant=variant.name)
    if is_fabricated(folder, layout, variant.name, settings.seed):
        say(f"fabricated weights: kept from before, in {folder}")
        return folder
    with phase("fabricate weights") as progress:
        fabricate_layout(folder, layout, variant.name, settings.seed, progress)
    return folder


def _fabricated_chattts(folder: Path, seed: int) -> Path:
    """Fabricate ChatTTS's files, unless this code has done so before."""
    stamp = folder / STAMP
    wanted = {"variant": CHATTTS, "seed": seed, "layout": layout_hash(layout(ChatTTSConfig()))}
    if _reads_as(stamp, wanted):
        say(f"fabricated weights: kept from before, in {folder}")
        return folder
    with phase("fabricate weights") as progress:
        fabricate_chattts(folder, seed=seed, progress=progress)
    write_text(stamp, json.dumps(wanted) + "\n")
    return folder


def converted_weights(
    work: Path, upstream: Path, settings: RunSettings, precision: str = "float32"
) -> Path:
    """A conversion of `upstream`, reused if neither the files nor the converter changed."""
    ending = "" if precision == "float32" else f"-{precision}"
    folder = work / f"converted{ending}"
    stamp_file = work / CONVERTED_STAMP.replace(".json", f"{ending}.json")
    model = {"variant": settings.variant, "t3_file": settings.t3_file}
    stamp = {**model, "files": _fingerprint(upstream), "code": _code_hash()}
    if _reads_as(stamp_file, stamp) and folder.is_dir():
        say(f"converted checkpoint: kept from before, in {folder}")
        return folder
    stamp_file.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    with phase("convert") as progress:
        shared = None if settings.work is None else settings.work / "shared"
        # Files that several models share are kept once, in float32 only.
        shared = shared if precision == "float32" else None
        convert_to(precision, upstream, folder, **model, progress=progress, shared=shared)
    write_text(stamp_file, json.dumps(stamp) + "\n")
    return folder


def convert_to(precision: str, upstream: Path, folder: Path, **settings) -> Path:
    """Convert upstream's files to a precision.

    Args:
        folder: to make.
        settings: further arguments of `convert_folder`.

    Raises:
        ParityError: there is no such precision.
        CheckpointError: the files cannot be converted.
    """
    if precision not in PRECISIONS:
        raise ParityError(f"{precision!r} is not a precision; choose from {', '.join(PRECISIONS)}.")
    family = CHATTTS if settings.get("variant") == CHATTTS else MODEL_TYPE
    is_of_bits = precision.endswith("bit")
    recipe = uniform(int(precision[0]), family=family) if is_of_bits else plain(precision)
    return convert_folder(
        upstream, folder, dtype=recipe.dtype, quantization=recipe.quantization, **settings
    )


def _fingerprint(folder: Path) -> list[str]:
    """Path, size and time of every file, which change when a file does."""
    return [
        f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _code_hash() -> str:
    """Hash of the converter and the configurations, so that a change to either converts anew."""
    library = Path(mlx_chatterbox.__file__).parent
    files = {*Path(converter.__file__).parent.glob("*.py"), *library.rglob("*config*.py")}
    digest = hashlib.sha256()
    for path in sorted({*files, Path(variants.__file__)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _reads_as(path: Path, value: dict) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")) == value
    except (OSError, ValueError):
        return False
