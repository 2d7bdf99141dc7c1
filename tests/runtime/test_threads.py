"""Several threads of one program: each gets what it would get alone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from threading import Barrier, Thread

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, ChatterboxVC, S3GenModel, Voice, watermark
from mlx_chatterbox.models.s3gen import long
from mlx_chatterbox.runtime import device
from mlx_chatterbox.synthesis.streaming import Chunks

SHORT = {"max_new_tokens": 12, "n_cfm_timesteps": 2}
TEXTS = ("Hello there.", "A rather longer sentence than the other.")


@pytest.fixture(scope="module")
def tts(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    return tts


def in_a_thread(work):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def test_a_thread_that_did_not_load_the_model_speaks(small_checkpoint, recording, tmp_path):
    """Neither weights nor voices may belong to the thread that read them."""
    fresh = ChatterboxTTS.from_local(small_checkpoint)
    path = fresh.voice_of(recording).save(tmp_path / "me.safetensors")
    voice = Voice.load(path)
    found = in_a_thread(lambda: fresh.generate("Hello.", voice=voice, seed=1, **SHORT))
    np.testing.assert_array_equal(found, fresh.generate("Hello.", voice=voice, seed=1, **SHORT))
    cloned = in_a_thread(lambda: fresh.voice_of(recording))
    found = fresh.generate("Hello.", voice=cloned, seed=1, **SHORT)
    np.testing.assert_array_equal(found, fresh.generate("Hello.", voice=voice, seed=1, **SHORT))


def test_a_thread_that_has_ended_leaves_a_model_that_speaks(small_checkpoint, recording):
    loaded = in_a_thread(lambda: ChatterboxTTS.from_local(small_checkpoint))
    in_a_thread(lambda: loaded.prepare_conditionals(recording))
    assert len(loaded.generate("Hello.", seed=1, **SHORT))


@pytest.mark.numbers
def test_two_threads_at_once_get_what_each_gets_alone(tts, recording, voices):
    """Voices, texts and limits differ, and the calls are repeated."""
    given = [
        {"text": TEXTS[0], "seed": 1, "voice": tts.voice_of(recording), **SHORT},
        {"text": TEXTS[1], "seed": 2, "voice": tts.voice_of(voices[1]), **SHORT},
    ]
    given[1]["max_new_tokens"] = 17
    expected = []
    for settings in given:
        waveform = tts.generate(**settings)
        expected.append((waveform, tts.last_tokens, tts.limit))
    begin = Barrier(2)

    def speak(settings):
        begin.wait()
        found = []
        for _ in range(3):
            waveform = tts.generate(**settings)
            found.append((waveform, tts.last_tokens, tts.limit))
        return found

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(speak, given))
    for found, (waveform, tokens, limit) in zip(results, expected, strict=True):
        for one in found:
            np.testing.assert_array_equal(one[0], waveform)
            assert one[1:] == (tokens, limit)


@pytest.mark.numbers
def test_results_of_a_thread_are_read_by_the_thread_that_started_it(small_checkpoint, recording):
    fresh = ChatterboxTTS.from_local(small_checkpoint)
    assert fresh.outcomes == []
    voice = fresh.voice_of(recording)
    in_a_thread(lambda: fresh.generate("Hello.", voice=voice, seed=1, **SHORT))
    assert len(fresh.outcomes) == 1
    assert fresh.last_tokens == list(fresh.outcomes[0].tokens)
    fresh.generate("Hello.", voice=voice, seed=2, **SHORT)
    own = fresh.last_tokens
    in_a_thread(lambda: fresh.generate("Hello.", voice=voice, seed=3, **SHORT))
    assert fresh.last_tokens == own


def test_the_current_voice_is_not_swapped_under_a_call(tts, recording, voices):
    """Upstream keeps a reference for later calls; another thread's must not get in between."""
    one, two = tts.voice_of(recording), tts.voice_of(voices[1])
    tts.conds = one
    expected = tts.generate(TEXTS[0], seed=1, **SHORT)
    stop = []

    def swap():
        while not stop:
            tts.conds = one
            tts.conds = two

    other = tts.generate(TEXTS[0], voice=two, seed=1, **SHORT)
    swapping = Thread(target=swap)
    swapping.start()
    try:
        found = tts.generate(TEXTS[0], seed=1, **SHORT)
    finally:
        stop.append(True)
        swapping.join()
        tts.conds = one
    assert any(np.array_equal(found, whole) for whole in (expected, other))


def test_a_process_that_ends_with_its_threads_ends_well():
    """MLX aborts a process whose threads did not release their streams."""
    program = """
from threading import Thread
from mlx_chatterbox import ChatterboxTTS
tts = ChatterboxTTS.from_pretrained("pocket")
work = Thread(target=lambda: tts.generate("Yes.", seed=1, watermark=False))
work.start()
work.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_twenty_processes_end_well():
    """Two of three are aborted (exit code 134) without `mx.clear_streams` in the ending thread."""
    program = """
