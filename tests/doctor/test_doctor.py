"""The doctor's report: figures, failures, what was left out, and nothing personal."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlx_chatterbox import generate
from mlx_chatterbox.doctor import __main__ as command
from mlx_chatterbox.doctor import budget, limits, machine, private, report, verdict
from mlx_chatterbox.doctor.budget import Budget
from mlx_chatterbox.doctor.examination import Examination, S3GenSpeed, T3Speed
from mlx_chatterbox.doctor.findings import FAILED, LEFT_OUT, Section, number
from mlx_chatterbox.runtime import device
from mlx_chatterbox.runtime.memory import all_memory
from tests.convert.json_schema import check

SCHEMA = json.loads(report.SCHEMA_FILE.read_text())


def exam_of(seconds=120.0, **settings) -> Examination:
    """An examination with the given time and ample memory, on a clock that stands still."""
    return Examination(Budget(seconds, clock=lambda: 0.0, free=lambda: 10**11), **settings)


@pytest.fixture
def measured() -> Examination:
    """Known figures for all variants, and a section with one line of every kind."""
    exam = exam_of()
    exam.facts = {"processor": "Z80", "system": "CP/M", "mlx": "0", "device": "CPU"}
    exam.t3 = {
        ("english", "float32"): T3Speed(0.4, 0.02, 64),
        ("english", "float16"): T3Speed(0.2, 0.01, 64),
        ("turbo", "float16"): T3Speed(0.1, 0.005, 64),
        ("nano", "float16"): T3Speed(0.1, 0.002, 64),
        ("flash", "float16"): T3Speed(0.3, 0.01, 48, 16),
        ("pocket", "float32"): T3Speed(0.01, 0.001, 64),
    }
    exam.s3gen = {
        ("english", "float32"): S3GenSpeed(2.0, 4.0),
        ("english", "float16"): S3GenSpeed(1.0, 4.0, True),
        ("turbo", "float32"): S3GenSpeed(0.8, 4.0),
        ("pocket", "float32"): S3GenSpeed(0.2, 4.0),
    }
    section = Section("limits", "Limits")
    section.figure("speed", "speed", 12.0, "GB/s")
    section.proof("equal", "equality", True, "equal")
    section.not_applicable("gpu", "GPU", "there is none")
    section.left_out("long", "the long one", "it takes about 99 s")
    section.table("rows", "Rows", "ms", ["a", "b"], {"x": (1.0, None)})
    exam.sections = [section]
    return exam


def test_the_arithmetic_of_the_verdict(measured):
    found = {(one.variant, one.precision): one for one in verdict.estimates(measured)}
    # (0.4 + 100 * 0.02 + 2.0) / 4 and so on.
    factors = {key: one.factor for key, one in found.items()}
    assert factors == {
        ("english", "float32"): pytest.approx(1.1),
        ("english", "float16"): pytest.approx(0.55),
        ("multilingual", "float32"): pytest.approx(1.1),
        ("multilingual", "float16"): pytest.approx(0.55),
        ("turbo", "float16"): pytest.approx(0.35),
        ("nano", "float16"): pytest.approx(0.275),
        # 0.3 + 85 * 0.01 + 0.8: sixteen come first.
        ("flash", "float16"): pytest.approx(0.4875),
        ("pocket", "float32"): pytest.approx(0.0775),
    }
    assert "one step of the flow, multiplied" in found["english", "float16"].source
    assert "S3Gen in float32 0.8 s" in found["turbo", "float16"].source
    judged = verdict.judge(measured)
    assert judged.best["english"] == "float16"
    assert judged.best["pocket"] == "float32"
    assert "best precision on this machine is float16" in judged.sentences[0]
    assert "--dtype float16" in judged.sentences[0]
    assert judged.failed == []
    del measured.t3["english", "float16"], measured.s3gen["turbo", "float32"]
    text = " ".join(verdict.judge(measured).sentences)
    assert "Slower than real time, by estimate: english, multilingual" in text
    assert "Not estimated: turbo, nano, flash" in text


@pytest.mark.parametrize(
    ("factors", "best"),
    [
        ({"float32": 1.0, "float16": 0.95}, "float32"),
        ({"float32": 1.0, "float16": 0.5, "8bit": 0.48, "4bit": 0.47}, "float16"),
        ({"float32": 1.0, "float16": 0.5, "8bit": 0.3, "4bit": 0.29}, "8bit"),
        ({"float32": 1.0, "8bit": 7.0, "4bit": 7.5}, "float32"),
        ({"4bit": 3.0}, "4bit"),
    ],
)
def test_a_coarser_precision_must_be_worth_it(factors, best):
    assert verdict.best_of(factors) == best


def test_quantised_models_are_made_by_converting(measured):
    measured.t3["english", "4bit"] = T3Speed(0.05, 0.001, 64)
    assert "--quantize 4" in verdict.judge(measured).sentences[0]


def test_tf32_is_in_the_verdict(measured):
    assert not any("TF32" in one for one in verdict.judge(measured).sentences)
    measured.has_tf32 = True
    assert any("MLX_ENABLE_TF32=0" in one for one in verdict.judge(measured).sentences)


def test_the_json_follows_its_schema(measured):
    document = report.document(measured, verdict.judge(measured))
    check(document, SCHEMA)
    assert document["right"] is True
    assert document["left_out"][0]["why"] == "it takes about 99 s"
    measured.sections[0].proof("wrong", "a product", False, 0.5, "relative RMS", "at most 1e-4")
    document = report.document(measured, verdict.judge(measured))
    check(document, SCHEMA)
    assert document["right"] is False
    assert document["verdict"]["failed"] == ["Limits: a product: 0.5 relative RMS (at most 1e-4)"]
    assert "1 failed" in document["issue"]["title"]
    document["sections"][0]["lines"][0]["state"] = "fine"
    with pytest.raises(AssertionError):
        check(document, SCHEMA)


def test_the_text_has_everything_of_the_json(measured):
    measured.sections[0].proof("wrong", "a product", False, 0.5, "relative RMS", "at most 1e-4")
    judged = verdict.judge(measured)
    text = report.section_text(measured.sections[0]) + report.verdict_text(measured, judged)
    assert "| speed | 12 GB/s |  |" in text
    assert "| a product | 0.5 relative RMS FAILED | at most 1e-4 |" in text
    assert "| GPU | not applicable | there is none |" in text
    assert "| x | 1 | - |" in text
    assert "* the long one: it takes about 99 s" in text
    assert "| english | float16 (best) | 0.55 |" in text
    issue = report.issue_text(measured, judged)
    assert "Title: doctor: 1 failed on Z80, CP/M" in issue
    assert "* Limits: a product: 0.5 relative RMS (at most 1e-4)" in issue
    assert "* nano, float16: 0.275" in issue


def test_non_finite_values_fail(measured):
    section = measured.sections[0]
    section.figure("nan", "a figure", float("nan"))
    section.proof("inf", "a proof", True, float("inf"))
    section.table("holes", "Holes", "ms", ["a"], {"x": (float("nan"),)})
    assert [line.name for line in section.of_state(FAILED)] == ["nan", "inf"]
    assert section.tables[-1].rows == {"x": (None,)}
    check(report.document(measured, verdict.judge(measured)), SCHEMA)


def test_numbers_have_three_digits():
    found = [number(value) for value in (0.0, 0.0004, 0.0775, 12.34, 999.4, 8229.0, 123456.0)]
    assert found == ["0", "4.0e-04", "0.0775", "12.3", "999", "8,229", "1.2e+05"]


def test_names_and_paths_are_hidden(tmp_path):
    home, user, host = str(Path.home()), getpass.getuser(), socket.gethostname()
    text = private.anonymous(
        f"cannot open '{tmp_path}/a b.txt' or {home}/x.bin of {user} on {host}: "
        f"/usr/lib/libmlx.so:12 failed at 12 GB/s and 3 / 4, C:\\Users\\{user}\\y"
    )
    for hidden in (
        str(tmp_path),
        "a b.txt",
        "x.bin",
        f"of {user}",
        f"on {host}",
        "libmlx",
        "Users",
    ):
        assert hidden not in text
    assert "12 GB/s and 3 / 4" in text


def test_values_of_variables_are_reported_only_if_they_cannot_hold_a_name():
    environment = {
        "MLX_ENABLE_TF32": "0",
        "OPENBLAS_CORETYPE": "Haswell",
        "MLX_CHATTERBOX_BLAS": "/home/ann/libblas.so",
        "MLX_CHATTERBOX_CACHE_MB": "ann",
        "MLX_HOSTFILE": "hosts.json",
        "MLX_CUDA_CONV_CACHE_SIZE": "77",
        "MLX_CUDA_FFT_CACHE_SIZE": "1024",  # as the package sets it
    }
    assert dict(machine.variables(environment)) == {
        "MLX_ENABLE_TF32": "0",
        "OPENBLAS_CORETYPE": "Haswell",
        "MLX_CHATTERBOX_BLAS": "(set)",
        "MLX_CHATTERBOX_CACHE_MB": "(set)",
        "MLX_CUDA_CONV_CACHE_SIZE": "77",
    }


def test_a_product_of_ten_bits_is_found(monkeypatch):
    exam, section = exam_of(), Section("machine", "Machine")
    machine.check_tf32(exam, section)
    assert exam.has_tf32 is False
    assert section.lines[0].value < 1e-5
    array = device.mx.array

    def rounded(values):
        """Values as the GPU's matrix units read float32: 13 of the 23 bits are rounded off."""
        bits = values.view(np.uint32)
        return array(((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32))

    monkeypatch.setattr(device.mx, "array", rounded)
    machine.check_tf32(exam, section)
    assert exam.has_tf32 is True
    assert 1e-4 < section.lines[1].value < 1e-3
    assert "ten bits" in section.lines[1].note


def test_output_of_a_macs_tools_is_parsed():
    registry = '  "gpu-core-count" = 10\n  "model" = "Apple M2"'
    assert machine.gpu_cores(registry) == 10
    assert machine.gpu_cores("") is None
    stat = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               1000.\nPages active:  9.\n"
        "Pages inactive:                            500.\nPages speculative:    100.\n"
        "Pages purgeable:                             20.\n"
    )
    assert budget._free_on_mac(stat) == 16384 * 1620
    assert budget._free_on_mac("") == all_memory() // 2
    assert budget._free_on_linux("MemTotal: 9 kB\nMemAvailable:   2048 kB\n") == 2048 * 1024


