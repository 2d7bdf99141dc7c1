"""Writes the table of settings in docs/training.md from the documentation of the fields.

`python -m mlx_chatterbox.train.settings_table` updates the file; a test compares them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .config import TrainConfig
from .config_options import rows
from .sections import DatasetSection, ModelSection, TrainingSection, WandbSection
from .spellings import ALIASES, IGNORED, IGNORED_ADAPTERS, REFUSED

BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"
_SECTIONS = {
    "model": ModelSection,
    "dataset": DatasetSection,
    "training": TrainingSection,
    "wandb": WandbSection,
    "": TrainConfig,
}


def settings_table() -> str:
    """Return every option, by section, as Markdown."""
    lines = []
    for name, cls in _SECTIONS.items():
        lines += [f"### `{name}`" if name else "### At the top of the file", ""]
        lines += ["| key | value | default | what it does |", "|---|---|---|---|"]
        for key, kind, default, doc in rows(cls):
            # The sections themselves have tables of their own.
            if name or "." not in key:
                lines.append(f"| `{key}` | {kind} | {default} | {doc} |")
        lines.append("")
    lines += ["### Other names", "", "| key | is |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in ALIASES.items()]
    lines += ["", "### Refused, unless they are off", "", "| key | why |", "|---|---|"]
    lines += [f"| `{key}` | {refusal.why} |" for key, refusal in REFUSED.items()]
    lines += ["", "### Accepted, without effect", ""]
    lines += ["These stand in configurations of other trainers; each is noted once.", ""]
    lines += ["| key | why |", "|---|---|"]
    lines += [f"| `{key}` | {why} |" for key, why in {**IGNORED, **IGNORED_ADAPTERS}.items()]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """Return a document with the table between its marks.

    Raises:
        ValueError: the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n\n{settings_table()}\n\n{END}{after}"


def main(path: str = "docs/training.md") -> None:
    file = Path(path)
    file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
