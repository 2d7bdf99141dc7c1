"""Impossible configurations are refused when they are read, in one line."""

import json
import shutil

import pytest

from mlx_chatterbox.errors import CheckpointError
from mlx_chatterbox.models.config import CONFIG_NAME, ModelConfig
from mlx_chatterbox.weights.checkpoint import load
from mlx_chatterbox.weights.hub import POCKET_FOLDER
from mlx_chatterbox.weights.manifest import MANIFEST_NAME, check_manifest
from mlx_chatterbox.weights.variants import VARIANTS

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def folder(tmp_path):
    """A copy of the pocket model, to be damaged."""
    names = (CONFIG_NAME, "model.safetensors", "tokenizer.json", "lexicon.txt.gz", MANIFEST_NAME)
    for name in names:
        shutil.copy(POCKET_FOLDER / name, tmp_path / name)
    return tmp_path


def refused(folder, *places):
    """The error of a configuration with other values: (path of keys, value)."""
    path = folder / CONFIG_NAME
    values = json.loads((POCKET_FOLDER / CONFIG_NAME).read_text())
    for keys, value in places:
        *outer, last = keys.split(".")
        section = values
        for key in outer:
            section = section[key]
        section[last] = value
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


@pytest.mark.parametrize(
    "value", ["256", None, 0, -1, 2**70, 2**31, NAN, INF, 1.5, True, [256], {"x": 1}, "x" * 10**6]
)
@pytest.mark.parametrize("key", ["t3.hidden_size", "s3gen.hift.istft_hop_len"])
def test_a_size_that_is_not_a_count(folder, key, value):
    assert key.rpartition(".")[2] in refused(folder, (key, value))


@pytest.mark.parametrize("value", ["1e-5", None, NAN, -INF, [1e-5], True, 10**400])
def test_an_invalid_number(folder, value):
    assert "norm_eps is a finite number" in refused(folder, ("t3.norm_eps", value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("t3.hidden_size", 2**20 + 1),
        ("t3.norm_eps", -1e-5),
        ("t3.norm_eps", 0.0),
        ("t3.head_dim", 2**20),
        ("s3_tokenizer.attention_norm_eps", -1e-5),
        ("s3gen.decoder_num_heads", 2**20),
        ("s3gen.hift.source_resblock_dilation_sizes", [[1, 2**31 - 1]] * 3),
        ("s3gen.hift.resblock_dilation_sizes", [[1, 2**19]] * 3),
        ("s3gen.speaker_encoder.block_dilations", [1, 2, 2**19]),
    ],
)
def test_a_size_that_no_network_has(folder, key, value):
    refused(folder, (key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("t3.start_speech_token", 731),
        ("t3.stop_speech_token", 10**6),
        ("t3.start_text_token", 96),
        ("t3.rope_scaling", {"rope_type": "llama3"}),
        ("t3.rope_scaling", []),
        ("t3.rope_theta", -1.0),
        ("t3.head_dim", 63),
        ("t3.backbone", []),
        ("t3.speaker_embed_size", 63),
        ("s3gen.decoder_channels", [128, 128]),
        ("s3gen.decoder_channels", []),
        ("s3gen.decoder_channels", 128),
        ("s3gen.encoder_attention_heads", 3),
        ("s3gen.token_mel_ratio", 3),
        ("s3gen.token_embed_dim", 161),
        ("s3gen.hop_length", 481),
        ("s3gen.hift.upsample_rates", []),
        ("s3gen.hift.upsample_rates", [5]),
        ("s3gen.hift.upsample_rates", [4] * 40),
        ("s3gen.hift.upsample_kernel_sizes", [8, 8]),
        ("s3gen.hift.resblock_kernel_sizes", [4, 7]),
        ("s3gen.hift.resblock_dilation_sizes", [[1, 3], 1]),
        ("s3gen.hift.istft_n_fft", 481),
        ("s3gen.hift.sampling_rate", 22050),
        ("s3gen.speaker_encoder.block_layers", [3, 4]),
        ("s3gen.speaker_encoder.feat_dim", 79),
        ("s3_tokenizer.quantizer_levels", 5),
        ("s3_tokenizer.quantizer_dims", 8),
        ("s3_tokenizer.n_audio_head", 3),
        ("voice_encoder.partial_frames", 10**6),
        ("text.tokenizer", "none"),
        ("text.tokenizer", "gpt2"),
        ("text.punctuation", "none"),
        ("text.languages", "en"),
        ("text.languages", [1]),
        ("generation.sampler_order", "none"),
        ("generation.cfm_steps", 10**9),
        ("generation.silence_tokens", 3),
        ("generation.loudness_lufs", 1e300),
        ("generation.seconds_per_letter", 0),
        ("packing.bits", "x"),
        ("packing.bits", 7),
        ("packing.group_size", 33),
        ("quantization.rules", {}),
        ("quantization.rules", ["x"]),
        ("quantization.recipe", 4),
        ("dtype", "float8"),
        ("dtype", ["float32"]),
        ("variant", 1),
        ("source", "here"),
        ("t3", None),
        ("s3gen.hift", [1]),
    ],
)
def test_values_that_fit_no_model(folder, key, value):
    assert CONFIG_NAME in refused(folder, (key, value))


