"""Parse the commands of the documentation, without running them."""

from __future__ import annotations

import argparse
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from pathlib import Path

from tests.docs.pages import ROOT, Command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with pytest there

# Others' programs, whose options are theirs to check.
FOREIGN = {
    *("apt-get", "aplay", "cd", "echo", "ffmpeg", "git", "ray"),
    *("mypy", "pytest", "ruff", "venv"),
}
_EXTRAS = re.compile(r"(?:mlx-chatterbox|\.)\[([\w,]+)\]")


class Accepted(BaseException):
    """The parser understood the command."""


class Refused(BaseException):
    """The parser refused the command, with this message."""


def project() -> dict:
    """The section `project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def scripts() -> dict[str, str]:
    """Modules of the installed programs by their names."""
    return {name: place.partition(":")[0] for name, place in project()["scripts"].items()}


def problem(words: list[str], monkeypatch) -> str:
    """The error of a simple command; "" if it is accepted."""
    name, arguments = Path(words[0]).name, words[1:]
    if name == "mlx.launch":
        return problem(arguments[arguments.index("--") + 1 :], monkeypatch)
    if name in ("python", "python3"):
        if not arguments or arguments[0] != "-m":
            return "" if arguments and (ROOT / arguments[0]).is_file() else "there is no such file"
        name, arguments = arguments[1], arguments[2:]
        if name not in FOREIGN:
            return parsed(name, arguments, monkeypatch)
    elif name in scripts():
        return parsed(scripts()[name], arguments, monkeypatch)
    if name == "pip":
        extras = {extra for word in arguments for extra in _split(_EXTRAS.search(word))}
        missing = extras - set(project()["optional-dependencies"])
        return f"there is no extra {', '.join(sorted(missing))}" if missing else ""
    if name == "pytest":
        paths = [word for word in arguments if word.startswith("tests")]
        return "".join(f"there is no {path}" for path in paths if not (ROOT / path).exists())
    if words[0].startswith(".ci/"):
        return _script(ROOT / words[0], arguments, monkeypatch)
    return "" if name in FOREIGN else f"{name} is no program that is known here"


def missing_words(message: str) -> bool:
    """Tell whether a parser only asks for what a reader has to add."""
    return bool(re.search(r"arguments? (are|is) required|^one of the arguments", message))


def accepted(command: Command, monkeypatch) -> str:
    """The errors of a command; "" if each of its parts is accepted."""
    found = [problem(words, monkeypatch) for words in command.programs()]
    if command.inline:
        found = [message for message in found if not missing_words(message)]
    return "; ".join(message for message in found if message)


def parsed(module: str, arguments: list[str], monkeypatch) -> str:
    """The error of the parser of `python -m MODULE`; "" if it accepts the arguments."""
    try:
        found = importlib.import_module(module)
        if hasattr(found, "__path__"):
            found = importlib.import_module(f"{module}.__main__")
    except ImportError as error:
        return str(error)
    return _call(found.main, module, arguments, monkeypatch)


def _script(path: Path, arguments: list[str], monkeypatch) -> str:
    """The same for a file of the repository, which may be a shell script."""
    if not path.is_file():
        return f"there is no {path.name}"
    if "python" not in path.read_text(encoding="utf-8").splitlines()[0]:
        return ""
    loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.stem, loader))
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look there
    try:
        loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name == "tomllib":  # it says itself that it needs Python 3.11
            return ""
        raise
    return _call(module.main, path.name, arguments, monkeypatch)


def _call(main, name: str, arguments: list[str], monkeypatch) -> str:
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser, *words, **options):
        parse(parser, *words, **options)
        raise Accepted

    def refuse(parser, message):
        raise Refused(message)

    before = dict(os.environ)
    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
        patch.setattr(argparse.ArgumentParser, "error", refuse)
        patch.setattr(sys, "argv", [name, *arguments])
        try:
            main()
        except (Accepted, SystemExit) as end:
            # `--help` and `--version` end by themselves.
            return "" if isinstance(end, Accepted) or not end.code else f"exit code {end.code}"
        except Refused as error:
            return str(error)
        finally:
            os.environ.clear()
            os.environ.update(before)
    return "it was not parsed"


def _split(match: re.Match | None) -> list[str]:
    return match[1].split(",") if match else []
