"""Mutants that are listed as equivalent are of existing lines."""

from __future__ import annotations

from .imports import ROOT

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # comes with pytest there

LISTED = tomllib.loads((ROOT / ".ci" / "mutants-equivalent.toml").read_text(encoding="utf-8"))


def test_every_equivalent_mutant_names_an_existing_line():
    missing = [
        f"{entry['path']}: {line}"
        for entry in LISTED["equivalent"]
        for line, _ in entry["changes"]
        if line not in (ROOT / entry["path"]).read_text(encoding="utf-8")
    ]
    assert len(LISTED["equivalent"]) > 20
    assert not missing
