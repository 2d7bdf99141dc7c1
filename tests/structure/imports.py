"""The imports of the project's files, read without running any of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = "mlx_chatterbox"
# These lie beside the library and are installed within it.
WITHIN = ("convert", "parity")
TREES = (LIBRARY, *WITHIN, "benchmarks")


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Files of all modules by full name; for a package its `__init__.py`."""
    found = {}
    for tree in TREES:
        for path in (root / tree).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[f"{LIBRARY}.{name}" if tree in WITHIN else name] = path
    return found


def imports(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Our modules that each module imports: at its top, within functions and for types alike.

    An import of a package's own parts counts, one of a package that a module lies in does not.
    """
    return {
        name: {
            target
            for full in imported(name, path)
            if (target := _known(full, files)) and not f"{name}.".startswith(f"{target}.")
        }
        for name, path in files.items()
    }


def imported(name: str, path: Path) -> Iterator[str]:
    """Full names of all imports of a module's file, ours and others'."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _known(full: str, files: Mapping[str, Path]) -> str | None:
    if full.split(".")[0] in WITHIN:  # as `benchmarks`, which needs a checkout, names them
        full = f"{LIBRARY}.{full}"
    while full and full not in files:
        full = full.rpartition(".")[0]
    return full or None


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for target in sorted(graph[name]):
            if target not in order:
                visit(target)
                lowest[name] = min(lowest[name], lowest[target])
            elif target in stack:
                lowest[name] = min(lowest[name], order[target])
        if lowest[name] == order[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found
