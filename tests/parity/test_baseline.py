"""Tenfold errors are reported, bounds or not; the table of docs/parity.md is the baseline's."""

from __future__ import annotations

import copy
import json

import pytest

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.compare import Comparison, OutputVerdict
from mlx_chatterbox.parity.errors import ParityError
from mlx_chatterbox.parity.report import baseline
from mlx_chatterbox.parity.stages import expanded, stages_of
from mlx_chatterbox.parity.tables.stage import EQUAL, RELATIVE_RMS


def row(output, error, bound=1e-4, **other):
    names = {"checked": "mlx", "reference": "torch"}
    return {"stage": output.partition("/")[0], "output": output, "error": error, "bound": bound,
            **names, **other}  # fmt: skip


@pytest.fixture
def report():
    rows = [
        row("flow/mel", 1.26e-6),
        row("resample/ref_16k", 0.0),
        row("t3/greedy_tokens", 0.0, bound=0.0),
        row("flow/mel", 3e-3, bound=1e-2, checked="mlx 8bit"),
    ]
    return {"holds": True, "about": {"variant": "english"}, "rows": rows}


def changed(report, output, error):
    result = copy.deepcopy(report)
    next(one for one in result["rows"] if one["output"] == output)["error"] = error
    return result


def test_a_report_does_not_grow_against_itself(report):
    assert baseline.growths(report, baseline.of_reports([report])) == []


@pytest.mark.parametrize(
    ("output", "fine", "grown"),
    [
        ("flow/mel", 1.2e-5, 1.4e-5),  # tenfold, and within the bound
        ("resample/ref_16k", 9e-7, 1.1e-6),  # of nothing: more than rounding
        ("t3/greedy_tokens", 0.0, 1.0),
        ("flow/mel", 1.2e-5, None),
    ],
)
def test_tenfold_is_seen_and_less_is_not(report, output, fine, grown):
    known = baseline.of_reports([report])
    assert baseline.growths(changed(report, output, fine), known) == []
    (found,) = baseline.growths(changed(report, output, grown), known)
    assert found.output == output
    assert output in str(found)


def test_what_is_missing_is_an_error_and_what_is_new_is_not(report):
    known = baseline.of_reports([report])
    less = {**report, "rows": report["rows"][1:]}
    with pytest.raises(ParityError, match="has no flow/mel"):
        baseline.growths(less, known)
    with pytest.raises(ParityError, match="cannot be a baseline"):
        baseline.of_reports([{**report, "holds": False}])
    # A new output has its bound alone, and so has a new variant.
    assert baseline.growths({**report, "about": {"variant": "turbo"}}, known) == []
    more = {**report, "rows": [*report["rows"], row("flow/mu", 1e-5)]}
    assert baseline.growths(more, known) == []


def test_a_run_of_some_stages_is_compared_as_far_as_it_goes(report):
    known = baseline.of_reports([report])
    about = {**report["about"], "only": ["t3*"]}
    some = {**report, "about": about, "rows": report["rows"][:1]}
    assert baseline.growths(some, known) == []
    grown = {**some, "rows": [{**some["rows"][0], "error": 1e9}]}
    assert len(baseline.growths(grown, known)) == 1
    with pytest.raises(ParityError, match="a run of some stages is no baseline"):
        baseline.of_reports([some])


def test_it_is_written_with_its_table_and_other_variants_stay(report, tmp_path):
    path, page = tmp_path / "baseline.json", tmp_path / "parity.md"
    page.write_text(f"before\n{baseline.BEGIN}\nold\n{baseline.END}\nafter\n")
    baseline.write([report], path, page)
    baseline.write([{**report, "about": {"variant": "turbo"}}], path, page)
    assert list(baseline.read_baseline(path)) == ["english", "turbo"]
    text = page.read_text()
    name = baseline.read_peer()["name"]
    assert f"| stage | output | english | turbo | {name}, english |" in text
    assert "| flow | mel | 1.3e-06 | 1.3e-06 | " in text
    assert "| resample | ref_16k | equal | equal | " in text
    assert "old" not in text
    with pytest.raises(ParityError):
        baseline.with_table("no marks", {}, {})


