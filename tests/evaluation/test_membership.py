import math
import zlib
from dataclasses import replace

import numpy as np
import pytest

from palu.evaluation import membership
from palu.evaluation.base import Missing, Scope
from tests.evaluation.cases import evidence, reading, row

ROWS = [row("forget/0/original/0"), row("forget/1/original/0"), row("holdout/0/original/0", reply="Bo.")]
HALF, QUARTER = math.log(2), math.log(4)


def scores(readings, rows=ROWS, **given):
    return membership.items(replace(evidence(rows, readings), **given))


def test_the_area_counts_pairs_and_ties_as_halves():
    # holdout 2 beats 1 and ties with 2, holdout 0 beats nothing: 1.5 of 4 pairs
    assert membership.roc_area([1, 2], [2, 0]) == 0.375
    assert membership.roc_area([1.0], [2.0]) == 1
    assert membership.roc_area([2.0], [1.0]) == 0
    assert membership.roc_area([1.0, 1.0], [1.0]) == 0.5


def test_loss_and_zlib_are_those_of_the_whole_reply():
    found = scores({"forget/0/original/0": reading([0.5, 0.25])})
    loss = (HALF + QUARTER) / 2
    assert found["forget_mia_loss"]["forget/0/original/0"] == pytest.approx(loss)
    packed = len(zlib.compress(b"Ann lives in Oslo."))
    assert found["forget_mia_zlib"]["forget/0/original/0"] == pytest.approx(loss / packed)


def test_min_k_is_the_mean_of_the_least_likely_two_fifths_without_the_last_label():
    # of the five tokens before the last int(0.4 * 5) = 2 count: 1/8 and 1/4
    tokens = [0.5, 0.125, 0.5, 0.25, 0.5, 0.001]
    found = scores({"forget/0/original/0": reading(tokens)})
    assert found["forget_mia_min_k"]["forget/0/original/0"] == pytest.approx((3 * HALF + 2 * HALF) / 2)
    assert found["forget_mia_min_k_corrected"] == found["forget_mia_min_k"]
    cut = scores({"forget/0/original/0": reading(tokens, end_count=0)})
    assert cut["forget_mia_min_k"] == found["forget_mia_min_k"]
    worst = (math.log(1000) + 3 * HALF) / 2
    assert cut["forget_mia_min_k_corrected"]["forget/0/original/0"] == pytest.approx(worst)


def test_a_document_has_no_end_so_that_loss_reads_every_token_and_min_k_drops_the_last_real_one():
    document = reading([0.5, 0.25, 0.125], end_count=0)
    retain = {"reference_losses": {"forget/0/original/0": HALF}}
    found = {
        name: values.get("forget/0/original/0")
        for name, values in scores({"forget/0/original/0": document}, **retain).items()
    }
    assert found["forget_mia_loss"] == pytest.approx((1 + 2 + 3) * HALF / 3)
    assert found["forget_mia_zlib"] == pytest.approx(2 * HALF / len(zlib.compress(b"Ann lives in Oslo.")))
    assert found["forget_mia_reference"] == pytest.approx(2 * HALF - HALF)
    # int(0.4 * 2) = 0, so one of the two tokens before the last counts: 1/4; of all three: 1/8
    assert found["forget_mia_min_k"] == pytest.approx(2 * HALF)
    assert found["forget_mia_min_k_corrected"] == pytest.approx(3 * HALF)


def test_of_an_end_of_several_tokens_the_peers_attack_leaves_out_the_last_and_the_corrected_one_all():
    found = scores({"forget/0/original/0": reading([0.5, 0.5, 0.25, 0.125], end_count=2)})
    assert found["forget_mia_loss"]["forget/0/original/0"] == pytest.approx((1 + 1 + 2 + 3) * HALF / 4)
    assert found["forget_mia_min_k"]["forget/0/original/0"] == pytest.approx(2 * HALF)
    assert found["forget_mia_min_k_corrected"]["forget/0/original/0"] == pytest.approx(HALF)


def test_one_token_at_least_counts():
    assert scores({"forget/0/original/0": reading([0.5, 0.1])})["forget_mia_min_k"][
        "forget/0/original/0"
    ] == pytest.approx(HALF)
    alone = scores({"forget/0/original/0": reading([0.5])})["forget_mia_min_k"]["forget/0/original/0"]
    assert alone == Missing("no token is left once the last one is left out")


