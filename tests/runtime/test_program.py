"""The end of every program: a line for each error, exit codes, Ctrl-C, standard streams."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.parity.errors import ParityError
from mlx_chatterbox.runtime.program import run_program

ROOT = Path(__file__).parents[2]
ESCAPES = "\x1b]0;title\x07 \x1b[2J \r \x9b31m \x7f \u202eevil\u2066 \u2028"


def ended(error: BaseException, capsys, *words: str) -> tuple[int, str]:
    """Exit code and standard error of a program whose work raises `error`."""
    parser = argparse.ArgumentParser(prog="speak")
    parser.add_argument("--verbose", action="store_true")

    def work(_) -> int:
        raise error

    code = run_program(parser, list(words), work)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SettingError("the seed is odd."), "speak: error: the seed is odd."),
        (ParityError("no dump."), "speak: error: no dump."),
        (MemoryError(), "not enough memory"),
        (RuntimeError("[malloc] Unable to allocate 99 bytes."), "not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (OSError(errno.ENOSPC, "No space left on device", "a.wav"), "a.wav: No space left on dev"),
        (OSError(errno.EROFS, "Read-only file system", "a.wav"), "a.wav: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "a.wav"), "look at its permissions"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300), "choose a shorter name"),
        (OSError("of a library"), "of a library"),
    ],
)
def test_expected_errors_are_one_line(error, told, capsys):
    code, err = ended(error, capsys)
    assert code == 1
    assert told in err
    assert err.count("\n") == 1
    assert "bug" not in err


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("division by zero"), KeyError("x"), TypeError()]
)
def test_other_errors_are_called_a_bug_with_the_place_to_report_it(error, capsys):
    code, err = ended(error, capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("speak: error: this is a bug of mlx-chatterbox: ")
    assert f"{type(error).__name__}" in err
    assert str(error) in err
    assert "--verbose" in err
    assert "report" in err
    code, err = ended(error, capsys, "--verbose")
    assert code == 1
    assert "Traceback" in err
    assert "bug" in err.splitlines()[-1]


def test_an_interrupt_is_130(capsys):
    assert ended(KeyboardInterrupt(), capsys) == (130, "speak: interrupted; nothing was written\n")


def test_a_message_is_one_harmless_line_of_bearable_length(capsys):
    code, err = ended(SettingError(f"no {ESCAPES}\nspeak: done"), capsys)
    assert (code, err.count("\n")) == (1, 1)
    assert "\\x1b]0;title\\x07" in err
    assert "\\u202eevil" in err
    assert err[:-1].isprintable()
    _, err = ended(SettingError(f"no voice {'a' * 40000!r} there"), capsys)
    assert len(err) < 200
    assert err.endswith("' there\n")
    _, err = ended(ValueError("a" * 40000), capsys)
    assert len(err) < 2000


PROGRAMS = [
    ("mlx_chatterbox.generate", "check_before_loading", ["--text", "Hi."]),
    ("mlx_chatterbox.vc", "check_output", ["--input", "a.wav"]),
    ("mlx_chatterbox.watermark.__main__", "_detect", ["detect", "a.wav"]),
    ("mlx_chatterbox.doctor.__main__", "run", []),
    ("mlx_chatterbox.train.__main__", "_init", ["init", "a.yaml"]),
    ("mlx_chatterbox.train.pocket.__main__", "WorkPaths", ["--work", "a"]),
    ("mlx_chatterbox.convert.__main__", "_run", ["a", "b"]),
    ("mlx_chatterbox.convert.damage", "_work", ["pocket"]),
    ("mlx_chatterbox.convert.reading", "_made_up", ["pocket"]),
    ("mlx_chatterbox.parity.__main__", "perform", ["inputs", "a"]),
    ("benchmarks.__main__", "_check", []),
    ("benchmarks.jobs", "_work", []),
    ("benchmarks.streaming", "_work", ["pocket"]),
    ("benchmarks.training", "_work", ["--model", "a"]),
    ("benchmarks.batch", "_work", ["pocket"]),
    ("benchmarks.company", "_work", []),
    ("benchmarks.memory", "_work", ["pocket"]),
]


@pytest.mark.parametrize(("module", "place", "words"), PROGRAMS)
def test_every_program_reports_a_bug_in_one_line(module, place, words, monkeypatch, capsys):
    program = importlib.import_module(module)
    monkeypatch.setattr(program, place, fails)
    for more in ([], ["--verbose"]):
        code = program.main([*words, *more])
        err = capsys.readouterr().err
        assert code == 1
        assert "this is a bug of mlx-chatterbox: ZeroDivisionError: planted" in err
        assert ("Traceback" in err) == bool(more)


def fails(*_, **__):
    raise ZeroDivisionError("planted")


def in_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def leaves(*_, **__):
    sys.exit(3)


class Destroyed:
    def __del__(self):
        raise OSError(errno.ENOSPC, "No space left on device", "a.wav")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("module", "place", "words"), PROGRAMS)
def test_every_program_reports_bugs_in_threads(module, place, words, monkeypatch, capsys):
    def fails_elsewhere(*_, **__):
        in_thread(fails)
        raise SettingError("and here")

    program = importlib.import_module(module)
    monkeypatch.setattr(program, place, fails_elsewhere)
    for more in ([], ["--verbose"]):
        code = program.main([*words, *more])
        err = capsys.readouterr().err
        assert code == 1
        assert "this is a bug of mlx-chatterbox: ZeroDivisionError: planted" in err
        assert "error: and here" in err
        assert ("Traceback" in err) == bool(more)
        assert more or err.count("\n") == 2


@pytest.mark.parametrize(
    ("work", "code", "told"),
    [
        (lambda: in_thread(fails), 1, "speak: error: this is a bug of mlx-chatterbox: ZeroDiv"),
        (lambda: in_thread(leaves), 0, ""),
        (lambda: Destroyed() and None, 0, "speak: note: a.wav: No space left on device; make room"),
        (lambda: in_thread(Destroyed), 0, "speak: note: a.wav: No space left on device; make room"),
    ],
    ids=["thread", "thread that ends", "destructor", "destructor in a thread"],
)
def test_errors_in_background_threads_are_one_line(work, code, told, capsys):
    parser = argparse.ArgumentParser(prog="speak")
    before = threading.excepthook, sys.unraisablehook
    assert run_program(parser, [], lambda _: work()) == code
    err = capsys.readouterr().err
    assert err.startswith(told)
    assert err.count("\n") == bool(told)
    assert (threading.excepthook, sys.unraisablehook) == before


# --- In processes of their own -------------------------------------------------------------------


def shell(line: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a shell's line; `mlx` in it is our Python with -m."""
    line = line.replace("mlx ", f"{sys.executable} -m mlx_chatterbox.")
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        timeout=120,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")


