"""`python -m parity run`: from nothing to a verdict, each step once, in a work folder.

Weights (given, or fabricated) are converted as a user's would be; the reference computes every
stage from the original files, ours from the converted ones, both from one dump of inputs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .dumps import read_dump_with_metadata, write_dump
from .errors import ParityError
from .precisions import as_float32, convert_to
from .provenance import ABOUT_NAME, about
from .reference import find_interpreter, torch_dump, upstream_of
from .report import LAYERS_NAME, NUMPY_NAME, TORCH_NAME, Report, dump_name, of_folder
from .stages import PIPELINE, STAGES
from .synthetic_voice import SAMPLE_RATE
from .whole import write_text

CONVERTED_STAMP = "parity-run.json"


@dataclass
class Settings:
    """What `run` is asked to do; the command line's options, under their names."""

    variant: str | None = None
    t3_file: str | None = None
    weights: Path | str | None = None
    work: Path | None = None
    seed: int = 0
    audio: Path | None = None
    reference_python: Path | None = None
    precisions: tuple[str, ...] = ("float32",)
    weights_name: str | None = None  # how to call the weights; set by `weights.located`


def run(settings: Settings) -> Report:
    """Compare our networks with both references; the work folder keeps the dumps behind it.

    Raises:
        ParityError: the reference is not installed or failed.
        ChatterboxError: the weights cannot be converted or loaded, or the recording not read.
    """
    # Asked first: without a reference or the recording, minutes of work would be for nothing.
    python = find_interpreter(settings.reference_python)
    if settings.audio is not None:
        from mlx_chatterbox.audio.files import load_audio

        load_audio(settings.audio, SAMPLE_RATE)
    from .weights import located

    settings = located(settings)
    with _work_folder(settings.work) as work:
        folder = work / settings.variant
        folder.mkdir(exist_ok=True)
        return _run_in(folder, settings, python)


def _run_in(work: Path, settings: Settings, python: str) -> Report:
    upstream = upstream_weights(work, settings)
    converted = converted_weights(work, upstream, settings)
    dumps = {"inputs": work / "inputs.safetensors", "torch": work / TORCH_NAME}
    for earlier in (ABOUT_NAME, LAYERS_NAME):
        (work / earlier).unlink(missing_ok=True)
    with phase("inputs"):
        inputs = inputs_of(converted, settings)
        write_dump(dumps["inputs"], inputs)
    with phase("torch reference"):
        dumps["torch"].unlink(missing_ok=True)
        found = upstream_of(upstream, settings.variant, settings.t3_file)
        torch_dump(python, upstream, dumps["inputs"], dumps["torch"], found.variant, found.t3_file)
    with phase("numpy reference"):
        from mlx_chatterbox.config import ModelConfig

        from .numpy_networks import networks_of
        from .numpy_reference import compute as compute_numpy

        config = ModelConfig.load(converted)
        by_numpy = compute_numpy(inputs, networks_of(upstream, config, settings.variant))
        dumps["numpy"] = write_dump(work / NUMPY_NAME, by_numpy, {"backend": "numpy"})
    for precision in settings.precisions:
        folder = converted
        if precision != "float32":
            folder = converted_weights(work, upstream, settings, precision)
        dumps[f"mlx {precision}"] = _compute_ours(work, folder, inputs, precision)
    known = about(settings, converted, dumps, read_dump_with_metadata(dumps["torch"])[1])
    write_text(work / ABOUT_NAME, json.dumps(known, indent=1) + "\n")
    # Read back, so that what is compared is what lies in the files.
    return of_folder(work, settings.precisions)


def _compute_ours(work: Path, folder: Path, inputs: dict, precision: str) -> Path:
    """Write the dump of our networks in a precision, in float32 whatever that is."""
    from .mlx_backend import compute

    name = dump_name(precision)
    only = [stage.name for stage in STAGES if stage.name != PIPELINE or precision == "float32"]
    with phase(name.removesuffix(".safetensors")):
        ours = compute(folder, inputs, only)
        if precision != "float32":
            ours = as_float32(ours)
        metadata = {"backend": "mlx", "precision": precision}
        return write_dump(work / name, ours, metadata)


def upstream_weights(work: Path, settings: Settings) -> Path:
    """The weights in upstream's format: the given folder, or a fabricated one, kept in `work`."""
    from mlx_chatterbox.variants import variant_named

    variant = variant_named(settings.variant)
    if settings.weights is not None:
        if not Path(settings.weights).is_dir():
            raise ParityError(f"--weights {settings.weights}: no such folder.")
        return Path(settings.weights)
    from .fabricate import fabricate_layout, is_fabricated, upstream_shapes

    folder = work / "upstream"
    layout = upstream_shapes(variant.default_config(), variant=variant.name)
    if is_fabricated(folder, layout, variant.name, settings.seed):
        _say(f"fabricated weights: kept from before, in {folder}")
        return folder
    with phase("fabricate weights") as progress:
        fabricate_layout(folder, layout, variant.name, settings.seed, progress)
    return folder


def converted_weights(
    work: Path, upstream: Path, settings: Settings, precision: str = "float32"
) -> Path:
    """A conversion of `upstream`, reused if neither the files nor the converter changed."""
    ending = "" if precision == "float32" else f"-{precision}"
    folder = work / f"converted{ending}"
    stamp_file = work / CONVERTED_STAMP.replace(".json", f"{ending}.json")
    model = {"variant": settings.variant, "t3_file": settings.t3_file}
    stamp = {**model, "files": _fingerprint(upstream), "code": _code_hash()}
    if _reads_as(stamp_file, stamp) and folder.is_dir():
        _say(f"converted checkpoint: kept from before, in {folder}")
        return folder
    stamp_file.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    with phase("convert") as progress:
        shared = None if settings.work is None else settings.work / "shared"
        # What several models share is kept once, which is for float32 alone.
        shared = shared if precision == "float32" else None
        convert_to(precision, upstream, folder, **model, progress=progress, shared=shared)
    write_text(stamp_file, json.dumps(stamp) + "\n")
    return folder


def inputs_of(converted: Path, settings: Settings) -> dict:
    """Inputs for every stage of the model in `converted`."""
    from mlx_chatterbox.config import ModelConfig

    from .inputs import inputs_with_pipeline

    return inputs_with_pipeline(ModelConfig.load(converted), settings.seed, settings.audio)


def _fingerprint(folder: Path) -> list[str]:
    """Path, size and time of every file, which change when a file does."""
    return [
        f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]


def _code_hash() -> str:
    """Of the converter and the configurations, so that a change to either converts anew."""
    import convert
    import mlx_chatterbox

    package = Path(mlx_chatterbox.__file__).parent
    files = [*Path(convert.__file__).parent.glob("*.py"), *package.rglob("*config*.py")]
    digest = hashlib.sha256()
    for path in sorted([*files, package / "variants.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _reads_as(path: Path, value: dict) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8")) == value
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    """The folder given, kept; or a temporary one, removed at the end whatever happens."""
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="mlx-chatterbox-parity-") as temporary:
        yield Path(temporary)


@contextlib.contextmanager
def phase(name: str) -> Iterator[Callable[[int, int], None]]:
    """Time a step: a bar on a terminal where it tells its progress, and one line when it ends."""
    from tqdm import tqdm

    start = time.perf_counter()
    with tqdm(
        desc=name, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty()
    ) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
    _say(f"{name}: {time.perf_counter() - start:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