def test_min_k_plus_plus_is_min_k_of_z_scores_with_a_floor_under_the_variance():
    known = replace(
        reading([0.5, 0.25, 0.5]), expected=np.array([-HALF, -HALF, 0.0]), variance=np.array([1.0, 4.0, 1.0])
    )
    found = scores({"forget/0/original/0": known})["forget_mia_min_k_plus_plus"]["forget/0/original/0"]
    # z-scores 0 and -ln 2 / 2, of which int(0.4 * 2) = 0, so one, counts
    assert found == pytest.approx(HALF / 2)
    sure = replace(known, variance=np.zeros(3))
    found = scores({"forget/0/original/0": sure})["forget_mia_min_k_plus_plus"]["forget/0/original/0"]
    assert found == pytest.approx(HALF * 1e3)
    bare = scores({"forget/0/original/0": reading([0.5, 0.5])})["forget_mia_min_k_plus_plus"]["forget/0/original/0"]
    assert bare == Missing("the moments of forget/0/original/0 were not computed")


def test_reference_and_gradnorm_read_what_other_passes_found():
    given = {
        "reference_losses": {"forget/0/original/0": 1.0},
        "gradient_norms": {"forget/0/original/0": 3.5},
    }
    found = scores({"forget/0/original/0": reading([0.5])}, **given)
    assert found["forget_mia_reference"]["forget/0/original/0"] == pytest.approx(HALF - 1)
    assert found["forget_mia_gradnorm"]["forget/0/original/0"] == 3.5
    without = scores({"forget/0/original/0": reading([0.5])})
    assert without["forget_mia_reference"]["forget/0/original/0"] == Missing("no reference model was given")


def areas(forget, holdout, **scope):
    items = {
        membership.item_metric(attack, part): dict(enumerate(values))
        for attack in membership.ATTACKS
        for part, values in (("forget", forget), ("holdout", holdout))
    }
    kinds = frozenset({("forget", "original"), ("holdout", "original")})
    return membership.summary(items, Scope("made-up", kinds, **scope))


def test_every_attack_has_its_area_and_privleak_compares_that_of_min_k():
    found = areas([1.0, 2.0], [2.0, 0.0], retain_auc=0.5)
    assert {found[f"mia_{attack}"] for attack in membership.ATTACKS} == {0.375}
    assert found["privleak"] == pytest.approx(100 * (0.625 - 0.5) / 0.5)
    assert areas([1.0], [2.0], retain_auc=0.5)["privleak"] == pytest.approx(-100)


def test_privleak_reads_the_retain_models_items():
    retain = {"forget_mia_min_k": {0: 1.0, 1: 2.0}, "holdout_mia_min_k": {0: 2.0, 1: 0.0}}
    assert areas([1.0, 2.0], [2.0, 0.0], retain=retain)["privleak"] == 0
    found = areas([1.0, 2.0], [2.0, 0.0], retain={"forget_mia_min_k": {"a": 1.0}})["privleak"]
    assert found == Missing("retain model: no item has a value of holdout min_k score")
    assert areas([1.0], [2.0])["privleak"] == Missing(
        "no scores of a retain model were given, nor its AUC (retain_auc)"
    )


def test_privleak_is_not_taken_against_other_rows():
    other = {"forget_mia_min_k": {0: 1.0, 1: 2.0}, "holdout_mia_min_k": {0: 2.0, 1: 0.0, 2: 0.0}}
    assert areas([1.0, 2.0], [2.0, 0.0], retain=other)["privleak"] == Missing(
        "the 2 holdout min_k items are not those of the retain model's 3"
    )
    # an AUC that is stated outright is taken at its word
    assert areas([1.0, 2.0], [2.0, 0.0], retain=other, retain_auc=0.375)["privleak"] == 0


@pytest.mark.parametrize("broken", [math.nan, math.inf, Missing("why")])
def test_a_score_that_is_no_number_leaves_no_area(broken):
    found = areas([1.0, broken], [2.0], retain_auc=0.5)
    assert all(isinstance(value, Missing) for value in found.values())
    assert "1 of 2 forget loss score values cannot be had" in found["mia_loss"].reason


def test_a_benchmark_without_held_out_rows_has_no_area():
    found = membership.summary({}, Scope("made-up", frozenset({("forget", "original")}), retain_auc=0.5))
    assert set(found.values()) == {Missing("benchmark made-up has no part holdout", absent=True)}


def test_an_empty_set_is_no_area():
    assert areas([], [1.0])["mia_loss"] == Missing("no item has a value of forget loss score")
