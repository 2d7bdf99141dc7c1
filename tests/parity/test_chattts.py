"""ChatTTS's stages: ours and plain NumPy agree, layer by layer, and planted faults are found."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.models.chattts.config import ChatTTSConfig
from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.fabricate.small_chattts import small_chattts
from mlx_chatterbox.parity.faults.planting import faults
from mlx_chatterbox.parity.inputs.chattts import (
    make_inputs,
    stored_inputs,
    stored_outputs,
    stored_reference,
)
from mlx_chatterbox.parity.layers.bisect import bisect
from mlx_chatterbox.parity.layers.both_sides import small_chattts_model
from mlx_chatterbox.parity.layers.mutants import try_fault
from mlx_chatterbox.parity.mlx.backend import compute_with, record_with
from mlx_chatterbox.parity.stages import computable, expanded
from mlx_chatterbox.parity.tables.chattts import CHATTTS_STAGES
from mlx_chatterbox.parity.tables.stage import CHATTTS
from mlx_chatterbox.weights.source_paths import remember

FAULTS = [fault for fault in faults().values() if fault.variant == CHATTTS]
# Kinds of faults that are easily made, of which each must be among those planted.
KINDS = {
    *("unbounded_residual", "fifth_for_quarter", "swapped_groups", "frames_apart"),
    *("codes_as_text", "stop_of_first_codebook", "speaker_in_float32", "symmetric_istft_window"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chattts")


@pytest.fixture(scope="module")
def model(folder):
    return small_chattts_model(folder)


@pytest.fixture(scope="module")
def ours(model):
    return compute_with(model.networks(), model.inputs)


# --- Stages --------------------------------------------------------------------------------------


def test_every_stage_agrees_with_numpy(model, ours):
    comparison = compare(model.outputs, ours)
    assert [row for row in comparison.rows if not row.holds] == []
    assert {row.stage for row in comparison.rows} == {s.name for s in computable(model.inputs)}
    assert ours.keys() == model.outputs.keys()


def test_cases_of_the_table_are_those_of_the_names():
    stages = expanded(["gpt/b/input_ids", "gpt/a/hidden", "sampler/logits"], CHATTTS_STAGES)
    assert [stage.name for stage in stages if stage.case] == ["gpt_b", "gpt_a"]
    assert stages[0].inputs[0] == "gpt/b/input_ids"
    assert stages[0].outputs[-3].mask == "gpt/b/attention_mask"


def test_what_stands_at_padding_is_not_compared(model, ours):
    mask = {"gpt/text/attention_mask": model.inputs["gpt/text/attention_mask"]}
    other = {**model.outputs, **mask}
    other["gpt/text/hidden"] = other["gpt/text/hidden"].copy()
    other["gpt/text/hidden"][0, 0] += 1
    assert compare(other, ours).holds
    del other["gpt/text/attention_mask"]
    assert not compare(other, ours).holds


def test_rows_of_codes_end_by_any_codebooks_stop(model, ours):
    lengths = [len(ours[f"generate/code/ids_{row}"]) for row in (0, 1)]
    assert min(lengths) > 0
    assert max(lengths) < 24


def test_the_stored_reference_applies_to_its_own_inputs():
    reference = stored_reference()
    inputs = stored_inputs(reference)
    stages = {stage.name for stage in computable(inputs, CHATTTS_STAGES)}
    assert len(stages) == 16
    outputs = stored_outputs(reference, inputs)
    assert len(outputs) == 32
    assert not outputs["gpt/code/hidden"][0, :4].any()
    inputs["dvae/waveform"] = inputs["dvae/waveform"][:-1]
    inputs["speaker/vector"] = -inputs["speaker/vector"]
    left_out = outputs.keys() - stored_outputs(reference, inputs).keys()
    assert {"dvae/encoded_ids", "gpt/code/hidden", "speaker/normalised"} <= left_out
    assert not any(name.startswith(("vocos", "decoder", "sampler")) for name in left_out)


# --- Layers and faults ---------------------------------------------------------------------------


def test_every_layer_agrees_with_numpy(model):
    networks = model.networks()
    findings = bisect(model.taps, record_with(networks, model.inputs))
    assert [finding.stage for finding in findings if finding.culprit] == []
    compared = {step.actual.name for finding in findings for step in finding.steps}
    weighted = {
        path
        for path, layer in networks.named_modules()
        if path and any(isinstance(value, mx.array) for value in layer.values())
    }
    # Tables are read in one function with the speaker's vector.
    assert weighted - compared == {"gpt.emb_text", *(f"gpt.emb_code.{i}" for i in range(4))}
    assert all(step.output_error < 1e-5 for finding in findings for step in finding.steps)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught_and_named(model, fault):
    mutant = try_fault(model, fault)
    assert mutant.caught
    assert mutant.named == fault.layer


def test_the_kinds_that_are_easily_made_are_planted():
    assert {fault.name for fault in FAULTS} >= KINDS


@pytest.mark.parametrize(
    "fault", ["codes_as_text", "unbounded_residual", "gelu_by_tanh", "stop_of_all_codebooks"]
)
def test_bisect_saves_a_difference_that_shows_again(fault, tmp_path, capsys):
    saved = tmp_path / "saved"
    assert main(["bisect", "--small", "--fault", fault, "--save", str(saved)]) == 1
    capsys.readouterr()
    from mlx_chatterbox.parity.layers.reproduction import reproduce

    if fault == "stop_of_all_codebooks":
        # A stage's own code is called with the checkpoint, which was a temporary one here.
        metadata = json.loads((saved / "layer.json").read_text())
        assert metadata["name"] == "generate_code"
        return
    assert reproduce(saved) == 1
    assert "mlx: output 0: relative rms error" in capsys.readouterr().out
    metadata = json.loads((saved / "layer.json").read_text())
    (saved / "layer.json").write_text(json.dumps({**metadata, "fault": ""}))
    weights_alone = reproduce(saved)
    assert weights_alone == 0, capsys.readouterr().out


def test_mutate_needs_no_pytorch_for_chattts(monkeypatch, capsys):
    needed = "mlx_chatterbox.parity.commands.layers.find_interpreter"
    monkeypatch.setattr(needed, lambda path: pytest.fail("no PyTorch is needed"))
    assert main(["mutate", "--variant", "chattts", "frames_apart", "undilated"]) == 0
    assert "2 of 2 caught, 2 of 2 named." in capsys.readouterr().out
    assert main(["mutate", "--variant", "chattts", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FAULTS)


# --- Commands ------------------------------------------------------------------------------------


@pytest.fixture
def dump(tmp_path, capsys):
    """`dump` of tensors, with what it said; `backend` and others are its options."""

    def run(folder: Path, inputs: dict, *options: str, code: int = 0) -> tuple[dict, str]:
        given, out = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
        out.unlink(missing_ok=True)
        write_dump(given, inputs)
        paths = ["--inputs", str(given), "--output", str(out)]
        assert main(["dump", "--checkpoint", str(folder), *paths, *options]) == code
        said = capsys.readouterr().err
        return (read_dump(out) if out.exists() else {}), said

    return run


def test_a_dump_of_other_sizes_and_weights(folder, model, dump):
    """By our networks from a converted folder and from ChatTTS's own, and by NumPy."""
    # Equal files that were elsewhere in between are gone.
    remember(ChatTTSConfig.load(model.converted).source["files"], folder / "upstream")
    inputs = make_inputs(small_chattts(), seed=9)
    expected, _ = dump(model.converted, inputs, "--backend", "numpy")
    assert len(expected) > 20
    for source in (model.converted, folder / "upstream"):
        actual, said = dump(source, inputs)
        assert actual.keys() == expected.keys()
        assert compare(expected, actual).holds
        assert "gpt/text/layer_10: left out, since the model has fewer layers." in said


