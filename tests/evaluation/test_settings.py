import pytest

from palu.errors import UserError
from palu.evaluation.settings import EvaluationSettings


def test_an_unknown_metric_is_named_with_the_allowed_ones():
    with pytest.raises(UserError, match=r"study\.yaml: evaluation.metrics: .*'forget_rogue'.*forget_rouge"):
        EvaluationSettings.parse({"metrics": ["forget_rogue"]}, "study.yaml: evaluation")


@pytest.mark.parametrize(
    "values",
    [
        {"first_n": 0},
        {"max_new_tokens": 0},
        {"parts": []},
        {"parts": ["forgot"]},
        {"retain_auc": 1.0},
        {"fluency": {"classifier": ""}},
        {"metrics": "forget_rouge"},
    ],
)
def test_values_out_of_range_are_refused(values):
    with pytest.raises(UserError, match=f"place: {next(iter(values))}"):
        EvaluationSettings.parse(values, "place")


def test_the_model_part_depends_on_no_setting_of_the_arithmetic():
    changed = EvaluationSettings(metrics=["forget_rouge"], first_n=1, tagger="gold")
    assert changed.model_part == EvaluationSettings().model_part
    assert EvaluationSettings(max_new_tokens=20).model_part != EvaluationSettings().model_part


def test_each_part_has_its_own_number_of_new_tokens():
    settings = EvaluationSettings(max_new_tokens=5, knowmem_new_tokens=7)
    parts = ("forget", "verbmem", "knowmem_forget", "knowmem_retain", "holdout")
    assert [settings.new_tokens(part) for part in parts] == [5, 128, 7, 7, 5]
    assert settings.model_part != EvaluationSettings(max_new_tokens=5).model_part
