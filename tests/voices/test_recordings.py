"""Recordings of every kind: a file's content decides its format, and what libsndfile cannot read
is read through ffmpeg."""

import io
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.api.tts import ChatterboxTTS
from mlx_chatterbox.api.vc import ChatterboxVC
from mlx_chatterbox.audio import ffmpeg
from mlx_chatterbox.audio.files import (
    blocks_of,
    duration_of,
    load_audio,
    read_channels,
    save_audio,
)
from mlx_chatterbox.audio.m4b import find_ffmpeg
from mlx_chatterbox.commands.long_text import play_file
from mlx_chatterbox.errors import AudioError
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.train.data.listen import Listener
from mlx_chatterbox.voices.voice import Voice, is_saved_voice
from mlx_chatterbox.watermark.__main__ import main as watermark
from tests.train.data import section

RATE = 24000
CASES = Path(__file__).parents[1] / "data"


def tone(seconds=1.0, hz=440.0, rate=RATE):
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def encoded(path: Path, *options: str, samples=None, video=False) -> Path:
    """A file of a tone, written by ffmpeg."""
    source = path.with_name(f"{path.name}.source.wav")
    soundfile.write(source, tone() if samples is None else samples, RATE, subtype="FLOAT")
    picture = ["-f", "lavfi", "-i", "color=size=32x32:duration=1"] if video else []
    command = [find_ffmpeg(), "-loglevel", "error", "-y", "-i", str(source), *picture, *options]
    subprocess.run([*command, f"file:{path}"], check=True)
    source.unlink()
    return path


