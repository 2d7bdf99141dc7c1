"""The files of a model on the hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HubFiles:
    """A repository of the hub and the files of it that are a model's.

    Attributes:
        required: names of files without which nothing is downloaded.
        patterns: of all files that are downloaded, where they are there.
        terms: of the weights' licence, where a user must know them; said when it is downloaded.
    """

    repo: str
    required: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    terms: str = ""
