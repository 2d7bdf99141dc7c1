"""Recognition of files by their contents, since names are unreliable.

Only the first bytes are read, and for MPEG-4 the table of tracks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

LOOKED_AT = 1 << 16
# The most that is read of a table of tracks; that of a ten-hour book has 5 MB.
_MOST_TABLE = 1 << 24
# Tags before the sound, and boxes of MPEG-4 before the table of tracks.
_MOST_TAGS, _MOST_BOXES = 100, 10_000


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: for messages, with its article: "an MPEG-4 audio file (AAC)".
        demuxer: ffmpeg's name of the format; "" for files that are not recordings.
        is_foreign: libsndfile cannot read it, and must not try: it takes some for MP3.
    """

    name: str
    demuxer: str = ""
    is_foreign: bool = False


# By the first bytes. Formats that libsndfile reads, at least with the usual codecs:
_USUAL = (
    (b"fLaC", Kind("a FLAC file", "flac")),
    (b"OggS", Kind("an Ogg file", "ogg")),
    (b"caff", Kind("a Core Audio file", "caf")),
    (b".snd", Kind("an AU file", "au")),
    (b"riff\x2e\x91\xcf\x11", Kind("a Wave64 file", "w64")),
)
_FOREIGN = (
    (b"0&\xb2u\x8ef\xcf\x11", Kind("a Windows Media file", "asf", True)),
    (b"FLV\x01", Kind("a Flash video", "flv", True)),
    (b"\x00\x00\x01\xba", Kind("an MPEG video", "mpeg", True)),
    (b"#!AMR", Kind("an AMR file", "amr", True)),
    (b"wvpk", Kind("a WavPack file", "wv", True)),
    (b"MAC ", Kind("a Monkey's Audio file", "ape", True)),
    (b"TTA1", Kind("a True Audio file", "tta", True)),
    (b"MPCK", Kind("a Musepack file", "mpc8", True)),
    (b"MP+", Kind("a Musepack file", "mpc", True)),
    (b".RMF", Kind("a RealMedia file", "rm", True)),
    (b"DSD ", Kind("a DSD file", "dsf", True)),
    (b"\x0b\x77", Kind("an AC-3 (Dolby Digital) file", "ac3", True)),
    (b"\x7f\xfe\x80\x01", Kind("a DTS file", "dts", True)),
)
_NO_RECORDING = (
    (b"%PDF", Kind("a PDF document")),
    (b"PK\x03\x04", Kind("a ZIP archive")),
    (b"\x1f\x8b", Kind("an archive (gzip)")),
    (b"7z\xbc\xaf", Kind("an archive (7z)")),
    (b"Rar!", Kind("an archive (RAR)")),
    (b"\x89PNG", Kind("a picture (PNG)")),
    (b"\xff\xd8\xff", Kind("a picture (JPEG)")),
    (b"GIF8", Kind("a picture (GIF)")),
    (b"MThd", Kind("a MIDI file: notes")),
    (b"#EXTM3U", Kind("a playlist")),
    (b"[playlist]", Kind("a playlist")),
    (b"version https://git-lfs", Kind("a pointer of Git LFS, whose file was not fetched")),
)
_PAGES = (b"<!doctype html", b"<html")

# Codecs within MPEG-4 and QuickTime, and within Matroska and WebM.
_MP4_CODECS = (
    (b"mp4a", "AAC"),
    (b"alac", "Apple Lossless"),
    (b"Opus", "Opus"),
    (b"fLaC", "FLAC"),
    (b"ac-3", "AC-3"),
    (b"ec-3", "E-AC-3"),
    (b"samr", "AMR"),
    (b"sawb", "AMR"),
)
_MATROSKA_CODECS = (
    (b"A_OPUS", "Opus"),
    (b"A_VORBIS", "Vorbis"),
    (b"A_AAC", "AAC"),
    (b"A_FLAC", "FLAC"),
    (b"A_MPEG/L3", "MP3"),
    (b"A_AC3", "AC-3"),
)
_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def kind_of_content(file: BinaryIO) -> Kind | None:
    """Recognise an open file by its beginning; None if it is unknown.

    The file's position does not change.
    """
    place = file.tell()
    try:
        file.seek(_after_tags(file))
        start = file.tell()
        head = file.read(LOOKED_AT)
        return _by_signature(head) or _container(file, start, head) or _frames(head) or _text(head)
    finally:
        file.seek(place)


