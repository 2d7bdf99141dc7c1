"""Errors that a user of the harness can meet, importable without MLX and PyTorch."""

from __future__ import annotations


class ParityError(Exception):
    """Base of the harness's own errors: one line that says what is wrong and what to do."""

    tells_all = True  # to the command line: no traceback is needed


class DumpError(ParityError):
    """A dump that cannot be read or written, or lacks what was asked of it."""


class ReferenceMissing(ParityError):
    """Upstream's package, or something it needs, is not installed."""


class PeerError(ParityError):
    """Another port's process that failed; the message is the last line that it printed."""


class PeerMissing(PeerError):
    """A peer that cannot be installed or does not run here."""


class WeightMismatch(ParityError):
    """A file's tensors are not exactly the ones upstream's module has."""
