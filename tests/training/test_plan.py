"""The data order: a pure function of seed, epoch and item."""

import numpy as np
import pytest

from palu.roles import COMMON, END, PROMPT
from palu.tables import answered_id
from palu.tokens import TokenRow, collate
from palu.training.plan import Plan, RowGroup, StepRows, alternate_choice, cut, epoch_order, retain_partners
from palu.training.settings import LastStep


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
    assert [retain_partners(7, 2, item, 440) for item in range(4)] == [[142], [54], [376], [304]]
    assert [alternate_choice(7, 2, item, 100) for item in range(4)] == [41, 55, 39, 88]


def test_a_step_takes_the_next_rows_of_the_epoch_and_the_last_one_is_short() -> None:
    plan = Plan(seed=3, item_count=10, partner_count=0, batch_size=4, epochs=2)
    assert (plan.steps_per_epoch, plan.step_count) == (3, 6)
    steps = [plan.step(index) for index in range(plan.step_count)]
    assert [len(step.items) for step in steps] == [4, 4, 2, 4, 4, 2]
    assert [item for step in steps[3:] for item in step.items] == epoch_order(3, 1, 10).tolist()
    assert all(step.partners == step.alternates == [] for step in steps)


# TOFU's forget sets in the authors' batches; their trainer floors, which `drop` does
@pytest.mark.parametrize(
    ("item_count", "last_step", "sizes"),
    [
        (40, "short", [32, 8]),
        (40, "drop", [32]),
        (40, "merge", [40]),
        (200, "short", [32] * 6 + [8]),
        (200, "drop", [32] * 6),
        (200, "merge", [32] * 5 + [40]),
        (400, "short", [32] * 12 + [16]),
        (400, "drop", [32] * 12),
        (400, "merge", [32] * 11 + [48]),
        *((64, last_step, [32, 32]) for last_step in ("short", "drop", "merge")),
        *((7, last_step, [7]) for last_step in ("short", "drop", "merge")),
    ],
)
def test_the_rest_of_an_epoch_is_a_step_of_its_own_is_left_out_or_joins_the_step_before(
    item_count: int, last_step: LastStep, sizes: list[int]
) -> None:
    plan = Plan(3, item_count, partner_count=9, batch_size=32, epochs=10, last_step=last_step)
    assert (plan.steps_per_epoch, plan.step_count) == (len(sizes), 10 * len(sizes))
    for epoch in (0, 9):
        steps = [plan.step(epoch * len(sizes) + nth) for nth in range(len(sizes))]
        assert [len(step.items) for step in steps] == [len(step.partners) for step in steps] == sizes
        visited = [item for step in steps for item in step.items]
        assert visited == epoch_order(3, epoch, item_count)[: sum(sizes)].tolist()