def test_any_subset_is_computed_and_the_rest_is_said(model, ours, dump):
    inputs = {name: model.inputs[name] for name in ("decoder/hidden", "vocos/mel")}
    actual, said = dump(model.converted, inputs)
    assert actual.keys() == {"decoder/mel", "vocos/waveform"}
    assert np.allclose(actual["decoder/mel"], ours["decoder/mel"], atol=1e-5)
    assert said == ""
    inputs |= {"dvae/hello": np.zeros(3, np.float32), "dvae/mel": np.zeros(3, np.float32)}
    inputs["gpt/text/input_ids"] = model.inputs["gpt/text/input_ids"]
    actual, said = dump(model.converted, inputs)
    assert actual.keys() == {"decoder/mel", "vocos/waveform"}
    assert "gpt_text is left out, since gpt/text/attention_mask, gpt/text/text_mask is" in said
    assert "no stage of this model takes dvae/hello." in said
    assert "1 outputs of stages in it are not read" in said


def test_codes_without_a_start_or_a_speaker(model, ours, dump):
    inputs = {n: v for n, v in model.inputs.items() if n.startswith("gpt/code/")}
    start = inputs.pop("gpt/code/start")
    actual, said = dump(model.converted, inputs)
    assert "gpt/code/logits_tail: left out, since gpt/code/start is not given." in said
    assert "no speaker/vector" in said
    assert "gpt/code/logits_tail" not in actual
    assert not np.array_equal(actual["gpt/code/embeds"], ours["gpt/code/embeds"])
    vector = model.inputs["speaker/vector"]
    whole = {**inputs, "gpt/code/start": start, "speaker/vector": vector}
    actual, said = dump(model.converted, whole)
    assert np.array_equal(actual["gpt/code/logits_tail"], ours["gpt/code/logits_tail"])


