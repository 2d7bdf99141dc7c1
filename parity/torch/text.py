"""The reference for text: upstream's three `punc_norm` and its three tokenizers.

    python -m parity.torch.text KIND --checkpoint FOLDER --texts IN.json --output OUT.json

IN is a list of strings; for the multilingual tokenizer, of [string, language or null].
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import ParityError
from . import env

MULTILINGUAL_FILE, CANGJIE_FILE = "grapheme_mtl_merged_expanded_v1.json", "Cangjie5_TC.json"


def text_reference(tokenizer_file: str | Path, texts: Sequence[str]) -> dict[str, list]:
    """Normalise texts by upstream's `punc_norm` and encode them by its English tokenizer.

    `punc_norm` stands in a file whose imports need the watermarker, so that the one function is
    compiled from the installed source.

    Returns:
        `normalized` (strings), `tokens` (lists of ids), `decoded` (the ids read back).
    """
    env.prepare()
    from chatterbox.models.tokenizers import EnTokenizer

    normalized = list(map(_function_from_source("chatterbox", "tts.py", "punc_norm"), texts))
    tokenizer = EnTokenizer(str(tokenizer_file))
    tokens = [tokenizer.encode(text) for text in normalized]
    return _result(normalized, tokens, tokenizer.decode)


def multilingual_reference(
    folder: str | Path, texts: Sequence[tuple[str, str | None]], segment: bool = True
) -> dict[str, list]:
    """Normalise and encode texts with their languages by the multilingual tokenizer.

    Args:
        folder: holds the vocabulary and the Cangjie table, which upstream asks the hub for.
        segment: False leaves Chinese words together, as upstream does without pkuseg. True needs
            pkuseg's model in `PKUSEG_HOME`.
    """
    env.prepare()
    if not segment:
        sys.modules["spacy_pkuseg"] = None
    from chatterbox.models.tokenizers import MTLTokenizer
    from chatterbox.models.tokenizers import tokenizer as module

    module.hf_hub_download = lambda filename, **_: str(Path(folder) / filename)
    normalize = _function_from_source("chatterbox", "mtl_tts.py", "punc_norm")
    tokenizer = MTLTokenizer(str(Path(folder) / MULTILINGUAL_FILE))
    normalized = [normalize(text) for text, _ in texts]
    tokens = [
        tokenizer.encode(text, language_id=language)
        for text, (_, language) in zip(normalized, texts, strict=True)
    ]
    return _result(normalized, tokens, tokenizer.decode)


def turbo_reference(folder: str | Path, texts: Sequence[str]) -> dict[str, list]:
    """Normalise and encode texts by Turbo's tokenizer, called with upstream's arguments."""
    env.prepare()
    from transformers import AutoTokenizer

    normalized = list(map(_function_from_source("chatterbox", "tts_turbo.py", "punc_norm"), texts))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokens = [
        tokenizer(text, return_tensors="pt", padding=True, truncation=True).input_ids[0].tolist()
        for text in normalized
    ]
    return _result(normalized, tokens, tokenizer.decode)


def _result(normalized: list[str], tokens: list[list[int]], decode: Callable) -> dict[str, list]:
    return {
        "normalized": normalized,
        "tokens": tokens,
        "decoded": [decode(ids) for ids in tokens],
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m parity.torch.text")
    parser.add_argument("kind", choices=("multilingual", "turbo"))
    parser.add_argument("--checkpoint", required=True, help="folder with the tokenizer's files")
    parser.add_argument("--texts", required=True, help="JSON list")
    parser.add_argument("--output", required=True, help="JSON to write")
    parser.add_argument("--no-segmentation", action="store_true", help="Chinese words together")
    args = parser.parse_args(argv)
    texts = json.loads(Path(args.texts).read_text(encoding="utf-8"))
    try:
        if args.kind == "turbo":
            result = turbo_reference(args.checkpoint, texts)
        else:
            result = multilingual_reference(args.checkpoint, texts, not args.no_segmentation)
    except ParityError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Path(args.output).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