def test_a_mac_is_described(monkeypatch):
    """The output of a Mac's own programs and of MLX is stubbed; none of it is available here."""
    said = {
        ("sysctl", "-n", "machdep.cpu.brand_string"): "Apple M2",
        ("sysctl", "-n", "hw.perflevel0.physicalcpu"): "4",
        ("sysctl", "-n", "hw.perflevel1.physicalcpu"): "4",
        ("ioreg", "-rc", "AGXAccelerator", "-d1"): '"gpu-core-count" = 10',
        ("xcode-select", "-p"): "",
    }
    known = {
        "device_name": "Apple M2",
        "architecture": "applegpu_g14g",
        "memory_size": 17179869184,
        "max_recommended_working_set_size": 12713115648,
        "max_buffer_length": 9534832640,
        "resource_limit": 499000,
    }
    monkeypatch.setattr(machine, "_output_of", lambda *command: said.get(command, ""))
    monkeypatch.setattr(machine.mx, "default_device", lambda: machine.mx.Device(machine.mx.gpu))
    monkeypatch.setattr(machine.mx, "device_info", lambda: known)
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    exam, section = exam_of(), Section("machine", "Machine")
    machine._describe_system(exam, section)
    machine._describe_processor(exam, section)
    machine._describe_device(exam, section)
    machine._check_compiler(section)
    monkeypatch.undo()
    values = {line.name: line.value for line in section.lines}
    assert values["system"].startswith("macOS")
    assert (values["processor"], values["cores_fast"], values["cores_saving"]) == ("Apple M2", 4, 4)
    assert (values["device"], values["gpu"], values["gpu_cores"]) == ("GPU", "Apple M2", 10)
    assert values["max_recommended_working_set_size"] == 12.7
    assert values["compiler"] == "none"
    assert "resource_limit" not in values
    assert exam.facts["gpu"] == "Apple M2"


