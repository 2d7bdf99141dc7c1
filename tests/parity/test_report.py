"""The report: one self-contained page, and the same for machines."""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.dumps import write_dump
from mlx_chatterbox.parity.report import plots, png, provenance, tables
from mlx_chatterbox.parity.report.page import as_html
from mlx_chatterbox.parity.report.pictures import layers_picture, pictures_of
from mlx_chatterbox.parity.report.report import ParityReport, of_folder
from mlx_chatterbox.parity.report.writing import write_all
from mlx_chatterbox.runtime import device
from tests.convert.json_schema import check

VOID = {"meta", "img"}
ABOUT = {
    "variant": "english",
    "weights": "somebody/<model>",
    "precisions": ["float32"],
    "versions": {"mlx": "0.1", "reference": {"torch": "2.0"}},
    "machine": {"device": "gpu", "float32 products": "relative error 2e-07", "TF32": "no"},
    "sha256": {"weights": {"ve.safetensors": "ab12"}},
}


@pytest.fixture
def outputs(rng):
    normal = rng.standard_normal
    return {
        "s3_tokenizer/tokens": rng.integers(0, 6561, 25).astype(np.int32),
        "t3/logits": normal((2, 9, 50)).astype(np.float32),
        "flow/mel": normal((40, 80)).astype(np.float32),
        "estimator/out": normal((2, 80, 30)).astype(np.float32),
        "vocoder/waveform": normal(4800).astype(np.float32),
        "watermark/answer": normal(1).astype(np.float32),
    }


@pytest.fixture
def folder(tmp_path, outputs):
    """Files of a run: ours a rounding away, one output broken, and one of another shape."""
    ours = {name: value * np.float32(1 + 1e-6) for name, value in outputs.items()}
    ours["s3_tokenizer/tokens"] = outputs["s3_tokenizer/tokens"]
    ours["flow/mel"] = outputs["flow/mel"] + np.float32(0.1)
    ours["vocoder/waveform"] = outputs["vocoder/waveform"][:-1]
    work = tmp_path / "english"
    work.mkdir()
    write_dump(work / "torch.safetensors", outputs)
    write_dump(work / "mlx.safetensors", ours)
    (work / "about.json").write_text(json.dumps(ABOUT))
    return work


