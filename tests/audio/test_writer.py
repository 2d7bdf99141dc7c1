"""Files written by pieces equal those written at once; books have chapters; no partial file."""

import contextlib
import hashlib
import re
import subprocess
import tracemalloc

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.audio import m4b, ogg, writer
from mlx_chatterbox.audio.files import load_audio, save_audio
from mlx_chatterbox.audio.formats import check_output
from mlx_chatterbox.audio.m4b import chapter_file, find_ffmpeg
from mlx_chatterbox.audio.writer import open_writer
from mlx_chatterbox.errors import AudioError

RATE = 24_000


def tone(seconds=2.0, hz=440.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def in_pieces(path, samples, sizes=(1, 7000, 100, 12000), **words):
    with open_writer(path, RATE, **words) as file:
        start, count = 0, 0
        while start < len(samples):
            size = sizes[count % len(sizes)]
            file.write(samples[start : start + size])
            start, count = start + size, count + 1


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus", "mp3", "m4b"])
def test_pieces_and_the_whole_give_the_same_bytes(tmp_path, ending):
    save_audio(tmp_path / f"whole.{ending}", tone(), RATE)
    in_pieces(tmp_path / f"pieces.{ending}", tone())
    in_pieces(tmp_path / f"again.{ending}", tone(), sizes=(5000,))
    sums = {hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 3
    assert len(sums) == 1


@pytest.mark.parametrize("ending", ["ogg", "opus"])
def test_an_ogg_file_with_another_serial_number_is_sound(tmp_path, ending):
    """Each page holds its checksum, computed from the beginning."""
    path = tmp_path / f"x.{ending}"
    save_audio(path, tone(3.0), RATE)
    content, at, pages = path.read_bytes(), 0, 0
    while at < len(content):
        length = 27 + content[at + 26] + sum(content[at + 27 : at + 27 + content[at + 26]])
        page = bytearray(content[at : at + length])
        assert page[14:18] == bytes(4)
        checksum, page[22:26] = int.from_bytes(page[22:26], "little"), bytes(4)
        crc = 0
        for byte in page:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1) ^ 0x104C11DB7 if crc & 0x80000000 else crc << 1
        assert crc == checksum
        at, pages = at + length, pages + 1
    assert pages > 2
    assert np.abs(load_audio(path, RATE)[1000:40000] - tone(3.0)[1000:40000]).max() < 0.1


def test_a_file_that_is_not_ogg_is_an_error(tmp_path):
    (tmp_path / "x.ogg").write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(ValueError, match="no Ogg page at byte 0"):
        ogg.fix_serial_number(tmp_path / "x.ogg")


def metadata_of(path) -> str:
    command = [find_ffmpeg(), "-loglevel", "error", "-i", str(path), "-f", "ffmetadata", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def test_a_book_has_its_chapters_title_and_author(tmp_path):
    path = tmp_path / "a: book.m4b"
    with open_writer(path, RATE, title="Emma; or = #1", author="Jane Austen") as file:
        file.chapter("Chapter 1")
        file.write(tone(1.0))
        file.silence(RATE // 2)
        file.chapter("Two\\ of\nthem")
        file.write(tone(0.5, 880.0))
    words = metadata_of(path)
    assert "title=Emma\\; or \\= \\#1" in words
    assert "artist=Jane Austen" in words
    starts_and_ends = [
        int(number) * (1 if "1/24000" in words else RATE // 1000)
        for number in re.findall(r"(?:START|END)=(\d+)", words)
    ]
    assert starts_and_ends == [0, 36000, 36000, 48000]
    assert "title=Chapter 1" in words
    assert "title=Two\\\\ of them" in words
    assert [each.name for each in tmp_path.iterdir()] == ["a: book.m4b"]
    # Decoded again: the first tone, silence, the second.
    command = [find_ffmpeg(), "-loglevel", "error", "-i", f"file:{path}", "-f", "wav", "-"]
    (tmp_path / "x.wav").write_bytes(
        subprocess.run(command, capture_output=True, check=True).stdout
    )
    heard, rate = soundfile.read(tmp_path / "x.wav")
    assert rate == RATE
    assert abs(len(heard) - 48000) <= 2048
    for span, hz in ((slice(4000, 20000), 440), (slice(38000, 46000), 880)):
        part = heard[span]
        assert np.abs(np.fft.rfft(part)).argmax() * RATE / len(part) == pytest.approx(hz, abs=5)
    assert np.abs(heard[26000:34000]).max() < 0.01


def picture(kind) -> bytes:
    """A red picture of 20 by 30, as ffmpeg makes it."""
    command = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", "color=red:s=20x30"]
    command += ["-frames:v", "1", "-c:v", kind, "-f", "image2pipe", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def streams_of(path) -> str:
    command = [find_ffmpeg(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, check=False).stderr.decode()


@pytest.mark.parametrize("kind", ["png", "mjpeg"])
def test_a_book_has_its_cover(tmp_path, kind):
    path = tmp_path / "book.m4b"
    cover = picture(kind)
    for name in (path, tmp_path / "same.m4b"):
        with open_writer(name, RATE, title="Emma", cover=cover) as file:
            file.chapter("One")
            file.write(tone(0.5))
    assert re.search(rf"Video: {kind}.*20x30.*\(attached pic\)", streams_of(path))
    assert "title=One" in metadata_of(path)
    command = [find_ffmpeg(), "-loglevel", "error", "-i", str(path), "-map", "0:v", "-c", "copy"]
    found = subprocess.run([*command, "-f", "image2pipe", "-"], capture_output=True, check=True)
    assert found.stdout == cover
    assert path.read_bytes() == (tmp_path / "same.m4b").read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["book.m4b", "same.m4b"]


@pytest.mark.parametrize(
    "cover",
    [b"GIF89a" + bytes(50), b"\x89PNG\r\n\x1a\n" + bytes(50), b"#EXTM3U\n/etc/passwd\n", b""],
)
def test_an_invalid_cover_does_not_fail_the_book(tmp_path, cover):
    path = tmp_path / "book.m4b"
    with pytest.warns(UserWarning, match="cover is no JPEG or PNG"):  # noqa: SIM117
        with open_writer(path, RATE, cover=cover) as file:
            file.write(tone(0.5))
    assert "Video" not in streams_of(path)
    assert "Audio: aac" in streams_of(path)


def test_other_formats_do_without_the_cover(tmp_path):
    with open_writer(tmp_path / "x.flac", RATE, cover=picture("png")) as file:
        file.write(tone(0.5))
    assert len(load_audio(tmp_path / "x.flac", RATE)) == RATE // 2


def test_what_comes_before_the_first_chapter_is_a_chapter_too():
    words = chapter_file([("One", 50)], 100, 24000, "Emma")
    assert words.count("[CHAPTER]") == 2
    assert "START=0\nEND=50\ntitle=Emma\n" in words
    assert "START=50\nEND=100\ntitle=One\n" in words
    assert "[CHAPTER]" not in chapter_file([], 100, 24000)


def test_two_chapters_at_one_place_are_the_second(tmp_path):
    with open_writer(tmp_path / "x.wav", RATE) as file:
        file.chapter("Part")
        file.chapter("Chapter")
        file.write(tone())
        assert file.chapters == [("Chapter", 0)]


@pytest.fixture
def without_ffmpeg(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)


def test_without_ffmpeg_a_book_is_refused_before_the_work(tmp_path, without_ffmpeg):
    with pytest.raises(AudioError, match=r"need ffmpeg.*brew install ffmpeg.*or write \.mp3"):
        check_output(tmp_path / "book.m4b")
    check_output(tmp_path / "book.mp3")


def test_the_command_line_refuses_before_it_loads_a_model(tmp_path, without_ffmpeg, capsys):
    from mlx_chatterbox.generate import main

    output = tmp_path / "book.m4b"
    assert main(["--text", "Hello.", "--model", "no such model", "--output", str(output)]) == 1
    assert "need ffmpeg" in capsys.readouterr().err


def test_an_ffmpeg_that_fails_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho first >&2\necho no such encoder >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(m4b, "find_ffmpeg", lambda: str(program))
    (tmp_path / "out").mkdir()
    with pytest.raises(AudioError, match="ffmpeg failed: no such encoder"):
        save_audio(tmp_path / "out" / "x.m4b", tone(20.0), RATE)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("ending", ["wav", "ogg", "m4b"])
def test_an_interrupted_file_never_appears(tmp_path, ending):
    (tmp_path / f"x.{ending}").write_bytes(b"old")
    with (
        contextlib.suppress(ZeroDivisionError),
        open_writer(tmp_path / f"x.{ending}", RATE) as file,
    ):
        file.write(tone())
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == [f"x.{ending}"]
    assert (tmp_path / f"x.{ending}").read_bytes() == b"old"


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("missing", [1, 1000])
def test_a_disk_that_is_full_at_the_very_end_is_noticed(tmp_path, ending, missing):
    """Encoders write their last bytes when they are closed, and do not report errors of that.
    A limit on the size of files simulates the full disk."""
    resource = pytest.importorskip("resource")
    path = tmp_path / f"a.{ending}"
    save_audio(path, tone(), RATE)
    small = path.stat().st_size - missing
    path.unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (small, before[1]))
    try:
        with pytest.raises(AudioError, match="cannot be written"):
            save_audio(path, tone(), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_work_are_passed_on(tmp_path):
    with pytest.raises(ValueError, match="of the work"), open_writer(tmp_path / "x.wav", RATE):
        raise ValueError("of the work")


def test_no_audio_no_file(tmp_path):
    with (
        pytest.raises(AudioError, match="there is no audio"),
        open_writer(tmp_path / "x.wav", RATE),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_file(tmp_path):
    minute = np.zeros(60 * RATE, np.float32)
    with open_writer(tmp_path / "x.flac", RATE) as file:
        file.write(minute)
        tracemalloc.start()
        for _ in range(20):
            file.write(minute)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3 * minute.nbytes
    assert soundfile.info(tmp_path / "x.flac").frames == 21 * len(minute)


def test_a_wav_file_that_would_overflow_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_WAV_BYTES", 2 * RATE)
    with pytest.raises(AudioError, match="a WAV file ends at 4 GB"):
        save_audio(tmp_path / "x.wav", tone(1.1), RATE)
    save_audio(tmp_path / "x.flac", tone(1.1), RATE)


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "wav"])
def test_title_and_author_where_the_format_has_a_place(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    in_pieces(path, tone(), title="Emma", author="Jane Austen")
    with soundfile.SoundFile(path) as file:
        assert file.title == "Emma"
        assert file.artist == "Jane Austen"


def test_channels_are_kept(tmp_path):
    both = np.stack([tone(), tone(hz=990)], axis=1)
    with open_writer(tmp_path / "x.wav", RATE, 2) as file:
        file.write(both[:1000])
        file.write(both[1000:])
        with pytest.raises(AudioError, match="shape"):
            file.write(tone())
    assert soundfile.info(tmp_path / "x.wav").channels == 2