def test_each_epoch_leaves_out_other_rows() -> None:
    plan = Plan(0, 40, partner_count=0, batch_size=32, epochs=4, last_step="drop")
    left_out = [set(range(40)) - set(plan.step(epoch).items) for epoch in range(4)]
    assert all(len(rows) == 8 for rows in left_out)
    assert len(set.union(*left_out)) > 16


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_an_item_keeps_its_partner_whatever_the_batch_size(batch_size: int) -> None:
    plan = Plan(seed=5, item_count=10, partner_count=7, batch_size=batch_size, epochs=2)
    partner_of: list[dict[int, int]] = [{}, {}]
    for index in range(plan.step_count):
        step = plan.step(index)
        partner_of[index // plan.steps_per_epoch].update(zip(step.items, step.partners, strict=True))
    for epoch in (0, 1):
        assert partner_of[epoch] == {item: retain_partners(5, epoch, item, 7)[0] for item in range(10)}
    assert partner_of[0] != partner_of[1]


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_an_item_keeps_its_alternate_whatever_the_batch_size(batch_size: int) -> None:
    plan = Plan(seed=5, item_count=10, partner_count=0, batch_size=batch_size, epochs=2, alternate_count=4)
    choice_of: list[dict[int, int]] = [{}, {}]
    for index in range(plan.step_count):
        step = plan.step(index)
        assert step.partners == []
        choice_of[index // plan.steps_per_epoch].update(zip(step.items, step.alternates, strict=True))
    for epoch in (0, 1):
        assert choice_of[epoch] == {item: alternate_choice(5, epoch, item, 4) for item in range(10)}
    assert choice_of[0] != choice_of[1]


def test_alternates_are_drawn_evenly_and_apart_from_partners() -> None:
    places = [(epoch, item) for epoch in range(20) for item in range(50)]
    choices = [alternate_choice(0, *place, 4) for place in places]
    counts = np.bincount(choices, minlength=4)
    assert counts.sum() == 1000
    assert abs(counts - 250).max() < 60
    agreed = sum(choice == retain_partners(0, *place, 4)[0] for choice, place in zip(choices, places, strict=True))
    # a quarter agrees by chance, with a standard deviation of 14
    assert abs(agreed - 250) < 60
    assert {alternate_choice(0, 0, item, 1) for item in range(9)} == {0}


def test_the_shares_of_a_step_are_its_rows_once_and_keep_what_belongs_together() -> None:
    plan = Plan(seed=1, item_count=11, partner_count=5, batch_size=7, epochs=1, alternate_count=3)
    for index in range(plan.step_count):
        step = plan.step(index)
        for processes in (1, 2, 3, 9):
            shares = [step.share(process, processes) for process in range(processes)]
            together = [triple for share in shares for triple in zip(*vars(share).values(), strict=True)]
            assert sorted(together) == sorted(zip(*vars(step).values(), strict=True))
            sizes = [len(share.items) for share in shares]
            assert max(sizes) - min(sizes) <= 1
    assert StepRows([4], [], []).share(1, 2) == StepRows([], [], [])
    assert StepRows([4, 5], [1, 2], [0, 0]).first() == StepRows([4], [1], [0])
    assert StepRows([4, 5], [], []).first() == StepRows([4], [], [])


def test_each_item_takes_its_partners_with_it_to_a_process() -> None:
    plan = Plan(seed=1, item_count=10, partner_count=50, batch_size=7, epochs=2, retain_ratio=3)
    whole = plan.step(0)
    own = dict(zip(whole.items, zip(*[iter(whole.partners)] * 3, strict=True), strict=True))
    assert own == {item: tuple(retain_partners(1, 0, item, 50, 3)) for item in whole.items}
    assert {partners[0] for partners in own.values()} == {retain_partners(1, 0, item, 50)[0] for item in own}
    parts = [whole.share(process, 2) for process in range(2)]
    assert sorted(item for part in parts for item in part.items) == sorted(whole.items)
    for part in (*parts, whole.first()):
        assert part.partners == [partner for item in part.items for partner in own[item]]


def test_partners_are_drawn_evenly() -> None:
    counts = np.bincount(
        [retain_partners(0, epoch, item, 4)[0] for epoch in range(20) for item in range(50)], minlength=4
    )
    # 250 each, with a standard deviation of 13.7
    assert counts.sum() == 1000
    assert abs(counts - 250).max() < 60


@pytest.mark.parametrize("packed", [False, True])
def test_groups_hold_every_row_once_and_no_more_tokens_than_allowed(packed: bool) -> None:
    items = [row(f"item{i}", 3 + i) for i in range(9)]
    partners = [row(f"partner{i}", 4 + 2 * i) for i in range(5)]
    groups = cut(RowGroup(items, partners, []), token_limit=24, packed=packed)
    assert sorted(r.example_id for g in groups for r in g.items) == [r.example_id for r in items]
    assert sorted(r.example_id for g in groups for r in g.partners) == [r.example_id for r in partners]
    for group in groups:
        assert group.alternates == []
        assert collate(group.rows, 0, packed).input_ids.numel() <= 24
        if not packed:
            assert len(group.rows) * max(len(r) for r in group.rows) <= 24
    assert any(group.items and group.partners for group in groups)


def test_packed_rows_share_a_group_that_padded_ones_overfill() -> None:
    whole = RowGroup([row("long", 30)], [row(f"short{i}", 3) for i in range(9)], [])
    assert [len(group.rows) for group in cut(whole, 60, packed=True)] == [10]
    assert [len(group.rows) for group in cut(whole, 60, packed=False)] == [2, 8]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("token_limit", [1, 30, 60, 10**6])
def test_an_alternate_stays_with_its_item(packed: bool, token_limit: int) -> None:
    items = [row(f"item{i}", 3 + i) for i in range(9)]
    alternates = [row(f"item{i}~0", 3 + (7 * i) % 11) for i in range(9)]
    partners = [row(f"partner{i}", 4 + 2 * i) for i in range(5)]
    groups = cut(RowGroup(items, partners, alternates), token_limit, packed)
    for group in groups:
        assert [answered_id(r.example_id) for r in group.alternates] == [r.example_id for r in group.items]
        pair_alone = len(group.items) + len(group.partners) == 1
        assert pair_alone or collate(group.rows, 0, packed).input_ids.numel() <= token_limit
    assert sorted(r.example_id for g in groups for r in g.rows) == sorted(
        r.example_id for r in (*items, *partners, *alternates)
    )
    if token_limit == 1:
        assert len(groups) == 14
    if token_limit == 10**6:
        assert len(groups) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_row_beyond_the_limit_stands_alone(packed: bool) -> None:
    groups = cut(RowGroup([row("long", 30), row("short", 3)], [], []), token_limit=10, packed=packed)
    assert [[r.example_id for r in group.items] for group in groups] == [["long"], ["short"]]
