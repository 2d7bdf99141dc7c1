"""Clips spoken by flite and espeak-ng, for tests that overfit them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_THINGS = "red cats", "old dogs", "tall trees", "blue boats"
_OTHER_THINGS = "black birds", "cold days", "green fields", "wet roads"


def _sentences(things: tuple[str, ...]) -> list[str]:
    return [f"{number.capitalize()} {thing}." for thing in things for number in _NUMBERS]


# Every number with every noun: forty different texts of a second each.
SENTENCES, OTHER_SENTENCES = _sentences(_THINGS), _sentences(_OTHER_THINGS)


def speak_clips(folder: Path, sentences: list[str] = SENTENCES) -> Path:
    """Write a recording and a text for each sentence, every other one by the same program."""
    for program in ("flite", "espeak-ng"):
        if shutil.which(program) is None:
            pytest.fail(f"install {program}: this test needs real recordings")
    for number, sentence in enumerate(sentences):
        by_flite = number % 2 == 0
        clip = folder / ("flite" if by_flite else "espeak") / f"{number:02}.wav"
        clip.parent.mkdir(parents=True, exist_ok=True)
        command = ["flite", "-voice", "slt", "-t", sentence, "-o", str(clip)]
        if not by_flite:
            command = ["espeak-ng", "-v", "en-us", "-s", "200", "-w", str(clip), sentence]
        subprocess.run(command, check=True)
        clip.with_suffix(".txt").write_text(sentence, encoding="utf-8")
    return folder
