from palu.reporting.axes import MEMORIZATION, QUESTIONS, REQUESTS, Measure, axes_of


def chosen(*metrics):
    return axes_of(set(metrics).__contains__)


def names(measures):
    return [measure.metric for measure in measures]


def test_a_study_with_model_utility_is_judged_as_tofu_is_and_misses_no_target_in_silence():
    found = chosen("model_utility", "forget_rouge", "knowledge_memorization_retain", "retain_probability")
    assert found == QUESTIONS
    assert names(found.validation) == ["validation_initiating_probability", "validation_rouge"]


def test_documents_are_judged_by_memorization_without_privleak_where_it_cannot_be_had():
    found = chosen("verbatim_memorization", "knowledge_memorization_retain", "forget_probability")
    assert names(found.forgetting) == ["verbatim_memorization"]
    assert found.planes == MEMORIZATION.planes
    assert found.validation == []


def test_a_users_own_rows_are_judged_by_probability_and_rouge():
    found = chosen("forget_probability", "forget_rouge", "retain_probability")
    assert names(found.forgetting) == ["forget_probability", "forget_rouge"]
    assert names(found.utility) == ["retain_probability"]
    assert found.planes == REQUESTS.planes


def test_without_a_measure_of_what_is_kept_forgetting_is_judged_and_the_price_is_named():
    assert names(chosen("forget_probability").utility) == ["retain_probability", "retain_rouge"]
    assert names(chosen("verbatim_memorization", "forget_probability").utility) == ["knowledge_memorization_retain"]


def test_a_study_of_which_nothing_is_measured_is_of_the_first_kind():
    assert chosen() == QUESTIONS


def test_a_measure_of_the_forget_set_has_a_twin_on_the_validation_rows_and_others_have_none():
    assert Measure("forget_rouge", "R", "low").of("validation") == Measure("validation_rouge", "R", "low")
    assert Measure("privleak", "P", "zero").of("validation") is None
    assert Measure("privleak", "P", "zero").of("forget") == Measure("privleak", "P", "zero")
