"""The watermark is upstream's: same marks, same scores, each side finds the other's."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from mlx_chatterbox import watermark
from mlx_chatterbox.audio.resample import resample_soxr
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.parity.torch import env as torch_env
from mlx_chatterbox.parity.torch import watermark as torch_watermark

pytestmark = pytest.mark.reference

SR = 24000
TEXT = "The boy was there when the sun rose, and nobody had counted the other forty two boats."


def spoken(folder, program, *arguments):
    if shutil.which(program) is None:
        pytest.fail(f"{program} is needed: apt install {program}")
    path = folder / "speech.wav"
    subprocess.run([program, *arguments, str(path)], check=True, capture_output=True)
    samples, rate = soundfile.read(path, dtype="float32")
    return resample_soxr(samples, rate, SR)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(1)
    flite = spoken(folder, "flite", "-voice", "slt", "-t", TEXT)
    man = spoken(folder, "flite", "-voice", "rms", "-t", TEXT)
    espeak = spoken(folder, "espeak-ng", TEXT, "-w")
    german = spoken(folder, "espeak-ng", "-v", "de", "Guten Morgen, wie geht es?", "-w")
    gaps = flite.copy()
    gaps[20000:40000] = 0.0
    return {
        "flite slt": flite,
        "flite rms": man,
        "espeak-ng": espeak,
        "espeak-ng de": german,
        "synthetic": synthetic_voice(3.0, seed=9),
        "with silence": gaps,
        "noise": 0.1 * rng.standard_normal(3 * SR).astype(np.float32),
        "silence": np.zeros(SR, np.float32),
        "0.3 s": flite[12000:19200],
        "30 s": np.resize(np.concatenate([flite, espeak, man]), 30 * SR),
    }


@pytest.fixture(scope="module")
def upstream():
    torch_env.prepare()
    return torch_watermark.watermarker()


def score(upstream, waveform):
    return float(upstream.get_watermark(waveform, SR, round=False))


def test_marks_and_scores_are_upstreams(upstream, clips):
    for name, clip in clips.items():
        ours, theirs = watermark.apply(clip, SR), upstream.apply_watermark(clip, SR)
        assert len(theirs) == len(clip) // 240 * 240 <= len(ours) == len(clip), name
        if name == "silence":
            # Both are silent; upstream's detector divides zero by zero.
            assert max(np.abs(ours).max(), np.abs(theirs).max()) < 1e-9
            assert watermark.detect(theirs, SR) == 0.0
            assert np.isnan(score(upstream, theirs))
            continue
        error = np.sqrt(np.mean((ours[: len(theirs)] - theirs) ** 2) / np.mean(theirs**2))
        assert error < 1e-4, (name, error)
        for waveform in (clip, theirs, ours):
            mine = watermark.detect(waveform, SR)
            assert mine == pytest.approx(score(upstream, waveform), abs=1e-3), name
        # Each finds the other's mark, and neither finds one where none is.
        assert score(upstream, ours) >= 0.5, name
        assert watermark.detect(theirs, SR) >= 0.5, name
        assert watermark.detect(clip, SR) < 0.5, name
        assert torch_watermark.answer(clip, SR) < 0.5, name
