"""What the stages load, loaded once: the processes that run them are forked from one that has it."""

from importlib import import_module

STAGES = (
    "palu.evaluation.classify",
    "palu.evaluation.infer",
    "palu.evaluation.judge_answers",
    "palu.evaluation.score",
    "palu.reference.topk",
    "palu.reporting.page",
    "palu.reporting.scorecard",
    "palu.tagging.scoring",
    "palu.training.finetune",
    "palu.training.unlearn",
)
for name in (*STAGES, "tests.faults.given", "tests.faults.stage"):
    import_module(name)
