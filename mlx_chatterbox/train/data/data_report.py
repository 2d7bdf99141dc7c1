"""Report on the items of a data set, as text and as JSON."""

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
    """A remark on an item: why it was left out, or a warning."""

    id: str
    where: str
    reason: str
    detail: str


@dataclass
class Report:
    """Report on the items of a data set.

    Attributes:
        listed, kept: numbers of items.
        seconds: total length of the clips that were kept.
        speakers: number of clips kept, by speaker.
        left_out, warnings: remarks, in the order of the source.
        notes: how the source was read, a line each.
    """

    listed: int = 0
    kept: int = 0
    seconds: float = 0.0
    speakers: dict[str, int] = field(default_factory=dict)
    left_out: list[Remark] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Count the items that were left out by reason, the most frequent first."""
        return dict(Counter(remark.reason for remark in self.left_out).most_common())

    def table(self, examples: int = 3) -> str:
        """Describe to the user what was kept, then each reason with its count and some items."""
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
        """List several speakers with their numbers of clips, the largest first."""
        if len(self.speakers) < 2:
            return ""
        most = sorted(self.speakers.items(), key=lambda pair: -pair[1])
        more = ", ..." if len(most) > 8 else ""
        return ": " + ", ".join(f"{one_line(name[:30])} {count}" for name, count in most[:8]) + more

    def write(self, path: str | os.PathLike) -> Path:
        """Write the report as JSON, whole or not at all."""
        path = Path(path)
        content = {"counts": self.counts(), **asdict(self)}
        # Ids may have bytes that are no UTF-8; `clean` writes them as escapes.
        write_whole(path, json.dumps(content, indent=2) + "\n", clean=True)
        return path


def _shown(remark: Remark) -> str:
    where = remark.where or remark.id
    return one_line(f"{where}: {remark.detail}" if remark.detail else where)
