"""The report: one self-contained page, one spreadsheet and the figures, from an index of finished evaluations.

The page answers in this order: one sentence, a table of the arms, a picture, a few questions with every model's
answer, and then, folded, everything else.
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from palu import __version__
from palu.errors import UserError
from palu.evaluation.metrics import METRICS, SECTIONS
from palu.files import atomic, file_digest, read_json, write_text
from palu.reporting import tables, verdict
from palu.reporting.answers import ARM_LIMIT, answered, speakers
from palu.reporting.cells import Notes
from palu.reporting.choice import RULE, UTILITY_NOTE, Selection, select
from palu.reporting.drawing import Drawing, themed
from palu.reporting.evidence import choose, evidence_page, gather, write_rows
from palu.reporting.figures import draw_all
from palu.reporting.load import Study, collect
from palu.reporting.quality import Quality, best, qualities
from palu.reporting.spreadsheet import results_csv
from palu.reporting.templates import render
from palu.reporting.terminal import outcome
from palu.reporting.texts import choose_items, repetition
from palu.reporting.verdict import Judged

# The page stays one that a browser opens at once
ITEM_LIMIT = 60
LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "spacy", "numpy", "scipy", "pyarrow", "snakemake")
# What a tagger's setting `fallback` does with a reply without any span
POLICIES = {
    "skip": "nothing of them is trained",
    "whole_reply": "the whole reply counts as sensitive",
    "first_clause": "their first clause counts as sensitive",
}
COVERAGE = ("rows", "rows_without_span", "fallback_rows", "spans", "marked_characters", "characters")


def write_report(index: dict[str, Any], out_folder: Path) -> None:
    """Write report.html, verdict.json, results.csv, outcome.txt, figures/*.svg and evidence.{html,json,csv}.

    All is made before the first file is written, and the same index over the same files gives the same bytes.
    Raises UserError in one line for a key of the index or a file that is missing or broken.
    """
    study = collect(index)
    bootstrap = verdict.draws(study)
    quality = qualities(study, bootstrap)
    verdicts = [verdict.judge(study, bootstrap, arm) for arm in study.arms]
    selection = select(study, bootstrap, verdicts)
    drawings = draw_all(study, verdicts)
    about, chosen_by = choose(study, verdicts, selection)
    evidence = gather(study, about, chosen_by)
    texts = {
        "results.csv": results_csv(study, quality, verdicts, selection),
        "outcome.txt": outcome(study, verdicts, selection, quality),
        "verdict.json": _json(verdict.verdict_json(verdicts)),
        "evidence.json": _json(evidence),
        "evidence.html": evidence_page(study, about, evidence),
        "report.html": render_page(study, quality, verdicts, selection, drawings, index),
    }
    with atomic(out_folder / "figures") as folder:
        folder.mkdir()
        for drawing in drawings:
            (folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    with atomic(out_folder / "evidence.csv") as path:
        write_rows(study, about.arm.first, path)
    for name, text in texts.items():
        write_text(out_folder / name, text)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def render_page(
    study: Study,
    quality: dict[str, Quality],
    verdicts: list[Judged],
    selection: Selection,
    drawings: list[Drawing],
    index: dict[str, Any],
) -> str:
    """The page's HTML. Every text is escaped by the template, and made visible by its `shown` filter."""
    notes = Notes()
    by_section = {heading: _measured(study, section) for section, heading in SECTIONS.items()}
    by_section["Further"] = sorted(study.measured - METRICS.keys())
    found = [tables.metric_table(study, verdicts, quality, names, notes, label) for label, names in by_section.items()]
    begun = {item.example_id for own in study.first.values() for item in own}
    left = [item for item in study.questions if item.example_id not in begun]
    items = choose_items(left, min(study.index.generations, ITEM_LIMIT))
    models = speakers(study)
    neighbours = answered(study.neighbours, models)
    return render(
        "report.html.j2",
        study=study,
        groups=len({item.group for item in study.items}),
        seeds=sorted({run.entry.seed for run in study.runs}),
        overview=verdict.overview(verdicts),
        quality_sentence=_quality_sentence(quality),
        warnings=_warnings(study, verdicts, selection),
        targets=verdict.targets_text(study),
        arms_table=tables.arms_table(study, verdicts),
        verdicts=verdicts,
        first={heading: answered(own, models) for heading, own in study.first.items() if own},
        metric_tables=[table for table in found if table],
        settings_table=tables.settings_table(study, notes),
        never_measured=never_measured(study),
        figures=[(drawing, Markup(themed(drawing))) for drawing in drawings],
        repetitions=[(each.name, each.colour, *repetition(study.questions, each.answers)) for each in models],
        items=answered(items, models),
        lost=[each for each in neighbours if each.is_lost],
        others=[each for each in neighbours if not each.is_lost],
        omitted_arms=max(len(study.arms) - ARM_LIMIT, 0),
        tagged=list(_tagged(study)),
        selection=selection,
        choice_rule=RULE,
        utility_note=UTILITY_NOTE,
        notes=notes.texts,
        settings=list(_settings(study, index)),
        versions=list(_versions()),
        digests=list(_digests(study)),
    )


def _measured(study: Study, section: str) -> list[str]:
    """The metrics of a section that some model has a number of."""
    return [name for name, metric in METRICS.items() if metric.section == section and name in study.measured]


def never_measured(study: Study) -> dict[str, list[str]]:
    """Reason -> the metrics that no model of the study has a number of, each under its first reason."""
    grouped: dict[str, list[str]] = {}
    for metric in sorted(study.metrics - study.measured):
        reasons = (each.measured(metric).reason for each in study.evaluations)
        grouped.setdefault(next(reason for reason in reasons if reason is not None), []).append(metric)
    return grouped


def _quality_sentence(quality: dict[str, Quality]) -> str:
    """Which arm is nearest to the retain model by the KS statistic, and which are tied with it."""
    for name in best(quality)[:1]:
        return f"Nearest to the retain model by truth ratios: {name}: {quality[name].words}."
    return ""


def _warnings(study: Study, verdicts: list[Judged], selection: Selection) -> list[str]:
    """What a reader must know before believing a number."""
    found = [f"{note[:1].upper()}{note[1:]}." for note in study.index.notes]
    if study.retain is None:
        found.append("The study has no retain model, so that nothing says what a model without the facts looks like.")
    if not study.measured & {metric.name for metric in study.targets.kept}:
        found.append("Nothing measures what forgetting cost: no model has a measure of what is to be kept.")
    if max(len(arm.runs) for arm in study.arms) == 1:
        found.append("Each setting was run with one seed only: the table shows no spread over seeds.")
    if selection.warning:
        found.append(selection.warning)
    reasons = [each.reason for verdict in verdicts for each in (*verdict.checks, *verdict.shown) if each.reason]
    found += dict.fromkeys(f"{reason}." for reason in reasons if "its items give" in reason)
    for arm in study.arms:
        k, size = tables.vocabulary(arm)
        if "top_k" in arm.first.entry.settings and k is not None and size is not None and k >= size:
            found.append(f"{arm.name}: K is the whole vocabulary, so that the loss is not local.")
    return found


@dataclass(frozen=True)
class Tagged:
    """One tagger's coverage. policy: what its setting makes of replies without a span, in words."""

    tagger: str
    counts: dict[str, Any]
    policy: str

    @property
    def share(self) -> float:
        """Of the characters, those that are marked."""
        return float(self.counts["marked_characters"] / max(self.counts["characters"], 1))


def _tagged(study: Study) -> Iterator[Tagged]:
    """The coverage of every tagger, from the JSON file next to its spans table; one without that file is left out.

    Raises UserError for a file that holds other things.
    """
    for label, spans in study.index.spans.items():
        path = Path(spans).with_suffix(".json")
        if not path.exists():
            continue
        facts = read_json(path)
        if not isinstance(facts, dict) or not all(isinstance(facts.get(name), int) for name in COVERAGE):
            raise UserError(f"{path}: not a tagger's coverage; allowed: whole numbers under {', '.join(COVERAGE)}")
        fallback = str(study.index.taggers.get(label, {}).get("fallback", "skip"))
        yield Tagged(label, facts, POLICIES.get(fallback, ""))


def yaml_text(value: Any) -> str:
    """`value` as YAML, keys in order."""
    text: str = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, default_flow_style=False, width=110)
    return text


def _settings(study: Study, raw: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Heading -> YAML: the study, and each arm. raw: the index as it was given, with keys that the report ignores."""
    yield "study", yaml_text({key: value for key, value in raw.items() if key not in {"runs", "commands"}})
    for arm in study.arms:
        entry = arm.first.entry
        facts = {key: getattr(entry, key) for key in ("method", "tagger", "settings", "training")}
        runs = {f"seed {run.entry.seed}": {"folder": run.entry.folder, "run.json": run.facts} for run in arm.runs}
        yield arm.name, yaml_text(facts | {"runs": runs})


def _versions() -> Iterator[tuple[str, str]]:
    yield from (("palu", __version__), ("python", platform.python_version()))
    for library in LIBRARIES:
        try:
            yield library, importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            yield library, "not installed"


def _digests(study: Study) -> Iterator[tuple[str, str]]:
    """The files that were read, with their SHA-256, shortened."""
    named = [study.index.examples, *study.index.spans.values()]
    for path in [*map(Path, named), *(each.folder / "summary.json" for each in study.evaluations)]:
        if path.exists():
            yield str(path), file_digest(path)
