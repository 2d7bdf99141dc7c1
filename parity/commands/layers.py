"""`bisect` and `mutate`, which look at layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mlx_chatterbox.weights.checkpoint import load
from mlx_chatterbox.weights.hub import holds_chattts

from ..dumps import write_dump
from ..errors import ParityError
from ..faults.planting import faults, faults_of, planted
from ..layers.bisect import as_text, first_fault
from ..layers.bisect import bisect as bisect_taps
from ..layers.both_sides import small_models, torch_taps
from ..layers.mutants import mutants_as_text, try_fault
from ..layers.profiles import as_plain
from ..layers.saving import Model, save
from ..mlx.backend import record_with
from ..numpy.chattts_backend import ChatTTSReference, record
from ..progress import phase
from ..report.report import LAYERS_NAME
from ..report.tables import write_file
from ..run import chattts_inputs, inputs_of, work_folder
from ..tables.stage import CHATTTS
from ..taps.recording import TapFile, read_taps
from ..upstream.chattts_files import load_chattts, own_files
from ..upstream.files import upstream_of
from ..upstream.interpreter import find_interpreter
from ..weights import converted_weights, located, upstream_weights
from . import options


def bisect(arguments) -> int:
    """Run `python -m parity bisect`; 1 if a layer differs."""
    with work_folder(arguments.work) as work:
        if arguments.found is not None and arguments.reference is not None:
            expected, actual = read_taps(arguments.reference), read_taps(arguments.found).taps
            model = None
        else:
            expected, model = _reference(arguments, work)
            with planted(arguments.fault, model.networks):
                actual = record_with(
                    model.networks, expected.inputs, arguments.stages, arguments.calls
                )
        findings = bisect_taps(expected.taps, actual, arguments.stages)
        print(as_text(findings))
        _write_layers(arguments, findings, model)
        fault = first_fault(findings)
        if fault is None:
            return 0
        if model is not None:
            folder = save(fault, arguments.save, _as_model(model, expected), arguments.fault)
            print(f"\nsaved: {folder}; by itself: python {folder / 'reproduce.py'}")
        return 1


def _write_layers(arguments, findings, model) -> None:
    """Write the layers' errors where `--json` says, and beside a kept run's dumps for `report`."""
    paths = [arguments.json]
    whole_run = arguments.work and not (arguments.small or arguments.fault or arguments.stages)
    if whole_run and arguments.reference is None:
        paths.append(model.folder.parent / LAYERS_NAME)
    for path in paths:
        if path is not None:
            write_file(path, json.dumps(as_plain(findings), indent=2) + "\n")


def _as_model(checkpoint, expected):
    return Model(checkpoint.networks, checkpoint.config, checkpoint.folder, expected.inputs)


def _reference(arguments, work: Path):
    """Load the reference's taps and our checkpoint."""
    if arguments.reference is not None:
        if arguments.checkpoint is None:
            raise ParityError("--reference also needs --checkpoint FOLDER or --found TAPS.")
        is_second = holds_chattts(arguments.checkpoint)
        loaded = (load_chattts if is_second else load)(arguments.checkpoint)
        return read_taps(arguments.reference), loaded
    if arguments.small:
        variant = arguments.variant or "english"
        if arguments.fault in faults() and arguments.fault not in faults_of(variant):
            variant = faults()[arguments.fault].variant
        small = small_models(work, _interpreter(arguments), [variant])[variant]
        return TapFile(small.taps, small.inputs, {}), small.load()
    settings = located(options.settings(arguments))
    folder = work / settings.variant
    folder.mkdir(exist_ok=True)
    if settings.variant == CHATTTS:
        return _chattts_reference(arguments, folder, settings)
    python = find_interpreter(arguments.reference_python)
    upstream = upstream_weights(folder, settings)
    converted = converted_weights(folder, upstream, settings)
    model = load(converted)
    inputs = write_dump(folder / "inputs.safetensors", inputs_of(converted, settings))
    with phase("torch reference"):
        files = upstream_of(upstream, settings.variant, settings.t3_file)
        chosen = {"stages": arguments.stages, "calls": arguments.calls}
        output = folder / "torch.taps"
        torch_taps(python, files, model.networks, inputs, output, **chosen)
    try:
        return read_taps(output), model
    finally:
        output.unlink()


def _chattts_reference(arguments, folder: Path, settings):
    """NumPy's taps of ChatTTS's own files, and our checkpoint."""
    upstream = upstream_weights(folder, settings)
    model = load_chattts(converted_weights(folder, upstream, settings))
    inputs = chattts_inputs(upstream, settings)
    with phase("numpy reference"):
        reference = ChatTTSReference(*own_files(upstream))
        taps = record(reference, inputs, arguments.stages, arguments.calls)
    return TapFile(taps, inputs, {}), model


def _interpreter(arguments) -> Callable[[], str]:
    """Finder of the reference's interpreter, which not every model needs."""
    return lambda: find_interpreter(arguments.reference_python)


def mutate(arguments) -> int:
    """Run `python -m parity mutate`; 0 if every planted fault is caught and named."""
    own = faults_of(arguments.variant)
    if arguments.list:
        print("\n".join(f"{fault.name}: {fault.what} ({fault.layer})" for fault in own.values()))
        return 0
    unknown = [name for name in arguments.faults if name not in faults()]
    if unknown:
        raise ParityError(f"{', '.join(unknown)}: no such fault; `--list` names them.")
    chosen = [own[name] for name in arguments.faults or own if name in own]
    if not chosen:
        raise ParityError(f"none of these faults is of {arguments.variant}.")
    variants = list(dict.fromkeys(fault.variant for fault in chosen))
    with work_folder(arguments.work) as work:
        models = small_models(work, _interpreter(arguments), variants)
        mutants = [try_fault(models[fault.variant], fault) for fault in chosen]
    print(mutants_as_text(mutants))
    return 0 if all(mutant.caught and mutant.found for mutant in mutants) else 1
