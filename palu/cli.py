"""`palu <stage>`: one subcommand per rule of the workflow, nothing but argument passing.

A user's mistake is one line and exit status 1; a bug of ours keeps its traceback. Libraries load when a stage runs.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from palu import __version__
from palu.errors import UserError
from palu.evaluation.settings import EvaluationSettings
from palu.methods import METHODS
from palu.models.settings import ModelSettings
from palu.training.settings import FinetuneSettings, TrainingSettings

# The parts whose rows are to be forgotten; `palu.tables`, which loads Arrow, has the same
FORGET = "forget,validation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; the process's exit status."""
    options = parser().parse_args(arguments)
    try:
        options.stage(options)
    except UserError as error:
        print(f"palu: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("palu: interrupted", file=sys.stderr)
        return 130
    return 0


def benchmark(options: argparse.Namespace) -> None:
    from palu import benchmarks

    settings = benchmarks.load(options.name, "--name").Settings.parse(merged(options), f"benchmark {options.name}")
    benchmarks.prepare(options.name, settings, options.out, options.gold_out)


def fetch(options: argparse.Namespace) -> None:
    from palu import models

    models.link_checkpoint(options.checkpoint, options.revision or None, options.out)


def finetune(options: argparse.Namespace) -> None:
    from palu.training.data import Examples
    from palu.training.finetune import finetune as run

    examples = Examples(options.examples)
    run(
        model_settings=ModelSettings.parse(read_mapping(options.model_settings, "--model-settings"), "model"),
        settings=FinetuneSettings.parse(merged(options), "finetune"),
        examples_path=options.examples,
        parts=examples.parts_of(options.role),
        tokenizer_parts=examples.parts_of("original"),
        seed=options.seed,
        out=options.out,
    )


def tag(options: argparse.Namespace) -> None:
    from palu import tagging

    settings = tagging.load(options.tagger, "--tagger").Settings.parse(merged(options), f"tagger {options.tagger}")
    parts = options.parts.split(",")
    tagging.tag(options.tagger, settings, options.examples, options.gold, options.out, parts, options.processes)


def reference(options: argparse.Namespace) -> None:
    from palu.reference.states import Kept, write_states

    write_states(
        model_folder=options.model,
        examples_path=options.examples,
        out=options.out,
        settings=ModelSettings.parse(merged(options), "model"),
        parts=options.parts.split(","),
        kept=Kept(options.layer, hidden=not options.log_probs_only),
    )


def alternates(options: argparse.Namespace) -> None:
    from palu.benchmarks.alternates import write_alternates

    write_alternates(options.examples, options.refusals, options.count, options.out)


def topk(options: argparse.Namespace) -> None:
    from palu.reference.topk import write_topk

    settings = ModelSettings.parse(merged(options), "model")
    write_topk(
        states_path=options.states,
        spans_path=options.spans,
        examples_path=options.examples,
        model_folder=options.model,
        out=options.out,
        settings=settings,
        k=options.top_k,
    )


def unlearn(options: argparse.Namespace) -> None:
    from palu import methods
    from palu.reference.cache import ReferencePaths
    from palu.training.unlearn import unlearn as run

    settings_class = methods.load(options.method, "--method").Settings
    values = merged(options)
    own = {key: value for key, value in values.items() if key not in TrainingSettings.model_fields}
    shared = {key: value for key, value in values.items() if key in TrainingSettings.model_fields}
    run(
        model_folder=options.model,
        model_settings=ModelSettings.parse(read_mapping(options.model_settings, "--model-settings"), "model"),
        examples_path=options.examples,
        spans_path=options.spans,
        reference_paths=ReferencePaths(
            states=options.states,
            topk=options.top_k_index,
            retain_states=options.retain_states,
            retain_layer_states=options.retain_layer_states,
            alternates=options.alternate_states,
        ),
        alternates_path=options.alternates,
        method_name=options.method,
        method_settings=settings_class.parse(own, f"method {options.method}"),
        settings=TrainingSettings.parse(read_mapping(options.training, "--training") | shared, "training"),
        seed=options.seed,
        keep_epochs=[int(epoch) for epoch in options.keep_epochs.split(",") if epoch],
        out=options.out,
    )


def infer(options: argparse.Namespace) -> None:
    from palu.evaluation.infer import infer as run

    run(
        model_folder=options.model,
        examples_path=options.examples,
        out_folder=options.out,
        model_settings=ModelSettings.parse(read_mapping(options.model_settings, "--model-settings"), "model"),
        settings=EvaluationSettings.parse(merged(options), "evaluation"),
    )


def score(options: argparse.Namespace) -> None:
    from palu.evaluation.score import score as run

    folder = options.evaluation
    run(
        examples_path=options.examples,
        generations_path=folder / "generations.parquet",
        logprobs_path=folder / "logprobs.parquet",
        out_folder=folder,
        settings=EvaluationSettings.parse(merged(options), "evaluation"),
        run=options.run,
        retain_scores_path=options.retain_scores,
        spans_path=options.spans,
    )


def score_logs(options: argparse.Namespace) -> None:
    from palu.evaluation.score import score_log

    score_log(options.logs, options.out, options.retain_logs)


def evaluate(options: argparse.Namespace) -> None:
    from palu import benchmarks
    from palu.evaluation.evaluate import evaluate as run

    values = {"source": options.data, "split": options.forget_split, **assignments(options.set)}
    values = {key: value for key, value in values.items() if value is not None}
    module = benchmarks.load(options.benchmark, "--benchmark")
    examples = options.out / "examples.parquet"
    benchmarks.prepare(
        options.benchmark,
        module.Settings.parse(values, f"benchmark {options.benchmark}"),
        examples,
        options.out / "gold.parquet",
    )
    template = {"checkpoint": str(options.model), "template": options.template}
    run(
        model_folder=options.model,
        examples_path=examples,
        out_folder=options.out,
        model_settings=ModelSettings.parse(template, "model"),
        settings=EvaluationSettings.parse(read_mapping(options.settings, "--settings"), "evaluation"),
        run=options.model.name,
        retain_scores_path=options.retain_logs,
    )


def report(options: argparse.Namespace) -> None:
    from palu.reporting.page import write_report

    write_report(read_mapping(options.index, "--index"), options.out)


def merged(options: argparse.Namespace) -> dict[str, Any]:
    """`--settings` with each `--set` laid over it."""
    return read_mapping(options.settings, "--settings") | assignments(options.set)


def read_mapping(text: str | None, place: str) -> dict[str, Any]:
    """A mapping from a YAML file's path, or from YAML or JSON text; none gives an empty one."""
    if not text:
        return {}
    is_path = "{" not in text and ": " not in text
    if is_path and not Path(text).is_file():
        raise UserError(f"{place}: {text}: no such file; allowed: a file, or a mapping such as '{{key: value}}'")
    try:
        values = yaml.safe_load(Path(text).read_text(encoding="utf-8") if is_path else text)
    except yaml.YAMLError as error:
        raise UserError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, Mapping):
        raise UserError(f"{place}: {values!r} is not a mapping of keys to values")
    return dict(values)


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs whose values are YAML: `first_n=null`, `top_k=300`."""
    values = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise UserError(f"--set: {pair!r} has no key or no '='; allowed: key=value")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set: {pair!r}: the value is not valid YAML") from None
    return values


def parser() -> argparse.ArgumentParser:
    """The command line of every stage."""
    top = argparse.ArgumentParser(prog="palu", description="Make a language model forget named facts.")
    top.add_argument("--version", action="version", version=f"palu {__version__}")
    stages = top.add_subparsers(title="stages", metavar="STAGE", required=True)

    def stage(run: Any, text: str, *paths: str, optional: Sequence[str] = ()) -> argparse.ArgumentParser:
        sub = stages.add_parser(run.__name__.replace("_", "-"), help=text, description=text)
        sub.set_defaults(stage=run)
        for name in (*paths, *optional):
            sub.add_argument(f"--{name}", type=Path, required=name in paths, metavar="PATH")
        sub.add_argument("--settings", metavar="YAML", help="settings: a YAML file, or YAML or JSON text")
        sub.add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], help="one setting, over --settings"
        )
        return sub

    one = stage(benchmark, "download or generate a benchmark's rows", "out", "gold-out")
    one.add_argument("--name", required=True, help="a benchmark: demo, tofu")
    one = stage(fetch, "link a checkpoint from the hub or a local folder", "out")
    one.add_argument("--checkpoint", required=True, help="hub id or local folder")
    one.add_argument("--revision", help="commit, tag or branch on the hub")
    one = stage(finetune, "train the original or the retain model", "examples", "out")
    one.add_argument("--role", required=True, choices=("original", "retain"))
    one.add_argument("--model-settings", metavar="YAML", help="where the model starts from: a study's section `model`")
    one.add_argument("--seed", type=int, default=0)
    one = stage(tag, "mark the sensitive characters of replies", "examples", "out", optional=["gold"])
    one.add_argument("--tagger", required=True, help="a tagger: annotations, spacy")
    one.add_argument("--parts", default=FORGET, help=f"parts of the examples to tag, with commas (default: {FORGET})")
    one.add_argument("--processes", type=int, default=1)
    one = stage(reference, "cache the frozen model's states at reply tokens", "model", "examples", "out")
    one.add_argument("--parts", default=FORGET, help=f"parts of the examples, with commas (default: {FORGET})")
    one.add_argument("--layer", type=int, help="keep the states after this block, 0 = the first (default: the last)")
    one.add_argument(
        "--log-probs-only", action="store_true", help="keep no states, only the tokens' log-probabilities"
    )
    one = stage(alternates, "draw refusals for the rows to forget", "examples", "refusals", "out")
    one.add_argument("--count", type=int, required=True, help="refusals for each row")
    one = stage(topk, "index the frozen model's best tokens", "model", "states", "examples", "spans", "out")
    one.add_argument("--top-k", type=int, required=True)
    one = stage(
        unlearn,
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
    one.add_argument("--method", required=True, help=f"{', '.join(METHODS)}; --set takes the method's settings")
    one.add_argument("--training", metavar="YAML", help="optimiser and schedule; --set takes these too")
    one.add_argument("--model-settings", metavar="YAML", help="template and length limit: a study's section `model`")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--keep-epochs", default="", help="epochs whose model is kept, with commas")
    one = stage(infer, "generate and compute log-probabilities", "model", "examples", "out")
    one.add_argument("--model-settings", metavar="YAML", help="template and length limit: a study's section `model`")
    one = stage(
        score, "compute metrics without the model", "examples", "evaluation", optional=["spans", "retain-scores"]
    )
    one.add_argument("--run", default="", help="the model's name in the scores table")
    stage(score_logs, "aggregate a TOFU_EVAL.json log anew, without a model", "logs", "out", optional=["retain-logs"])
    one = stage(evaluate, "evaluate a model on a benchmark", "model", "out", optional=["retain-logs"])
    one.add_argument("--benchmark", required=True, help="a benchmark: demo, tofu; --set takes its settings")
    one.add_argument("--data", help="hub id or local folder of the benchmark")
    one.add_argument("--forget-split", help="such as forget05")
    one.add_argument("--template", default="plain", help="plain, llama2-chat or chat")
    one = stage(report, "write a study's page", "out")
    one.add_argument(
        "--index", required=True, metavar="YAML", help="where the evaluations lie, as the workflow writes it"
    )
    return top