@pytest.mark.parametrize(
    "key",
    [
        "t3.num_hidden_layers",
        "s3gen.encoder_num_blocks",
        "s3gen.encoder_num_up_blocks",
        "s3gen.decoder_num_mid_blocks",
        "s3gen.decoder_n_blocks",
        "s3_tokenizer.n_audio_layer",
        "voice_encoder.num_layers",
    ],
)
def test_more_layers_than_there_are_tensors_are_not_built(folder, key):
    assert "layers" in refused(folder, (key, 10**9))
    assert "layers" in refused(folder, (key, 1000))


def test_a_scaling_of_an_unknown_kind(folder):
    assert "scaling is of type" in refused(folder, ("t3.rope_scaling", {"rope_type": ["llama3"]}))


def test_layers_in_lists_are_counted(folder):
    places = ("s3gen.speaker_encoder.block_layers", [10**9, 1, 1])
    assert "layers" in refused(folder, places)
    dilations = [[1] * 10**5, [1]]
    assert "layers" in refused(folder, ("s3gen.hift.resblock_dilation_sizes", dilations))


@pytest.mark.parametrize("nest", ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900])
@pytest.mark.parametrize("name", [CONFIG_NAME, MANIFEST_NAME])
def test_nested_json(folder, name, nest):
    for text in (nest, f'{{"model_type": "chatterbox", "files": {nest}}}'):
        (folder / name).write_text(text)
        with pytest.raises(CheckpointError, match=name):
            load(folder, check=True)


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {"config.json": None},
        {"config.json": {"bytes": True, "sha256": ""}},
        {"config.json": {"bytes": -1, "sha256": ""}},
        {"config.json": {"bytes": 1, "sha256": 1}},
        {"../config.json": {"bytes": 1, "sha256": ""}},
        {"a\x1b[2Jb": {"bytes": 1, "sha256": ""}},
        {"a\x00b": {"bytes": 1, "sha256": ""}},
    ],
)
def test_a_manifest_of_another_shape(folder, files):
    (folder / MANIFEST_NAME).write_text(json.dumps({"version": 1, "files": files}))
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        check_manifest(folder)


def test_a_configuration_that_is_not_a_file_or_too_large(folder):
    path = folder / CONFIG_NAME
    path.write_bytes(b" " * (17 * 2**20))
    with pytest.raises(CheckpointError, match="more than"):
        ModelConfig.load(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(CheckpointError, match="not a regular file"):
        ModelConfig.load(folder)


def test_whole_numbers_written_with_a_point_are_taken():
    values = ModelConfig.load(POCKET_FOLDER).to_dict()
    values["generation"]["max_new_tokens"] = 500.0
    del values["model_type"]
    config = ModelConfig.from_dict(values)
    assert repr(config.generation.max_new_tokens) == "500"


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_published_configurations_are_taken(variant, tmp_path):
    config = VARIANTS[variant].default_config()
    config.save(tmp_path)
    assert ModelConfig.load(tmp_path) == config