def without_ffmpeg(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def pitch(waveform, rate):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * rate / len(waveform)


KINDS = {
    "voice.m4a": (["-c:a", "aac", "-f", "ipod"], "an MPEG-4 audio file (AAC)"),
    "lossless.m4a": (["-c:a", "alac", "-f", "ipod"], "an MPEG-4 audio file (Apple Lossless)"),
    "voice.aac": (["-c:a", "aac", "-f", "adts"], "an AAC stream (ADTS)"),
    "voice.webm": (["-c:a", "libopus", "-f", "webm"], "a WebM file (Opus)"),
    "voice.mka": (["-c:a", "aac", "-f", "matroska"], "a Matroska file (AAC)"),
    "voice.wma": (["-c:a", "wmav2", "-f", "asf"], "a Windows Media file"),
    "voice.ac3": (["-c:a", "ac3", "-f", "ac3"], "an AC-3 (Dolby Digital) file"),
    "voice.avi": (["-c:a", "mp2", "-f", "avi"], "an AVI video"),
    "voice.ts": (["-c:a", "aac", "-f", "mpegts"], "an MPEG transport stream"),
    "voice.mov": (["-c:a", "aac", "-f", "mov"], "a QuickTime file (AAC)"),
    "voice.wv": (["-c:a", "wavpack", "-f", "wv"], "a WavPack file"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_libsndfile_cannot_read_is_read_through_ffmpeg(tmp_path, name):
    path = encoded(tmp_path / name, *KINDS[name][0])
    samples, rate = read_channels(path)
    assert samples.dtype == np.float32
    assert samples.shape[1] == 1
    assert len(samples) / rate == pytest.approx(1, abs=0.15)
    assert pitch(samples[:, 0], rate) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() == pytest.approx(0.4, abs=0.1)
    assert pitch(load_audio(path, 16000), 16000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("name", KINDS)
def test_without_ffmpeg_the_error_names_the_format_and_the_program(tmp_path, name, monkeypatch):
    path = encoded(tmp_path / name, *KINDS[name][0])
    without_ffmpeg(monkeypatch)
    with pytest.raises(AudioError) as caught:
        read_channels(path)
    message = str(caught.value)
    assert f"{path} is {KINDS[name][1]}" in message
    assert "ffmpeg, which is not installed" in message
    assert "mlx-chatterbox[m4b]" in message
    assert "\n" not in message


@pytest.mark.parametrize("ending", [".mp3", ".wav", ".flac", "", ".raw", ".vox", ".txt", ".m4b"])
@pytest.mark.parametrize("options", [["-f", "ipod"], ["-f", "mp3"], ["-f", "wav"], ["-f", "ogg"]])
def test_the_content_decides_and_not_the_ending(tmp_path, ending, options):
    path = encoded(tmp_path / "voice.bin", *options)
    path = path.rename(tmp_path / f"voice{ending}")
    samples, rate = read_channels(path)
    assert pitch(samples[:, 0], rate) == pytest.approx(440, abs=2)


def test_an_m4a_called_mp3():
    samples, rate = read_channels(CASES / "m4anamed.mp3")
    assert len(samples) / rate > 1
    assert np.abs(samples).max() > 0.01


def test_tags_before_the_sound_do_not_hide_what_it_is(tmp_path):
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 20, 0]) + bytes(20 * 128)
    for name, options in (("a.aac", ["-f", "adts"]), ("a.mp3", ["-f", "mp3"])):
        path = encoded(tmp_path / name, *options)
        path.write_bytes(tag + path.read_bytes())
        samples, rate = read_channels(path)
        assert pitch(samples[:, 0], rate) == pytest.approx(440, abs=2)


def test_a_video_gives_its_first_sound_track(tmp_path):
    path = encoded(tmp_path / "talk.mp4", "-c:v", "mpeg4", "-c:a", "aac", video=True)
    samples, rate = read_channels(path)
    assert pitch(samples[:, 0], rate) == pytest.approx(440, abs=2)


def test_a_video_without_sound_is_reported_as_such(tmp_path):
    for name in ("silent.mp4", "silent.webm"):
        codec = "mpeg4" if name.endswith("mp4") else "libvpx"
        path = encoded(tmp_path / name, "-map", "1:v", "-c:v", codec, video=True)
        with pytest.raises(AudioError, match=r"silent\.\w+ is .* without a sound track"):
            read_channels(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7\n" + bytes(100), "a PDF document"),
        (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture (PNG)"),
        (b"<!DOCTYPE html><html>", "a web page (HTML)"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a playlist"),
        (b"MThd\0\0\0\6" + bytes(100), "a MIDI file: notes"),
        (b"Just words.\n" * 9, "a text file"),
    ],
)
def test_files_that_are_not_recordings_are_named_by_kind(tmp_path, content, what):
    path = tmp_path / "voice.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        read_channels(path)
    assert str(caught.value) == f"{path} cannot be read as audio: it is {what}."


def test_odd_names_are_neither_options_nor_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-i.m4a", "http:voice.m4a", "concat:a|b.m4a", "a b's %d.m4a", "pipe:0"):
        path = encoded(tmp_path / "voice.bin", "-f", "ipod").rename(tmp_path / name)
        assert len(read_channels(Path(name))[0]) > 0.9 * RATE
        path.unlink()


def test_ffmpeg_reads_no_other_file_and_no_network(tmp_path):
    command = ffmpeg.decode_command("ffmpeg", tmp_path / "voice.m4a", "mov")
    at = command.index("-i")
    assert command[at + 1] == f"file:{tmp_path / 'voice.m4a'}"
    assert command[command.index("-protocol_whitelist") + 1] == "file,pipe"
    assert command.index("-protocol_whitelist") < at
    assert "-nostdin" in command
    assert command[command.index("-f") + 1] == "mov", "a playlist inside would be read as one"


def test_a_program_that_hangs_is_ended(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 100\n")
    program.chmod(0o755)
    path = encoded(tmp_path / "voice.m4a", "-f", "ipod")
    monkeypatch.setattr(ffmpeg, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(ffmpeg, "ffmpeg_program", lambda: str(program))
    with pytest.raises(AudioError, match="nothing for"):
        read_channels(path)


def test_a_truncated_file_is_reported(tmp_path):
    path = encoded(tmp_path / "voice.m4a", "-movflags", "+faststart", "-f", "ipod")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.warns(UserWarning, match=r"voice\.m4a is damaged"):
        samples, rate = read_channels(path)
    assert len(samples) < 0.9 * rate
    path.write_bytes(content[:300])
    with pytest.raises(AudioError, match="cannot be read as audio") as caught:
        read_channels(path)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_bytes_in_memory_are_read_too(tmp_path):
    path = encoded(tmp_path / "voice.m4a", "-f", "ipod")
    samples, rate = read_channels(io.BytesIO(path.read_bytes()), "a clip")
    assert np.array_equal(samples, read_channels(path)[0])
    assert rate == RATE
    with pytest.raises(AudioError, match=r"a clip cannot .*: it is a PDF"):
        read_channels(io.BytesIO(b"%PDF-1.7" + bytes(99)), "a clip")


def test_only_as_much_is_decoded_as_is_needed(tmp_path):
    long = tone(40)
    path = encoded(tmp_path / "long.m4a", "-f", "ipod", samples=long)
    whole = load_audio(path, RATE)
    part = load_audio(path, RATE, seconds=5)
    assert 5 * RATE <= len(part) < 8 * RATE
    assert np.array_equal(part[: 5 * RATE], whole[: 5 * RATE])
    save_audio(tmp_path / "long.wav", long, RATE)
    part = load_audio(tmp_path / "long.wav", 16000, seconds=5)
    whole = load_audio(tmp_path / "long.wav", 16000)
    assert len(part) < 8 * 16000
    assert np.array_equal(part[: 5 * 16000], whole[: 5 * 16000])


def test_how_long_a_file_is_without_decoding_it(tmp_path):
    assert duration_of(encoded(tmp_path / "a.m4a", "-f", "ipod")) == pytest.approx(1, abs=0.1)
    assert duration_of(encoded(tmp_path / "a.ogg")) == pytest.approx(1, abs=0.1)
    (tmp_path / "a.txt").write_text("words " * 100)
    assert duration_of(tmp_path / "a.txt") is None


def test_blocks_are_the_whole(tmp_path):
    for name in ("a.m4b", "a.flac"):
        path = tmp_path / name
        save_audio(path, tone(3), RATE)
        with blocks_of(path) as (rate, channels, blocks):
            found = list(blocks)
        assert (rate, channels) == (RATE, 1)
        assert len(found) > 1
        assert np.array_equal(np.concatenate(found), read_channels(path)[0])


# --- Channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.99, 0.8])
def test_stereo_in_antiphase_is_not_silence(tmp_path, gain):
    wave = tone()
    save_audio(tmp_path / "a.wav", np.stack([gain * wave, -wave], axis=1), RATE)
    with pytest.warns(UserWarning, match=r"a\.wav: .*cancel.*channel 2"):
        mono = load_audio(tmp_path / "a.wav", RATE)
    assert np.abs(mono).max() == pytest.approx(0.4, abs=0.01)
    assert np.allclose(mono, -wave, atol=1e-3)


def test_other_stereo_is_averaged(tmp_path):
    noise = np.random.default_rng(0).standard_normal((RATE, 2)).astype("f4") * 0.1
    one_sided = np.stack([tone(), np.zeros(RATE, "f4")], axis=1)
    late = np.stack([tone(hz=100), np.roll(tone(hz=100), 60)], axis=1)
    for stereo in (noise, one_sided, late, np.zeros((RATE, 2), "f4")):
        path = tmp_path / "a.wav"
        soundfile.write(path, stereo, RATE, subtype="FLOAT")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(load_audio(path, RATE), stereo.mean(axis=1))


# --- Whoever reads recordings --------------------------------------------------------------------


def test_the_watermark_is_found_in_our_own_books(tmp_path, capsys):
    wave = synthetic_voice(6.0, seed=3)
    save_audio(tmp_path / "plain.m4b", wave, RATE)
    save_audio(tmp_path / "plain.wav", wave, RATE)
    assert watermark(["apply", str(tmp_path / "plain.m4b"), str(tmp_path / "marked.m4b")]) == 0
    capsys.readouterr()
    assert watermark(["detect", str(tmp_path / "marked.m4b")]) == 0
    assert " yes " in capsys.readouterr().out
    assert watermark(["detect", str(tmp_path / "plain.m4b")]) == 1
    assert " no " in capsys.readouterr().out


def test_a_saved_voice_is_distinguished_from_a_recording_by_its_contents(
    tmp_path, checkpoint, recording
):
    tts = ChatterboxTTS(checkpoint)
    path = tts.voice_of(recording).save(tmp_path / "voice.safetensors")
    assert is_saved_voice(path)
    for name in ("voice.wav", "voice.SAFETENSORS", "voice"):
        other = tmp_path / name
        shutil.copyfile(path, other)
        assert is_saved_voice(other)
        assert isinstance(tts.voice_of(other), Voice)
    save_audio(tmp_path / "a.wav", recording, RATE)
    misnamed = (tmp_path / "a.wav").rename(tmp_path / "a.safetensors")
    assert not is_saved_voice(misnamed)
    assert isinstance(tts.voice_of(misnamed), Voice)


def test_voices_and_conversion_read_what_a_telephone_records(tmp_path, checkpoint, recording):
    path = encoded(tmp_path / "voice.mp3", "-f", "ipod", samples=recording)
    voice = ChatterboxTTS(checkpoint).voice_of(path)
    assert voice.prompt_feat.shape[1] == pytest.approx(50 * len(recording) / RATE, abs=6)
    vc = ChatterboxVC(checkpoint)
    waveform = vc.generate(path, path, seed=1, n_cfm_timesteps=1)
    assert len(waveform) == pytest.approx(len(recording), abs=0.1 * RATE)


def test_training_reads_what_a_telephone_records(tmp_path, recording):
    path = encoded(tmp_path / "clip.m4a", "-f", "ipod", samples=recording)
    settings = section(tmp_path, trim_silence=False, max_audio_duration_s=15)
    listener = Listener(settings, None)
    facts, _ = listener(path)
    assert facts.rate == RATE
    assert facts.seconds == pytest.approx(3, abs=0.1)
    assert listener.too_long_to_read(path) is None
    settings.max_audio_duration_s = 1
    assert Listener(settings, None).too_long_to_read(path) == pytest.approx(3, abs=0.1)
    stereo = np.stack([recording, -0.9 * recording], axis=1)
    save_audio(tmp_path / "clip.wav", stereo, RATE)
    with pytest.warns(UserWarning, match="cancel"):
        assert listener(tmp_path / "clip.wav")[0].peak > 0.1


def test_a_book_is_played_after_it_was_written(tmp_path, monkeypatch):
    played = []

    class Stream:
        def __init__(self, samplerate, channels, dtype):
            played.append((samplerate, channels))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, block):
            played.append(len(block))

    fake = SimpleNamespace(OutputStream=Stream, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    save_audio(tmp_path / "book.m4b", tone(2), RATE)
    play_file(tmp_path / "book.m4b")
    assert played[0] == (RATE, 1)
    assert sum(played[1:]) == pytest.approx(2 * RATE, abs=0.1 * RATE)


def test_an_empty_file_is_called_so(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"a\.wav is empty: there is no recording in it"):
        load_audio(tmp_path / "a.wav", RATE)


def test_a_protected_recording_is_called_so(tmp_path):
    clear = encoded(tmp_path / "clear.m4a", "-c:a", "aac")
    path = tmp_path / "locked.m4a"
    keys = ("-encryption_key", "00" * 16, "-encryption_kid", "11" * 16)
    command = [find_ffmpeg(), "-loglevel", "error", "-i", str(clear), "-c", "copy"]
    subprocess.run(
        [*command, "-f", "mp4", "-encryption_scheme", "cenc-aes-ctr", *keys, str(path)], check=True
    )
    with pytest.raises(AudioError, match=r"locked\.m4a is an MPEG-4 .* that is encrypted \(DRM\)"):
        load_audio(path, RATE)


def test_only_the_beginning_of_a_long_recording_is_used(tmp_path, monkeypatch):
    """Audio after the longest reference is not read, with a warning."""
    from mlx_chatterbox.voices import voice

    monkeypatch.setattr(voice, "LONGEST_REFERENCE", 3.0)
    speech = synthetic_voice(6.0, RATE)
    for name, samples in (("whole", speech), ("beginning", speech[: 3 * RATE])):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
    tts = ChatterboxTTS.from_pretrained("pocket")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        beginning = tts.voice_of(tmp_path / "beginning.wav")
        assert not any("minutes" in str(one.message) for one in told)
        whole = tts.voice_of(tmp_path / "whole.wav")
    assert any("minutes are used" in str(one.message) for one in told)
    assert np.array_equal(whole.speaker_embedding, beginning.speaker_embedding)
    assert np.array_equal(whole.prompt_token, beginning.prompt_token)
