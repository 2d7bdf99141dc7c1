"""The table of parity stages: inputs in a dump, outputs, and the bound within which they agree.

A stage reads its inputs from the dump and never from another stage's result, so that errors do
not add up. No array library is imported here: every backend and the comparison share this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from .errors import ParityError
from .tables.chatterbox import STAGES
from .tables.chattts import CHATTTS_STAGES
from .tables.flash import FLASH_SCORES, FLASH_STAGES
from .tables.stage import CHATTTS, EQUAL, FLASH, PIPELINE, Stage, StageOutput

ALL_STAGES = (*STAGES, *CHATTTS_STAGES, *FLASH_STAGES)

FLASH_CFG_SCALE = 1.0
FLASH_TIME_SHIFT = 0.1
FLASH_SCHEDULE_SHIFT = 0.5
# Size of the prior beside that of the dump's blocks.
FLASH_LARGE_BLOCK = 32

GREEDY_CFG_WEIGHT = 0.5
GREEDY_REPETITION_PENALTY = 1.2


def stages_of(variant: str | None) -> tuple[Stage, ...]:
    """The table of a variant's family; of all families for None."""
    if variant is None:
        return ALL_STAGES
    if variant == CHATTTS:
        return CHATTTS_STAGES
    return (*STAGES, *FLASH_STAGES) if variant == FLASH else STAGES


def expanded(names: Iterable[str], table: Iterable[Stage] = ALL_STAGES) -> tuple[Stage, ...]:
    """The stages of a table, those with a `*` once for each case among `names`."""
    names = list(names)
    result: list[Stage] = []
    for stage in table:
        cases = stage.cases(names) if "*" in stage.name else []
        result += map(stage.of_case, cases) if "*" in stage.name else [stage]
    return tuple(result)


def is_of_float32(stage: Stage, output: StageOutput) -> bool:
    """True for what one different token would change as a whole: compared in float32 alone."""
    is_of_tokens = stage.key == "generate_*" and output.measure != EQUAL
    return stage.name == PIPELINE or is_of_tokens or output.name in FLASH_SCORES


def computable(names: Iterable[str], table: Iterable[Stage] = ALL_STAGES) -> tuple[Stage, ...]:
    """The stages whose inputs are all among `names`, in the order of the table."""
    present = set(names)
    return tuple(stage for stage in expanded(names, table) if present.issuperset(stage.inputs))


def input_names(variant: str = "english") -> tuple[str, ...]:
    """Every input name of a variant's table, once, in order."""
    names = [
        name for stage in stages_of(variant) for name in (*stage.inputs, *stage.optional_inputs)
    ]
    return tuple(dict.fromkeys(names))


def compute_each(
    functions: Mapping[str, Callable],
    networks,
    inputs: Mapping,
    only: Iterable[str] | None = None,
    recorder=None,
    as_array: Callable | None = None,
) -> dict:
    """Call every computable stage's function with (networks, inputs) and gather the outputs.

    Args:
        functions: by the stages' names in the table; one of a stage with cases takes the case too.
        only: names of stages, or those in the table; the others are left out.
        recorder: `taps.recording.Recorder` to record each stage with.
        as_array: makes an array of NumPy's of an output, for the recorder.

    Raises:
        ParityError: inputs do not fit together or the model; names the stage.
    """
    outputs: dict = {}
    wanted = None if only is None else set(only)
    for stage in computable(inputs):
        # Not every backend has every stage: networks alone cannot generate.
        if stage.key not in functions:
            continue
        if wanted is not None and wanted.isdisjoint({stage.name, stage.key}):
            continue
        arguments = (networks, inputs, stage.case) if stage.case else (networks, inputs)
        try:
            if recorder is None:
                outputs.update(functions[stage.key](*arguments))
                continue
            with recorder.stage(stage.name) as tap:
                results = functions[stage.key](*arguments)
                tap.outputs = {name: as_array(value) for name, value in results.items()}
            outputs.update(results)
        except (ValueError, IndexError, TypeError) as error:
            raise ParityError(f"stage {stage.name}: {error}") from error
    return outputs
