"""The benchmarks' arithmetic, reports and command line; one real run on a small model."""

import json
import subprocess
import sys
import types

import mlx.core as mx
import pytest

from benchmarks import engines, measure, plot, prepare, report
from benchmarks.__main__ import main
from benchmarks.clock import TokenClock, watch_positions
from benchmarks.errors import BenchmarkError
from benchmarks.inputs import BATCHES, DECODED_TOKENS, make_inputs
from benchmarks.measure import Measured
from benchmarks.stages import ENGINES, MODULES, STAGES, groups
from mlx_chatterbox.doctor import counts
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.models.s3gen.config import HiFTNetConfig, S3GenConfig
from mlx_chatterbox.models.t3.config import T3Config
from parity.errors import PeerMissing


@pytest.fixture
def measured():
    return Measured(
        seconds={
            "t3_token": {"ours": [0.1, 0.3, 0.2], "mlx-audio": [0.4, 0.4, 0.4]},
            "flow": {"ours": [10.0], "torch": [8.0]},
        },
        memory={"english": {"ours": 3_000_000_000, "torch": 4_000_000_000}},
        limits={"bytes_per_second": 20e9, "flops_per_second": 200e9},
        about={"title": "a machine"},
    )


def test_ratios_are_of_medians_and_range_over_runs_side_by_side():
    assert report.ratio([1.0, 2.0, 9.0], [2.0, 2.0, 3.0]) == (1.0, 0.5, 3.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.01234, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1 s"),
        (12.34, "12.3 s"),
        (123.4, "123 s"),
    ],
)
def test_times_have_three_figures(seconds, text):
    assert report.in_units(seconds) == text


def test_the_table_has_a_gap_where_a_peer_did_not_run(measured):
    lines = report.table(measured, ["mlx-audio", "torch"]).splitlines()
    assert lines[0] == "| stage | ours | mlx-audio | ours / mlx-audio | PyTorch | ours / PyTorch |"
    token = "| T3, each further token | 200 ms | 400 ms | 0.50 (0.25 to 0.75) | - | - |"
    assert lines[2] == token
    assert lines[3] == "| flow | 10 s | - | - | 8 s | 1.25 (1.25 to 1.25) |"
    assert lines[4] == "| peak memory, English | 3.00 GB | - | - | 4.00 GB | 0.75 |"


def test_the_last_line_names_every_engine(measured):
    found = json.loads(json.dumps(report.summary(measured)))
    assert found["stages"]["t3_token"] == {"ours": 0.2, "mlx-audio": 0.4, "torch": None}
    assert found["stages"]["flow"] == {"ours": 10.0, "mlx-audio": None, "torch": 8.0}
    assert found["memory_bytes"]["english"]["mlx-audio"] is None


def test_shares_are_work_over_time_over_the_limit(measured):
    work = {
        "t3_token": ("bytes_per_second", 2_000_000_000),
        "flow": ("flops_per_second", 500_000_000_000),
        "vocoder": ("flops_per_second", 1),
    }
    assert report.shares(measured, work) == {
        "t3_token": {"ours": pytest.approx(0.5), "mlx-audio": pytest.approx(0.25)},
        "flow": {"ours": pytest.approx(0.25), "torch": pytest.approx(0.3125)},
    }
    text = report.shares_text(measured, work)
    assert "reads 20.0 GB/s" in text
    assert "T3, each further token (2 GB): ours 50 %, mlx-audio 25 %" in text
    assert report.shares_text(Measured(), work) == ""


def test_work_is_known_for_every_stage_that_has_a_limit():
    work = report.work_of(ModelConfig(), steps=10)
    assert set(work) == {
        "t3_token", "t3_token_batch4", "t3_token_batch8", "flow", "vocoder", "s3gen"
    }  # fmt: skip
    # A token of eight sentences reads an eighth of the weights, and its own two caches.
    assert work["t3_token_batch8"][1] < work["t3_token"][1] / 6


def test_a_decoding_step_reads_the_weights_and_the_caches():
    config = T3Config(
        hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2,
        head_dim=4, speech_tokens_dict_size=10, start_speech_token=8, stop_speech_token=9,
    )  # fmt: skip
    # By hand: q, k, v, o 4 x 64; gate, up, down 3 x 96; two norms of 8; a last norm, a head.
    weights = 2 * (256 + 288 + 16) + 8 + 80
    cache = 2 * 5 * 2 * (8 + 8)
    assert counts.t3_step_bytes(config, rows=2, positions=5) == 4 * (weights + cache)
    assert counts.t3_step_bytes(config, 2, 5, sentences=2) == 2 * (weights + cache)


