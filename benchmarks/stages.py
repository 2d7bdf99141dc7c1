"""Stages that are timed: names, models, and the process that times each."""

from __future__ import annotations

from dataclasses import dataclass

ENGINES = ("ours", "mlx-audio", "torch")
PEERS = ENGINES[1:]
MODULES = {"ours": "engine_mlx", "mlx-audio": "engine_mlx_audio", "torch": "engine_torch"}
TITLES = {"ours": "ours", "mlx-audio": "mlx-audio", "torch": "PyTorch"}


@dataclass(frozen=True)
class TimedStage:
    """A row of the table.

    Attributes:
        title: what it is, for people.
        group: the work that a worker does to time it; one run may time several stages.
        variant: the model it is timed on.
        in_new_process: timed from outside, in a process of its own for each run.
    """

    title: str
    group: str
    variant: str = "english"
    in_new_process: bool = False


STAGES: dict[str, TimedStage] = {
    "import": TimedStage("import", "import", in_new_process=True),
    "load": TimedStage("load from disk, with imports", "load", in_new_process=True),
    "conditioning": TimedStage("conditioning, 10 s reference", "conditioning"),
    "t3_prefill": TimedStage("T3, prefill and first token", "t3"),
    "t3_token": TimedStage("T3, each further token", "t3"),
    "flow": TimedStage("flow", "flow"),
    "vocoder": TimedStage("vocoder", "vocoder"),
    "s3gen": TimedStage("S3Gen (flow and vocoder)", "s3gen"),
    "t3_token_batch4": TimedStage("T3, per token of 4 sentences", "t3_batch4"),
    "t3_token_batch8": TimedStage("T3, per token of 8 sentences", "t3_batch8"),
    "nano_utterance": TimedStage("Nano, 6 s of speech", "nano_utterance", variant="nano"),
}

# Decoding several sentences at once takes memory that one sentence does not; what an engine needs
# at most is read before the first of these.
AFTER_MEMORY = ("t3_batch4", "t3_batch8")


def groups(names: list[str]) -> dict[str, list[str]]:
    """Group -> the stages among `names` that it times, in the table's order."""
    by_group: dict[str, list[str]] = {}
    for name, stage in STAGES.items():
        if name in names:
            by_group.setdefault(stage.group, []).append(name)
    return by_group
