"""Jobs of the PyTorch reference, each in a process of its own interpreter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .files import Upstream
from .interpreter import run_module


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
        names: JSON of `taps.upstream_names`.
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
