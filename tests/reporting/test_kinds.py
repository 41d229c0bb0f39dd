"""Reports of studies that are not of questions about people."""

from pathlib import Path

import pytest

from palu.reporting.choice import RULE, select
from palu.reporting.figures import draw_all
from palu.reporting.load import collect
from palu.reporting.page import write_report
from palu.reporting.verdict import draws, judge, targets_text
from tests.reporting.kinds import evaluation, muse_index, requests_index
from tests.reporting.test_page import text_of

pytestmark = pytest.mark.usefixtures("workplace")


def verdicts(index):
    study = collect(index)
    bootstrap = draws(study)
    return study, bootstrap, {arm.name: judge(study, bootstrap, arm) for arm in study.arms}


def test_documents_are_judged_by_memorization_on_one_side_and_silence_is_no_success():
    _, _, found = verdicts(muse_index())
    assert (found["npo"].headline, found["npo"].met) == ("Forgotten, language kept, utility kept", 6)
    lost = found["ga"]
    assert [check.status for check in lost.gone] == ["met", "met"]
    assert [check.status for check in lost.language] == ["met", "missed", "met"]
    assert lost.headline == "Forgotten, language lost, utility lost"
    assert lost.checks[0].sentence == "0 [0, 0], at most 0.250, 0.05 above the retain model's 0.200"


def test_privleak_is_no_target_and_is_not_judged_without_its_items():
    _, _, found = verdicts(muse_index())
    check = found["ga"].of("privleak")
    assert (check.status, check.value) == ("not measured", 80.0)
    assert "scores.parquet has no items of forget_mia_min_k" in check.reason


def test_without_a_retain_model_the_bound_is_a_tenth_of_the_originals_and_said_to_be_ours():
    study, _, found = verdicts(muse_index(has_retain=False))
    check = found["npo"].checks[1]
    assert (check.title, check.status) == ("Knowledge of forget set", "missed")
    assert check.sentence == "0.340 [0.340, 0.340], at most 0.064, a tenth of the original's 0.640"
    assert found["npo"].headline == "Not forgotten, language kept, utility kept"
    assert "a bound of ours as the study has no retain model" in targets_text(study)
    assert "PrivLeak" not in targets_text(study)


def test_a_users_rows_choose_the_setting_that_keeps_utility():
    study, bootstrap, found = verdicts(requests_index())
    (choice,) = select(study, bootstrap, list(found.values())).choices
    assert (choice.arm, choice.keeps_utility) == ("palu, top_k=8", True)
    assert choice.distance == pytest.approx(0.02)
    assert "smallest distance" in RULE


def test_without_rows_to_keep_no_setting_is_recommended_and_the_page_says_that_nothing_shows_the_price():
    index = requests_index(has_retain_rows=False)
    study, bootstrap, found = verdicts(index)
    selection = select(study, bootstrap, list(found.values()))
    assert selection.choices == ()
    assert "Model utility: cannot be judged: benchmark custom has no part real_authors" in selection.warning
    assert "Nothing measures what forgetting cost" in text_of(index)


@pytest.mark.parametrize(
    ("make", "up", "across"),
    [
        (muse_index, "Verbatim memorization", "Knowledge of retain set"),
        (requests_index, "Span leak", "Retain probability"),
    ],
)
def test_the_plane_has_the_axes_of_the_kind(make, up, across):
    study, _, found = verdicts(make())
    plane = draw_all(study, list(found.values()))[0]
    assert f"{up} (forgotten: further up)" in plane.svg
    assert f"{across} (kept: further right)" in plane.svg


def test_curves_of_documents_and_of_requests_show_their_own_measures():
    index = requests_index()
    for run in index["runs"]:
        values = {"forget_probability": 0.6, "retain_probability": 0.94}
        run["trajectory"] = [{"epoch": 1, "evaluation": evaluation(f"{run['folder']}/epoch1", values, {})}]
    study, _, found = verdicts(index)
    curves = draw_all(study, list(found.values()))[1].svg
    assert "Retain probability" in curves
    assert "Model utility" not in curves


def test_what_no_model_was_measured_by_has_no_column_and_its_reason_is_given():
    text = text_of(muse_index())
    assert "Nearest to the retain model" not in text
    assert "Forget ROUGE" not in text
    assert "documents are never asked: forget_rouge" in text
    assert "no truth ratios: forget_quality, forget_quality_statistic" in text
    first, *_ = Path("out/outcome.txt").read_text().splitlines()
    assert first == "1 of 2 meet all 6 targets: npo."


def test_the_page_shows_questions_on_documents_and_cuts_long_texts():
    text = text_of(muse_index())
    generations = text[text.index("What the models say now") : text.index("Everything else")]
    assert "Where does the ferry go?" in generations
    assert "Who opened the fair?" not in generations
    write_report(muse_index(), Path("again"))
    assert "more characters)" in Path("again/evidence.html").read_text()
