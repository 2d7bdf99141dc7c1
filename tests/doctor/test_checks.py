"""The doctor's checks: each passes sound code and finds planted faults."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_chatterbox.doctor import (
    blocks,
    correctness,
    invariance,
    limits,
    made_up,
    memory,
    playing,
    private,
    processes,
    report,
    s3gen,
    t3,
    threads,
    timing,
    verdict,
)
from mlx_chatterbox.doctor.findings import (
    FAILED,
    FIGURE,
    LEFT_OUT,
    NOT_APPLICABLE,
    RIGHT,
    Section,
)
from mlx_chatterbox.doctor.invariance import InvarianceCase
from mlx_chatterbox.models.flash import cache
from mlx_chatterbox.runtime import device, native
from tests.convert.json_schema import check
from tests.doctor.test_doctor import SCHEMA, exam_of
from tests.runtime.decisions import decisions, is_whole_file, not_taken_both_ways, noted
from tests.small import small_config

SECTIONS = (
    "machine", "limits", "correctness", "blocks", "invariance", "threads", "processes", "memory",
    "t3", "s3gen",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Small:
    """A row of `VARIANTS` whose networks are small."""

    name: str

    def default_config(self):
        return small_config(self.name)


@pytest.fixture(scope="module", autouse=True)
def taken():
    """Branches taken by each decision by device, by (file, line)."""
    with noted() as ways:
        yield ways


@pytest.fixture
def small_networks(monkeypatch):
    monkeypatch.setattr(made_up, "variant_named", _Small)


def section_of(module) -> Section:
    return Section(module.__name__.rpartition(".")[2], module.TITLE)


def states(section: Section) -> dict[str, str]:
    return {line.name: line.state for line in section.lines}


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "8bit", "4bit"])
def test_random_weights_have_the_size_and_the_spread_of_real_ones(small_networks, precision):
    with device.pretend("gpu"):
        networks = made_up.networks_of("english", precision)
        made_up.fill(networks.t3, precision)
        expected = made_up.size_of("english", precision, "t3")
    weights = dict(tree_flatten(networks.t3.parameters()))
    assert sum(value.nbytes for value in weights.values()) == expected
    layer = networks.t3.tfmr.model.layers[0].mlp.up_proj
    if made_up.bits_of(precision):
        assert layer.bits == made_up.bits_of(precision)
        assert layer.scales.dtype == mx.float16
        plain = mx.dequantize(
            layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits
        )
    else:
        plain = layer.weight
        assert plain.dtype == getattr(mx, precision)
    plain = np.array(plain.astype(mx.float32))
    # So that the output is about as large as the input.
    assert plain.std() * plain.shape[1] ** 0.5 == pytest.approx(1.0, rel=0.15)
    assert abs(plain.mean()) < 0.1 * plain.std()


def cases_of(kind: str) -> list[tuple[str, str]]:
    with device.pretend(kind):
        return t3.cases(is_short=False)


def test_a_gpu_is_asked_for_every_precision_and_a_cpu_for_what_it_computes():
    every = {"float32", "float16", "bfloat16", "8bit", "4bit"}
    assert {p for v, p in cases_of("gpu") if v == "english"} == every
    assert {p for _, p in cases_of("cpu")} == {"float32", "8bit", "4bit"}
    for kind in ("cpu", "gpu"):
        assert {v for v, _ in cases_of(kind)} == {"english", "turbo", "nano", "flash"}
        assert len(set(cases_of(kind))) == len(cases_of(kind))


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_every_variant_is_timed_and_judged(small_networks, monkeypatch, kind):
    exam = exam_of()
    if kind == "gpu":
        # Each needs its own compilation, which takes seconds on a CPU.
        some = [("english", "float16"), ("english", "8bit"), ("nano", "8bit"), ("turbo", "float16")]
        some += [("flash", "float32")]
        assert set(some) <= set(cases_of("gpu"))
        monkeypatch.setattr(t3, "cases", lambda is_short: some)
        # MLX convolves number by number on a CPU.
        monkeypatch.setattr(s3gen, "PROMPT_TOKENS", 10)
        monkeypatch.setattr(s3gen, "TOKENS", 5)
    with device.pretend(kind):
        for module in (t3, s3gen):
            section = section_of(module)
            exam.sections.append(section)
            module.examine(exam, section)
    assert [line.note for one in exam.sections for line in one.of_state(FAILED)] == []
    precisions = {"cpu": {"float32", "8bit", "4bit"}, "gpu": {"float16", "8bit"}}
    assert {p for v, p in exam.t3 if v == "english"} == precisions[kind]
    assert {v for v, _ in exam.t3} == {"english", "turbo", "nano", "flash", "pocket"}
    together = {v: speed.together for (v, _), speed in exam.t3.items()}
    assert together == {**dict.fromkeys(together, 1), "flash": 16}
    assert {v for v, _ in exam.s3gen} == {"english", "turbo", "pocket"}
    assert not any(speed.is_extrapolated for speed in exam.s3gen.values())
    judged = verdict.judge(exam)
    assert set(judged.best) == {"english", "multilingual", "turbo", "nano", "flash", "pocket"}
    document = report.document(exam, judged)
    check(document, SCHEMA)
    speeds = {row["name"]: row["values"] for row in document["sections"][0]["tables"][0]["rows"]}
    # Python takes part in every step but those in C.
    some = {"cpu": "english, 8bit", "gpu": "english, float16"}[kind]
    assert 0 < speeds[some][3] < speeds[some][0]
    assert states(exam.sections[1]).get("halves") == (NOT_APPLICABLE if kind == "cpu" else None)


def test_what_memory_does_not_allow_is_left_out_and_reported(small_networks):
    exam = exam_of()
    exam.budget._free = lambda: 1000
    for module in (t3, s3gen):
        section = section_of(module)
        exam.sections.append(section)
        module.examine(exam, section)
    left_out = {one["name"]: one["why"] for one in report.left_out(exam)}
    assert {f"{v}_float32" for v in ("english", "turbo", "nano", "flash")} <= set(left_out)
    assert "GB of memory; 0.0 GB may be taken" in left_out["english_float32"]
    assert {v for v, _ in exam.t3} == {"pocket"}
    assert "Not estimated: english, multilingual, turbo, nano, flash" in " ".join(
        verdict.judge(exam).sentences
    )


def test_steps_that_do_not_fit_are_extrapolated_and_reported(small_networks, monkeypatch):
    exam, section = exam_of(is_short=True), section_of(s3gen)
    s3gen.examine(exam, section)
    assert exam.s3gen["english", "float32"].is_extrapolated
    assert exam.s3gen["turbo", "float32"].is_extrapolated
    encoder, step, steps, vocoder, together = section.tables[0].rows["english, float32"]
    assert steps == pytest.approx(10 * step)
    assert together == pytest.approx(encoder + steps + vocoder)
    assert states(section)["english_float32_steps"] == LEFT_OUT


def test_times_are_those_of_finished_work():
    seconds = timing.samples(lambda: mx.ones((8,)) + 1.0, repeats=4, warm_up=2)
    assert len(seconds) == 4
    assert min(seconds) > 0.0
    # One sample is always taken.
    assert len(timing.samples(lambda: None, repeats=9, at_most=0.0)) == 1
    runs = []
    timing.samples(lambda: runs.append(0), repeats=3, warm_up=2)
    assert len(runs) == 5


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_limits_are_measured(monkeypatch, kind):
    monkeypatch.setattr(limits, "_ATTENTION", (1, 2, 30, 16))
    monkeypatch.setattr(limits, "WIDTH", 64)
    monkeypatch.setattr(limits, "_BYTES_SHORT", 2**16)
    monkeypatch.setattr(limits, "_PATIENCE", 0.01)
    exam, section = exam_of(is_short=True), section_of(limits)
    with device.pretend(kind):
        limits.examine(exam, section)
    assert section.of_state(FAILED) == []
    assert set(exam.reading) == {(p, n) for p in limits.PRECISIONS for n in limits.ROWS}
    assert min(exam.reading.values()) > 0
    assert set(exam.multiplying) == {"float32", "float16"}
    tables = {table.name: table for table in section.tables}
    assert set(tables) == {"reading", "convolution", "attention"}
    assert all(min(values) > 0 for table in tables.values() for values in table.rows.values())
    ways = {"cpu": {"MLX", "by taps", "as used"}, "gpu": {"MLX", "by taps"}}
    assert set(tables["convolution"].rows) == ways[kind]
    assert ("fused, float16" in tables["attention"].rows) == (kind == "gpu")


def test_the_gpus_branches_are_right():
    exam, section = exam_of(), section_of(correctness)
    correctness.examine(exam, section)
    found = states(section)
    if mx.default_device().type == mx.DeviceType.cpu:
        assert found.pop("gpu") == found.pop("halves") == NOT_APPLICABLE
    assert set(found.values()) == {RIGHT}
    assert {"logits", "voice", "mel", "vocoder", "tokens", "speech", "mark"} <= set(found)


def test_a_wrong_kernel_on_the_gpu_is_found(monkeypatch):
    fused = mx.fast.scaled_dot_product_attention

    def blind(queries, keys, values, *, scale, mask=None):
        return fused(queries, keys, values, scale=scale, mask=None)

    monkeypatch.setattr(mx.fast, "scaled_dot_product_attention", blind)
    exam, section = exam_of(), section_of(correctness)
    correctness.examine(exam, section)
    found = states(section)
    assert found["logits"] == FAILED
    assert found["vocoder"] == RIGHT  # it has no attention
    assert verdict.judge(dataclasses.replace(exam, sections=[section])).failed


def spoken(**changes) -> correctness.StageOutputs:
    ones = np.ones((2, 3), np.float32)
    values = {
        "logits": ones,
        "speaker": ones,
        "mel": ones,
        "vocoded": ones,
        "tokens": [1, 2, 3],
        "speech": ones,
    }
    return correctness.StageOutputs(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, set()),
        ({"mel": np.full((2, 3), 1.01, np.float32)}, {"mel"}),
        ({"mel": np.full((2, 3), np.nan, np.float32)}, {"mel"}),
        ({"vocoded": np.ones((2, 2), np.float32)}, {"vocoder"}),
        ({"tokens": [1, 5, 3]}, {"tokens"}),
        ({"speech": np.zeros((2, 3), np.float32)}, {"speech"}),
    ],
)
def test_differences_are_reported(changes, failed):
    section = section_of(correctness)
    correctness.compare(section, spoken(**changes), spoken())
    assert {line.name for line in section.of_state(FAILED)} == failed
    if "tokens" in failed:
        assert "from token 2 of 3 on" in section.of_state(FAILED)[0].note


def test_other_tokens_with_tf32_are_not_a_failure():
    section = section_of(correctness)
    found = spoken(tokens=[1, 5], logits=np.full((2, 3), 1.001, np.float32))
    correctness.compare(section, found, spoken(), correctness.TF32_FACTOR)
    assert section.of_state(FAILED) == []
    assert section.lines[-1].note == "as is to be expected with TF32"


def test_half_precision_is_held_to_its_own_tolerance():
    section = section_of(correctness)
    half = np.full((2, 3), 1.02, np.float32)
    for dtype in ("float16", "bfloat16"):
        correctness.compare_halves(section, dtype, spoken(mel=half), spoken())
    assert states(section) == {
        "float16_logits": RIGHT,
        "float16_mel": FAILED,
        "float16_vocoder": RIGHT,
        "bfloat16_logits": RIGHT,
        "bfloat16_mel": RIGHT,
        "bfloat16_vocoder": RIGHT,
    }


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_rows_of_an_engine_are_compared_with_themselves_alone(monkeypatch, kind):
    monkeypatch.setattr(invariance, "REQUESTS", 3)
    monkeypatch.setattr(invariance, "SECONDS_SHORT", 0.0)
    exam, section = exam_of(is_short=True), section_of(invariance)
    with device.pretend(kind):
        names = {case.name for case in invariance.cases()}
        if kind == "gpu":
            # A CPU multiplies halves number by number.
            assert {"english_float16", "english_8bit"} <= names
            names = {"english_float32", "nano_float32"}
            monkeypatch.setattr(
                invariance,
                "cases",
                lambda: [InvarianceCase(v, "float32") for v in ("english", "nano")],
            )
        invariance.examine(exam, section)
    assert states(section) == dict.fromkeys(names, RIGHT)
    in_c = kind == "cpu" and native.library() is not None
    for line in section.lines:
        assert line.value == "equal to the bit"
        assert ("steps in this package's C" in line.note) == (in_c and "8bit" not in line.name)
        assert " logits compared" in line.note


def test_a_row_that_differs_from_itself_alone_is_reported(monkeypatch):
    """One in so many logits is another by the last digit."""
    seen = playing._Watched.on_logits

    def other(watched, index, logits):
        if watched.number == 1 and index == 2:
            logits = np.nextafter(logits, np.float32(np.inf))
        seen(watched, index, logits)

    monkeypatch.setattr(playing._Watched, "on_logits", other)
    monkeypatch.setattr(invariance, "REQUESTS", 3)
    exam, section = exam_of(is_short=True), section_of(invariance)
    invariance.examine(exam, section)
    assert set(states(section).values()) == {FAILED}
    assert section.lines[0].value == "it differs"
    assert "row 1 (request" in section.lines[0].note
    assert "logits 2 differ from those alone by up to" in section.lines[0].note
    exam.sections = [section]
    judged = verdict.judge(exam)
    assert len(judged.failed) == len(invariance.cases())
    check(report.document(exam, judged), SCHEMA)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_blocks_are_the_same_on_both_devices(kind):
    exam, section = exam_of(), section_of(blocks)
    with device.pretend(kind):
        blocks.examine(exam, section)
    found = states(section)
    if not device.is_gpu_there():
        assert found.pop("gpu") == found.pop("halves") == NOT_APPLICABLE
    assert found.pop("in_c") == FIGURE
    assert {name: found[name] for name in ("prior", "first", "second", "tokens")} == found
    assert set(found.values()) == {RIGHT}


def test_a_wrong_mask_of_blocks_is_found(monkeypatch):
    """MLX's passes hide the last positions of a block; those in C do not."""
    if native.library() is None:
        pytest.skip("both sides would be wrong")
    right = cache.slots_mask
    monkeypatch.setattr(cache, "slots_mask", lambda last, *rest: right(last - 4, *rest))
    exam, section = exam_of(), section_of(blocks)
    blocks.examine(exam, section)
    failed = {line.name for line in section.of_state(FAILED)}
    assert failed >= {"first", "second"}
    assert "prior" not in failed
    assert verdict.judge(dataclasses.replace(exam, sections=[section])).failed


