"""Fixtures of the tests of `Chat`."""

from __future__ import annotations

import warnings

import pytest

from mlx_chatterbox.chattts import Chat
from tests.chattts_reference import text as reference_text

from .small_chat import ending_chat


@pytest.fixture(scope="module")
def chattts_folder(speaking_chattts):
    return speaking_chattts


@pytest.fixture(scope="module")
def chat(chattts_folder):
    loaded = Chat()
    loaded.load(
        source="custom",
        custom_path=chattts_folder,
        speaker_statistics=reference_text("speaker/stat_string"),
    )
    return loaded


@pytest.fixture(scope="module")
def ending(chattts_folder):
    """One whose speech ends soon, often at once."""
    return ending_chat(chattts_folder, -3.0)


@pytest.fixture
def cut_off_is_expected():
    """Made-up weights seldom end their speech."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not finished within")
        yield
