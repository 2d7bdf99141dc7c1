"""Conversion of a whole folder: a model's files in, a checkpoint of ours out, whole or not at all.

Imports no network, so that loading a model can convert upstream's files on the way. Tensors are
read, changed and written one after another; memory holds a few of them at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from mlx_chatterbox.checks.git_lfs import refuse_pointer
from mlx_chatterbox.checks.json_file import read_json
from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CONFIG_NAME, DTYPES, ModelConfig, QuantizationConfig
from mlx_chatterbox.runtime.apart import is_within
from mlx_chatterbox.weights.atomic_folder import check_space, recover, whole_folder
from mlx_chatterbox.weights.hub import PARTS_PATTERN, WEIGHTS_NAME, is_own_configuration
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, sha256, write_checkpoint_manifest
from mlx_chatterbox.weights.quantization import Precision, precision_of, quantized, stored_shapes
from mlx_chatterbox.weights.source_paths import remember, without_paths

from ..formats.safetensors_file import DTYPES as STORED_DTYPES
from ..formats.safetensors_file import SafetensorsWriter
from ..formats.tensor_reader import TensorReader
from .components import Components, by_component
from .layouts import recognise
from .model_source import OURS, Source
from .operations import apply
from .packed import UnpackingReader
from .rules import ConversionPlan, Dropped, PlanEntry
from .shared import prune, share
from .voice import convert_voice

# What is written into a checkpoint after its manifest.
_OURS_TOO = {MANIFEST_NAME, "README.md", "verification.json"}
# Beside the tensors and the copied files: headers, the configuration, the voice.
SPARE_BYTES = 8 * 2**20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion:
    """What was written: `size` in bytes of the weights, `voice` whether there is a built-in one.

    layout: what the source was: "upstream", "mlx-audio" or "mlx-chatterbox".
    notes: what people should know of the source.
    shared: bytes of it that were in the shared folder already.
    components: bytes by network and precision.
    """

    folder: Path
    variant: str
    dtype: str
    tensors: int
    size: int
    voice: bool
    dropped: tuple[Dropped, ...]
    layout: str = "upstream"
    notes: tuple[str, ...] = ()
    shared: int = 0
    components: Components = field(default_factory=dict)


def convert_folder(source: str | Path, output: str | Path, **settings) -> Path:
    """`convert`, returning the folder written."""
    return convert(source, output, **settings).folder


def convert(
    source: str | Path,
    output: str | Path,
    *,
    dtype: str | None = None,
    quantization: QuantizationConfig | None = None,
    variant: str | None = None,
    t3_file: str | None = None,
    config: ModelConfig | None = None,
    force: bool = False,
    verify: Callable[[Path], object] | None = None,
    with_reference: bool = False,
    progress: Progress | None = None,
    repo: str | None = None,
    shared: str | Path | None = None,
    s3gen: str | Path | None = None,
    speech_tokenizer: Callable[[], Path] | None = None,
) -> Conversion:
    """Convert the folder `source`, of any layout that is known, to a checkpoint `output`.

    Args:
        dtype: of the floating-point weights: float32, float16 or bfloat16; None: the source's own,
            float32 for upstream's files.
        quantization: what is of another precision (`recipes`); None: what is of few bits in the
            source stays so, to the bit.
        variant: name in `VARIANTS`; by default the first whose files are there.
        t3_file: name of T3's file in `source`, where it is not the variant's own.
        config: hyperparameters, where they are not the variant's own.
        force: replace `output` if it is a checkpoint already.
        verify: called with the finished folder before it takes its name; what it raises stops
            the conversion.
        with_reference: `verify` makes a copy in float32 in the folder: room for it is looked for,
            too, before anything is written.
        progress: called with (bytes done, bytes in all); hashing and writing both count.
        repo: hub repository that `source` came from, noted in the configuration.
        shared: folder for weights that several checkpoints have in common; with it the weights
            are in a file for each network, hard-linked where another checkpoint has the same.
        s3gen: a folder or file with another S3Gen than `source`'s.
        speech_tokenizer: gets the speech tokenizer that mlx-audio's folders leave out, where it
            does not lie beside `source`; returns the file.

    Raises:
        CheckpointError: files missing or damaged, keys left over, a wrong `dtype`, or an `output`
            that is there or cannot be made. Nothing half-written is left behind, whatever ends it.
    """
    source, output = _folder(source), Path(output).expanduser().resolve()
    if dtype not in (None, *DTYPES):
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    recover(output)
    _check_output(source, output, force)
    found = recognise(source, variant, t3_file, _path(s3gen), speech_tokenizer)
    # What is read may lie elsewhere than in SOURCE: in a run's final model, in another S3Gen.
    for path in found.files.values():
        _refuse_to_replace(path, output)
        refuse_pointer(path)
    _check_replaceable(output)
    config = _configuration(found, config, dtype, quantization)
    with contextlib.ExitStack() as stack:
        readers = {
            name: stack.enter_context(contextlib.closing(found.open(name)))
            for name in found.weights
        }
        todo = found.plan({name: reader.shapes for name, reader in readers.items()})
        job = _Job(todo, readers, config)
        copied = sum(path.stat().st_size for path in found.texts.values())
        needed = job.size + copied + SPARE_BYTES
        if with_reference:
            needed += job.exact_size + copied + SPARE_BYTES
        check_space(output.parent, needed)
        in_all = sum(path.stat().st_size for path in found.files.values()) + job.size
        report = _Meter(progress, in_all)
        if shared is not None:
            stack.callback(prune, Path(shared))

        replaced = _said_replaced(output)
        folder = stack.enter_context(whole_folder(output, force))
        hashes = {name: sha256(path, report.add) for name, path in found.files.items()}
        written, linked = job.write(folder, report, None if shared is None else Path(shared))
        for name, path in found.texts.items():
            shutil.copyfile(path, folder / name)
        dropped = todo.dropped
        if found.voice is not None:
            dropped += tuple(convert_voice(found.voice, folder))
        config.source = {**_origin(source, repo), "layout": found.layout, "files": hashes}
        if found.layout == OURS:
            config.source["converted_from"] = without_paths(found.config.source)
        config.save(folder)
        write_checkpoint_manifest(folder, written)
        if verify is not None:
            verify(folder)
    if not repo:
        remember(hashes, source)
    return Conversion(
        folder=output,
        variant=config.variant,
        dtype=config.dtype,
        tensors=len(todo.entries),
        size=job.size,
        voice=found.voice is not None,
        dropped=dropped,
        layout=found.layout,
        notes=(*found.notes(todo), *replaced),
        shared=linked,
        components=job.components,
    )


def _configuration(
    found: Source,
    config: ModelConfig | None,
    dtype: str | None,
    quantization: QuantizationConfig | None,
) -> ModelConfig:
    """What the checkpoint will be: the source's, with what was asked for in its place."""
    result = dataclasses.replace(
        config or found.config, variant=found.row.name, dtype=dtype or found.config.dtype
    )
    result.quantization = found.config.quantization if quantization is None else quantization
    if dtype is None and found.own_types:
        rules = [*found.own_types, *result.quantization.rules]
        result.quantization = dataclasses.replace(result.quantization, rules=rules)
    return result


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _origin(source: Path, repo: str | None) -> dict[str, str]:
    if repo is None:
        return {"folder": source.name}  # a path on somebody's disk would be published
    # The hub's cache calls a snapshot by its revision.
    revision = source.name if source.parent.name == "snapshots" else None
    return {"repository": repo, **({"revision": revision} if revision else {})}


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        recover(folder)  # a conversion over it may have been killed
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(f"{source} {what}; SOURCE is a folder with a model's files.")
    return folder.resolve()


