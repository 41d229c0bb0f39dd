"""Training ends after the epoch in which the watched replies have become improbable."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from palu import methods, models, tables, tokens
from palu.errors import UserError
from palu.files import read_json
from palu.training.loop import Machine
from palu.training.objective import LikelihoodObjective
from palu.training.settings import MachineSettings, TrainingSettings
from palu.training.stop import Stop
from palu.training.unlearn import unlearn
from tests.training.conftest import WATCHED

# of four epochs; below what any of them reaches
NEVER = 1e-9


class Interrupted(Exception):
    """Stands for whatever stops a program."""


@pytest.fixture
def run(world: Any, watched_examples_path: Path, tmp_path: Path) -> Callable[..., Path]:
    """Unlearn with GradDiff until the watched rows' probability is at or below `probability`; the run's folder."""

    def unlearned(name: str, probability: float | None, stop_after: int = 0, **changes: Any) -> Path:
        def after_step(step: int) -> None:
            if step == stop_after:
                raise Interrupted

        stop = None if probability is None else {"probability": probability}
        training = {"batch_size": 4, "epochs": 4, "learning_rate": 1e-3, "warmup_epochs": 0.5, "stop": stop}
        given = {"examples_path": watched_examples_path, "keep_epochs": [2, 3]} | changes
        unlearn(
            **world.inputs(**given),
            method_name="gd",
            method_settings=methods.load("gd").Settings.parse({"forget_weight": 0.3}, "test"),
            settings=TrainingSettings.parse(training | given.pop("training", {}), "test"),
            out=tmp_path / name,
            machine=Machine(checkpoint_seconds=0 if stop_after else 1e9, after_step=after_step),
        )
        return tmp_path / name

    return unlearned


@pytest.fixture
def objective(world: Any) -> LikelihoodObjective:
    return LikelihoodObjective(models.load_model(world.model_folder))


@pytest.fixture
def watched_rows(world: Any) -> list[tokens.TokenRow]:
    examples = [{"example_id": str(i), "prompt": asked, "reply": reply} for i, (asked, reply) in enumerate(WATCHED)]
    return tokens.encode(examples, models.load_tokenizer(world.model_folder), world.model_settings, 512)


def naive_probability(model: Any, rows: list[tokens.TokenRow]) -> float:
    """The mean of p(reply)^(1/T), each row alone, by the library's own logits."""
    found = []
    for row in rows:
        ids = torch.tensor(row.input_ids[None], dtype=torch.int64)
        with torch.no_grad():
            p = model(ids).logits[0].double().softmax(-1)
        product = math.prod(p[t - 1, row.input_ids[t]].item() for t in range(row.reply_start, len(row)))
        found.append(product ** (1 / (len(row) - row.reply_start)))
    return sum(found) / len(found)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("micro_batch_tokens", [1, 60, 4096])
def test_the_probability_is_the_mean_of_the_geometric_means_over_reply_and_end_tokens(
    objective: LikelihoodObjective, watched_rows: list[tokens.TokenRow], packed: bool, micro_batch_tokens: int
) -> None:
    machine = MachineSettings(packed=packed, micro_batch_tokens=micro_batch_tokens)
    found = Stop(0.5, watched_rows).mean_probability(Accelerator(), objective, 2, machine)
    assert found == pytest.approx(naive_probability(objective.model, watched_rows), rel=1e-5)


def test_a_head_of_zeros_finds_every_token_equally_probable(
    objective: LikelihoodObjective, watched_rows: list[tokens.TokenRow]
) -> None:
    head = objective.model.lm_head
    with torch.no_grad():
        head.weight.zero_()
        found = objective.row_log_probs(tokens.collate(watched_rows, 2))
    torch.testing.assert_close(found, torch.full((3,), -math.log(len(head.weight))))


def test_the_target_itself_is_reached_and_once_is_enough() -> None:
    stop = Stop(0.1, [])
    assert not stop.is_reached([])
    assert not stop.is_reached([0.2, 0.11])
    assert stop.is_reached([0.2, 0.1])
    assert stop.is_reached([0.09, 0.11])


