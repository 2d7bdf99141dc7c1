"""The main job at full size: a real sentence and a real recording through the command line."""

from __future__ import annotations

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
    from parity.fabricate import fabricate

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