def _after_tags(file: BinaryIO) -> int:
    """The byte where the sound begins: after ID3 tags, which can precede any format."""
    at = 0
    for _ in range(_MOST_TAGS):
        file.seek(at)
        head = file.read(10)
        if len(head) < 10 or head[:3] != b"ID3":
            return at
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if head[5] & 0x10 else 0)
    return at


def _by_signature(head: bytes) -> Kind | None:
    for signature, kind in (*_USUAL, *_FOREIGN, *_NO_RECORDING):
        if head.startswith(signature):
            return kind
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:14].lower().startswith(_PAGES):
        return Kind("a web page (HTML)")
    return None


def _container(file: BinaryIO, start: int, head: bytes) -> Kind | None:
    kinds = {b"WAVE": ("a WAV file", "wav"), b"AVI ": ("an AVI video", "avi")}
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] in kinds:
        name, demuxer = kinds[head[8:12]]
        return Kind(name, demuxer, demuxer == "avi")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind("a picture (WebP)")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Kind("an AIFF file", "aiff")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        name = "a WebM file" if b"webm" in head[:64] else "a Matroska file"
        return Kind(name + _codec(head, _MATROSKA_CODECS), "matroska", True)
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
            return Kind("a picture (HEIF)")
        return Kind(_mpeg4(file, start, head), "mov", True)
    if head[4:8] in _QUICKTIME:
        return Kind("a QuickTime file" + _codec(_tracks(file, start), _MP4_CODECS), "mov", True)
    # A packet begins with G, and one packet has 188 bytes (192 on Blu-ray).
    if len(head) > 400 and any(
        head[at] == head[at + size] == head[at + 2 * size] == 0x47
        for at, size in ((0, 188), (4, 192))
    ):
        return Kind("an MPEG transport stream", "mpegts", True)
    return None


def _mpeg4(file: BinaryIO, start: int, head: bytes) -> str:
    tracks, brand = _tracks(file, start), head[8:12]
    if brand == b"qt  ":
        name = "a QuickTime file"
    elif b"vide" in tracks and brand not in (b"M4A ", b"M4B "):
        name = "an MPEG-4 video"
    elif brand.startswith(b"3g"):
        name = "a 3GPP file"
    else:
        name = "an MPEG-4 audio file"
    return name + _codec(tracks, _MP4_CODECS)


def _tracks(file: BinaryIO, start: int) -> bytes:
    """The box `moov` of an MPEG-4 file, wherever it stands; b"" if there is none."""
    at = start
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return b""
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if head[4:8] == b"moov":
            return file.read(min(size or _MOST_TABLE, _MOST_TABLE))
        if size < 8:
            return b""  # to the end of the file, or nonsense
        at += size
        if at >= 1 << 63:
            return b""
    return b""


def _codec(content: bytes, codecs) -> str:
    return next((f" ({name})" for mark, name in codecs if mark in content), "")


def _frames(head: bytes) -> Kind | None:
    """Recognise formats without a header, by their frames: MP3 and AAC."""
    if len(head) < 8 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        following = head[size : size + 2]
        if size > 7 and (len(following) < 2 or following == head[:2]):
            return Kind("an AAC stream (ADTS)", "aac", True)
        return None
    return Kind("an MP3 file", "mp3") if head[1] & 0x06 else None


def _text(head: bytes) -> Kind | None:
    try:
        text = head[: LOOKED_AT - 4].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return None
        text = head[: error.start].decode("utf-8")
    is_text = text.strip() and all(one.isprintable() or one in "\r\n\t\ufeff" for one in text[:500])
    return Kind("a text file") if is_text else None
