"""Options that would be taken and ignored: which option means something in which mode, as data.

A command line has modes ("--text", "--batch", ...), and each of its options a `Rule` with the modes
in which it does something. Given in another one it is an error, never silence. The tables:
`commands/option_table.py` of `mlx-chatterbox`, `convert/option_table.py` of `python -m convert`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rule:
    """Where an option does something.

    Attributes:
        modes: the modes in which it does.
        belongs: to what it belongs, for the message: "is of one text".
    """

    modes: Collection[str]
    belongs: str = ""


def ignored(given: Collection[str], modes: Sequence[str], rules: Mapping[str, Rule]) -> str:
    """What to tell of options that would be ignored; "" where none would.

    Args:
        given: options that the user wrote, as `parse` leaves them.
        modes: what the command line may mean, perhaps several as long as it is not known which; an
            option must mean something in one of them.
        rules: of every option.
    """
    for option in sorted(given):
        rule = rules.get(option)
        if rule is not None and not set(rule.modes) & set(modes):
            return f"{option} {rule.belongs}; with {modes[0]} it would do nothing: leave it out."
    return ""


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments, with `given`: the options that were written, by their (first long) names."""
    words = joined(parser, list(sys.argv[1:] if argv is None else argv))
    arguments = parser.parse_args(words)
    arguments.given = _given(parser, words)
    return arguments


def name_of(action: argparse.Action) -> str:
    """What an option is called: its first long name."""
    names = action.option_strings
    return next((name for name in names if name.startswith("--")), names[0] if names else "")


def _given(parser: argparse.ArgumentParser, words: Sequence[str]) -> frozenset[str]:
    # Parsed once more, with a mark in place of every default.
    unset: list = []  # options that are given several times append to a copy
    options = [one for one in parser._actions if one.option_strings and hasattr(one, "dest")]
    marked = argparse.Namespace(**{one.dest: unset for one in options})
    parser.parse_args(words, marked)
    return frozenset(name_of(one) for one in options if vars(marked)[one.dest] is not unset)


def joined(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """The words with `--text -hello` as `--text=-hello`: argparse takes what begins with a dash for
    an option, whatever stands before it.

    What is itself an option stays one (`--text --play` lacks its text), and so does a lone dash,
    which argparse understands. `--text -- -x` says that -x is no option.
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
            # By itself it says that no option follows, and is no text.
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
    """The option that takes a text and is meant by a word, perhaps shortened; None if none is."""
    if word in takes:
        return word
    if not word.startswith("--") or "=" in word or not parser.allow_abbrev:
        return None
    known = [name for name in parser._option_string_actions if name.startswith(word)]
    return known[0] if len(known) == 1 and known[0] in takes else None


def _is_option(word: str, parser: argparse.ArgumentParser) -> bool:
    """Whether a word that begins with a dash is one of the parser's options, perhaps shortened."""
    name = word.partition("=")[0]
    if " " in name:
        return False
    known = parser._option_string_actions
    if name in known:
        return True
    return len(name) > 3 and name.startswith("--") and any(k.startswith(name) for k in known)
