"""`python -m mlx_chatterbox.train`: fine-tune Chatterbox as a YAML file configures it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..commands.cli import add_version, run_command
from ..errors import SettingError
from ..runtime.option_rules import Rule, ignored
from ..runtime.progress import Bars
from .init import STRATEGIES

# Refused for `resume` and `export`, which read the run's own configuration.
RULES = {
    name: Rule(("train", "validate"), "belongs to training and to validate")
    for name in ("--config", "--set")
}
PROGRAM = "python -m mlx_chatterbox.train"

DESCRIPTION = """\
Fine-tunes Chatterbox on recordings with their texts. The settings are in a YAML file. All of them,
and the way from a folder of recordings to a voice: docs/training.md."""

EXAMPLES = """\
examples, from recordings to a voice:
  python -m mlx_chatterbox.train init voice.yaml
      write a configuration with comments; edit it
  python -m mlx_chatterbox.train validate --config voice.yaml
      check settings, model and every recording; trains nothing
  python -m mlx_chatterbox.train validate --config voice.yaml --list
      print every clip with its seconds, speaker, language and text
  python -m mlx_chatterbox.train --config voice.yaml
      train; checkpoints, metrics and samples go to training.output_dir
  python -m mlx_chatterbox.train resume voice-training
      continue after an interruption, with the same result as without one
  python -m mlx_chatterbox.generate --model voice-training/final_model --voice me.wav --text "Hi."

more:
  python -m mlx_chatterbox.train --config voice.yaml --set training.learning_rate=5e-5
  python -m mlx_chatterbox.train export voice-training/checkpoint-500 my-voice
  python -m mlx_chatterbox.train export voice-training my-voice --upstream
      with the file names and keys of the original package
  mlx.launch -n 2 -- python -m mlx_chatterbox.train --config voice.yaml
      on several machines or processes; the result is that of one with the same global batch

Train on a voice only with its owner's consent.
"""


def build_parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # No default here, so that `train --verbose resume` and `train resume --verbose` are the same.
    common.add_argument(
        "--verbose", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
    )
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the YAML file (`init` writes one to start from)",
    )
    settings.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        default=argparse.SUPPRESS,
        help="override a setting: training.learning_rate=5e-5 (repeat for more)",
    )
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[settings, common],
    )
    parser.set_defaults(verbose=False)
    add_version(parser)
    _add_commands(parser, settings, common)
    return parser


def _add_commands(parser, settings, common) -> None:
    commands = parser.add_subparsers(
        dest="command", metavar="init | validate | resume | export", title="instead of training"
    )
    init = commands.add_parser(
        "init",
        parents=[common],
        help="write a first configuration",
        description="Write a configuration with comments. An existing file is not overwritten.",
    )
    init.add_argument(
        "file", type=Path, nargs="?", default=Path("voice.yaml"), help="default: voice.yaml"
    )
    init.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="t3",
        help="component to train: t3 (the way of speaking; the default), s3gen (the sound of the "
        "voice), both, or lora (adapters on t3, for little memory)",
    )
    init.add_argument(
        "--data",
        default="./voice_data",
        metavar="FOLDER",
        help="folder with the recordings, relative to FILE (default: ./voice_data)",
    )
    validate = commands.add_parser(
        "validate",
        parents=[settings, common],
        help="check settings, model and data; train nothing",
        description="Check the settings, the model and every recording, and print how many steps "
        "there would be. Exit code 1 if training would fail.",
    )
    validate.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="the YAML file, as --config FILE"
    )
    validate.add_argument(
        "--list",
        action="store_true",
        help="print every clip as it would be trained on, one tab-separated line each: name, "
        "seconds, speaker, language (- for none), text, and phones if the model reads them; "
        "everything else goes to standard error",
    )
    resume = commands.add_parser(
        "resume",
        parents=[common],
        help="continue after an interruption",
        description="Continue a run from its newest checkpoint, or from a chosen one.",
    )
    resume.add_argument("folder", type=Path, help="a run's output_dir, or one of its checkpoints")
    _add_export(commands, common)


def _add_export(commands, common) -> None:
    export = commands.add_parser(
        "export",
        parents=[common],
        help="turn a checkpoint into a model",
        description="Turn a training checkpoint into a model that `generate` loads. Adapters are "
        "merged into the weights; what was not trained is the base model's.",
    )
    export.add_argument(
        "checkpoint",
        type=Path,
        help="a checkpoint of a run, or the run's output_dir: its best or newest one",
    )
    export.add_argument("output", type=Path, help="the new model's folder; must not exist")
    export.add_argument(
        "--upstream",
        action="store_true",
        help="write upstream's file names and keys, for its from_local",
    )


def run(arguments: argparse.Namespace, progress: Bars) -> int | None:
    """Run the subcommand; returns the exit code."""
    if wrong := ignored(arguments.given, (arguments.command or "train",), RULES):
        raise SettingError(wrong)
    if arguments.command == "init":
        _init(arguments)
        return None
    if arguments.command == "resume":
        from .session import resume

        return resume(arguments.folder, progress)
    if arguments.command == "export":
        from .session import export

        return export(arguments.checkpoint, arguments.output, arguments.upstream)
    from .loading import load_config

    if arguments.command == "validate" and arguments.file is not None:
        if hasattr(arguments, "config"):
            build_parser().error("FILE and --config mean the same: give one of them.")
        arguments.config = arguments.file
    if not hasattr(arguments, "config"):
        build_parser().error(f"--config FILE is needed; `{PROGRAM} init` writes one.")
    config = load_config(arguments.config, getattr(arguments, "set", ()))
    for note in config.notes:
        print(f"note: {note}", file=sys.stderr)
    if arguments.command == "validate":
        from .session import validate

        return validate(config, progress, arguments.list)
    from .session import train

    return train(config, progress)


def _init(arguments: argparse.Namespace) -> None:
    from .init import write_template

    write_template(arguments.file, arguments.strategy, arguments.data)
    print(f"{arguments.file}: written. Edit it, then: {PROGRAM} validate --config {arguments.file}")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_command(build_parser(), argv, run)


if __name__ == "__main__":
    sys.exit(main())
