"""Weights & Biases and TensorBoard: what is logged, and the error where they are missing."""

from __future__ import annotations

import importlib
import json
import sys
import time
import types

import pytest

from mlx_chatterbox.errors import ChatterboxError
from mlx_chatterbox.train.__main__ import main
from mlx_chatterbox.train.metrics import Metrics
from mlx_chatterbox.train.sections import WandbSection
from mlx_chatterbox.train.trackers import WANDB_RUN_NAME, MissingExtra, check_trackers
from tests.train.data import without_timings
from tests.train.stub import lines_of, run, stub_config, stub_trainer


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Switch off plots and this machine's account of Weights & Biases."""
    monkeypatch.setattr(Metrics, "plot", lambda self: None)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_API_KEY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


# --- Where they are missing ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_missing_tracker_is_reported_before_anything_is_computed(
    configuration, tmp_path, capsys, monkeypatch, name
):
    for module in ("wandb", "tensorboard", "tensorboard.summary.writer.event_file_writer"):
        monkeypatch.setitem(sys.modules, module, None)
    arguments = ["--config", str(configuration()), "--set", f"training.report_to={name}"]
    for command in (["validate"], []):
        assert main([*command, *arguments]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"pip install 'mlx-chatterbox[{name}]'" in error
    assert not (tmp_path / "run").exists()


def test_the_folder_that_wandb_makes_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    config = stub_config(tmp_path, report_to=["wandb"])
    with pytest.raises(MissingExtra, match=r"wandb is not installed .*only a folder"):
        check_trackers(config)
    sys.modules.pop("wandb", None)


# --- The order of calls, without the package -----------------------------------------------------


class _Error(Exception):
    pass


class _CommError(_Error):
    pass


class _AuthenticationError(_CommError):
    pass


@pytest.fixture
def stand_in(monkeypatch):
    """Stand-in that records calls of wandb; the real one is tested below, and is slow."""
    calls: list[tuple] = []
    fails: list[Exception] = []

    class Run:
        def define_metric(self, name, **settings):
            calls.append(("define", name, settings))

        def log(self, values):
            calls.append(("log", values))

        def finish(self, exit_code=None):
            calls.append(("finish", exit_code))

    def init(**settings):
        calls.append(("init", settings))
        if fails and settings["mode"] != "offline":
            raise fails.pop()
        return Run()

    module = types.ModuleType("wandb")
    module.__file__ = "wandb/__init__.py"
    module.errors = types.SimpleNamespace(
        Error=_Error, CommError=_CommError, AuthenticationError=_AuthenticationError
    )
    module.Settings = dict
    module.init, module.teardown = init, lambda: calls.append(("teardown",))
    module.login = lambda **settings: bool(fails == [])
    module.calls, module.fails = calls, fails
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def begun(stand_in) -> list[dict]:
    return [call[1] for call in stand_in.calls if call[0] == "init"]


def test_a_run_is_begun_logged_and_ended(stand_in, tmp_path):
    config = stub_config(tmp_path / "voice", max_steps=6, report_to=["wandb", "none"])
    config.wandb = WandbSection(tags=["a"], notes="n", config={"mine": 1}, mode="offline")
    stub_trainer(config).fit()
    (settings,) = begun(stand_in)
    assert settings["project"] == "mlx-chatterbox"
    assert settings["name"] == "voice"
    assert (settings["tags"], settings["notes"], settings["mode"]) == (["a"], "n", "offline")
    assert settings["config"]["training"]["learning_rate"] == 1e-2
    assert settings["config"]["mine"] == 1
    assert settings["dir"] == str(tmp_path / "voice")
    assert stand_in.calls[1:3] == [
        ("define", "step", {}),
        ("define", "*", {"step_metric": "step"}),
    ]
    told = without_timings([call[1] for call in stand_in.calls if call[0] == "log"])
    assert told == lines_of(tmp_path / "voice")
    assert stand_in.calls[-1] == ("finish", 0)
    assert [call[0] for call in stand_in.calls].count("finish") == 1


def test_a_run_that_fails_is_ended_as_failed(stand_in, tmp_path):
    trainer = stub_trainer(stub_config(tmp_path, report_to=["wandb"]))

    def stop(*arguments):
        raise KeyboardInterrupt

    trainer._evaluate = stop
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert stand_in.calls[-1] == ("finish", 1)


def test_a_run_that_is_gone_on_from_is_the_same_one(stand_in, tmp_path):
    run(tmp_path / "a", max_steps=6, report_to=["wandb"])
    for source, steps in (("a", 9), ("a/checkpoint-3", 9)):
        trainer = stub_trainer(stub_config(tmp_path / "a", max_steps=steps, report_to=["wandb"]))
        trainer.resume(tmp_path / source)
        trainer.fit()
    # Weights of another run begin a new one; so does a new run.
    trainer = stub_trainer(stub_config(tmp_path / "b", max_steps=9, report_to=["wandb"]))
    trainer.resume(tmp_path / "a" / "checkpoint-3")
    trainer.fit()
    ids = [settings["id"] for settings in begun(stand_in)]
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert {settings["resume"] for settings in begun(stand_in)} == {"allow"}
    assert (tmp_path / "a" / WANDB_RUN_NAME).read_text().strip() == ids[0]


def test_a_run_that_is_finished_begins_nothing(stand_in, tmp_path):
    run(tmp_path, max_steps=6, report_to=["wandb"])
    trainer = stub_trainer(stub_config(tmp_path, max_steps=6, report_to=["wandb"]))
    trainer.resume(tmp_path)
    trainer.fit()
    assert len(begun(stand_in)) == 1


def test_without_a_network_the_run_is_kept_for_later(stand_in, tmp_path, capsys):
    stand_in.fails.append(_CommError("no such host\nmore of it"))
    run(tmp_path, max_steps=4, report_to=["wandb"])
    first, second = begun(stand_in)
    assert second == {**first, "mode": "offline"}
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "wandb" in line]
    assert "cannot be reached (no such host.)" in said
    assert "`wandb sync`" in said
    assert any(call[0] == "log" for call in stand_in.calls)


