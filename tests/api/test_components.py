"""Every part exists where docs/components.md states."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from mlx_chatterbox import S3GenModel
from mlx_chatterbox.models.s3tokenizer.v1 import S3TokenizerV1
from mlx_chatterbox.weights.checkpoint import build
from tests.small import small_config

PAGE = Path(__file__).parents[2] / "docs" / "components.md"
ROW = re.compile(r"\| (\d+) \| (.+?) \| (.+?) \| (.+) \|")
# Rows of the checklist by its sections, and those that have no counterpart.
SECTIONS = {"1": 10, "2": 17, "3": 84, "4": 16, "5": 49, "6": 4, "7": 8}
STRUCK_OUT = 5
NOT_HERE = {
    "`ConvolutionModule`",
    "`Conv2dSubsampling`",
    "`Downsample1D`",
    "`Upsample1D`",
    "`decode()`",  # of the finite scalar quantiser
}


def rows() -> list[tuple[str, str, str, str]]:
    """Section, item, names and phrase of each row."""
    section, found = "", []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3]
        elif match := ROW.fullmatch(line):
            assert int(match[1]) == len(found) + 1
            found.append((section, match[2], match[3], match[4]))
    return found


@pytest.fixture(scope="module")
def modules():
    """Every layer that the small networks have, by its class."""
    by_class = {}
    networks = [build(small_config()), build(small_config("turbo")), S3TokenizerV1()]
    for network in (*networks, S3GenModel(small_config().s3gen)):
        for _, module in network.named_modules():
            by_class.setdefault(type(module), []).append(module)
    return by_class


def exists(name: str, modules: dict) -> bool:
    """Tell whether a dotted name exists: an attribute, a field, or a layer of a class."""
    path = name if name.startswith("convert.") else f"mlx_chatterbox.{name}"
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        break
    for part in parts[count:]:
        if hasattr(found, part):
            found = getattr(found, part)
        elif dataclasses.is_dataclass(found):
            return part in {field.name for field in dataclasses.fields(found)}
        else:
            return any(part in layer for layer in modules.get(found, []))
    return True


def test_the_checklists_rows_are_all_there():
    assert Counter(section for section, *_ in rows()) == SECTIONS
    assert sum("~~" in item for _, item, _, _ in rows()) == STRUCK_OUT


def test_every_name_exists(modules):
    missing = [
        name
        for _, _, names, phrase in rows()
        for name in re.findall(r"`([^`]+)`", names) + re.findall(r"`(models\.[^`]+)`", phrase)
        if not exists(name, modules)
    ]
    assert missing == []


def test_every_row_has_a_name_or_a_reason_why_not():
    for _, item, names, phrase in rows():
        assert phrase.strip(), item
        assert names == "**none**" or re.fullmatch(r"`[\w.]+`(, `[\w.]+`)*", names), item


def test_only_listed_parts_are_missing():
    assert {item for _, item, names, _ in rows() if names == "**none**"} == NOT_HERE
    assert sum(names == "**none**" for _, _, names, _ in rows()) == len(NOT_HERE)


def test_names_that_do_not_exist_are_detected(modules):
    assert exists("models.t3.t3.T3.speech_head", modules)
    for name in ("models.t3.t3.T4", "models.t3.t3.T3.no_such_layer", "no.such.module",
                 "config.GenerationConfig.no_such_field"):  # fmt: skip
        assert not exists(name, modules)
