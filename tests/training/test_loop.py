"""The loop: schedules by hand, gradients that do not depend on how a step is cut, a run that repeats itself."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from palu import models, tokens
from palu.errors import UserError
from palu.models import ModelSettings
from palu.training.checkpoints import Checkpoints
from palu.training.data import Examples
from palu.training.log import StepFacts, check_finite
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import LikelihoodObjective, micro_batch
from palu.training.optimizers import build_optimizer, build_scheduler
from palu.training.plan import Plan, RowGroup, StepRows
from palu.training.settings import TrainingSettings

MakeLoop = Callable[..., Loop]


@pytest.fixture
def make_loop(examples_path: Path, model_settings: ModelSettings, tmp_path: Path) -> MakeLoop:
    """A loop of finetuning over all eight rows, from the same untrained model each time."""

    def make(micro_batch_tokens: int = 4096, packed: bool = True, **settings: float | str) -> Loop:
        examples = Examples(examples_path).of(["forget", "retain"])
        assert model_settings.architecture is not None
        texts = [row["prompt"] + row["reply"] for row in examples]
        model, tokenizer = models.build_from_scratch(model_settings.architecture, texts, seed=0)
        rows = tokens.encode(examples, tokenizer, model_settings, 512)
        chosen = TrainingSettings.parse({"batch_size": 3, "learning_rate": 1e-2, "epochs": 2} | settings, "test")
        return Loop(
            LikelihoodObjective(model),
            Rows(rows, [], tokenizer.pad_token_id),
            Plan(0, len(rows), 0, chosen.batch_size, chosen.epochs),
            chosen,
            Checkpoints(tmp_path / "checkpoint", {}),
            Machine(micro_batch_tokens=micro_batch_tokens, packed=packed, checkpoint_seconds=1e9),
        )

    return make


def weights_of(loop: Loop) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in loop.objective.model.state_dict().items()}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 3 epochs of 4 steps, the first of them warm-up, learning rate 1: rates of steps 0, 2, 4, 8, 11
        ("linear", [0.0, 0.5, 1.0, 0.5, 0.125]),
        ("constant", [0.0, 0.5, 1.0, 1.0, 1.0]),
        ("cosine", [0.0, 0.5, 1.0, 0.5, (1 + math.cos(math.pi * 7 / 8)) / 2]),
    ],
)
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(schedule: str, expected: list[float]) -> None:
    settings = TrainingSettings.parse({"learning_rate": 1.0, "epochs": 3, "schedule": schedule}, "test")
    optimizer = build_optimizer(nn.Linear(2, 2), settings)
    scheduler = build_scheduler(optimizer, settings, steps_per_epoch=4)
    rates = []
    for _ in range(12):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert [rates[step] for step in (0, 2, 4, 8, 11)] == pytest.approx(expected)


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    settings = TrainingSettings(learning_rate=0.5, warmup_epochs=0.0)
    scheduler = build_scheduler(build_optimizer(nn.Linear(2, 2), settings), settings, steps_per_epoch=4)
    assert scheduler.get_last_lr()[0] == 0.5


def test_weight_decay_spares_biases() -> None:
    groups = build_optimizer(nn.Linear(2, 2), TrainingSettings(weight_decay=0.3)).param_groups
    assert {tuple(p.shape): group["weight_decay"] for group in groups for p in group["params"]} == {
        (2, 2): 0.3,
        (2,): 0.0,
    }


@pytest.mark.parametrize("micro_batch_tokens", [1, 90, 200])
@pytest.mark.parametrize("packed", [True, False])
def test_a_step_s_loss_and_gradients_do_not_depend_on_how_it_is_cut(
    make_loop: MakeLoop, micro_batch_tokens: int, packed: bool
) -> None:
    whole, cut = make_loop(), make_loop(micro_batch_tokens, packed)
    chosen = StepRows(list(range(8)), [], [])
    totals, units = whole.accumulate(chosen)
    cut_totals, cut_units = cut.accumulate(chosen)
    assert units == cut_units
    assert cut_totals == pytest.approx(totals, rel=1e-6)
    other = dict(cut.objective.named_parameters())
    for name, parameter in whole.objective.named_parameters():
        torch.testing.assert_close(other[name].grad, parameter.grad, rtol=1e-4, atol=1e-7)


def test_a_step_s_gradient_is_that_of_the_mean_over_all_its_reply_tokens(make_loop: MakeLoop) -> None:
    loop = make_loop(micro_batch_tokens=90)
    totals, units = loop.accumulate(StepRows([0, 2, 4], [], []))
    model = loop.objective.model
    log_probs = []
    for i in (0, 2, 4):
        row = loop.rows.items[i]
        logits = model(input_ids=torch.tensor(row.input_ids[None], dtype=torch.int64)).logits[0].log_softmax(-1)
        log_probs += [logits[t - 1, row.input_ids[t]] for t in range(row.reply_start, len(row))]
    naive = -torch.stack(log_probs).mean()
    assert units == {"nll": len(log_probs)}
    assert totals["nll"] / units["nll"] == pytest.approx(naive.item(), rel=1e-5)
    gradients = torch.autograd.grad(naive, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)


def test_two_runs_of_the_same_seed_end_in_the_same_bits(make_loop: MakeLoop) -> None:
    loops = [make_loop(), make_loop()]
    results = [loop.run((), lambda _: None) for loop in loops]
    first, second = (weights_of(loop) for loop in loops)
    assert all(torch.equal(first[name], second[name]) for name in first)
    values = [[(row["step"], row["term"], row["value"], row["grad_norm"]) for row in r.log.rows] for r in results]
    assert values[0] == values[1]


def test_training_lowers_the_loss_and_logs_every_step(make_loop: MakeLoop) -> None:
    result = make_loop(epochs=6, warmup_epochs=0.0).run((), lambda _: None)
    losses = [row["value"] for row in result.log.rows if row["term"] == "loss"]
    assert len(losses) == 18
    assert losses[-1] < 0.8 * losses[0]
    assert (result.log.steps, result.epochs, result.resumed_from, result.processes) == (18, 6, 0, 1)
    assert [row["epoch"] for row in result.log.rows if row["term"] == "nll"][:4] == pytest.approx(
        [1 / 3, 2 / 3, 1, 4 / 3]
    )


def test_clipping_changes_the_step_but_not_the_logged_norm(make_loop: MakeLoop) -> None:
    free, clipped = make_loop(warmup_epochs=0.0), make_loop(warmup_epochs=0.0, max_grad_norm=1e-6)
    norms = [loop.run((), lambda _: None).log.rows[0]["grad_norm"] for loop in (free, clipped)]
    assert norms[0] == norms[1] > 0.1
    first, second = weights_of(free), weights_of(clipped)
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_a_loss_that_is_no_number_stops_the_run_with_step_and_term(make_loop: MakeLoop) -> None:
    loop = make_loop()
    with torch.no_grad():
        next(loop.objective.model.parameters()).fill_(math.inf)
    with pytest.raises(UserError, match=r"training step 1 of 6: nll is nan.*learning_rate below"):
        loop.run((), lambda _: None)


def test_a_gradient_norm_that_is_no_number_stops_the_run() -> None:
    check_finite({"nll": 1.0, "gradient norm": 2.0}, 3, 9, 0.1)
    with pytest.raises(UserError, match=r"training step 3 of 9: gradient norm is inf"):
        check_finite({"nll": 1.0, "gradient norm": math.inf}, 3, 9, 0.1)


def test_a_term_without_units_adds_nothing_and_has_no_mean() -> None:
    facts = StepFacts(
        1,
        0.5,
        {"a": 6.0, "b": 0.0, "c": 4.0},
        {"a": 3, "b": 0, "c": 2},
        {"a": 2.0, "b": 1.0, "c": 0.0},
        5,
        0.1,
        1.0,
        0.2,
    )
    assert facts.loss == 4.0
    rows = {row["term"]: row for row in facts.rows()}
    assert {term: row["unit_count"] for term, row in rows.items()} == {"loss": 5, "a": 3, "b": 0, "c": 2}
    assert rows["a"]["value"] == 2.0
    assert rows["c"]["value"] == 2.0
    assert math.isnan(rows["b"]["value"])


@pytest.fixture
def _fresh_accelerate() -> Iterator[None]:
    """accelerate holds one precision for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("_fresh_accelerate")
