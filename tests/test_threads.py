"""Several threads of one program: each gets what it would get alone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import numpy as np
import pytest

from mlx_chatterbox import ChatterboxTTS, Voice

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


def test_two_threads_at_once_get_what_each_gets_alone(tts, recording, voices):
    """Also with voices, texts and limits of their own, again and again."""
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


def test_who_had_the_work_done_reads_what_it_came_to(small_checkpoint, recording):
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
    """MLX aborts one that ends while a thread that computed is still ending."""
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
