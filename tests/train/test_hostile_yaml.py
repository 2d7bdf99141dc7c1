"""Configurations of a few lines that expand to billions, and others that break PyYAML."""

from __future__ import annotations

import time

import pytest

from mlx_chatterbox.errors import ConfigError
from mlx_chatterbox.train.yaml_lines import MAX_BYTES, MAX_NODES, parse, read_yaml

pytest.importorskip("yaml")

# Seconds for any of these, on a busy machine.
SECONDS = 10.0


def laughs(first: str, more: str, count: int = 12) -> str:
    """Lines of YAML, each ten times the one before."""
    lines = [f"a0: &a0 {first}"]
    lines += [
        f"a{n}: &a{n} " + more.replace("X", ", ".join([f"*a{n - 1}"] * 10)) for n in range(1, count)
    ]
    return "\n".join(lines) + "\n"


def refused(text: str, match: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=match) as caught:
        parse(text, "x.yaml").plain()
    assert time.monotonic() - started < SECONDS
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (laughs("[x, x]", "[X]"), "more than"),
        (laughs("{x: 1}", "{<<: [X]}"), "more than|too deeply"),
        (laughs("{x: 1}", "{y: [X]}"), "more than"),
        ("a: &a [*a]\n", "too deeply"),
        ("a: &a {b: *a}\n", "too deeply"),
        ("a: &a {<<: *a}\n", "too deeply"),
        ("a: &a {<<: [*a, *a, *a]}\n", "too deeply"),
        ("[" * 20_000, "too deeply"),
        ("{a: " * 5_000, "too deeply"),
        ("- " * 5_000, "too deeply"),
        ("? " * 5_000, "too deeply|no YAML"),
        ("[{" * 5_000, "too deeply|no YAML"),
        ("a: 1\x00\n", "no YAML"),
        ("a: \x1b\n", "no YAML"),
        ("a: \ud800\n", "no YAML"),
        ('a: "\\Uffffffff"\n', "no YAML"),
        ('a: "\\U00110000"\n', "no YAML"),
        (f"%YAML 1.{'1' * 10_000}\n---\na: 1\n", "no YAML"),
        ("%YAML 3.1\n---\na: 1\n", "no YAML"),
        ("a: *b\n", "no YAML"),
        ("a: !!python/object/apply:os.system [x]\n{", "no YAML"),
        ("<<: 1\n", "takes a section"),
        ("<<: [1]\n", "takes a section"),
        ("? [a]\n: 1\n", "a key must be a word"),
        (("x" * 1_000 + ": 1\n") * 2, "is set twice"),
        ("a: &" + "x" * 10_000 + " 1\nb: *" + "y" * 10_000, "no YAML"),
        ("- a\n" * (MAX_NODES + 1), "more than"),
        ("".join(f"k{n}:\n" for n in range(MAX_NODES + 1)), "more than"),
    ],
)
def test_huge_expansions_and_invalid_yaml_are_refused(text, match):
    refused(text, match)


def test_a_long_file_is_refused_unread(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"# " + b"x" * MAX_BYTES)
    with pytest.raises(ConfigError, match="not a configuration"):
        read_yaml(path)


@pytest.mark.parametrize("digits", ["1_" * 50_000, "1" * 100_000, "0" * 100_000 + "1", "1." * 9])
@pytest.mark.parametrize("end", ["x", "", "e5", "."])
def test_numbers_take_linear_time(digits, end):
    node = parse(f"a: {digits}{end}\n", "x.yaml").value["a"]
    started = time.monotonic()
    assert node.as_float() is None
    assert node.as_int() is None
    assert node.plain() == digits + end
    assert time.monotonic() - started < 1.0
    with pytest.raises(ConfigError) as caught:
        raise node.fail(f"it must be a number, not {node.describe()}.")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1_000", 1000), ("1e3", 1000), ("1.", 1), ("+1.5e1", 15), ("-2", -2)],
)
def test_numbers_are_read(text, value):
    node = parse(f"a: {text}", "x.yaml").value["a"]
    assert node.as_int() == value
    assert node.as_float() == value


def test_sections_that_are_taken_over():
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  z: 5\nd: {<<: *b, y: 6}\n"
    plain = parse(text, "x.yaml").plain()
    assert plain["c"] == {"x": 1, "y": 2, "z": 5}
    assert plain["d"] == {"y": 6, "z": 4}


def test_anchors_are_taken_where_they_are_few():
    assert parse("a: &a [1]\nb: [*a, *a]\n", "x.yaml").plain() == {"a": [1], "b": [[1], [1]]}
