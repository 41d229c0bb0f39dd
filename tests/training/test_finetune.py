"""Training a model on its examples, from nothing or from a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from palu import tables
from palu.errors import UserError
from palu.files import read_json
from palu.models import ModelSettings
from palu.training.finetune import finetune
from palu.training.settings import FinetuneSettings


def run(
    examples_path: Path, model_settings: ModelSettings, out: Path, parts: list[str], seed: int = 0, **more: Any
) -> None:
    finetune(
        model_settings=model_settings,
        settings=FinetuneSettings(epochs=2, batch_size=4),
        examples_path=examples_path,
        parts=parts,
        seed=seed,
        out=out,
        **more,
    )


def weights(out: Path) -> dict[str, Any]:
    return load_file(out / "model" / "model.safetensors")


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    examples_path: Path, model_settings: ModelSettings, tmp_path: Path
) -> None:
    for name, seed in (("first", 1), ("second", 1), ("third", 2)):
        run(examples_path, model_settings, tmp_path / name, ["forget", "retain"], seed)
    first, second, third = (weights(tmp_path / name) for name in ("first", "second", "third"))
    assert all(first[name].equal(second[name]) for name in first)
    assert not any(first[name].equal(third[name]) for name in first)


def test_original_and_retain_model_share_a_tokenizer_and_leave_their_records(
    examples_path: Path, model_settings: ModelSettings, tmp_path: Path
) -> None:
    everything = ["forget", "retain"]
    run(examples_path, model_settings, tmp_path / "original", everything)
    run(examples_path, model_settings, tmp_path / "retain", ["retain"], tokenizer_parts=everything)
    texts = [(tmp_path / name / "model" / "tokenizer.json").read_text() for name in ("original", "retain")]
    assert texts[0] == texts[1]
    record = read_json(tmp_path / "retain" / "run.json")
    # three retain rows make one step an epoch; wrong answers are never trained on
    assert (record["rows"], record["steps"]) == (3, 2)
    assert read_json(tmp_path / "original" / "run.json")["rows"] == 8
    steps = tables.rows(tmp_path / "retain" / "steps.parquet", "steps")
    assert [row["term"] for row in steps] == ["loss", "nll"] * 2
    assert [row["unit_count"] for row in steps if row["term"] == "loss"] == [3, 3]


def test_a_checkpoint_is_trained_on(examples_path: Path, model_settings: ModelSettings, tmp_path: Path) -> None:
    run(examples_path, model_settings, tmp_path / "base", ["retain"])
    start = ModelSettings(base_checkpoint=str(tmp_path / "base" / "model"))
    run(examples_path, start, tmp_path / "tuned", ["retain"])
    losses = [
        [row["value"] for row in tables.rows(tmp_path / name / "steps.parquet", "steps") if row["term"] == "loss"]
        for name in ("base", "tuned")
    ]
    assert losses[1][0] < losses[0][0]
    assert (tmp_path / "tuned" / "model" / "tokenizer.json").read_text() == (
        tmp_path / "base" / "model" / "tokenizer.json"
    ).read_text()


def test_a_part_that_is_not_there_is_named(examples_path: Path, model_settings: ModelSettings, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"examples.parquet: no training row of part 'holdout'; allowed.*forget, retain"
    ):
        run(examples_path, model_settings, tmp_path, ["forget", "holdout"])


def test_from_nothing_there_is_no_chat_template(
    examples_path: Path, model_settings: ModelSettings, tmp_path: Path
) -> None:
    settings = model_settings.model_copy(update={"template": "chat"})
    with pytest.raises(UserError, match="template: 'chat' needs a base_checkpoint"):
        run(examples_path, settings, tmp_path, ["retain"])
