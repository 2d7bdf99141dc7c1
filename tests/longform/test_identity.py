"""Keys of a job's pieces: unchanged as long as the speech is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mlx_chatterbox
from mlx_chatterbox.longform.identity import model_hash

CONFIG = {"model_type": "chatterbox", "text": {"lexicon": True, "languages": []}, "t3": {"a": 1e-5}}


@pytest.fixture
def hash_with(tmp_path):
    def hash_of(**changes) -> str:
        values = {**CONFIG, **changes}
        (tmp_path / "config.json").write_text(json.dumps(values, indent=2) + "\n")
        return model_hash(tmp_path, {})

    return hash_of


@pytest.mark.parametrize(
    "silent",
    [
        {"text": {"lexicon": True, "normalize": True, "languages": []}},
        {"text": {"lexicon": True, "normalize": None, "languages": []}},
        {"fine_tuning": {"learning_rate": 1e-5, "speech_lufs": [-23.0, -14.0]}},
        {"fine_tuning": {}, "text": {"normalize": False, "lexicon": True, "languages": []}},
    ],
)
def test_settings_that_change_no_speech_change_no_hash(hash_with, silent):
    assert hash_with(**silent) == hash_with()


@pytest.mark.parametrize(
    "audible", [{"text": {"lexicon": False, "languages": []}}, {"t3": {"a": 2e-5}}, {"text": 3}]
)
def test_any_other_setting_changes_the_hash(hash_with, audible):
    assert hash_with(**audible) != hash_with()
    assert hash_with(**audible, fine_tuning={}) == hash_with(**audible)


def test_a_configuration_without_them_is_hashed_as_it_is(hash_with, tmp_path):
    """In any layout it has the hash that it had before these settings existed."""
    written = hash_with()
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert model_hash(tmp_path, {}) != written


def test_pocket_jobs_begun_before_these_settings_existed_resume(tmp_path):
    """Pocket's folder has the hash of one whose configuration never had them."""
    folder = Path(mlx_chatterbox.__file__).parent / "pocket"
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    values = json.loads((folder / "config.json").read_text())
    assert values.pop("fine_tuning")
    assert values["text"].pop("normalize") is not None
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    assert model_hash(tmp_path, {}) == model_hash(folder, {})
