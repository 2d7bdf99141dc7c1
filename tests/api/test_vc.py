"""Voice conversion on a small model: any length, no seams, bounded memory, the command line."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
import soundfile

from mlx_chatterbox import ChatterboxVC, Voice
from mlx_chatterbox.audio.files import save_audio
from mlx_chatterbox.errors import AudioError, CheckpointError, SettingError
from mlx_chatterbox.models.s3gen.hift_stream import HiFTStream, context_frames
from mlx_chatterbox.models.s3gen.long import (
    CROSS_FADE_FRAMES,
    OVERLAP_TOKENS,
    PIECE_TOKENS,
    mel_pieces,
    plan_pieces,
    speak_in_pieces,
)
from mlx_chatterbox.models.s3gen.noise import FrameNoise
from mlx_chatterbox.models.s3gen.s3gen import S3GenConditionals
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.vc import main
from mlx_chatterbox.voices.voice import embed_voice
from tests.rounding import Rounding, pitched

FAST = {"n_cfm_timesteps": 2, "watermark": False}


@pytest.fixture(scope="module")
def vc(small_checkpoint, recording):
    vc = ChatterboxVC.from_local(small_checkpoint)
    vc.set_target_voice(recording)
    return vc


@pytest.fixture(scope="module")
def talk():
    """100 s of another speaker at 24 kHz."""
    return synthetic_voice(100.0, seed=8)


@pytest.fixture(scope="module")
def conversion(vc, talk):
    """Waveform of the first seconds of a recording and the peak of MLX's memory, computed once."""
    known = {}

    def convert(seconds: int) -> tuple[np.ndarray, int]:
        if seconds not in known:
            mx.reset_peak_memory()
            waveform = vc.generate(talk[: seconds * 24000], seed=1, **FAST)
            known[seconds] = waveform, mx.get_peak_memory()
        return known[seconds]

    return convert


@pytest.fixture(scope="module")
def converted(conversion):
    return lambda seconds: conversion(seconds)[0]


@pytest.mark.parametrize("seconds", [1, 30, 35, 53, 95])
def test_as_long_as_the_recording(converted, seconds):
    waveform = converted(seconds)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 24000 * seconds) <= 480
    assert np.isfinite(waveform).all()
    assert np.abs(waveform[:480]).max() == 0.0  # faded in, once
    assert np.abs(waveform[960:]).max() > 0.0


def seams(n_tokens: int) -> list[int]:
    """Samples in the middle of the cross-fades."""
    pieces = plan_pieces(n_tokens)
    pairs = itertools.pairwise(pieces)
    return [(end + start) * 480 for (_, end), (start, _) in pairs]


@pytest.mark.parametrize("seconds", [35, 53, 95])
def test_no_jump_at_a_seam(converted, seconds):
    waveform = converted(seconds)
    steps = np.abs(np.diff(waveform))
    at_seams = np.zeros(len(steps), bool)
    for seam in seams(seconds * 25):
        at_seams[seam - 12000 : seam + 12000] = True
    assert at_seams.any()
    assert steps[at_seams].max() <= steps[~at_seams].max()


@pytest.mark.numbers
@pytest.mark.parametrize("seconds", [35, 95])
def test_a_seam_is_as_smooth_as_the_mel_elsewhere(vc, seconds):
    """Steps of the mel from frame to frame are no larger in a cross-fade than elsewhere."""
    s3gen = vc.networks.s3gen
    tokens = mx.array(np.random.default_rng(3).integers(0, 6561, seconds * 25))
    mels = [mel for mel, _ in mel_pieces(s3gen, tokens, vc.reference, mx.random.key(0), 2)]
    mel = np.array(mx.concatenate(mels, axis=1))[0]
    assert mel.shape == (seconds * 50, 80)
    moves = np.abs(np.diff(mel, axis=0)).max(axis=1)
    fading = np.zeros(len(moves), bool)
    for seam in seams(seconds * 25):
        middle = seam // 480
        fading[middle - CROSS_FADE_FRAMES : middle + CROSS_FADE_FRAMES] = True
    assert moves[fading].max() <= moves[~fading].max()


@pytest.mark.numbers
def test_pieces_agree_where_they_overlap(vc):
    """They start from the same noise there, so that a cross-fade joins what is alike."""
    s3gen = vc.networks.s3gen
    tokens = mx.array(np.random.default_rng(4).integers(0, 6561, 1000))
    long, short = (
        np.concatenate([np.array(mel)[0] for mel, _ in pieces])
        for pieces in (
            mel_pieces(s3gen, tokens[:n], vc.reference, mx.random.key(0), 2) for n in (1000, 900)
        )
    )
    # First pieces of both, then the first of one and the second of the other, then second pieces.
    difference = (long[600:1600] - short[600:1600]).std()
    assert 0.0 < difference < 0.1 * long.std()


