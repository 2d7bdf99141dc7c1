"""Turbo's tokenizer equals transformers' from the same files, on any string."""

import json
import random
from pathlib import Path

import pytest

from mlx_chatterbox.parity.fabricate.gpt2 import MAX_LENGTH, TAGS
from mlx_chatterbox.parity.fabricate.tokenizers import tokenizer_files
from mlx_chatterbox.parity.upstream.interpreter import find_interpreter, run_module
from mlx_chatterbox.text.gpt2 import GPT2Tokenizer
from mlx_chatterbox.text.normalize import punc_norm
from tests.text.sentences import LANGUAGES, sentences
from tests.text.test_reference_text import FIXED, random_text

pytestmark = pytest.mark.reference

COUNT = 600
EXTRA = [
    "😂",
    "🤣🤣",
    "👩‍🚀",
    "🇯🇵",
    "“quoted”",
    "‘so’",
    "«là»",
    "it's",
    "WE'LL",
    "  ",
    "\n\n",
    "\u200b",
]
EXTRA += [
    "[Laugh]",
    "[wave]",
    "[",
    "]",
    "[[",
    "<|endoftext|>",
    "[ laugh ]",
    "[clear  throat]",
    "1234567",
]


def random_turbo_text(rng: random.Random) -> str:
    kinds = [
        lambda: rng.choice(TAGS),
        lambda: rng.choice(EXTRA),
        lambda: random_text(rng),
        lambda: rng.choice(sentences(rng.choice(LANGUAGES))),
        lambda: " ",
        lambda: chr(rng.choice([rng.randint(0x4E00, 0x9FFF), rng.randint(0x1F300, 0x1FAFF)])),
    ]
    return "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 10)))


def upstream(folder: Path, work: Path, texts: list[str]) -> dict[str, list]:
    source, output = work / "texts.json", work / "result.json"
    source.write_text(json.dumps(texts), encoding="utf-8")
    arguments = ["turbo", "--checkpoint", str(folder), "--texts", str(source)]
    run_module(find_interpreter(), "parity.torch.text", [*arguments, "--output", str(output)])
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["described in the settings", "in added_tokens.json"])
def folder(request, tmp_path_factory):
    """The tags as the published model describes them, and in the older way."""
    folder = tmp_path_factory.mktemp("turbo")
    for name, text in tokenizer_files("gpt2").items():
        (folder / name).write_text(text, encoding="utf-8")
    if request.param == "in added_tokens.json":
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        del settings["added_tokens_decoder"]
        path.write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.filterwarnings("ignore:the text has")
def test_tokens_are_equal(folder, tmp_path):
    rng = random.Random(3)
    texts = FIXED + [random_turbo_text(rng) for _ in range(COUNT)]
    texts += ["The rain in Spain. " * MAX_LENGTH]
    expected = upstream(folder, tmp_path, texts)
    tokenizer = GPT2Tokenizer(folder)
    normalized = [punc_norm(text, "turbo") for text in texts]
    assert normalized == expected["normalized"]
    tokens = [tokenizer.encode(text) for text in normalized]
    assert tokens == expected["tokens"]
    assert [tokenizer.decode(ids) for ids in tokens] == expected["decoded"]
    assert len(tokens[-1]) == MAX_LENGTH
    assert sum(any(index >= 50257 for index in ids) for ids in tokens) > COUNT // 4
