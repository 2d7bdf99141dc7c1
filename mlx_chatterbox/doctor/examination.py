"""The state that all checks share: the budget and the results of earlier checks."""

from __future__ import annotations

from dataclasses import dataclass, field

from .budget import Budget
from .findings import Section

# Bytes and operations a second of a machine whose limits could not be measured: low ones.
_SLOW_READING = 2e9
_SLOW_MULTIPLYING = 2e10


@dataclass(frozen=True)
class T3Speed:
    """Decoding of one sentence.

    Attributes:
        first: seconds to the first token.
        token: seconds of each further one.
        tokens: number of tokens that were timed.
        together: tokens that come at once.
    """

    first: float
    token: float
    tokens: int
    together: int = 1


@dataclass(frozen=True)
class S3GenSpeed:
    """Making one sentence's sound.

    Attributes:
        seconds: that it takes.
        of_speech: seconds of sound.
        is_extrapolated: from fewer steps of the flow than it takes.
    """

    seconds: float
    of_speech: float
    is_extrapolated: bool = False


@dataclass
class Examination:
    """One run of the doctor.

    Attributes:
        is_short: True runs every check on less data, for CI.
        reading: (precision, rows) -> bytes of weights a second.
        multiplying: type -> operations a second of a large product.
        t3: (variant, precision) -> its speed.
        s3gen: (variant, type) -> its speed.
        facts: about the machine, for the verdict and the title of an issue.
        has_tf32: float32 products are rounded to 10 bits; None: not known.
    """

    budget: Budget
    is_short: bool = False
    sections: list[Section] = field(default_factory=list)
    reading: dict[tuple[str, int], float] = field(default_factory=dict)
    multiplying: dict[str, float] = field(default_factory=dict)
    t3: dict[tuple[str, str], T3Speed] = field(default_factory=dict)
    s3gen: dict[tuple[str, str], S3GenSpeed] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    has_tf32: bool | None = None

    def allows(
        self,
        section: Section,
        name: str,
        title: str,
        seconds: float,
        memory: float = 0.0,
        reserve: float = 0.0,
    ) -> bool:
        """Return True if the budget allows it; if not, add a line with what is left out and why.

        Args:
            reserve: seconds that are kept for other work.
        """
        why = self.budget.objection(seconds, memory, reserve)
        if why:
            section.left_out(name, title, f"it takes {why}")
        return not why

    def reading_seconds(self, nbytes: float, precision: str, rows: int = 2) -> float:
        """Estimate the seconds to read weights for a few rows."""
        return nbytes / self.reading.get((precision, rows), _SLOW_READING)

    def multiplying_seconds(self, operations: float, dtype: str = "float32") -> float:
        """Estimate the seconds that matrix products take."""
        return operations / self.multiplying.get(dtype, _SLOW_MULTIPLYING)
