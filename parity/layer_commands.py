"""The commands that look at layers: `bisect` and `mutate`."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlx_chatterbox.number_options import whole

from . import options

BISECT = """\
Walks the layers of every network in order of computation, holds what each was given and what it
made against the reference, and names the first that makes something else of the same. Its inputs,
outputs and weights are saved with a script that calls it by itself."""

BISECT_EXAMPLES = """\
examples:
  python -m parity bisect --small                 a model of seconds, against upstream's classes
  python -m parity bisect --small --fault wrong_gelu      the same with a fault planted
  python -m parity bisect --variant turbo --stages t3     full size, one stage
  python -m parity bisect --reference torch.taps --checkpoint FOLDER   against a file, no PyTorch
  python -m parity bisect --reference torch.taps --found mine.taps     two files
a file is written by `python -m parity dump --taps`"""


def add_bisect(commands, parser_class) -> None:
    """`python -m parity bisect`."""
    bisect = commands.add_parser(
        "bisect",
        help="find the first layer that differs",
        description=BISECT,
        epilog=BISECT_EXAMPLES,
        formatter_class=parser_class,
    )
    bisect.add_argument("--variant", help="default: english, or what the weights are")
    bisect.add_argument("--t3", dest="t3_file", metavar="FILE", help="as in `run`")
    bisect.add_argument("--weights", metavar="FOLDER or OWNER/NAME", help="as in `run`")
    bisect.add_argument("--work", type=Path, metavar="DIR", help="as in `run`")
    options.seed(bisect)
    bisect.add_argument("--audio", type=Path, metavar="WAV", help="as in `run`")
    bisect.add_argument("--small", action="store_true", help="a small model with made-up weights")
    bisect.add_argument("--reference-python", type=Path, metavar="PATH", help="as in `run`")
    bisect.add_argument("--reference", type=Path, metavar="TAPS", help="a file, not PyTorch")
    bisect.add_argument("--checkpoint", type=Path, metavar="FOLDER", help="ours, with --reference")
    bisect.add_argument("--found", type=Path, metavar="TAPS", help="in place of a checkpoint")
    add_stages(bisect)
    bisect.add_argument("--fault", default="", metavar="NAME", help="plant one of `mutate`'s")
    bisect.add_argument(
        "--save",
        type=Path,
        metavar="DIR",
        default=Path("parity-bisect"),
        help="where what reproduces a difference goes, if there is one (default: %(default)s)",
    )
    bisect.add_argument("--json", type=Path, metavar="F", help="write all layers' errors too")
    bisect.set_defaults(function=_bisect)


def add_mutate(commands) -> None:
    """`python -m parity mutate`."""
    mutate = commands.add_parser(
        "mutate",
        help="plant faults one at a time: is each caught, and named?",
        description="Plants realistic porting faults in small models of ours, one at a time: `run` "
        "must catch each, `bisect` must name the layer it is in.",
    )
    mutate.add_argument("faults", nargs="*", metavar="FAULT", help="these alone")
    mutate.add_argument("--list", action="store_true", help="say which there are, and what they do")
    mutate.add_argument("--work", type=Path, metavar="DIR", help="keep the small models here")
    mutate.add_argument("--reference-python", type=Path, metavar="PATH", help="as in `run`")
    mutate.set_defaults(function=_mutate)


def add_stages(command) -> None:
    """Which stages, and how many calls of a layer in each."""
    from .tap_names import CALLS, TAPPED_STAGES

    command.add_argument(
        "--stages", nargs="+", choices=TAPPED_STAGES, metavar="STAGE", help="these alone"
    )
    command.add_argument(
        "--calls",
        type=whole(1, 10_000),
        default=CALLS,
        metavar="N",
        help="how many calls of a layer are looked at in a stage (default: %(default)s)",
    )


@contextlib.contextmanager
def _work(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="mlx-chatterbox-parity-") as temporary:
        yield Path(temporary)


def _bisect(arguments) -> int:
    from .bisect import as_text, bisect, first_fault
    from .mlx_backend import record_with
    from .mutations import planted
    from .taps import read_taps

    with _work(arguments.work) as work:
        if arguments.found is not None and arguments.reference is not None:
            expected, found = read_taps(arguments.reference), read_taps(arguments.found).taps
            model = None
        else:
            expected, model = _reference(arguments, work)
            with planted(arguments.fault, model.networks):
                found = record_with(
                    model.networks, expected.inputs, arguments.stages, arguments.calls
                )
        findings = bisect(expected.taps, found, arguments.stages)
        print(as_text(findings))
        _write_layers(arguments, findings, model)
        fault = first_fault(findings)
        if fault is None:
            return 0
        if model is not None:
            from .reproduction import save

            folder = save(fault, arguments.save, _as_model(model, expected), arguments.fault)
            print(f"\nsaved: {folder}; by itself: python {folder / 'reproduce.py'}")
        return 1


def _write_layers(arguments, findings, model) -> None:
    """Where it was asked for, and beside a kept run's dumps, where `report` finds it."""
    from .profiles import as_plain
    from .report import LAYERS_NAME
    from .tables import write_file

    paths = [arguments.json]
    whole_run = arguments.work and not (arguments.small or arguments.fault or arguments.stages)
    if whole_run and arguments.reference is None:
        paths.append(model.folder.parent / LAYERS_NAME)
    for path in paths:
        if path is not None:
            write_file(path, json.dumps(as_plain(findings), indent=2) + "\n")


