"""A grid recommends one setting of each method, by one rule."""

from types import SimpleNamespace

from palu.reporting.choice import choose


def verdict(method, name, utility, keeps, *differences, status="missed", met=1, varied=True):
    levels = [
        SimpleNamespace(distance=SimpleNamespace(difference=value), status="", value=0.1) for value in differences
    ]
    check = SimpleNamespace(distance=None, status="met" if keeps else "missed", value=utility)
    return SimpleNamespace(
        arm=SimpleNamespace(name=name, method=method, varied={"top_k": 1} if varied else {}),
        checks=(*levels, check),
        status=status,
        met=met,
    )


def test_the_nearest_farthest_level_wins_among_those_that_keep_utility():
    found = choose(
        [
            verdict("palu", "one level exact, one far", 0.75, True, 0.0, -0.3),
            verdict("palu", "both near", 0.72, True, 0.1, -0.2),
            verdict("palu", "nearest, utility lost", 0.5, False, 0.0, 0.0),
        ]
    )
    assert [(choice.arm, choice.distance, choice.keeps_utility, choice.tried) for choice in found] == [
        ("both near", 0.2, True, 3)
    ]


def test_more_targets_met_come_before_a_nearer_level():
    one, two = verdict("palu", "one", 0.7, True, 0.1, 0.1), verdict("palu", "two", 0.7, True, 0.0, 0.2, met=2)
    assert [choice.arm for choice in choose([one, two])] == ["two"]


def test_the_highest_utility_wins_where_none_keeps_it():
    found = choose([verdict("npo", "a", 0.4, False, 0.0, 0.0), verdict("npo", "b", 0.6, False, 0.9, 0.9)])
    assert [(choice.arm, choice.keeps_utility) for choice in found] == [("b", False)]


def test_without_a_grid_there_is_nothing_to_choose():
    one, other = (verdict("palu", name, 0.7, True, 0.1, 0.1, varied=False) for name in ("gold", "rules"))
    assert choose([one, other]) == []


def test_a_setting_that_cannot_be_judged_is_passed_over():
    unknown = verdict("palu", "unknown", 0.9, True, status="unknown")
    found = choose([unknown, verdict("palu", "known", 0.7, True, 0.4, 0.1)])
    assert [choice.arm for choice in found] == ["known"]