def test_a_gpus_memory_is_part_of_the_budget(monkeypatch):
    monkeypatch.setattr(budget.mx, "default_device", lambda: budget.mx.Device(budget.mx.gpu))
    monkeypatch.setattr(
        budget.mx, "device_info", lambda: {"max_recommended_working_set_size": 2 * 10**9}
    )
    monkeypatch.setattr(budget.mx, "get_active_memory", lambda: 5 * 10**8)
    assert budget.free_memory() == 15 * 10**8


def test_the_budget_names_what_does_not_fit():
    now = [0.0]
    limited = Budget(100.0, 2e9, clock=lambda: now[0], free=lambda: 10**10)
    assert limited.objection(90.0, 1.9e9) == ""
    assert "2.1 GB of memory; 2.0 GB may be taken" in limited.objection(1.0, 2.1e9)
    now[0] = 50.0
    assert limited.objection(90.0) == "about 90 s; 50 s are left for it of 100 s (--minutes)"
    assert limited.objection(40.0) == ""
    assert "20 s are left for it" in limited.objection(40.0, reserve=30.0)
    # Without a limit it is four fifths of the free memory.
    assert Budget(1.0, free=lambda: 10**10).memory() == 8 * 10**9


def test_what_the_budget_does_not_allow_is_reported():
    exam, section = exam_of(seconds=0.5), Section("limits", "Limits")
    limits._measure_reading(exam, section)
    assert [line.name for line in section.of_state(LEFT_OUT)] == [
        f"reading_{precision}" for precision in limits.PRECISIONS
    ]
    assert all("--minutes" in line.note for line in section.lines)
    assert exam.reading == {}


