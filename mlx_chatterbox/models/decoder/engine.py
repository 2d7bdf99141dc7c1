"""The decoding engine: rows of tokens that join and leave, and share every step.

A step reads all weights, however many rows there are, and that is what most of its time goes to.
So everything that speaks decodes here, each row with its own text, voice, seed and settings. What
the tokens of a row depend on, and why they do not depend on its company: `docs/engine.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock, RLock
from typing import Any

import mlx.core as mx

from ...errors import CheckpointError, SettingError
from ...runtime import device
from ...runtime.parallel import prefill_threads
from ...runtime.threads import compute_in_this_thread
from .cache import KVCache, rounded_capacity
from .native_step import MOST_ROWS, NativeStep
from .native_stepper import NativeStepper
from .network import DecoderNetwork
from .queued_steppers import ApartStepper, SharedStepper
from .rows import DecodingRequest, Progress, Row
from .steppers import Stepper, Written

MODES = ("fast", "invariant")


class DecodingEngine:
    """Decodes the tokens of rows that may join and leave at any time.

    `join` and `leave` may be called from any thread, also by a row's own callbacks; `step` from any
    one thread at a time, others wait. Rows begin in the order in which they joined, as soon as
    there is room. If memory becomes short, the row that joined last makes room: it waits in its
    old place, and is decoded again, up to the tokens that it has, when there is room. Nothing that
    was delivered is delivered twice, and the oldest row is never interrupted, so that all end.

    Rows of several networks, such as one that writes text and one that writes sound, may share an
    engine, its places and its budget; each step is made for those of one network after the other.

    Args:
        network: of requests that bring none of their own.
        rows: most sentences that are decoded at a time.
        positions: budget of the keys and values of all of them: positions, in as many rows as they
            have, two with guidance; rounded up as they are allocated (`CAPACITY_STEP`). None: no
            bound.
        mode: where MLX makes the step. "fast": a row's logits are those that it has alone, up to
            rounding. "invariant": to the bit, in every engine of the same width. Where a step is
            made in C they always are.
        width: product rows of an "invariant" step.
        prefills: most rows that begin in one step, since the others wait meanwhile; None: all for
            which there is room.

    Raises:
        SettingError: a number that is not positive, or an unknown mode.
    """

    def __init__(
        self,
        network: DecoderNetwork | None = None,
        *,
        rows: int = MOST_ROWS,
        positions: int | None = None,
        mode: str = "fast",
        width: int = MOST_ROWS,
        prefills: int | None = 1,
    ):
        for name, value in (("rows", rows), ("positions", positions), ("prefills", prefills)):
            if value is not None and value < 1:
                raise SettingError(f"{name} must be 1 or more; got {value}.")
        if width < 2:
            raise SettingError(f"width must be 2 or more, a sentence with guidance; got {width}.")
        if mode not in MODES:
            raise SettingError(f"mode must be one of {', '.join(MODES)}; got {mode!r}.")
        self._network, self._rows = network, rows
        self._positions, self._prefills = positions, prefills
        self._mode, self._width = mode, width
        # By the number of the network, which is no key itself where it is a module.
        self._steppers: dict[int, Stepper] = {}
        self._stepping, self._changing = RLock(), Lock()
        self._is_stepping = False
        self._joined = self._interruptions = 0
        self._slots = 0
        self._waiting: list[Row] = []
        self._running: list[Row] = []

    # --- Joining and leaving -----------------------------------------------------------------

    def join(self, request: DecodingRequest) -> Row:
        """Queue a request.

        Raises:
            SettingError: a weight or a number of tokens outside its range, or more positions than
                the engine has for all rows.
            TextError: more text tokens than there are positions.
        """
        network = request.network(self._network)
        request.check(network)
        need = rounded_capacity(request.most_slots) * (2 if request.weight(network) > 0 else 1)
        if self._positions is not None and need > self._positions:
            raise SettingError(
                f"a row of up to {request.max_new_tokens} tokens needs {need} positions, and the "
                f"engine has {self._positions} for all rows."
            )
        compute_in_this_thread()
        # Evaluated here: another thread than their maker may not.
        mx.eval(request.arrays())
        keys = request.keys(network)
        with self._changing:
            row = Row(request, network, self._joined, keys)
            self._joined += 1
            self._waiting.append(row)
        return row

    def leave(self, row: Row | int) -> None:
        """Have a row end before the next step; one that has ended stays as it is.

        Args:
            row: or its number. One that no row has, or only one that has ended, is ignored.
        """
        with self._changing:
            if isinstance(row, int):
                known = [*self._waiting, *self._running]
                alive = [one for one in known if one.number == row]
                if not alive:
                    return
                row = alive[0]
            if row in self._waiting:
                self._waiting.remove(row)
                _end(row, "left")
            row.is_leaving = True

    @property
    def waiting(self) -> list[Row]:
        """The rows that have not begun, or were interrupted, in the order of their turn."""
        with self._changing:
            return list(self._waiting)

    @property
    def running(self) -> list[Row]:
        """The rows that are decoded at present."""
        return list(self._running)

    @property
    def interruptions(self) -> int:
        """The number of times that a row had to make room for others."""
        return self._interruptions

    @property
    def positions_used(self) -> int:
        """Slots that are allocated for the keys and values of all rows, at the latest step."""
        return self._slots

    @property
    def is_idle(self) -> bool:
        """True if no row waits or runs."""
        with self._changing:
            return not self._waiting and not self._running

    # --- Stepping ----------------------------------------------------------------------------

    def run_until_idle(self) -> None:
        """Step until every row has ended."""
        while not self.is_idle:
            self.step()

    def step(self) -> list[tuple[Row, Any]]:
        """Have rows end, begin and go on: one more token for each that is running.

        Returns:
            The rows that got a token, and which. A row that was interrupted gets none until it is
            where it was.
        """
        compute_in_this_thread()
        with self._stepping:
            if self._is_stepping:
                raise RuntimeError("step was called by a row's callback, within a step.")
            self._is_stepping = True
            try:
                return self._step()
            finally:
                self._is_stepping = False

    def _step(self) -> list[tuple[Row, Any]]:
        self._choose_steppers()
        self._drop([row for row in self._running if row.is_leaving], "left")
        self._begin_rows()
        self._make_room()
        for number, stepper in self._steppers.items():
            due = [
                row.progress
                for row in self._running
                if id(row.network) == number
                and row.progress is not None
                and row.progress.has_more
                and stepper.may_advance(row.progress)
            ]
            if due:
                stepper.advance(due)
        delivered = self._deliver()
        self._slots = sum(stepper.slots for stepper in self._steppers.values())
        return delivered

    def _choose_steppers(self) -> None:
        """Forget those of networks of which no row runs: they are chosen anew for the next.

        Rows that wait for room beside others keep theirs, which are asked at every step.
        """
        rows = [*self._running, *self.waiting] if self._running else []
        used = {id(row.network) for row in rows}
        for number in [number for number in self._steppers if number not in used]:
            del self._steppers[number]

    def _stepper(self, row: Row) -> Stepper:
        """That of a row's network, for this device."""
        number = id(row.network)
        if number not in self._steppers:
            own = row.request.stepper(row.network, self._mode)
            self._steppers[number] = own or stepper_of(row.network, self._mode, self._width)
        return self._steppers[number]

    def _begin_rows(self) -> None:
        """Begin rows that wait, in the order of their arrival, as long as there is room."""
        begun = 0
        while len(self._running) < self._rows and begun != self._prefills:
            with self._changing:
                row = self._waiting[0] if self._waiting else None
                if row is None or not (row.is_leaving or self._has_room(row)):
                    return
                del self._waiting[0]
                if row.is_leaving:
                    _end(row, "left")
                    continue
                self._running.append(row)
                row.state = "running"
            begun += 1
            try:
                row.progress = progress = Progress(row)
                logits, hidden, past = prefill(row.network, row.request)
                self._stepper(row).join(progress, logits, hidden, past)
            except Exception as error:
                self._fail(row, error)
            except BaseException:  # Ctrl-C
                self._fail(row, RuntimeError("interrupted as it began"))
                raise

    def _has_room(self, row: Row) -> bool:
        return (
            self._positions is None
            or not self._running
            or self._slots_after_step(row) <= self._positions
        )

    def _make_room(self) -> None:
        """Interrupt the latest rows if there is no room for all to make a step."""
        if self._positions is None:
            return
        while len(self._running) > 1 and self._slots_after_step() > self._positions:
            self._interrupt(max(self._running, key=lambda row: row.number))

    def _slots_after_step(self, joining: Row | None = None) -> int:
        """Slots that are allocated once all rows, and one that joins, have made one more step."""
        slots = 0
        if joining is not None:
            self._stepper(joining)
        for number, stepper in self._steppers.items():
            rows = [row for row in self._running if id(row.network) == number]
            running = [row.progress for row in rows if row.progress is not None]
            added = (0, 0)
            if joining is not None and id(joining.network) == number:
                request = joining.request
                count = 2 if request.weight(joining.network) > 0 else 1
                most = request.prompt_slots + len(joining.tokens) + request.step_slots
                added = (count, most)
            slots += stepper.slots_after_step(running, added)
        return slots

    def _interrupt(self, row: Row) -> None:
        """Free the memory of a row, and put it back to its place among those that wait."""
        self._release(row)
        with self._changing:
            if row.is_leaving:  # since this step began
                _end(row, "left")
                return
            self._interruptions += 1
            row.state = "waiting"
            self._waiting.append(row)
            self._waiting.sort(key=lambda one: one.number)

    def _deliver(self) -> list[tuple[Row, Any]]:
        """Read the tokens of each running row that can be read, and hand them out in order."""
        delivered: list[tuple[Row, Any]] = []
        for number, stepper in list(self._steppers.items()):
            left = {
                row: stepper.readable(row.progress)
                for row in self._running
                if id(row.network) == number and row.progress is not None
            }
            while left := {row: n for row, n in left.items() if n and row.progress is not None}:
                progresses = [row.progress for row in left if row.progress is not None]
                for row, one in zip(left, stepper.read(progresses), strict=True):
                    left[row] -= 1
                    self._take(row, one, delivered)
        return delivered

    def _take(self, row: Row, one: Written, delivered: list[tuple[Row, Any]]) -> None:
        """Take a token that was read, and hand it out unless that was done before."""
        assert row.progress is not None  # `_deliver`
        index = row.progress.read
        row.progress.read += 1
        if row.error is not None or one.token is None:
            self._fail(row, row.error or CheckpointError(_NOT_A_NUMBER))
        elif index < len(row.tokens):
            return  # delivered before it was interrupted
        elif row.network.sampler.ends(one.token, index):
            self._drop([row], "stop")
        else:
            row.tokens.append(one.token)
            if one.hidden is not None:
                row.hidden.append(one.hidden)
            delivered.append((row, one.token))
            self._tell(row, one.token)

    def _tell(self, row: Row, token: Any) -> None:
        """Call a row's `on_token`, and end the row if it is to end."""
        on_token = row.request.on_token
        try:
            is_over = on_token is not None and bool(on_token(token))
        except Exception as error:
            self._fail(row, error)
            return
        if is_over:
            self._drop([row], "watch")
        elif len(row.tokens) == row.request.max_new_tokens:
            self._drop([row], "limit")

    def _fail(self, row: Row, error: Exception) -> None:
        row.error = error
        self._drop([row], "failed")

    def _drop(self, rows: Sequence[Row], end: str) -> None:
        for row in rows:
            self._release(row)
            _end(row, end)

    def _release(self, row: Row) -> None:
        if row.progress is not None and id(row.network) in self._steppers:
            self._steppers[id(row.network)].leave([row.progress])
        row.progress = None
        self._running.remove(row)


_NOT_A_NUMBER = (
    "the model's predictions are not numbers (NaN): its weights are damaged, or too large for "
    "their type; convert it again, or to float32."
)


def _end(row: Row, end: str) -> None:
    row.state, row.end = "ended", end


def stepper_of(network: DecoderNetwork, mode: str, width: int) -> Stepper:
    """The way to step that suits a network and this device."""
    in_c = NativeStep.of(network) if device.on_cpu() else None
    if in_c is not None:
        return NativeStepper(network, in_c)
    return SharedStepper(network) if mode == "fast" else ApartStepper(network, width)


def prefill(
    network: DecoderNetwork, request: DecodingRequest
) -> tuple[mx.array, mx.array, KVCache]:
    """Compute all that comes before a row's first token, by itself; see its `prefill`."""
    with prefill_threads(network.is_small):
        logits, hidden, past = request.prefill(network)
        if device.on_cpu():
            mx.eval(logits, hidden, past.keys, past.values)
    return logits, hidden, past
