"""The commands of the documentation that the slow tests do not run, each with the reason.

Each of them is still read by its parser (`test_commands.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class NotRun:
    """Commands by a pattern of their text (`*`: anything), and why they are not run."""

    pattern: str
    reason: str

    def matches(self, text: str) -> bool:
        # Brackets are not character classes here: they name extras.
        return fnmatchcase(text, self.pattern.replace("[", "[[]"))


_INSTALLS = "it would change the environment of the tests, and needs a network; .ci/run installs"
_LOUDSPEAKER = "it needs a sound card"
_REFERENCE = "it needs upstream's PyTorch package: .ci/run sets it up and runs parity"
_MINUTES = "it takes many minutes; tests/benchmarks/test_table.py runs its parts"
_COMPANY = "it takes minutes; tests/benchmarks/test_company.py measures a small model"
_CHATTTS = "it takes minutes; tests/benchmarks/test_chattts.py measures a small model"
_FLASH = "it takes minutes; tests/benchmarks/test_flash.py times small models"
_FAULTS = "tests/parity/test_chattts.py plants each of them"
_FAULTS_TORCH = "it needs PyTorch; tests/parity/test_reference_taps.py plants each of them"
_FAILS = "it fails, as the page says; tests/parity/test_schedules.py requires that it does"
_SCHEDULES = "it takes minutes; tests/models/test_schedules.py plays fifty for each network"
_CLUSTER = "it needs Ray; tests/longform/test_job_ray.py runs a job by it"

NOT_RUN = [
    NotRun("git clone *", _INSTALLS),
    NotRun("python3 -m venv .venv*", _INSTALLS),
    NotRun("pip install *", _INSTALLS),
    NotRun("apt-get install *", "it installs on the machine, as root"),
    NotRun("*--play", _LOUDSPEAKER),
    NotRun("python -m benchmarks.chattts*", _CHATTTS),
    NotRun("*aplay*", _LOUDSPEAKER),
    NotRun("*python -m parity setup", _REFERENCE),
    NotRun("*python -m parity run *", _REFERENCE),
    NotRun("*python -m parity bisect *", _REFERENCE),
    NotRun("python -m parity dump *", _REFERENCE),
    NotRun("python -m parity mutate", _REFERENCE),
    NotRun("python -m parity mutate --variant chattts", _FAULTS),
    NotRun("python -m parity mutate --variant flash", _FAULTS_TORCH),
    NotRun("python -m parity schedules *--mode fast", _FAILS),
    NotRun("python -m parity schedules --fault *", _FAILS),
    NotRun("python -m parity schedules *--steps *", _SCHEDULES),
    NotRun("python -m parity report *", "it reads a kept run, as tests/parity/test_report.py does"),
    NotRun("python -m parity baseline *", "it reads reports of all variants, which .ci/run makes"),
    NotRun("python -m benchmarks --peers *", "it installs the peers, and takes an hour"),
    NotRun("python -m benchmarks.streaming *", _MINUTES),
    NotRun("python -m benchmarks.training *", _MINUTES),
    NotRun("python -m benchmarks.company*", _COMPANY),
    NotRun("python -m benchmarks.flash*", _FLASH),
    NotRun("mlx-chatterbox doctor", "it takes two minutes: .ci/run has its short form"),
    NotRun("python -m mlx_chatterbox.train.pocket *", "it takes a day, and needs Debian's flite"),
    NotRun("*--ray*", _CLUSTER),
    NotRun("ray *", _CLUSTER),
    NotRun("mlx.launch *", "tests/train/test_machines.py trains on two processes"),
    NotRun("python -m tests.fuzz voice --count *", "5,000 inputs; test_fuzz.py tries some"),
    NotRun(".ci/run", "it is what runs these tests"),
    NotRun(".ci/mutants", "it takes hours"),
    NotRun(".ci/mutants --list", "it needs cosmic-ray, which nothing else here needs"),
    NotRun(".ci/mutants --sample *", "it takes hours"),
    NotRun(".ci/mutants monitor *", "it takes ten minutes by its own words"),
    NotRun(".ci/mutants --again", "it needs the results of a run"),
    NotRun(".ci/mutants --report", "it needs the results of a run"),
    NotRun(".venv/bin/*", "it is of an environment that a reader makes; .ci/run runs these tools"),
]


def reason(text: str) -> str:
    """The reason why a command is not run; "" if it is run."""
    return next((entry.reason for entry in NOT_RUN if entry.matches(text)), "")
