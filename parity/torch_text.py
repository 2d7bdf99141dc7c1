"""The reference for text: upstream's `punc_norm` and its English tokenizer."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from . import torch_env


def text_reference(tokenizer_file: str | Path, texts: Sequence[str]) -> dict[str, list]:
    """Upstream's `punc_norm` of every text, and its English tokenizer's ids of the result.

    `punc_norm` stands in a file whose imports need the watermarker, so that the one function is
    compiled from the installed source.

    Returns:
        `normalized` (strings), `tokens` (lists of ids), `decoded` (the ids read back).
    """
    torch_env.prepare()
    from chatterbox.models.tokenizers import EnTokenizer

    normalize = _function_from_source("chatterbox", "tts.py", "punc_norm")
    tokenizer = EnTokenizer(str(tokenizer_file))
    normalized = [normalize(text) for text in texts]
    tokens = [tokenizer.encode(text) for text in normalized]
    return {
        "normalized": normalized,
        "tokens": tokens,
        "decoded": [tokenizer.decode(ids) for ids in tokens],
    }


def _function_from_source(package: str, file: str, function: str) -> Callable:
    folder = importlib.util.find_spec(package).submodule_search_locations[0]
    tree = ast.parse((Path(folder) / file).read_text(encoding="utf-8"))
    wanted = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    namespace: dict[str, object] = {}
    code = compile(ast.Module(body=wanted, type_ignores=[]), file, "exec")
    exec(code, namespace)
    return namespace[function]
