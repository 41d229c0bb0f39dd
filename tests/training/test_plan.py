"""The data order: a pure function of seed, epoch and item."""

import numpy as np
import pytest

from palu.roles import COMMON, END, PROMPT
from palu.tokens import TokenRow
from palu.training.plan import Plan, cut, epoch_order, retain_partner


def row(name: str, length: int) -> TokenRow:
    role = np.array([PROMPT, *[COMMON] * (length - 2), END], dtype=np.int8)
    zeros = np.zeros(length, dtype=np.int32)
    return TokenRow(name, zeros, 1, role, np.full(length, -1, dtype=np.int16), zeros, zeros, truncated=False)


def test_an_epoch_visits_every_row_once_and_epochs_and_seeds_differ() -> None:
    orders = [tuple(epoch_order(seed, epoch, 50)) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(orders)) == 4


def test_the_order_is_the_same_in_every_release_of_numpy() -> None:
    # raw Philox words are a published algorithm: these numbers may never change
    assert epoch_order(7, 2, 6).tolist() == [1, 4, 2, 0, 3, 5]
    assert [retain_partner(7, 2, item, 440) for item in range(4)] == [142, 54, 376, 304]


def test_a_step_takes_the_next_rows_of_the_epoch_and_the_last_one_is_short() -> None:
    plan = Plan(seed=3, item_count=10, partner_count=0, batch_size=4, epochs=2)
    assert (plan.steps_per_epoch, plan.step_count) == (3, 6)
    steps = [plan.step(index) for index in range(plan.step_count)]
    assert [len(items) for items, _ in steps] == [4, 4, 2, 4, 4, 2]
    assert [item for items, _ in steps[3:] for item in items] == epoch_order(3, 1, 10).tolist()
    assert all(partners == [] for _, partners in steps)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_an_item_keeps_its_partner_whatever_the_batch_size(batch_size: int) -> None:
    plan = Plan(seed=5, item_count=10, partner_count=7, batch_size=batch_size, epochs=2)
    partner_of: list[dict[int, int]] = [{}, {}]
    for index in range(plan.step_count):
        items, partners = plan.step(index)
        partner_of[index // plan.steps_per_epoch].update(zip(items, partners, strict=True))
    for epoch in (0, 1):
        assert partner_of[epoch] == {item: retain_partner(5, epoch, item, 7) for item in range(10)}
    assert partner_of[0] != partner_of[1]


def test_partners_are_drawn_evenly() -> None:
    counts = np.bincount([retain_partner(0, epoch, item, 4) for epoch in range(20) for item in range(50)], minlength=4)
    # 250 each, with a standard deviation of 13.7
    assert counts.sum() == 1000
    assert abs(counts - 250).max() < 60


def test_groups_hold_every_row_once_and_no_more_tokens_than_allowed() -> None:
    items = [row(f"item{i}", 3 + i) for i in range(9)]
    partners = [row(f"partner{i}", 4 + 2 * i) for i in range(5)]
    groups = cut(items, partners, token_limit=24)
    assert sorted(r.example_id for g in groups for r in g.items) == [r.example_id for r in items]
    assert sorted(r.example_id for g in groups for r in g.partners) == [r.example_id for r in partners]
    for group in groups:
        rows = [*group.items, *group.partners]
        assert len(rows) * max(len(r) for r in rows) <= 24
    assert any(group.items and group.partners for group in groups)


def test_a_row_beyond_the_limit_stands_alone() -> None:
    groups = cut([row("long", 30), row("short", 3)], [], token_limit=10)
    assert [[r.example_id for r in group.items] for group in groups] == [["long"], ["short"]]
