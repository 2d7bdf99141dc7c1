"""Checks clips, and reports those that cannot be trained on, with the reason.

A bad clip is no error: it is left out, and the others are trained on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import AudioError, DataError, TextError
from ...synthesis.tokens import TOKENS_PER_SECOND
from ...text.multilingual import SUPPORTED_LANGUAGES
from ...voices.voice import MIN_PEAK
from ..sections import DatasetSection
from .clip import Clip
from .data_report import Remark, Report
from .encoding import advice
from .item import Item, Recording
from .language_codes import known_language
from .listen import Facts, Listener, ahead, reader_threads
from .rates import misfits
from .sources import items_of
from .text import TextEncoder

Progress = Callable[[str, int, int], None]

# Reasons for which a clip is left out.
BAD_LINE = "unreadable line"
NO_TEXT = "no text"
EMPTY_TEXT = "empty text"
BAD_ENCODING = "text is not UTF-8"
UNSPEAKABLE = "text cannot be spoken"
TEXT_SHORT, TEXT_LONG = "text too short", "text too long"
NO_AUDIO = "no audio file"
BAD_AUDIO = "unusable audio"
SILENT = "silent"
SHORT, LONG = "audio too short", "audio too long"
DUPLICATE = "duplicate audio"
# Warnings: the clip is kept.
CLIPPED = "clipped"
NARROW = "sample rate under 16 kHz"
UNKNOWN_LETTERS = "letters unknown to the model"
# A warning; with `leave_out_misfits` the clip is left out.
MISFIT = "text does not fit the length"

# The networks' windows are longer than shorter clips, whatever the configuration allows.
LEAST_SECONDS = 0.2
_CLIPPED_SHARE = 1e-3


class _Rejected(Exception):
    """Carries a reason and a detail out of the checks."""


def read_clips(
    dataset,
    text_encoder: TextEncoder | None = None,
    *,
    max_text_tokens: int | None = None,
    max_speech_tokens: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> tuple[list[Clip], Report]:
    """Read a data set; returns the clips that can be trained on, and a report of all.

    Args:
        dataset: the `dataset` section of the configuration.
        text_encoder: None: texts are not checked against the model's vocabulary.
        max_text_tokens: limit with start and stop, where the model has them.
        max_speech_tokens: limit in tokens of 40 ms.
        cache_dir: where facts about recordings are kept; unchanged files are not read again.
        progress: callback("checking clips", done, total).

    Raises:
        DataError: the data set cannot be read at all, or nothing of it can be trained on.
    """
    items, notes = items_of(dataset)
    items = _in_known_languages(items, text_encoder, notes)
    listener = Listener(dataset, None if cache_dir is None else Path(cache_dir))
    report = Report(listed=len(items), notes=notes)
    limits = _Limits(dataset, text_encoder, max_text_tokens, max_speech_tokens)
    clips: list[Clip] = []
    first_of: dict[str, tuple[str, str]] = {}
    where: dict[str, str] = {}
    new: list[tuple[str, Facts]] = []
    workers = reader_threads(dataset.preprocessing_num_workers)
    with ThreadPoolExecutor(workers) as pool:
        # Texts are checked in this thread: some languages' front ends allow only one thread.
        texts = ((item, _text_or_rejection(item, limits)) for item in items)
        results = ahead(
            pool, lambda pair: _examine(pair[0], pair[1], limits, listener), texts, 4 * workers
        )
        for done, (item, result) in enumerate(zip(items, results, strict=True), start=1):
            if isinstance(result, _Rejected):
                report.left_out.append(Remark(item.id, item.where, *result.args))
            else:
                clip, facts, key, warnings = result
                where[clip.id] = item.where
                if key is not None:
                    new.append((key, facts))
                if clip.content in first_of:
                    first, text = first_of[clip.content]
                    other = "" if text == clip.text else f", whose text is another: {text[:40]!r}"
                    detail = f"the same as {first}{other}"
                    report.left_out.append(Remark(item.id, item.where, DUPLICATE, detail))
                else:
                    first_of[clip.content] = clip.id, clip.text
                    clips.append(clip)
                    report.warnings += [Remark(item.id, item.where, *w) for w in warnings]
            if len(new) >= 200 or done == len(items):
                listener.remember(new)
                new = []
            if progress is not None:
                progress("checking clips", done, len(items))
    if text_encoder is not None:
        report.notes += [f"texts: {note}" for note in text_encoder.notes()]
    clips = _without_misfits(clips, dataset, report, where)
    report.kept = len(clips)
    report.seconds = sum(clip.seconds for clip in clips)
    report.speakers = dict(sorted(Counter(clip.speaker for clip in clips).items()))
    if not clips:
        raise DataError(f"none of the {len(items)} clips can be trained on: {_why(report)}")
    return clips, report


def _in_known_languages(
    items: list[Item], text_encoder: TextEncoder | None, notes: list[str]
) -> list[Item]:
    """Replace languages by the model's codes; other names for these are added to `notes`."""
    known = SUPPORTED_LANGUAGES if text_encoder is None else text_encoder.languages
    languages = {item.language for item in items}
    codes = {language: known_language(language, known) for language in languages}
    changed = [
        f"{old} is read as {new}"
        for old, new in codes.items()
        if old and new and old.lower() != new.lower()
    ]
    if changed:
        notes.append(f"languages: {', '.join(sorted(changed)[:10])}")
    return [replace(item, language=codes[item.language]) for item in items]


def _without_misfits(
    clips: list[Clip], dataset, report: Report, where: dict[str, str]
) -> list[Clip]:
    """Report clips whose text does not fit their length; with `leave_out_misfits` remove them."""
    wrong = misfits(clips)
    remarks = report.left_out if dataset.leave_out_misfits else report.warnings
    remarks += [Remark(id, where[id], MISFIT, detail) for id, detail in wrong.items()]
    return [c for c in clips if c.id not in wrong] if dataset.leave_out_misfits else clips


