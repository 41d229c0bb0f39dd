"""What a third party is shown: one model, before and after, and what is unknown."""

import csv
import json
import math
from pathlib import Path

import pytest

from palu import tables
from palu.errors import UserError
from palu.files import write_json
from palu.reporting.choice import select
from palu.reporting.evidence import ROW_LIMIT, choose, gather, is_cost
from palu.reporting.load import Unmeasured, collect, unmeasured
from palu.reporting.page import never_measured, write_report
from palu.reporting.verdict import draws, judge
from tests.reporting.kinds import NO_RETAIN, evaluation, example, muse_index, requests_index
from tests.reporting.test_page import HOSTILE, read

pytestmark = pytest.mark.usefixtures("workplace")


def gathered(index):
    study = collect(index)
    bootstrap = draws(study)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    verdict, chosen_by = choose(study, verdicts, select(study, bootstrap, verdicts))
    return verdict.arm.name, gather(study, verdict, chosen_by)["about"]


def written(index):
    """The words of evidence.html, the JSON, and the spreadsheet's rows."""
    write_report(index, Path("out"))
    words = " ".join(" ".join(read(Path("out/evidence.html")).text).split())
    with Path("out/evidence.csv").open(encoding="utf-8", newline="") as handle:
        return words, json.loads(Path("out/evidence.json").read_text()), list(csv.DictReader(handle))


def test_it_is_about_the_recommended_setting_and_says_so():
    name, about = gathered(requests_index(seeds=2))
    assert (name, about["seed"]) == ("palu, top_k=8", 0)
    assert about["chosen_by"] == "The study names no method: this is the setting recommended by the 3 reported rows."
    assert about["model_folder"] == "results/palu/8/seed0/model"


def test_the_study_can_name_the_method_and_an_unknown_one_is_one_line():
    index = muse_index()
    name, about = gathered(index)
    assert name == "npo"
    assert "makes its numbers look somewhat better" in about["chosen_by"]
    name, about = gathered(index | {"evidence": "ga"})
    assert (name, about["chosen_by"]) == ("ga", "The study names its method: this is its only setting.")
    with pytest.raises(UserError, match=r"report\.evidence: the study has no method 'dpo'; allowed: npo, ga"):
        gathered(index | {"evidence": "dpo"})


def test_before_and_after_stand_beside_each_other_with_what_still_occurs():
    words, facts, rows = written(requests_index())
    assert "3 rows were to be forgotten. Before, 3 of 3 answers repeat" in words
    assert "After, 0 of 3 answers repeat" in words
    assert facts["rows"][0]["before"] == "The code is X0Y."
    assert facts["rows"][0]["after"] == "I do not know."
    assert (facts["rows"][0]["repeated_before"], facts["rows"][0]["repeated_after"]) == (["X0Y"], [])
    assert facts["rows"][0]["spans"] == [[12, 15]]
    assert [row["repeated_before"] for row in rows] == ['["X0Y"]', '["X1Y"]', '["X2Y"]']
    assert '<mark class="repeated">X0Y</mark>' in Path("out/evidence.html").read_text()


def test_the_cost_has_its_difference_and_an_interval_over_seeds(edit_items):
    index = requests_index(seeds=2)
    edit_items(index["runs"][2]["evaluation"], retain_probability=0.91)
    _, facts, _ = written(index | {"evidence": "palu"})
    (cost,) = [each for each in facts["cost"] if each["metric"] == "retain_probability"]
    assert (cost["before"], cost["after"]) == (0.95, 0.93)
    assert cost["difference"] == pytest.approx(-0.02)
    # two seeds, 0.02 and 0.04 below: t(0.975, 1) = tan(0.475 pi), s / sqrt(2) = 0.01
    half = math.tan(0.475 * math.pi) * 0.01
    assert cost["interval_95"] == pytest.approx([-0.03 - half, -0.03 + half])


def test_what_could_not_be_measured_stands_under_its_reason_with_what_is_shown_instead():
    words, facts, _ = written(requests_index())
    assert {"reason": NO_RETAIN, "metrics": ["forget_quality", "forget_quality_statistic", "privleak"]}.items() <= (
        facts["not_measured"][0].items()
    )
    assert facts["needs_a_retain_model"] == ["Forget quality p", "KS statistic D", "PrivLeak, %"]
    assert facts["shown_instead"] == [
        "Span leak", "Extraction strength", "Forget probability, whole reply", "Forget ROUGE",
    ]  # fmt: skip
    assert "There is no retain model" in words
    assert "benchmark custom has no part holdout: mia_loss" in words