# --- Weights -----------------------------------------------------------------------------------


class _Job:
    """The tensors to write; `size` is theirs in bytes, `exact_size` as if they were float32."""

    def __init__(self, todo: ConversionPlan, readers: dict[str, TensorReader], config: ModelConfig):
        self._readers, self._config = readers, config
        # In an order of their own, so that equal weights make equal files.
        self._entries = sorted(todo.entries, key=lambda entry: entry.target)
        self._stored = {entry.target: self._stored_as(entry) for entry in self._entries}
        self.size = sum(
            _count(shape) * kind.size
            for tensors in self._stored.values()
            for shape, kind in tensors.values()
        )
        self.exact_size = sum(
            _count(entry.shape) * max(mx.float32.size, self._given(entry).size)
            for entry in self._entries
        )

    @property
    def components(self) -> Components:
        """Bytes by network and precision."""
        rows = []
        for entry in self._entries:
            tensors = self._stored[entry.target]
            precision = self._precision(entry)
            kind = str(next(iter(tensors.values()))[1]).rpartition(".")[2]
            if precision is not None and precision.bits:
                kind = f"{precision.bits} bits"
            size = sum(_count(shape) * kind.size for shape, kind in tensors.values())
            rows.append((entry.target, kind, size))
        return by_component(rows)

    def write(
        self, folder: Path, report: _Meter, shared: Path | None
    ) -> tuple[dict[str, str], int]:
        """Write into `folder`: one file, or with `shared` one for each network.

        Returns:
            SHA-256 of the files by name, and bytes that `shared` had already.
        """
        if shared is None:
            digest = self._write_file(folder / WEIGHTS_NAME, self._entries, report)
            return {WEIGHTS_NAME: digest}, 0
        parts: dict[str, list[PlanEntry]] = {}
        for entry in self._entries:
            parts.setdefault(entry.target.partition(".")[0], []).append(entry)
        written, linked = {}, 0
        for name, entries in parts.items():
            path = folder / PARTS_PATTERN.replace("*", name)
            written[path.name] = self._write_file(path, entries, report)
            if share(path, written[path.name], shared):
                linked += path.stat().st_size
        return written, linked

    def _write_file(self, path: Path, entries: list[PlanEntry], report: _Meter) -> str:
        """Write one file and return its SHA-256."""
        digest = hashlib.sha256()
        layout = {k: v for entry in entries for k, v in self._stored[entry.target].items()}
        with SafetensorsWriter(path, layout, {"format": "mlx"}, digest) as writer:
            for entry in entries:
                self._write_entry(writer, entry, report)
                mx.clear_cache()  # or MLX keeps the buffers for tensors of the same size
        return digest.hexdigest()

    def _write_entry(self, writer: SafetensorsWriter, entry: PlanEntry, report: _Meter) -> None:
        # By itself, so that none of it is in memory when the next one is read.
        for key, tensor in self._tensors(entry).items():
            report.add(writer.write(key, tensor))

    def _tensors(self, entry: PlanEntry) -> dict[str, mx.array]:
        """A tensor of the plan as it is stored: itself, or codes, scales and offsets."""
        precision = self._precision(entry)
        if precision is not None and precision.bits and (kept := self._kept(entry, precision)):
            return kept
        reader = self._readers[entry.file]
        sources = [] if entry.operation == "zeros" else [reader.read(k) for k in entry.sources]
        if precision is None or not precision.bits:
            kind = self._stored[entry.target][entry.target][1]
            return {entry.target: apply(entry, sources, kind)}
        tensors = quantized(entry.target, apply(entry, sources, mx.float32), precision)
        for key, tensor in tensors.items():
            if mx.issubdtype(tensor.dtype, mx.floating) and not mx.isfinite(tensor).all().item():
                raise CheckpointError(f"{key} is too large for {precision.dtype}; take another.")
        return tensors

    def _kept(self, entry: PlanEntry, precision: Precision) -> dict[str, mx.array] | None:
        """Codes and scales as the source has them, where it has just these bits and groups."""
        reader = self._readers[entry.file]
        if not isinstance(reader, UnpackingReader) or entry.operation != "copy":
            return None
        if reader.packing(entry.sources[0]) != (precision.bits, precision.group_size):
            return None
        kept = zip(self._stored[entry.target].items(), reader.parts(entry.sources[0]), strict=True)
        return {key: part.astype(kind) for (key, (_, kind)), part in kept}

    def _stored_as(self, entry: PlanEntry) -> dict[str, tuple[tuple[int, ...], mx.Dtype]]:
        precision = self._precision(entry)
        if precision is None:
            return {entry.target: (entry.shape, self._given(entry))}
        return stored_shapes(entry.target, entry.shape, precision)

    def _precision(self, entry: PlanEntry) -> Precision | None:
        """Of a floating-point tensor; others keep their type."""
        if not mx.issubdtype(self._given(entry), mx.floating):
            return None
        return precision_of(self._config, entry.target, entry.shape)

    def _given(self, entry: PlanEntry) -> mx.Dtype:
        return STORED_DTYPES[self._readers[entry.file].dtypes[entry.sources[-1]]][0]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


