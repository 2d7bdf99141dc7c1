"""The PyTorch reference in a process of its own, in an interpreter that has it.

That may be this very interpreter or another environment; either way the two programs share no
state, and the reference's gigabytes are given back when it ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from convert.sources import find_source
from mlx_chatterbox.config import CONFIG_NAME, ModelConfig
from mlx_chatterbox.hub import is_converted
from mlx_chatterbox.origin import recall

from ..errors import ParityError, ReferenceMissing

# Puts the packages named, and nothing else that may lie beside them, into the other interpreter.
_BOOTSTRAP = """\
import importlib.util, runpy, sys
folders, module = sys.argv[1].split(";"), sys.argv[2]
sys.argv = sys.argv[2:]
for folder in folders:
    name = folder.replace("\\\\", "/").rsplit("/", 1)[-1]
    spec = importlib.util.spec_from_file_location(
        name, folder + "/__init__.py", submodule_search_locations=[folder])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
runpy.run_module(module, run_name="__main__", alter_sys=False)
"""


def default_venv() -> Path:
    """Folder of the environment that `python -m parity setup` makes."""
    if sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "mlx-chatterbox" / "reference"


def interpreter_of(venv: Path) -> Path:
    """Path of a virtual environment's Python."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def find_interpreter(explicit: str | Path | None = None) -> str:
    """Find the reference's Python: the one given, this one, or that of `parity setup`.

    Raises:
        ReferenceMissing: there is none; the message says how to get one.
    """
    if explicit is not None:
        if not Path(explicit).is_file():
            raise ReferenceMissing(f"--reference-python {explicit}: no such file.")
        return str(explicit)
    if all(importlib.util.find_spec(name) is not None for name in ("torch", "chatterbox")):
        return sys.executable
    installed = interpreter_of(default_venv())
    if installed.is_file():
        return str(installed)
    raise ReferenceMissing(
        "upstream's PyTorch package is not installed here. Run `python -m parity setup` once (1 to "
        "6 GB, by the build of PyTorch), or name an interpreter that has it by --reference-python."
    )


@dataclass(frozen=True)
class Upstream:
    """A folder of upstream's files, and the model in it."""

    folder: Path
    variant: str
    t3_file: str


def upstream_of(
    folder: str | Path, variant: str | None = None, t3_file: str | None = None
) -> Upstream:
    """Find upstream's files: the folder itself, or the one it was converted from.

    Args:
        variant, t3_file: which model in a folder of upstream's, as in `convert`.

    Raises:
        ParityError: a converted checkpoint whose source was a repository, or is gone.
        CheckpointError: upstream's files are not there.
    """
    folder = Path(folder)
    if not is_converted(folder):
        row = find_source(folder, variant, t3_file)
        return Upstream(folder, row.name, row.t3_file)
    config = ModelConfig.load(folder)
    source = recall(config.source) or _stated_folder(config.source)
    if source is None:
        raise ParityError(
            f"{folder} is a converted checkpoint ({CONFIG_NAME}) and its original files are not "
            "here; the torch backend needs a folder in upstream's format."
        )
    row = find_source(source, config.variant, _converted_t3(config.source.get("files", {})))
    return Upstream(source, row.name, row.t3_file)


def _stated_folder(source: Mapping[str, object]) -> Path | None:
    """Folder whose whole path conversions by earlier versions noted."""
    folder = Path(str(source.get("folder", "")))
    return folder if folder.is_absolute() and folder.is_dir() else None


def _converted_t3(files: Mapping[str, str]) -> str | None:
    """Name of T3's file among those that a checkpoint was converted from."""
    others = ("s3gen", "ve.")
    names = [n for n in files if n.endswith(".safetensors") and not n.startswith(others)]
    return names[0] if len(names) == 1 else None


