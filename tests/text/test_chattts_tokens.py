"""ChatTTS's tokenizer, its prompts, and the splitting of a text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlx_chatterbox.errors import CheckpointError, SettingError
from mlx_chatterbox.parity.fabricate.chattts_tokenizer import tokenizer_json
from mlx_chatterbox.text.chattts.prompts import (
    check_prompt,
    in_batches,
    refining_prompt,
    speech_prompt,
    split_text,
)
from mlx_chatterbox.text.chattts.special_tokens import IN_TEXT, MARKS
from mlx_chatterbox.text.chattts.tokenizer import ChatTTSTokenizer, left_padded
from tests.chattts_reference import reference, values

TEXTS = values("tokenizer/text_json")
SAMPLE = "the chat"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> ChatTTSTokenizer:
    path = tmp_path_factory.mktemp("chattts") / "tokenizer.json"
    path.write_text(tokenizer_json(), encoding="utf-8")
    return ChatTTSTokenizer(path)


def test_ids_of_special_tokens_are_upstreams(tokenizer):
    assert values("notes")["tokenizer"] == {
        "len": len(tokenizer),
        "spk_emb": tokenizer.speaker_id,
        "break_0": tokenizer.first_manner_id,
        "eos": tokenizer.end_id,
    }
    assert all(tokenizer.has_token(token) for token in (*MARKS, *IN_TEXT))


@pytest.mark.parametrize("mode", ["text", "code"])
def test_batches_are_upstreams(tokenizer, mode):
    if mode == "text":
        batch = tokenizer.batch(TEXTS["refine"])
    else:
        batch = tokenizer.batch(TEXTS["code"], reference()["prompt/codes"])
    length = batch.input_ids.shape[1]
    for name in ("input_ids", "attention_mask", "text_mask"):
        # After the prompt the reference goes on with what it was made to write.
        wanted = reference()[f"gpt/{mode}/{name}"][:, :length]
        np.testing.assert_array_equal(getattr(batch, name), wanted)
    padded = (~batch.attention_mask).sum(axis=1)
    assert padded.min() == 0 < padded.max()


@pytest.mark.parametrize("mode", ["text", "code"])
def test_greedy_prompts_are_upstreams(tokenizer, mode):
    ids, mask = (reference()[f"generate/{mode}/{name}"] for name in ("input_ids", "attention_mask"))
    ids = ids if mode == "text" else ids[..., 0]
    rows = [[int(i) for i in row[keep == 1]] for row, keep in zip(ids, mask, strict=True)]
    batch = left_padded(rows)
    np.testing.assert_array_equal(batch.input_ids[..., 0], ids)
    np.testing.assert_array_equal(batch.attention_mask, mask)


def test_a_batch_has_four_channels_and_may_have_others():
    assert left_padded([[1, 2], [3]]).input_ids.shape == (2, 2, 4)
    assert left_padded([[1]], np.zeros((2, 3), int), channels=2).input_ids.shape == (1, 4, 2)
    assert left_padded([]).input_ids.shape == (0, 0, 4)
    assert left_padded([[], [1]]).attention_mask.tolist() == [[False], [True]]


def test_marks_of_prompts_may_not_stand_in_a_text(tokenizer):
    assert tokenizer.may_stand_in_text("[laugh]")
    assert not tokenizer.may_stand_in_text("[Ptts]")
    assert not tokenizer.may_stand_in_text("hello")
    assert not tokenizer.may_stand_in_text("[oral_10]")


def test_padding_can_be_decoded(tokenizer):
    assert tokenizer.decode([0, 0]) == "[PAD] [PAD]"


def test_long_texts_are_neither_cut_nor_padded(tokenizer):
    assert len(tokenizer.encode("hello world " * 400)) == 800
    assert (
        tokenizer.encode("hello")
        == tokenizer.batch(["hello", "hello world"]).input_ids[0, 1:, 0].tolist()
    )


def test_refined_texts_are_upstreams(tokenizer):
    for row, wanted in enumerate(values("notes")["greedy_text"]["decoded"]):
        assert tokenizer.refined(reference()[f"generate/text/ids_{row}"]) == wanted


def test_a_refined_text_keeps_its_sounds_and_not_its_manners(tokenizer):
    ids = tokenizer.encode("hello [uv_break] world[laugh] . [break_0][oral_9][laugh_1][speed_3]")
    assert tokenizer.refined(ids) == "hello [uv_break] world [laugh]."
    assert tokenizer.encode(tokenizer.refined(ids)) == ids[:-4]


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("Hello, world! What?", "hello, world! what?"),
        ("it's your food", "it's your food"),
        ("your ' food", "your'food"),
        ("你好，世界", "你 好 ， 世 界"),
        ("speeching", "speech ##ing".replace(" ##", "")),
        ("hello.", "hello."),
    ],
)
def test_tokens_are_joined_as_english_is_written(tokenizer, text, decoded):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == decoded
    assert tokenizer.encode(decoded) == ids


def test_what_the_vocabulary_lacks_is_named(tokenizer):
    assert tokenizer.unread("hello 🙂 world ½ 🙂") == ("🙂", "½")
    assert tokenizer.unread("hello [laugh] 世界") == ()


@pytest.mark.parametrize("id_", [-1, 21178])
def test_ids_that_there_are_not_are_refused(tokenizer, id_):
    with pytest.raises(SettingError, match=f"{id_} is no text token"):
        tokenizer.decode([id_])


@pytest.mark.parametrize("codes", [np.zeros((3, 5), int), np.zeros((1, 4, 5), int), np.zeros(4)])
def test_an_audio_prompt_of_another_shape_is_refused(tokenizer, codes):
    with pytest.raises(SettingError, match="audio prompt has shape"):
        tokenizer.batch(["hello"], codes)


def test_another_tokenizer_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        ChatTTSTokenizer(tmp_path / "tokenizer.json")
    values = json.loads(tokenizer_json())
    values["added_tokens"] = [
        one for one in values["added_tokens"] if one["content"] != "[spk_emb]"
    ]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"no \[spk_emb\] token"):
        ChatTTSTokenizer(path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="not a tokenizer"):
        ChatTTSTokenizer(path)


def test_prompts_are_upstreams():
    manners = "[oral_2][laugh_0][break_6]"
    raw = ["what is your favorite english food", "hello 世界"]
    assert [refining_prompt(text, manners) for text in raw] == TEXTS["refine"]
    raw = ["hello world. good morning", "你好 [uv_break] this is speech[laugh]，world"]
    assert [speech_prompt(text, has_speaker=True, sample_text=SAMPLE) for text in raw] == TEXTS[
        "code"
    ]
    assert speech_prompt("hello") == "[Stts][empty_spk][speed_5]hello[Ptts]"
    assert speech_prompt("hello", "") == "[Stts][empty_spk]hello[Ptts]"


@pytest.mark.parametrize(
    "text", ["[spk_emb]hello", " hello [Stts] ", "[empty_spk][Stts]hello", "[St[Stts]ts]hello\n"]
)
def test_the_beginning_of_a_prompt_cannot_come_from_a_text(text):
    assert speech_prompt(text) == speech_prompt("hello")
    # In upstream's the text of the audio prompt can.
    assert speech_prompt("you", sample_text=text) == speech_prompt("you", sample_text="hello")


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two.  Three", ["One.", "Two.", "Three"]),
        ("一。二。 三", ["一。", "二。", "三"]),
        ("It costs 3.50 today. Yes", ["It costs 3.50 today.", "Yes"]),
        ("One. Two\nThree. Four", ["One. Two", "Three. Four"]),
        ("\nOne\n\n \nTwo\n", ["One", "Two"]),
        ("One\r\nTwo", ["One", "Two"]),
        ("Why? Because! Fine", ["Why? Because! Fine"]),
        ("  ", []),
        ("", []),
        ("\n\n", []),
        ("。。", ["。", "。"]),
    ],
)
def test_a_text_is_split_at_lines_or_at_full_stops(text, pieces):
    assert split_text(text) == pieces


def test_pieces_come_in_batches():
    assert list(in_batches(list("abcdefghi"))) == [list("abcd"), list("efgh"), ["i"]]
    assert list(in_batches([], 2)) == []
    with pytest.raises(SettingError, match="max_split_batch"):
        list(in_batches(["a"], 0))


@pytest.mark.parametrize(
    "prompt", ["", "[oral_2][laugh_0][break_6]", "[speed_5]", "[laugh] [pure]"]
)
def test_prompts_of_manners_pass(prompt):
    check_prompt(prompt)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("[oral_10]", "oral_10"),
        ("[oral_2][laugh_3]", "laugh_3"),
        ("[Ptts]", "Ptts"),
        ("[oral_2", "oral_2"),
        ("[Oral_2]", "Oral_2"),
    ],
)
def test_a_prompt_of_unknown_manners_is_refused(prompt, named):
    with pytest.raises(SettingError, match=rf"'\[{named}\]?', which the model does not know"):
        check_prompt(prompt)
    with pytest.raises(SettingError):
        check_prompt(None)
