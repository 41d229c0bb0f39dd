"""Unlearning end to end on a small world: outputs, first-step values by hand, bad inputs."""

import math
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from palu import methods, tables
from palu.errors import UserError
from palu.files import read_json
from palu.reference import cache
from palu.training.loop import Machine
from palu.training.settings import TrainingSettings
from palu.training.unlearn import unlearn
from tests.training.conftest import LAYER

OWN = {
    "palu": {"top_k": 20, "first_n": 2},
    "npo": {"beta": 0.5},
    "gd": {"forget_weight": 0.1},
}
# what the other methods need to run on the small world
SMALL_WORLD = {"rmu": {"layer": LAYER}, "pdu": {"dual_warmup_epochs": 0}}


def run(
    world: Any,
    out: Path,
    method: str = "palu",
    own: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    micro_batch_tokens: int = 4096,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Unlearn and return the rows of steps.parquet."""
    settings = {"batch_size": 2, "epochs": 2, "learning_rate": 1e-3, "warmup_epochs": 0.0} | (training or {})
    unlearn(
        **world.inputs(**changes),
        method_name=method,
        method_settings=methods.load(method).Settings.parse((OWN | SMALL_WORLD).get(method, {}) | (own or {}), "test"),
        settings=TrainingSettings.parse(settings, "test"),
        out=out,
        machine=Machine(micro_batch_tokens=micro_batch_tokens, checkpoint_seconds=1e9),
    )
    return tables.rows(out / "steps.parquet", "steps")


def by_term(rows: list[dict[str, Any]], key: str = "value") -> dict[str, list[float]]:
    terms: dict[str, list[float]] = {}
    for row in rows:
        terms.setdefault(row["term"], []).append(row[key])
    return terms


@pytest.mark.parametrize("method", sorted(OWN))
def test_a_run_leaves_a_changed_model_every_term_of_every_step_and_its_record(
    world: Any, tmp_path: Path, method: str
) -> None:
    rows = run(world, tmp_path, method)
    weights = methods.load(method).Settings.parse(OWN[method], "test").weights
    terms = by_term(rows)
    # five forget rows in steps of two: three steps an epoch
    assert {term: len(values) for term, values in terms.items()} == dict.fromkeys(["loss", *weights], 6)
    for step in range(6):
        parts = [weights[term] * terms[term][step] for term in weights if not math.isnan(terms[term][step])]
        assert terms["loss"][step] == pytest.approx(math.fsum(parts))
    before = load_file(world.model_folder / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not before[name].equal(after[name]) for name in before)
    assert read_json(tmp_path / "run.json")["identity"]["method"] == method
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run.json", "steps.parquet"]


@pytest.mark.parametrize(
    ("last_step", "item_counts", "rates"),
    [
        ("short", [2, 2, 1], [0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        ("drop", [2, 2], [0, 1 / 2, 1, 1 / 2]),
        ("merge", [2, 3], [0, 1 / 2, 1, 1 / 2]),
    ],
)
def test_the_last_step_of_an_epoch_and_the_warm_up_follow_the_settings(
    world: Any, tmp_path: Path, last_step: str, item_counts: list[int], rates: list[float]
) -> None:
    training = {"last_step": last_step, "warmup_epochs": 1.0, "learning_rate": 1e-3}
    steps = [row for row in run(world, tmp_path, "npo", training=training) if row["term"] == "forget"]
    assert [row["unit_count"] for row in steps] == item_counts * 2
    assert [row["learning_rate"] for row in steps] == pytest.approx([1e-3 * rate for rate in rates])
    assert [row["epoch"] for row in steps][len(item_counts) - 1 :: len(item_counts)] == [1.0, 2.0]
    recorded = read_json(tmp_path / "run.json")["identity"]["training"]
    assert recorded.get("last_step", "short") == last_step


def test_at_the_first_step_the_model_is_its_own_reference(world: Any, tmp_path: Path) -> None:
    palu, npo = run(world, tmp_path / "palu"), run(world, tmp_path / "npo", "npo")
    assert by_term(palu)["common"][0] == pytest.approx(0, abs=1e-6)
    # -(2 / beta) log sigma(0) = 4 log 2
    assert by_term(npo)["forget"][0] == pytest.approx(4 * math.log(2), rel=1e-5)
    assert by_term(npo, "unit_count")["forget"][0] == 2


def test_the_record_counts_the_tokens_of_each_role(world: Any, tmp_path: Path) -> None:
    run(world, tmp_path)
    record = read_json(tmp_path / "run.json")
    assert record["forget_rows"] == 5
    assert record["retain_rows"] == 3
    assert record["steps"] == 6
    assert record["initiating_tokens"] == record["units"]["local"] == 8
    assert record["initiating_tokens"] + record["sensitive_tokens_past_first_n"] == record["sensitive_tokens"]
    assert record["common_tokens"] == record["units"]["common"]
    # five replies have an end token each
    assert record["common_tokens"] + record["sensitive_tokens"] == record["forget_reply_tokens"] + 5
    assert record["top_k_share"] == 20 / record["vocabulary"]
    assert record["resumed_from_step"] == 0


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_cutting_a_step_into_micro_batches_changes_nothing_but_rounding(
    world: Any, tmp_path: Path, method: str
) -> None:
    training = {"batch_size": 5, "epochs": 2}
    whole = run(world, tmp_path / "whole", method, training=training)
    single = run(world, tmp_path / "single", method, training=training, micro_batch_tokens=1)
    # a loss that is a small difference of two terms near 6 has the rounding of those
    absolute = 1e-7 if method in OWN else 1e-6
    for key in ("value", "grad_norm"):
        expected = pytest.approx([row[key] for row in whole], rel=1e-5, abs=absolute, nan_ok=True)
        assert [row[key] for row in single] == expected
    assert [row["unit_count"] for row in single] == [row["unit_count"] for row in whole]


def test_a_step_without_a_sensitive_token_has_no_local_term_and_the_run_goes_on(world: Any, tmp_path: Path) -> None:
    rows = run(world, tmp_path, training={"batch_size": 1, "epochs": 1})
    units, values = by_term(rows, "unit_count")["local"], by_term(rows)["local"]
    assert sorted(units) == [0, 2, 2, 2, 2]
    assert [math.isnan(value) for value in values] == [count == 0 for count in units]
    assert all(math.isfinite(value) for value in by_term(rows)["loss"])


def test_a_method_that_needs_no_reference_opens_none(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the reference was opened")

    monkeypatch.setattr(cache, "ReferenceCache", refuse)
    run(world, tmp_path, "gd", reference_paths=None, spans_path=None, alternates_path=None)
    assert (tmp_path / "run.json").is_file()


def test_the_model_of_a_kept_epoch_is_that_of_a_run_that_ends_there(world: Any, tmp_path: Path) -> None:
    run(world, tmp_path / "long", training={"epochs": 2, "schedule": "constant"}, keep_epochs=[1])
    run(world, tmp_path / "short", training={"epochs": 1, "schedule": "constant"})
    kept = load_file(tmp_path / "long" / "epoch1" / "model" / "model.safetensors")
    short = load_file(tmp_path / "short" / "model" / "model.safetensors")
    assert all(kept[name].equal(short[name]) for name in short)
    assert (tmp_path / "long" / "epoch1" / "model" / "tokenizer.json").is_file()


def test_without_a_weight_on_the_retain_term_no_retain_row_is_needed(world: Any, tmp_path: Path) -> None:
    rows = run(world, tmp_path, "gd", own={"retain_weight": 0}, retain_parts=["absent"])
    assert set(by_term(rows, "unit_count")["retain"]) == {0}


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        (
            "palu",
            {"forget_parts": ["forgotten"]},
            "no training row of part 'forgotten'; allowed, as it holds: forget, re",
        ),
        ("npo", {"retain_parts": ["absent"]}, "the term 'retain' has weight 1 but nothing to act on.* 0 retain rows"),
        ("palu", {"spans_path": None}, "'palu' acts on sensitive tokens, but no file of spans is given"),
        ("palu", {"without": ["topk"]}, "top-K index, but no file of it is given"),
        ("npo", {"without": ["states"]}, "states, but no file of it is given"),
        ("palu", {"own": {"top_k": 41}}, "top_k 41 is asked for, but 40 are indexed"),
        ("palu", {"keep_epochs": [3]}, "epoch 3 is not in this run; allowed: 1 to 2"),
        ("dpo", {"alternates_path": None}, "other replies to the forget rows' prompts, but no file of them is given"),
        ("dpo", {"without": ["alternates"]}, "the reference's states, but no file of it is given"),
        ("rmu", {"own": {"layer": 1}}, "layer.*made with layer '0', but '1' is in use"),
    ],
)
def test_a_bad_input_is_told_in_one_line_and_leaves_nothing(
    world: Any, tmp_path: Path, method: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        run(world, tmp_path / "out", method, **changes)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_forget_row_with_fewer_other_replies_than_the_rest_is_named(world: Any, tmp_path: Path) -> None:
    rows = tables.rows(world.alternates_path, "examples")
    for kept, count in ((rows[1:], 1), (rows[2:], 0)):
        tables.write(tmp_path / "a.parquet", "examples", kept, {})
        with pytest.raises(UserError, match=rf"{count} other replies for example 'forget/00000/original/0'"):
            run(world, tmp_path / "out", "dpo", alternates_path=tmp_path / "a.parquet")


def test_other_replies_of_other_rows_do_no_harm(world: Any, tmp_path: Path) -> None:
    rows = tables.rows(world.alternates_path, "examples")
    more = [*rows, rows[0] | {"example_id": "forget/00099/original/0~0"}]
    tables.write(tmp_path / "a.parquet", "examples", more, {})
    found = [
        run(world, tmp_path / name, "dpo", alternates_path=path)
        for name, path in (("one", world.alternates_path), ("two", tmp_path / "a.parquet"))
    ]
    assert by_term(found[0]) == by_term(found[1])


def test_spans_that_cover_no_token_leave_palu_nothing_to_do(world: Any, tmp_path: Path) -> None:
    tables.write(tmp_path / "spans.parquet", "spans", [], {})
    with pytest.raises(UserError, match=r"the term 'local' has weight 1 but nothing.*5 forget rows with 0 sensitive"):
        run(world, tmp_path / "out", spans_path=tmp_path / "spans.parquet")


def test_a_text_to_forget_and_to_retain_is_refused(world: Any, tmp_path: Path) -> None:
    rows = tables.rows(world.examples_path, "examples")
    twin = rows[1] | {"example_id": "retain/00009/original/0", "part": "retain"}
    tables.write(tmp_path / "examples.parquet", "examples", [*rows, twin], {})
    with pytest.raises(UserError, match=r"'forget/00001/original/0'.*'retain/00009/original/0'.*are the same text"):
        run(world, tmp_path / "out", "gd", examples_path=tmp_path / "examples.parquet")
