"""What each subcommand does with its arguments. A function's name is the subcommand's."""

import argparse
import json
import sys
from contextlib import redirect_stdout

from palu.cli.values import assignments, machine_values, merged, read_mapping
from palu.errors import UserError
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.inert import visible
from palu.models.settings import ModelSettings
from palu.training.settings import FinetuneSettings, TrainingSettings


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
    from palu.training.loop import Machine

    examples = Examples(options.examples)
    run(
        model_settings=ModelSettings.parse(read_mapping(options.model_settings, "--model-settings"), "model"),
        settings=FinetuneSettings.parse(merged(options), "finetune"),
        examples_path=options.examples,
        parts=examples.parts_of(options.role),
        tokenizer_parts=examples.parts_of("original"),
        seed=options.seed,
        out=options.out,
        base=options.base,
        machine=Machine(**machine_values(options)),
    )


def tag(options: argparse.Namespace) -> None:
    from palu import tagging

    settings = tagging.load(options.tagger, "--tagger").Settings.parse(merged(options), f"tagger {options.tagger}")
    model = ModelSettings.parse(read_mapping(options.model_settings, "--model-settings"), "model")
    resources = tagging.Resources(
        gold_path=options.gold,
        processes=options.processes,
        model_path=options.model,
        states_path=options.states,
        other_states_path=options.other_states,
        trained_path=options.trained,
        template=model,
        max_length=model.max_length,
        inputs=tuple(options.inputs),
    )
    parts = options.parts.split(",") if options.parts else None
    tagging.tag(options.tagger, settings, options.examples, resources, options.out, parts)


def convert_spans(options: argparse.Namespace) -> None:
    from palu.tagging.converting import convert

    convert(options.words, options.out)


def train_tagger(options: argparse.Namespace) -> None:
    from palu.tagging.fitting import fit

    parts = options.parts.split(",") if options.parts else None
    fit(options.tagger, merged(options), options.examples, options.gold, options.out, parts)


def score_tags(options: argparse.Namespace) -> None:
    from palu import models
    from palu.files import write_json
    from palu.reporting.scorecard import score_text
    from palu.tagging.scoring import score_tags as run

    tokenizer = models.load_tokenizer(options.tokenizer) if options.tokenizer else None
    with redirect_stdout(sys.stderr):
        scores = run(options.predicted, options.gold, options.examples, tokenizer)
    if options.out:
        write_json(options.out, scores)
    else:
        print(json.dumps(scores) if options.json else visible(score_text(scores)))


def score_taggers(options: argparse.Namespace) -> None:
    from palu.reporting.scorecard import write_scorecard

    write_scorecard(read_mapping(options.index, "--index"), options.out)


def reference(options: argparse.Namespace) -> None:
    from palu.reference.states import Kept, write_states

    write_states(
        model_folder=options.model,
        examples_path=options.examples,
        out=options.out,
        settings=ModelSettings.parse(merged(options), "model"),
        parts=options.parts.split(","),
        kept=Kept(options.layer, hidden=not options.log_probs_only),
        mixed_precision=options.mixed_precision,
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
        first_n=options.first_n,
        mixed_precision=options.mixed_precision,
    )


def unlearn(options: argparse.Namespace) -> None:
    from palu import methods
    from palu.reference.cache import ReferencePaths
    from palu.training.loop import Machine
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
        machine=Machine(**machine_values(options)),
    )


def merge(options: argparse.Namespace) -> None:
    from palu import models

    models.merge_adapter(options.model, options.out, options.base)


def loss(options: argparse.Namespace) -> None:
    from palu import methods
    from palu.training.loss import step_loss

    settings = methods.load(options.method, "--method").Settings.parse(merged(options), f"method {options.method}")
    print(json.dumps(step_loss(options.method, settings, options.policy, options.reference, options.batch)))


def infer(options: argparse.Namespace) -> None:
    from palu.evaluation.infer import GENERATIONS_NAME
    from palu.evaluation.infer import infer as run
    from palu.evaluation.judge_answers import ANSWERS_NAME, judge_answers

    model = ModelSettings.parse(read_mapping(options.model_settings, "--model-settings"), "model")
    settings = EvaluationSettings.parse(merged(options), "evaluation")
    run(options.model, options.examples, options.out, model, settings)
    if options.original:
        answers = options.out / GENERATIONS_NAME, options.out / ANSWERS_NAME
        judge_answers(options.original, options.examples, *answers, model, settings)


def score(options: argparse.Namespace) -> None:
    from palu.evaluation.evidence import EvidencePaths
    from palu.evaluation.score import score as run

    folder = options.evaluation
    run(
        EvidencePaths(
            examples=options.examples,
            generations=folder / "generations.parquet",
            logprobs=folder / "logprobs.parquet",
            spans=options.spans,
            gradient_norms=folder / "gradient_norms.parquet",
            fluency=options.fluency,
            reference=options.reference_logprobs,
            answers=options.answers,
            gold=options.gold,
        ),
        out_folder=folder,
        settings=EvaluationSettings.parse(merged(options), "evaluation"),
        run=options.run,
        retain_scores_path=options.retain_scores,
        original_scores_path=options.original_scores,
    )


def classify(options: argparse.Namespace) -> None:
    from palu.evaluation.classify import classify as run

    settings = FluencySettings.parse(merged(options), "evaluation.fluency")
    run(options.examples, options.generations, options.out, settings)


def score_logs(options: argparse.Namespace) -> None:
    from palu.evaluation.score import score_log
    from palu.evaluation.terminal import summary_text

    scored = score_log(options.logs, options.out, options.retain_logs, options.retain_auc, options.original_logs)
    print(visible(summary_text(scored)))


def evaluate(options: argparse.Namespace) -> None:
    from palu import benchmarks, tables
    from palu.evaluation.evaluate import evaluate as run
    from palu.evaluation.terminal import summary_text

    benchmark_settings = benchmarks.load(options.benchmark, "--benchmark").Settings
    values = {"source": options.data, benchmark_settings.split_key: options.forget_split, **assignments(options.set)}
    values = {key: value for key, value in values.items() if value is not None}
    needed = benchmark_settings.prompt_template
    if options.template is not None and needed not in {None, options.template}:
        raise UserError(f"--template: {options.template!r}; allowed for benchmark {options.benchmark}: {needed}")
    examples, gold = options.out / "examples.parquet", options.out / "gold.parquet"
    benchmarks.prepare(
        options.benchmark,
        benchmark_settings.parse(values, f"benchmark {options.benchmark}"),
        examples,
        gold,
    )
    model_values = {
        "checkpoint": str(options.model),
        "template": options.template or needed or "plain",
        "max_length": benchmark_settings.max_length if options.max_length is None else options.max_length,
    }
    settings = read_mapping(options.settings, "--settings")
    if options.retain_auc is not None:
        settings["retain_auc"] = options.retain_auc
    has_gold = tables.opened(gold, "spans", {}).metadata.num_rows > 0
    scored = run(
        model_folder=options.model,
        examples_path=examples,
        out_folder=options.out,
        model_settings=ModelSettings.parse(model_values, "model"),
        settings=EvaluationSettings.parse(settings, "evaluation"),
        run=options.model.name,
        retain_scores_path=options.retain_logs,
        original_scores_path=options.original_logs,
        spans_path=options.spans or (gold if has_gold else None),
        reference_folder=options.reference_model,
        original_folder=options.original,
        gold_path=gold,
    )
    print(visible(summary_text(scored)))


def report(options: argparse.Namespace) -> None:
    from palu.reporting.page import write_report

    write_report(read_mapping(options.index, "--index"), options.out)
