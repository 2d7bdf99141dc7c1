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
from dataclasses import dataclass, field
from pathlib import Path

from .compare import Comparison, compare
from .dumps import read_dump, read_dump_with_metadata, write_dump
from .errors import ParityError
from .precisions import as_float32, convert_to
from .reference import find_interpreter, torch_dump, upstream_of
from .synthetic_voice import SAMPLE_RATE

CONVERTED_STAMP = "parity-run.json"


@dataclass
class Settings:
    """What `run` is asked to do; the command line's options, under their names."""

    variant: str = "english"
    t3_file: str | None = None
    weights: Path | None = None
    work: Path | None = None
    seed: int = 0
    audio: Path | None = None
    reference_python: Path | None = None
    precisions: tuple[str, ...] = ("float32",)


@dataclass
class Result:
    """The comparisons, and where they come from, for the reports."""

    comparisons: list[Comparison]
    about: dict = field(default_factory=dict)


def run(settings: Settings) -> Result:
    """Compare our networks with both references.

    Raises:
        ParityError: the reference is not installed or failed.
        ChatterboxError: the weights cannot be converted or loaded, or the recording not read.
    """
    # Asked first: without a reference or the recording, minutes of work would be for nothing.
    python = find_interpreter(settings.reference_python)
    if settings.audio is not None:
        from mlx_chatterbox.audio.files import load_audio

        load_audio(settings.audio, SAMPLE_RATE)
    with _work_folder(settings.work) as work:
        folder = work / settings.variant
        folder.mkdir(exist_ok=True)
        return _run_in(folder, settings, python)


def _run_in(work: Path, settings: Settings, python: str) -> Result:
    upstream = upstream_weights(work, settings)
    converted = converted_weights(work, upstream, settings)
    inputs_path, torch_path = work / "inputs.safetensors", work / "torch.safetensors"
    with phase("inputs"):
        inputs = inputs_of(converted, settings)
        write_dump(inputs_path, inputs)
    with phase("torch reference"):
        torch_path.unlink(missing_ok=True)
        found = upstream_of(upstream, settings.variant, settings.t3_file)
        torch_dump(python, upstream, inputs_path, torch_path, found.variant, found.t3_file)
    with phase("numpy reference"):
        from mlx_chatterbox.config import ModelConfig

        from .numpy_networks import networks_of
        from .numpy_reference import compute as compute_numpy

        config = ModelConfig.load(converted)
        by_numpy = compute_numpy(inputs, networks_of(upstream, config, settings.variant))
        write_dump(work / "numpy.safetensors", by_numpy, {"backend": "numpy"})
    by_torch, metadata = read_dump_with_metadata(torch_path)
    # Read back, so that what is compared is what lies in the files.
    by_numpy = read_dump(work / "numpy.safetensors")
    comparisons = []
    for precision in settings.precisions:
        folder = converted
        if precision != "float32":
            folder = converted_weights(work, upstream, settings, precision)
        path = _compute_ours(work, folder, inputs, precision)
        ours = read_dump(path)
        name = "mlx" if precision == "float32" else f"mlx {precision}"
        comparisons.append(compare(by_torch, ours, names=(name, "torch"), precision=precision))
        if precision == "float32":
            comparisons.append(compare(by_numpy, ours, names=(name, "numpy")))
    common = {name: by_torch[name] for name in by_numpy if name in by_torch}
    comparisons.append(compare(common, by_numpy, names=("numpy", "torch")))
    return Result(comparisons, _about(settings, metadata))


def _compute_ours(work: Path, folder: Path, inputs: dict, precision: str) -> Path:
    """Write the dump of our networks in a precision, in float32 whatever that is."""
    from .mlx_backend import compute

    ending = "" if precision == "float32" else f"-{precision}"
    with phase(f"mlx{ending}"):
        ours = compute(folder, inputs)
        if precision != "float32":
            ours = as_float32(ours)
        about = {"backend": "mlx", "precision": precision}
        return write_dump(work / f"mlx{ending}.safetensors", ours, about)


def _about(settings: Settings, torch_metadata: dict[str, str]) -> dict:
    import mlx.core as mx

    from mlx_chatterbox._version import __version__

    return {
        "variant": settings.variant,
        "weights": "fabricated" if settings.weights is None else str(settings.weights),
        "seed": settings.seed,
        "audio": "synthetic" if settings.audio is None else str(settings.audio),
        "dtype": "float32",
        "precisions": list(settings.precisions),
        "versions": {
            "mlx-chatterbox": __version__,
            "mlx": mx.__version__,
            "device": mx.default_device().type.name,
            "reference": json.loads(torch_metadata.get("versions", "{}")),
        },
    }


def upstream_weights(work: Path, settings: Settings) -> Path:
    """The weights in upstream's format: the given folder, or a fabricated one, kept in `work`."""
    from mlx_chatterbox.variants import variant_named

    variant = variant_named(settings.variant)
    if settings.weights is not None:
        if not settings.weights.is_dir():
            raise ParityError(f"--weights {settings.weights}: no such folder.")
        return settings.weights
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
    stamp_file.write_text(json.dumps(stamp) + "\n", encoding="utf-8")
    return folder


def inputs_of(converted: Path, settings: Settings) -> dict:
    """Inputs for every stage of the model in `converted`."""
    from mlx_chatterbox.config import ModelConfig

    from .inputs import make_inputs

    return make_inputs(ModelConfig.load(converted), settings.seed, settings.audio)


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
