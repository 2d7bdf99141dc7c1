"""Small seeded models and recordings, made on the spot and shared by the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mlx_chatterbox  # noqa: F401  (before any test imports mlx.core)


@pytest.fixture(scope="session")
def small_config():
    from tests.small import small_config

    return small_config()


@pytest.fixture(scope="session")
def small_upstream(tmp_path_factory, small_config):
    """A folder with upstream's files of a small model."""
    from mlx_chatterbox.parity.fabricate.checkpoint import fabricate

    return fabricate(tmp_path_factory.mktemp("upstream"), config=small_config)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory, small_upstream, small_config):
    """The same model as a converted folder."""
    from mlx_chatterbox.weights.conversion.core import convert_folder

    output = tmp_path_factory.mktemp("converted") / "small"
    return convert_folder(small_upstream, output, config=small_config)


@pytest.fixture(scope="session")
def speaking_chattts(tmp_path_factory):
    """A converted folder of a small ChatTTS, its statistics of speakers apart."""
    from tests.speaking_chattts import converted_speaking_chattts

    return converted_speaking_chattts(tmp_path_factory.mktemp("chattts"))


@pytest.fixture(scope="module")
def checkpoint(small_checkpoint):
    """The converted folder, loaded."""
    from mlx_chatterbox.weights.checkpoint import load_converted

    return load_converted(small_checkpoint)


@pytest.fixture(scope="module")
def encoder(checkpoint):
    """The encoder of training texts to text tokens for the checkpoint."""
    from mlx_chatterbox.train.data.text import TextEncoder

    return TextEncoder(checkpoint.tokenizer, checkpoint.config)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory, small_checkpoint):
    """Converted folders of small models, by variant, made when first asked for."""
    from mlx_chatterbox.parity.fabricate.checkpoint import fabricate
    from mlx_chatterbox.weights.conversion.core import convert_folder
    from tests.small import small_config

    made = {"english": small_checkpoint}

    def model(variant: str):
        if variant not in made:
            config = small_config(variant)
            folder = tmp_path_factory.mktemp(variant)
            upstream = fabricate(folder / "upstream", variant=variant, config=config)
            made[variant] = convert_folder(
                upstream, folder / "converted", variant=variant, config=config
            )
        return made[variant]

    return model


@pytest.fixture(scope="session")
def recording():
    """3 s of a voiced sound between silences, (72000,) at 24 kHz."""
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    return synthetic_voice(3.0, seed=3)


@pytest.fixture(scope="session")
def recording_file(tmp_path_factory, recording):
    from mlx_chatterbox.audio.files import save_audio

    path = tmp_path_factory.mktemp("recordings") / "voice.wav"
    save_audio(path, recording, 24000)
    return path


@pytest.fixture(scope="session")
def voices():
    """Ten recordings of 1.6 to 2.5 s, (n,) at 24 kHz, all different."""
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice

    return [synthetic_voice(1.6 + 0.1 * i, seed=i) for i in range(10)]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory, voices):
    """Two speakers with four clips each, and one with a single clip."""
    from tests.train.data import write

    root = tmp_path_factory.mktemp("clips")
    for i, voice in enumerate(voices[:8]):
        write(root / f"speaker{i % 2}" / f"{i}.wav", voice, f"This is sentence number {i}.")
    write(root / "lonely" / "one.flac", voices[9], "Nobody else speaks like me.")
    return root


@pytest.fixture(scope="session")
def voice_data(tmp_path_factory):
    """Ten clips of a made-up speaker, and three that cannot be trained on."""
    from mlx_chatterbox.audio.files import save_audio
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
    from tests.train.data import SENTENCES

    folder = tmp_path_factory.mktemp("voice_data")
    for number, sentence in enumerate(SENTENCES):
        seconds = 1.6 + 0.1 * (number % 4)
        save_audio(folder / f"{number}.wav", synthetic_voice(seconds, seed=number), 24000)
        (folder / f"{number}.txt").write_text(sentence, encoding="utf-8")
    save_audio(folder / "silent.wav", np.zeros(24000, dtype=np.float32), 24000)
    (folder / "silent.txt").write_text("Nothing.")
    (folder / "broken.wav").write_bytes(b"RIFF no wave")
    (folder / "broken.txt").write_text("Broken.")
    save_audio(folder / "alone.wav", synthetic_voice(1.5, seed=99), 24000)
    return folder


@pytest.fixture(scope="session")
def two_voices(tmp_path_factory):
    """Five clips of two made-up speakers."""
    from mlx_chatterbox.audio.files import save_audio
    from mlx_chatterbox.parity.inputs.synthetic_voice import synthetic_voice
    from tests.train.data import SENTENCES

    folder = tmp_path_factory.mktemp("two_voices")
    for number, sentence in enumerate(SENTENCES[:5]):
        speaker = folder / ("ann", "bob")[number % 2]
        speaker.mkdir(exist_ok=True)
        save_audio(speaker / f"{number}.wav", synthetic_voice(1.2, seed=number), 24000)
        (speaker / f"{number}.txt").write_text(sentence, encoding="utf-8")
    return folder


@pytest.fixture
def configuration(tmp_path, voice_data, small_checkpoint):
    """Writes a configuration of two epochs on the small model; arguments override its lines."""

    def write(model: str = "freeze_components: [voice_encoder, s3gen]", training: str = "") -> Path:
        file = tmp_path / "voice.yaml"
        file.write_text(
            f"""\
model:
  local_model_dir: {small_checkpoint}
  {model}
dataset:
  dataset_path: {voice_data}
  eval_split_size: 0.2
training:
  output_dir: ./run
  num_train_epochs: 2
  per_device_train_batch_size: 2
  learning_rate: 1e-4
  logging_steps: 1
  eval_steps: 4
  save_steps: 3
  spoken_samples: false
  {training}
""",
            encoding="utf-8",
        )
        return file

    return write


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pytest_addoption(parser):
    parser.addoption(
        "--full-size",
        metavar="FOLDER",
        help="upstream's files at full size for the slow tests; without it they are fabricated",
    )
    parser.addoption(
        "--as-gpu",
        action="store_true",
        help="decide everything as on a GPU, while MLX computes where it does by default",
    )


def pytest_configure(config):
    if config.getoption("as_gpu"):
        from mlx_chatterbox.runtime import device

        pretending = device.pretend("gpu")
        pretending.__enter__()
        config.add_cleanup(lambda: pretending.__exit__(None, None, None))


@pytest.fixture
def sounded(monkeypatch) -> list[int]:
    """Number of tokens of each piece whose vocoding was begun, in order."""
    from mlx_chatterbox.synthesis.synthesizer import BatchSynthesizer

    begun = []
    waveform = BatchSynthesizer._waveform

    def counted(self, attempt, key):
        begun.append(len(attempt.decoded.audible))
        return waveform(self, attempt, key)

    monkeypatch.setattr(BatchSynthesizer, "_waveform", counted)
    return begun
