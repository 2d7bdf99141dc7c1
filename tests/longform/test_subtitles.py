"""Subtitles: times, readable lines, and characters that the formats reserve."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from mlx_chatterbox.longform.subtitles import LINE, Cue, cues, render

LONG = (
    "It was a closed and wooden shirt that somebody had left behind, and nobody in the whole town "
    "knew whose it was, because the letters were late and the river was rough."
)


def test_srt():
    text = render([Cue("Hello.", 0.0, 1.5), Cue("Bye.", 3723.0015, 3724.9996)], "srt")
    assert text == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n2\n01:02:03,002 --> 01:02:05,000\nBye.\n"
    )


def test_vtt():
    text = render([Cue("Tom & <i> --> Jerry", 0.25, 1.0)], "vtt")
    assert text == (
        "WEBVTT\n\n1\n00:00:00.250 --> 00:00:01.000\nTom &amp; &lt;i&gt; --&gt; Jerry\n"
    )


def test_the_arrow_of_srt_is_replaced_in_texts():
    assert render([Cue("a --> b", 0, 1)], "srt").count("-->") == 1


def test_long_pieces_are_shown_in_several_cues_one_after_the_other():
    shown = list(cues([Cue(LONG, 2.0, 12.0)]))
    assert len(shown) > 1
    assert " ".join(cue.text for cue in shown) == LONG
    assert (shown[0].start, shown[-1].end) == (2.0, 12.0)
    assert all(a.end == b.start for a, b in pairwise(shown))
    letters = [len(cue.text) for cue in shown]
    for cue, count in zip(shown, letters, strict=True):
        assert cue.end - cue.start == pytest.approx(10 * count / sum(letters))


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_two_lines_at_most(form):
    text = render([Cue(LONG, 0.0, 10.0)], form)
    for block in re.split(r"\n\n", text.strip()):
        lines = block.splitlines()
        if "-->" in block:
            assert len(lines) <= 4
            assert all(len(line) <= LINE for line in lines[2:])
