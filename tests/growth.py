"""Growth of each text reader's time with the text: `python -m tests.growth [NAME ...]`.

A reader whose time is the square of the text's length is stopped by a long line. Each function of
`FUNCTIONS` gets each of `PATTERNS`, repeated to several lengths, in a process of its own that is
ended where it takes too long.
"""

from __future__ import annotations

import argparse
import gc
import math
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from mlx_chatterbox.errors import ChatterboxError

LENGTHS = (5_000, 20_000, 80_000)
# Limit of one call, in s. Linear time is a fraction of it; the square of 80,000 takes longer.
LIMIT = 10.0
# Times below are not compared: they depend on other things than the text.
LEAST = 0.3
# Four times the text in more than this times the time is more than linear.
GROWTH = 9.0

PATTERNS = (
    # Endless signs and spaces.
    " ", "\n", "\t", "\u00a0", "\r\n", ".", "?!", "…", "—", "-", "- ", "-\n", "\u200d",
    "\u0301", ",", ", ", ". ", ".\n", "'", "\"", "(", ")", "[", "]", "[a", "{", "<", ">", "*",
    "_", "`", "#", "\\", "\\N", "/", "//", "&", "&amp", "&amp;", "=", "|", "|a", "~", "$", "%",
    "@", ":", "!", "![",
    # Letters, words and numbers.
    "a", "A", "a ", "A. ", "ab", "I.", "I", "1", "1 ", "1.", "1,", "1:", "1-", "1/", "1e", "1_",
    "$1", "é", "e\u0301", "I said. ", "Mr. ", "z. B. ", "and ", "J. R. ", "U.S.", "www.",
    "http://", "a@", "a.b", "1st ", "IV ", "12:30 ", "3/4 ", "1,000,", "page 1\n", "Chapter 1\n",
    "\n\n1\n\n",
    # Other scripts.
    "中", "中文。", "「", "」", "、", "ก", "ไทย ", "한", "한국어 ", "ひ", "カ", "あ。", "ا",
    "العربية ", "א", "हि", "।", "\U0001f600", "\U0001f468\u200d",
    # Marks of Markdown, HTML, subtitles and YAML.
    "*a **a ", "**", "__", "_a", "*a*", "> ", "> a\n", "- a\n", "1. a\n", "    a\n", "[a](",
    "[a][", "![a](b", "<a", "<a>", "</a>", "<!--", "<![", "<?", "<!", "``", "~~~\n", "|a|b|\n",
    "[^a]", "[^a]:\n", "<b>a", "<div>", "<i>\n", "{\\an8}", "{a:", "<00:00:01.000>", "♪", "♪ a",
    "#a ", "JOHN: ", "(SIGHS) ", "00:00:01,000 --> 00:00:02,000\na\n\n", "00:00:01,000 --> ",
    "[pause", "[pause 1s]", "[laugh]", "[ a b ", "a: ", "a:\n", "- - ", "? ", "&a ", "*a\n", "!!",
    "---\n", "%YAML", '"\n', "a,b\n", ";;\n",
)  # fmt: skip

Function = Callable[[str], object]


def text_functions() -> dict[str, Function]:
    """Functions that process a text to be spoken."""
    from mlx_chatterbox.longform.split import document_of_text
    from mlx_chatterbox.synthesis.monitor import plausible
    from mlx_chatterbox.text import clauses, normalize, pauses, scripts, sentences, tags, unread
    from mlx_chatterbox.text.flash.cleaner import en_us_cleaner
    from mlx_chatterbox.text.languages import ko
    from mlx_chatterbox.text.respelling import Respelling
    from mlx_chatterbox.text.spoken import spoken_form

    respell = Respelling({"cat": "kat", "New York": "noo york", "=US": "you ess", "中文": "x"})
    functions: dict[str, Function] = {
        "guards": lambda text: plausible(text, 0.075),
        "flowed": scripts.flowed,
        "spoken_length": scripts.spoken_length,
        "punc_norm": normalize.punc_norm,
        "flash-cleaner": en_us_cleaner,
        "respelling": respell,
        "pauses": lambda text: pauses.at_pauses(text),
        "tags": lambda text: tags.without(text, tags.find_tags(text)),
        "brackets": lambda text: tags.without_brackets(text, lambda tag: False),
        "unread": lambda text: unread.unread_runs(text, str.isascii),
        "jamo": ko.syllables_to_jamo,
    }
    for language in ("en", "de", "fr", "zh", "el", "th"):
        functions[f"sentences-{language}"] = lambda text, code=language: sentences.sentences(
            text, code
        )
    for language in ("en", "ja", "fr"):
        functions[f"pieces-{language}"] = lambda text, code=language: clauses.pieces(
            text, 200, code
        )
    functions["document"] = lambda text: document_of_text(text, "en", 200)
    for language in ("en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja"):
        functions[f"spoken-{language}"] = lambda text, code=language: spoken_form(text, code)
    return functions


def tokenizer_functions() -> dict[str, Function]:
    """Functions of the pocket model's tokenizer."""
    return {
        "phones": lambda text: pocket_tokenizer().phones(text),
        "encode": lambda text: pocket_tokenizer().encode(text),
        "unread-pocket": lambda text: pocket_tokenizer().unread(text),
    }


@cache
def pocket_tokenizer():
    """The tokenizer of the model in the package."""
    import mlx_chatterbox
    from mlx_chatterbox.text.lexicon import LexiconTokenizer

    folder = Path(mlx_chatterbox.__file__).parent / "pocket"
    return LexiconTokenizer(folder / "tokenizer.json", folder / "lexicon.txt.gz")


