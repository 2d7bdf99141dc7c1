"""The units of a job as a Ray Data pipeline: one model per actor, on one machine or on many.

Only units travel to the actors, with the voice they are spoken in, and finished pieces back. The
job's folder is the driver's alone, so no file system need be shared, and a piece that an actor has
spoken but could not deliver before it died is simply spoken once more: Ray starts another actor
and gives it the unit again. A unit is spoken as it would be in one process, so the result is too.

docs/ray.md shows how several machines are used.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import JobError
from .identity import model_hash
from .job import Executor, Unit
from .speaking import Speaker, Spoken


def ray_executor(model: str, dtype: str | None = None, workers: int = 0) -> Executor:
    """An executor that speaks with several models at once.

    Args:
        model: as `open_model` takes it; every machine must have it under this name.
        workers: how many models; 0: one for each GPU, or for each machine if there is none.

    Raises:
        JobError: Ray is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError:
        raise JobError("--ray needs Ray: pip install 'mlx-chatterbox[ray]'.") from None
    if Path(model).is_dir():
        model = str(Path(model).resolve())

    def execute(units: Sequence[Unit]) -> Iterator[Spoken]:
        return _execute(units, model, dtype, workers)

    return execute


def _execute(
    units: Sequence[Unit], model: str, dtype: str | None, workers: int
) -> Iterator[Spoken]:
    import ray
    import ray.exceptions

    if not ray.is_initialized():
        # The cluster that RAY_ADDRESS names, or that was started on this machine; else a new one.
        ray.init(logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers, shares = _shares(ray, workers)
    wanted_model = units[0][0].manner.model_hash
    packed = [{"unit": pickle.dumps(_with_voice(unit))} for unit in units]
    # A block each, so that no actor has to wait for another's and none begins with many.
    spoken = ray.data.from_items(packed, override_num_blocks=len(packed)).map_batches(
        UnitSpeaker,
        fn_constructor_args=(model, dtype, wanted_model),
        concurrency=min(workers, len(units)),
        batch_size=1,
        batch_format="pyarrow",
        **shares,
    )
    delivered: set[str] = set()
    try:
        for row in spoken.iter_rows():
            one: Spoken = pickle.loads(row["spoken"])
            if one.key not in delivered:
                delivered.add(one.key)
                yield one
    except ray.exceptions.RayError as error:
        words = str(error).strip().splitlines()
        raise JobError(f"Ray gave up: {words[-1] if words else error}") from error


def _shares(ray, workers: int) -> tuple[int, dict[str, float]]:
    """How many actors, and what of a machine each gets."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(resources.get("GPU", 0) for resources in nodes))
    if gpus:
        return workers or gpus, {
            "num_gpus": 1 if not workers or workers <= gpus else gpus / workers
        }
    workers = workers or len(nodes)
    on_one = -(-workers // len(nodes))
    fewest = min(resources.get("CPU", 1) for resources in nodes)
    return workers, {"num_cpus": max(1, int(fewest // on_one))}


def _with_voice(unit: Unit) -> tuple[Unit, bytes | None]:
    voice = unit[0].manner.voice
    return unit, None if voice is None else voice.read_bytes()


class UnitSpeaker:
    """A Ray Data actor: a loaded model that speaks units.

    Raises:
        JobError: the model of that name is another one on this machine.
    """

    def __init__(self, model: str, dtype: str | None, wanted_model: str):
        from ..tts import open_model

        tts = open_model(model, dtype=dtype)
        if model_hash(tts.checkpoint.folder, {}) != wanted_model:
            raise JobError(f"the model {model} is not the same here as where the job was begun.")
        self._speaker = Speaker(tts)
        self._voices = tempfile.TemporaryDirectory()

    def __call__(self, table):
        """A table with units in, one with their pieces out."""
        import pyarrow

        rows = [
            pickle.dumps(spoken)
            for packed in table["unit"].to_pylist()
            for spoken in self._speak(*pickle.loads(packed))
        ]
        return pyarrow.table({"spoken": pyarrow.array(rows, pyarrow.binary())})

    def _speak(self, unit: Unit, voice: bytes | None) -> Iterator[Spoken]:
        if voice is not None:
            name = f"{hashlib.sha256(voice).hexdigest()}.safetensors"
            path = Path(self._voices.name) / name
            if not path.is_file():
                path.write_bytes(voice)
            manner = dataclasses.replace(unit[0].manner, voice=path)
            unit = [dataclasses.replace(wanted, manner=manner) for wanted in unit]
        for spoken in self._speaker.speak(unit):
            # Who spoke it is no secret, and says how the work was shared.
            record = {**spoken.record, "worker": f"{os.uname().nodename}:{os.getpid()}"}
            yield dataclasses.replace(spoken, record=record if spoken.record else {})
