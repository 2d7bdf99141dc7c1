"""Taps of our networks, their files, and the walk to the first layer that differs.

Our own correct networks stand for upstream's here; `test_reference_taps.py` has upstream's.
"""

import subprocess
import sys

import numpy as np
import pytest

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.dumps import read_dump, write_dump
from mlx_chatterbox.parity.errors import DumpError, ParityError
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
from mlx_chatterbox.parity.faults.planting import faults, planted
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.layers.bisect import aligned, as_text, bisect, first_fault
from mlx_chatterbox.parity.mlx.backend import compute_with, record_with
from mlx_chatterbox.parity.taps.recording import Recorder, read_taps, write_taps
from mlx_chatterbox.parity.taps.upstream_names import upstream_names
from mlx_chatterbox.weights.checkpoint import load
from tests.small import small_config

STAGES = ("t3", "t3_greedy", "flow", "estimator", "vocoder", "ref_mel")


@pytest.fixture(scope="module")
def inputs():
    return make_inputs(small_config(), seed=5, sizes=SMALL_SIZES)


@pytest.fixture(scope="module")
def networks(small_checkpoint):
    return load(small_checkpoint).networks


@pytest.fixture(scope="module")
def taps(networks, inputs):
    return record_with(networks, inputs, STAGES)


def of(taps, stage, name, call=1):
    return next(t for t in taps if (t.stage, t.name, t.call) == (stage, name, call))


def test_every_layer_that_is_called_has_a_tap(networks, taps):
    from mlx_chatterbox.nn.conv import Conv1d

    recorded = {tap.name for tap in taps}
    for path, layer in networks.s3gen.flow.named_modules():
        if isinstance(layer, Conv1d):
            assert f"s3gen.flow.{path}" in recorded
    for index in range(2):
        for part in ("self_attn.q_proj", "self_attn", "mlp.down_proj", "mlp", "input_layernorm"):
            assert f"t3.tfmr.model.layers.{index}.{part}" in recorded


@pytest.mark.numbers
def test_recording_changes_no_result_and_leaves_no_trace(networks, inputs, taps):
    plain = compute_with(networks, inputs, STAGES)
    for stage in STAGES:
        for name, value in of(taps, stage, stage).outputs.items():
            assert np.allclose(value, plain[name], rtol=0, atol=1e-4), name
    assert type(networks.t3.speech_head).__call__.__name__ == "__call__"


def test_layers_end_before_what_contains_them_and_the_stage_is_last(taps):
    stages = [tap.stage for tap in taps]
    for stage in STAGES:
        own = [tap for tap in taps if tap.stage == stage]
        assert own[-1].is_stage
        places = {tap.key: i for i, tap in enumerate(own)}
        assert all(places.get(tap.parent, len(own)) > i for i, tap in enumerate(own))
    assert stages == sorted(stages, key=list(dict.fromkeys(stages)).index)


def test_steps_are_counted_and_only_so_many_kept(networks, inputs):
    taps = record_with(networks, inputs, ["flow"], calls=1)
    assert {tap.call for tap in taps if tap.name.endswith("final_proj")} == {1, 2}


def test_t3s_two_calls_are_one_sequence(taps):
    whole = of(taps, "t3", "t3.tfmr.model")
    # Conditioning 6, text 9, two starts, 7 speech tokens.
    assert whole.outputs["0"].shape == (2, 24, 64)
    assert of(taps, "t3", "t3.tfmr.model.layers.0.mlp.up_proj").inputs["x"].shape == (2, 24, 64)
    assert of(taps, "t3_greedy", "t3.tfmr.model", 2).outputs["0"].shape == (2, 1, 64)


def test_names_are_upstreams_by_the_converters_rules():
    paths = [
        "t3.tfmr.model.layers.0.mlp",
        "s3_tokenizer.quantizer.codebook",
        "s3gen.flow.decoder",
        "ve.lstm",
    ]
    named = {ours: (network, theirs) for network, theirs, ours in upstream_names(paths)}
    assert named[paths[0]] == ("t3", "tfmr.layers.0.mlp")
    assert named[paths[1]] == ("s3gen", "tokenizer.quantizer._codebook")
    assert named[paths[2]] == ("s3gen", "flow.decoder")
    assert named[paths[3]] == ("voice_encoder", "lstm")


def test_a_file_of_taps_holds_everything_and_equal_arrays_once(taps, inputs, tmp_path):
    path = write_taps(tmp_path / "our.taps", taps, inputs, {"backend": "mlx"})
    file = read_taps(path)
    assert [tap.key for tap in file.taps] == [tap.key for tap in taps]
    assert [tap.parent for tap in file.taps] == [tap.parent for tap in taps]
    for read, tap in zip(file.taps, taps, strict=True):
        for name in tap.outputs:
            assert np.array_equal(read.outputs[name], tap.outputs[name])
    assert set(file.inputs) == set(inputs)
    assert file.metadata["backend"] == "mlx"
    arrays = [a for t in taps for part in (t.inputs, t.outputs) for a in part.values()]
    known = sum(a.nbytes for a in inputs.values())
    assert path.stat().st_size - known < 0.8 * sum(a.nbytes for a in arrays)
    with pytest.raises(DumpError, match="not a tap file"):
        read_taps(write_dump(tmp_path / "dump", inputs))


def test_the_same_taps_have_no_fault(taps):
    findings = bisect(taps, taps)
    assert first_fault(findings) is None
    assert [finding.stage for finding in findings] == list(dict.fromkeys(tap.stage for tap in taps))
    assert "all agree" in as_text(findings)