def test_the_command(report, tmp_path, monkeypatch, capsys):
    known = baseline.of_reports([report])
    monkeypatch.setattr(baseline, "read_baseline", lambda: known)
    good, bad, none = (tmp_path / f"{name}.json" for name in ("good", "bad", "none"))
    good.write_text(json.dumps(report))
    bad.write_text(json.dumps(changed(report, "flow/mel", 5e-5)))
    none.write_text("[]")
    assert main(["baseline", str(good)]) == 0
    assert main(["baseline", str(good), str(bad)]) == 1
    assert "english: flow/mel, mlx against torch: 5.00e-05, was 1.30e-06" in capsys.readouterr().out
    assert main(["baseline", str(none)]) == 1


def test_the_page_has_the_table_of_the_committed_baseline():
    text = baseline.PAGE.read_text(encoding="utf-8")
    assert baseline.with_table(text, baseline.read_baseline(), baseline.read_peer()) == text


def test_a_peers_errors_stand_beside_ours(tmp_path):
    rows = (
        OutputVerdict("flow", "flow/mel", RELATIVE_RMS, 0.0123, 1e-4, False),
        OutputVerdict("s3_tokenizer", "s3_tokenizer/tokens", EQUAL, 7.0, 0.0, False),
        OutputVerdict("vocoder", "vocoder/f0", RELATIVE_RMS, None, 1e-4, False, "missing"),
    )
    path, page = tmp_path / "peer.json", tmp_path / "parity.md"
    page.write_text(f"{baseline.BEGIN}\nold\n{baseline.END}\n")
    baseline.write_peer(Comparison("other 1.0", "torch", rows), path, page)
    assert baseline.read_peer(path)["name"] == "other 1.0"
    lines = page.read_text().splitlines()
    assert lines[2].endswith("| other 1.0, english |")
    cells = [line.strip("| ").split(" | ") for line in lines if " | " in line]
    ends = {(stage, output): last for stage, output, *_, last in cells}
    assert ends["flow", "mel"] == "1.2e-02"
    assert ends["s3_tokenizer", "tokens"] == "7 differ"
    assert ends["vocoder", "f0"] == "-"


def test_the_committed_baseline_is_of_outputs_that_there_are():
    for variant, comparisons in baseline.read_baseline().items():
        for outputs in comparisons.values():
            stages = expanded(outputs, stages_of(variant))
            bounds = {output.name: output.bound for stage in stages for output in stage.outputs}
            assert set(outputs) <= set(bounds)
            assert all(error <= bounds[name] for name, error in outputs.items())


def test_the_committed_baseline_has_all_of_chattts():
    pairs = baseline.read_baseline()["chattts"]
    assert set(pairs) == {"mlx against torch", "mlx against numpy", "numpy against torch"}
    assert {len(outputs) for outputs in pairs.values()} == {32}
    assert max(max(outputs.values()) for outputs in pairs.values()) < 1e-5


def test_chattts_has_a_table_of_its_own(report):
    rows = [row("decoder/mel", 1.26e-6), row("sampler/a/probabilities", 0.0)]
    rows += [row("decoder/mel", 2.2e-7, checked="numpy")]
    second = {**report, "about": {"variant": "chattts"}, "rows": rows}
    text = baseline.table(baseline.of_reports([report, second]), baseline.read_peer())
    first, _, own = text.split("\n\n")
    assert "chattts" not in first
    assert "decoder" not in first
    assert own.splitlines()[0] == "| stage | output | mlx against torch | numpy against torch |"
    assert "| hidden_decoder | mel | 1.3e-06 | 2.2e-07 |" in own
    assert "| chattts_sampler_a | a/probabilities | equal | - |" in own
