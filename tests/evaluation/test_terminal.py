from palu.evaluation.base import Missing
from palu.evaluation.score import Scored
from palu.evaluation.terminal import summary_text


def test_every_metric_has_a_line_and_every_null_its_reason():
    scored = Scored(
        {
            "forget_quality": 0.01,
            "forget_quality_statistic": 0.3,
            "fluency": Missing("no classifier was asked"),
            "model_utility": 0.625,
            "mia_loss": 0.00001,
            "something_else": 2.0,
        },
        "p = 0.01 (D = 0.300; one step away: p = 0.02, 0.005)",
    )
    lines = summary_text(scored).splitlines()
    assert lines[0] == "Forgetting"
    told = {line.split()[0]: line.split(None, 1)[1] for line in lines if line.startswith("  ")}
    assert told == {
        "forget_quality": "p = 0.01 (D = 0.300; one step away: p = 0.02, 0.005)",
        "mia_loss": "1.000e-05",
        "fluency": "null: no classifier was asked",
        "model_utility": "0.6250",
        "something_else": "2.0000",
    }
