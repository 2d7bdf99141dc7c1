"""The main job at full size: a real sentence and a real recording through the command line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

pytestmark = pytest.mark.slow

SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody minds."


@pytest.fixture(scope="module")
def weights(request, tmp_path_factory):
    """Upstream's folder at full size: the one given with --full-size, or a fabricated one."""
    given = request.config.getoption("--full-size")
    if given:
        return given
    from mlx_chatterbox.parity.fabricate.checkpoint import fabricate

    return fabricate(tmp_path_factory.mktemp("full") / "upstream")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Speech by espeak-ng or flite, 22.05 or 16 kHz as they make it."""
    path = tmp_path_factory.mktemp("spoken") / "voice.wav"
    words = "A short recording of a voice is enough. " * 3
    if shutil.which("espeak-ng"):
        command = ["espeak-ng", "-w", path, words]
    elif shutil.which("flite"):
        command = ["flite", "-voice", "slt", "-t", words, "-o", path]
    else:
        pytest.fail("install espeak-ng or flite: this test needs a real recording")
    subprocess.run([str(word) for word in command], check=True)
    return path


@pytest.fixture(scope="module")
def speak(weights, spoken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")

    def run(name: str, seed: int) -> tuple[bytes, np.ndarray, str]:
        output = folder / name
        command = [sys.executable, "-m", "mlx_chatterbox.generate", "--model", weights]
        command += ["--text", SENTENCE, "--voice", spoken, "--output", output, "--seed", seed]
        command += ["--max-new-tokens", 50]
        result = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=True
        )
        waveform, rate = soundfile.read(output)
        assert rate == 24000
        return output.read_bytes(), waveform, result.stdout

    return run


def test_a_real_sentence_in_a_real_voice(speak):
    first, waveform, said = speak("first.wav", 1)
    kept = int(re.search(r"(\d+) tokens", said).group(1))
    assert 0 < kept <= 50
    assert len(waveform) == 960 * kept
    assert np.abs(waveform).max() > 0.01

    again, _, _ = speak("again.wav", 1)
    assert again == first
    other, _, _ = speak("other.wav", 2)
    assert other != first


def test_a_sentence_has_its_tokens_in_any_batch(weights):
    """The same seed, the same tokens: alone and among 2, 4 and 8, of various lengths."""
    import mlx.core as mx

    from mlx_chatterbox.models.t3.decoding import decode_batch
    from mlx_chatterbox.models.t3.sampling import SamplingSettings
    from mlx_chatterbox.weights.checkpoint import load

    t3 = load(weights).networks.t3
    draw = np.random.default_rng(0)
    prompt = mx.array(draw.integers(0, 6561, (1, 150)))
    speaker = mx.array(draw.normal(size=(1, 256)).astype(np.float32))
    voice = t3.conditioning_cache(t3.embed_conditioning(speaker, prompt, 0.5))
    texts = [mx.array([255, *draw.integers(1, 600, 12 + 9 * i).tolist(), 0]) for i in range(8)]

    def tokens(sentences: list[int]) -> dict[int, list[int]]:
        written: dict[int, list[int]] = {i: [] for i in sentences}
        keys = [mx.random.key(i) for i in sentences]
        given = [texts[i] for i in sentences]
        for step in decode_batch(t3, voice, given, SamplingSettings(), 0.5, 16, keys):
            for row, token in step:
                written[sentences[row]].append(token)
        return written

    together = tokens(list(range(8)))
    assert len({tuple(row) for row in together.values()}) == 8
    for company in ([0], [5], [1, 6], [7, 3, 2, 4]):
        assert tokens(company) == {i: together[i] for i in company}


def test_memory_is_the_weights_and_little_more(weights):
    """The memory of the weights and little more is used, and an utterance leaves nothing behind.

    How much of what is freed glibc keeps depends on which threads freed it, up to a bound.
    """
    from mlx_chatterbox.runtime.linux_cpu import MOST_KEPT

    command = [sys.executable, "-m", "benchmarks.memory", "--worker", str(weights)]
    command += ["--tokens", "50", "--times", "3"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    first, *_, last = found["peaks"]
    assert found["weights"] > 3e9
    assert found["needed"] - found["weights"] < 0.25e9
    assert last - found["imported"] - found["needed"] < MOST_KEPT
    assert last < 1.05 * first
