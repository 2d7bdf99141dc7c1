"""Warnings, once a process, of what a language lacks, where upstream goes on silently."""

from __future__ import annotations

import warnings


class FrontEndWarning(UserWarning):
    """A language is spoken without something that would make it better."""


_warned: set[tuple[str, str]] = set()


def say_once(language: str, lacks: str, message: str) -> None:
    """Warn, the first time in this process that `language` lacks this."""
    if (language, lacks) not in _warned:
        _warned.add((language, lacks))
        warnings.warn(message, FrontEndWarning, stacklevel=3)
