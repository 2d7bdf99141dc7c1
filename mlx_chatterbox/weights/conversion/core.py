"""Conversion of a folder of any known layout to a checkpoint of ours, written whole or not at all.

Imports no network, so that a model can be converted while it is loaded. Tensors are read, changed
and written one after another, so that only a few of them are in memory at a time.
"""

from __future__ import annotations

import contextlib
import copy
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
from mlx_chatterbox.models.config import CONFIG_NAME, DTYPES, CheckpointConfig, QuantizationConfig
from mlx_chatterbox.runtime.apart import is_within
from mlx_chatterbox.weights.atomic_folder import check_space, recover, whole_folder
from mlx_chatterbox.weights.hub import PARTS_PATTERN, WEIGHTS_NAME, family_of
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, sha256, write_checkpoint_manifest
from mlx_chatterbox.weights.quantization import Precision, precision_of, quantized, stored_shapes
from mlx_chatterbox.weights.source_paths import remember, without_paths

from ..chattts_files import STATISTICS_NAME
from ..formats.safetensors_file import DTYPES as STORED_DTYPES
from ..formats.safetensors_file import SafetensorsWriter
from ..formats.tensor_reader import TensorReader
from ..speaker_statistics import read_statistics, save_statistics
from .components import Components, by_component
from .layouts import recognise
from .model_source import OURS, Source
from .operations import apply_entry
from .packed import UnpackingReader
from .rules import ConversionPlan, Dropped, PlanEntry
from .shared import link_shared, prune
from .voice import convert_voice

