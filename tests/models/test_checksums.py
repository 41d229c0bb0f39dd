"""A model folder of palu notices when one of its files is not what was written."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from palu import models
from palu.errors import UserError
from palu.models import Architecture

SMALL = Architecture(vocab_size=300, hidden_size=16, layers=1, heads=2, kv_heads=1, intermediate_size=32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    models.save_model(*models.build_from_scratch(SMALL, ["a b c"], seed=0), folder, card=lambda digits: digits)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def test_one_flipped_bit_of_the_weights_is_noticed_by_the_fingerprint(folder: Path) -> None:
    flip(folder / "model.safetensors", -3)
    models.load_model(folder)
    with pytest.raises(UserError, match=r"model\.safetensors: changed since it was written.*run again") as error:
        models.fingerprint(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_changed_text_is_noticed_when_the_model_or_its_tokenizer_is_loaded(folder: Path, name: str) -> None:
    flip(folder / name, 5)
    for load in (models.load_model, models.load_tokenizer):
        with pytest.raises(UserError, match=f"{name}: changed since it was written"):
            load(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_gone_is_noticed(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: gone since it was written"):
        models.load_tokenizer(folder)


def test_weights_that_are_gone_are_noticed_beside_others(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors: gone since it was written"):
        models.fingerprint(folder)


@pytest.mark.parametrize("kept", [0, 10, 100, 150])
def test_damaged_checksums_are_one_line(folder: Path, kept: int) -> None:
    path = folder / "palu.sha256"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"palu\.sha256: damaged"):
        models.load_tokenizer(folder)


def test_a_folder_without_checksums_may_change(folder: Path) -> None:
    (folder / "palu.sha256").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    models.load_model(folder)
    assert models.fingerprint(folder)


def test_the_card_may_be_edited(saved: Path, folder: Path) -> None:
    (folder / "README.md").write_text("mine")
    assert models.fingerprint(folder) == models.fingerprint(saved) == (saved / "README.md").read_text()


def test_the_usual_tool_reads_the_checksums(folder: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "palu.sha256"]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    flip(folder / "model.safetensors", -3)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "model.safetensors: FAILED" in done.stdout


def test_a_linked_checkpoint_is_checked_too(folder: Path, tmp_path: Path) -> None:
    models.link_checkpoint(folder, None, tmp_path / "linked")
    assert models.fingerprint(tmp_path / "linked") == models.fingerprint(folder)
    flip(folder / "model.safetensors", -3)
    with pytest.raises(UserError, match=r"linked/model\.safetensors: changed"):
        models.fingerprint(tmp_path / "linked")