SPEAK = "mlx generate --model pocket --text Hi --seed 1 --output"
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")


@pytest.mark.parametrize(
    "closed", ["2>&-", ">&- 2>&- <&-", pytest.param("2>/dev/full", marks=full)]
)
def test_closed_output_streams_do_not_stop_speech(closed, tmp_path):
    code, _, err = shell(f"{SPEAK} a.wav {closed}", tmp_path)
    assert (code, err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"


@full
def test_failed_printing_is_reported_and_the_file_is_whole(tmp_path):
    code, _, err = shell(f"{SPEAK} a.wav >/dev/full", tmp_path)
    assert code == 1
    assert "standard output could not be written (No space left on device)" in err
    assert err.count("\n") == 1
    assert (tmp_path / "a.wav").exists()
    code, _, err = shell("mlx train --help >/dev/full", tmp_path)
    assert (code, err.count("\n")) == (1, 1)


def test_names_that_the_terminal_cannot_write(tmp_path):
    code, out, err = shell(f"{SPEAK} é.wav", tmp_path, PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "")
    assert out.startswith("\\xe9.wav: ")
    assert (tmp_path / "é.wav").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mlx generate --model pocket --text - <&-", "standard input is closed"),
        ("mlx generate --model pocket --text Hi --stream --output - >&-", "output is closed"),
    ],
)
def test_streams_that_are_needed_and_closed(line, told, tmp_path):
    code, _, err = shell(line, tmp_path)
    assert (code, err.count("\n")) == (1, 1)
    assert told in err


def test_a_closed_pipe_is_not_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("One two three. " * 30000)
    line = "mlx generate --file a.txt --model pocket --show-text | head -c 5"
    assert shell(f"({line}; true) 2>&1", tmp_path)[1] == "One t"


AT_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
class Press:
    def find_spec(self, name, path=None, target=None):
        if name.endswith({name!r}):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
"""


@pytest.mark.parametrize(
    "name",
    [
        "mlx_chatterbox.runtime.linux_cpu",
        "mlx_chatterbox.runtime.program",
        "multiarray",
        "mlx.core",
    ],
)
def test_ctrl_c_while_modules_are_imported(name, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(AT_IMPORT.format(name=name))
    code, out, err = shell(
        "mlx generate --model pocket --text Hi", tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}"
    )
    assert (code, out) == (130, "")
    assert err.count("\n") == 1
    assert "interrupted" in err


@pytest.fixture
def heard():
    """Python's default handling of Ctrl-C; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_that_became_another_error_is_still_one(capsys):
    parser = argparse.ArgumentParser(prog="speak")

    def work(_):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("IMPORTANT: PLEASE READ THIS: bad install") from None

    before = signal.getsignal(signal.SIGINT)
    assert run_program(parser, [], work) == 130
    assert capsys.readouterr().err == "speak: interrupted; nothing was written\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_programs_run_in_threads_and_within_each_other(capsys):
    parser, codes = argparse.ArgumentParser(prog="speak"), []

    def inner(_):
        print("said")
        return 3

    thread = threading.Thread(target=lambda: codes.append(run_program(parser, [], inner)))
    thread.start()
    thread.join()
    assert codes == [3]
    assert run_program(parser, [], lambda _: run_program(parser, [], inner)) == 3
    assert capsys.readouterr().out == "said\nsaid\n"


def test_a_terminal_gets_bars_and_no_commands_of_others():
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 200, 0, 0))
    code = (
        "import argparse, sys\n"
        "from mlx_chatterbox.runtime.program import run_program\n"
        "from mlx_chatterbox.runtime.progress import Bars\n"
        "def work(_):\n"
        "    bars = Bars()\n"
        f"    bars({ESCAPES!r}, 1, 3)\n"
        "    bars.close()\n"
        f"    print('name ' + {ESCAPES!r})\n"
        "run_program(argparse.ArgumentParser(), [], work)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        found = b""
        try:
            while block := terminal.read(1 << 16):
                found += block
        except OSError:  # Linux: its other end is not open
            pass
        assert child.wait() == 0
    text = found.decode()
    assert "%|" in text
    assert not set("\x1b\x07\x9b\x7f\u202e\u2028") & set(text)
    assert "name \\x1b]0;title\\x07 \\x1b[2J \\r" in text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for no BLAS")
def test_what_importing_warns_of_is_a_line(tmp_path):
    code, out, err = shell("mlx train --version", tmp_path, MLX_CHATTERBOX_BLAS="/nowhere")
    assert (code, err) == (0, "note: MLX_CHATTERBOX_BLAS=/nowhere cannot be loaded.\n")
    assert out
