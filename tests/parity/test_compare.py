"""The comparison holds for equal dumps and fails for every way in which two can differ."""

import json

import numpy as np
import pytest

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.compare import all_hold, compare, relative_rms
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.errors import DumpError, ParityError
from mlx_chatterbox.parity.report import tables

MEL = "s3gen/ref_mel"
TOKENS = "s3_tokenizer/tokens"
PROBS = "sampler/probs"


@pytest.fixture
def reference(rng):
    return {
        MEL: rng.standard_normal((20, 80)).astype(np.float32),
        TOKENS: rng.integers(0, 6561, 25).astype(np.int32),
        PROBS: rng.dirichlet(np.ones(50), 4).astype(np.float32),
        "audio/ref_24k": np.zeros(5, np.float32),
    }


def problems(reference, checked):
    rows = compare(reference, checked).rows
    return {row.output: row.problem for row in rows if not row.holds}


def test_a_dump_holds_against_itself(reference):
    comparison = compare(reference, dict(reference))
    assert comparison.holds
    assert [row.error for row in comparison.rows] == [0.0, 0.0, 0.0]


def test_inputs_and_extra_tensors_are_ignored(reference):
    checked = {**reference, "vocoder/f0": np.ones(3, np.float32), "mine/own": np.ones(2)}
    del checked["audio/ref_24k"]
    assert compare(reference, checked).holds


def test_a_missing_output_fails(reference):
    checked = dict(reference)
    del checked[MEL]
    assert problems(reference, checked) == {MEL: "missing"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda x: x[:-1], "shape (19, 80) instead of (20, 80)"),
        (lambda x: x[None], "shape (1, 20, 80) instead of (20, 80)"),
        (lambda x: x.astype(np.float64), "dtype float64 instead of float32"),
        (lambda x: x.astype(np.float16), "dtype float16 instead of float32"),
        (lambda x: np.where(x == x[3, 3], np.float32("nan"), x), "NaN or infinity in the result"),
        (lambda x: np.where(x == x[3, 3], np.float32("inf"), x), "NaN or infinity in the result"),
    ],
)
def test_another_shape_dtype_or_nan_fails(reference, change, problem):
    assert problems(reference, {**reference, MEL: change(reference[MEL])}) == {MEL: problem}


def test_equal_nans_fail_too(reference):
    broken = reference[MEL].copy()
    broken[0, 0] = np.nan
    both = {**reference, MEL: broken}
    assert problems(both, dict(both)) == {MEL: "NaN or infinity in the reference"}


def test_floats_fail_just_over_the_bound_and_hold_just_under_it(reference):
    for factor, holds in ((1 + 0.9e-4, True), (1 + 1.1e-4, False)):
        checked = {**reference, MEL: reference[MEL] * np.float32(factor)}
        assert compare(reference, checked).holds is holds


def test_the_error_is_relative_to_the_rms_of_the_reference():
    reference = np.array([3.0, -4.0], np.float32)
    checked = np.array([3.0, -4.1], np.float32)
    assert relative_rms(reference, checked) == pytest.approx(0.1 / 5.0, rel=1e-5)


def test_a_reference_of_zeros_allows_no_difference():
    zeros = np.zeros(4, np.float32)
    assert relative_rms(zeros, zeros) == 0.0
    assert relative_rms(zeros, zeros + np.float32(1e-9)) == float("inf")
    assert not compare({MEL: zeros}, {MEL: zeros + np.float32(1e-9)}).holds


def test_a_single_token_off_fails(reference):
    tokens = reference[TOKENS].copy()
    tokens[7] += 1
    row = next(r for r in compare(reference, {**reference, TOKENS: tokens}).rows if not r.holds)
    assert (row.output, row.error) == (TOKENS, 1.0)


def test_tokens_of_another_integer_type_fail(reference):
    checked = {**reference, TOKENS: reference[TOKENS].astype(np.int64)}
    assert problems(reference, checked) == {TOKENS: "dtype int64 instead of int32"}


