"""Files that parity reads back: the record of a run, errors by layer, reports, calls of layers."""

from __future__ import annotations

import json
import random
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from mlx_chatterbox.errors import ChatterboxError
from mlx_chatterbox.parity.errors import ParityError
from tests.fuzz_damage import (
    damage_bytes,
    damage_header,
    damage_json,
    damage_tensors,
    safetensors_of,
    tensors_of,
)
from tests.fuzzing import Reader


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "s3_tokenizer/tokens": rng.integers(0, 6561, 25).astype(np.int32),
        "flow/mel": rng.standard_normal((40, 80)).astype(np.float32),
        "watermark/answer": rng.standard_normal(1).astype(np.float32),
    }


@cache
def _texts() -> dict[str, bytes]:
    about = {
        "variant": "english",
        "weights": "somebody/<model>",
        "precisions": ["float32"],
        "versions": {"mlx": "0.1", "reference": {"torch": "2.0"}},
        "machine": {"device": "cpu", "float32 products": "relative error 2e-07", "TF32": "no"},
        "sha256": {"weights": {"ve.safetensors": "ab12"}},
    }
    layer = {"name": "a", "call": 0, "output_error": 1e-6, "input_error": None}
    layers = [{"stage": "flow", "differs_first": "b#0", "layers": [layer, {**layer, "name": "b"}]}]
    row = {
        "stage": "flow", "output": "flow/mel", "checked": "mlx", "reference": "torch",
        "error": 1e-6, "bound": 1e-4, "holds": True, "problem": None,
    }  # fmt: skip
    report = {"holds": True, "about": about, "rows": [row]}
    values = {"about.json": about, "layers.json": layers, "report.json": report}
    return {name: json.dumps(value).encode() for name, value in values.items()}


def read_run(path: Path) -> None:
    """The first line is the damaged file's name."""
    from mlx_chatterbox.parity.dumps import write_dump
    from mlx_chatterbox.parity.report import baseline
    from mlx_chatterbox.parity.report.report import of_folder, read_layers
    from mlx_chatterbox.parity.report.tables import computed_on
    from mlx_chatterbox.parity.report.writing import write_all

    name, _, content = path.read_bytes().partition(b"\n")
    files = dict(_texts())
    files[name.decode("latin-1") if name.decode("latin-1") in files else "about.json"] = content
    folder = path.parent / "run"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_bytes(text)
    for file in ("torch.safetensors", "mlx.safetensors"):
        write_dump(folder / file, _arrays())
    report = of_folder(folder)
    read_layers(folder / "layers.json")
    computed_on(report.metadata)
    write_all(report, folder / "written")
    document = baseline.read_report(folder / "report.json")
    known = {"english": {"mlx against torch": {"flow/mel": 1e-6}}}
    for growth in baseline.growths(document, known):
        str(growth)
    baseline.of_reports([document])


def runs() -> list[bytes]:
    return [name.encode() + b"\n" + content for name, content in _texts().items()]


def damage_text(rng: random.Random, content: bytes) -> bytes:
    """Damage of what follows the first line."""
    name, _, rest = content.partition(b"\n")
    damage = damage_bytes if rng.random() < 0.3 else damage_json
    return name + b"\n" + damage(rng, rest)


def read_taps(path: Path) -> None:
    from mlx_chatterbox.parity.taps.recording import read_taps

    found = read_taps(path)
    for tap in found.taps:
        assert tap.key
        for values in (*tap.inputs.values(), *tap.outputs.values()):
            np.asarray(values, np.float64)


@cache
def taps() -> list[bytes]:
    from mlx_chatterbox.parity.taps.recording import Tap, write_taps

    values = _arrays()["flow/mel"]
    made = [
        Tap("flow", name, 1, parent, index, {"x": values}, {"out": values + index})
        for index, (name, parent) in enumerate((("a", ""), ("a.b", "a#1")))
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.taps"
        write_taps(path, made, {"flow/mel": values})
        return [path.read_bytes()]


def damage_rows(rng: random.Random, content: bytes) -> bytes:
    """The list of layers in the metadata."""
    try:
        tensors, metadata = tensors_of(content)
        metadata["taps"] = damage_json(rng, metadata["taps"].encode()).decode("utf-8", "replace")
        return safetensors_of(tensors, metadata)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return damage_bytes(rng, content)


_REFUSED = (ChatterboxError, ParityError)

READERS = (
    Reader("parity-run", read_run, runs, (damage_text,), refuses=_REFUSED, quick=0),
    Reader(
        "taps", read_taps, taps, (damage_rows, damage_rows, damage_tensors, damage_header),
        ".safetensors", refuses=_REFUSED, quick=0,
    ),
)  # fmt: skip
