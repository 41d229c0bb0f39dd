"""RMU against its equation, finite differences, other cuts of the step, and a case by hand."""

import math
from dataclasses import replace

import pytest
import torch

from palu.errors import UserError
from palu.heads import Head
from palu.methods import rmu
from palu.roles import COMMON, END
from tests.methods.oracle import HEADS, by_hand, terms_of, units_of
from tests.methods.plain import mean

# the small models of the tests have two blocks
SETTINGS = [rmu.Settings(layer=0), rmu.Settings(layer=0, steering_coefficient=6.5, direction_seed=3, retain_weight=12)]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def plain_loops(problem, settings):
    """The equation of the paper, one float at a time, but for the draw of the direction."""
    forget, retain = problem.forget, problem.retain
    made = torch.Generator().manual_seed(settings.direction_seed)
    drawn = torch.rand(forget.layer_hidden.shape[1], generator=made, dtype=torch.float64).tolist()
    length = math.sqrt(sum(value**2 for value in drawn))
    target = [settings.steering_coefficient * value / length for value in drawn]

    def distance(h, other):
        return mean((a - b) ** 2 for a, b in zip(h, other, strict=True))

    forgotten = [distance(h, target) for h in forget.layer_hidden.tolist()]
    kept = [
        distance(h, reference_h)
        for h, reference_h in zip(retain.layer_hidden.tolist(), retain.reference_layer_hidden.tolist(), strict=True)
    ]
    return settings.forget_weight * mean(forgotten) + settings.retain_weight * mean(kept)


@every_setting
@pytest.mark.parametrize("head_class", HEADS)
def test_the_loss_is_the_papers_equation(problem, settings, head_class):
    assert problem.loss(rmu, settings, head_class).item() == pytest.approx(plain_loops(problem, settings), rel=1e-12)


@every_setting
def test_gradients_are_those_of_finite_differences(problem, settings):
    assert problem.gradients_hold(rmu, settings)


@every_setting
def test_padding_and_micro_batches_change_nothing(small_world, settings):
    small_world.cuts_agree(rmu, settings)


def replies(layer_hidden, reference_layer_hidden=None):
    roles = [COMMON] * (len(layer_hidden) - 1) + [END]
    return by_hand(
        [[0.0, 0.0, 0.0]] * len(layer_hidden),
        roles,
        [0] * len(layer_hidden),
        layer_hidden=layer_hidden,
        reference_layer_hidden=reference_layer_hidden,
    )


def test_three_tokens_worked_by_hand():
    settings = rmu.Settings(steering_coefficient=6.0)
    away = torch.tensor([[1.0, 2, 2], [0, 0, 0]])
    h = (6 * rmu.direction(3, 0).float() + away).requires_grad_()
    forget, retain = replies(h), replies(torch.tensor([[1.0, 5, 0]]), torch.tensor([[1.0, 2, 0]]))
    assert units_of(rmu, settings, forget, retain) == {"forget": 2, "retain": 1}
    terms = terms_of(rmu, settings, Head(torch.eye(3)), forget, retain)
    assert terms["forget"].item() == pytest.approx(3)  # (1 + 4 + 4) / 3 + 0
    assert terms["retain"].item() == pytest.approx(3)  # 9 / 3
    terms["forget"].backward()
    assert h.grad[0].tolist() == pytest.approx([2 / 3, 4 / 3, 4 / 3])


def test_the_direction_is_positive_of_length_one_and_its_seeds_own():
    drawn = [rmu.direction(64, seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    for unit in drawn:
        assert unit.norm().item() == pytest.approx(1)
        assert (unit >= 0).all()


def test_states_in_bfloat16_are_summed_in_float32():
    h = torch.full((2000, 3), 16.0, dtype=torch.bfloat16)
    total = rmu.squared_error_sum(h, torch.zeros(3))
    assert total.dtype == torch.float32
    assert total.item() == 2000 * 256


def test_the_reference_is_read_at_the_retain_rows_after_the_named_block():
    settings = rmu.Settings(layer=3)
    assert settings.needs == {"retain_layer_states"}
    assert settings.reads_layer == 3


def test_nothing_else_of_the_forget_rows_is_read(problem):
    bare = replace(problem.forget, reference_layer_hidden=None, reference_hidden=None, reference_log_prob=None)
    settings = SETTINGS[0]
    assert replace(problem, forget=bare).loss(rmu, settings) == problem.loss(rmu, settings)


@pytest.mark.parametrize(
    ("key", "value"), [("layer", -1), ("layer", 1.5), ("steering_coefficient", 0), ("direction_seed", -1)]
)
def test_settings_outside_their_range_are_refused_by_name(key, value):
    with pytest.raises(UserError, match=key):
        rmu.Settings.parse({key: value}, "methods.rmu")
