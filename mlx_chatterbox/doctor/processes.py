"""Exit codes of processes in which another thread than the main one has spoken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .examination import Examination
from .findings import Section
from .private import anonymous

TITLE = "Ends of processes"
# Seconds without which it is not begun.
LEAST = 3.0
PROCESSES, PROCESSES_SHORT = 10, 4
_LONGEST = 60.0
_CODE = """
import threading
from mlx_chatterbox.doctor.pocket import OTHER_TEXT, open_pocket, say
tts = open_pocket()
thread = threading.Thread(target=say, args=(tts, OTHER_TEXT))
thread.start()
thread.join()
"""


def examine(exam: Examination, section: Section, code: str = _CODE) -> None:
    """Let them speak, two at a time, and look at their exit codes."""
    wanted = PROCESSES_SHORT if exam.is_short else PROCESSES
    title = f"exit codes of {wanted} processes whose worker thread has spoken"
    with section.guarded("exit_codes", title):
        ended: list[tuple[int, str]] = []
        with ThreadPoolExecutor(2) as pool:
            while len(ended) < wanted:
                if ended and exam.budget.left() < 5.0:
                    section.left_out(
                        "exit_codes_rest", f"{wanted - len(ended)} of the processes",
                        exam.budget.objection(5.0),
                    )  # fmt: skip
                    break
                ended += pool.map(_run, [code] * min(2, wanted - len(ended)))
        codes = Counter(code for code, _ in ended)
        shown = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items()))
        note = next((last for code, last in ended if code), "")
        section.proof("exit_codes", title, set(codes) == {0}, shown, note=note)


def _run(code: str) -> tuple[int, str]:
    """Exit code, negative for a signal, and the last line of standard error."""
    root = str(Path(__file__).resolve().parents[2])
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, known]))}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired:
        return -1, f"it did not end within {_LONGEST:.0f} s"
    lines = done.stderr.strip().splitlines()
    return done.returncode, anonymous(lines[-1])[:200] if lines else ""
