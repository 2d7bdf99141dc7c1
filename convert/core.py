"""Conversion of a whole folder: upstream's files in, a checkpoint of ours out, whole or not at all.

Imports no network, so that loading a model can convert upstream's files on the way. Tensors are
read, changed and written one after another; memory holds a few of them at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_chatterbox.config import CONFIG_NAME, DTYPES, ModelConfig, QuantizationConfig
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.quantization import Precision, precision_of, quantized, stored_shapes

from .rules import Dropped, Entry, Plan
from .safetensors_file import DTYPES as STORED_DTYPES
from .safetensors_file import SafetensorsWriter
from .shared import prune, share
from .sources import PARTS_PATTERN, WEIGHTS_NAME, Reader, find_source, open_weights, weight_files
from .tensors import apply
from .upstream import plan
from .voice import convert_voice

__all__ = ["Conversion", "convert", "convert_folder", "weight_files"]

CHUNK_BYTES = 4 * 2**20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion:
    """What was written: `size` in bytes of the weights, `voice` whether there is a built-in one.

    shared: bytes of it that were in the shared folder already.
    """

    folder: Path
    variant: str
    dtype: str
    tensors: int
    size: int
    voice: bool
    dropped: tuple[Dropped, ...]
    shared: int = 0


def convert_folder(source: str | Path, output: str | Path, **settings) -> Path:
    """`convert`, returning the folder written."""
    return convert(source, output, **settings).folder


def convert(
    source: str | Path,
    output: str | Path,
    *,
    dtype: str = "float32",
    quantization: QuantizationConfig | None = None,
    variant: str | None = None,
    t3_file: str | None = None,
    config: ModelConfig | None = None,
    force: bool = False,
    verify: Callable[[Path], object] | None = None,
    progress: Progress | None = None,
    repo: str | None = None,
    shared: str | Path | None = None,
) -> Conversion:
    """Convert upstream's files in the folder `source` to a checkpoint in the folder `output`.

    Args:
        dtype: of the floating-point weights: float32, float16 or bfloat16.
        quantization: what is of another precision (`convert.recipes`).
        variant: name in `VARIANTS`; by default the first whose files are there.
        t3_file: name of T3's file in `source`, where it is not the variant's own.
        config: hyperparameters, where they are not the variant's own.
        force: replace `output` if it is a checkpoint already.
        verify: called with the finished folder before it takes its name; what it raises stops
            the conversion.
        progress: called with (bytes done, bytes in all); hashing and writing both count.
        repo: hub repository that `source` came from, noted in the configuration.
        shared: folder for weights that several checkpoints have in common; with it the weights
            are in a file for each network, hard-linked where another checkpoint has the same.

    Raises:
        CheckpointError: files missing or damaged, keys left over, a wrong `dtype`, or an `output`
            that is there or cannot be made. Nothing half-written is left behind, whatever ends it.
    """
    source, output = _folder(source), Path(output).expanduser().resolve()
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    row = find_source(source, variant, t3_file)
    _check_output(source, output, force)
    with contextlib.ExitStack() as stack:
        readers = {
            name: stack.enter_context(contextlib.closing(open_weights(source / name)))
            for name in row.weight_files
        }
        todo = plan({name: reader.shapes for name, reader in readers.items()}, row)
        config = dataclasses.replace(config or row.default_config(), variant=row.name, dtype=dtype)
        config.quantization = quantization or QuantizationConfig()
        job = _Job(todo, readers, config)
        files = [*row.required_files, *_present(source, (*row.optional_files, row.voice_file))]
        report = _Meter(progress, sum((source / name).stat().st_size for name in files) + job.size)
        if shared is not None:
            stack.callback(prune, Path(shared))

        folder = stack.enter_context(_new_folder(output, force))
        hashes = {name: _sha256(source / name, report) for name in files}
        linked = job.write(folder, report, None if shared is None else Path(shared))
        for name in _present(source, (*row.tokenizer_files, *row.optional_files)):
            shutil.copyfile(source / name, folder / name)
        dropped, voice = todo.dropped, row.voice_file in files
        if voice:
            dropped += tuple(convert_voice(source / row.voice_file, folder))
        config.source = {**_origin(source, repo), "files": hashes}
        config.save(folder)
        if verify is not None:
            verify(folder)
    return Conversion(output, row.name, dtype, len(todo.entries), job.size, voice, dropped, linked)


def _origin(source: Path, repo: str | None) -> dict[str, str]:
    if repo is None:
        return {"folder": str(source)}
    # The hub's cache calls a snapshot by its revision.
    revision = source.name if source.parent.name == "snapshots" else None
    return {"repository": repo, **({"revision": revision} if revision else {})}


def _present(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if (folder / name).is_file()]


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(f"{source} {what}; SOURCE is a folder with upstream's files.")
    return folder.resolve()


# --- Weights -----------------------------------------------------------------------------------


class _Job:
    """The tensors to write; `size` is theirs in bytes."""

    def __init__(self, todo: Plan, readers: dict[str, Reader], config: ModelConfig):
        self._readers, self._config = readers, config
        # In an order of their own, so that equal weights make equal files.
        self._entries = sorted(todo.entries, key=lambda entry: entry.target)
        self._stored = {entry.target: self._stored_as(entry) for entry in self._entries}
        self.size = sum(
            _count(shape) * kind.size
            for tensors in self._stored.values()
            for shape, kind in tensors.values()
        )

    def write(self, folder: Path, report: _Meter, shared: Path | None) -> int:
        """Write into `folder`: one file, or with `shared` one for each network.

        Returns:
            Bytes that `shared` had already.
        """
        if shared is None:
            self._write_file(folder / WEIGHTS_NAME, self._entries, report)
            return 0
        parts: dict[str, list[Entry]] = {}
        for entry in self._entries:
            parts.setdefault(entry.target.partition(".")[0], []).append(entry)
        linked = 0
        for name, entries in parts.items():
            path = folder / PARTS_PATTERN.replace("*", name)
            digest = hashlib.sha256()
            self._write_file(path, entries, report, digest)
            if share(path, digest.hexdigest(), shared):
                linked += path.stat().st_size
        return linked

    def _write_file(self, path: Path, entries: list[Entry], report: _Meter, digest=None) -> None:
        layout = {k: v for entry in entries for k, v in self._stored[entry.target].items()}
        with SafetensorsWriter(path, layout, {"format": "mlx"}, digest) as writer:
            for entry in entries:
                for key, tensor in self._tensors(entry).items():
                    report.add(writer.write(key, tensor))

    def _tensors(self, entry: Entry) -> dict[str, mx.array]:
        """A tensor of the plan as it is stored: itself, or codes, scales and offsets."""
        sources = [self._readers[entry.file].read(key) for key in entry.sources]
        precision = self._precision(entry)
        if precision is None or not precision.bits:
            kind = self._stored[entry.target][entry.target][1]
            return {entry.target: apply(entry, sources, kind)}
        tensors = quantized(entry.target, apply(entry, sources, mx.float32), precision)
        for key, tensor in tensors.items():
            if mx.issubdtype(tensor.dtype, mx.floating) and not mx.isfinite(tensor).all().item():
                raise CheckpointError(f"{key} is too large for {precision.dtype}; take another.")
        return tensors

    def _stored_as(self, entry: Entry) -> dict[str, tuple[tuple[int, ...], mx.Dtype]]:
        precision = self._precision(entry)
        if precision is None:
            return {entry.target: (entry.shape, self._given(entry))}
        return stored_shapes(entry.target, entry.shape, precision)

    def _precision(self, entry: Entry) -> Precision | None:
        """Of a floating-point tensor; others keep their type."""
        if not mx.issubdtype(self._given(entry), mx.floating):
            return None
        return precision_of(self._config, entry.target, entry.shape)

    def _given(self, entry: Entry) -> mx.Dtype:
        return STORED_DTYPES[self._readers[entry.file].dtypes[entry.sources[-1]]][0]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _sha256(path: Path, report: _Meter) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            report.add(len(chunk))
    return digest.hexdigest()


class _Meter:
    """Adds bytes up and tells `progress`, if there is one."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._done, self._total = progress, 0, total

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


