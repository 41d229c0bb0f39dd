"""The scorecard's section of a study."""

import pytest

from palu.errors import UserError
from palu.study import Study

ROWS = {
    "benchmark": {"name": "village", "forget_from": 9},
    "taggers": {"gold": {"name": "annotations", "path": "a.jsonl"}},
}
BASE = {
    "study": "s",
    "benchmark": {"name": "village"},
    "taggers": {"gold": {"name": "annotations"}, "rules": {"name": "spacy"}},
    "tagging": {"gold": "gold", "also": {"others": ROWS}},
}


def parse(**changes):
    return Study.parse(BASE | changes, "s.yaml")


def test_a_study_of_taggers_needs_no_method():
    assert parse().runs == ()
    with pytest.raises(UserError, match="methods: is empty"):
        parse(tagging={})


def test_other_rows_have_their_own_benchmark_and_taggers_of_the_same_names():
    study = parse(methods={"npo": {}}, trajectory_epochs=[1])
    values = BASE | {"methods": {"npo": {}}, "trajectory_epochs": [1]}
    other = Study.parse(study.tagging.sections("others", values), "s.yaml: tagging.also.others")
    assert other.benchmark.key != study.benchmark.key
    assert list(other.taggers) == ["gold", "rules"]
    assert other.taggers["gold"].settings.files == ("a.jsonl",)
    assert other.taggers["rules"].key == study.taggers["rules"].key
    assert (other.runs, other.model_key) == ((), study.model_key)


@pytest.mark.parametrize(
    ("tagging", "message"),
    [
        ({"gold": "glod"}, "s.yaml: tagging.gold: unknown tagger 'glod' (did you mean 'gold'?)"),
        ({"gold": "rules"}, "s.yaml: tagging.gold: 'rules' is of kind 'spacy'; allowed: one of kind 'annotations'"),
        ({"also": {"others": ROWS}}, "s.yaml: tagging.also: is given without a gold"),
        ({"gold": "gold", "also": {"others": {}}}, "s.yaml: tagging.also.others.benchmark: is missing"),
        ({"golden": "gold"}, "s.yaml: tagging: unknown key 'golden' (did you mean 'gold'?)"),
    ],
)
def test_a_bad_section_is_one_line(tagging, message):
    with pytest.raises(UserError) as error:
        parse(tagging=tagging)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
