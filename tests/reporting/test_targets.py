from dataclasses import replace

from palu.evaluation.metrics import METRICS
from palu.reporting.targets import DOCUMENTS_GONE, GONE, KEPT, LANGUAGE, targets_of


def targets(*metrics, is_of_documents=False):
    return targets_of(set(metrics).__contains__, is_of_documents)


def names(metrics):
    return [metric.name for metric in metrics]


def test_questions_are_judged_by_leak_language_and_utility():
    found = targets("span_leak", "span_leak_paraphrase", "model_utility", "retain_probability", "forget_rouge")
    assert names(found.all) == [
        "span_leak", "span_leak_paraphrase", "repetition", "empty_answers", "answer_nll", "model_utility",
    ]  # fmt: skip
    assert names(found.shown) == ["forget_rouge"]


def test_a_benchmark_without_paraphrased_questions_has_no_target_of_them():
    assert names(targets("span_leak", "model_utility").gone) == ["span_leak"]


def test_documents_are_judged_by_memorization_and_the_same_language():
    found = targets("verbatim_memorization", "knowledge_memorization_retain", "span_leak")
    assert (found.gone, found.language) == (DOCUMENTS_GONE, LANGUAGE)
    assert names(found.kept) == ["knowledge_memorization_retain"]


def test_a_users_documents_without_questions_are_documents_though_nothing_was_measured():
    assert targets("forget_probability", is_of_documents=True).gone == DOCUMENTS_GONE


def test_a_users_rows_are_kept_by_the_probability_and_rouge_of_retained_rows():
    assert names(targets("span_leak", "retain_probability").kept) == ["retain_probability", "retain_rouge"]


def test_neighbours_are_targets_where_some_model_was_measured_by_them():
    found = targets("span_leak", "retain_probability", "near_accuracy", "far_accuracy")
    assert names(found.kept) == ["retain_probability", "retain_rouge", "near_accuracy", "far_accuracy"]
    assert names(targets("model_utility", "far_accuracy").kept) == ["model_utility", "far_accuracy"]
    assert {metric.aim for metric in found.kept} == {"keep"}


def test_neighbours_alone_show_the_cost_of_a_study_without_retain_rows():
    assert names(targets("span_leak", "near_accuracy").kept) == ["near_accuracy"]


def test_no_setting_is_chosen_by_neighbours():
    found = targets("span_leak", "model_utility", "near_accuracy", "far_accuracy")
    assert names(found.kept_on("validation")) == ["model_utility"]
    assert found.kept_on("forget") == found.kept


def test_an_old_evaluation_keeps_the_targets_that_it_was_not_measured_by():
    found = targets("forget_rouge")
    assert (found.gone, found.language, found.kept) == (GONE[:1], LANGUAGE, KEPT[0])


def test_rouge_probability_and_attacks_are_no_target():
    shown = ("forget_rouge", "forget_probability", "first_word_probability", "mia_min_k", "privleak")
    found = targets(*shown, "forget_quality_statistic", "span_leak", "model_utility")
    assert not {*shown, "forget_quality_statistic"} & set(names(found.all))
    assert set(names(found.shown)) == {*shown, "forget_quality_statistic"}


def test_a_measure_has_a_twin_on_the_validation_rows_where_some_model_was_measured_there():
    found = targets("span_leak", "model_utility")
    assert found.on("validation", {"validation_span_leak"}.__contains__) == (
        [replace(METRICS["span_leak"], name="validation_span_leak")],
        [],
    )
    assert found.on("forget", set().__contains__) == (list(found.gone), list(LANGUAGE))
