"""The report: one self-contained page, one spreadsheet and the figures, from an index of finished evaluations."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from palu.files import atomic, write_text
from palu.reporting import metrics, results, sections, verdict
from palu.reporting.axes import LEVEL_TOLERANCE, PRIVLEAK_TOLERANCE
from palu.reporting.cells import Notes, Table, few, number_text
from palu.reporting.choice import UTILITY_NOTE, Selection, rule, select
from palu.reporting.collect import Study, collect
from palu.reporting.distances import attack_table, distance_table
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
    """Write report.html, results.csv, outcome.txt, figures/*.svg and evidence.{html,json,csv} into `out_folder`.

    All is made before the first file is written, and the same index over the same files gives the same bytes.
    Raises UserError in one line for a key of the index or a file that is missing or broken.
    """
    study = collect(index)
    quality = qualities(study)
    drawings = draw_all(study, quality)
    aimed = initiating(study)
    verdicts = [verdict.judge(study, arm, aimed.of(study, arm)) for arm in study.arms]
    selection = select(study, verdicts)
    page = render_page(study, quality, aimed, verdicts, selection, drawings, index)
    table = results_csv(study, quality, selection)
    lines = outcome_text(study, quality, aimed, verdicts, selection)
    evidence = gather(study, verdicts, selection)
    facts = json.dumps(evidence_json(evidence), indent=1, sort_keys=True, allow_nan=False) + "\n"
    proof = evidence_page(evidence)
    with atomic(out_folder / "figures") as folder:
        folder.mkdir()
        for drawing in drawings:
            (folder / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    with atomic(out_folder / "evidence.csv") as path:
        write_rows(evidence, path)
    texts = {"results.csv": table, "outcome.txt": lines, "evidence.json": facts, "evidence.html": proof}
    for name, text in (texts | {"report.html": page}).items():
        write_text(out_folder / name, text)


def outcome_text(
    study: Study, quality: Qualities, aimed: Initiating, verdicts: list[Verdict], selection: Selection
) -> str:
    """The verdicts' overview and the main columns of the result table, for a terminal."""
    table = results.result_table(study, quality, aimed, Notes())
    told = {arm.name: quality.told(arm.name) for arm in study.arms} if results.has_quality(study) else {}
    return outcome(verdict.overview(verdicts), selection, table, told)


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
    choice_rule, choice_aim = rule(study)
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
        quality_step=quality.step,
        warnings=warnings(study, quality, selection),
        tolerance=LEVEL_TOLERANCE,
        targets=verdict.targets(study),
        has_quality=results.has_quality(study),
        has_components="model_utility" in study.measured,
        never_measured=never_measured(study),
        result_table=results.result_table(study, quality, aimed, notes),
        distance_table=distance_table(study, notes),
        attack_table=attack_table(study, notes),
        privleak_tolerance=PRIVLEAK_TOLERANCE,
        component_table=_table(study, _components(study), notes),
        fluency_table=_table(study, metrics.FLUENCY, notes, metrics.present),
        further_table=_table(study, metrics.further_metrics(study), notes),
        figures={drawing.name: drawing for drawing in drawings},
        svg={drawing.name: Markup(themed(drawing)) for drawing in drawings},
        colours=[looks(study.arms)[arm.name].colour for arm in study.arms],
        generations=sections.generations(study, aimed),
        tagged=tagged(study),
        tried=sections.tried(study),
        selection=selection,
        choice_rule=choice_rule,
        choice_aim=choice_aim,
        utility_note=UTILITY_NOTE,
        tried_table=_tried_table(study, quality, notes),
        notes=notes.texts,
        provenance=sections.provenance(study, index),
    )


def _initiating_share(study: Study, aimed: Initiating) -> tuple[int | None, float] | None:
    """(N, the share of the forget set's reply tokens that it makes initiating), for the headline; None if unknown."""
    if study.first_n and study.first_n[0] in aimed.floors:
        return study.first_n[0], aimed.floors[study.first_n[0]].share
    for arm in study.arms:
        share = results.initiating_share(arm, None)
        if share is not None and "first_n" in arm.first.entry.settings:
            return arm.first.entry.settings["first_n"], share
    return None


def _components(study: Study) -> list[metrics.Metric]:
    """What the main table does not show already."""
    main = {metric.name for metric in results.main_metrics(study)}
    return [metric for metric in metrics.COMPONENTS if metric.name not in main]


def _table(
    study: Study,
    wanted: Iterable[metrics.Metric],
    notes: Notes,
    kept: Callable[[Study, Iterable[metrics.Metric]], list[metrics.Metric]] = results.shown,
) -> Table | None:
    """A plain table. kept: which of the wanted metrics have a column."""
    found = kept(study, wanted)
    return results.metric_table(study, found, notes) if found else None


# The measures beside each tried setting: those that the targets and the choice speak of.
CHOICE = ("forget_initiating_probability", "forget_rouge", "forget_probability", "model_utility")


def _tried_table(study: Study, quality: Qualities, notes: Notes) -> Table:
    """The arms once more, without marks: a best row here would be one chosen on the reported items."""
    judged = {measure.metric for measure in study.axes.measures}
    reported = [metric for metric in results.main_metrics(study) if metric.name in {*CHOICE, *judged}]
    found = results.shown(study, (*metrics.VALIDATION, *reported))
    columns = [(metric.title, metric.name) for metric in found]
    cells = [results.metric_cells(study, metric, notes) for metric in found]
    if results.has_quality(study):
        own_columns, own_cells = results.quality_columns(study, quality, notes)
        columns, cells = [*columns, *own_columns], [*cells, *own_cells]
    table = results.build_table(study, columns, cells)
    rows = [replace(row, cells=tuple(replace(cell, marks=()) for cell in row.cells)) for row in table.rows]
    return Table(table.columns, tuple(rows))


def quality_sentence(quality: Qualities) -> str:
    """Who is nearest to the retain model by the KS statistic, and who cannot be told from it."""
    best = quality.best()
    if not best:
        return ""
    name, *tied = best
    lead = f"Nearest to the retain model by truth ratios: {name}: {quality.arms[name].told()}."
    return f"{lead} Tied with it, within one step: {few(tied)}." if tied else lead


def warnings(study: Study, quality: Qualities, selection: Selection) -> list[str]:
    """What a reader must know before believing a number."""
    found = [f"{note[:1].upper()}{note[1:]}." for note in study.index.notes]
    if study.retain is None:
        found.append("The study has no retain model, so that nothing says what a model without the facts looks like.")
    if not study.measured & {measure.metric for measure in study.axes.utility}:
        found.append("Nothing measures what forgetting cost: no model has a measure of what is to be kept.")
    if max(len(arm.runs) for arm in study.arms) == 1:
        found.append("Each setting was run with one seed only: the table shows no spread over seeds.")
    if selection.warning:
        found.append(selection.warning)
    conflicts = [each.conflict for each in (*quality.references.values(), *quality.arms.values()) if each.conflict]
    found += dict.fromkeys(conflicts)
    for arm in study.arms:
        k, size = results.vocabulary(arm)
        if "top_k" in arm.first.entry.settings and k is not None and size is not None and k >= size:
            found.append(f"{arm.name}: K is the whole vocabulary, so that the loss is not local.")
    return found
