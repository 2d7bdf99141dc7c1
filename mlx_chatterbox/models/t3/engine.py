"""The decoding engine: rows of speech tokens that join and leave, and share every step.

A step reads all weights, however many rows there are, and that is what most of its time goes to.
So everything that speaks decodes here, each row with its own text, voice, seed and settings. What
the tokens of a row depend on, and why they do not depend on its company: `docs/engine.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock, RLock

import mlx.core as mx
import numpy as np

from ...errors import CheckpointError, SettingError, TextError
from ...runtime import device
from ...runtime.parallel import prefill_threads
from ...runtime.threads import compute_in_this_thread
from ..decoder.cache import KVCache, rounded_capacity
from ..decoder.native_step import MOST_ROWS, NativeStep
from .rows import Progress, Row, RowRequest
from .steppers import NOT_A_NUMBER, ApartStepper, NativeStepper, SharedStepper, Stepper
from .t3 import T3

# Beyond it float32 cannot tell guided logits apart.
MAX_CFG_WEIGHT = 1_000_000
MODES = ("fast", "invariant")


class DecodingEngine:
    """Decodes the speech tokens of rows that may join and leave at any time.

    `join` and `leave` may be called from any thread, also by a row's own callbacks; `step` from any
    one thread at a time, others wait. Rows begin in the order in which they joined, as soon as
    there is room. If memory becomes short, the row that joined last makes room: it waits in its
    old place, and is decoded again, up to the tokens that it has, when there is room. Nothing that
    was delivered is delivered twice, and the oldest row is never interrupted, so that all end.

    Args:
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
        t3: T3,
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
        self._t3, self._rows, self._positions, self._prefills = t3, rows, positions, prefills
        self._mode, self._width = mode, width
        self._stepper: Stepper | None = None
        self._stepping, self._changing = RLock(), Lock()
        self._is_stepping = False
        self._joined = 0
        self._waiting: list[Row] = []
        self._running: list[Row] = []

    # --- Joining and leaving -----------------------------------------------------------------

    def join(self, request: RowRequest) -> Row:
        """Queue a request.

        Raises:
            SettingError: a weight or a number of tokens outside its range, or more positions than
                the engine has for all rows.
            TextError: more text tokens than there are positions.
        """
        check_lengths(self._t3, request.text_tokens, request.cfg_weight, request.max_new_tokens)
        config = self._t3.config
        most = request.prompt_slots + request.max_new_tokens
        need = rounded_capacity(most) * (2 if request.is_guided(config) else 1)
        if self._positions is not None and need > self._positions:
            raise SettingError(
                f"a row of up to {request.max_new_tokens} tokens needs {need} positions, and the "
                f"engine has {self._positions} for all rows."
            )
        one, key = request.conditioning, request.key
        compute_in_this_thread()
        # Evaluated here: another thread than their maker may not.
        mx.eval(request.text_tokens, [one.keys, one.values] if isinstance(one, KVCache) else one)
        key = mx.random.key(0) if key is None else key
        keys = np.array(mx.random.split(key, request.max_new_tokens))
        with self._changing:
            row = Row(request, self._joined, keys)
            self._joined += 1
            self._waiting.append(row)
        return row

    def leave(self, row: Row) -> None:
        """Have a row end before the next step; one that has ended stays as it is."""
        with self._changing:
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
    def is_idle(self) -> bool:
        """True if no row waits or runs."""
        with self._changing:
            return not self._waiting and not self._running

    # --- Stepping ----------------------------------------------------------------------------

    def run_until_idle(self) -> None:
        """Step until every row has ended."""
        while not self.is_idle:
            self.step()

    def step(self) -> list[tuple[Row, int]]:
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

    def _step(self) -> list[tuple[Row, int]]:
        stepper = self._current_stepper()
        self._drop([row for row in self._running if row.is_leaving], "left")
        self._begin_rows(stepper)
        self._make_room(stepper)
        ahead = 1 if stepper.is_queued else 0
        due = [
            row.progress
            for row in self._running
            if row.progress is not None
            and row.progress.has_more
            and row.progress.drawn - row.progress.read <= ahead
        ]
        if due:
            stepper.advance(due)
        return self._deliver(stepper)

    def _current_stepper(self) -> Stepper:
        """The one for the network and the device, chosen anew whenever no row runs."""
        if self._stepper is None or not self._running:
            self._stepper = stepper_of(self._t3, self._mode, self._width)
        return self._stepper

    def _begin_rows(self, stepper: Stepper) -> None:
        """Begin rows that wait, in the order of their arrival, as long as there is room."""
        begun = 0
        while len(self._running) < self._rows and begun != self._prefills:
            with self._changing:
                row = self._waiting[0] if self._waiting else None
                if row is None or not (row.is_leaving or self._has_room(stepper, row)):
                    return
                del self._waiting[0]
                if row.is_leaving:
                    _end(row, "left")
                    continue
                self._running.append(row)
                row.state = "running"
            begun += 1
            try:
                row.progress = progress = Progress(row, self._t3.config)
                logits, past = prefill(self._t3, row.request)
                stepper.join(progress, logits, past)
            except Exception as error:
                self._fail(row, error)
            except BaseException:  # Ctrl-C
                self._fail(row, RuntimeError("interrupted as it began"))
                raise

    def _has_room(self, stepper: Stepper, row: Row) -> bool:
        if self._positions is None or not self._running:
            return True
        count = 2 if row.request.is_guided(self._t3.config) else 1
        joining = (count, row.request.prompt_slots + len(row.tokens))
        running = [one.progress for one in self._running if one.progress is not None]
        return stepper.slots_after_step(running, joining) <= self._positions

    def _make_room(self, stepper: Stepper) -> None:
        """Interrupt the latest rows if there is no room for all to make a step."""
        if self._positions is None:
            return
        while len(self._running) > 1:
            running = [row.progress for row in self._running if row.progress is not None]
            if stepper.slots_after_step(running) <= self._positions:
                return
            self._interrupt(max(self._running, key=lambda row: row.number))

    def _interrupt(self, row: Row) -> None:
        """Free the memory of a row, and put it back to its place among those that wait."""
        self._release(row)
        with self._changing:
            if row.is_leaving:  # since this step began
                _end(row, "left")
                return
            row.state = "waiting"
            self._waiting.append(row)
            self._waiting.sort(key=lambda one: one.number)

    def _deliver(self, stepper: Stepper) -> list[tuple[Row, int]]:
        """Read the oldest unread token of each running row, and hand it out."""
        readable = [row for row in self._running if _has_unread(row)]
        tokens = stepper.read([row.progress for row in readable if row.progress is not None])
        delivered = []
        for row, token in zip(readable, tokens, strict=True):
            assert row.progress is not None  # `_has_unread`
            index = row.progress.read
            row.progress.read += 1
            if row.error is not None or token == NOT_A_NUMBER:
                self._fail(row, row.error or CheckpointError(_NOT_A_NUMBER))
            elif index < len(row.tokens):
                continue  # delivered before it was interrupted
            elif self._looks_at(index) and token == self._t3.config.stop_speech_token:
                self._drop([row], "stop")
            else:
                row.tokens.append(token)
                delivered.append((row, token))
                self._tell(row, token)
        return delivered

    def _looks_at(self, index: int) -> bool:
        """Upstream's GPT-2 loop does not look at the first token; it has no sound in any case."""
        return not (self._t3.config.is_gpt2 and index == 0)

    def _tell(self, row: Row, token: int) -> None:
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
        if row.progress is not None and self._stepper is not None:
            self._stepper.leave([row.progress])
        row.progress = None
        self._running.remove(row)


