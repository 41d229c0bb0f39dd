"""Taggers in a study: what each asks for is made, once and only then, and the scorecard compares them."""

import csv

import pytest

TAGGERS = {
    "gold": {"name": "annotations"},
    "rules": {"name": "spacy"},
    "unsure": {"name": "entropy"},
    "new": {"name": "surprisal"},
    "noisy": {"precision": 0.7, "recall": 0.7},
    "both": {"name": "intersection", "of": ["rules", "unsure"]},
    "either": {"name": "union", "of": ["rules", "noisy"]},
}
# Other people of the village, once with the benchmark's spans and once with a file that is not there.
OTHERS = {"name": "village", "people": 8, "held_out_people": 1, "forget_from": 4, "forget_people": 2}
ALSO = {
    "others": {"benchmark": OTHERS, "taggers": {"unsure": {"name": "noisy", "precision": 1.0, "recall": 0.5}}},
    "absent": {"benchmark": OTHERS, "taggers": {"gold": {"name": "annotations", "path": "absent.jsonl"}}},
}


@pytest.fixture
def scorecard(study):
    """The small study with every tagger that needs no training of its own, and no method."""
    taggers = {"gold": TAGGERS["gold"], "rules": TAGGERS["rules"], "noisy": TAGGERS["noisy"]}
    return study | {"methods": {}, "trajectory_epochs": [], "taggers": taggers, "tagging": {"gold": "gold"}}


def test_a_tagger_asks_for_what_it_reads_and_no_more(project, scorecard):
    plain = project.planned(scorecard)
    assert plain == {"tag_replies": 2, "score_tags": 2, "describe_taggers": 1, "score_taggers": 1}
    with_models = project.planned(scorecard | {"taggers": TAGGERS})
    more = {"cache_other_log_probs": 1, "tag_replies": 3, "tag_replies_with_model": 3, "score_tags": 6}
    assert with_models == plain | more


def test_another_model_to_compare_with_is_fetched(project, scorecard):
    scorecard["taggers"]["new"] = {"name": "surprisal", "against": "some/model"}
    plan = project.planned(scorecard)
    assert (plan["fetch_model"], plan["cache_other_log_probs"], plan["tag_replies_with_model"]) == (1, 1, 1)


def test_a_tagger_that_is_trained_is_trained_once_for_all_who_combine_it(project, scorecard):
    scorecard["taggers"] |= {"trained": {}, "either": {"name": "union", "of": ["trained", "rules"]}}
    plan = project.planned(scorecard)
    assert (plan["train_tagger"], plan["tag_replies"], plan["score_tags"]) == (1, 4, 4)


def test_a_study_may_have_a_scorecard_beside_its_methods(project, study):
    study |= {"tagging": {"gold": "gold"}, "taggers": study["taggers"] | {"rules": {"name": "spacy"}}}
    study["methods"]["palu"]["tagger"] = "gold"
    plan = project.planned(study)
    assert plan["report_study"] == plan["score_taggers"] == plan["score_tags"] == 1
    assert "unlearn_model" not in plan


def test_a_method_reads_the_tags_of_a_tagger_that_depends_on_the_model(project, study):
    study["taggers"]["unsure"] = TAGGERS["unsure"]
    study["methods"]["palu"]["tagger"] = "unsure"
    plan = project.planned(study)
    assert plan["tag_replies_with_model"] == plan["index_top_k"] == plan["unlearn_model"] == 1
    assert "cache_states" not in plan


def test_the_scorecard_is_made_once_and_an_edit_of_a_tagger_concerns_that_tagger(project, scorecard):
    scorecard |= {"taggers": TAGGERS, "tagging": {"gold": "gold", "also": ALSO}}
    done = project.snakemake(scorecard)
    assert done.returncode == 0, done.stderr
    assert "Taggers: results/small/taggers.html" in done.stdout
    rows = list(csv.DictReader((project.folder / "results/small/taggers.csv").open(encoding="utf-8")))
    labels = {
        name: {row["tagger"] for row in rows if row["rows_of"] == name} for name in ("village", "others", "absent")
    }
    assert labels["village"] == labels["others"] == set(TAGGERS) - {"gold"}
    assert [row["skipped"] for row in rows if row["rows_of"] == "absent"] == ["absent.jsonl: no such file"]
    noisy = next(row for row in rows if row["tagger"] == "noisy" and row["rows_of"] == "village")
    assert float(noisy["character_recall"]) == pytest.approx(0.7, abs=0.05)
    assert project.planned(scorecard) == {}

    source = project.folder / "palu/tagging/surprisal.py"
    source.write_text(source.read_text().replace("a - b for a, b", "b - a for a, b"))
    after = {"tag_replies_with_model": 2, "score_tags": 2, "score_taggers": 1}
    assert project.planned(scorecard) == after
