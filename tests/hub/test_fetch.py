"""`palu fetch` against a small hub: what is asked, what is kept, and what a linked model says of its origin."""

import json
import subprocess
import sys

import pytest

from palu import models
from tests.hub.conftest import MODEL, TOFU, clean_environment, refusal
from tests.hub.server import Repository, git_sha1, sha256

WANTED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_a_branch_becomes_a_commit_and_the_linked_model_says_which(palu_process, hub, tmp_path, tiny_model):
    done = palu_process("fetch", "--checkpoint", MODEL, "--out", "model")
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["model", MODEL]
    assert models.fingerprint(tmp_path / "model") == models.fingerprint(tiny_model)
    record = json.loads((tmp_path / "model" / "checkpoint_source.json").read_text())
    assert {key: record[key] for key in ("repository", "revision", "commit", "endpoint")} == {
        "repository": MODEL,
        "revision": "main",
        "commit": repository.commit,
        "endpoint": hub.endpoint,
    }
    assert set(record["files"]) == WANTED
    for name, facts in record["files"].items():
        compared = "sha256" if name.endswith(".safetensors") else "git-sha1"
        content = repository.files[name]
        assert facts == {"sha256": sha256(content), "size_bytes": len(content), "compared": compared}
    assert str(tmp_path) not in json.dumps(record)


def test_only_safetensors_and_texts_of_a_model_are_asked_for(palu, hub):
    palu("fetch", "--checkpoint", MODEL, "--out", "model")
    commit = hub.repositories["model", MODEL].commit
    asked = {request.path.partition("/resolve/")[2] for request in hub.requests if "/resolve/" in request.path}
    assert asked == {f"{commit}/{name}" for name in WANTED}


def test_a_second_fetch_downloads_nothing(palu, hub):
    palu("fetch", "--checkpoint", MODEL, "--out", "model")
    hub.reset()
    assert palu("fetch", "--checkpoint", MODEL, "--out", "again").returncode == 0
    assert hub.asked(part="/api/")
    assert hub.requests == hub.asked(part="/api/")


def test_offline_the_same_model_comes_without_a_request_by_branch_and_by_commit(palu_process, hub, tmp_path):
    commit = hub.repositories["model", MODEL].commit
    palu_process("fetch", "--checkpoint", MODEL, "--revision", "v1", "--out", "model")
    hub.reset()
    for revision in ("v1", commit):
        done = palu_process("fetch", "--checkpoint", MODEL, "--revision", revision, "--out", "off", HF_HUB_OFFLINE="1")
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "off" / "checkpoint_source.json").read_text())
        assert (record["commit"], record["endpoint"]) == (commit, None)
        assert record["files"] == json.loads((tmp_path / "model" / "checkpoint_source.json").read_text())["files"]
    assert hub.requests == []


def test_offline_without_the_model_is_one_line_and_no_request(palu, hub, tmp_path):
    message = refusal(palu("fetch", "--checkpoint", MODEL, "--out", "model", HF_HUB_OFFLINE="1"))
    assert message == (
        f"{MODEL} at revision 'main' is no folder here nor whole in the hub's cache, and HF_HUB_OFFLINE forbids to "
        "ask: fetch it where there is a network, or give a local folder"
    )
    assert hub.requests == []
    assert not (tmp_path / "model").exists()


def test_a_hub_that_is_gone_leaves_what_was_last_seen(palu, hub, tmp_path):
    palu("fetch", "--checkpoint", MODEL, "--out", "model")
    done = palu("fetch", "--checkpoint", MODEL, "--out", "again", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "again" / "checkpoint_source.json").read_text())
    assert record["commit"] == hub.repositories["model", MODEL].commit
    message = refusal(palu("fetch", "--checkpoint", "someone/other", "--out", "no", HF_ENDPOINT="http://127.0.0.1:9"))
    assert message == (
        "someone/other is no folder here, and the hub cannot be reached (ConnectError): give a local folder, or set "
        "HF_ENDPOINT to a mirror"
    )