def _as_model(checkpoint, expected):
    from .reproduction import Model

    return Model(checkpoint.networks, checkpoint.config, checkpoint.folder, expected.inputs)


def _reference(arguments, work: Path):
    """The reference's taps, and our checkpoint, loaded."""
    from mlx_chatterbox.checkpoint import load

    from .errors import ParityError
    from .reference import find_interpreter, upstream_of
    from .taps import read_taps

    if arguments.reference is not None:
        if arguments.checkpoint is None:
            raise ParityError("--reference needs --checkpoint FOLDER or --found TAPS beside it.")
        return read_taps(arguments.reference), load(arguments.checkpoint)
    python = find_interpreter(arguments.reference_python)
    if arguments.small:
        from .layerwise import small_models
        from .mutations import faults

        known = faults().get(arguments.fault)
        variant = (arguments.variant or "english") if known is None else known.variant
        small = small_models(work, python, [variant])[variant]
        return read_taps(work / variant / "torch.taps"), load(small.converted)
    from .dumps import write_dump
    from .layerwise import torch_taps
    from .run import Settings, converted_weights, inputs_of, phase, upstream_weights
    from .weights import located

    names = ("variant", "t3_file", "weights", "work", "seed", "audio", "reference_python")
    settings = located(Settings(**{name: getattr(arguments, name) for name in names}))
    folder = work / settings.variant
    folder.mkdir(exist_ok=True)
    upstream = upstream_weights(folder, settings)
    converted = converted_weights(folder, upstream, settings)
    model = load(converted)
    inputs = write_dump(folder / "inputs.safetensors", inputs_of(converted, settings))
    with phase("torch reference"):
        found = upstream_of(upstream, settings.variant, settings.t3_file)
        chosen = {"stages": arguments.stages, "calls": arguments.calls}
        output = folder / "torch.taps"
        torch_taps(python, found, model.networks, inputs, output, **chosen)
    try:
        return read_taps(output), model
    finally:
        output.unlink()


def _mutate(arguments) -> int:
    from .errors import ParityError
    from .layerwise import mutant, mutants_as_text, small_models
    from .mutations import faults
    from .reference import find_interpreter

    known = faults()
    if arguments.list:
        print("\n".join(f"{fault.name}: {fault.what} ({fault.layer})" for fault in known.values()))
        return 0
    unknown = [name for name in arguments.faults if name not in known]
    if unknown:
        raise ParityError(f"{', '.join(unknown)}: no such fault; `--list` says which there are.")
    chosen = [known[name] for name in arguments.faults or known]
    python = find_interpreter(arguments.reference_python)
    variants = list(dict.fromkeys(fault.variant for fault in chosen))
    with _work(arguments.work) as work:
        models = small_models(work, python, variants)
        mutants = [mutant(models[fault.variant], fault) for fault in chosen]
    print(mutants_as_text(mutants))
    return 0 if all(one.caught and one.found for one in mutants) else 1
