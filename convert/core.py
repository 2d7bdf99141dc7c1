"""Conversion of a whole folder: upstream's files in, a checkpoint of ours out, whole or not at all.

Imports no network, so that loading a model can convert upstream's files on the way. Tensors are
read, changed and written one after another; memory holds a few of them at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_chatterbox.config import CONFIG_NAME, DTYPES, ModelConfig
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.variants import VARIANTS, Variant, variant_named

from .rules import Dropped, Plan
from .safetensors_file import DTYPES as STORED_DTYPES
from .safetensors_file import SafetensorsReader, SafetensorsWriter
from .tensors import apply
from .upstream import plan
from .voice import convert_voice

WEIGHTS_NAME = "model.safetensors"
CHUNK_BYTES = 4 * 2**20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion:
    """What was written: `size` in bytes of the weights, `voice` whether there is a built-in one."""

    folder: Path
    variant: str
    dtype: str
    tensors: int
    size: int
    voice: bool
    dropped: tuple[Dropped, ...]


def convert_folder(source: str | Path, output: str | Path, **settings) -> Path:
    """`convert`, returning the folder written."""
    return convert(source, output, **settings).folder


def convert(
    source: str | Path,
    output: str | Path,
    *,
    dtype: str = "float32",
    variant: str | None = None,
    config: ModelConfig | None = None,
    force: bool = False,
    verify: Callable[[Path], object] | None = None,
    progress: Progress | None = None,
    repo: str | None = None,
) -> Conversion:
    """Convert upstream's files in the folder `source` to a checkpoint in the folder `output`.

    Args:
        dtype: of the floating-point weights: float32, float16 or bfloat16.
        variant: name in `VARIANTS`; by default recognised by the files that are there.
        config: hyperparameters, where they are not the variant's own.
        force: replace `output` if it is a checkpoint already.
        verify: called with the finished folder before it takes its name; what it raises stops
            the conversion.
        progress: called with (bytes done, bytes in all); hashing and writing both count.
        repo: hub repository that `source` came from, noted in the configuration.

    Raises:
        CheckpointError: files missing or damaged, keys left over, a wrong `dtype`, or an `output`
            that is there or cannot be made. Nothing half-written is left behind, whatever ends it.
    """
    source, output = _folder(source), Path(output).expanduser().resolve()
    if dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    row = variant_named(variant) if variant else detect_variant(source)
    missing = [name for name in row.required_files if not (source / name).is_file()]
    if missing:
        raise _unrecognised(source, [row])
    _check_output(source, output, force)
    readers = {name: SafetensorsReader(source / name) for name in _weight_files(row)}
    todo = plan({name: reader.shapes for name, reader in readers.items()}, row)
    sizes = {key: (shape, kind) for key, shape, kind in _layout(todo, readers, dtype)}
    files = [*row.required_files]
    if (source / row.voice_file).is_file():
        files.append(row.voice_file)
    written = sum(_count(shape) * kind.size for shape, kind in sizes.values())
    hashed = sum((source / name).stat().st_size for name in files)
    report = _Meter(progress, hashed + written)

    with _new_folder(output, force) as folder:
        hashes = {name: _sha256(source / name, report) for name in files}
        _write_weights(folder / WEIGHTS_NAME, todo, readers, sizes, report)
        for name in row.tokenizer_files:
            shutil.copyfile(source / name, folder / name)
        dropped = list(todo.dropped)
        if row.voice_file in files:
            dropped += convert_voice(source / row.voice_file, folder)
        origin = {"repository": repo} if repo else {"folder": str(source)}
        dataclasses.replace(
            config or row.default_config(),
            variant=row.name,
            dtype=dtype,
            source={**origin, "files": hashes},
        ).save(folder)
        if verify is not None:
            verify(folder)
    return Conversion(
        output, row.name, dtype, len(sizes), written, row.voice_file in files, tuple(dropped)
    )


def detect_variant(source: Path) -> Variant:
    """The variant whose files are all in `source`.

    Raises:
        CheckpointError: there is none; names what was looked for and what is there.
    """
    for row in VARIANTS.values():
        if all((source / name).is_file() for name in row.required_files):
            return row
    if (source / CONFIG_NAME).is_file() and (source / WEIGHTS_NAME).is_file():
        raise CheckpointError(
            f"{source} holds {CONFIG_NAME} and {WEIGHTS_NAME}: it looks converted already."
        )
    raise _unrecognised(source, list(VARIANTS.values()))


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(f"{source} {what}; SOURCE is a folder with upstream's files.")
    return folder.resolve()


def _unrecognised(source: Path, rows: list[Variant]) -> CheckpointError:
    there = {path.name for path in source.iterdir()}
    looked_for = "; ".join(
        f"{row.name}: {', '.join(row.required_files)} "
        f"(missing {', '.join(name for name in row.required_files if name not in there)})"
        for row in rows
    )
    found = ", ".join(sorted(there)[:20]) or "nothing"
    return CheckpointError(
        f"{source} is not a checkpoint that can be converted. Looked for {looked_for}. "
        f"Found: {found}{', ...' if len(there) > 20 else ''}."
    )


def _weight_files(row: Variant) -> tuple[str, ...]:
    return tuple(name for name in row.required_files if name not in row.tokenizer_files)


# --- Weights -----------------------------------------------------------------------------------


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def _layout(
    todo: Plan, readers: dict[str, SafetensorsReader], dtype: str
) -> Iterator[tuple[str, tuple[int, ...], mx.Dtype]]:
    """Key, shape and type of every tensor to be written."""
    for entry in todo.entries:
        stored = readers[entry.file].tensors[entry.sources[-1]].dtype
        kind = STORED_DTYPES[stored][0]
        floating = mx.issubdtype(kind, mx.floating)
        yield entry.target, entry.shape, getattr(mx, dtype) if floating else kind


def _write_weights(
    path: Path,
    todo: Plan,
    readers: dict[str, SafetensorsReader],
    sizes: dict[str, tuple[tuple[int, ...], mx.Dtype]],
    report: _Meter,
) -> None:
    with SafetensorsWriter(path, sizes, {"format": "mlx"}) as writer:
        for entry in todo.entries:
            sources = [readers[entry.file].read(key) for key in entry.sources]
            tensor = apply(entry, sources, sizes[entry.target][1])
            report.add(writer.write(entry.target, tensor))


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
    ours = {CONFIG_NAME, WEIGHTS_NAME}
    there = {path.name for path in output.iterdir()} if output.is_dir() else {"a file"}
    if there and not there & ours:  # --force must never delete somebody's documents
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