# Files that are written into a checkpoint after its manifest.
_OURS_TOO = {MANIFEST_NAME, "README.md", "verification.json"}
# Room for headers, configuration and voice, besides the tensors and the copied files.
SPARE_BYTES = 8 * 2**20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Conversion:
    """A finished conversion.

    Attributes:
        tensors: number of tensors in the checkpoint, quantised ones counted once.
        size: of the weights, in bytes.
        voice: whether there is a built-in voice.
        dropped: keys of the source that are not in the checkpoint.
        layout: of the source: "upstream", "mlx-audio" or "mlx-chatterbox".
        notes: for the user, about the source and about files that were removed.
        shared: bytes of the weights that were in the shared folder already.
        components: bytes by network and precision.
        statistics: whether there are statistics of speakers (ChatTTS).
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
    statistics: bool = False


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
    config: CheckpointConfig | None = None,
    force: bool = False,
    verify: Callable[[Path], object] | None = None,
    with_reference: bool = False,
    progress: Progress | None = None,
    repo: str | None = None,
    shared: str | Path | None = None,
    s3gen: str | Path | None = None,
    speech_tokenizer: Callable[[], Path] | None = None,
) -> Conversion:
    """Convert the folder `source`, of any known layout, to a checkpoint `output`.

    Args:
        dtype: of the floating-point weights: float32, float16 or bfloat16; None: the source's,
            float32 for upstream's files.
        quantization: layers of another precision (`recipes`); None: layers that are quantised in
            the source keep their exact bits.
        variant: name in `VARIANTS`; by default the first whose files are there.
        t3_file: name of T3's file in `source`, if it is not the variant's own.
        config: hyperparameters, if they are not the variant's own.
        force: replace `output` if it is a checkpoint already.
        verify: called with the finished folder before it takes its name; an exception stops the
            conversion.
        with_reference: `verify` makes a copy in float32 in the folder: the disk must have room for
            it too, before anything is written.
        progress: callback(done, total), in bytes; hashing and writing both count.
        repo: hub repository that `source` came from, noted in the configuration.
        shared: folder for weights that several checkpoints have in common; with it every network
            has a file of its own, hard-linked if another checkpoint has the same.
        s3gen: a folder or file with another S3Gen than `source`'s.
        speech_tokenizer: downloads the speech tokenizer that mlx-audio's folders lack, if it is not
            beside `source`, and returns the file.

    Raises:
        CheckpointError: files are missing or damaged, keys are unknown, `dtype` is wrong, or
            `output` exists or cannot be made. No half-written file is left in any case.
    """
    source, output = _folder(source), Path(output).expanduser().resolve()
    if dtype not in (None, *DTYPES):
        raise CheckpointError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    recover(output)
    _check_output(source, output, force)
    model = recognise(source, variant, t3_file, _path(s3gen), speech_tokenizer)
    # Files may lie outside SOURCE: in the final model of a training run, in another S3Gen.
    for path in model.files.values():
        _refuse_to_replace(path, output)
        refuse_pointer(path)
    _check_replaceable(output)
    config = _configuration(model, config, dtype, quantization)
    with contextlib.ExitStack() as stack:
        readers = {
            name: stack.enter_context(contextlib.closing(model.open(name)))
            for name in model.weights
        }
        todo = model.plan({name: reader.shapes for name, reader in readers.items()})
        job = _Job(todo, readers, config)
        copied = sum(path.stat().st_size for path in model.texts.values())
        needed = job.size + copied + SPARE_BYTES
        if with_reference:
            needed += job.exact_size + copied + SPARE_BYTES
        check_space(output.parent, needed)
        in_all = sum(path.stat().st_size for path in model.files.values()) + job.size
        report = _Meter(progress, in_all)
        if shared is not None:
            stack.callback(prune, Path(shared))

        removed = _note_of_removed(output)
        folder = stack.enter_context(whole_folder(output, force))
        hashes = {name: sha256(path, report.add) for name, path in model.files.items()}
        written, linked = job.write(folder, report, None if shared is None else Path(shared))
        for name, path in model.texts.items():
            shutil.copyfile(path, folder / name)
        dropped = todo.dropped
        if model.voice is not None:
            dropped += tuple(convert_voice(model.voice, folder))
        if model.statistics is not None:
            save_statistics(read_statistics(model.statistics), folder / STATISTICS_NAME)
        config.source = {**_origin(source, repo), "layout": model.layout, "files": hashes}
        if model.layout == OURS:
            config.source["converted_from"] = without_paths(model.config.source)
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
        voice=model.voice is not None,
        dropped=dropped,
        layout=model.layout,
        notes=(*model.notes(todo), *removed),
        shared=linked,
        components=job.components,
        statistics=model.statistics is not None or STATISTICS_NAME in model.texts,
    )


def _configuration(
    model: Source,
    config: CheckpointConfig | None,
    dtype: str | None,
    quantization: QuantizationConfig | None,
) -> CheckpointConfig:
    """Make the checkpoint's configuration: the source's, changed by the arguments of `convert`."""
    result = copy.copy(config or model.config)
    result.variant, result.dtype = model.variant, dtype or model.config.dtype
    result.quantization = model.config.quantization if quantization is None else quantization
    if dtype is None and model.own_types:
        rules = [*model.own_types, *result.quantization.rules]
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
    """The tensors to write.

    Attributes:
        size: their bytes.
        exact_size: their bytes in float32.
    """

    def __init__(
        self, todo: ConversionPlan, readers: dict[str, TensorReader], config: CheckpointConfig
    ):
        self._readers, self._config = readers, config
        # Sorted by key, so that equal weights make equal files.
        self._entries = sorted(todo.entries, key=lambda entry: entry.target)
        self._stored = {entry.target: self._stored_as(entry) for entry in self._entries}
        self.size = sum(
            _count(shape) * kind.size
            for tensors in self._stored.values()
            for shape, kind in tensors.values()
        )
        self.exact_size = sum(
            _count(entry.shape) * max(mx.float32.size, self._source_type(entry).size)
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
        """Write into `folder`: one file, or one for each network if there is a shared folder.

        Returns:
            SHA-256 of the files by name, and the bytes that were in `shared` already.
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
            if link_shared(path, written[path.name], shared):
                linked += path.stat().st_size
        return written, linked

    def _write_file(self, path: Path, entries: list[PlanEntry], report: _Meter) -> str:
        """Write one file and return its SHA-256."""
        digest = hashlib.sha256()
        layout = {k: v for entry in entries for k, v in self._stored[entry.target].items()}
        with SafetensorsWriter(path, layout, {"format": "mlx"}, digest) as writer:
            for entry in entries:
                self._write_entry(writer, entry, report)
                mx.clear_cache()  # MLX would keep the buffers for tensors of the same size
        return digest.hexdigest()

    def _write_entry(self, writer: SafetensorsWriter, entry: PlanEntry, report: _Meter) -> None:
        # In a function of its own, so that it is not in memory when the next one is read.
        for key, tensor in self._tensors(entry).items():
            report.add(writer.write(key, tensor))

    def _tensors(self, entry: PlanEntry) -> dict[str, mx.array]:
        """Compute a tensor of the plan as it is stored: itself, or codes, scales and offsets."""
        precision = self._precision(entry)
        if precision is not None and precision.bits:
            same = self._quantized_alike(entry, precision)
            if same is not None:
                return same
        reader = self._readers[entry.file]
        sources = [] if entry.operation == "zeros" else [reader.read(k) for k in entry.sources]
        if precision is None or not precision.bits:
            kind = self._stored[entry.target][entry.target][1]
            return {entry.target: apply_entry(entry, sources, kind)}
        tensors = quantized(entry.target, apply_entry(entry, sources, mx.float32), precision)
        for key, tensor in tensors.items():
            if mx.issubdtype(tensor.dtype, mx.floating) and not mx.isfinite(tensor).all().item():
                raise CheckpointError(f"{key} is too large for {precision.dtype}; take another.")
        return tensors

    def _quantized_alike(
        self, entry: PlanEntry, precision: Precision
    ) -> dict[str, mx.array] | None:
        """Read the source's codes and scales if it has the same bits and group size, else None."""
        reader = self._readers[entry.file]
        if not isinstance(reader, UnpackingReader) or entry.operation != "copy":
            return None
        if reader.packing(entry.sources[0]) != (precision.bits, precision.group_size):
            return None
        stored = self._stored[entry.target].items()
        pairs = zip(stored, reader.parts(entry.sources[0]), strict=True)
        return {key: part.astype(kind) for (key, (_, kind)), part in pairs}

    def _stored_as(self, entry: PlanEntry) -> dict[str, tuple[tuple[int, ...], mx.Dtype]]:
        precision = self._precision(entry)
        if precision is None:
            return {entry.target: (entry.shape, self._source_type(entry))}
        return stored_shapes(entry.target, entry.shape, precision)

    def _precision(self, entry: PlanEntry) -> Precision | None:
        """Determine the precision to store a tensor in; None keeps the type of integers."""
        if not mx.issubdtype(self._source_type(entry), mx.floating):
            return None
        return precision_of(self._config, entry.target, entry.shape)

    def _source_type(self, entry: PlanEntry) -> mx.Dtype:
        return STORED_DTYPES[self._readers[entry.file].dtypes[entry.sources[-1]]][0]


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


