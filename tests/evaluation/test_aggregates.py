import math

import pytest

from palu.evaluation import aggregates
from palu.evaluation.base import Missing, Scope
from palu.evaluation.membership import item_metric
from tests.evaluation.cases import evidence, reading, row

KINDS = frozenset(
    (part, kind)
    for part, kinds in {
        "forget": ("original", "paraphrase", "perturbed"),
        "retain": ("original",),
        "holdout": ("original",),
    }.items()
    for kind in kinds
)
# scores of one forget and one held-out row whose AUC is 1, 1/2, 0
FOUND, TIED, REVERSED = (1.0, 2.0), (1.0, 1.0), (2.0, 1.0)


def model(strength=0.5, exact=0.75, paraphrase=0.2, truth=0.6, kept=0.5, fluency=0.5, attacks=(TIED,) * 4):
    """Item scores of one forget row, one retained row and one held-out row."""
    items = {
        "extraction_strength": {"f": strength},
        "exact_memorization": {"f": exact},
        "forget_paraphrase_probability": {"f": paraphrase},
        "forget_truth_ratio_prob_mean": {"f": truth},
        "retain_probability": {"r": kept},
        "retain_rouge": {"r": kept},
        "fluency": {"f": fluency},
    }
    for attack, (forget, holdout) in zip(aggregates.ATTACKS, attacks, strict=True):
        items |= {item_metric(attack, "forget"): {"f": forget}, item_metric(attack, "holdout"): {"h": holdout}}
    return items


def summary(items, **scope):
    return aggregates.summary(items, Scope("made-up", KINDS, **scope))


def test_memorization_is_the_harmonic_mean_of_what_is_left_of_four_measures():
    # 1 - .5, 1 - .75, 1 - .2, 1 - .6: reciprocals 2, 4, 1.25, 2.5
    assert summary(model())["memorization"] == pytest.approx(4 / 9.75)


@pytest.mark.parametrize("known", ["strength", "exact", "paraphrase", "truth"])
def test_one_measure_that_knows_everything_is_memorization_zero(known):
    assert summary(model(**{known: 1.0}))["memorization"] == 0


def test_privacy_measures_four_attacks_by_the_retain_models():
    # AUC 1/2 against 1: s = 1/2 for loss and zlib; 1 against 1: s = 1 for Min-K and Min-K++
    retain = model(attacks=(FOUND,) * 4)
    found = summary(model(attacks=(TIED, TIED, FOUND, FOUND)), retain=retain)
    assert found["privacy"] == pytest.approx(4 / (2 + 2 + 1 + 1))


def test_an_area_twice_the_retain_models_is_no_privacy_at_all():
    assert summary(model(attacks=(FOUND, TIED, TIED, TIED)), retain=model())["privacy"] == 0


def test_a_stated_area_of_min_k_goes_before_that_of_the_scores():
    # against .4: s = 1 - .1 / .4
    found = summary(model(), retain=model(), retain_auc=0.4)
    assert found["privacy"] == pytest.approx(4 / (1 + 1 + 1 / 0.75 + 1))


def test_a_retain_model_without_area_measures_nothing():
    found = summary(model(), retain=model(attacks=(REVERSED, TIED, TIED, TIED)))["privacy"]
    assert found == Missing("mia_loss: the retain model's AUC is 0, which nothing can be measured by")


def test_utility_is_relative_to_the_original_model():
    # HM(.5, .25) = 1/3 of HM(.8, .4) = 8/15
    found = summary(model(kept=0.5, fluency=0.25), original=model(kept=0.8, fluency=0.4))
    assert found["utility"] == pytest.approx((1 / 3) / (8 / 15))
    assert summary(model(kept=0.8), original=model(kept=0.5))["utility"] > 1


def test_overall_is_the_harmonic_mean_of_the_three():
    found = summary(model(), retain=model(), original=model(kept=0.8, fluency=0.8))
    memorization, privacy, utility = 4 / 9.75, 1, 0.5 / 0.8
    assert [found[name] for name in ("memorization", "privacy", "utility")] == pytest.approx(
        [memorization, privacy, utility]
    )
    assert found["overall"] == pytest.approx(3 / (1 / memorization + 1 / privacy + 1 / utility))


def test_each_aggregate_says_which_model_it_lacks():
    found = summary(model())
    assert found["privacy"] == Missing("mia_loss: no scores of a retain model were given")
    assert found["utility"] == Missing("no scores of the original model were given")
    assert found["overall"] == Missing("privacy: mia_loss: no scores of a retain model were given")
    found = summary(model(), retain=model(), original={"fluency": {"f": 0.5}})
    assert found["utility"] == Missing(
        "original model: model_utility: retain_probability: no item has a value of retain probability"
    )


def test_other_items_than_the_compared_models_leave_no_aggregate():
    other = model() | {"forget_mia_zlib": {"g": 1.0}, "fluency": {"g": 0.5}}
    found = summary(model(), retain=other, original=other)
    assert found["privacy"] == Missing("mia_zlib: the 1 forget zlib items are not those of the retain model's 1")
    assert found["utility"] == Missing("the 1 fluency items are not those of the original model's 1")


def test_a_benchmark_without_paraphrases_has_no_memorization():
    scope = Scope("made-up", KINDS - {("forget", "paraphrase")})
    reason = "benchmark made-up has no paraphrase replies in part forget"
    found = aggregates.summary(model(), scope)
    assert found["memorization"] == Missing(f"forget_paraphrase_probability: {reason}")


def test_the_paraphrase_probability_is_that_of_the_paraphrased_reply():
    rows = [row("forget/0/original/0"), row("forget/0/paraphrase/0"), row("forget/1/original/0")]
    readings = {
        "forget/0/original/0": reading([0.9]),
        "forget/0/paraphrase/0": reading([0.5, 0.125]),
        "forget/1/original/0": reading([0.9]),
    }
    found = aggregates.items(evidence(rows, readings))["forget_paraphrase_probability"]
    assert found["forget/0/original/0"] == pytest.approx(math.sqrt(0.5 * 0.125))
    assert found["forget/1/original/0"] == Missing("it has no paraphrase")