@pytest.mark.parametrize(
    "name", ["symmetric_window", "missing_bias", "off_by_one_position", "missing_attention_scale"]
)
def test_a_planted_fault_is_named(name, taps, inputs, small_checkpoint):
    networks = load(small_checkpoint).networks
    fault = faults()[name]
    with planted(name, networks):
        found = record_with(networks, inputs, fault.stages)
    finding = first_fault(bisect(taps, found, fault.stages))
    assert finding.culprit.actual.name == fault.layer
    assert fault.layer in as_text([finding])


def test_there_are_enough_faults_and_each_can_be_taken_out_again(networks, inputs):
    known = faults()
    assert len(known) >= 25
    before = compute_with(networks, inputs, ["ref_mel"])["s3gen/ref_mel"]
    for name, fault in known.items():
        if fault.code is not None:
            with planted(name, networks):
                pass
    assert np.array_equal(compute_with(networks, inputs, ["ref_mel"])["s3gen/ref_mel"], before)
    with pytest.raises(ParityError, match="not a fault"), planted("typo", networks):
        pass


def test_a_wrong_order_inside_a_layer_is_the_layers(taps):
    """The fault is in the layer that passes the wrong input, not in the part that receives it."""
    from dataclasses import replace

    stage, part, whole = "estimator", "time_mlp.linear_2", "time_mlp"
    prefix = "s3gen.flow.decoder.estimator."
    found = []
    for tap in taps:
        if tap.stage == stage and tap.name == prefix + part:
            outputs = {k: v + 1 for k, v in tap.outputs.items()}
            tap = replace(tap, inputs={k: v + 1 for k, v in tap.inputs.items()}, outputs=outputs)
        if tap.stage == stage and tap.name == prefix + whole:
            tap = replace(tap, outputs={k: v + 1 for k, v in tap.outputs.items()})
        found.append(tap)
    finding = first_fault(bisect(taps, found))
    assert finding.culprit.actual.name == prefix + whole
    assert finding.inside.actual.name == prefix + part


def test_arrays_of_one_row_serve_all():
    row = np.ones((1, 3, 4))
    assert aligned(row, np.ones((2, 3, 4)))[0].shape == (2, 3, 4)
    assert aligned(np.ones((2, 3, 4)), np.ones((3, 4)))[1].shape == (2, 3, 4)
    assert aligned(np.ones((5, 1)), np.ones(5))[0].shape == (5,)
    assert aligned(np.ones((2, 3)), np.ones((4, 3))) is None


def test_nothing_is_recorded_outside_of_a_stage():
    recorder = Recorder()
    recorder.leave(recorder.enter("layer", {}), {})
    assert recorder.taps == []


def test_a_difference_is_saved_with_a_script_that_shows_it(
    taps, inputs, small_checkpoint, tmp_path, capsys
):
    reference = write_taps(tmp_path / "reference.taps", taps, inputs)
    folder = tmp_path / "found"
    arguments = ["--reference", str(reference), "--checkpoint", str(small_checkpoint)]
    arguments += ["--stages", "estimator", "--save", str(folder)]
    assert main(["bisect", *arguments]) == 0
    assert not folder.exists()
    assert main(["bisect", *arguments, "--fault", "missing_attention_scale"]) == 1
    assert faults()["missing_attention_scale"].layer in capsys.readouterr().out
    assert {"weights.safetensors", "config.json", "reproduce.py"} <= {
        path.name for path in folder.iterdir()
    }
    assert "to_q.weight" in " ".join(read_dump(folder / "upstream.safetensors"))
    script = [sys.executable, str(folder / "reproduce.py")]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "mlx: output 0: relative rms error" in done.stdout


def test_a_stages_own_code_is_saved_with_the_stages_inputs(
    taps, inputs, small_checkpoint, tmp_path, capsys
):
    from mlx_chatterbox.parity.layers.reproduction import reproduce

    reference = write_taps(tmp_path / "reference.taps", taps, inputs)
    folder = tmp_path / "found"
    arguments = ["--reference", str(reference), "--checkpoint", str(small_checkpoint)]
    arguments += ["--stages", "t3", "--save", str(folder), "--fault", "off_by_one_position"]
    assert main(["bisect", *arguments, "--json", str(tmp_path / "errors.json")]) == 1
    assert "t3/speech_tokens" in read_dump(folder / "inputs.safetensors")
    assert "differs_first" in (tmp_path / "errors.json").read_text()
    capsys.readouterr()
    assert reproduce(folder) == 1
    assert "mlx: output t3/logits: relative rms error" in capsys.readouterr().out


def test_two_files_are_enough(taps, inputs, tmp_path, capsys):
    paths = [write_taps(tmp_path / name, taps, inputs) for name in ("a", "b")]
    assert main(["bisect", "--reference", str(paths[0]), "--found", str(paths[1])]) == 0
    assert main(["bisect", "--reference", str(paths[0])]) == 1
    assert "--checkpoint" in capsys.readouterr().err


def test_taps_are_dumped_by_the_command(small_checkpoint, inputs, tmp_path):
    given = write_dump(tmp_path / "in.safetensors", inputs)
    out = tmp_path / "our.taps"
    arguments = ["--checkpoint", str(small_checkpoint), "--inputs", str(given)]
    command = ["dump", "--taps", "--stages", "estimator", *arguments, "--output", str(out)]
    assert main(command) == 0
    assert {tap.stage for tap in read_taps(out).taps} == {"estimator"}


def test_faults_are_listed(capsys):
    assert main(["mutate", "--list"]) == 0
    assert "wrong_gelu" in capsys.readouterr().out
    assert main(["mutate", "typo"]) == 1