def torch_dump(
    python: str,
    folder: str | Path,
    inputs: str | Path,
    output: str | Path,
    variant: str = "english",
    t3_file: str | None = None,
    t3_layers: int | None = None,
) -> None:
    """Write the reference's dump of the dump `inputs` on the upstream-format folder `folder`.

    Args:
        variant: which of the models in `folder`.
        t3_file: T3's file where it is not the variant's own.
        t3_layers: depth of T3 where it is not the variant's own (tests).

    Raises:
        ParityError: the reference failed; the message is its own.
    """
    arguments = ["--checkpoint", str(folder), "--inputs", str(inputs), "--output", str(output)]
    arguments += ["--variant", variant]
    if t3_file is not None:
        arguments += ["--t3-file", t3_file]
    if t3_layers is not None:
        arguments += ["--t3-layers", str(t3_layers)]
    run_module(python, "parity.torch.backend", arguments)


def taps_job(
    upstream: Upstream,
    inputs: str | Path,
    names: str | Path,
    output: str | Path,
    stages: Sequence[str] | None = None,
    calls: int | None = None,
    config: str | Path | None = None,
) -> list[str]:
    """Arguments of `parity.torch.backend` for a file of taps; see `run_jobs`.

    Args:
        inputs: dump with the stages' inputs.
        names: JSON of `tap_names.upstream_names`.
        output: the file to write.
        stages: these alone.
        calls: of a layer in a stage.
        config: `config.json` of ours with the sizes, where they are not upstream's.
    """
    job = [*_model_arguments(upstream, config), "--inputs", str(inputs), "--output", str(output)]
    job += ["--taps", str(names)]
    if calls is not None:
        job += ["--calls", str(calls)]
    return job if stages is None else [*job, "--stages", *stages]


def dump_job(
    upstream: Upstream, inputs: str | Path, output: str | Path, config: str | Path | None = None
) -> list[str]:
    """Arguments of `parity.torch.backend` for a dump of the stages' outputs; see `run_jobs`."""
    return [*_model_arguments(upstream, config), "--inputs", str(inputs), "--output", str(output)]


def _model_arguments(upstream: Upstream, config: str | Path | None) -> list[str]:
    arguments = ["--checkpoint", str(upstream.folder), "--variant", upstream.variant]
    arguments += ["--t3-file", upstream.t3_file]
    return arguments if config is None else [*arguments, "--config", str(config)]


def run_jobs(python: str, jobs: Sequence[Sequence[str]]) -> None:
    """Run several jobs of the reference in one process, since loading PyTorch takes long.

    Raises:
        ParityError: the reference failed; the message is its own.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "jobs.json")
        file.write_text(json.dumps([list(job) for job in jobs]), encoding="utf-8")
        run_module(python, "parity.torch.backend", ["--jobs", str(file)])


def torch_texts(python: str, folder: str | Path, texts: Sequence[str]) -> Mapping[str, list]:
    """Upstream's normalised texts and token ids; see `parity.torch.text.text_reference`."""
    with tempfile.TemporaryDirectory() as temporary:
        source, output = Path(temporary, "texts.json"), Path(temporary, "result.json")
        source.write_text(json.dumps(list(texts)), encoding="utf-8")
        arguments = ["--checkpoint", str(folder), "--texts", str(source), "--output", str(output)]
        run_module(python, "parity.torch.backend", arguments)
        return json.loads(output.read_text(encoding="utf-8"))


def module_command(
    python: str, module: str, arguments: Sequence[str], packages: Sequence[str] = ("parity",)
) -> list[str]:
    """Command that runs a module of these packages of ours in another interpreter."""
    beside = Path(__file__).resolve().parents[2]
    folders = ";".join(str(beside / package) for package in packages)
    return [python, "-c", _BOOTSTRAP, folders, module, *arguments]


def run_module(python: str, module: str, arguments: Sequence[str]) -> None:
    """Run one of this package's modules in another interpreter, quietly unless it fails."""
    environment = os.environ | {
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONIOENCODING": "utf-8",
    }
    command = module_command(python, module, arguments)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, encoding="utf-8"
        )
    except OSError as error:
        raise ReferenceMissing(f"{python} cannot be run: {error}.") from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        message = next((line for line in lines if line.startswith("error: ")), None)
        reason = message.removeprefix("error: ") if message else "\n".join(lines[-15:])
        raise ParityError(f"the PyTorch reference failed ({python}): {reason}")
