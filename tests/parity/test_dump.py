"""Dumps of our networks on a small model: every stage, every output, the same twice."""

import subprocess
import sys
from shutil import copyfile, copytree

import numpy as np
import pytest

from mlx_chatterbox.models.config import ModelConfig
from mlx_chatterbox.parity import stages
from mlx_chatterbox.parity.__main__ import main
from mlx_chatterbox.parity.compare import compare
from mlx_chatterbox.parity.dumps import read_dump, read_dump_with_metadata, write_dump
from mlx_chatterbox.parity.errors import ParityError
from mlx_chatterbox.parity.fabricate.small import SMALL_SIZES
from mlx_chatterbox.parity.inputs.make import make_inputs
from mlx_chatterbox.parity.inputs.pipeline import pipeline_inputs
from mlx_chatterbox.parity.mlx.backend import compute
from mlx_chatterbox.parity.numpy import backend as numpy_reference
from mlx_chatterbox.parity.upstream.files import upstream_of
from mlx_chatterbox.weights.variants import VARIANTS
from tests.small import small_config as small_variant

SMALL = SMALL_SIZES


@pytest.fixture(scope="session")
def inputs(small_config):
    return make_inputs(small_config, seed=1, sizes=SMALL)


@pytest.fixture(scope="session")
def inputs_file(inputs, tmp_path_factory):
    return write_dump(tmp_path_factory.mktemp("inputs") / "in.safetensors", inputs)


@pytest.fixture(scope="session")
def dump(small_checkpoint, inputs):
    return compute(small_checkpoint, inputs)


def inputs_of(variant: str) -> dict[str, np.ndarray]:
    return make_inputs(small_variant(variant), seed=1, sizes=SMALL)


@pytest.mark.parametrize(
    ("variant", "without"),
    [
        ("english", ("estimator/r", "sampler_turbo/")),
        ("multilingual", ("estimator/r", "sampler_turbo/")),
        ("turbo", ("sampler/",)),
        ("nano", ("sampler/",)),
        ("flash", ("sampler/", "sampler_turbo/", "t3/", "voice_encoder/")),
    ],
)
def test_the_inputs_are_those_of_the_table(variant, without):
    config = small_variant(variant)
    given = inputs_of(variant)
    given |= pipeline_inputs(config, np.zeros(150_000, np.float32))
    without += () if variant == "multilingual" else ("pipeline/language",)
    without += () if variant == "flash" else ("pipeline/uniform",)
    names = stages.input_names(variant)
    assert set(given) == {name for name in names if not name.startswith(without)}
    left_out = 4 if variant == "flash" else 1
    assert len(stages.computable(given)) == len(stages.stages_of(variant)) - left_out


def test_inputs_are_the_variants_own():
    """Vocabularies, start and stop tokens, steps of the flow."""
    english, multilingual, turbo = map(inputs_of, ("english", "multilingual", "turbo"))
    assert english["t3/text_tokens"][[0, -1]].tolist() == [255, 0]
    assert multilingual["t3/text_tokens"][[0, -1]].tolist() == [255, 0]
    assert 704 <= multilingual["t3/text_tokens"].max() < 2454
    assert 2454 <= turbo["t3/text_tokens"].max() < 50276
    assert not {0, 255} & set(turbo["t3/text_tokens"].tolist())
    assert (turbo["estimator/r"] > turbo["estimator/t"]).all()
    full = {name: make_inputs(small_variant(name)) for name in ("english", "turbo")}
    assert [full[name]["flow/n_timesteps"].item() for name in full] == [10, 2]


def test_inputs_repeat_with_their_seed(inputs, small_config):
    again = make_inputs(small_config, seed=1, sizes=SMALL)
    assert all(np.array_equal(again[name], inputs[name]) for name in inputs)
    other = make_inputs(small_config, seed=2, sizes=SMALL)
    assert not np.array_equal(other["audio/ref_24k"][:40000], inputs["audio/ref_24k"][:40000])


def test_the_synthetic_reference_has_silence_to_trim(dump, inputs):
    assert len(dump["voice_encoder/trimmed"]) < len(inputs["audio/ref_16k"]) - 8000


