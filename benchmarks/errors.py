"""Errors of the benchmarks, of one line each."""

from __future__ import annotations


class BenchmarkError(Exception):
    """A measurement that cannot be made."""

    tells_all = True  # to the command line: no traceback is needed
