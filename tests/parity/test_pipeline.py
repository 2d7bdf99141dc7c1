"""The stage that runs all of `generate`: its random numbers are those that `generate` draws."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_chatterbox.api.tts import CLASSES, open_model
from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.models.decoder import native_stepper, sampler
from mlx_chatterbox.models.flash import stepping
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.inputs.encoding import decoded, encoded, written
from mlx_chatterbox.parity.inputs.pipeline import TEXTS, TOKENS, pipeline_inputs
from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
from mlx_chatterbox.parity.mlx.backend import compute
from mlx_chatterbox.parity.tables.chatterbox import STAGES
from mlx_chatterbox.parity.tables.stage import PIPELINE
from mlx_chatterbox.runtime import device

pytestmark = pytest.mark.numbers

RECORDING = synthetic_voice(5.3, 4)


@pytest.fixture(scope="module", params=["english", "multilingual", "turbo"])
def case(request, small_models):
    """A small model, and inputs of the stage with seed 3."""
    folder = small_models(request.param)
    return folder, pipeline_inputs(ModelConfig.load(folder), RECORDING, seed=3)


def test_it_is_what_generate_makes_of_the_same_things(case, tmp_path):
    folder, inputs = case
    found = compute(folder, inputs)
    assert set(found) == {"pipeline/tokens", "pipeline/waveform"}
    tts = open_model(folder)
    text, language = TEXTS[tts.checkpoint.config.text.tokenizer]
    settings = {"language_id": language} if language else {}
    path = written(tmp_path / "voice.wav", inputs["pipeline/ref_24k"])
    silence = tts.defaults.silence_tokens
    said = len(found["pipeline/tokens"])
    prompt = len(inputs["pipeline/ref_24k"]) // 960
    waveform = tts.generate(
        text,
        audio_prompt_path=path,
        seed=3,
        max_new_tokens=TOKENS,
        guard=False,
        noise=mx.array(inputs["pipeline/noise"][:, : 2 * (prompt + said)]).T[None],
        source=mx.array(inputs["pipeline/source"][: 960 * said])[None],
        **settings,
    )
    assert tts.last_tokens == found["pipeline/tokens"].tolist()[: said - silence]
    whole = len(waveform) // 240 * 240
    assert np.array_equal(found["pipeline/waveform"], waveform[:whole])


def test_the_given_draws_are_those_of_the_seed(case, monkeypatch):
    """Passing these numbers in place of `draw`'s own gives the same tokens."""
    folder, inputs = case
    before = compute(folder, inputs)["pipeline/tokens"]
    asked = []

    def given(keys, tokens):
        """Noise of one draw, or of several in a row."""
        count = 1 if keys.ndim == 2 else keys.shape[1]
        first = len(asked)
        asked.extend(range(first, first + count))
        noise = mx.array(inputs["pipeline/gumbel"][first : first + count])
        return noise if keys.ndim == 2 else noise[None]

    for module in (native_stepper, sampler):
        monkeypatch.setattr(module, "gumbel_noise", given)
    assert compute(folder, inputs)["pipeline/tokens"].tolist() == before.tolist()
    assert len(asked) > TOKENS // 2
    other = {**inputs, "pipeline/seed": np.array([4], np.int32)}
    monkeypatch.undo()
    assert compute(folder, other)["pipeline/tokens"].tolist() != before.tolist()


@pytest.fixture
def on_cpu():
    with device.pretend("cpu"):
        yield


@pytest.mark.usefixtures("on_cpu")
def test_flashs_draws_are_those_of_the_seed(small_models, monkeypatch):
    """A GPU makes the same ones within its pass: tests/models/test_flash_engine.py."""
    folder = small_models("flash")
    inputs = pipeline_inputs(ModelConfig.load(folder), RECORDING, seed=3)
    before = compute(folder, inputs)["pipeline/tokens"].tolist()
    gumbel, uniform = (mx.array(inputs[f"pipeline/{name}"]) for name in ("gumbel", "uniform"))
    asked = []

    class Given:
        def __init__(self, keys):
            pass

        def tokens(self, block, step, positions, vocabulary):
            asked.append((block, step))
            return gumbel[block, step, :positions, :vocabulary]

        def positions(self, block, step, positions):
            return uniform[block, step, :positions]

    monkeypatch.setattr(stepping, "KeyedDraws", Given)
    assert compute(folder, inputs)["pipeline/tokens"].tolist() == before
    assert len(set(asked)) > 10
    uniform = 1 - uniform
    assert compute(folder, inputs)["pipeline/tokens"].tolist() != before


def test_a_recording_that_is_too_short_leaves_the_stage_out(small_models):
    config = ModelConfig.load(small_models("turbo"))
    assert pipeline_inputs(config, RECORDING[:100_000]) == {}
    assert len(pipeline_inputs(config, RECORDING)["pipeline/ref_24k"]) % 960 == 0


def test_texts_survive_as_tensors():
    for text, _ in TEXTS.values():
        assert decoded(encoded(text)) == text
    assert set(TEXTS) == set(CLASSES)


def test_it_is_compared_in_float32_alone(case):
    """Other precisions may change a token, and all that follows."""
    folder, inputs = case
    found = compute(folder, inputs)
    (stage,) = [stage for stage in STAGES if stage.name == PIPELINE]
    assert [row.output for row in compare(found, found).rows] == [
        output.name for output in stage.outputs
    ]
    features = {"s3gen/ref_mel": np.ones((3, 80), np.float32)}
    rows = compare({**found, **features}, features, precision="float16").rows
    assert [row.output for row in rows] == ["s3gen/ref_mel"]