def test_a_recording_replaces_the_synthetic_voice(small_config, recording_file, recording):
    given = make_inputs(small_config, audio=recording_file, sizes=SMALL)
    assert np.abs(given["audio/ref_24k"] - recording).max() < 1e-4
    assert len(given["audio/ref_16k"]) == len(recording) * 2 // 3


def test_sampler_cases_vary_every_setting(inputs):
    penalty, temperature, min_p, top_p = inputs["sampler/settings"].T
    assert (penalty == 1).any()
    assert (penalty > 1.5).any()
    assert (temperature < 0.5).any()
    assert (temperature > 1.2).any()
    assert (min_p == 0).any()
    assert (min_p > 0.1).any()
    assert (top_p == 1).any()
    assert (top_p < 0.6).any()
    assert inputs["sampler/logits"].min() < 0 < inputs["sampler/logits"].max()
    assert any(len(set(row)) < len(row) for row in inputs["sampler/history"].tolist())


def test_turbo_sampler_cases_vary_every_setting():
    penalty, temperature, top_k, top_p = inputs_of("turbo")["sampler_turbo/settings"].T
    assert (penalty == 1).any()
    assert (penalty > 1.5).any()
    assert (temperature < 0.6).any()
    assert (temperature > 1.2).any()
    assert (top_k == 0).any()
    assert ((top_k > 0) & (top_k < 20)).any()
    assert (top_k > 6563).any()
    assert (top_p == 1).any()
    assert (top_p < 0.6).any()


@pytest.mark.parametrize("variant", ["english", "multilingual", "turbo", "nano"])
def test_a_dump_has_every_output_of_the_table_with_its_dtype(small_models, variant):
    given = inputs_of(variant)
    dump = compute(small_models(variant), given)
    outputs = [output for stage in stages.computable(given) for output in stage.outputs]
    assert set(dump) == {output.name for output in outputs}
    for output in outputs:
        assert dump[output.name].dtype == output.dtype, output.name
        assert np.isfinite(dump[output.name]).all(), output.name
    steps = SMALL.t3_speech_tokens + 1
    turbo = variant in ("turbo", "nano")
    assert dump["t3/logits"].shape == ((steps, 6563) if turbo else (2, steps, 8194))
    assert [
        row for row in compare(numpy_reference.compute(given), dump).rows if not row.holds
    ] == []


def test_a_second_dump_is_equal(dump, small_checkpoint, inputs):
    comparison = compare(dump, compute(small_checkpoint, inputs))
    assert [row.output for row in comparison.rows if row.error != 0.0] == []


def test_ours_holds_against_the_numpy_reference(dump, inputs):
    comparison = compare(numpy_reference.compute(inputs), dump)
    assert len(comparison.rows) >= 7
    assert [row for row in comparison.rows if not row.holds] == []


def test_a_stage_without_its_inputs_is_left_out(small_checkpoint, inputs):
    some = {name: value for name, value in inputs.items() if not name.startswith("vocoder/mel")}
    assert "vocoder/waveform" not in compute(small_checkpoint, some)


def test_no_stage_reads_another_stages_result(dump, small_checkpoint, inputs):
    """Two outputs share a name with an input; the value in the dump is used."""
    changed = dict(inputs)
    changed["voice_encoder/embedding"] = np.roll(inputs["voice_encoder/embedding"], 1)
    rows = compare(dump, compute(small_checkpoint, changed)).rows
    different = {row.stage for row in rows if row.error}
    assert different <= {"t3", "t3_greedy"}
    assert "t3" in different


def test_the_command_writes_what_the_library_computes(
    small_checkpoint, inputs_file, dump, tmp_path
):
    out = tmp_path / "out.safetensors"
    arguments = ["--inputs", str(inputs_file), "--output", str(out)]
    assert main(["dump", "--checkpoint", str(small_checkpoint), *arguments]) == 0
    written, metadata = read_dump_with_metadata(out)
    assert metadata["backend"] == "mlx"
    assert compare(dump, written).holds


