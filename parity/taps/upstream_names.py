"""Upstream's names of our layers, by the converter's rules."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_chatterbox.weights.conversion.rules import RULES

from .names import EXTRA_NAMES, NETWORK_OF_FILE, NOT_TAPPED


def upstream_names(paths: Iterable[str]) -> list[tuple[str, str, str]]:
    """Network and path in upstream's modules for paths of our layers.

    Returns:
        (network, upstream's path, ours), those of `EXTRA_NAMES` included.
    """
    prefixes = [
        (ours, theirs, NETWORK_OF_FILE[file])
        for file, rules in RULES.items()
        for theirs, ours in rules.prefixes
    ]
    names = list(EXTRA_NAMES)
    for path in paths:
        for ours, theirs, network in prefixes:
            if f"{path}.".startswith(ours) and not NOT_TAPPED.fullmatch(path):
                names.append((network, (theirs + f"{path}."[len(ours) :]).rstrip("."), path))
                break
    return names