def test_a_run_ends_with_the_epoch_that_reaches_the_target(run: Callable[..., Path]) -> None:
    whole = run("whole", NEVER)
    values = read_json(whole / "run.json")["validation_probabilities"]
    assert len(values) == 4
    assert values == sorted(values, reverse=True), "unlearning lowers them"
    stopped = run("stopped", values[1])
    facts = read_json(stopped / "run.json")
    assert facts["validation_probabilities"] == values[:2]
    assert (facts["epochs"], facts["steps"]) == (2, 4)
    assert facts["identity"]["training"]["stop"] == {"probability": values[1]}
    rows = [tables.rows(out / "steps.parquet", "steps") for out in (stopped, whole)]
    assert [row["value"] for row in rows[0]] == [row["value"] for row in rows[1] if row["step"] <= 4]
    last, then = (load_file(out / "model.safetensors") for out in (stopped / "model", whole / "epoch2" / "model"))
    assert all(last[name].equal(then[name]) for name in last)


def test_kept_epochs_past_the_end_are_the_last_model_and_the_record_says_so(run: Callable[..., Path]) -> None:
    values = read_json(run("whole", NEVER) / "run.json")["validation_probabilities"]
    stopped = run("stopped", values[1])
    last = (stopped / "model" / "model.safetensors").read_bytes()
    for epoch in (2, 3):
        assert (stopped / f"epoch{epoch}" / "model" / "model.safetensors").read_bytes() == last
        assert (stopped / f"epoch{epoch}" / "model" / "tokenizer.json").is_file()
    facts = read_json(stopped / "run.json")
    assert (facts["keep_epochs"], facts["keep_epochs_after_the_end"]) == ([2, 3], [3])
    assert not (stopped / ".checkpoint").exists()


def test_without_a_stop_nothing_is_measured_and_every_epoch_is_trained(run: Callable[..., Path]) -> None:
    plain, watched = run("plain", None), run("watched", NEVER)
    facts = [read_json(out / "run.json") for out in (plain, watched)]
    assert [(f["epochs"], f["keep_epochs_after_the_end"]) for f in facts] == [(4, []), (4, [])]
    assert facts[0]["validation_probabilities"] == []
    models_of = [(out / "model" / "model.safetensors").read_bytes() for out in (plain, watched)]
    assert models_of[0] == models_of[1], "to measure changes nothing"


def test_watched_rows_are_forgotten_like_the_others(run: Callable[..., Path], world: Any) -> None:
    both = read_json(run("both", None) / "run.json")
    alone = read_json(run("alone", None, examples_path=world.examples_path) / "run.json")
    assert (both["forget_rows"], both["validation_rows"]) == (8, 3)
    assert (alone["forget_rows"], alone["validation_rows"]) == (5, 0)
    assert both["units"]["forget"] > alone["units"]["forget"]
    assert both["retain_rows"] == alone["retain_rows"] == 3


@pytest.mark.parametrize("step", [1, 3, 4])
def test_an_interrupted_run_is_stopped_where_an_undisturbed_one_is(run: Callable[..., Path], step: int) -> None:
    target = read_json(run("whole", NEVER) / "run.json")["validation_probabilities"][1]
    undisturbed = run("undisturbed", target)
    with pytest.raises(Interrupted):
        run("interrupted", target, stop_after=step)
    resumed = run("interrupted", target)
    facts = [read_json(out / "run.json") for out in (undisturbed, resumed)]
    assert facts[1]["resumed_from_step"] == step
    for key in ("epochs", "steps", "validation_probabilities"):
        assert facts[0][key] == facts[1][key]
    files = [(out / "model" / "model.safetensors").read_bytes() for out in (undisturbed, resumed)]
    assert files[0] == files[1]


def test_without_rows_to_watch_a_stop_is_refused_and_nothing_is_written(
    run: Callable[..., Path], world: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run("out", 0.1, examples_path=world.examples_path)
    assert str(error.value) == (
        f"{world.examples_path}: training.stop watches rows of part 'validation', but it holds only forget, retain; "
        "allowed: stop: null, or a benchmark with such rows"
    )
    assert not (tmp_path / "out").exists()


def test_rows_to_watch_need_rows_that_are_reported(run: Callable[..., Path], tmp_path: Path, world: Any) -> None:
    rows = [row for row in tables.rows(world.examples_path, "examples") if row["part"] == "retain"]
    watched = rows[0] | {"part": "validation", "example_id": "validation/0", "reply": "Other."}
    tables.write(tmp_path / "e.parquet", "examples", [*rows, watched], {})
    with pytest.raises(UserError, match="no training row of part 'forget'; allowed, as it holds: retain, validation"):
        run("out", 0.1, examples_path=tmp_path / "e.parquet")
