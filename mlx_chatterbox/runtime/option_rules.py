"""Refusal of options that would have no effect: the modes in which each option applies, as data.

A command line has modes ("--text", "--batch", ...), and each of its options a `Rule` with the modes
in which it has an effect. In any other mode it is an error, and never ignored silently. The tables:
`commands/option_table.py` of `mlx-chatterbox`, `convert/options.py` of `mlx-chatterbox-convert`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rule:
    """The modes in which an option has an effect.

    Attributes:
        modes: their names.
        belongs: the predicate of the message: "is of one text".
    """

    modes: Collection[str]
    belongs: str = ""


def ignored(options: Collection[str], modes: Sequence[str], rules: Mapping[str, Rule]) -> str:
    """Compose a message about the first option that would be ignored; "" if there is none.

    Args:
        options: on the command line, as `parse` notes them.
        modes: possible modes of the command line, several if it is not known yet which; an option
            must have an effect in one of them.
        rules: of every option.
    """
    for option in sorted(options):
        rule = rules.get(option)
        if rule is not None and not set(rule.modes) & set(modes):
            return f"{option} {rule.belongs}; with {modes[0]} it would do nothing: leave it out."
    return ""


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; `given` in the result lists its options by their first long names."""
    words = joined(parser, list(sys.argv[1:] if argv is None else argv))
    arguments = parser.parse_args(words)
    arguments.given = _options_in(parser, words)
    return arguments


def name_of(action: argparse.Action) -> str:
    """Return an option's first long name."""
    names = action.option_strings
    return next((name for name in names if name.startswith("--")), names[0] if names else "")


def _options_in(parser: argparse.ArgumentParser, words: Sequence[str]) -> frozenset[str]:
    # Parsed once more, with a mark in place of every default.
    unset: list = []  # options that are given several times append to a copy
    options = [one for one in parser._actions if one.option_strings and hasattr(one, "dest")]
    marked = argparse.Namespace(**{one.dest: unset for one in options})
    parser.parse_args(words, marked)
    return frozenset(name_of(one) for one in options if vars(marked)[one.dest] is not unset)


def joined(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Join `--text -hello` to `--text=-hello`, which argparse would take for two options.

    Words that are options stay so (`--text --play` lacks its text), and so does a single dash,
    which argparse accepts. `--text -- -x` marks -x as a text.
    """
    takes = {
        name: action
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--") and action.nargs is None and action.type in (None, Path)
    }
    result: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return [*result, *words[at:]]
        if _option_called(word, takes, parser) is None or at + 1 == len(words):
            result.append(word)
            at += 1
            continue
        value, used = words[at + 1], 2
        if value == "--":
            # It only marks the next word as no option.
            if at + 2 == len(words):
                result += [word]
                break
            value, used = words[at + 2], 3
        elif value == "-" or not value.startswith("-") or _is_option(value, parser):
            result.append(word)
            at += 1
            continue
        result.append(f"{word}={value}")
        at += used
    return result


def _option_called(word: str, takes: Mapping[str, argparse.Action], parser) -> str | None:
    """Find the option with a text that a word, perhaps shortened, stands for; None if none."""
    if word in takes:
        return word
    if not word.startswith("--") or "=" in word or not parser.allow_abbrev:
        return None
    known = [name for name in parser._option_string_actions if name.startswith(word)]
    return known[0] if len(known) == 1 and known[0] in takes else None


def _is_option(word: str, parser: argparse.ArgumentParser) -> bool:
    """Tell whether a word that begins with a dash is an option of the parser, perhaps shortened."""
    name = word.partition("=")[0]
    if " " in name:
        return False
    known = parser._option_string_actions
    if name in known:
        return True
    return len(name) > 3 and name.startswith("--") and any(k.startswith(name) for k in known)