_NOT_A_NUMBER = (
    "the model's predictions are not numbers (NaN): its weights are damaged, or too large for "
    "their type; convert it again, or to float32."
)


def _has_unread(row: Row) -> bool:
    return row.progress is not None and row.progress.drawn > row.progress.read


def _end(row: Row, end: str) -> None:
    row.state, row.end = "ended", end


def stepper_of(t3: T3, mode: str, width: int) -> Stepper:
    """The way to step that suits a network and this device."""
    in_c = NativeStep.of(t3) if device.on_cpu() else None
    if in_c is not None:
        return NativeStepper(t3, in_c)
    return SharedStepper(t3) if mode == "fast" else ApartStepper(t3, width)


def prefill(t3: T3, request: RowRequest) -> tuple[mx.array, KVCache]:
    """Compute all that comes before a row's first speech token, by itself.

    Returns:
        Logits (n, V) float32 of the first token, that with text first; the keys and values of
        every position, in n rows.
    """
    conditioning = request.conditioning
    with prefill_threads(t3.is_small):
        if not isinstance(conditioning, KVCache):
            conditioning = t3.conditioning_cache(conditioning)
        embeddings = t3.sentence_embeddings(request.text_tokens, request.is_guided(t3.config))
        hidden, past = t3.hidden_states(embeddings, conditioning)
        logits = t3.speech_head(hidden[:, -1]).astype(mx.float32)
        if device.on_cpu():
            mx.eval(logits, past.keys, past.values)
    return logits, past


def check_lengths(t3: T3, text_tokens: mx.array, cfg_weight: float, max_new_tokens: int) -> None:
    """Check that a row can read a text and decode that many tokens.

    Raises:
        SettingError, TextError: see `DecodingEngine.join`.
    """
    longest = t3.config.max_speech_tokens
    if not 1 <= max_new_tokens <= longest:
        raise SettingError(f"max_new_tokens must be from 1 to {longest}; got {max_new_tokens}.")
    if not 0 <= cfg_weight <= MAX_CFG_WEIGHT:
        raise SettingError(f"cfg_weight must be from 0 to {MAX_CFG_WEIGHT}; got {cfg_weight}.")
    room = t3.config.max_text_tokens + 2
    if t3.config.is_gpt2:
        prompt = t3.config.speech_cond_prompt_len + 2
        room = t3.config.max_position_embeddings - prompt - max_new_tokens
    if text_tokens.shape[0] > room:
        raise TextError(
            f"the text has {text_tokens.shape[0]} tokens, more than the {room} that the model can "
            "read at once; split it."
        )
    largest = int(text_tokens.max())
    if largest >= t3.config.text_tokens_dict_size or int(text_tokens.min()) < 0:
        raise TextError(
            f"text token {largest} is outside the model's vocabulary of "
            f"{t3.config.text_tokens_dict_size}: the tokenizer belongs to another checkpoint."
        )