def test_probabilities_are_held_to_their_largest_difference(reference):
    probs = reference[PROBS].copy()
    probs[2, 3] += 2e-6
    assert PROBS in problems(reference, {**reference, PROBS: probs})


def test_a_reference_without_any_stage_is_an_error(reference):
    with pytest.raises(ParityError, match="nothing to compare"):
        compare({"audio/ref_24k": reference["audio/ref_24k"]}, reference)


def test_no_comparison_at_all_does_not_hold():
    assert not all_hold([])


@pytest.fixture
def dumps(tmp_path, reference):
    broken = {**reference, MEL: reference[MEL] * np.float32(2)}
    return (
        write_dump(tmp_path / "reference.safetensors", reference),
        write_dump(tmp_path / "broken.safetensors", broken),
    )


def test_the_command_exits_with_0_only_if_everything_holds(dumps, capsys):
    reference, broken = map(str, dumps)
    assert main(["compare", reference, reference]) == 0
    assert "Parity holds: all 3" in capsys.readouterr().out
    assert main(["compare", reference, broken]) == 1
    out = capsys.readouterr().out
    assert "PARITY FAILS: 1 of 3" in out
    assert "FAILS: 1 is over the bound of 0.0001" in out


def test_reports_are_written_in_every_format(dumps, tmp_path):
    reference, broken = map(str, dumps)
    paths = {name: tmp_path / f"report.{name}" for name in ("json", "markdown", "html")}
    options = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    assert main(["compare", reference, broken, *options]) == 1
    document = json.loads(paths["json"].read_text())
    assert document["holds"] is False
    assert {row["output"]: row["holds"] for row in document["rows"]} == {
        TOKENS: True,
        MEL: False,
        PROBS: True,
    }
    assert "| ref_mel | s3gen/ref_mel |" in paths["markdown"].read_text()
    page = paths["html"].read_text()
    assert '<tr class="fails"><td><a href="#ref_mel">ref_mel</a></td>' in page
    assert "http" not in page


def test_an_infinite_error_is_null_in_json():
    zeros = np.zeros(4, np.float32)
    comparison = compare({MEL: zeros}, {MEL: zeros + np.float32(1)})
    assert json.loads(tables.as_json([comparison]))["rows"][0]["error"] is None


def test_a_file_that_is_not_a_dump_is_one_clear_line(tmp_path, dumps, capsys):
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(dumps[0].read_bytes()[:-100])
    for path in (text, cut, tmp_path / "absent.safetensors"):
        with pytest.raises(DumpError):
            read_dump(path)
        assert main(["compare", str(dumps[0]), str(path)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_a_report_folder_that_is_not_there_is_an_error_and_leaves_nothing(dumps, tmp_path, capsys):
    path = tmp_path / "absent" / "report.json"
    assert main(["compare", str(dumps[0]), str(dumps[0]), "--json", str(path)]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert not list(tmp_path.glob("**/*.tmp"))


@pytest.mark.parametrize("arguments", [[], ["compare"], ["run", "--variant", "klingon"], ["jump"]])
def test_wrong_use_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_the_chart_shows_every_error_and_its_bound():
    from xml.etree import ElementTree

    from mlx_chatterbox.parity.report.chart import as_svg

    rng = np.random.default_rng(0)
    reference = {"flow/mu": rng.standard_normal((4, 80)).astype(np.float32)}
    for factor, kind in ((1 + 1e-6, "holds"), (1.1, "fails")):
        checked = {"flow/mu": reference["flow/mu"] * np.float32(factor)}
        drawing = ElementTree.fromstring(as_svg([compare(reference, checked)]))
        tags = [element.attrib.get("class") for element in drawing]
        assert tags.count(kind) == 1
        assert tags.count("bound") == 1
        assert "flow/mu" in "".join(drawing.itertext())