def test_a_branch_that_moved_is_fetched_anew_and_a_pinned_commit_stays(palu, hub, tmp_path, tiny_model):
    old = hub.add(Repository.of_folder("model", "someone/moving", tiny_model))
    palu("fetch", "--checkpoint", old.name, "--out", "old")
    old_commit = old.commit
    new = hub.add(Repository("model", old.name, old.files | {"generation_config.json": b"{}"}))
    palu("fetch", "--checkpoint", old.name, "--out", "new")
    assert [
        json.loads((tmp_path / name / "checkpoint_source.json").read_text())["commit"] for name in ("old", "new")
    ] == [
        old_commit,
        new.commit,
    ]
    assert (tmp_path / "new" / "generation_config.json").read_text() == "{}"
    weights = [request for request in hub.requests if request.at_cdn]
    assert len(weights) == 1, "the weights of both commits are one file"
    done = palu("fetch", "--checkpoint", old.name, "--revision", old_commit, "--out", "pinned", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pinned" / "generation_config.json").read_text() != "{}"


def test_what_the_hubs_own_tool_downloaded_is_used_and_checked(palu, hub, tmp_path):
    code = f"import huggingface_hub as h; h.snapshot_download({MODEL!r}, allow_patterns=['*.json', '*.safetensors'])"
    environment = clean_environment(hub.endpoint, tmp_path) | {"HF_HUB_DISABLE_TELEMETRY": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    hub.reset()
    done = palu("fetch", "--checkpoint", MODEL, "--out", "model", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert hub.requests == []
    blob = (tmp_path / "model" / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    message = refusal(palu("fetch", "--checkpoint", MODEL, "--out", "other", HF_HUB_OFFLINE="1"))
    assert "model.safetensors is damaged: its sha256 is" in message
    assert not (tmp_path / "other").exists()
    assert palu("fetch", "--checkpoint", MODEL, "--out", "other").returncode == 0


@pytest.mark.parametrize("name", ["../escape.json", "/etc/escape.json", "a/../../escape.json", "a\\..\\escape.json"])
def test_a_file_name_that_leaves_the_folder_is_refused(palu, hub, tmp_path, name):
    hub.add(Repository("dataset", "someone/evil", {**hub.repositories["dataset", TOFU].files, name: b"{}"}))
    words = (
        "--set",
        "source=someone/evil",
        "--set",
        "split=forget01",
        "--out",
        "rows.parquet",
        "--gold-out",
        "g.parquet",
    )
    message = refusal(palu("benchmark", "--name", "tofu", *words))
    assert message.startswith(
        "benchmark tofu: source 'someone/evil': cannot be fetched from the hub (Invalid filename"
    )
    assert not hub.asked(part="escape")
    assert not list(tmp_path.rglob("*escape.json"))


def test_what_is_no_weight_in_a_folder_of_a_model_is_not_asked_for(palu, hub, tmp_path):
    files = hub.repositories["model", MODEL].files | {"../escape.json": b"{}", "a/../../escape.json": b"{}"}
    hub.add(Repository("model", "someone/evil", files))
    assert palu("fetch", "--checkpoint", "someone/evil", "--out", "model").returncode == 0
    assert not hub.asked(part="escape")
    assert not list(tmp_path.rglob("*escape.json"))


def test_of_a_model_of_pickles_no_pickle_is_downloaded(palu, hub, tmp_path):
    hub.add(Repository("model", "someone/old", {"config.json": b"{}", "pytorch_model.bin": b"\x80"}))
    message = refusal(palu("fetch", "--checkpoint", "someone/old", "--out", "model"))
    assert message == "someone/old: a model without weights: no *.safetensors on the hub; pickles are never fetched"
    assert not hub.asked(part="pytorch_model.bin")
    assert not (tmp_path / "model").exists()


def test_a_local_folder_is_linked_without_a_request_or_a_record(palu_process, hub, tiny_model, tmp_path):
    assert palu_process("fetch", "--checkpoint", tiny_model, "--out", "model").returncode == 0
    assert hub.requests == []
    assert not (tmp_path / "model" / "checkpoint_source.json").exists()


def test_a_mirror_that_gives_no_checksums_is_recorded_as_not_compared(palu, hub, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.hub.server.git_sha1", lambda content: f"etag-{len(content)}")
    assert palu("fetch", "--checkpoint", MODEL, "--out", "model").returncode == 0
    files = json.loads((tmp_path / "model" / "checkpoint_source.json").read_text())["files"]
    assert {facts["compared"] for name, facts in files.items() if name != "model.safetensors"} == {None}
    assert files["config.json"]["sha256"] == sha256(hub.repositories["model", MODEL].files["config.json"])


def test_the_checksum_of_a_small_file_is_the_name_that_git_gives_it():
    assert git_sha1(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