class _Meter:
    """Adds bytes up and tells `progress`, if there is one."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._done, self._total = progress, 0, total

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


# --- The output folder -------------------------------------------------------------------------


def _refuse_to_replace(path: Path, output: Path) -> None:
    """Of a file that is read: it must not lie in what takes OUTPUT's place."""
    if is_within(path.parent, output) or is_within(path, output):
        raise CheckpointError(f"OUTPUT {output} contains {path}, which is read; choose another.")


def _check_output(source: Path, output: Path, force: bool) -> None:
    if is_within(source, output):
        raise CheckpointError(f"OUTPUT {output} is or contains SOURCE; choose another folder.")
    if not output.parent.is_dir():
        raise CheckpointError(f"the folder {output.parent} does not exist: make it first.")
    if not output.exists():
        return
    if not output.is_dir():
        raise CheckpointError(f"OUTPUT {output} is a file; choose another name.")
    if not force:
        _check_replaceable(output)
        raise CheckpointError(f"{output} exists already; --force replaces it.")


def _check_replaceable(output: Path) -> None:
    """Raise CheckpointError of what is no checkpoint: never delete somebody's documents."""
    if output.exists() and not _is_replaceable(output):
        raise CheckpointError(
            f"{output} exists already and is not a converted checkpoint, so it is not replaced, by "
            "--force either: choose another OUTPUT, or move it away."
        )


def _is_replaceable(output: Path) -> bool:
    """Whether a folder is empty, or a checkpoint of ours or what is left of one."""
    if not any(output.iterdir()) or is_own_configuration(output):
        return True
    return WEIGHTS_NAME in _listed(output) or CONFIG_NAME in _listed(output)


def _listed(output: Path) -> set[str]:
    """The files that a checkpoint's manifest lists; none where there is no manifest, or a damaged
    one."""
    try:
        return set(read_json(output / MANIFEST_NAME)["files"])
    except (CheckpointError, KeyError, TypeError):
        return set()


def _said_replaced(output: Path) -> list[str]:
    """A note of what lies in an old checkpoint that no conversion put there; hidden files aside."""
    if not (listed := _listed(output)):
        return []
    names = {path.name for path in output.iterdir() if not path.name.startswith(".")}
    others = ", ".join(sorted(names - listed - _OURS_TOO))
    return [f"removed with the old {output.name}: {others}."] if others else []