@pytest.mark.parametrize("n_tokens", [1, 750, 751, 850, 1400, 1401, 2050, 90000])
def test_pieces_overlap_and_cover(n_tokens):
    pieces = plan_pieces(n_tokens)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == n_tokens
    if len(pieces) > 1:
        assert {end - start for start, end in pieces} == {PIECE_TOKENS}
        pairs = list(itertools.pairwise(pieces))
        assert all(end - start >= OVERLAP_TOKENS for (_, end), (start, _) in pairs)
        assert all(after > before for (before, _), (after, _) in pairs)


@pytest.mark.numbers
def test_one_piece_is_s3gen_itself(vc):
    tokens = mx.array(np.random.default_rng(1).integers(0, 6561, PIECE_TOKENS))
    key = mx.random.key(5)
    whole = vc.networks.s3gen(tokens, vc.reference, key=key, n_timesteps=2)
    (piece,) = speak_in_pieces(vc.networks.s3gen, tokens, vc.reference, key, 2)
    np.testing.assert_array_equal(piece, whole)


def test_a_reference_with_an_odd_frame_is_spoken_from_as_upstream(vc):
    """Upstream's own voices can have 2 n + 1 mel frames: the first new one is then left out."""
    reference = vc.reference
    feat = mx.concatenate([reference.prompt_feat, reference.prompt_feat[:, :1]], axis=1)
    odd = S3GenConditionals(reference.prompt_token, feat, reference.embedding)
    for n_tokens in (100, 900):
        pieces = speak_in_pieces(
            vc.networks.s3gen, mx.arange(n_tokens), odd, mx.random.key(1), n_timesteps=1
        )
        assert sum(piece.shape[0] for piece in pieces) == 960 * n_tokens - 480


@pytest.fixture(params=[True, False], ids=["steady pitch", "low pitch"])
def pitch(vc, request):
    """A steady pitch keeps rounding so small that a missing frame of context would show."""
    with pitched(vc.networks.s3gen.mel2wav, is_steady=request.param):
        yield


