"""Against upstream's own classes in small sizes: taps agree, planted faults are named."""

import subprocess
import sys

import mlx.core as mx
import pytest

from mlx_chatterbox.parity.faults.planting import faults, faults_of
from mlx_chatterbox.parity.layers.bisect import bisect
from mlx_chatterbox.parity.layers.both_sides import small_models
from mlx_chatterbox.parity.layers.mutants import mutants_as_text, try_fault
from mlx_chatterbox.parity.layers.saving import Model, save
from mlx_chatterbox.parity.mlx.backend import record_with
from mlx_chatterbox.parity.taps.names import TAPPED_STAGES
from mlx_chatterbox.parity.upstream.interpreter import find_interpreter

pytestmark = pytest.mark.reference
# The stages that each does not have.
MISSING = {
    "english": {"sampler_turbo", "flash", "flash_steps"},
    "nano": {"sampler", "flash", "flash_steps"},
    "flash": {"sampler", "sampler_turbo", "t3", "t3_greedy"},
}
VARIANTS = list(MISSING)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return small_models(tmp_path_factory.mktemp("small"), find_interpreter, VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_agrees_with_upstreams(models, variant):
    model = models[variant]
    findings = bisect(model.taps, record_with(model.networks(), model.inputs))
    assert [finding.stage for finding in findings if finding.culprit] == []
    assert {finding.stage for finding in findings} == set(TAPPED_STAGES) - MISSING[variant]
    # Every layer with weights is among them, except a head that only training has, and batch norms
    # that are one step with a residual here.
    compared = {step.actual.name for finding in findings for step in finding.steps}
    weighted = {
        path
        for path, layer in model.networks().named_modules()
        if any(isinstance(value, mx.array) for value in layer.values())
    }
    missing = {path for path in weighted - compared if not path.endswith(".bn2")}
    assert missing == {"t3.text_head"}


def test_all_planted_faults_are_caught_and_named(models):
    of_upstreams = [fault for name in models for fault in faults_of(name).values()]
    mutants = [try_fault(models[fault.variant], fault) for fault in of_upstreams]
    assert len(mutants) >= 60
    table = mutants_as_text(mutants)
    assert all(one.caught for one in mutants), table
    assert sum(one.found for one in mutants) >= len(mutants) - 2, table


@pytest.mark.parametrize("name", ["missing_bias", "wrong_gelu"])
def test_a_reproduction_runs_by_itself(models, name, tmp_path):
    from mlx_chatterbox.parity.faults.planting import planted
    from mlx_chatterbox.weights.checkpoint import load

    fault = faults()[name]
    model = models[fault.variant]
    loaded = load(model.converted)
    with planted(name, loaded.networks):
        taps = record_with(loaded.networks, model.inputs, fault.stages)
    finding = bisect(model.taps, taps, fault.stages)[0]
    saved = Model(loaded.networks, loaded.config, loaded.folder, model.inputs)
    folder = save(finding, tmp_path / "found", saved, name)
    script = str(folder / "reproduce.py")
    here = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert "mlx: output 0" in here.stdout, here.stderr
    there = subprocess.run([find_interpreter(), script], capture_output=True, text=True)
    assert "torch: output 0" in there.stdout, there.stdout + there.stderr
