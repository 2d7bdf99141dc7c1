"""The command line: every command has a function, which is imported when it is chosen."""

import argparse
import importlib

from mlx_chatterbox.parity.commands.parser import parser


def test_every_command_names_a_function_that_there_is():
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert len(commands.choices) == 12
    for command in commands.choices.values():
        module, _, function = command.get_default("action").rpartition(".")
        assert callable(getattr(importlib.import_module(f"parity.commands.{module}"), function))