@pytest.mark.parametrize("error", [_Error("No API key"), _AuthenticationError("No API key")])
def test_what_wandb_refuses_is_one_line(stand_in, tmp_path, error):
    stand_in.fails.append(error)
    with pytest.raises(ChatterboxError, match=r"report_to: wandb: No API key\.") as raised:
        run(tmp_path, report_to=["wandb"])
    assert "\n" not in str(raised.value)


def test_a_missing_login_is_reported_before_training(stand_in, tmp_path, monkeypatch):
    config = stub_config(tmp_path, report_to=["wandb"])
    check_trackers(config)
    stand_in.fails.append(_Error())
    with pytest.raises(ChatterboxError, match=r"not logged in.*wandb\.mode: offline"):
        check_trackers(config)
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(config)


# --- The real package ----------------------------------------------------------------------------


def records(folder) -> list:
    """Records of an offline run of wandb: protocol buffers in a log of LevelDB's kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    data = file.read_bytes()
    found, position, part = [], 7, b""
    while position < len(data):
        left = 32768 - position % 32768
        if left < 7:  # the rest of a block stays empty
            position += left
            continue
        length, kind = (
            int.from_bytes(data[position + 4 : position + 6], "little"),
            data[position + 6],
        )
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last of several parts
            found.append(Record.FromString(part))
            part = b""
    return found


@pytest.mark.slow
def test_the_real_wandb_keeps_runs_offline_and_goes_on_with_them(tmp_path, monkeypatch):
    """Settings, metrics and the end are in the offline file, and a resumed run has the same id."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    folder = tmp_path / "voice"
    for steps in (4, 8):
        config = stub_config(folder, max_steps=steps, report_to=["wandb"])
        config.wandb = WandbSection(
            project="voices", name="first", tags=["a", "b"], mode="offline", config={"mine": 3}
        )
        check_trackers(config)
        trainer = stub_trainer(config)
        if steps == 8:
            trainer.resume(folder)
        trainer.fit()
        time.sleep(1.1)  # the names of its folders have a resolution of a second
    wandb.teardown()  # its writer is a separate process
    kept = sorted((folder / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_mtime)
    assert len(kept) == 2
    run_id = (folder / WANDB_RUN_NAME).read_text().strip()
    told = []
    for path in kept:
        assert path.name.endswith(run_id)
        of_run = records(path)
        (begun,) = [record.run for record in of_run if record.WhichOneof("record_type") == "run"]
        assert (begun.run_id, begun.project, begun.display_name) == (run_id, "voices", "first")
        assert list(begun.tags) == ["a", "b"]
        values = {item.key: json.loads(item.value_json) for item in begun.config.update}
        assert values["training"]["learning_rate"] == 1e-2
        assert values["mine"] == 3
        for record in of_run:
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                line = {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in items}
                told.append({k: v for k, v in line.items() if not k.startswith("_")})
        (end,) = [r.exit for r in of_run if r.WhichOneof("record_type") == "exit"]
        assert end.exit_code == 0
    assert [line["step"] for line in told] == [line["step"] for line in lines_of(folder)]
    for line, written in zip(without_timings(told), lines_of(folder), strict=True):
        assert line == pytest.approx(written)