class Page(HTMLParser):
    """Fails unless every element is closed; gathers tags, attributes and words."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def test_the_page_needs_nothing_else_and_is_readable_everywhere(folder):
    text = as_html(of_folder(folder))
    page = Page(text)
    assert "//" not in re.sub(r"base64,[\w+/=]*", "", text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]
    assert all(a["src"].startswith("data:image/png") for tag, a in page.tags if tag == "img")
    assert "prefers-color-scheme: dark" in text
    assert ("meta", "width=device-width, initial-scale=1") in [
        (tag, a.get("content")) for tag, a in page.tags
    ]
    # Pictures have descriptions for readers who cannot see them.
    assert all(a.get("alt") or a.get("aria-label") for t, a in page.tags if t in ("img", "svg"))


def test_the_page_shows_verdicts_errors_and_what_was_compared(folder):
    page = Page(as_html(of_folder(folder)))
    assert "PARITY FAILS: 2 of 6" in page.words
    assert "shape (4799,) instead of (4800,)" in page.words
    assert "somebody/<model>" in page.words
    for name, value in (("versions reference torch", "2.0"), ("sha256 weights", "ab12")):
        assert name in page.words
        assert value in page.words
    identifiers = {a["id"] for _, a in page.tags if "id" in a}
    links = {a["href"].removeprefix("#") for tag, a in page.tags if tag == "a"}
    assert links == {"s3_tokenizer", "t3", "flow", "estimator", "vocoder", "watermark"}
    assert links <= identifiers


def test_every_kind_of_output_has_the_pictures_that_explain_it(outputs, rng):
    def captions(name):
        noise = 1e-6 * rng.standard_normal(outputs[name].shape)
        found = (outputs[name] + noise).astype(np.float32)
        return [picture.caption for picture in pictures_of(name, outputs[name], found, 1e-4)]

    for name in ("flow/mel", "estimator/out", "vocoder/waveform"):
        assert captions(name)[:2] == [f"{name}, the reference", f"{name}, ours"]
        assert captions(name)[2].startswith("their difference")
        assert "over time" in captions(name)[3]
        assert "how far each value is off" in captions(name)[4]
    assert ["over time" in one for one in captions("t3/logits")] == [True, False]
    assert captions("watermark/answer") == []  # a single number needs no picture
    tokens = outputs["s3_tokenizer/tokens"]
    (picture,) = pictures_of("s3_tokenizer/tokens", tokens, tokens + 1, 0.0)
    assert "share of tokens" in picture.caption


def test_what_cannot_be_drawn_is_left_out(outputs):
    mel = outputs["flow/mel"]
    assert pictures_of("flow/mel", mel, mel[:-1], 1e-4) == []
    assert len(pictures_of("flow/mel", mel, mel, 1e-4)) == 3  # no error: no pictures of it
    broken = mel.copy()
    broken[3, 4] = np.nan
    for picture in pictures_of("flow/mel", mel, broken, 1e-4):
        assert "nan" not in picture.content


def test_layers_are_drawn_with_the_first_that_differs():
    layers = [
        {"name": f"layer{i}", "call": 1, "order": i, "input_error": 0.0, "output_error": error}
        for i, error in enumerate((0.0, 1e-7, None))
    ]
    stage = {"stage": "flow", "differs_first": "layer2#1", "inside": None, "layers": layers}
    picture = layers_picture(stage)
    assert "first that differs: layer2#1" in picture.caption
    assert picture.content.count("<circle") == 1
    assert layers_picture({**stage, "layers": layers[:1]}) is None


def test_png_files_follow_the_format():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    data = png.encode(pixels)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + content)
        chunks[kind] = content
        place += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (3, 2, 8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(2, 10)
    assert not rows[:, 0].any()
    np.testing.assert_array_equal(rows[:, 1:].reshape(2, 3, 3), pixels)


def test_colours_run_from_the_first_to_the_last():
    values = np.array([[0.0, 1.0, np.nan, 7.0]])
    pixels = png.coloured(values, 0.0, 1.0, ("#000000", "#ffffff"))
    assert pixels[0, :, 0].tolist() == [0, 255, 128, 255]
    assert png.narrowed(np.arange(6.0).reshape(1, 6), 3).tolist() == [[0.5, 2.5, 4.5]]


def test_a_line_stays_in_its_plot_whatever_the_values():
    drawing = plots.logarithmic([0, 1, 2, 3], [0.0, 1e-30, float("inf"), 1e-3], "x", bound=1e-4)
    points = ElementTree.fromstring(drawing).find("polyline").attrib["points"]
    for point in points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= plots.WIDTH
        assert 0 <= y <= plots.HEIGHT


def test_junit_has_a_case_for_every_row(folder, tmp_path):
    write_all(of_folder(folder), tmp_path / "report")
    root = ElementTree.parse(tmp_path / "report" / "junit.xml").getroot()
    assert (root.attrib["tests"], root.attrib["failures"]) == ("6", "2")
    failed = {c.attrib["name"] for c in root.iter("testcase") if c.find("failure") is not None}
    assert failed == {"flow/mel", "vocoder/waveform"}


# --- JSON ----------------------------------------------------------------------------------------


def test_json_follows_its_schema(folder, tmp_path):
    import parity

    schema = json.loads((Path(parity.__file__).parent / "report/schema.json").read_text())
    write_all(of_folder(folder), tmp_path / "report")
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    check(document, schema)
    rows = {row["output"]: row for row in document["rows"]}
    assert rows["t3/logits"]["margin"] == pytest.approx(100, rel=0.1)
    assert rows["vocoder/waveform"]["error"] is rows["vocoder/waveform"]["margin"] is None
    for row in document["rows"]:
        row["error"] = "none"
    with pytest.raises(AssertionError):
        check(document, schema)


def test_what_is_shared_is_small_and_has_no_paths(folder, tmp_path):
    write_all(of_folder(folder), tmp_path / "report")
    text = (tmp_path / "report" / "share.json").read_text()
    document = json.loads(text)
    assert str(tmp_path) not in text
    assert len(text) < 10_000
    assert document["holds"] is False
    assert document["sha256"] == ABOUT["sha256"]
    errors = document["errors"]["mlx against torch"]
    assert errors["vocoder/waveform"] == "shape (4799,) instead of (4800,)"


# --- The command ---------------------------------------------------------------------------------


def test_the_command_writes_every_format(folder, tmp_path, capsys):
    layers = [{"stage": "flow", "differs_first": None, "inside": None, "layers": []}]
    (tmp_path / "layers.json").write_text(json.dumps(layers))
    output = tmp_path / "made"
    arguments = ["--output", str(output), "--layers", str(tmp_path / "layers.json")]
    assert main(["report", str(folder), *arguments]) == 1
    names = {"report.html", "report.md", "report.json", "junit.xml", "share.json"}
    assert {path.name for path in output.iterdir()} == names
    assert "PARITY FAILS" in capsys.readouterr().out
    assert "**PARITY FAILS" in (output / "report.md").read_text().splitlines()[0]


def test_a_folder_without_a_run_is_one_clear_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "has no dumps of a run" in capsys.readouterr().err


def test_invalid_layers_are_one_clear_line(folder, tmp_path, capsys):
    (tmp_path / "l.json").write_text('{"a": 1}')
    assert main(["report", str(folder), "--layers", str(tmp_path / "l.json")]) == 1
    assert "bisect --json" in capsys.readouterr().err


def test_a_report_of_two_dumps_needs_nothing_else(outputs):
    page = Page(as_html(ParityReport([compare(outputs, outputs)])))
    assert "Parity holds: all 6" in page.words


def test_it_names_the_device_and_the_precision_of_products():
    said = tables.computed_on(ABOUT)
    assert said == (
        "Computed on a gpu in float32; float32 products: relative error 2e-07, as measured: "
        "no TF32."
    )
    with_tf32 = {**ABOUT, "machine": {**ABOUT["machine"], "TF32": "yes"}}
    assert "MLX_ENABLE_TF32=0" in tables.computed_on(with_tf32)
    assert tables.computed_on({}) == ""
    assert said in tables.as_markdown([], ABOUT)


def test_tf32_is_off_and_measured():
    """The variable, and a measured product: rounding of factors to ten bits would show."""
    assert os.environ["MLX_ENABLE_TF32"] == "0"
    assert provenance.machine()["TF32"] == "no"
    draw = np.random.default_rng(0)
    matrix = draw.standard_normal((256, 256), dtype=np.float32)
    rounded = (matrix.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    exact = matrix.astype(np.float64)
    error = rounded.astype(np.float64) @ rounded.astype(np.float64) - exact @ exact
    relative = np.sqrt((error**2).mean() / ((exact @ exact) ** 2).mean())
    assert device.is_tf32(relative)
    assert not device.is_tf32(device.product_error())


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[1]", b'"x"', b"[" * 100_000, b"\xff", b'{"precisions": "float32"}',
        b'{"precisions": ["float64"]}', b'{"machine": {"TF32": "no"}}', b'{"versions": []}',
        b'{"variant": NaN}', b'{"weights": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_damaged_record_of_a_run_is_reported(folder, content, capsys):
    """Such a record was once read as an empty one."""
    (folder / "about.json").write_bytes(content)
    assert main(["report", str(folder), "--output", str(folder / "out")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "about.json" in err
    assert "bug" not in err


@pytest.mark.parametrize("content", [b"{}", b"[{}]", b'[{"layers": []}]', b"[1]", b"[[1, 2]]"])
def test_invalid_errors_by_layer_are_reported(folder, content, capsys):
    (folder / "layers.json").write_bytes(content)
    assert main(["report", str(folder), "--output", str(folder / "out")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "layers.json" in err
    assert "bug" not in err
