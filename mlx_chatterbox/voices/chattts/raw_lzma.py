"""LZMA without a container, as ChatTTS's strings have it: one LZMA2 filter, no checksum."""

from __future__ import annotations

from ...errors import SettingError


def compress(data: bytes) -> bytes:
    """Compress. The bytes may differ by the library's version; what they decode to does not."""
    lzma = _library()
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(lzma))


def decompress(data: bytes, most: int, name: str) -> bytes:
    """Decompress.

    Args:
        most: number of bytes that may come of it. A small string can hold gigabytes.
        name: of the data, for errors.

    Raises:
        SettingError: it is damaged, goes on after its end, or holds more.
    """
    lzma = _library()
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(lzma))
    try:
        content = decompressor.decompress(data, most + 1)
    except lzma.LZMAError:
        raise SettingError(f"{name} is damaged. Copy it again, whole.") from None
    if len(content) > most:
        raise SettingError(f"{name} holds more than it should: another model's?")
    if not decompressor.eof or decompressor.unused_data:
        raise SettingError(f"{name} is damaged: it does not end where it should.")
    return content


def _filters(lzma) -> list[dict]:
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def _library():
    try:
        import lzma
    except ImportError:  # Python was built without it
        raise SettingError(
            "this Python has no lzma module, which speaker strings need: it was built without "
            "liblzma. Install that (xz) and build Python again, or use another Python."
        ) from None
    return lzma
