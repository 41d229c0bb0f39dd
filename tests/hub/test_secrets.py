"""A token and the password of an address go to the hub and nowhere else: no file, no output, no other host."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.hub.conftest import MODEL, ROOT, TOFU, clean_environment, refusal
from tests.hub.server import Fault, Repository

TOKEN = "hf_secretsecretsecretsecret"
PASSWORD = "pass-that-no-one-sees"
FETCH = ("fetch", "--checkpoint", MODEL, "--out", "model")
BENCHMARK = (
    *("benchmark", "--name", "tofu", "--set", f"source={TOFU}", "--set", "split=forget01", "--set", "facts=false"),
    *("--set", "holdout=false", "--out", "rows.parquet", "--gold-out", "gold.parquet"),
)


def traces(folder: Path, *texts: str) -> list[str]:
    """Where a secret, or its form in a header, is in the files of a folder or in texts."""
    secrets = [TOKEN, PASSWORD, base64.b64encode(f"user:{PASSWORD}".encode()).decode()]
    found = [text for text in texts if any(secret in text for secret in secrets)]
    for path in folder.rglob("*"):
        content = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        if any(secret.encode() in content for secret in secrets):
            found.append(str(path))
    return found


def test_the_token_goes_to_the_hub_and_not_to_whom_it_redirects(palu, hub):
    assert palu(*FETCH, HF_TOKEN=TOKEN).returncode == 0
    own = [request.headers.get("authorization") for request in hub.requests if not request.at_cdn]
    assert set(own) == {f"Bearer {TOKEN}"}
    others = [request.headers.get("authorization") for request in hub.requests if request.at_cdn]
    assert others == [None]


def test_a_mirrors_password_goes_to_the_mirror_alone_and_the_token_stays_here(palu, hub, tmp_path):
    done = palu(*FETCH, HF_TOKEN=TOKEN, HF_ENDPOINT=f"http://user:{PASSWORD}@{hub.host}")
    assert done.returncode == 0, done.stderr
    basic = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert {request.headers.get("authorization") for request in hub.requests if not request.at_cdn} == {basic}
    assert [request.headers.get("authorization") for request in hub.requests if request.at_cdn] == [None]
    assert f'"endpoint": "{hub.endpoint}"' in (tmp_path / "model" / "checkpoint_source.json").read_text()


@pytest.mark.parametrize(("command", "with_password"), [(FETCH, False), (BENCHMARK, True)], ids=["fetch", "benchmark"])
def test_no_command_writes_a_secret_whether_it_succeeds_or_fails(palu_process, hub, tmp_path, command, with_password):
    host = f"user:{PASSWORD}@{hub.host}" if with_password else hub.host
    secret = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": f"http://{host}"}
    hub.fail("/resolve/", Fault("status", 429), Fault("cut", after=3), Fault("corrupt"))
    for faults in ([], [("/revision/", Fault("malformed"))], [("/revision/", Fault("status", 401))]):
        for path, fault in faults:
            hub.fail(path, fault)
        done = palu_process(*command, **secret)
        assert traces(tmp_path, done.stdout, done.stderr) == []
    assert done.returncode == 1
    assert palu_process(*command, **secret).returncode == 0
    assert traces(tmp_path) == []


def test_a_workflow_writes_no_secret_and_two_jobs_that_want_the_same_model_fetch_it_once(hub, tmp_path):
    study = {
        "study": "secret",
        "benchmark": {"name": "tofu", "source": TOFU, "split": "forget01", "facts": False, "holdout": False},
        "model": {"checkpoint": MODEL, "retain_checkpoint": MODEL, "retain_revision": "v1", "max_length": 64},
        "methods": {"ga": {}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    until = ("--until", "fetch_model", "prepare_benchmark")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", ROOT / "Snakefile"]
    done = subprocess.run(
        [*command, "--directory", tmp_path, "--configfile", tmp_path / "study.yaml", *until],
        env=clean_environment(hub.endpoint, tmp_path) | {"HF_TOKEN": TOKEN, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert traces(tmp_path, done.stdout, done.stderr) == []
    assert (tmp_path / ".snakemake").is_dir()
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/**/checkpoint_source.json")]
    assert sorted(record["revision"] for record in records) == ["main", "v1"]
    assert len([request for request in hub.requests if request.at_cdn]) == 1
    assert any(request.headers.get("authorization") == f"Bearer {TOKEN}" for request in hub.requests)


def test_a_hub_that_cannot_be_reached_or_closes_the_gate_gives_no_secret_away(palu, hub, tmp_path):
    gone = palu(*FETCH, HF_TOKEN=TOKEN, HF_ENDPOINT=f"http://user:{PASSWORD}@127.0.0.1:9")
    assert "the hub cannot be reached" in refusal(gone)
    hub.add(Repository("model", "someone/gated", hub.repositories["model", MODEL].files, token="other", gated=True))
    closed = palu("fetch", "--checkpoint", "someone/gated", "--out", "model", HF_TOKEN=TOKEN)
    assert "is gated" in refusal(closed)
    assert traces(tmp_path, gone.stderr, closed.stderr) == []


@pytest.mark.parametrize("token", ["hf_sécret", "hf_secret hf_secret", "hf_\x07secret"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(palu, hub, token):
    message = refusal(palu(*FETCH, HF_TOKEN=token))
    assert message == "HF_TOKEN holds a character that no token has; allowed: printable ASCII without spaces"
    assert hub.requests == []


def test_the_environment_of_these_tests_has_no_token_of_its_own(tmp_path):
    assert "HF_TOKEN" not in clean_environment("http://127.0.0.1", tmp_path)