def test_a_budget_that_is_spent_leaves_out_whole_sections(tmp_path, capsys):
    output = tmp_path / "doctor.json"
    assert command.main(["--minutes", "0.001", "--output", str(output)]) == 0
    document = json.loads(output.read_text())
    check(document, SCHEMA)
    assert [one["section"] for one in document["left_out"]] == list(command.CHECKS[1:])
    assert all("s are left for it of 0 s (--minutes)" in one["why"] for one in document["left_out"])
    assert [section["name"] for section in document["sections"]] == list(command.CHECKS)
    said = capsys.readouterr().out
    assert "Not estimated: english, multilingual, turbo, nano, flash, pocket" in said


def test_limits_leave_time_for_the_rest(monkeypatch):
    """The limits take two of ten seconds: at one second a figure, two figures are measured."""
    now = [0.0]
    exam, section = exam_of(), Section("limits", "Limits")
    exam.budget = Budget(10.0, clock=lambda: now[0], free=lambda: 10**11)

    def slow(stack, precision, rows):
        now[0] += 1.0
        return 1e9

    monkeypatch.setattr(limits, "weights_of", lambda precision, nbytes: None)
    monkeypatch.setattr(limits, "reading_speed", slow)
    limits._measure_reading(exam, section)
    assert section.tables[0].rows == {"float32": (1.0, 1.0, None, None)}
    assert [line.name for line in section.of_state(LEFT_OUT)] == [
        "reading_float32_4",
        *(f"reading_{precision}" for precision in limits.PRECISIONS[1:]),
    ]
    assert now[0] == 2.0


def test_a_failing_check_stays_in_the_report_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def fails(exam, section):
        section.figure("before", "before it failed", 1)
        raise RuntimeError(
            f"There is no Stream(gpu, 5) in {tmp_path}/secret by {getpass.getuser()}"
        )

    monkeypatch.setattr(command, "CHECKS", ("limits", "machine"))
    monkeypatch.setattr(limits, "examine", fails)
    output = tmp_path / "found.json"
    assert command.main(["--output", str(output)]) == 1
    text, _ = capsys.readouterr()
    document = json.loads(output.read_text())
    check(document, SCHEMA)
    by_name = {section["name"]: section for section in document["sections"]}
    failed = [line for line in by_name["limits"]["lines"] if line["state"] == FAILED]
    assert [line["note"].split(" in ")[0] for line in failed] == [
        "RuntimeError: There is no Stream(gpu, 5)"
    ]
    assert by_name["limits"]["lines"][0]["name"] == "before"
    assert len(by_name["machine"]["lines"]) > 10
    assert "1 failed" in document["issue"]["title"]
    for written in (text, output.read_text()):
        assert "There is no Stream(gpu, 5)" in written
        assert "secret" not in written
        assert str(tmp_path) not in written
    assert "Traceback" not in text


def test_all_right_is_exit_code_0(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "CHECKS", ("machine",))
    monkeypatch.chdir(tmp_path)
    assert command.main([]) == 0
    document = json.loads((tmp_path / "doctor.json").read_text())
    check(document, SCHEMA)
    assert document["right"] is True
    text, error = capsys.readouterr()
    assert "Everything that was checked is right." in text
    assert "%|" not in error  # no progress bar in a pipe
    told = text + (tmp_path / "doctor.json").read_text()
    for hidden in (str(Path.home()), str(tmp_path), sys.prefix, socket.gethostname()):
        assert hidden not in told


def test_help_and_wrong_use(tmp_path, capsys):
    for main in (command.main, lambda argv: generate.main(["doctor", *argv])):
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert "usage: mlx-chatterbox doctor" in text
        assert "--minutes" in text
        assert "exit codes" in text
    with pytest.raises(SystemExit) as ended:
        generate.main(["--help"])
    assert ended.value.code == 0
    assert "mlx-chatterbox doctor" in capsys.readouterr().out
    for wrong in (
        ["--minutes", "0"], ["--minutes", "nan"], ["--memory", "-1"], ["--output", str(tmp_path)],
        ["--output", str(tmp_path / "none" / "a.json")], ["machine"],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            command.main(wrong)
        assert ended.value.code == 2


def test_nothing_but_the_library_is_needed(tmp_path):
    """Files in the current folder that have our packages' names do not matter."""
    for name in ("convert", "parity", "benchmarks"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')")
    code = (
        "from importlib import import_module\n"
        "from mlx_chatterbox.doctor.__main__ import CHECKS\n"
        "import sys\n"
        "for name in (*CHECKS, 'report', 'verdict'):\n"
        "    import_module(f'mlx_chatterbox.doctor.{name}')\n"
        "print(sorted({'convert', 'parity', 'benchmarks'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
