"""`[pause 0.8s]` anywhere in a text: silence of that length; the rest is unchanged."""

import numpy as np
import pytest
import soundfile

from mlx_chatterbox.api.tts import ChatterboxTTS
from mlx_chatterbox.errors import TextError
from mlx_chatterbox.generate import main
from mlx_chatterbox.runtime.seeds import piece_seeds
from mlx_chatterbox.text.pauses import Segment, at_pauses, segments

SETTINGS = {"n_cfm_timesteps": 1, "max_new_tokens": 12, "guard": False, "watermark": False}


@pytest.fixture(scope="module")
def tts(small_checkpoint, recording):
    tts = ChatterboxTTS.from_local(small_checkpoint)
    tts.prepare_conditionals(recording)
    return tts


def test_a_text_is_cut_where_it_pauses():
    assert at_pauses("One. [pause 0.8s] Two.[PAUSE]") == [("One. ", 0.8), (" Two.", 0.5), ("", 0.0)]
    assert at_pauses("[laugh] One.") == [("[laugh] One.", 0.0)]
    with pytest.raises(TextError, match="not a pause"):
        at_pauses("One [pause soon] two")
    with pytest.raises(TextError, match="over"):
        at_pauses("One [pause 61s] two")


def test_segments_have_their_silence_before_and_after():
    assert segments("One.", 0, "en") == [Segment("One.")]
    found = segments("[pause 1s] One. [pause 250ms] [pause 250 ms] Two. [pause 2]", 0, "en")
    assert found == [
        Segment("One.", pause_before=1.0, pause_after=0.5),
        Segment("Two.", pause_after=2.0),
    ]
    assert segments("[pause 1s] ... [pause]", 0, "en") == [Segment("")]
    long = segments("One one one. Two two two. [pause 1s] Three.", 14, "en")
    assert [(one.text, one.pause_after) for one in long] == [
        ("One one one.", 0.0),
        ("Two two two.", 1.0),
        ("Three.", 0.0),
    ]


def test_generate_and_stream_are_silent_as_long(tts):
    text = "[pause 0.1s] One two. [pause 0.25s] Three four. [pause 40ms]"
    whole = tts.generate(text, seed=5, **SETTINGS)
    parts = [
        tts.generate(piece, seed=seed, **SETTINGS)
        for piece, seed in zip(("One two.", "Three four."), piece_seeds(5, 2), strict=True)
    ]
    silent = [np.zeros(samples, np.float32) for samples in (2400, 6000, 960)]
    expected = np.concatenate([silent[0], parts[0], silent[1], parts[1], silent[2]])
    assert np.array_equal(whole, expected)
    streamed = np.concatenate(list(tts.stream(text, seed=5, **SETTINGS)))
    assert len(streamed) == len(whole)
    assert not streamed[:2400].any()
    with pytest.raises(TextError, match="no text"):
        tts.generate("[pause 1s]", **SETTINGS)


def test_a_document_is_streamed_piece_by_piece_with_its_pauses(small_checkpoint, recording_file,
                                                               tmp_path, capsys):  # fmt: skip
    text = "One two.\n\n[pause 0.6s]\n\n" + "This is another paragraph, somewhat longer. " * 9
    (tmp_path / "text.txt").write_text(text)
    said = ["--voice", str(recording_file), "--model", str(small_checkpoint), "--seed", "1"]
    said += ["--cfm-steps", "1", "--max-new-tokens", "12", "--no-guard", "--no-watermark"]
    output = tmp_path / "said.wav"
    given = ["--file", str(tmp_path / "text.txt"), "--stream", "--output", str(output), *said]
    assert main(given) == 0
    assert "first audio after" in capsys.readouterr().out
    samples, _ = soundfile.read(output)
    silent = np.flatnonzero(np.diff(np.flatnonzero(np.abs(samples) > 0)) >= 0.6 * 24000)
    assert len(silent) >= 1
    assert not (tmp_path / "said.wav.job").exists()
    for wrong in (["--subtitles", "srt"], ["--redo", "1"]):
        assert main([*given, *wrong]) == 1
        assert "with --stream it would do nothing" in capsys.readouterr().err
    (tmp_path / "text.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nOne two.\n")
    given[1] = str(tmp_path / "text.srt")
    assert main(given) == 1
    assert "cannot fit subtitles to their times" in capsys.readouterr().err
