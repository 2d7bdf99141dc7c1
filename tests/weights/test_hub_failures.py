"""Each way in which the hub can fail, reported in one true line by the programs that ask it.

The real huggingface_hub client, in processes of their own, against a stand-in for the hub.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.weights.hub_stand_in import Hub, hub_stand_in

REPO = "somebody/model"
WEIGHTS = bytes(9 * 2**20)  # above the size that the client fetches alone

# One process for several requests, which prints a line for each.
ASK = """
import sys, warnings
from mlx_chatterbox.errors import HubError
from mlx_chatterbox.weights.hub import on_this_machine, resolve, speech_tokenizer
warnings.showwarning = lambda message, *_: print("note:", message)
for name in sys.argv[1:]:
    try:
        print("found", speech_tokenizer() if name == "S3" else resolve(name))
    except HubError as error:
        print("HubError:", error)
"""


@pytest.fixture
def hub():
    with hub_stand_in() as hub:
        yield hub


@pytest.fixture
def asked(tmp_path, hub):
    """Function that runs code with the stand-in as the hub and a cache of its own."""

    def run(*names: str, code: str = ASK, status: int = 0, **environment: str) -> str:
        settings = {**os.environ, **hub.environment(), "HF_HOME": str(tmp_path / "hf")}
        settings = {k: v for k, v in {**settings, **environment}.items() if v}
        done = subprocess.run(
            [sys.executable, "-c", code, *names],
            env=settings,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        return (done.stderr if status else done.stdout).strip()

    return run


NO_TOKEN = {"HF_TOKEN": "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": ""}


def test_a_gated_repository_is_one_whose_terms_are_to_be_accepted(asked, hub: Hub):
    """Its list of files is public, so the error must not be that a file is missing."""
    hub.add(REPO, {"model.safetensors": WEIGHTS, "config.json": b"{}"})
    hub.gated.add(REPO)
    said = asked(REPO)
    assert f"{REPO} is gated: accept its terms at {hub.url}/{REPO}" in said
    assert "with the account of the token used here" in said
    said = asked(REPO, **NO_TOKEN)
    assert f"accept its terms at {hub.url}/{REPO} and log in here" in said
    assert "\n" not in said


ANSWERS = (
    (401, {"X_Error_Message": "Invalid credentials in Authorization header"},
     "does not accept the token used here (401)"),
    (403, {"X_Error_Message": "Token lacks the right."}, "denies access to {} (403)"),
    (403, {"X_Error_Message": "Token lacks the right."}, "It says: Token lacks the right."),
    (403, {"X_Error_Message": "Access to this resource is disabled."}, "the hub has disabled {}"),
    (404, {"X_Error_Code": "RepoNotFound"}, "has no repository {}, or it is private"),
    (404, {"X_Error_Code": "RevisionNotFound"}, "{} has no such revision"),
    (404, {}, "does not have {} (404)"),
    (429, {"Retry_After": "37"}, "limit of requests is reached (429)"),
    (429, {"Retry_After": "37"}, "for {}: try again in 37 s"),
    (429, {"RateLimit": '"api";r=0;t=55'}, "for {}: try again in 55 s"),
    (500, {}, "has a problem of its own (500, internal error)"),
    (503, {"Retry_After": "9"}, "unavailable) with {}: try again in 9 s"),
    (504, {}, "(504, gateway timeout)"),
)  # fmt: skip


def test_an_error_answer_is_reported_by_kind(asked, hub):
    names = [f"somebody/m{i}" for i in range(len(ANSWERS))]
    for name, (status, headers, _) in zip(names, ANSWERS, strict=True):
        hub.add(name, {"model.safetensors": b"x"})
        hub.fail(f".* /api/models/{name}$", status, **headers)
    for name, line, (*_, said) in zip(names, asked(*names).splitlines(), ANSWERS, strict=True):
        assert said.format(name) in line
        assert "not on this machine" not in line


def test_a_large_file_that_is_refused_is_named(asked, hub):
    """The refusal comes with the download: the metadata was served."""
    for name in ("somebody/gone", "somebody/shut"):
        hub.add(name, {"model.safetensors": WEIGHTS, "config.json": b"{}"})
    hub.fail("GET /somebody/gone/resolve/.*/model", 404, X_Error_Code="EntryNotFound")
    hub.fail("GET /somebody/shut/resolve/.*/model", 403)
    gone, shut = asked("somebody/gone", "somebody/shut").splitlines()
    assert "model.safetensors of somebody/gone is not there: the hub has no such file" in gone
    assert "denies access to model.safetensors of somebody/shut" in shut


def test_what_a_repository_does_not_list_is_missed_before_anything_is_fetched(asked, hub):
    hub.add("ResembleAI/chatterbox", {"ve.safetensors": WEIGHTS, "README.md": b""})
    hub.add(REPO, {"config.json": b"{}", "README.md": b"", "pytorch_model.bin": b"x"})
    hub.add("mlx-community/S3TokenizerV2", {"config.json": b"{}"})
    lines = asked("chatterbox", REPO, "S3").splitlines()
    assert (
        "ResembleAI/chatterbox has no s3gen.safetensors, tokenizer.json, t3_cfg.safetensors"
        in lines[0]
    )
    assert "it has README.md, ve.safetensors." in lines[0]
    assert f"{REPO} holds no weights (.safetensors or .pt)" in lines[1]
    assert "pytorch_model.bin" in lines[1]
    assert "S3TokenizerV2 has no model.safetensors" in lines[2]
    assert not hub.ranges


def test_an_unreachable_hub_is_reported_with_the_reason(asked, hub):
    hub.add(REPO, {"model.safetensors": b"x"})
    hub.fail(".* /api/models", 200, silence=20.0)
    slow = asked(REPO, HF_HUB_ETAG_TIMEOUT="1")
    assert "the hub cannot be reached: " in slow
    assert "does not answer in time" in slow
    refused = asked(REPO, HF_ENDPOINT="http://127.0.0.1:9")
    assert "127.0.0.1:9 refuses the connection" in refused
    nameless = asked(REPO, HF_ENDPOINT="http://hub.invalid")
    assert "the name hub.invalid cannot be resolved" in nameless
    proxied = asked(REPO, HF_ENDPOINT="http://hub.invalid", http_proxy="http://127.0.0.1:9")
    assert "refuses the connection" in proxied
    offline = asked(REPO, HF_HUB_OFFLINE="1")
    assert "is not on this machine, and HF_HUB_OFFLINE forbids asking the hub" in offline
    assert "network" not in offline
    for said in (slow, refused, nameless, proxied, offline):
        assert "\n" not in said
        assert "name a folder with the model's files instead" in said


def test_a_cached_copy_is_used_and_reported(asked, hub):
    hub.add(REPO, {"model.safetensors": b"x", "config.json": b"{}", "unwanted.bin": b"x"})
    folder = asked(REPO).removeprefix("found ")
    assert asked(REPO, HF_HUB_OFFLINE="1") == f"found {folder}"  # as the user asked
    for failing in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {}):
        hub.fail(f".* /api/models/{REPO}", 500)
        note, found = asked(REPO, **failing).splitlines()
        assert found == f"found {folder}"
        assert f"the copy of {REPO} on this machine is used, which may be older" in note
        assert ("refuses the connection" if failing else "(500, internal error)") in note


def test_an_incomplete_copy_is_reported(asked, hub):
    """Listed files are missing, or an older client listed nothing."""
    hub.add(REPO, {"model.safetensors": b"x", "config.json": b"{}"})
    folder = Path(asked(REPO).removeprefix("found "))
    (folder / "model.safetensors").unlink()
    offline, refused = (
        asked(REPO, **settings)
        for settings in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"})
    )
    for said in (offline, refused):
        assert f"the copy of {REPO} in the hub's cache is incomplete: it lacks " in said
        assert "to download the rest" in said
        assert "\n" not in said
    assert "it lacks model.safetensors; HF_HUB_OFFLINE forbids" in offline
    assert "refuses the connection" in refused
    shutil.rmtree(folder.parent.parent / "trees", ignore_errors=True)
    assert "incomplete: it lacks any weights; HF_HUB_OFFLINE" in asked(REPO, HF_HUB_OFFLINE="1")


HERE = """
import sys
from mlx_chatterbox.weights.hub import on_this_machine, resolve
print(resolve("chatterbox"))
print(on_this_machine("chatterbox"))
"""


def test_a_model_whose_repository_has_more_than_it_needs_is_on_this_machine(asked, hub):
    """`auto` checks this: newer clients call a copy incomplete that lacks other models' files."""
    from mlx_chatterbox.weights.variants import VARIANTS

    files = dict.fromkeys(VARIANTS["english"].required_files, b"x")
    hub.add("ResembleAI/chatterbox", {**files, "t3_23lang.safetensors": b"x", "README.md": b""})
    first, second = asked(code=HERE).splitlines()
    assert first == second


PROGRAMS = {
    "generate": "from mlx_chatterbox.generate import main\n"
    "sys.exit(main(['--model', 'somebody/model', '--text', 'Hi.', '--output', 'o.wav']))",
    "convert": "from mlx_chatterbox.convert.__main__ import main\n"
    "sys.exit(main(['somebody/model', 'out']))",
    "train": "from mlx_chatterbox.train.__main__ import main\n"
    "sys.exit(main(['--config', 'voice.yaml']))",
}
TRAINING = """
model: {base_model: somebody/model}
training: {output_dir: run}
dataset: {dataset_path: voice_data}
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_report_it_in_one_line_and_exit_with_1(asked, hub, tmp_path, monkeypatch, program):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.chdir(tmp_path)
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    hub.gated.add(REPO)
    Path("voice.yaml").write_text(TRAINING)
    Path("voice_data").mkdir()
    done = asked(code="import sys\n" + PROGRAMS[program], status=1)
    assert "is gated: accept its terms at" in done
    assert len(done.splitlines()) == 1, done
