"""The units of a job as a Ray Data pipeline: one model per actor, on one machine or on many.

Units travel to the actors with the bytes of their voice, and finished pieces back, those of a unit
together, since Ray delivers the results of a whole call. Only the driver uses the job's folder, so
no file system need be shared. If an actor dies before it delivers a piece, Ray starts another actor
and gives it the unit again. Units are the same as in one process, and so are tokens; samples are
equal up to rounding, which on a CPU depends on the number of threads of a process.

docs/ray.md shows how to use several machines.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import JobError
from .identity import model_hash
from .job import Executor, Unit
from .speaking import Speaker, SpokenPiece, Store


def ray_executor(model: str, dtype: str | None = None, workers: int = 0) -> Executor:
    """Make an executor that speaks with several models at once.

    Args:
        model: as `open_model` takes it; every machine must have it under this name.
        workers: number of models; 0: one for each GPU, or for each machine if there are none.

    Raises:
        JobError: Ray is not installed.
    """
    try:
        import ray.data  # noqa: F401
    except ImportError:
        raise JobError("--ray needs Ray: pip install 'mlx-chatterbox[ray]'.") from None
    if Path(model).is_dir():
        model = str(Path(model).resolve())

    def execute(units: Sequence[Unit], store: Store) -> None:
        _execute(units, store, model, dtype, workers)

    return execute


def _execute(
    units: Sequence[Unit], store: Store, model: str, dtype: str | None, workers: int
) -> None:
    import ray
    import ray.exceptions

    if not ray.is_initialized():
        # Joins the cluster that RAY_ADDRESS names, or one running on this machine; else a new one.
        ray.init(logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers, shares = _shares(ray, workers)
    wanted_model = units[0][0].voice_settings.model_hash
    packed = [{"unit": pickle.dumps(_with_voice(unit))} for unit in units]
    # A block for each unit, so that units are spread evenly and no actor waits for another's.
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
            piece: SpokenPiece = pickle.loads(row["spoken"])
            if piece.key not in delivered:
                delivered.add(piece.key)
                store(piece)
    except ray.exceptions.RayError as error:
        raise JobError(f"Ray failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The error of a worker, taken out of the error and the advice that Ray wraps it in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [line for line in lines if re.match(r"[\w.]*Error: ", line)]
    return (own or lines or [type(error).__name__])[-1]


def _shares(ray, workers: int) -> tuple[int, dict[str, float]]:
    """The number of actors, and the share of a machine's GPUs or CPUs for each."""
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
    voice = unit[0].voice_settings.voice
    return unit, None if voice is None else voice.read_bytes()


class UnitSpeaker:
    """A Ray Data actor: a loaded model that speaks units.

    Raises:
        JobError: the model of that name is another one on this machine.
    """

    def __init__(self, model: str, dtype: str | None, wanted_model: str):
        # Ray calls from several threads, but a model must always run in the same one.
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._voices = tempfile.TemporaryDirectory()
        self._speaker = self._thread.submit(_load, model, dtype, wanted_model).result()

    def __call__(self, table):
        """Speak the units of a table; returns a table of their pieces."""
        import pyarrow

        units = [pickle.loads(packed) for packed in table["unit"].to_pylist()]
        rows = [
            pickle.dumps(spoken)
            for unit, voice in units
            for spoken in self._thread.submit(self._speak, unit, voice).result()
        ]
        return pyarrow.table({"spoken": pyarrow.array(rows, pyarrow.binary())})

    def _speak(self, unit: Unit, voice: bytes | None) -> list[SpokenPiece]:
        if voice is not None:
            name = f"{hashlib.sha256(voice).hexdigest()}.safetensors"
            path = Path(self._voices.name) / name
            if not path.is_file():
                path.write_bytes(voice)
            voice_settings = dataclasses.replace(unit[0].voice_settings, voice=path)
            unit = [dataclasses.replace(wanted, voice_settings=voice_settings) for wanted in unit]
        worker = f"{os.uname().nodename}:{os.getpid()}"
        spoken: list[SpokenPiece] = []
        self._speaker.speak(unit, spoken.append)
        return [
            dataclasses.replace(piece, record={**piece.record, "worker": worker})
            for piece in spoken
        ]


def _load(model: str, dtype: str | None, wanted_model: str) -> Speaker:
    from ..api.tts import open_model

    tts = open_model(model, dtype=dtype)
    if model_hash(tts.checkpoint.folder, {}) != wanted_model:
        raise JobError(f"the model {model} on this machine differs from the driver's.")
    return Speaker(tts)