from threading import Thread
import mlx_chatterbox
import mlx.core as mx
from mlx_chatterbox.runtime.device_argument import on_device
fused = mx.compile(lambda x: mx.sin(x) * x + mx.exp(x))
def work():
    with on_device(None):
        mx.eval(fused(mx.ones((1000,))))
thread = Thread(target=work)
thread.start()
thread.join()
"""

    def end(_) -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        return done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(end, range(20))) == [(0, "")] * 20


@pytest.fixture(params=["cpu", "gpu"])
def either_device(request):
    """The branches of a CPU and of a GPU, both computed on MLX's default device."""
    with device.pretend(request.param):
        yield


@pytest.fixture
def changing_threads():
    """Calls a function in one thread after the other, as a web framework's pool does."""
    with ExitStack() as stack:
        pools = cycle([stack.enter_context(ThreadPoolExecutor(1)) for _ in range(3)])
        yield lambda work, *arguments: next(pools).submit(work, *arguments).result()


def joined(stream, call) -> np.ndarray:
    """All chunks of a stream, each asked for in another thread."""
    chunks = []
    while (chunk := call(next, stream, None)) is not None:
        chunks.append(chunk)
    assert len(chunks) > 2
    return np.concatenate(chunks)


@pytest.mark.parametrize("watermark", [True, False])
def test_a_stream_is_asked_for_by_changing_threads(tts, either_device, changing_threads, watermark):
    """Every chunk of every piece is equal, to the bit."""
    sizes = Chunks(first=0.04, largest=0.2, context=0.2)
    settings = {"chunks": sizes, "seed": 3, "watermark": watermark, "guard": False}
    settings |= {"max_new_tokens": 60, "n_cfm_timesteps": 2}
    text = "Hello there. [pause 0.2s] And a second piece."
    expected = np.concatenate(list(tts.stream(text, **settings)))
    stream = changing_threads(lambda: tts.stream(text, **settings))
    np.testing.assert_array_equal(joined(stream, changing_threads), expected)


def test_all_that_is_kept_can_be_used_in_another_thread(
    small_checkpoint, recording, either_device, changing_threads
):
    """Pipeline, voice, marker, voice conversion and S3Gen: each made in one, used in others."""
    call = changing_threads
    made = call(lambda: ChatterboxTTS.from_local(small_checkpoint))
    voice = call(lambda: made.voice_of(recording))
    expected = made.generate("Hello.", voice=voice, seed=1, **SHORT)
    for _ in range(3):
        found = call(lambda: made.generate("Hello.", voice=voice, seed=1, **SHORT))
        np.testing.assert_array_equal(found, expected)

    vc = call(lambda: ChatterboxVC.from_local(small_checkpoint))
    call(vc.set_target_voice, recording)
    settings = {"seed": 1, "n_cfm_timesteps": 1}
    expected = vc.generate(recording[:24000], **settings)
    np.testing.assert_array_equal(
        call(lambda: vc.generate(recording[:24000], **settings)), expected
    )

    pieces = np.array_split(recording, 7)
    alone = watermark.Marker(24000)
    expected = np.concatenate([*map(alone.push, pieces), alone.finish()])
    marker = call(watermark.Marker, 24000)
    marked = [call(marker.push, piece) for piece in pieces] + [call(marker.finish)]
    np.testing.assert_array_equal(np.concatenate(marked), expected)

    s3gen = call(lambda: S3GenModel.from_pretrained(small_checkpoint))
    known = call(s3gen.embed_ref, recording, 24000)
    tokens = np.arange(12) * 31
    speak = partial(s3gen.inference, tokens, ref_dict=known, seed=1, n_cfm_timesteps=1)
    np.testing.assert_array_equal(call(speak)[0], speak()[0])


def test_a_long_conversion_is_asked_for_by_changing_threads(
    tts, recording, either_device, changing_threads, monkeypatch
):
    """The conversion is joined from windows."""
    monkeypatch.setattr(long, "PIECE_TOKENS", 40)
    monkeypatch.setattr(long, "OVERLAP_TOKENS", 20)
    vc = ChatterboxVC.from_local(tts.checkpoint.folder)
    settings = {"voice": tts.conds, "seed": 1, "n_cfm_timesteps": 1, "watermark": False}
    speech = np.tile(recording, 2)
    expected = vc.generate(speech, **settings)
    stream = changing_threads(lambda: vc.stream(speech, **settings))
    np.testing.assert_array_equal(joined(stream, changing_threads), expected)


def test_voice_conversion_works_in_another_thread(tts, recording):
    vc = ChatterboxVC.from_local(tts.checkpoint.folder)
    settings = {"voice": tts.conds, "seed": 1, "n_cfm_timesteps": 1}
    found = in_a_thread(lambda: vc.generate(recording[:24000], **settings))
    np.testing.assert_array_equal(found, vc.generate(recording[:24000], **settings))
