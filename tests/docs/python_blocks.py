"""Static checks of a Python block."""

from __future__ import annotations

import ast
import builtins
import importlib


def faults(code: str) -> list[str]:
    """Imports of ours that fail, and names that nothing in the block defines.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(code)
    found, known, used = [], set(dir(builtins)), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found += _missing(node)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            known |= {(each.asname or each.name).partition(".")[0] for each in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        elif isinstance(node, ast.Name):
            used.setdefault(node.id, node.lineno)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
    return found + [
        f"line {line}: {name} is not defined" for name, line in used.items() if name not in known
    ]


def _missing(node: ast.ImportFrom) -> list[str]:
    if not node.module.startswith("mlx_chatterbox"):
        return []
    try:
        module = importlib.import_module(node.module)
    except ImportError as error:
        return [f"line {node.lineno}: {error}"]
    return [
        f"line {node.lineno}: {node.module} has no {each.name}"
        for each in node.names
        if not hasattr(module, each.name)
    ]