# --- The output folder -------------------------------------------------------------------------


def _check_output(source: Path, output: Path, force: bool) -> None:
    if output == source or output in source.parents:
        raise CheckpointError(f"OUTPUT {output} is or contains SOURCE; choose another folder.")
    if not output.parent.is_dir():
        raise CheckpointError(f"the folder {output.parent} does not exist: make it first.")
    if not output.exists():
        return
    if not force:
        raise CheckpointError(f"{output} exists already; --force replaces it.")
    there = {path.name for path in output.iterdir()} if output.is_dir() else {"a file"}
    ours = there & {CONFIG_NAME, WEIGHTS_NAME} or any(output.glob(PARTS_PATTERN))
    if there and not ours:  # --force must never delete somebody's documents
        raise CheckpointError(f"{output} is not a converted checkpoint; it is not replaced.")


@contextmanager
def _new_folder(output: Path, force: bool) -> Iterator[Path]:
    """A temporary folder beside `output`, which takes its name if all goes well.

    Whatever goes wrong, and if the user interrupts, it is removed and `output` is as it was.
    """
    temporary = output.with_name(f".{output.name}.tmp-{os.getpid()}")
    try:
        temporary.mkdir()
        yield temporary
        _move_in(temporary, output, force)
    except OSError as error:
        where = error.filename or output
        raise CheckpointError(f"{where}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_in(temporary: Path, output: Path, force: bool) -> None:
    if not output.exists():
        os.rename(temporary, output)
        return
    if not force:  # it appeared while we worked
        raise CheckpointError(f"{output} exists already; --force replaces it.")
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    os.rename(output, old)
    try:
        os.rename(temporary, output)
    except BaseException:
        os.rename(old, output)
        raise
    shutil.rmtree(old, ignore_errors=True)