def test_flow_operations_by_hand():
    config = S3GenConfig(
        token_embed_dim=4, encoder_output_size=4, encoder_attention_heads=2,
        encoder_linear_units=6, encoder_num_blocks=1, encoder_num_up_blocks=1,
        decoder_in_channels=320, decoder_out_channels=80, decoder_channels=[2], decoder_n_blocks=1,
        decoder_num_mid_blocks=1, decoder_num_heads=1, decoder_attention_head_dim=2,
    )  # fmt: skip
    # Two tokens, four frames. Conformer at length L: five products of 4 x 4, one of them over
    # 2 L - 1 distances; scores by key, by distance, and the values; 4 x 6 there and back.
    lower = (4 * 2 + 3) * 16 + 2 * (2 + 2 + 3) * 4 + 2 * 2 * 4 * 6
    upper = (4 * 4 + 7) * 16 + 4 * (4 + 4 + 7) * 4 + 2 * 4 * 4 * 6
    # Embeddings at both rates, look-ahead of four and causal of three, upsampling of five taps.
    around = (2 + 4) * 16 + 2 * 7 * 16 + 4 * 5 * 16 + 4 * 4 * 80
    # U-Net, a frame: resnets from 320, 2 and 4 channels; three blocks; three convolutions; out.
    resnets = (3 * 320 * 2 + 12 + 640) + (12 + 12 + 4) + (3 * 4 * 2 + 12 + 8)
    block = 4 * 2 * 2 + 2 * 4 * 2 + 8 * 2 * 2
    unet = 4 * (resnets + 3 * block + 3 * 12 + 2 * 80)
    assert counts.flow_flops(config, 1, 1, steps=3) == 2 * (lower + upper + around + 3 * 2 * unet)
    config.meanflow = True
    assert counts.flow_flops(config, 1, 1, steps=2) == 2 * (lower + upper + around + 2 * unet)


def test_vocoder_operations_by_hand():
    config = HiFTNetConfig(
        in_channels=3, base_channels=8, upsample_rates=[2, 3], upsample_kernel_sizes=[4, 7],
        istft_n_fft=4, resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
        source_resblock_kernel_sizes=[5, 7], source_resblock_dilation_sizes=[[1], [1, 2]],
        f0_predictor_in_channels=3, f0_predictor_cond_channels=2,
    )  # fmt: skip
    f0 = 5 * (3 * 3 * 2 + 4 * 3 * 2 * 2 + 2)
    before = 5 * 7 * 3 * 8
    # 5 frames to 10 at 4 channels, to 30 at 2; the source has 6 bins, three times coarser first.
    first = 5 * 4 * 8 * 4 + 10 * 6 * 6 * 4 + 10 * (4 * 3 + 2 * 5) * 16
    second = 10 * 7 * 4 * 2 + 30 * 6 * 2 + 30 * (4 * 3 + 4 * 7) * 4
    assert counts.vocoder_flops(config, 5) == 2 * (f0 + before + first + second + 30 * 7 * 2 * 6)


def test_a_clock_gives_the_first_token_and_each_further_one(monkeypatch):
    times = iter([10.0, 12.0, *(12.5 + 0.5 * n for n in range(DECODED_TOKENS))])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    clock = TokenClock()
    for _ in range(1 + DECODED_TOKENS):
        clock.tick()
    assert clock.seconds() == {"t3_prefill": 2.0, "t3_token": 0.5}


def test_a_clock_refuses_a_decoding_that_ended_early():
    clock = TokenClock()
    clock.tick()
    with pytest.raises(RuntimeError, match="stopped after 1 of"):
        clock.seconds()


def test_positions_after_the_first_tick_and_watching_ends():
    class Table:
        def get_fixed_embedding(self, position):
            return position

    t3, clock = types.SimpleNamespace(speech_pos_emb=Table()), TokenClock()
    end = watch_positions(t3, clock)
    assert [t3.speech_pos_emb.get_fixed_embedding(n) for n in (0, 1, 2)] == [0, 1, 2]
    end()
    t3.speech_pos_emb.get_fixed_embedding(3)
    assert len(clock._known) == 2


def test_inputs_are_seeded_and_the_batch_begins_with_the_one_sentence():
    inputs, again = make_inputs(), make_inputs()
    assert all((inputs[name] == again[name]).all() for name in inputs)
    assert inputs["text_batch"].shape == (max(BATCHES), 62)
    assert (inputs["text_batch"][0] == inputs["text_tokens"]).all()


def test_stages_that_one_run_times_share_a_group():
    assert groups(["t3_token", "flow", "t3_prefill"]) == {
        "t3": ["t3_prefill", "t3_token"],
        "flow": ["flow"],
    }
    assert list(MODULES) == list(ENGINES)


def test_engines_take_turns_and_one_that_fails_leaves():
    order = []

    def engine(name, fails_at=None):
        def act(steps):
            order.append((name, steps))
            if len(order) == fails_at:
                raise BenchmarkError("out of memory")
            return {"flow": float(len(order))}

        return act

    found = Measured()
    actions = {"ours": engine("ours"), "torch": engine("torch", fails_at=4)}
    measure._take_turns(found, "flow", ["flow"], actions, runs=2, steps=10)
    # One uncounted round of one step, then two counted ones.
    assert order == [("ours", 1), ("torch", 1), ("ours", 10), ("torch", 10), ("ours", 10)]
    assert found.seconds == {"flow": {"ours": [3.0, 5.0]}}