def test_in_bfloat16_the_weights_stay_in_float32_and_the_loss_stays_near(make_loop: MakeLoop) -> None:
    exact, units = make_loop().accumulate(StepRows([0, 1, 2], [], []))
    AcceleratorState._reset_state(reset_partial_state=True)
    loop = make_loop(mixed_precision="bf16")
    mixed, _ = loop.accumulate(StepRows([0, 1, 2], [], []))
    assert exact["nll"] != mixed["nll"] == pytest.approx(exact["nll"], rel=1e-2)
    assert {parameter.dtype for parameter in loop.objective.parameters()} == {torch.float32}
    assert {parameter.grad.dtype for parameter in loop.objective.parameters()} == {torch.float32}
    assert units["nll"] > 0


@pytest.mark.parametrize("packed", [True, False])
def test_a_micro_batch_knows_its_items_from_its_partners_and_alternates(make_loop: MakeLoop, packed: bool) -> None:
    rows = list(make_loop().rows.items)
    batch = micro_batch(RowGroup(rows[:2], rows[5:8], rows[3:5]), pad_id=0, packed=packed)
    forget, retain, alternate = batch.parts()
    assert (forget.row_count, retain.row_count, alternate.row_count) == (2, 3, 2)
    assert forget.row.unique().tolist() == alternate.row.unique().tolist() == [0, 1]
    assert retain.row.unique().tolist() == [0, 1, 2]
    for part, own in ((forget, rows[:2]), (retain, rows[5:8]), (alternate, rows[3:5])):
        assert part.target_ids.tolist() == [token for row in own for token in row.input_ids[row.reply_start :]]
        assert part.example_ids == [row.example_id for row in own]
    shown = batch.positions()
    for part, own in zip((shown.forget, shown.retain, shown.alternate), batch.parts(), strict=True):
        assert part.target_ids.equal(own.target_ids)
        assert part.row_count == own.row_count
        assert not hasattr(part, "example_ids"), "a method sees no names"
    alone = micro_batch(RowGroup(rows[:2], [], []), pad_id=0, packed=packed).parts()
    assert alone.retain.row_count == len(alone.retain.target_ids) == alone.alternate.row_count == 0


def test_the_rows_of_a_plan_are_those_of_its_indices(make_loop: MakeLoop) -> None:
    rows = list(make_loop().rows.items)
    named = Rows(rows[:3], rows[3:6], 0, [[rows[6], rows[7]], [rows[7], rows[6]], [rows[6], rows[6]]])
    group = named.group(StepRows([2, 0], [1, 1], [1, 0]))
    assert group == RowGroup([rows[2], rows[0]], [rows[4], rows[4]], [rows[6], rows[6]])
    assert named.whole() == RowGroup(rows[:3], rows[3:6], [rows[6], rows[7], rows[6]])
    assert group.rows == [*group.items, *group.partners, *group.alternates]