class _Meter:
    """The number of bytes done, reported to `progress` if there is one."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._done, self._total = progress, 0, total

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


# --- The output folder -------------------------------------------------------------------------


def _refuse_to_replace(path: Path, output: Path) -> None:
    """Raise CheckpointError if an input lies in the folder that is to be replaced."""
    if is_within(path.parent, output) or is_within(path, output):
        raise CheckpointError(f"OUTPUT {output} contains {path}, an input: choose another folder.")


def _check_output(source: Path, output: Path, force: bool) -> None:
    if is_within(source, output):
        raise CheckpointError(f"OUTPUT {output} is or contains SOURCE: choose another folder.")
    if not output.parent.is_dir():
        raise CheckpointError(f"the folder {output.parent} does not exist: make it first.")
    if not output.exists():
        return
    if not output.is_dir():
        raise CheckpointError(f"OUTPUT {output} is a file: choose another name.")
    if not force:
        _check_replaceable(output)
        raise CheckpointError(f"{output} exists already; --force replaces it.")


def _check_replaceable(output: Path) -> None:
    """Raise CheckpointError unless it is a checkpoint, so that no other data is ever deleted."""
    if output.exists() and not _is_replaceable(output):
        raise CheckpointError(
            f"{output} exists already and is not a converted checkpoint, so it is not replaced, "
            "even with --force: choose another OUTPUT, or move it away."
        )


def _is_replaceable(output: Path) -> bool:
    """Tell whether a folder is empty, a checkpoint of ours, or the rest of one."""
    if not any(output.iterdir()) or family_of(output) is not None:
        return True
    return WEIGHTS_NAME in _listed(output) or CONFIG_NAME in _listed(output)


def _listed(output: Path) -> set[str]:
    """Read the names in a checkpoint's manifest; empty if it is missing or damaged."""
    try:
        return set(read_json(output / MANIFEST_NAME)["files"])
    except (CheckpointError, KeyError, TypeError):
        return set()


def _note_of_removed(output: Path) -> list[str]:
    """Compose a note of the files in an old checkpoint that are not of a conversion, if any.

    Hidden files are not mentioned.
    """
    if not (listed := _listed(output)):
        return []
    names = {path.name for path in output.iterdir() if not path.name.startswith(".")}
    others = ", ".join(sorted(names - listed - _OURS_TOO))
    return [f"removed with the old {output.name}: {others}."] if others else []
