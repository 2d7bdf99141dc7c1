"""Tags: sounds and moods in brackets, such as `[laugh]`, which some models make and others do not.

Turbo and Nano know 19 of them (`TAGS`), each a token of its own. For a model that has no such token
a tag cannot be read: it is left out, with a warning. Any other text in brackets is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Those of the published Turbo and Nano.
TAGS = (
    *("[angry]", "[fear]", "[surprised]", "[whispering]", "[advertisement]", "[dramatic]"),
    *("[narration]", "[crying]", "[happy]", "[sarcastic]", "[clear throat]", "[sigh]", "[shush]"),
    *("[cough]", "[groan]", "[sniff]", "[gasp]", "[chuckle]", "[laugh]"),
)
# Other spellings that people use: "[laughs]", "[sighing]".
_STEMS = ("laugh", "sigh", "cough", "groan", "sniff", "gasp", "whisper")
_OTHER_FORMS = (
    *("laughter", "chuckles", "chuckling", "chuckled", "shushes", "shushing", "cry", "cries"),
    *("cried", "clears throat", "clearing throat", "clears her throat", "clears his throat"),
)
NAMES = frozenset(
    [tag[1:-1] for tag in TAGS]
    + [stem + ending for stem in _STEMS for ending in ("", "s", "ing", "ed")]
    + list(_OTHER_FORMS)
)
_CANDIDATE = re.compile(r"\[[^\[\]<>\n]{1,40}\]|<[^\[\]<>\n]{1,40}>")
_TAG = re.compile(r"\[[^\[\]<>]*\]|<[^\[\]<>\n]{1,40}>")
# A text in brackets, which may be a token of the vocabulary.
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")


def is_tag(bracketed: str) -> bool:
    """Return True for a tag of some model: "[laugh]", "[ Laughs ]" or "<laugh>"."""
    return " ".join(re.split(r"[\s_-]+", bracketed[1:-1].strip().lower())) in NAMES


def find_tags(text: str, knows: Callable[[str], bool] = lambda tag: False) -> list[str]:
    """Tags of a text, each once, in order, but for those that the model knows."""
    candidates = dict.fromkeys(_CANDIDATE.findall(text))
    return [tag for tag in candidates if is_tag(tag) and not knows(tag)]


def without(text: str, tags: list[str]) -> str:
    """Remove some tags and the space around them from a text.

    Call it before `punc_norm`, so that the sentence that remains is made whole.
    """
    if not tags:
        return text
    wanted = frozenset(tags)
    # All at once: a character that the text does not contain takes the place of each.
    mark = next(one for one in map(chr, range(0xE100, 0xF900)) if one not in text)
    marked = _TAG.sub(lambda m: mark if m.group() in wanted else m.group(), text)
    return re.sub(rf"(?<![ \t])[ \t]*{mark}(?:[ \t]*{mark})*[ \t]*", _gap, marked)


def without_brackets(text: str, knows: Callable[[str], bool]) -> str:
    """Write "[this]" as "this", where the model has no token for the whole."""
    return _BRACKETED.sub(lambda m: m.group() if knows(m.group()) else m.group(1), text)


def _gap(match: re.Match) -> str:
    """The text in place of tags: a space between words, nothing at an end or before a stop."""
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    if not before or not after or after in ".,!?;:\u2026)]}\n":
        return ""
    spaced = match.group()[0] in " \t" or match.group()[-1] in " \t"
    return " " if spaced or (before.isalnum() and after.isalnum()) else ""
