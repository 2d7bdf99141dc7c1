"""What became of the items of a data set, for people and as JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ...harmless import one_line
from ...runtime.own_files import write_whole


@dataclass(frozen=True)
class Remark:
    """Something about one item: why it was left out, or a warning."""

    id: str
    where: str
    reason: str
    detail: str


@dataclass
class Report:
    """What became of the items of a data set.

    Attributes:
        listed, kept: numbers of items.
        seconds: how long what was kept lasts.
        speakers: clips kept of each.
        left_out, warnings: one remark an item, in the order of the source.
        notes: what was decided in reading the source, a line each.
    """

    listed: int = 0
    kept: int = 0
    seconds: float = 0.0
    speakers: dict[str, int] = field(default_factory=dict)
    left_out: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many items were left out for each reason, the commonest first."""
        return dict(Counter(remark.reason for remark in self.left_out).most_common())

    def table(self, examples: int = 3) -> str:
        """For people: what was kept, then each reason with its count and the first few items."""
        minutes = self.seconds / 60
        lines = [
            f"{self.kept} of {self.listed} clips can be trained on: {minutes:.1f} minutes, "
            f"{len(self.speakers)} speaker(s){self._who()}."
        ]
        lines += [f"read: {one_line(note)}" for note in self.notes]
        for title, remarks in (("left out", self.left_out), ("warnings", self.warnings)):
            if not remarks:
                continue
            lines.append(f"{title}: {len(remarks)}")
            for reason, count in Counter(remark.reason for remark in remarks).most_common():
                lines.append(f"  {count:5d}  {one_line(reason)}")
                which = [remark for remark in remarks if remark.reason == reason]
                lines += [f"           {_shown(remark)}" for remark in which[:examples]]
                if count > examples:
                    lines.append(f"           ... and {count - examples} more")
        return "\n".join(lines)

    def _who(self) -> str:
        """Clips of each of several speakers, those with the most first."""
        if len(self.speakers) < 2:
            return ""
        most = sorted(self.speakers.items(), key=lambda pair: -pair[1])
        more = ", ..." if len(most) > 8 else ""
        return ": " + ", ".join(f"{one_line(name[:30])} {count}" for name, count in most[:8]) + more

    def write(self, path: str | os.PathLike) -> Path:
        """All of it as JSON, whole or not at all."""
        path = Path(path)
        content = {"counts": self.counts(), **asdict(self)}
        # Text that is no UTF-8 may stand in an id; as an escape it can be written.
        write_whole(path, json.dumps(content, indent=2) + "\n", clean=True)
        return path


def _shown(remark: Remark) -> str:
    where = remark.where or remark.id
    return one_line(f"{where}: {remark.detail}" if remark.detail else where)
