"""Many texts in one run: the rows of a CSV file or the texts of a folder, each into its own file.

All rows are one job (`job.py`) in `OUTPUT_DIR/batch.job`: pieces of all rows are decoded together,
each in its row's voice, language and speed. A row's seeds are derived from its output's name, so
rows can be added, removed and moved. A bad row is reported, and the others are spoken.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import ChatterboxError, JobError
from ..harmless import cell
from ..runtime.own_files import is_regular, own_folder, remove_leftovers, remove_named
from ..text.respelling import Lexicon, respelling_of
from ..text.unread import quoted_list
from ..text.writing import Writing
from ..weights.manifest import sha256
from .identity import digest, seed_from
from .job import Executor, Job
from .local import local
from .outputs import Output, finish, plan_output
from .progress import JobBar
from .records import is_output_state
from .rows import BatchRow, message_of, read_rows
from .speaking import SpokenPiece, remarks_on
from .store import disk_error, read_json_or_none, write_durably, write_json
from .voice_resolver import VoiceResolver
from .wording import job_writing, warn_unspoken

FOLDER_NAME = "batch.job"
REPORT_NAME = "report.csv"
# Temporary files of a killed process among the outputs' states (of older versions: no number).
_LEFT = re.compile(r"\.[0-9a-f]{32}(?:\.manifest)?\.json(?:\.[0-9a-f]{16})?\.tmp")


@dataclass
class RowReport:
    """The report on a row.

    Attributes:
        status: "spoken", "kept" (existed already), "failed", or "waiting" (not reached).
        message: why it failed; else parts of the text that were left out or do not fit their time.
        speech_problems: faults of the audio: findings of the guards, letters not read; "" for none.
        remarks: lines of this run for standard error.
    """

    row: int
    output: str
    status: str = "waiting"
    seconds: float = 0.0
    message: str = ""
    speech_problems: str = ""
    remarks: list[str] = field(default_factory=list)

    def remark(self, text: str) -> None:
        """Add to the message."""
        self.message = "; ".join(filter(None, (self.message, text)))


def speak_batch(
    tts,
    source: Path,
    output_dir: Path,
    *,
    longest: int,
    settings: dict[str, Any] | None = None,
    voice: Path | None = None,
    language: str | None = None,
    lexicon: Lexicon = None,
    seed: int | None = None,
    batch_size: int = 8,
    subtitles: str | None = None,
    ending: str = "wav",
    sdh: bool = True,
    model: str = "",
    executor: Executor | None = None,
    normalize: bool | None = None,
) -> list[RowReport]:
    """Speak all rows whose output does not exist yet, and write `report.csv` beside the outputs.

    Args:
        source: a CSV file with the columns text, voice, language, output, speed, or a folder of
            texts.
        output_dir: created if it does not exist.
        longest: most characters of a piece.
        voice, language: for rows that name none.
        ending: format of outputs that are not named, without the dot.
        sdh: for subtitles, as in `read_document`.
        settings, lexicon, seed, ...: as in `speak_document`.

    Returns:
        The report, an entry for each row.

    Raises:
        TextError, SettingError: the source cannot be read.
        JobError: another run is using the job, or the disk is full; finished pieces are kept.
    """
    read = [(f"the table {source}", source)]
    if isinstance(lexicon, (str, Path)):
        read.append((f"the lexicon {lexicon}", Path(lexicon)))
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{output_dir} cannot be created: {error.strerror}.") from None
    reserved = [output_dir / FOLDER_NAME, output_dir / REPORT_NAME]
    rows = read_rows(source, output_dir, voice, language, ending, subtitles, reserved, read)
    with Job(output_dir / FOLDER_NAME, tts.sr) as job:
        chosen = job.choose_seed(seed)
        about = {"program": __version__, "model": str(model), "seed": chosen}
        lexicon = respelling_of(lexicon)

        @lru_cache
        def writing(language: str | None) -> Writing:
            return job_writing(job, tts, language, lexicon, normalize)

        batch = _BatchRun(job, output_dir, about, tts.sr, subtitles, writing)
        try:
            resolver = VoiceResolver(job, tts, settings or {})
            for row in rows:
                batch.plan(row, resolver, longest, chosen, sdh)
            batch.work(batch_size, executor or local(tts))
        finally:
            _write_report(output_dir / REPORT_NAME, batch.lines)
    return batch.lines


class _BatchRun:
    """The rows of a run; `lines` is the report."""

    def __init__(
        self,
        job: Job,
        output_dir: Path,
        about: dict[str, Any],
        rate: int,
        subtitles: str | None,
        writing: Callable[[str | None], Writing],
    ):
        self._job, self._folder, self._about = job, output_dir, about
        self._rate, self._subtitles, self._writing = rate, subtitles, writing
        self.lines: list[RowReport] = []
        self._planned: list[tuple[RowReport, Output]] = []
        self._states = job.folder / "outputs"
        try:
            own_folder(self._states)
        except OSError as error:
            raise disk_error(self._states, error) from None
        remove_named(self._states, _LEFT.fullmatch)

    def plan(
        self, row: BatchRow, resolver: VoiceResolver, longest: int, seed: int, sdh: bool
    ) -> None:
        """Plan the output of a row; an error of the row goes into its report."""
        line = RowReport(row.number, row.output)
        self.lines.append(line)
        if row.problem:
            line.status, line.message = "failed", row.problem
            return
        try:
            writing = self._writing(row.language)
            document = row.document(writing.room(longest), sdh)
            voice_settings = resolver.resolve(row.voice, row.language, row.speed)
        except ChatterboxError as error:
            line.status, line.message = "failed", message_of(error)
            return
        own_seed = seed_from(seed, row.output)
        path = self._folder / row.output
        output = plan_output(path, document, voice_settings, self._job, own_seed, writing)
        warn_unspoken(writing)
        if not output.wanted:
            line.status, line.message = "failed", "there is nothing to speak: no letter or digit"
            return
        for remark in document.remarks:
            line.remark(remark)
        self._planned.append((line, output))

    def work(self, batch_size: int, executor: Executor) -> None:
        """Speak missing pieces, and write each output as soon as its last piece is finished."""
        unfinished = [
            (line, output) for line, output in self._planned if not self._is_current(line, output)
        ]
        current = [output for line, output in self._planned if line.status == "kept"]
        unneeded = {piece.key for output in current for piece in output.wanted}
        wanted = [piece for _, output in self._planned for piece in output.wanted]
        missing = self._job.missing(wanted, unneeded)
        of_key = {piece.key: entry for entry in unfinished for piece in entry[1].wanted}
        left: dict[int, set[str]] = {line.row: set() for line, _ in unfinished}
        for piece in missing:
            left[of_key[piece.key][0].row].add(piece.key)
        for line, output in unfinished:
            if not left[line.row]:
                self._finish(line, output)
        text_of = {piece.key: piece.text for piece in missing}
        with JobBar(sum(map(len, text_of.values())), 0, len(text_of), 0) as bar:

            def report(spoken: SpokenPiece) -> None:
                line, output = of_key[spoken.key]
                left[line.row].remove(spoken.key)
                bar.spoken(text_of[spoken.key])
                if not spoken.failure:
                    self._remark(line, output, spoken)
                if spoken.failure:
                    line.status, line.message = "failed", _failure_message(spoken.failure, output)
                elif not left[line.row] and line.status != "failed":
                    self._finish(line, output)

            self._job.run(missing, batch_size, executor, report)
        self._job.finished(piece.key for piece in wanted)

    def _remark(self, line: RowReport, output: Output, spoken: SpokenPiece) -> None:
        """Add the remarks on a piece that was just spoken to the report of its row."""
        numbers = [i for i, piece in enumerate(output.wanted) if piece.key == spoken.key]
        where = f"row {line.row} ({line.output})"
        if len(output.wanted) > 1:
            where += f", piece {output.numbers[numbers[0]]}"
        verdict = spoken.record["outcome"]
        if verdict:
            line.remarks.append(f"guard: {where} is still wrong: {verdict}")
        line.remarks += remarks_on(where, spoken.record)

    def _speech_problems(self, output: Output) -> str:
        """Describe the faults of a spoken row, from the records of its pieces; "" for none."""
        problems: dict[str, None] = {}
        for piece in output.wanted:
            record = self._job.pieces.record(piece.key) or {}
            if record.get("outcome"):
                problems[f"guard: {record['outcome']}"] = None
            if record.get("unread"):
                problems[f"not read: {quoted_list(record['unread'])}"] = None
        return "; ".join(problems)

    def _state_path(self, output: Output) -> Path:
        name = output.path.relative_to(self._folder).as_posix()
        return self._states / f"{digest(name)}.json"

    def _fingerprint(self, output: Output) -> str:
        parts = [[part.key, dataclasses.asdict(part.piece)] for part in output.parts]
        document = output.document
        whole = [parts, document.title, document.author, self._subtitles]
        if document.cover is not None and output.path.suffix.lower() in (".m4b", ".m4a"):
            whole.append(hashlib.blake2b(document.cover).hexdigest())
        return digest(whole)

    def _is_current(self, line: RowReport, output: Output) -> bool:
        state = read_json_or_none(self._state_path(output))
        if not is_output_state(state) or state["fingerprint"] != self._fingerprint(output):
            return False
        try:
            there = is_regular(output.path) and sha256(output.path) == state["sha256"]
        except OSError:
            return False
        if there:
            line.status, line.seconds = "kept", state["seconds"]
            line.message = state.get("message", line.message)
            line.speech_problems = state.get("heard", "")
        return there

    def _finish(self, line: RowReport, output: Output) -> None:
        state = self._state_path(output)
        about = {"output": line.output, **self._about}
        manifest = state.with_suffix(".manifest.json")
        try:
            made = finish(output, self._job, about, manifest, self._rate, self._subtitles)
        except JobError:
            raise  # the disk is full, so no other row could be written either
        except ChatterboxError as error:
            line.status, line.message = "failed", message_of(error)
            return
        line.seconds = made.seconds
        if made.untimely:
            worst = max(where.overrun for where in made.untimely.values())
            line.remark(
                f"{len(made.untimely)} of {len(output.wanted)} subtitles do not fit their times, "
                f"by up to {worst:.2f} s"
            )
        line.speech_problems = self._speech_problems(output)
        values = {
            "output": line.output,
            "fingerprint": self._fingerprint(output),
            "sha256": sha256(output.path),
            "seconds": line.seconds,
            "message": line.message,
        }
        if line.speech_problems:
            values["heard"] = line.speech_problems
        write_json(state, values)
        line.status = "spoken"


def _failure_message(failure: str, output: Output) -> str:
    """Make the message of a failed row; a long text fails whole if a piece cannot be spoken."""
    words = " ".join(failure.split()).rstrip(".")
    return words if len(output.wanted) == 1 else f"one of {len(output.wanted)} pieces: {words}"


def _write_report(path: Path, lines: Sequence[RowReport]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "output", "status", "seconds", "message"])
    for line in lines:
        seconds = f"{line.seconds:.2f}" if line.seconds else ""
        message = "; ".join(filter(None, (line.message, line.speech_problems)))
        cells = [cell(line.output), line.status, seconds, cell(message)]
        writer.writerow([line.row, *cells])
    remove_leftovers(path, alone=True)  # we hold the job's lock
    write_durably(path, text.getvalue().encode())