def _why(report: Report) -> str:
    """List the reasons with their counts, and an example of each."""
    counts = report.counts()
    why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    first: dict[str, str] = {}
    for remark in report.left_out:
        if remark.detail:
            first.setdefault(remark.reason, f"{remark.where or remark.id}: {remark.detail}")
    examples = [first[reason] for reason in counts if reason in first][:3]
    shown = f" Examples: {'; '.join(examples)}." if examples else ""
    notes = f" How it was read: {'; '.join(report.notes)}." if report.notes else ""
    text = f"{why}.{shown}{notes}"
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class _Limits:
    dataset: DatasetSection
    text_encoder: TextEncoder | None
    max_text_tokens: int | None
    max_speech_tokens: int | None


def _text_or_rejection(item: Item, limits: _Limits):
    try:
        text, warnings = _checked_text(item, limits)
        return text, [*item.remarks, *warnings]
    except _Rejected as rejected:
        return rejected


def _examine(item: Item, text_result, limits: _Limits, listener: Listener):
    """Return (clip, facts, key to save the facts under, warnings), or the rejection."""
    if isinstance(text_result, _Rejected):
        return text_result
    text, warnings = text_result
    try:
        audio, facts, key = _checked_audio(item, limits, listener)
    except _Rejected as rejected:
        return rejected
    if facts.clipped > _CLIPPED_SHARE:
        warnings.append((CLIPPED, f"{facts.clipped:.1%} of the samples are at full scale"))
    if facts.rate < 16_000:
        warnings.append((NARROW, f"{facts.rate} Hz"))
    clip = Clip(
        id=item.id,
        audio=audio,
        text=text,
        speaker=item.speaker,
        language=item.language,
        content=facts.content,
        start=facts.start,
        end=facts.end,
        seconds=facts.seconds,
        part=item.part,
        lufs=facts.lufs,
    )
    return clip, facts, key, warnings


def _checked_text(item: Item, limits: _Limits) -> tuple[str, list[tuple[str, str]]]:
    if item.fault is not None:
        raise _Rejected(BAD_LINE, item.fault)
    if item.text is None:
        raise _Rejected(NO_TEXT, "")
    # Surrogates are bytes that were no UTF-8, U+FFFD is what other programs make of such bytes, and
    # zeros are those of UTF-16.
    if any("\ud800" <= c <= "\udfff" or c in "\ufffd\0" for c in item.text):
        raise _Rejected(BAD_ENCODING, advice(item.text))
    text = " ".join(item.text.split())
    if not text:
        raise _Rejected(EMPTY_TEXT, "")
    if not any(map(str.isalnum, text)):
        raise _Rejected(UNSPEAKABLE, f"{text[:40]!r}: there is no letter or digit in it")
    shortest, longest = limits.dataset.min_text_length, limits.dataset.max_text_length
    if shortest is not None and len(text) < shortest:
        raise _Rejected(TEXT_SHORT, f"{len(text)} characters; min_text_length is {shortest}")
    if longest is not None and len(text) > longest:
        raise _Rejected(TEXT_LONG, f"{len(text)} characters; max_text_length is {longest}")
    if limits.text_encoder is None:
        return text, []
    try:
        text = limits.text_encoder.written(text, item.language)
        n_tokens = len(limits.text_encoder(text, item.language))
        unknown = limits.text_encoder.unknown_letters(text, item.language)
    except TextError as error:
        raise _Rejected(UNSPEAKABLE, f"{text[:40]!r}: {error}") from None
    if limits.max_text_tokens is not None and n_tokens > limits.max_text_tokens:
        raise _Rejected(TEXT_LONG, f"{n_tokens} tokens; at most {limits.max_text_tokens} fit")
    return text, [(UNKNOWN_LETTERS, " ".join(unknown))] if unknown else []


def _checked_audio(
    item: Item, limits: _Limits, listener: Listener
) -> tuple[Path | Recording, Facts, str | None]:
    if item.audio is None or (isinstance(item.audio, Path) and not item.audio.is_file()):
        detail = item.missing or ("" if item.audio is None else f"there is no {item.audio}")
        raise _Rejected(NO_AUDIO, detail)
    longest = limits.dataset.max_audio_duration_s
    if (seconds := listener.too_long_to_read(item.audio)) is not None:
        raise _Rejected(LONG, f"{seconds:.2f} s; max_audio_duration_s is {longest}")
    try:
        facts, key = listener(item.audio)
    except AudioError as error:
        raise _Rejected(BAD_AUDIO, str(error)) from None
    except Exception as error:  # a data set's back end may raise anything
        raise _Rejected(BAD_AUDIO, f"{type(error).__name__}: {error}") from None
    if facts.peak < MIN_PEAK:
        raise _Rejected(SILENT, f"its loudest sample is {facts.peak:.1e} of full scale")
    shortest = max(limits.dataset.min_audio_duration_s, LEAST_SECONDS)
    if facts.seconds < shortest:
        raise _Rejected(SHORT, f"{facts.seconds:.2f} s; at least {shortest} s are needed")
    if facts.seconds > longest:
        raise _Rejected(LONG, f"{facts.seconds:.2f} s; max_audio_duration_s is {longest}")
    tokens = -(-facts.seconds * TOKENS_PER_SECOND // 1)
    if limits.max_speech_tokens is not None and tokens > limits.max_speech_tokens:
        most = limits.max_speech_tokens
        raise _Rejected(LONG, f"{tokens:.0f} speech tokens; at most {most} are trained on")
    return item.audio, facts, key