def test_threads_are_right():
    exam, section = exam_of(is_short=True), section_of(threads)
    threads.examine(exam, section)
    assert section.of_state(FAILED) == []
    assert {line.name for line in section.of_state(RIGHT)} == {"at_once", "stream", "elsewhere"}


def test_each_chunk_is_asked_for_by_another_thread():
    askers = []

    def chunks():
        for number in range(4):
            askers.append(threading.current_thread())
            yield np.array([number])

    found = list(threads._by_changing_threads(chunks()))
    assert [int(chunk[0]) for chunk in found] == [0, 1, 2, 3]
    assert len(set(askers)) == 4
    assert threading.main_thread() not in askers


def test_a_stream_that_fails_in_another_thread_is_one_line(monkeypatch):
    def chunks(stream):
        raise RuntimeError("There is no Stream(cpu, 5) in current thread.")

    monkeypatch.setattr(threads, "_by_changing_threads", chunks)
    exam, section = exam_of(is_short=True), section_of(threads)
    threads.examine(exam, section)
    (line,) = section.of_state(FAILED)
    assert (line.name, line.title) == ("stream", "a stream asked for by changing threads")
    assert "There is no Stream(cpu, 5)" in line.note
    assert "elsewhere" in states(section)  # the others went on


@pytest.mark.parametrize(
    ("code", "state", "value"),
    [
        ("pass", RIGHT, "4 x 0"),
        ("import os; os.abort()", FAILED, "4 x -6"),
        ("raise SystemExit(3)", FAILED, "4 x 3"),
    ],
)
def test_exit_codes_are_checked(code, state, value):
    exam, section = exam_of(is_short=True), section_of(processes)
    processes.examine(exam, section, code)
    assert [(line.state, line.value) for line in section.lines] == [(state, value)]


