"""Flash's rows in the decoding engine: preemption, and passes as they are queued on a GPU."""

from __future__ import annotations

import time
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.doctor.flash_repertoire import FlashRepertoire
from mlx_chatterbox.doctor.playing import play
from mlx_chatterbox.doctor.schedules import PlannedRow, Schedule
from mlx_chatterbox.doctor.small_t3 import small_t3
from mlx_chatterbox.models.decoder import cache
from mlx_chatterbox.models.decoder.engine import DecodingEngine
from mlx_chatterbox.models.flash import shared_stepper
from mlx_chatterbox.models.flash.decoding import decode
from mlx_chatterbox.models.flash.requests import FlashRequest
from mlx_chatterbox.models.flash.schedule import table
from mlx_chatterbox.models.flash.settings import FlashSampling
from mlx_chatterbox.models.flash.shared_stepper import SharedBlockStepper
from mlx_chatterbox.models.flash.stepping import Finished
from mlx_chatterbox.models.t3.t3 import T3
from mlx_chatterbox.runtime import device
from tests.models.small_flash import BLOCK, TEXTS, request, small_flash
from tests.models.test_schedules import FAST_TOLERANCE, STEPS, steps_by
from tests.runtime.test_cache_memory import slow_nothing

pytestmark = pytest.mark.numbers
DRAWN = {"temperature": 1.0, "position_temperature": 1.0}


@pytest.fixture(scope="module")
def t3():
    return small_flash()


@pytest.fixture
def as_gpu():
    with device.pretend("gpu"):
        yield


@pytest.mark.parametrize("steps", STEPS)
def test_a_row_that_made_room_goes_on_where_it_was(steps):
    """What it delivered is replayed by a pass a block, and its open block begins anew."""
    with steps_by(steps):
        t3 = small_t3("flash")
        text = mx.array(np.arange(1, 200, dtype=np.int32))
        voice = t3.embed_conditioning(mx.ones((1, 256)) / 16, mx.arange(20)[None], 0.5)
        sampling = FlashSampling(temperature=0.6)
        # Prompts end a little before the slots that are allocated at first.
        one = FlashRequest(text, voice, sampling, 80, key=mx.random.key(1))
        other = replace(one, key=mx.random.key(2))
        alone = [[token for block in decode(t3, each) for token in block] for each in (one, other)]
        assert all(len(tokens) > 48 for tokens in alone)
        engine = DecodingEngine(t3, positions=6 * cache.CAPACITY_STEP, mode="invariant")
        rows = [engine.join(each) for each in (one, other)]
        passes = delivered = before = 0
        while not engine.is_idle:
            before = before or (engine.interruptions and len(rows[1].tokens))
            delivered += len(engine.step())
            passes += 1
    assert engine.interruptions == 1
    assert before >= 16
    assert [row.tokens for row in rows] == alone
    assert delivered == sum(map(len, alone))


@pytest.mark.parametrize("kind", ["mlx", "gpu"])
def test_the_fast_mode_is_as_alone_up_to_rounding(kind):
    with steps_by(kind):
        how = {"mode": "fast", "has_long": False, "tolerance": FAST_TOLERANCE}
        repertoire = FlashRepertoire(small_t3("flash"), count=6, **how)
        rows = tuple(PlannedRow(number % 6, number // 2) for number in range(10))
        result = play(Schedule(0, rows, 16, None, None, "one"), repertoire)
    assert not result.problem
    assert result.together > 3


def test_a_width_is_one_trace_on_a_gpu(as_gpu, monkeypatch):
    """Steps, passes over whole blocks and a short last block are the same trace."""
    t3, made = small_flash(), []
    exact = shared_stepper.pass_over_blocks

    def counted(t3, drafts, *rest):
        made.append(drafts.blocks.shape)
        return exact(t3, drafts, *rest)

    monkeypatch.setattr(shared_stepper, "pass_over_blocks", counted)

    def tokens(one: FlashRequest) -> list[int]:
        return [token for block in decode(t3, one) for token in block]

    first = tokens(request(t3, tokens=2 * BLOCK + 3, **DRAWN))
    assert made == [(1, BLOCK)]
    assert tokens(request(t3, tokens=2 * BLOCK + 3, **DRAWN)) == first
    # Another text, voice and settings; what is not drawn at all is another trace.
    tokens(request(t3, TEXTS[2], cfg_scale=2.0, temperature=0.3, position_temperature=2.0))
    assert made == [(1, BLOCK)]
    tokens(request(t3, block_size=5, **DRAWN))
    assert made == [(1, BLOCK), (1, 5)]
    # Weights that were replaced are those that are computed with.
    t3.speech_head.weight = mx.roll(t3.speech_head.weight, 1, axis=0)
    assert tokens(request(t3, tokens=2 * BLOCK + 3, **DRAWN)) != first
    assert len(made) == 2


def test_a_gpu_draws_what_a_cpu_draws(t3):
    """Keys and noise are the same, of a network that predicts sharply."""

    def tokens() -> list[list[int]]:
        requests = (request(t3, tokens=20, key=mx.random.key(n), **DRAWN) for n in range(3))
        return [[token for block in decode(t3, one) for token in block] for one in requests]

    with device.pretend("cpu"):
        by_cpu = tokens()
    with device.pretend("gpu"):
        assert tokens() == by_cpu
    assert len({tuple(one) for one in by_cpu}) == 3


def test_a_gpu_waits_once_a_block(t3, as_gpu, monkeypatch):
    """Tokens of a block are read once, when the pass after it is queued."""
    events: list[str] = []
    read, make = Finished.read, SharedBlockStepper._pass
    monkeypatch.setattr(Finished, "read", lambda self: events.append("read") or read(self))
    monkeypatch.setattr(SharedBlockStepper, "_pass", lambda *a: events.append("pass") or make(*a))
    steps = len(table(BLOCK, request(t3).sampling))
    assert len([*decode(t3, request(t3, tokens=3 * BLOCK))]) == 3
    first, middle = ["pass"] * (steps + 1), ["pass"] * (steps + 1)
    assert events == [*first, "read", *middle, "read", *["pass"] * steps, "read"]


def test_a_pass_writes_its_keys_and_values_in_place(t3, as_gpu, monkeypatch):
    """A pass is queued while those before are computed, and writes in place."""
    monkeypatch.setattr(cache, "CAPACITY_STEP", 8192)
    later, predict = slow_nothing(0.05), T3.predict
    monkeypatch.setattr(T3, "predict", lambda self, x: predict(self, x) + later(x))
    # Not compiled: a trace would be made for each of these, and hides nothing here.
    monkeypatch.setattr(
        shared_stepper,
        "compiled_pass",
        lambda t3: lambda *a: shared_stepper.pass_over_blocks(t3, *a),
    )
    grown, layers, advance = [], [], SharedBlockStepper.advance

    def queued(self, rows):  # while the passes before are computed
        time.sleep(0.02)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        advance(self, rows)
        time.sleep(0.01)
        grown.append(mx.get_peak_memory() - before)
        layers.append(self._cache.keys[0].nbytes)

    monkeypatch.setattr(SharedBlockStepper, "advance", queued)
    assert len([*decode(t3, request(t3, tokens=BLOCK + 2))]) == 2
    assert max(grown[1:]) < layers[-1], [round(n / layers[-1], 2) for n in grown]