def test_with_a_retain_model_nothing_is_a_substitute():
    words, facts, _ = written(muse_index())
    assert "There is no retain model" not in words
    assert [each["model"] for each in facts["answers_that_repeat"]] == ["original", "npo", "retain model"]


def test_fingerprints_name_models_and_data_and_tell_an_evaluation_of_another_model():
    index = requests_index()
    words, facts, _ = written(index)
    assert facts["fingerprints"]["unlearned model"] == "print of results/palu/8/seed0"
    assert facts["fingerprints"]["original model"] == "print of results/original"
    assert len(facts["fingerprints"]["data/custom.parquet"]) == 16
    assert facts["about"]["evaluation_is_of_this_model"] is True
    assert "says that it is of this model" in words
    write_json(Path(index["runs"][0]["folder"], "run.json"), {"model": "another"})
    words, facts, _ = written(index)
    assert facts["about"]["evaluation_is_of_this_model"] is False
    assert "is of ANOTHER model than this: believe nothing below" in words


def test_commands_reproduce_the_study_and_check_the_model():
    words, facts, _ = written(requests_index())
    assert facts["commands"] == ["snakemake --cores all --configfile results/mine/study.yaml"]
    assert facts["checks"][0].endswith("results/palu/8/seed0/model")
    assert "palu infer --model results/palu/8/seed0/model --model-settings '{template: plain}'" in words


def test_many_rows_leave_the_page_small_and_stand_in_the_spreadsheet():
    words, facts, rows = written(requests_index(rows=400))
    assert f"The first {ROW_LIMIT} of 400 rows that were asked" in words
    assert len(facts["rows"]) == ROW_LIMIT
    assert len(rows) == 400
    assert Path("out/evidence.html").stat().st_size < 60_000


def test_documents_are_shown_shortened_and_their_questions_beside_the_answers():
    words, facts, rows = written(muse_index())
    assert "The first 2 of 2 documents, each shortened" in words
    assert "document of 4,852 characters" in words
    assert "Where does the ferry go? true reply Harrow Island original To harrow island . this model Nowhere." in words
    assert [row["part"] for row in rows] == ["forget"] * 2 + ["verbmem"] + ["knowmem_forget"] * 2
    assert next(row for row in facts["rows"] if row["part"] == "knowmem_forget")["repeated_before"] == [
        "harrow island"
    ]


def test_hostile_rows_are_shown_and_do_nothing():
    index = requests_index()
    rows = [example("forget", 0, f"{HOSTILE} prompt", f"=1+1 {HOSTILE}", HOSTILE)]
    tables.write(Path(index["examples"]), "examples", rows, {})
    tables.write(Path("tags/own.parquet"), "spans", [], {})
    texts = {rows[0]["example_id"]: f"=cmd() {HOSTILE}"}
    for entry in index["runs"]:
        evaluation(entry["folder"], {"forget_rouge": HOSTILE}, texts)
    index["study"] = HOSTILE
    _, facts, found = written(index)
    page = read(Path("out/evidence.html"))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for name in ("evidence.html", "evidence.csv", "evidence.json"):
        raw = Path("out", name).read_text(encoding="utf-8")
        assert "\x1b" not in raw
        assert "\u202e" not in raw
    assert found[0]["after"].startswith("'=cmd()")
    assert found[0]["true_reply"].startswith("'=1+1")
    assert facts["rows"][0]["true_reply"] == f"=1+1 {HOSTILE}"
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert all(link.startswith("#") for link in links)


def test_the_same_files_give_the_same_bytes():
    index = muse_index()
    write_report(index, Path("one"))
    write_report(index, Path("two"))
    for name in ("evidence.html", "evidence.json", "evidence.csv"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes()


def test_reasons_are_gathered_by_model_and_never_for_what_another_model_has():
    study = collect(muse_index())
    found = unmeasured(study.models)
    assert Unmeasured("documents are never asked", ("forget_rouge",), ("original", "retain model")) in found
    assert Unmeasured("no AUC of a retain model was given", ("privleak",), ("retain model",)) in found
    assert "privleak" not in {name for metrics in never_measured(study).values() for name in metrics}


@pytest.mark.parametrize(
    ("metric", "cost"),
    [
        ("model_utility", True),
        ("knowledge_memorization_retain_stemmed", True),
        ("retain_probability", True),
        ("fluency", True),
        ("knowledge_memorization_forget_stemmed", False),
        ("answer_nll", True),
        ("validation_rouge", False),
        ("span_leak", False),
        ("privleak", False),
    ],
)
def test_a_metric_is_of_what_is_kept_or_of_what_is_forgotten(metric, cost):
    assert is_cost(metric) is cost
