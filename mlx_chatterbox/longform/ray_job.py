"""The pieces of a job as a Ray Data pipeline: one model per actor, on one machine or on many.

Chunks of pieces travel to the actors with the bytes of their voices, and finished pieces back,
those of a chunk together, since Ray delivers the results of a whole call. Only the driver uses the
job's folder, so no file system need be shared. If an actor dies before it delivers a chunk, Ray
starts another actor and gives it the chunk again. Tokens are the same as in one process; samples
are equal up to rounding, which on a CPU depends on the number of threads of a process.

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
from .job import Executor
from .speaking import ROUNDS, Speaker, SpokenPiece, Store, Wanted, in_chunks

# Chunks of each actor, at least, where there are pieces enough: the actors end at about the same
# time.
_CHUNKS_EACH = 4


def ray_executor(model: str, dtype: str | None = None, workers: int = 0) -> Executor:
    """Make an executor that speaks with several models at once.

    Args:
        model: as `open_any` takes it; every machine must have it under this name.
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

    def execute(pieces: Sequence[Wanted], batch_size: int, store: Store) -> None:
        _execute(pieces, batch_size, store, model, dtype, workers)

    return execute


def _execute(
    pieces: Sequence[Wanted],
    batch_size: int,
    store: Store,
    model: str,
    dtype: str | None,
    workers: int,
) -> None:
    import ray
    import ray.exceptions

    if not ray.is_initialized():
        # Joins the cluster that RAY_ADDRESS names, or one running on this machine; else a new one.
        ray.init(logging_level="ERROR", log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers, shares = _shares(ray, workers)
    wanted_model = pieces[0].voice_settings.model_hash
    chunks = in_chunks(pieces, _chunk_size(len(pieces), batch_size, workers))
    packed = [{"chunk": pickle.dumps(_with_voices(chunk))} for chunk in chunks]
    # A block for each chunk, so that chunks are spread evenly and no actor waits for another's.
    spoken = ray.data.from_items(packed, override_num_blocks=len(packed)).map_batches(
        ChunkSpeaker,
        fn_constructor_args=(model, dtype, wanted_model, batch_size),
        concurrency=min(workers, len(packed)),
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


def _chunk_size(pieces: int, batch_size: int, workers: int) -> int:
    """The number of pieces of a chunk; at least as many as are decoded at a time."""
    return max(batch_size, min(ROUNDS * batch_size, pieces // (_CHUNKS_EACH * workers)))


def _with_voices(chunk: Sequence[Wanted]) -> tuple[Sequence[Wanted], dict[Path, bytes]]:
    voices = {piece.voice_settings.voice for piece in chunk}
    return chunk, {voice: voice.read_bytes() for voice in voices if voice is not None}


class ChunkSpeaker:
    """A Ray Data actor: a loaded model that speaks chunks of pieces.

    Raises:
        JobError: the model of that name is another one on this machine.
    """

    def __init__(self, model: str, dtype: str | None, wanted_model: str, batch_size: int):
        self._batch_size = batch_size
        # Ray calls from several threads, but a model must always run in the same one.
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._voices = tempfile.TemporaryDirectory()
        self._speaker = self._thread.submit(_load, model, dtype, wanted_model).result()

    def __call__(self, table):
        """Speak the chunks of a table; returns a table of their pieces."""
        import pyarrow

        chunks = [pickle.loads(packed) for packed in table["chunk"].to_pylist()]
        rows = [
            pickle.dumps(spoken)
            for chunk, voices in chunks
            for spoken in self._thread.submit(self._speak, chunk, voices).result()
        ]
        return pyarrow.table({"spoken": pyarrow.array(rows, pyarrow.binary())})

    def _speak(self, chunk: Sequence[Wanted], voices: dict[Path, bytes]) -> list[SpokenPiece]:
        here = {voice: self._written(content) for voice, content in voices.items()}
        chunk = [_spoken_from(here, piece) for piece in chunk]
        worker = f"{os.uname().nodename}:{os.getpid()}"
        spoken: list[SpokenPiece] = []
        self._speaker.speak(chunk, self._batch_size, spoken.append)
        return [
            dataclasses.replace(piece, record={**piece.record, "worker": worker})
            for piece in spoken
        ]

    def _written(self, voice: bytes) -> Path:
        """The path of a voice on this machine."""
        path = Path(self._voices.name) / f"{hashlib.sha256(voice).hexdigest()}.safetensors"
        if not path.is_file():
            path.write_bytes(voice)
        return path


def _spoken_from(here: dict[Path, Path], piece: Wanted) -> Wanted:
    """A piece whose voice is the file on this machine."""
    if piece.voice_settings.voice is None:
        return piece
    voice = here[piece.voice_settings.voice]
    return dataclasses.replace(
        piece, voice_settings=dataclasses.replace(piece.voice_settings, voice=voice)
    )


def _load(model: str, dtype: str | None, wanted_model: str) -> Speaker:
    from ..api.opening import open_any

    tts = open_any(model, dtype=dtype)
    if model_hash(tts.checkpoint.folder, {}) != wanted_model:
        raise JobError(f"the model {model} on this machine differs from the driver's.")
    return Speaker(tts)
