"""The report: one self-contained page, one spreadsheet and the figures, from an index of finished evaluations."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from palu.files import atomic, write_text
from palu.reporting import metrics, results, sections, verdict
from palu.reporting.aims import ATTACKS
from palu.reporting.cells import Notes, Table, few, number_text
from palu.reporting.choice import RULE, UTILITY_NOTE, Selection, select
from palu.reporting.collect import Study, collect
from palu.reporting.drawing import Drawing, looks, themed
from palu.reporting.evidence import gather
from palu.reporting.evidence_files import evidence_json, evidence_page, write_rows
from palu.reporting.figures import draw_all
from palu.reporting.initiating import Initiating, initiating
from palu.reporting.quality import Qualities, qualities
from palu.reporting.spreadsheet import results_csv
from palu.reporting.tagged import tagged
from palu.reporting.templates import render
from palu.reporting.terminal import outcome
from palu.reporting.unmeasured import never_measured
from palu.reporting.verdict import Verdict


def write_report(index: dict[str, Any], out_folder: Path) -> None:
    """Write report.html, verdict.json, results.csv, outcome.txt, figures/*.svg and evidence.{html,json,csv}.

    All is made before the first file is written, and the same index over the same files gives the same bytes.
    Raises UserError in one line for a key of the index or a file that is missing or broken.
    """
    study = collect(index)
    bootstrap = verdict.draws(study)
    quality = qualities(study, bootstrap)
    drawings = draw_all(study, quality)
    aimed = initiating(study)
    verdicts = [verdict.judge(study, bootstrap, arm) for arm in study.arms]
    selection = select(study, bootstrap, verdicts)
    page = render_page(study, quality, aimed, verdicts, selection, drawings, index)
    table = results_csv(study, quality, verdicts, selection)
    lines = outcome(study, verdicts, selection, quality)
    evidence = gather(study, verdicts, selection)
    facts, judged = (_json(value) for value in (evidence_json(evidence), verdict.verdict_json(verdicts)))
    proof = evidence_page(evidence)
    with atomic(out_folder / "figures") as folder:
        folder.mkdir()
        for drawing in drawings:
            (folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    with atomic(out_folder / "evidence.csv") as path:
        write_rows(evidence, path)
    texts = {
        "results.csv": table,
        "outcome.txt": lines,
        "verdict.json": judged,
        "evidence.json": facts,
        "evidence.html": proof,
    }
    for name, text in (texts | {"report.html": page}).items():
        write_text(out_folder / name, text)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"


def render_page(
    study: Study,
    quality: Qualities,
    aimed: Initiating,
    verdicts: list[Verdict],
    selection: Selection,
    drawings: list[Drawing],
    index: dict[str, Any],
) -> str:
    """The page's HTML. Every text is escaped by the template, and made visible by its `shown` filter."""
    notes = Notes()
    rows, groups = sections.asked_to_forget(study.items)
    noticed = [measure for measure in study.aims.noticed if measure not in ATTACKS]
    attacks = [measure for measure in study.aims.noticed if measure in ATTACKS]
    main = {measure.metric for measure in study.aims.targets}
    components = [metric for metric in metrics.shown(study, metrics.COMPONENTS) if metric.name not in main]
    further = metrics.shown(study, metrics.further_metrics(study))
    return render(
        "report.html.j2",
        {"number": number_text},
        study=study,
        rows=rows,
        groups=groups,
        seeds=sorted({run.entry.seed for run in study.runs}),
        aimed=aimed,
        initiating_share=_initiating_share(study, aimed),
        cards=sections.cards(verdicts, selection.choices),
        overview=verdict.overview(verdicts),
        quality_sentence=quality_sentence(quality),
        warnings=warnings(study, verdicts, selection),
        targets=verdict.targets(study),
        has_quality=quality.is_measured,
        has_components="model_utility" in study.measured,
        never_measured=never_measured(study),
        result_table=results.result_table(study, quality, verdicts, aimed, notes),
        noticed_table=results.check_table(study, verdicts, noticed, notes),
        attack_table=results.check_table(study, verdicts, attacks, notes),
        component_table=results.metric_table(study, components, notes),
        fluency_table=results.metric_table(study, metrics.present(study, metrics.FLUENCY), notes),
        further_table=results.metric_table(study, further, notes),
        figures={drawing.name: drawing for drawing in drawings},
        svg={drawing.name: Markup(themed(drawing)) for drawing in drawings},
        colours=[looks(study.arms)[arm.name].colour for arm in study.arms],
        generations=sections.generations(study, aimed),
        neighbours=sections.neighbours(study),
        tagged=tagged(study),
        tried=sections.tried(study),
        selection=selection,
        choice_rule=RULE,
        utility_note=UTILITY_NOTE,
        tried_table=_tried_table(study, quality, notes),
        notes=notes.texts,
        provenance=sections.provenance(study, index),
    )


def _initiating_share(study: Study, aimed: Initiating) -> tuple[int | None, float] | None:
    """(N, the share of the forget set's reply tokens that it makes initiating), for the headline; None if unknown."""
    if study.first_n and study.first_n[0] in aimed.shares:
        return study.first_n[0], aimed.shares[study.first_n[0]].share
    for arm in study.arms:
        share = results.initiating_share(arm, None)
        if share is not None and "first_n" in arm.first.entry.settings:
            return arm.first.entry.settings["first_n"], share
    return None


# The measures of each tried setting, where no target is one of them
CHOICE = ("forget_initiating_probability", "forget_rouge", "forget_probability")


def _tried_table(study: Study, quality: Qualities, notes: Notes) -> Table:
    """The arms once more, without marks: a best row here would be one chosen on the reported items."""
    wanted = {*CHOICE, *(measure.metric for measure in study.aims.targets)}
    reported = [metric for metric in metrics.JUDGED if metric.name in wanted]
    found = metrics.shown(study, (*metrics.VALIDATION, *reported))
    columns = [(metric.title, metric.name) for metric in found]
    cells = [results.metric_cells(study, metric, notes) for metric in found]
    if quality.is_measured:
        own_columns, own_cells = results.quality_columns(study, quality, notes)
        columns, cells = [*columns, *own_columns], [*cells, *own_cells]
    table = results.build_table(study, columns, cells)
    rows = [replace(row, cells=tuple(replace(cell, marks=()) for cell in row.cells)) for row in table.rows]
    return Table(table.columns, tuple(rows))


def quality_sentence(quality: Qualities) -> str:
    """Which arm is nearest to the retain model by the KS statistic, and which are tied with it."""
    best = quality.best()
    if not best:
        return ""
    name, *tied = best
    lead = f"Nearest to the retain model by truth ratios: {name}: {quality.arms[name].words}."
    return f"{lead} Tied with it: {few(tied)}." if tied else lead


def warnings(study: Study, verdicts: list[Verdict], selection: Selection) -> list[str]:
    """What a reader must know before believing a number."""
    found = [f"{note[:1].upper()}{note[1:]}." for note in study.index.notes]
    if study.retain is None:
        found.append("The study has no retain model, so that nothing says what a model without the facts looks like.")
    if not study.measured & {measure.metric for measure in study.aims.kept}:
        found.append("Nothing measures what forgetting cost: no model has a measure of what is to be kept.")
    if max(len(arm.runs) for arm in study.arms) == 1:
        found.append("Each setting was run with one seed only: the table shows no spread over seeds.")
    if selection.warning:
        found.append(selection.warning)
    reasons = [each.reason for verdict in verdicts for each in (*verdict.checks, *verdict.noticed) if each.reason]
    found += dict.fromkeys(f"{reason}." for reason in reasons if "its items give" in reason)
    for arm in study.arms:
        k, size = results.vocabulary(arm)
        if "top_k" in arm.first.entry.settings and k is not None and size is not None and k >= size:
            found.append(f"{arm.name}: K is the whole vocabulary, so that the loss is not local.")
    return found
