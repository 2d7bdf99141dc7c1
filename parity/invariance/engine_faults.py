"""Faults of a decoding engine, planted one at a time to see that the schedules catch each.

Every fault shows in company alone: a row by itself is decoded as it should be. Some change nothing
but the rounding; these need `nudging`, so that every machine rounds differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np

from mlx_chatterbox.models.decoder import (
    engine,
    native_stepper,
    network,
    queued_steppers,
    steppers,
)
from mlx_chatterbox.models.decoder.cache import RowCache, SharedCache
from mlx_chatterbox.models.decoder.native_step import NativeStep
from mlx_chatterbox.models.decoder.native_stepper import NativeStepper
from mlx_chatterbox.models.decoder.queued_steppers import ApartStepper
from mlx_chatterbox.models.decoder.rows import Progress
from mlx_chatterbox.models.t3.t3 import T3

from ..faults.fault import Patches
from ..taps.replacing import replaced

Engine = engine.DecodingEngine


@dataclass(frozen=True)
class EngineFault:
    """A fault in how rows share an engine.

    Attributes:
        name: for the command line.
        part: what it is a fault of: "join", "leave", "packing", "preemption" or "admission".
        what: in a few words.
        code: plants it by replacing code.
        ways: who makes the steps that it shows in: "c", "mlx", "fast" (MLX's in mode `fast`), and
            "nudged" (MLX's, with nudged rounding).
    """

    name: str
    part: str
    what: str
    code: Callable[[Patches], None]
    ways: tuple[str, ...] = ("c", "mlx")


def _own_caches(stepper: steppers.Stepper, row: Progress) -> list[RowCache]:
    own = stepper._own[row]  # type: ignore[attr-defined]
    return own if isinstance(own, list) else [own.cache]


def _around_steps(patches: Patches, change: Callable) -> None:
    """Let `change(positions, caches)` replace what a step gets, in C and by MLX."""
    in_c, by_mlx = NativeStep.__call__, T3.step_apart

    def native_step(step, tokens, positions, caches):
        return in_c(step, tokens, *change(positions, caches))

    def step_apart(network, tokens, positions, slots, caches):
        positions, caches = change(positions, caches)
        return by_mlx(network, tokens, positions, slots, caches)

    patches.set(NativeStep, "__call__", native_step)
    patches.set(T3, "step_apart", step_apart)


def _one_position(patches: Patches) -> None:
    def change(positions, caches):
        library = np if isinstance(positions, np.ndarray) else mx
        return library.broadcast_to(positions[:1], positions.shape), caches

    _around_steps(patches, change)


def _one_weight(patches: Patches) -> None:
    guidance = steppers.guidance

    def first_weight(rows):
        first, second, weights = guidance(rows)
        return first, second, np.broadcast_to(weights[:1], weights.shape).copy()

    for user in (native_stepper, queued_steppers):
        patches.set(user, "guidance", first_weight)


def _one_seed(patches: Patches) -> None:
    noise = NativeStepper._noise

    def first_noise(stepper, rows):
        made = noise(stepper, rows)
        return np.broadcast_to(made[:1], made.shape)

    patches.set(NativeStepper, "_noise", first_noise)


def _wrong_slot(patches: Patches) -> None:
    for kind in (NativeStepper, ApartStepper):
        join = kind.join

        def join_late(stepper, row, logits, hidden, past, join=join):
            join(stepper, row, logits, hidden, past)
            if len(stepper._own) > 1:
                for cache in _own_caches(stepper, row):
                    cache.used -= 1

        patches.set(kind, "join", join_late)


def _seen_of_another(patches: Patches) -> None:
    leave_c, leave_mlx = NativeStepper.leave, ApartStepper.leave

    def swap_in_c(stepper, rows):
        leave_c(stepper, rows)
        if len(stepper._own) > 1:
            one, other, *_ = stepper._own.values()
            one.memory, other.memory = other.memory, one.memory

    def swap_in_mlx(stepper, rows):
        leave_mlx(stepper, rows)
        if len(stepper._latest) > 1:
            one, other, *_ = stepper._latest
            (token, seen, at), (token2, seen2, at2) = stepper._latest[one], stepper._latest[other]
            mx.eval(token, seen, token2, seen2)
            stepper._latest[one] = (token[at : at + 1], seen2[at2 : at2 + 1], 0)
            stepper._latest[other] = (token2[at2 : at2 + 1], seen[at : at + 1], 0)

    patches.set(NativeStepper, "leave", swap_in_c)
    patches.set(ApartStepper, "leave", swap_in_mlx)


def _stays(patches: Patches) -> None:
    leave = Engine.leave

    def leave_if_alone(one, row):
        if len(one.running) < 2:
            leave(one, row)

    patches.set(Engine, "leave", leave_if_alone)


def _leaves_late(patches: Patches) -> None:
    leave, step = Engine.leave, Engine.step
    late: list = []

    def leave_after_a_step(one, row):
        late.append(partial(leave, one, row))

    def step_first(one):
        delivered = step(one)
        while late:
            late.pop()()
        return delivered

    patches.set(Engine, "leave", leave_after_a_step)
    patches.set(Engine, "step", step_first)


def _packed_wrongly(patches: Patches) -> None:
    """When rows have left, two others trade their slots."""
    most = 0

    def change(positions, caches):
        nonlocal most
        caches, most = list(caches), max(most, len(caches))
        if 1 < len(caches) < most and caches[0].rows == caches[1].rows:
            caches[:2] = caches[1], caches[0]
        return positions, caches

    _around_steps(patches, change)


def _rows_not_moved(patches: Patches) -> None:
    """Rows of the shared cache get the places of those that left, but not their contents."""
    remove = SharedCache.remove

    def remove_in_name(cache, places):
        before = (cache.keys, cache.values)
        kept = remove(cache, places)
        if kept is not None:
            cache.keys, cache.values = (
                [layer[: len(kept)] for layer in layers] for layers in before
            )
        return kept

    patches.set(SharedCache, "remove", remove_in_name)


def _stale_places(patches: Patches) -> None:
    """After rows have left, the others are looked for where they were."""
    remove = SharedCache.remove

    def forget_order(cache, places):
        kept = remove(cache, places)
        return kept and sorted(kept, reverse=True)

    patches.set(SharedCache, "remove", forget_order)


def _change_replays(patches: Patches, change: Callable[[Progress], None]) -> None:
    """Let `change` spoil the state of a row that begins again."""
    begin = Progress.__init__

    def begin_again(progress, row):
        begin(progress, row)
        if row.tokens:
            change(progress)

    patches.set(Progress, "__init__", begin_again)


def _noise_from_the_next(patches: Patches) -> None:
    def change(progress):
        progress.keys = np.roll(progress.keys, 1, axis=0)

    _change_replays(patches, change)


def _replay_from_the_second(patches: Patches) -> None:
    def change(progress):
        progress.replay = progress.replay[1:]

    _change_replays(patches, change)


def _forgets_a_token(patches: Patches) -> None:
    interrupt = Engine._interrupt

    def interrupt_early(one, row):
        del row.tokens[-1:]
        interrupt(one, row)

    patches.set(Engine, "_interrupt", interrupt_early)


def _oldest_is_interrupted(patches: Patches) -> None:
    interrupt = Engine._interrupt

    def interrupt_oldest(one, row):
        interrupt(one, min(one.running, key=lambda other: other.number))

    patches.set(Engine, "_interrupt", interrupt_oldest)


def _prefills_what_was_written(patches: Patches) -> None:
    """A row that begins again reads its tokens in one prefill instead of one by one."""
    begun: dict = {}

    def change(progress):
        begun[progress.request] = list(progress.replay)
        progress.drawn = progress.read = len(progress.replay)

    def prefill_all(network, request):
        written = begun.pop(request, [])
        if not written:
            return prefill(network, request)
        guided, cond = request.weight(network) > 0, request.conditioning
        if isinstance(cond, mx.array):
            cond = network.conditioning_cache(cond)
        text = network.sentence_embeddings(request.text_tokens, guided)
        spoken = network.embed_speech(mx.array([written] * len(text)), 1)
        hidden, past = network.hidden_states(mx.concatenate([text, spoken], axis=1), cond)
        return network.predict(hidden[:, -1]), hidden[:, -1], past

    prefill = engine.prefill
    _change_replays(patches, change)
    patches.set(engine, "prefill", prefill_all)


def _no_budget(patches: Patches) -> None:
    patches.set(Engine, "_make_room", lambda one: None)


def _last_comes_first(patches: Patches) -> None:
    join = Engine.join

    def jump_the_queue(one, request):
        row = join(one, request)
        one._waiting.insert(0, one._waiting.pop())
        return row

    patches.set(Engine, "join", jump_the_queue)


def _extent_of_the_longest(patches: Patches) -> None:
    attends = network.attends_apart

    def attend_alike(caches, rows):
        longest = max((cache.extent for cache in caches), default=0)
        for cache in caches:
            while cache.capacity < longest:
                # Its slots are filled up.
                used, cache.used = cache.used, cache.capacity
                cache.make_room()
                cache.used = used
        with replaced(RowCache, "extent", property(lambda cache: longest)):
            return attends(caches, rows)

    patches.set(network, "attends_apart", attend_alike)


def _no_idle_rows(patches: Patches) -> None:
    step = T3.step_apart

    def step_of_rows(network, tokens, positions, slots, caches):
        rows = sum(cache.rows for cache in caches)
        return step(network, tokens[:rows], positions[:rows], slots[:rows], caches)

    patches.set(T3, "step_apart", step_of_rows)


def _untried_places(patches: Patches) -> None:
    patches.set(queued_steppers, "alike_width", lambda network, most: most)


FAULTS = (
    EngineFault("one_position", "join", "all rows are where the first is", _one_position),
    EngineFault("one_weight", "join", "guidance has the first row's weight", _one_weight),
    EngineFault("one_seed", "join", "rows draw by the first one's seed", _one_seed, ("c",)),
    EngineFault("wrong_slot", "join", "a row that joins others begins a slot early", _wrong_slot),
    EngineFault("seen_of_another", "leave", "the repetition penalty is another row's",
                _seen_of_another),
    EngineFault("stays", "leave", "a row that leaves others stays", _stays),
    EngineFault("leaves_late", "leave", "a row gets one token more than it should", _leaves_late),
    EngineFault("packed_wrongly", "packing", "two rows trade their slots when others have left",
                _packed_wrongly),
    EngineFault("rows_not_moved", "packing", "rows move in name, and their slots stay",
                _rows_not_moved, ("fast",)),
    EngineFault("stale_places", "packing", "rows are looked for where they were", _stale_places,
                ("fast",)),
    EngineFault("extent_of_the_longest", "packing", "attention reaches as far as the longest row's",
                _extent_of_the_longest, ("nudged",)),
    EngineFault("no_idle_rows", "packing", "products have as many rows as there are sentences",
                _no_idle_rows, ("nudged",)),
    EngineFault("untried_places", "packing", "nobody tries whether places round alike",
                _untried_places, ("nudged",)),
    EngineFault("noise_from_the_next", "preemption", "draws go on with the noise of others",
                _noise_from_the_next),
    EngineFault("replay_from_the_second", "preemption", "the first token is not replayed",
                _replay_from_the_second),
    EngineFault("forgets_a_token", "preemption", "the last token is drawn again", _forgets_a_token),
    EngineFault("prefills_what_was_written", "preemption", "tokens are read in one prefill",
                _prefills_what_was_written, ("nudged",)),
    EngineFault("oldest_is_interrupted", "preemption", "the oldest row makes room",
                _oldest_is_interrupted),
    EngineFault("no_budget", "admission", "nobody makes room", _no_budget),
    EngineFault("last_comes_first", "admission", "the last to join is the first to begin",
                _last_comes_first),
)  # fmt: skip


def engine_faults() -> dict[str, EngineFault]:
    """All faults by name."""
    return {fault.name: fault for fault in FAULTS}


@contextmanager
def engine_fault(name: str) -> Iterator[None]:
    """Plant the fault of this name, or none if the name is empty, until the block ends."""
    with ExitStack() as stack:
        if name:
            engine_faults()[name].code(Patches(stack))
        yield
