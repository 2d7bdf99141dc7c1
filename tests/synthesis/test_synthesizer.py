"""From chosen tokens to audio: the inputs of S3Gen, and what is kept of its output."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_chatterbox.api.tts import open_model
from mlx_chatterbox.models.config import SILENCE_TOKEN
from tests.chosen_tokens import choose_tokens, key_of

SETTINGS = {"watermark": False, "seed": 1, "max_new_tokens": 40}
WORDS = np.random.default_rng(3).permutation(6561).tolist()


@pytest.fixture(scope="module", params=["english", "multilingual", "turbo"])
def tts(request, small_models, voices):
    tts = open_model(small_models(request.param))
    tts.conds = tts.voice_of(np.concatenate(voices[:3]))
    return tts


class Watched:
    """Makes T3 decode these tokens, one list for each sentence; records its and S3Gen's arguments.

    Attributes:
        token_keys, sound_keys: numbers of the random keys.
        sounded: tokens and Euler steps of each call of S3Gen.
    """

    def __init__(self, tts, monkeypatch, *sentences: list[int]):
        self.token_keys, self.sound_keys, self.sounded = [], [], []

        def tokens_of(number, request):
            self.token_keys.append(key_of(request))
            return sentences[number]

        s3gen = type(tts.networks.s3gen)
        speak = s3gen.__call__

        def watched(network, tokens, reference, key, **settings):
            self.sound_keys.append(tuple(np.array(key).tolist()))
            self.sounded.append((tokens.tolist(), settings["n_timesteps"]))
            return speak(network, tokens, reference, key=key, **settings)

        # All together, so that the sentences are known by their order.
        monkeypatch.setattr("mlx_chatterbox.synthesis.synthesizer.can_run_two", lambda: False)
        choose_tokens(monkeypatch, tokens_of)
        monkeypatch.setattr(s3gen, "__call__", watched)


def settings_for(tts, **more):
    language = {"language_id": "fr"} if tts.checkpoint.config.variant == "multilingual" else {}
    return {**SETTINGS, **language, **more}


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_the_tokens_that_are_vocoded(tts, monkeypatch, count):
    """Turbo gets silence at the end; the multilingual model's last token is noise."""
    watched = Watched(tts, monkeypatch, WORDS[:count])
    waveform = tts.generate("Hello.", **settings_for(tts, guard=False))
    variant = tts.checkpoint.config.variant
    silence = [4299] * (3 if variant == "turbo" else 0)
    assert SILENCE_TOKEN == 4299
    assert watched.sounded == [(WORDS[:count] + silence, 2 if variant == "turbo" else 10)]
    heard = max(1, count - 1) if variant == "multilingual" else count + len(silence)
    assert waveform.shape == (960 * heard,)


def test_steps_that_were_asked_for(tts, monkeypatch):
    watched = Watched(tts, monkeypatch, WORDS[:3])
    told = []
    more = {"guard": False, "n_cfm_timesteps": 4, "progress": lambda *what: told.append(what)}
    tts.generate("Hello.", **settings_for(tts, **more))
    assert [steps for _, steps in watched.sounded] == [4]
    assert told == [("tokens", n, 40) for n in (1, 2, 3)] + [("flow", n, 4) for n in (1, 2, 3, 4)]


def test_tokens_and_sound_draw_from_keys_of_their_own(tts, monkeypatch):
    keys = []
    for seeds in ([1, 2], [3, 4]):
        watched = Watched(tts, monkeypatch, WORDS[:3], WORDS[5:8])
        settings = settings_for(tts, guard=False, n_cfm_timesteps=1)
        del settings["seed"]
        tts.generate_batch(["One.", "Two."], seeds=seeds, **settings)
        assert len(watched.token_keys) == len(watched.sound_keys) == 2
        keys += watched.token_keys + watched.sound_keys
        monkeypatch.undo()
    assert len(set(keys)) == 8


@pytest.mark.parametrize(("limit", "stopped"), [(3, False), (4, True)])
def test_a_limit_that_was_reached_is_reported_and_not_a_finding(tts, monkeypatch, limit, stopped):
    watched = Watched(tts, monkeypatch, WORDS[:3])
    text = "Hello there, all of you who are listening to this."
    tts.generate(text, **settings_for(tts, max_new_tokens=limit, n_cfm_timesteps=1))
    assert tts.stopped is stopped
    # Three tokens are an early end, unless no more were requested.
    assert tts.outcomes[0].tries == (3 if stopped else 1)
    assert len(watched.sounded) == 1


def test_the_models_own_limit_is_a_finding(tts, monkeypatch):
    monkeypatch.setattr(tts.defaults, "max_new_tokens", 3)
    text = "Hello there, all of you who are listening to this."
    for count, stopped in ((3, False), (2, True)):
        Watched(tts, monkeypatch, WORDS[:count])
        tts.generate(text, **settings_for(tts, max_new_tokens=None, n_cfm_timesteps=1))
        assert ("own limit" in tts.outcomes[0].verdict) is not stopped
        assert tts.outcomes[0].stopped is tts.stopped is stopped


def test_a_monitor_ends_its_own_sentence(tts, monkeypatch):
    loop = WORDS[:10] * 20
    Watched(tts, monkeypatch, loop, WORDS[50:65])
    texts = ["Hello there.", "Hello there."]
    settings = settings_for(tts, n_cfm_timesteps=1, max_new_tokens=200)
    del settings["seed"]
    tts.generate_batch(texts, seeds=[1, 2], **settings)
    assert [one.tries for one in tts.outcomes][1:] == [1]
    assert tts.outcomes[0].tokens == tuple(WORDS[:10])
    assert tts.outcomes[1].tokens == tuple(WORDS[50:65])
