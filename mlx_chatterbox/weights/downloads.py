"""Downloads of large files that resume where an earlier process was stopped.

The hub's client keeps complete files, but newer versions (from 2.0) restart a file that a killed
process left unfinished. Here a large file is downloaded into the client's own cache, by the
client's own function and under the name that the client expects; until it is complete it is
`ETAG.part`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlparse

from ..errors import HubError
from ..runtime.locks import try_lock
from .hub_errors import causes_in_one_line, explain, has_status
from .manifest import sha256

LARGE = 8 * 2**20


def fetch_large_files(repository: str, patterns: list[str], cache_dir: str | Path | None) -> None:
    """Download the large files of a repository into the hub's cache, and check their hashes.

    Does nothing if the hub cannot be reached: the client's own download reports that.

    Args:
        patterns: of the names of files that are wanted, large or not.
        cache_dir: None: the hub's own cache.

    Raises:
        HubError: the disk is too small, the connection was lost, or a file is damaged.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=repository, repo_type="model")
    cache = Path(cache_dir or constants.HF_HUB_CACHE) / folder
    try:
        missing = _missing(repository, patterns, cache)
    except Exception:
        return  # no network, no such repository, ...: the client's own errors are clearer
    blobs = cache / "blobs"
    _remove_outdated(repository, blobs, {about.etag for _, _, about in missing})
    if not missing:
        return
    blobs.mkdir(parents=True, exist_ok=True)
    _check_space(repository, blobs, missing)
    for name, url, about in missing:
        _fetch(f"{repository}: {name}", url, about, blobs)


def _missing(repository: str, patterns: list[str], cache: Path) -> list:
    """List names, addresses and metadata of the large files that are not in the cache."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import filter_repo_objects

    about = HfApi().model_info(repository)
    names = [sibling.rfilename for sibling in about.siblings or []]
    missing = []
    for name in filter_repo_objects(names, allow_patterns=patterns):
        if (cache / "snapshots" / str(about.sha) / name).exists():
            continue
        url = hf_hub_url(repository, name, revision=about.sha)
        file = get_hf_file_metadata(url)
        if file.etag is None or not re.fullmatch(r"[\w-]+", file.etag):
            continue
        if (file.size or 0) >= LARGE and not (cache / "blobs" / file.etag).exists():
            missing.append((name, url, file))
    return missing


def _remove_outdated(repository: str, blobs: Path, missing: set[str]) -> None:
    """Remove parts of files that the hub no longer has, unless another process downloads them.

    Parts of the repository's other files stay: they belong to other downloads.

    Args:
        missing: entity tags of the files that are to be downloaded.
    """
    parts = [part for part in blobs.glob("*.part") if part.stem not in missing]
    if not parts:
        return
    try:
        known = _entity_tags(repository)
    except Exception:
        return
    for part in parts:
        if part.stem in known:
            continue
        with contextlib.suppress(OSError), part.open("ab") as file:
            if try_lock(file) is not False:
                part.unlink()


def _entity_tags(repository: str) -> set[str | None]:
    """Ask the hub for the entity tags of all files of a repository."""
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    about = HfApi().model_info(repository)
    urls = [hf_hub_url(repository, s.rfilename, revision=about.sha) for s in about.siblings or []]
    return {get_hf_file_metadata(url).etag for url in urls}


def _check_space(repository: str, blobs: Path, missing: list) -> None:
    needed = sum(about.size - _there(blobs / f"{about.etag}.part") for _, _, about in missing)
    free = shutil.disk_usage(blobs).free
    if free < needed:
        raise HubError(
            f"{repository} needs {needed / 1e9:.2f} GB more in {blobs.parent}, and there are "
            f"{free / 1e9:.2f} GB free: make room, or set HF_HOME to another disk."
        )


def _there(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch(label: str, url: str, about, blobs: Path) -> None:
    """Download the rest of a file, appending to the part that is there.

    Args:
        label: "OWNER/NAME: file", for errors.
        about: metadata of the file.
    """
    from huggingface_hub import constants, get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part, blob = blobs / f"{about.etag}.part", blobs / about.etag
    with part.open("ab") as file:
        if try_lock(file) is False:
            return  # another process downloads it; the client does not wait and downloads it too
        if not _is_still(part, file):
            return  # another process has just finished it
        if (have := file.tell()) > about.size:
            file.truncate(have := 0)
        if have < about.size:
            try:
                # Requested now: a signed address expires after an hour, and other files came first.
                location = get_hf_file_metadata(url).location
                headers = build_hf_headers()
                if urlparse(location).netloc != urlparse(constants.ENDPOINT).netloc:
                    headers.pop("authorization", None)  # it needs no token elsewhere
                http_get(
                    location,
                    file,
                    resume_size=have,
                    headers=headers,
                    expected_size=about.size,
                )
            except Exception as error:
                repository, _, name = label.partition(": ")
                if has_status(error):  # the hub refuses
                    raise HubError(explain(error, repository, name)) from None
                reason = causes_in_one_line(error).rstrip(".")
                raise HubError(
                    f"{label} was interrupted after {_there(part) / 1e6:.1f} of "
                    f"{about.size / 1e6:.1f} MB ({reason}); start again and it goes on from there."
                ) from None
        # Within the lock: no other process appends to the part while it is hashed.
        file.flush()
        if len(about.etag) == 64 and sha256(part) != about.etag:
            part.unlink()
            raise HubError(
                f"{label} was damaged on the way: its hash is not the hub's. Start again."
            )
        os.replace(part, blob)


def _is_still(part: Path, file) -> bool:
    """Tell whether an open file still has the name under which it was opened."""
    with contextlib.suppress(OSError):
        return os.path.samestat(part.stat(), os.fstat(file.fileno()))
    return False
