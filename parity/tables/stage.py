"""What a stage of parity is: inputs in a dump, outputs, and the bound within which they agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

RELATIVE_RMS = "relative rms"
MAX_ABS = "max abs"
EQUAL = "unequal entries"
UNEQUAL_SHARE = "share unequal"

FLOAT32_BOUND = 1e-4
SCORE_BOUND = 1e-3
PROBABILITY_BOUND = 1e-6
# Logits over a temperature of 0.2 or 0.3, as ChatTTS's usually are, have as much less precision.
COLD_PROBABILITY_BOUND = 1e-5
# From a recording's file to marked samples, through everything.
PIPELINE_BOUND = 1e-3
# Upstream adds F0 up sample by sample in float32, and the ninth harmonic's phase nine times over.
SOURCE_BOUND = 1e-3


PIPELINE = "pipeline"
# Of the second family (`stages.CHATTTS_STAGES`); a variant beside those of Chatterbox.
CHATTTS = "chattts"
FLASH = "flash"


@dataclass(frozen=True)
class StageOutput:
    """One tensor of a stage. `measure` says which error is held against `bound`.

    Attributes:
        mask: an input, (B, T); where it is 0 nothing is compared, as at padding.
    """

    name: str
    shape: str
    dtype: str = "float32"
    measure: str = RELATIVE_RMS
    bound: float = FLOAT32_BOUND
    mask: str = ""


@dataclass(frozen=True)
class Stage:
    """A step that can be computed on its own. It runs when all of `inputs` are in the dump.

    A `*` in names stands for a case, of which a dump may hold any number (`expanded`).

    Attributes:
        case: what the `*` stands for; empty in the table and for stages without one.
        pattern: the name in the table.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[StageOutput, ...]
    optional_inputs: tuple[str, ...] = ()
    case: str = ""
    pattern: str = ""

    @property
    def key(self) -> str:
        """Name in the table, by which backends have their functions."""
        return self.pattern or self.name

    def of_case(self, case: str) -> Stage:
        """The stage with a case in the place of each `*`."""

        def put(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name.replace("*", case) for name in names)

        outputs = tuple(
            replace(one, name=one.name.replace("*", case), mask=one.mask.replace("*", case))
            for one in self.outputs
        )
        name = self.name.replace("*", case)
        optional = put(self.optional_inputs)
        return Stage(name, put(self.inputs), outputs, optional, case, self.name)

    def cases(self, names: Iterable[str]) -> list[str]:
        """List the cases that inputs or outputs of these names are of, in their order."""
        own = [*self.inputs, *self.optional_inputs, *(one.name for one in self.outputs)]
        ways = [re.escape(name).replace(r"\*", "([^/]+)") for name in own if "*" in name]
        matches = (re.fullmatch("|".join(ways), name) for name in names)
        found = (next(filter(None, match.groups())) for match in matches if match)
        return list(dict.fromkeys(found))


def tokens(name: str, shape: str) -> StageOutput:
    """Make an output of tokens, which are equal or not."""
    return StageOutput(name, shape, dtype="int32", measure=EQUAL, bound=0.0)