def test_the_last_line_of_a_process_is_reported_without_paths(tmp_path):
    exam, section = exam_of(is_short=True), section_of(processes)
    code = f"import sys; print('terminate called: {tmp_path}', file=sys.stderr); sys.exit(134)"
    processes.examine(exam, section, code)
    assert section.lines[0].note == f"terminate called: {private.HIDDEN}"


def test_processes_end_well_after_a_thread_has_spoken():
    done = subprocess.run([sys.executable, "-c", processes._CODE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_memory_that_adds_up_is_found():
    columns = {
        "peak": [100.0] * 4,
        "in use": [50.0, 60.0, 70.0, 80.0],
        "kept by MLX": [9.0, 30.0, 20.0, 10.0],
        "resident": [400.0] * 4,
    }
    section = section_of(memory)
    memory.judge(section, "pocket", "pocket", columns)
    (line,) = section.of_state(FAILED)
    assert (line.name, line.value) == ("pocket_growth", 30.0)
    section = section_of(memory)
    memory.judge(section, "pocket", "pocket", {**columns, "in use": [50.0, 60.0, 55.0, 51.0]})
    assert section.of_state(FAILED) == []


def test_a_cache_without_bound_is_found_on_a_gpu():
    columns = {name: [1.0, 1.0] for name in ("peak", "in use", "resident")}
    with device.pretend("gpu"):
        for kept, state in ((1000.0, RIGHT), (1200.0, FAILED)):
            section = section_of(memory)
            memory.judge(section, "s3gen", "S3Gen", {**columns, "kept by MLX": [5.0, kept]})
            assert states(section)["s3gen_cache"] == state


def test_memory_is_measured_after_every_length():
    exam, section = exam_of(is_short=True), section_of(memory)
    with device.pretend("cpu"):
        memory.examine(exam, section)
    assert section.of_state(FAILED) == []
    rows = section.tables[0].rows
    assert set(rows) == {"peak", "in use", "kept by MLX", "resident"}
    assert min(rows["resident"]) > 50


def test_full_size_memory_runs_as_on_a_gpu(small_networks, monkeypatch):
    # MLX convolves number by number on a CPU.
    monkeypatch.setattr(memory, "_PROMPT_TOKENS", 10)
    monkeypatch.setattr(memory, "_TOKENS", [3, 7, 5])
    monkeypatch.setattr(memory, "SENTENCES_SHORT", 3)
    section = section_of(memory)
    with device.pretend("gpu"):
        memory.examine(exam_of(is_short=True), section)
    assert section.of_state(FAILED) == []
    assert [len(table.columns) for table in section.tables] == [3, 3]


@pytest.mark.slow
def test_the_short_run_is_real_and_right(tmp_path):
    """The short run is offline, in a folder of its own, with networks of full size."""
    home = tmp_path / "annabel"
    home.mkdir()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "USER": "annabel", "LOGNAME": "annabel"}
    environment["PYTHONPATH"] = str(Path(report.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "mlx_chatterbox.doctor", "--short", "--minutes", "8"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    text = (home / "doctor.json").read_text()
    document = json.loads(text)
    check(document, SCHEMA)
    assert document["right"] is True
    assert tuple(section["name"] for section in document["sections"]) == SECTIONS
    assert all(section["lines"] for section in document["sections"])
    variants = {one["variant"] for one in document["verdict"]["real_time_factors"]}
    assert variants == {"english", "multilingual", "turbo", "nano", "flash", "pocket"}
    for hidden in ("annabel", str(Path.home()), str(tmp_path), sys.prefix):
        assert hidden not in text
        assert hidden not in done.stdout


def test_every_decision_of_the_doctor_was_taken_both_ways(taken, request):
    """This test comes last in the file, after all that take the decisions."""
    if not is_whole_file(request, globals()):
        pytest.skip("only together with the rest of the file")
    there = {place: name for place, name in decisions().items() if "doctor" in place[0]}
    assert there
    missing = not_taken_both_ways(there, taken)
    assert not missing, "\n".join(missing)
