"""What a third party is shown of one unlearned model: what was asked, what it says now, what it cost, what is unknown.

The model is the first seed of `report.evidence`, or else of the recommended setting that meets the most targets (of
all settings, where none is recommended). The facts of evidence.json are read from files, and each can be checked by
the fingerprints and commands at the end; evidence.html shows the same facts.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

from palu import __version__, tables
from palu.errors import UserError
from palu.evaluation.metrics import METRICS
from palu.files import canonical_json, file_digest
from palu.inert import spreadsheet_safe, visible
from palu.reporting.answers import Speaker, answered
from palu.reporting.cells import Cell, Row, Table
from palu.reporting.choice import Selection
from palu.reporting.load import Arm, Run, Study, unmeasured
from palu.reporting.numbers import metric_text, seed_interval, signed_text
from palu.reporting.tables import metric_of
from palu.reporting.templates import render
from palu.reporting.texts import COPIED_WORDS, Item, marked_reply, repeated, repetition, secrets
from palu.reporting.verdict import Judged, targets_text

# The first rows are on the page, all of them in the spreadsheet
ROW_LIMIT = 25
FORMAT = 1
FILES = ("summary.json", "reasons.json", "scores.parquet", "generations.parquet")
COLUMNS = (
    "example_id", "part", "group", "prompt", "true_reply", "sensitive", "before", "after", "repeated_before",
    "repeated_after",
)  # fmt: skip


def choose(study: Study, verdicts: Sequence[Judged], selection: Selection) -> tuple[Judged, str]:
    """The verdict on the model that the evidence is about, and in words what chose it.

    Raises UserError for an arm that the study does not have.
    """
    wanted = study.index.evidence
    chosen = [verdict for verdict in verdicts if wanted in (None, verdict.arm.label, verdict.arm.name)]
    if not chosen:
        allowed = ", ".join(dict.fromkeys(verdict.arm.label for verdict in verdicts))
        raise UserError(f"report.evidence: the study has no method {wanted!r}; allowed: {allowed}")
    whose = "The study names no method" if wanted is None else "The study names its method"
    recommended = {choice.arm for choice in selection.choices}
    among = [verdict for verdict in chosen if verdict.arm.name in recommended] or chosen
    if len(among) == 1:
        how = f"the setting recommended by {selection.items}" if among != chosen else "its only setting"
        return among[0], f"{whose}: this is {how}."
    best = min(among, key=lambda verdict: (-verdict.met, not verdict.keeps_utility, verdict.distance))
    return best, (
        f"{whose}: of {len(among)} {'recommended ' if among != chosen else ''}settings this one meets most targets on "
        f"the reported rows, which makes its numbers look somewhat better than they are."
    )


def gather(study: Study, verdict: Judged, chosen_by: str) -> dict[str, Any]:
    """The facts of evidence.json; `rows` holds as many as the page, evidence.csv all of them."""
    arm, run = verdict.arm, verdict.arm.first
    models = [("original", study.original), (arm.name, run.evaluation)]
    everyone = [*models, *([("retain model", study.retain)] if study.retain else [])]
    counts = [(name, *repetition(study.questions, each.generations)) for name, each in everyone]
    changes = list(_changes(study, arm))
    forgetting = [each for each in changes if not is_cost(each["metric"])]
    evaluated = tables.provenance(run.evaluation.folder / "generations.parquet").get("model")
    written = run.facts.get("model")
    found = {each["metric"] for each in forgetting}
    needed = [metric for name, metric in METRICS.items() if metric.needs_retain and name in study.metrics - found]
    instead = [metric_of(each["metric"]) for each in forgetting] if needed else []
    return {
        "format": FORMAT,
        "palu": __version__,
        "study": study.index.study,
        "benchmark": study.index.benchmark,
        "model": study.index.model,
        "about": {
            "model_folder": _model_folder(run),
            "fingerprint": written,
            "evaluation_is_of_this_model": None if None in (evaluated, written) else evaluated == written,
            "chosen_by": chosen_by,
            **run.entry.model_dump(
                include={"evaluation", "method", "label", "tagger", "seed", "settings", "training"}
            ),
        },
        "asked": {
            "rows": len(study.items),
            "groups": len({item.group for item in study.items}),
            "validation_rows": study.validation_rows,
            "rows_without_span": sum(not item.spans for item in study.items),
            "tagger": study.index.display_tagger,
        },
        "rows": list(_rows(study, run, [*_documents(study)[:ROW_LIMIT], *_questions(study)[:ROW_LIMIT]])),
        "all_rows": "evidence.csv",
        "answers_that_repeat": [{"model": name, "repeated": count, "items": items} for name, count, items in counts],
        "forgetting": forgetting,
        "cost": [each for each in changes if is_cost(each["metric"])],
        "verdict": {
            "headline": verdict.headline,
            "checks": [
                {"title": check.title, "status": check.status, "sentence": check.sentence} for check in verdict.checks
            ],
        },
        "not_measured": [each._asdict() for each in unmeasured(models)],
        "needs_a_retain_model": [metric.title for metric in needed],
        "shown_instead": [metric.title for metric in instead if metric.aim and not metric.needs_retain],
        "fingerprints": _fingerprints(study, run),
        "commands": study.index.commands,
        "checks": list(_checks(study, run)),
    }


def evidence_page(study: Study, verdict: Judged, facts: dict[str, Any]) -> str:
    """evidence.html: one self-contained page, as the report is."""
    models = [("original", study.original), ("this model", verdict.arm.first.evaluation)]
    speakers = [Speaker(name, None, each.generations, {}) for name, each in models]
    return render(
        "evidence.html.j2",
        facts=facts,
        verdict=verdict,
        items=answered(_questions(study)[:ROW_LIMIT], speakers),
        question_count=len(_questions(study)),
        documents=[(item, marked_reply(item)) for item in _documents(study)[:ROW_LIMIT]],
        document_count=len(_documents(study)),
        forgetting=_change_table(facts["forgetting"], "What the model still knows"),
        cost=_change_table(facts["cost"], "What it cost"),
        has_retain=study.retain is not None,
        copied_words=COPIED_WORDS,
        targets=targets_text(study),
    )


def is_cost(metric: str) -> bool:
    """Whether a metric is about what is kept and about language, and not about what is forgotten."""
    return metric_of(metric).section in ("utility", "language")


def _model_folder(run: Run) -> str:
    return str(Path(run.entry.folder) / "model")


def _documents(study: Study) -> list[Item]:
    """The forget rows that cannot be asked."""
    return [item for item in study.items if not item.prompt]


def _questions(study: Study) -> list[Item]:
    """The rows that were asked."""
    return [item for item in study.questions if item.prompt]


def _changes(study: Study, arm: Arm) -> Iterator[dict[str, Any]]:
    """Every metric of the first seed before (the original) and after, with Student's interval over the seeds of their
    differences, in the order of the table of metrics."""
    order = {name: place for place, name in enumerate(METRICS)}
    for metric in sorted(study.metrics, key=lambda name: (order.get(name, len(order)), name)):
        before, after = study.original.measured(metric).value, arm.first.evaluation.measured(metric).value
        if after is None:
            continue
        differences = [value - before for value in arm.measured(metric)[0]] if before is not None else []
        has_seeds = len(differences) > 1
        yield {
            "metric": metric,
            "before": before,
            "after": after,
            "difference": None if before is None else after - before,
            "retain_model": study.retain.measured(metric).value if study.retain else None,
            "seeds": len(differences) if has_seeds else 1,
            "mean_difference": sum(differences) / len(differences) if has_seeds else None,
            "interval_95": list(seed_interval(differences)) if has_seeds else None,
        }


def _change_table(changes: Sequence[dict[str, Any]], label: str) -> Table:
    heads = ("Original", "This model", "Difference", "Mean difference over seeds", "Retain model")
    rows = []
    for each in changes:
        numbers = [metric_text(each["metric"], each[key]) for key in ("before", "after", "retain_model")]
        difference = "–" if each["difference"] is None else signed_text(each["difference"])
        over_seeds = Cell("one seed")
        if each["interval_95"]:
            low, high = map(signed_text, each["interval_95"])
            over_seeds = Cell(signed_text(each["mean_difference"]), f"[{low}, {high}], {each['seeds']} seeds")
        cells = (Cell(numbers[0]), Cell(numbers[1]), Cell(difference), over_seeds, Cell(numbers[2]))
        rows.append(Row(metric_of(each["metric"]).title, cells, each["metric"]))
    return Table(label, "Metric", tuple((head, "") for head in heads), tuple(rows))


def _fingerprints(study: Study, run: Run) -> dict[str, str]:
    """What the evidence rests on: models and data by name, then the files that were read by path."""
    identity = run.facts.get("identity")
    inputs = identity.get("inputs") if isinstance(identity, dict) else {}
    inputs = inputs if isinstance(inputs, dict) else {}
    named = {"unlearned model": run.facts.get("model"), "original model": inputs.get("model")}
    named |= {"tokenizer": inputs.get("tokenizer"), "rows at training": inputs.get("examples")}
    named |= {"spans at training": inputs.get("spans")}
    evaluations = [study.original, run.evaluation, *([study.retain] if study.retain else [])]
    paths = [Path(path) for path in (study.index.examples, *study.index.spans.values())]
    paths += [evaluation.folder / name for evaluation in evaluations for name in FILES]
    found = {name: str(value) for name, value in named.items() if value is not None}
    return found | {str(path): file_digest(path) for path in paths if path.exists()}


def _checks(study: Study, run: Run) -> Iterator[str]:
    """Shell lines with which a reader checks the model: its fingerprint, and its answers once more."""
    model = quote(_model_folder(run))
    yield (
        'python -c "import sys, pathlib, palu.models; '
        f'print(palu.models.fingerprint(pathlib.Path(sys.argv[1])))" {model}'
    )
    known = {key: value for key, value in study.index.model.items() if key in ("template", "max_length", "dtype")}
    settings = "{" + ", ".join(f"{key}: {value}" for key, value in known.items()) + "}"
    yield (
        f"palu infer --model {model} --model-settings {quote(settings)} --examples {quote(study.index.examples)} "
        "--out check"
    )


def _rows(study: Study, run: Run, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    """Each row with what both models said of it (None where a model was not asked) and what of it they repeated."""
    models = {"before": study.original.generations, "after": run.evaluation.generations}
    for item in items:
        facts = asdict(item) | {"true_reply": item.reply, "spans": [list(span) for span in item.spans]}
        del facts["reply"]
        for when, answers in models.items():
            text = answers.get(item.example_id)
            facts |= {when: text, f"repeated_{when}": [] if text is None else repeated(text, secrets(item))}
        yield facts


def write_rows(study: Study, run: Run, path: Path) -> None:
    """evidence.csv: the rows that were to be forgotten, then those that only ask for them; safe in a spreadsheet."""
    known = {item.example_id for item in study.items}
    others = [item for item in study.questions if item.example_id not in known]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for facts in _rows(study, run, [*study.items, *others]):
            facts["sensitive"] = [facts["true_reply"][start:end] for start, end in facts["spans"]]
            for name in ("sensitive", "repeated_before", "repeated_after"):
                facts[name] = canonical_json([visible(each) for each in facts[name]])
            writer.writerow([spreadsheet_safe(facts[name] or "") for name in COLUMNS])
