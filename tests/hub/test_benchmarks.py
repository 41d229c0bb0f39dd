"""`palu benchmark` and data sets of a small hub: the same rows as from a folder, also offline."""

import shlex
from collections import Counter

import pytest

from palu import tables
from palu.errors import UserError
from palu.hub import dataset_folder
from tests.hub.conftest import MODEL, NEWS, ROOT, TOFU, patch_endpoint, refusal
from tests.hub.server import Fault, Repository

CHOSEN = ("--set", f"source={TOFU}", "--set", "split=forget01", "--set", "facts=false", "--set", "holdout=false")
BENCHMARK = ("benchmark", "--name", "tofu", *CHOSEN, "--out", "rows.parquet", "--gold-out", "gold.parquet")


def test_a_dataset_of_the_hub_gives_the_rows_of_its_folder_and_its_commit_also_offline(palu_process, hub, tmp_path):
    done = palu_process(*BENCHMARK)
    assert done.returncode == 0, done.stderr
    rows = tables.rows(tmp_path / "rows.parquet", "examples")
    repository = hub.repositories["dataset", TOFU]
    assert {row["source_revision"] for row in rows} == {repository.commit}
    assert tables.provenance(tmp_path / "rows.parquet")["source_revision"] == repository.commit
    local = tmp_path / "local"
    local.mkdir()
    for name, content in repository.files.items():
        (local / name).write_bytes(content)
    hub.reset()
    own = ("--set", f"source={local}", "--out", "local.parquet")
    assert palu_process(*BENCHMARK, *own).returncode == 0
    kept = [key for key in rows[0] if key != "source_revision"]
    assert [[row[key] for key in kept] for row in tables.rows(tmp_path / "local.parquet", "examples")] == [
        [row[key] for key in kept] for row in rows
    ]
    assert palu_process(*BENCHMARK, "--out", "offline.parquet", HF_HUB_OFFLINE="1").returncode == 0
    assert tables.rows(tmp_path / "offline.parquet", "examples") == rows
    assert hub.requests == []


def test_a_dataset_with_folders_comes_without_programs_and_archives(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    patch_endpoint(monkeypatch, hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = dataset_folder(NEWS, None, "benchmark muse", "MUSE")
    assert folder.name == hub.repositories["dataset", NEWS].commit
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "README.md",
        "knowmem/forget_qa.json",
        "raw/forget.json",
    ]
    assert Counter(request.path.rpartition(".")[2] for request in hub.asked(part="/resolve/")) == {"json": 2, "md": 1}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (
            ["source=missing/tofu"],
            "source 'missing/tofu' is no folder here, and the hub knows no such public dataset (404)",
        ),
        (["revision=v9"], f"source '{TOFU}': the hub has no revision 'v9' of it (404)"),
        (["source=../no/folder"], "source '../no/folder' is neither a folder nor a hub id such as 'owner/name'"),
        (["source=a--b/c"], "source 'a--b/c' is neither a folder nor a hub id such as 'owner/name'"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_one_line_and_nothing_is_written(palu, tmp_path, more, complaint):
    message = refusal(palu(*BENCHMARK, *(word for pair in more for word in ("--set", pair))))
    assert message.startswith(f"benchmark tofu: {complaint}")
    assert not (tmp_path / "rows.parquet").exists()


def test_an_unreachable_hub_says_what_to_do_instead(palu):
    message = refusal(palu(*BENCHMARK, HF_ENDPOINT="http://127.0.0.1:9"))
    assert message == (
        f"benchmark tofu: source '{TOFU}' is no folder here, and the hub cannot be reached (ConnectError): give a "
        "local folder in TOFU's layout as `source`, or set HF_ENDPOINT to a mirror"
    )


def test_a_damaged_table_is_never_read(palu, hub, tmp_path):
    hub.fail("/full.json", Fault("corrupt"))
    assert "full.json is damaged: its git-sha1 is" in refusal(palu(*BENCHMARK))
    assert not (tmp_path / "rows.parquet").exists()
    assert palu(*BENCHMARK).returncode == 0


def test_a_source_that_is_no_name_asks_nobody():
    with pytest.raises(UserError, match="is neither a folder nor a hub id"):
        dataset_folder("a/b/c", None, "benchmark tofu", "TOFU")


def test_the_example_of_the_documentation_runs(palu, hub, tmp_path):
    text = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
    commands = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    palu ")]
    fetched = [command[command.index("--checkpoint") + 1] for command in commands if "--checkpoint" in command]
    hub.add(Repository("dataset", "locuslab/TOFU", hub.repositories["dataset", TOFU].files))
    for name in fetched:
        hub.add(Repository("model", name, hub.repositories["model", MODEL].files))
    assert len(commands) == 3
    for command in commands:
        assert palu(*command).returncode == 0
    assert (tmp_path / "model" / "checkpoint_source.json").is_file()
    assert len(tables.rows(tmp_path / "rows.parquet", "examples")) > 40