def test_the_numpy_backend_needs_no_checkpoint(inputs_file, tmp_path):
    out = tmp_path / "numpy.safetensors"
    arguments = ["--inputs", str(inputs_file), "--output", str(out), "--backend", "numpy"]
    assert main(["dump", *arguments]) == 0
    assert "s3gen/ref_mel" in read_dump(out)


def test_the_other_backends_do(inputs_file, tmp_path):
    arguments = ["--inputs", str(inputs_file), "--output", str(tmp_path / "out.safetensors")]
    with pytest.raises(SystemExit) as exit_:
        main(["dump", *arguments])
    assert exit_.value.code == 2


def test_inputs_that_do_not_fit_the_model_name_their_stage(
    small_checkpoint, inputs, tmp_path, capsys
):
    broken = {"vocoder/mel": inputs["vocoder/mel"][:, :40], "vocoder/source": np.ones(9600)}
    path = write_dump(tmp_path / "in.safetensors", broken)
    out = tmp_path / "out.safetensors"
    arguments = ["--inputs", str(path), "--output", str(out)]
    assert main(["dump", "--checkpoint", str(small_checkpoint), *arguments]) == 1
    assert capsys.readouterr().err.startswith("error: stage vocoder: ")
    assert not out.exists()


def test_a_dump_without_any_stages_inputs_is_an_error(small_checkpoint, tmp_path, capsys):
    path = write_dump(tmp_path / "in.safetensors", {"audio/other": np.ones(3, np.float32)})
    arguments = ["--inputs", str(path), "--output", str(tmp_path / "out.safetensors")]
    assert main(["dump", "--checkpoint", str(small_checkpoint), *arguments]) == 1
    assert "does not have all inputs of any stage" in capsys.readouterr().err


def test_a_missing_output_folder_is_reported_before_the_work(inputs_file, tmp_path, capsys):
    arguments = ["--inputs", str(inputs_file), "--output", str(tmp_path / "absent" / "out")]
    assert main(["dump", "--checkpoint", str(tmp_path), *arguments]) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("variant", ["english", "multilingual", "turbo"])
def test_the_torch_backend_finds_what_a_checkpoint_was_converted_from(small_models, variant):
    found = upstream_of(small_models(variant))
    assert found.variant == variant
    assert found.t3_file == VARIANTS[variant].t3_file
    assert upstream_of(found.folder) == found
    assert (found.folder / "fabricated.json").is_file()


def test_the_torch_backend_finds_a_language_packs_t3(small_models, tmp_path):
    from mlx_chatterbox.weights.conversion.core import convert_folder

    folder = copytree(upstream_of(small_models("multilingual")).folder, tmp_path / "pack")
    own = folder / "own.safetensors"
    (folder / VARIANTS["multilingual"].t3_file).rename(own)
    assert upstream_of(folder).t3_file == own.name
    copyfile(own, folder / "other.safetensors")
    out = convert_folder(
        folder, tmp_path / "out", config=small_variant("multilingual"), t3_file=own.name
    )
    assert upstream_of(out) == upstream_of(folder, "multilingual", own.name)


def test_the_path_that_earlier_versions_noted_is_taken(small_models, tmp_path):
    upstream = upstream_of(small_models("english")).folder
    folder = copytree(small_models("english"), tmp_path / "older")
    config = ModelConfig.load(folder)
    config.source = {"folder": str(upstream), "files": {"t3_cfg.safetensors": "0" * 64}}
    config.save(folder)
    assert upstream_of(folder).folder == upstream
    config.source["folder"] = upstream.name
    config.save(folder)
    with pytest.raises(ParityError, match="original files are not here"):
        upstream_of(folder)


def test_a_checkpoint_whose_source_is_gone_is_not_a_reference(small_models, tmp_path):
    folder = copytree(small_models("english"), tmp_path / "moved")
    config = ModelConfig.load(folder)
    config.source["files"] = {"t3_cfg.safetensors": "0" * 64}
    config.save(folder)
    with pytest.raises(ParityError, match="original files are not here"):
        upstream_of(folder)


def test_help_is_instant_and_loads_nothing_heavy():
    code = (
        "import sys; from parity.__main__ import parser; parser().format_help();"
        "print([m for m in ('numpy', 'mlx', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
