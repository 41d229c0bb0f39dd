"""The model card: what it says, that nothing in it acts, and that the folder around it loads as any other."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from palu import models
from palu.files import read_json
from palu.models import ModelSettings
from palu.training.card import Card, base_name
from tests.training.tiny import ROWS, Tiny

HOSTILE = "x\n---\n```\n</script><script>alert(1)</script> | [a](javascript:b) \u202e\x1b[31m"
LORA: dict[str, Any] = {"lora": {"rank": 2, "alpha": 4.0}}


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    tiny.unlearn(out, keep_epochs=[1])
    return out


def facts(text: str) -> Any:
    """The YAML inside the fence."""
    found = re.search(r"^(`{3,})yaml\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL)
    assert found
    return yaml.safe_load(found[2])


def hostile_card() -> Card:
    return Card(
        identity={
            "seed": 0,
            "method": HOSTILE,
            "settings": {HOSTILE: HOSTILE},
            "training": {"epochs": 2, "lora": {"targets": [HOSTILE]}},
            "parts": {"forget": [HOSTILE]},
            "inputs": {
                "model": "ab", "tokenizer": "cd", "template": '{"template": "plain"}', "max_length": "9",
                "dtype": "float32", HOSTILE: "digest",
            },
            "versions": {HOSTILE: HOSTILE},
        },
        counts={"forget_rows": 3, HOSTILE: 3},
        model=ModelSettings(checkpoint=HOSTILE),
        benchmark=HOSTILE,
    )  # fmt: skip


def test_a_hub_reads_the_front_matter_and_a_person_how_it_was_made(finished: Path) -> None:
    card = ModelCard.load(finished / "model" / "README.md")
    assert card.data.to_dict() == {
        "base_model": "local",
        "library_name": "transformers",
        "tags": ["unlearning", "palu"],
    }
    record, told = read_json(finished / "run.json"), facts(card.text)
    assert told["method"] == {"name": "palu", "settings": record["identity"]["settings"]}
    assert told["training"] == record["identity"]["training"]
    assert told["base"]["fingerprint"] == record["identity"]["inputs"]["model"]
    assert set(told["data"]["digests"]) == {"examples", "spans", "states", "topk"}
    assert told["seed"] == 0
    assert record["model"] in card.text
    assert "trained to forget 4 rows" in card.text
    assert "finished 2 of 2 epochs" in card.text


def test_each_kept_epoch_has_a_card_of_its_own(finished: Path) -> None:
    text = (finished / "epoch1" / "model" / "README.md").read_text()
    assert "finished 1 of 2 epochs" in text
    assert models.fingerprint(finished / "epoch1" / "model") in text


def test_the_card_holds_no_text_of_the_data_no_path_and_no_date(finished: Path, tiny: Tiny) -> None:
    text = (finished / "model" / "README.md").read_text()
    for _, prompt, reply, sensitive in ROWS:
        assert prompt not in text
        assert reply not in text
        assert not sensitive or sensitive not in text
    assert str(tiny.folder) not in text
    assert not re.search(r"(?<![\w.])/\w+/", text)
    assert not re.search(r"20\d\d-\d\d", text)


def test_the_same_run_elsewhere_writes_the_same_card(finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    tiny.unlearn(tmp_path, keep_epochs=[1])
    for name in ("model/README.md", "epoch1/model/README.md"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_no_fingerprint_counts_the_card(finished: Path) -> None:
    path, before = finished / "model" / "README.md", models.fingerprint(finished / "model")
    text = path.read_text()
    path.write_text("another")
    assert models.fingerprint(finished / "model") == before
    path.write_text(text)


def test_the_folder_loads_with_the_library_alone(finished: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(str(finished / "model"))
    tokenizer = AutoTokenizer.from_pretrained(str(finished / "model"))
    ids = tokenizer("Where was Ada born?", return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(ids).logits).all()


def test_an_adapter_s_card_says_to_merge_it_and_goes_with_the_merged_model(tiny: Tiny, tmp_path: Path) -> None:
    tiny.unlearn(tmp_path / "run", training=LORA)
    models.merge_adapter(tmp_path / "run" / "model", tmp_path / "full")
    text = (tmp_path / "full" / "README.md").read_text()
    assert text == (tmp_path / "run" / "model" / "README.md").read_text()
    assert "palu merge --model DIR --out FULL" in text
    assert models.fingerprint(tmp_path / "run" / "model") in text
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "full"))
    ids = AutoTokenizer.from_pretrained(str(tmp_path / "full"))("Who is Bram?", return_tensors="pt")["input_ids"]
    adapted = models.load_model(tmp_path / "run" / "model")
    assert torch.equal(model.eval()(ids).logits, adapted(ids).logits)


def test_an_adapter_without_a_card_is_merged_without_one(tiny: Tiny, tmp_path: Path) -> None:
    tiny.unlearn(tmp_path / "run", training=LORA)
    (tmp_path / "run" / "model" / "README.md").unlink()
    models.merge_adapter(tmp_path / "run" / "model", tmp_path / "full")
    assert not (tmp_path / "full" / "README.md").exists()


def test_hostile_settings_stay_inside_the_fence_as_ascii() -> None:
    text = hostile_card().text(2, "0123456789abcdef")
    assert text.isascii()
    assert "\x1b" not in text
    assert ModelCard(text, ignore_metadata_errors=False).data.base_model == "local"
    assert facts(text)["method"]["settings"] == {HOSTILE: HOSTILE}
    outside = re.sub(r"^(`{3,})yaml\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "script" not in outside
    assert "javascript" not in outside


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        (None, "local"),
        ("owner/name", "owner/name"),
        ("https://user:secret@mirror/owner/name", "local"),
        ("here", "local"),
        ("/somewhere/else", "local"),
        ("a/b/c", "local"),
    ],
)
def test_the_base_is_a_hub_id_or_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str | None, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    assert base_name(ModelSettings(checkpoint=checkpoint)) == name