def test_a_very_slow_peer_is_timed_once(monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", -1.0)
    found = Measured()
    actions = {"ours": lambda steps: {"flow": 2.0}, "torch": lambda steps: {"flow": 8.0}}
    measure._take_turns(found, "flow", ["flow"], actions, runs=3, steps=10)
    assert found.seconds == {"flow": {"ours": [2.0] * 3, "torch": [8.0]}}
    assert report.ratio([2.0] * 3, [8.0]) == (0.25, 0.25, 0.25)


def test_our_own_failure_is_an_error():
    def fails(steps):
        raise BenchmarkError("out of memory")

    with pytest.raises(BenchmarkError, match="ours, flow: out of memory"):
        measure._take_turns(Measured(), "flow", ["flow"], {"ours": fails}, runs=1, steps=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "flwo"], "unknown stage flwo; choose from import, load,"),
        (["--stages", ","], "name a stage"),
        (["--peers", "onnx"], "unknown peer onnx; choose from mlx-audio, torch"),
        (["--runs", "0"], "at least 1 and at most"),
        (["--device", "tpu"], "invalid choice"),
        (["--json", "nowhere/at/all.json"], "the folder is not there"),
        (["--weights", "nowhere"], "no such folder"),
    ],
)
def test_wrong_use_is_reported_at_once(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_stage(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in STAGES)
    assert "minutes" in said


def test_help_imports_neither_mlx_nor_the_library():
    code = "import sys; from benchmarks.__main__ import build_parser; build_parser().format_help()"
    code += "; print([m for m in ('mlx', 'mlx_chatterbox', 'numpy', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plot_without_matplotlib_names_the_package(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["--plot", str(tmp_path / "speed.png")]) == 1
    assert "mlx-chatterbox[bench]" in capsys.readouterr().err


def test_a_plot_is_a_picture(measured, tmp_path):
    pytest.importorskip("matplotlib")
    path = plot.draw(measured, tmp_path / "speed.png", "a title")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BenchmarkError, match="cannot be written"):
        plot.draw(measured, tmp_path / "speed.unknown", "a title")


def test_an_unavailable_peer_is_left_out(monkeypatch, capsys):
    def missing(peer, given):
        raise PeerMissing(f"{peer}: no network")

    monkeypatch.setattr(prepare, "interpreter", missing)
    arguments = types.SimpleNamespace(
        peers=["mlx-audio"], reference_python=None, mlx_audio_python=None
    )
    assert prepare.find_interpreters(arguments) == {"ours": sys.executable}
    assert "left out: mlx-audio: no network" in capsys.readouterr().err


def test_a_worker_that_cannot_load_reports_why(tmp_path):
    from parity.dumps import write_dump

    inputs = write_dump(tmp_path / "inputs.safetensors", make_inputs())
    place = engines.Place("ours", sys.executable, tmp_path, "cpu")
    said = pytest.raises(BenchmarkError, match=r"config\.json is missing")
    with said, engines.worker(place, inputs, "english"):
        pass


def test_a_small_model_is_timed_from_end_to_end(
    small_upstream, small_checkpoint, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("benchmarks.prepare.converted_weights", lambda *_: small_checkpoint)
    monkeypatch.setattr("benchmarks.measure.in_new_process", lambda place, what: {what: 0.25})
    monkeypatch.setattr(
        "benchmarks.run.in_new_process",
        lambda place, what: {"bytes_per_second": 1e9, "flops_per_second": 1e9},
    )
    out = tmp_path / "result.json"
    names = "import,conditioning,t3_prefill,t3_token,flow,vocoder,s3gen"
    arguments = ["--weights", str(small_upstream), "--work", str(tmp_path / "work")]
    arguments += ["--stages", names, "--runs", "2", "--steps", "2", "--json", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    last = json.loads(said.out.splitlines()[-1])
    assert set(last["stages"]) == set(names.split(","))
    assert all(row["ours"] > 0 for row in last["stages"].values())
    assert all(row["torch"] is None and row["mlx-audio"] is None for row in last["stages"].values())
    assert last["memory_bytes"]["english"]["ours"] > 1e7
    assert "vocoder: run 2 of 2: ours" in said.err
    full = json.loads(out.read_text())
    assert [len(full["seconds"][stage]["ours"]) for stage in names.split(",")] == [2] * 7
    assert set(full["shares"]) == {"t3_token", "flow", "vocoder", "s3gen"}


@pytest.mark.parametrize("kind", [mx.cpu, mx.gpu])
def test_what_is_measured_is_mlxs_default_device(kind, monkeypatch, tmp_path):
    """The default is measured unless another is named: on a Mac the GPU, not the processor."""
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(kind, 0))
    seen = []

    def measure(arguments, measured, work):
        seen.append((arguments.device, measured.about["device"]))
        raise BenchmarkError("enough")

    monkeypatch.setattr("benchmarks.run._measure", measure)
    assert main(["--work", str(tmp_path)]) == 1
    assert main(["--work", str(tmp_path), "--device", "cpu"]) == 1
    name = "cpu" if kind == mx.cpu else "gpu"
    assert seen == [(name, name), ("cpu", "cpu")]
