"""Memory of decoding and between sentences, as on a GPU."""

from __future__ import annotations

import time

import mlx.core as mx
import pytest

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC
from mlx_chatterbox.errors import SettingError
from mlx_chatterbox.models.decoder import cache
from mlx_chatterbox.models.decoder.queued_steppers import SharedStepper
from mlx_chatterbox.models.t3 import decoding
from mlx_chatterbox.models.t3.sampling import SamplingSettings
from mlx_chatterbox.runtime import device, memory
from mlx_chatterbox.weights.checkpoint import build
from tests.small import small_config

SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 1}


@pytest.fixture
def as_gpu():
    with device.pretend("gpu"):
        yield


def slow_nothing(seconds: float):
    """A function of an array that returns 0 and takes about the given time, in a single operation.

    MLX never encodes more than ten operations ahead of a CPU. A dilated convolution is slow there.
    """
    kernel = mx.zeros((256, 11, 256))

    def work(x: mx.array, frames: int) -> mx.array:
        out = mx.conv1d(mx.broadcast_to(x.sum(), (1, frames, 256)), kernel, dilation=5)
        return out[0, 0, 0]

    frames, taken = 32, 0.0
    while taken < seconds and frames < 4096:
        frames *= 2
        started = time.perf_counter()
        mx.eval(work(mx.ones((2,)), frames))
        taken = time.perf_counter() - started
    return lambda x: work(x, frames)


@pytest.mark.parametrize("variant", ["english", "nano"])
def test_a_step_writes_its_keys_and_values_in_place(variant, as_gpu, monkeypatch):
    """A step is queued while the previous one has read its inputs and is still drawing its token.

    This happens on a GPU, where a step is encoded before the previous one is done.
    """
    monkeypatch.setattr(cache, "CAPACITY_STEP", 8192)
    t3 = build(small_config(variant)).t3
    mx.eval(t3.parameters())
    config = t3.config
    later, grown, layers = slow_nothing(0.1), [], []
    stepper = SharedStepper
    advance, draw = stepper.advance, stepper._draw

    monkeypatch.setattr(
        stepper,
        "_draw",
        lambda self, rows, logits, hidden: draw(self, rows, logits + later(logits), hidden),
    )

    def queued(self, rows):  # without waiting for it, as decoding does
        time.sleep(0.02)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        advance(self, rows)
        time.sleep(0.01)
        grown.append(mx.get_peak_memory() - before)
        layers.append(self._cache.keys[0].nbytes)

    monkeypatch.setattr(stepper, "advance", queued)
    width = t3.embed_speech(mx.zeros((1, 1), dtype=mx.int32), 0).shape[-1]
    cond = 0.1 * mx.random.normal((1, 5, width), key=mx.random.key(1))
    ids = [5, 6, 7] if config.is_gpt2 else [config.start_text_token, 5, config.stop_text_token]
    steps = decoding.decode(
        t3, cond, mx.array(ids), SamplingSettings(), 0.5, 9, key=mx.random.key(0)
    )
    assert len(list(steps)) == 9
    # The first step makes the cache.
    assert max(grown[1:]) < layers[-1], [round(n / layers[-1], 2) for n in grown]


@pytest.fixture
def counted(monkeypatch):
    """Calls that set or clear MLX's cache of freed buffers; none has been made yet."""
    told = []
    limits = iter([64 * 2**30])  # MLX's own
    monkeypatch.setattr(mx, "clear_cache", lambda: told.append("clear"))
    monkeypatch.setattr(
        mx, "set_cache_limit", lambda limit: told.append(limit) or next(limits, limit)
    )
    monkeypatch.setattr(memory, "_is_bounded", False)
    return told


def test_a_gpus_buffer_cache_is_bounded_when_a_model_is_loaded(
    small_checkpoint, as_gpu, counted, monkeypatch
):
    monkeypatch.delenv(memory.LIMIT_VARIABLE, raising=False)
    ChatterboxTTS.from_local(small_checkpoint)
    ChatterboxTTS.from_local(small_checkpoint)
    assert counted == [memory.DEFAULT_LIMIT_MB * 2**20]


def test_it_is_cleared_after_each_sentence(small_checkpoint, recording, as_gpu, counted):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    counted.clear()
    tts.generate("Hello.", seed=1, **SHORT)
    assert counted == ["clear"]
    counted.clear()
    tts.generate_batch(["Hello.", "There.", "You."], seed=1, guard=False, **SHORT)
    assert counted == ["clear"] * 3
    counted.clear()
    list(tts.stream("Hello. [pause 0.1s] There.", seed=1, **SHORT))
    assert counted == ["clear"] * 2
    vc = ChatterboxVC.from_local(small_checkpoint)
    vc.set_target_voice(recording)
    counted.clear()
    vc.generate(recording[:24000], seed=1, n_cfm_timesteps=1)
    assert counted == ["clear"]


def test_a_cpu_has_no_such_cache(small_checkpoint, recording, counted):
    with device.pretend("cpu"):
        tts = ChatterboxTTS.from_local(small_checkpoint)
        tts.prepare_conditionals(recording)
        tts.generate("Hello.", seed=1, **SHORT)
    assert counted == []


@pytest.mark.parametrize(
    ("text", "limit"), [("", 2**30), ("0", 0), ("250", 250 * 2**20), ("none", None)]
)
def test_the_bound_can_be_set(text, limit, monkeypatch):
    monkeypatch.setenv(memory.LIMIT_VARIABLE, text)
    assert memory.cache_limit() == limit


def test_a_bound_that_is_not_a_number_is_refused(monkeypatch):
    monkeypatch.setenv(memory.LIMIT_VARIABLE, "1 GB")
    with pytest.raises(SettingError, match="1 gb"):
        memory.cache_limit()


def test_a_tighter_bound_of_the_program_stays(as_gpu, monkeypatch):
    told = []
    monkeypatch.setattr(memory, "_is_bounded", False)
    monkeypatch.setattr(mx, "set_cache_limit", lambda limit: told.append(limit) or 1000)
    memory.bound_cache()
    assert told[-1] == 1000