def reader_functions() -> dict[str, Function]:
    """Functions that read texts from files."""
    from mlx_chatterbox.longform.readers import read_document
    from mlx_chatterbox.longform.readers.encodings import guess
    from mlx_chatterbox.longform.readers.sdh import without_sdh
    from mlx_chatterbox.longform.readers.xhtml import xhtml_blocks
    from mlx_chatterbox.longform.rows import read_rows
    from mlx_chatterbox.text.respelling import Respelling
    from mlx_chatterbox.train.yaml_lines import parse

    def of_file(ending: str, before: str = "", behind: str = "", **options) -> Function:
        def read(text: str) -> None:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"a.{ending}"
                path.write_text(before + text + behind, encoding="utf-8")
                read_document(path, **options)

        return read

    def rows(text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.csv"
            path.write_text("text,output\n" + text, encoding="utf-8")
            read_rows(path, Path(folder) / "out", None, "en", "wav")

    def lexicon(text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.tsv"
            path.write_text("a\tb\n" + text, encoding="utf-8")
            Respelling.read(path)

    cue = "1\n00:00:01,000 --> 00:00:02,000\n"
    return {
        "plain": of_file("txt"),
        "markdown": of_file("md"),
        "markdown-front": of_file("md", "---\ntitle: a\n"),
        "srt": of_file("srt"),
        "srt-cue": of_file("srt", cue),
        "srt-cue-no-sdh": of_file("srt", cue + "a ", sdh=False),
        "vtt": of_file("vtt", "WEBVTT\n\n"),
        "sdh": without_sdh,
        "xhtml": xhtml_blocks,
        "xhtml-open": lambda text: xhtml_blocks("<html><body><p>" + text),
        "xhtml-attribute": lambda text: xhtml_blocks("<p class='" + text + "'>a</p>"),
        "xhtml-style": lambda text: xhtml_blocks("<style>" + text + "</style><p>a</p>"),
        "xhtml-style-attribute": lambda text: xhtml_blocks('<p style="' + text + '">a</p>'),
        "guess": lambda text: guess(text.encode("cp1252", "replace"), "en"),
        "rows": rows,
        "lexicon": lexicon,
        "yaml": lambda text: parse(text, "a"),
        "yaml-value": lambda text: parse("a: " + text, "a"),
        "yaml-number": lambda text: [n.plain() for n in [parse("a: 1" + text + "x", "a")] if n],
    }


@cache
def functions() -> dict[str, Function]:
    """All functions, by name."""
    return {**text_functions(), **tokenizer_functions(), **reader_functions()}


def seconds(name: str, text: str) -> float:
    """Processor time in seconds of a function for a text, which it may refuse."""
    function = functions()[name]
    started = time.process_time()
    try:
        function(text)
    except ChatterboxError as error:
        if len(str(error)) > 1000:
            raise ValueError(f"an error of {len(str(error))} characters") from None
    return time.process_time() - started


def _serve(connection) -> None:
    warnings.simplefilter("ignore")
    # Objects of the process that forked this one (PyTorch's, say) must not be searched for garbage
    # within a call: that takes longer than the call.
    gc.freeze()
    while True:
        name, text = connection.recv()
        try:
            connection.send(seconds(name, text))
        except BaseException as error:
            connection.send(f"{type(error).__name__}: {error}"[:300])


class Clock:
    """Measures in a process of its own, which is ended where a call takes too long."""

    def __init__(self, limit: float = LIMIT):
        self._limit, self._process = limit, None

    def __enter__(self) -> Clock:
        return self

    def __exit__(self, *exception) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def seconds(self, name: str, text: str) -> float | str:
        """Seconds, or an error message."""
        if self._process is None:
            self._connection, other = multiprocessing.Pipe()
            context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            self._connection.send((name, ""))
            self._connection.recv()
        self._connection.send((name, text))
        if self._connection.poll(self._limit):
            return self._connection.recv()
        self._end()
        return f"no end within {self._limit:g} s"

    def least(self, name: str, text: str, times: int = 3) -> float:
        """The shortest of several calls; one that does not end is infinite."""
        taken = [self.seconds(name, text) for _ in range(times)]
        return min(second if isinstance(second, float) else math.inf for second in taken)


def too_slow(
    names: Iterable[str], patterns: Iterable[str] = PATTERNS, lengths: Iterable[int] = LENGTHS
) -> list[str]:
    """Lines that name the functions and patterns that take more than linear time."""
    found = []
    lengths = tuple(lengths)
    with Clock() as clock:
        for name in names:
            for pattern in patterns:
                last, before = None, ""
                for length in lengths:
                    text = pattern * (length // len(pattern))
                    taken = clock.seconds(name, text)
                    where = f"{name}: {pattern!r} x {length // len(pattern)}"
                    if isinstance(taken, str):
                        found.append(f"{where}: {taken}")
                        break
                    if last is not None and taken > LEAST and taken > GROWTH * max(last, 0.01):
                        last, taken = clock.least(name, before), clock.least(name, text)
                        if math.isinf(taken) or taken > GROWTH * max(last, 0.01):
                            found.append(f"{where}: {last:.2f} s, then {taken:.2f} s")
                    last, before = taken, text
    return found


def main() -> int:
    """Measure the functions; exit code 1 if one takes more than linear time."""
    parser = argparse.ArgumentParser(prog="python -m tests.growth", description=__doc__)
    parser.add_argument("name", nargs="*", help="of functions; none: all of them")
    failed = False
    for name in parser.parse_args().name or functions():
        for line in too_slow([name]):
            print(line, flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
