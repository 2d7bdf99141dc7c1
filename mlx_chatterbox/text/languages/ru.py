"""Russian: stress marks (U+0301 after the vowel). Source: upstream `add_russian_stress`.

russian-text-stresser sets them where it is installed; it is not on the package index. The
better-kept silero-stress sets the same marks but runs on PyTorch, which this library does without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ...errors import TextError
from .notice import say_once


def add_stress(text: str) -> str:
    """Mark stressed vowels; without a library for it return the text unchanged, and warn once.

    Raises:
        TextError: the installed library failed.
    """
    if not text.strip():
        return text
    try:
        stresser = _stresser()
        if stresser is not None:
            return stresser(text)
    except Exception as error:  # whatever the library raises
        raise TextError(
            f"the installed library for Russian stress failed: {error}. Without it, Russian is "
            "read without marks."
        ) from error
    say_once(
        "ru",
        "stress",
        "Russian is read without stress marks. To add them: pip install "
        "git+https://github.com/Vuizur/add-stress-to-epub",
    )
    return text


@cache
def _stresser() -> Callable[[str], str] | None:
    try:
        from russian_text_stresser.text_stresser import RussianTextStresser
    except ImportError:
        return None
    return RussianTextStresser().stress_text