@pytest.mark.numbers
@pytest.mark.parametrize("cuts", [[1, 2, 40, 41, 300], [700], [100, 350, 351]])
def test_vocoder_in_pieces_equals_the_vocoder(vc, pitch, rng, cuts):
    """Any cuts of the mel give the same, with the source carried across."""
    vocoder, frames = vc.networks.s3gen.mel2wav, 1200
    tokens = mx.array(rng.integers(0, 6561, frames // 2))
    ((mel, _),) = mel_pieces(vc.networks.s3gen, tokens, vc.reference, mx.random.key(0), 2)
    key = mx.random.key(2)
    stream, pieces = HiFTStream(vocoder, key), []
    for start, end in zip([0, *cuts], [*cuts, frames], strict=True):
        pieces.append(stream.push(mel[:, start:end], last=end == frames))

    phase_key, noise_key = mx.random.split(key)
    noise = FrameNoise(noise_key, 480).between(0, frames).reshape(1, frames * 480)
    phases = vocoder.m_source.draw_phases(1, phase_key)

    def whole(mel):
        source, _ = vocoder.m_source.excite(vocoder.f0_predictor(mel), 480, phases, noise)
        return vocoder.decode(mel, source)[0]

    # Its weights stay: unlike rounding, they would move F0 everywhere in the same direction.
    rounding = Rounding(whole, given=[mel])
    assert np.abs(rounding.wanted[0]).max() > 1e-2
    rounding.check(mx.concatenate(pieces))


def test_context_is_what_the_vocoder_sees(vc, rng):
    """Frames beyond it have no effect, to the bit, and it is at most a frame too long."""
    vocoder = vc.networks.s3gen.mel2wav
    context = context_frames(vocoder.config)
    mel = rng.standard_normal((1, 61, 80)).astype(np.float32)
    source = rng.standard_normal((1, 61 * 480)).astype(np.float32) * 0.1

    def decoded(mel: np.ndarray, source: np.ndarray) -> np.ndarray:
        return np.array(vocoder.decode(mx.array(mel), mx.array(source)))[0]

    before, reached = decoded(mel, source), set()
    for _ in range(4):
        other_mel, other_source = mel.copy(), source.copy()
        # Large, or rounding hides what little comes to the edge.
        other_mel[:, 30] += 1000 * rng.standard_normal(80)
        other_source[:, 30 * 480 : 31 * 480] += 1000 * rng.standard_normal(480)
        changed = before != decoded(other_mel, other_source)
        reached |= {sample // 480 - 30 for sample in np.flatnonzero(changed)}
    # The reach is rounded up, from the parts of a frame that each stage adds.
    assert context - 1 <= max(-min(reached), max(reached)) <= context


@pytest.mark.numbers
def test_the_phase_is_carried(vc):
    """A constant pitch over two pieces is where it would be in one."""
    source = vc.networks.s3gen.mel2wav.m_source
    f0 = mx.full((1, 1000), 123.4)
    phases, noise = mx.zeros((1, 1, 9)), mx.zeros((1, 1000 * 480))
    whole, end = source.excite(f0, 480, phases, noise)
    cut = 417 * 480
    first, phase = source.excite(f0[:, :417], 480, phases, noise[:, :cut])
    second, last = source.excite(f0[:, 417:], 480, phases, noise[:, cut:], phase)
    np.testing.assert_array_equal(mx.concatenate([first, second], axis=1), whole)
    assert end.item() == last.item()


@pytest.mark.numbers
def test_noise_is_the_same_wherever_it_is_cut():
    noise = FrameNoise(mx.random.key(3), 5)
    whole = np.array(noise.between(0, 500))
    np.testing.assert_array_equal(noise.between(63, 257), whole[:, 63:257])
    assert abs(whole.mean()) < 0.1
    assert abs(whole.std() - 1.0) < 0.1
    assert len(np.unique(whole)) > 2400


@pytest.mark.parametrize("seconds", [1, 35])
def test_a_seed_repeats_and_another_differs(vc, talk, converted, seconds):
    again, other = (vc.generate(talk[: seconds * 24000], seed=seed, **FAST) for seed in (1, 2))
    np.testing.assert_array_equal(converted(seconds), again)
    assert not np.array_equal(converted(seconds), other)


@pytest.mark.numbers
def test_a_stream_is_the_whole_in_pieces(vc, talk, converted):
    device = mx.default_device()
    pieces = []
    for piece in vc.stream(talk[: 53 * 24000], seed=1, **FAST):
        assert mx.default_device() == device
        pieces.append(piece)
    assert len(pieces) == 2
    np.testing.assert_array_equal(np.concatenate(pieces), converted(53))


def test_a_file_at_another_rate_and_a_voice_as_upstream(vc, talk, recording_file, tmp_path):
    """upstream: generate(audio, target_voice_path), the voice kept."""
    save_audio(tmp_path / "talk.wav", talk[:48000], 24000)
    before = vc.reference
    waveform = vc.generate(tmp_path / "talk.wav", recording_file, seed=1, n_cfm_timesteps=1)
    assert waveform.shape == (48000,)
    assert vc.reference is not before


def test_voice_argument_leaves_the_models_voice_alone(vc, talk, recording, tmp_path):
    before = vc.reference
    generation = vc.checkpoint.config.generation
    voice = embed_voice(vc.networks, recording[::-1].copy(), generation)
    settings = {"seed": 1, "n_cfm_timesteps": 1}
    one = vc.generate(talk[:48000], voice=voice, **settings)
    assert vc.reference is before
    path = voice.save(tmp_path / "other.safetensors")
    vc.set_target_voice(path)
    np.testing.assert_array_equal(one, vc.generate(talk[:48000], **settings))
    vc.reference = before
    assert not np.array_equal(one, vc.generate(talk[:48000], **settings))


def test_the_built_in_voice_and_the_device(small_checkpoint, recording, tmp_path):
    vc = ChatterboxVC.from_local(small_checkpoint, "cpu")
    assert vc.device == "cpu"
    with pytest.raises(SettingError, match="no voice"):
        vc.generate(recording)
    voice = embed_voice(vc.networks, recording, vc.checkpoint.config.generation)
    vc.checkpoint.voice = voice
    assert isinstance(voice, Voice)
    assert ChatterboxVC(vc.checkpoint).reference is not None


def test_progress_is_reported(vc, talk):
    calls = []
    vc.generate(talk[: 53 * 24000], seed=1, progress=lambda *call: calls.append(call), **FAST)
    assert calls[:2] == [("windows", 1, 2), ("windows", 2, 2)]
    assert calls[2:] == [("seconds", 53 * i // 4, 53) for i in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "shape"),
        (np.zeros((2, 4800), np.float32), "shape"),
        (np.zeros(48000, np.float32), "silent"),
        (np.full(1200, 0.5, np.float32), "lasts 0.05 s"),
        (np.full(48000, np.nan, np.float32), "NaN"),
    ],
)
def test_recordings_that_cannot_be_converted(vc, samples, message):
    with pytest.raises(AudioError, match=message):
        vc.generate(samples, **FAST)


def test_voices_that_cannot_serve(vc, recording, tmp_path):
    with pytest.raises(AudioError, match="lasts"):
        vc.set_target_voice(recording[12000:18000])
    with pytest.raises(AudioError, match="silent"):
        vc.set_target_voice(np.zeros(48000, np.float32))
    with pytest.raises(AudioError, match="NaN"):
        vc.set_target_voice(np.full(48000, np.nan))
    with pytest.raises(AudioError, match="no file"):
        vc.generate(recording, tmp_path / "none.wav")
    with pytest.raises(CheckpointError, match="does not exist"):
        vc.set_target_voice(tmp_path / "none.safetensors")


@pytest.mark.parametrize("setting", [{"n_cfm_timesteps": 0}, {"seed": -1}], ids=str)
def test_settings_out_of_range(vc, recording, setting):
    with pytest.raises(SettingError, match=r"must be .*got"):
        vc.generate(recording, **setting)


MEASURE = """
import json, resource, sys
import numpy as np
import mlx_chatterbox, mlx.core as mx
from mlx_chatterbox import ChatterboxVC
folder, seconds = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
talk = np.repeat(rng.standard_normal(seconds * 2400).astype(np.float32) * 0.1, 10)
vc = ChatterboxVC.from_local(folder)
vc.set_target_voice(talk[:72000])
mx.reset_peak_memory()
waveform = vc.generate(talk, seed=1, n_cfm_timesteps=1)
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"mlx": mx.get_peak_memory(), "rss": rss, "audio": talk.nbytes + waveform.nbytes}))
"""


def test_memory_does_not_grow_with_the_length(conversion):
    assert conversion(95)[1] < 1.1 * conversion(53)[1]


@pytest.mark.slow
def test_memory_of_the_process_does_not_grow(small_checkpoint):
    """It grows from 95 s to 380 s by less than a tenth beyond the audio itself."""
    figures = []
    for seconds in ("95", "380"):
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, small_checkpoint, seconds],
            check=True,
            capture_output=True,
            text=True,
        )
        figures.append(json.loads(run.stdout))
    short, long = figures
    assert long["mlx"] < 1.1 * short["mlx"]
    assert long["rss"] - long["audio"] < 1.1 * (short["rss"] - short["audio"])


@pytest.fixture
def convert(small_checkpoint, recording_file, tmp_path, capsys):
    """Runs the command in a folder of its own; gives exit code, standard output and error."""

    def run(*arguments, voice=True, output="out.wav"):
        words = ["--model", small_checkpoint, "--cfm-steps", 1, "--output", tmp_path / output]
        words += ["--voice", recording_file] if voice else []
        code = main([str(word) for word in [*words, *arguments]])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.folder = tmp_path
    return run


def test_converts(convert, recording_file):
    for name, seed in (("a.wav", 1), ("b.wav", 1), ("c.wav", 2)):
        code, out, err = convert("--input", recording_file, "--seed", seed, output=name)
        assert code == 0
        assert "3.00 s of speech" in out
        assert "%|" not in err  # no progress bar in a pipe
    waveform, rate = soundfile.read(convert.folder / "a.wav")
    assert rate == 24000
    assert len(waveform) == 72000
    a, b, c = ((convert.folder / name).read_bytes() for name in ("a.wav", "b.wav", "c.wav"))
    assert a == b
    assert a != c


def test_a_saved_voice_on_the_command_line(convert, vc, recording, recording_file):
    voice = embed_voice(vc.networks, recording, vc.checkpoint.config.generation)
    saved = voice.save(convert.folder / "me.safetensors")
    code, _, _ = convert("--input", recording_file, "--voice", saved, output="out.flac")
    assert code == 0
    assert soundfile.info(convert.folder / "out.flac").frames == 72000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "no-such.wav"], "the recording no-such.wav does not exist"),
        (["--input", "{here}", "--voice", "no-such.wav"], "the voice no-such.wav does not exist"),
        (["--input", "{here}", "--model", "nobody"], "neither a folder, a known model"),
        (["--input", "{here}", "--output", "no-such-folder/out.wav"], "no folder"),
        (["--input", "{here}", "--output", "out.xyz"], "no known audio format"),
        (["--input", "{here}", "--cfm-steps", "0"], "must be 1 or more"),
        (["--input", "{text}"], "cannot be read as audio"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(convert, recording_file, arguments, message):
    words = [word.format(here=recording_file, text=__file__) for word in arguments]
    code, out, err = convert(*words)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert list(convert.folder.iterdir()) == []


def test_no_voice(convert, recording_file):
    code, _, err = convert("--input", recording_file, voice=False)
    assert code == 1
    assert "--voice" in err


def test_an_interruption_leaves_nothing(convert, recording_file, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlx_chatterbox.api.vc.speak_in_pieces", interrupted)
    code, _, err = convert("--input", recording_file)
    assert code == 130
    assert "interrupted" in err
    assert list(convert.folder.iterdir()) == []


def test_verbose_shows_the_traceback(convert):
    code, _, err = convert("--input", "no-such.wav", "--verbose")
    assert code == 1
    assert "Traceback" in err
    assert "AudioError" in err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "consent" in shown
