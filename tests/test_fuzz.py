"""Damaged files of every kind are read or refused in one line, for any damage."""

import time

import pytest

from tests.fuzz_damage import damage_bytes, damage_json
from tests.fuzz_wrong import READERS
from tests.fuzzing import Reader, damaged, fuzz, readers

QUICK = sorted(name for name, reader in readers().items() if reader.quick)


@pytest.mark.parametrize("name", QUICK)
def test_damaged_files_are_read_or_refused(name):
    reader = readers()[name]
    tally = fuzz(reader, reader.quick)
    assert not tally.faults, str(tally)
    assert tally.read
    assert tally.refused


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(readers()))
def test_many_damaged_files_are_read_or_refused(name):
    reader = readers()[name]
    tally = fuzz(reader, reader.many, seed=1)
    assert not tally.faults, str(tally)


def fault_of(name: str) -> str:
    """The fault that the harness reports of a faulty reader."""
    (reader,) = (reader for reader in READERS if reader.name == name)
    tally = fuzz(reader, 0)
    (fault,) = tally.faults
    return fault.what


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raises", "ZeroDivisionError in tests/fuzz_wrong.py"),
        ("dies", "the process died (-11)"),
        ("hangs", "no end within 0.5 s"),
        ("fills", "more than 50 MB"),
        ("writes", "something outside its folder was changed"),
        ("says-much", "a message that is not one line"),
        ("refuses", "a sound file was refused"),
    ],
)
def test_the_harness_finds(name, expected):
    started = time.monotonic()
    assert fault_of(name).startswith(expected)
    assert time.monotonic() - started < 60


def test_inputs_of_a_seed_are_the_same_and_of_another_are_not():
    reader = Reader("any", str, lambda: [b'{"a": [1, 2]}'], (damage_json, damage_bytes))
    seeds = list(reader.seeds())
    first = [damaged(reader, seeds, 0, number) for number in range(20)]
    assert first == [damaged(reader, seeds, 0, number) for number in range(20)]
    assert first != [damaged(reader, seeds, 1, number) for number in range(20)]
