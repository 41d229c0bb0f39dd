"""The taggers of a study: names in paths, combinations, and what they need of a model."""

import pytest

from palu.errors import UserError
from palu.tagging.parts import check_models, choose_tagger, parse_taggers

RAW = {
    "gold": {"name": "annotations"},
    "rules": {"name": "spacy"},
    "unsure": {"name": "entropy"},
    "union": {"of": ["gold", "rules"]},
}


def parse(**more):
    return parse_taggers(RAW | more, "s.yaml: taggers")


def refusal(**more):
    with pytest.raises(UserError) as error:
        parse(**more)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_taggers_keep_the_order_of_the_study():
    assert list(parse_taggers({"union": RAW["union"], **RAW}, "s")) == ["union", "gold", "rules", "unsure"]


def test_the_key_of_a_combination_follows_what_it_combines_not_its_names():
    key = parse()["union"].key
    assert parse(rules={"name": "spacy", "batch_size": 3})["union"].key != key
    renamed = parse_taggers({"a": RAW["gold"], "b": RAW["rules"], "union": {"of": ["a", "b"]}}, "s")
    assert renamed["union"].key == key
    assert parse(union={"of": ["rules", "gold"]})["union"].key != key
    assert parse(union={"of": ["rules", "gold"], "fallback": "first_clause"})["union"].key != key
    assert parse(other={"name": "intersection", "of": ["gold", "rules"]})["other"].key != key


def test_the_values_of_a_combination_name_no_other_tagger():
    part = parse()["union"]
    assert part.values == {"fallback": "skip"}
    assert part.chosen == {}
    assert parse(rules={"name": "spacy", "labels": ["DATE"]})["rules"].chosen == {"labels": ["DATE"]}


def test_a_combination_with_a_tagger_of_the_model_depends_on_the_model():
    taggers = parse(
        mixed={"name": "union", "of": ["union", "unsure"]}, deep={"name": "union", "of": ["mixed", "gold"]}
    )
    assert {label for label, part in taggers.items() if part.needs_model} == {"unsure", "mixed", "deep"}


def test_unknown_labels_circles_and_lonely_taggers_are_one_line():
    assert "s.yaml: taggers.union.of: unknown tagger 'ruels' (did you mean 'rules'?)" in refusal(
        union={"of": ["gold", "ruels"]}
    )
    message = refusal(a={"name": "union", "of": ["gold", "b"]}, b={"name": "intersection", "of": ["rules", "a"]})
    assert "taggers.a.of: combines itself: a of b of a; allowed: other taggers" in message
    assert "combines itself: union of union" in refusal(union={"of": ["union", "gold"]})
    for labels in ([], ["gold"], ["gold", "gold"]):
        assert "two or more names; allowed: each once, of gold, rules, unsure" in refusal(union={"of": labels})


def test_a_tagger_that_compares_models_needs_another_model():
    taggers = parse(new={"name": "surprisal"})
    check_models(taggers, True, "s.yaml: taggers")
    with pytest.raises(UserError, match=r"s\.yaml: taggers\.new\.against: is not set, and the study has no retain"):
        check_models(taggers, False, "s.yaml: taggers")
    check_models(parse(new={"name": "surprisal", "against": "some/model"}), False, "s.yaml: taggers")


def test_a_method_that_reads_no_spans_has_no_tagger():
    taggers = parse()
    assert choose_tagger(False, None, taggers, "s") is None
    assert choose_tagger(True, "rules", taggers, "s") is taggers["rules"]
    with pytest.raises(UserError, match="reads no spans"):
        choose_tagger(False, "rules", taggers, "s")


def test_a_report_is_told_the_settings_with_the_fallback_and_what_is_combined():
    assert parse()["union"].description() == {"name": "union", "of": ["gold", "rules"], "fallback": "skip"}