def test_cases_of_the_sampler_without_settings_are_left_out(model, dump):
    inputs = {n: v for n, v in model.inputs.items() if n.startswith(("sampler/", "notes"))}
    inputs["sampler/other/logits"] = inputs["sampler/usual/logits"]
    inputs["sampler/other/history"] = inputs["sampler/usual/history"]
    actual, said = dump(model.converted, inputs)
    assert "sampler/other: left out, since notes has no settings of it." in said
    assert "sampler/usual/probabilities" in actual
    assert "sampler/other/probabilities" not in actual


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gpt/code/input_ids", lambda ids: ids + 30000, "must be from 0 to 21177"),
        ("gpt/code/input_ids", lambda ids: ids[:, :-1], "attention_mask has shape"),
        ("gpt/text/attention_mask", lambda mask: mask[:, ::-1], "0 on the left"),
        ("gpt/code/start", lambda start: start + 99, "one position from 1 to"),
        ("dvae/ids", lambda ids: ids - 700, "must be from 0 to 624"),
        ("dvae/ids", lambda ids: ids[:, :3], "must be \\(n, 4, n\\)"),
        ("decoder/hidden", lambda hidden: hidden[0], "must be \\(n, n, 32\\)"),
        ("vocos/mel", lambda mel: mel[:, :0], "must be \\(n, 10, n\\)"),
        ("dvae/waveform", lambda waveform: waveform[:0], "must be \\(n\\)"),
        ("speaker/vector", lambda vector: vector[:5], "must be \\(32,\\)"),
        ("notes", lambda notes: notes[:-3], "notes is no JSON"),
    ],
)
def test_wrong_inputs_are_one_clear_line(model, dump, name, change, message):
    inputs = {**model.inputs, name: np.ascontiguousarray(change(model.inputs[name]))}
    actual, said = dump(model.converted, inputs, code=1)
    assert actual == {}
    assert "Traceback" not in said
    import re

    assert re.search(message, said), said


def test_a_folder_of_the_other_family_is_refused(model, small_checkpoint, dump):
    for folder, variant in ((model.converted, "english"), (small_checkpoint, "chattts")):
        _, said = dump(folder, model.inputs, "--variant", variant, code=1)
        assert f"does not hold {variant}" in said


def test_taps_of_both_sides_are_compared_as_files(folder, model, tmp_path, capsys):
    inputs = write_dump(tmp_path / "in.safetensors", model.inputs)
    files = {}
    for backend, source in (("numpy", folder / "upstream"), ("mlx", model.converted)):
        files[backend] = tmp_path / f"{backend}.taps"
        paths = ["--inputs", str(inputs), "--output", str(files[backend])]
        own = ["--checkpoint", str(source), "--backend", backend, "--taps"]
        assert main(["dump", *own, *paths, "--stages", "vocos", "gpt_code"]) == 0
    reference = ["bisect", "--reference", str(files["numpy"])]
    assert main([*reference, "--found", str(files["mlx"])]) == 0
    assert main([*reference, "--checkpoint", str(model.converted), "--stages", "vocos"]) == 0
    out = capsys.readouterr().out
    assert "gpt_code: " in out
    assert out.count("vocos: 19 calls compared, all agree") == 2


def test_a_run_on_given_weights_compares_with_numpy(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--weights", str(folder / "upstream"), "--json", "report.json"]
    assert main([*arguments, "--work", "work", "--report", "report"]) == 0
    captured = capsys.readouterr()
    assert "no stored tensors" in captured.err
    report = json.loads(Path("report.json").read_text())
    assert report["about"]["variant"] == "chattts"
    assert report["about"]["weights"] == "upstream"
    assert len(report["about"]["sha256"]["weights"]) >= 5
    assert {row["reference"] for row in report["rows"]} == {"numpy"}
    assert len(report["rows"]) == len(model.outputs)
    page = Path("report/report.html").read_text()
    assert "decoder/mel, ours" in page
    assert main(["bisect", "--weights", str(folder / "upstream"), "--work", "work"]) == 0
    assert main(["report", "work/chattts", "--output", "again"]) == 0
    assert "error by layer" in Path("again/report.html").read_text()
