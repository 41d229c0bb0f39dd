"""The evidence as files: a page for people, JSON for programs, and a spreadsheet of every row."""

import csv
from pathlib import Path
from typing import Any

from palu import __version__
from palu.files import canonical_json
from palu.inert import spreadsheet_safe, visible
from palu.reporting.cells import number_text, signed_text
from palu.reporting.evidence import ROW_LIMIT, Change, Evidence, Row, all_items, rows
from palu.reporting.items import ForgetItem
from palu.reporting.marking import COPIED_WORDS, marked_generation, marked_reply, secrets
from palu.reporting.sections import GENERATION_CHARACTERS
from palu.reporting.templates import render
from palu.reporting.verdict import targets

FORMAT = 1
COLUMNS = (
    "example_id", "part", "group", "prompt", "true_reply", "sensitive", "before", "after", "repeated_before",
    "repeated_after",
)  # fmt: skip


def shown_documents(evidence: Evidence) -> list[ForgetItem]:
    """The first forget rows that nobody can be asked: documents."""
    return [item for item in evidence.study.items if not item.prompt][:ROW_LIMIT]


def shown_questions(evidence: Evidence) -> list[ForgetItem]:
    """The first rows that were asked."""
    return [item for item in evidence.study.questions if item.prompt][:ROW_LIMIT]


def evidence_page(evidence: Evidence) -> str:
    """evidence.html: one self-contained page, as the report is."""
    questions = []
    for row in rows(evidence, shown_questions(evidence)):
        wanted = secrets(row.item)
        answers = [
            (name, None if text is None else marked_generation(text, wanted, GENERATION_CHARACTERS))
            for name, text in (("before", row.before), ("after", row.after))
        ]
        questions.append((row.item, marked_reply(row.item, None, None), answers))
    return render(
        "evidence.html.j2",
        {"number": number_text, "signed": signed_text},
        evidence=evidence,
        study=evidence.study,
        groups=len({item.group for item in evidence.study.items}),
        questions=questions,
        question_count=sum(bool(item.prompt) for item in evidence.study.questions),
        documents=[(item, marked_reply(item, None, None)) for item in shown_documents(evidence)],
        document_count=sum(not item.prompt for item in evidence.study.items),
        copied_words=COPIED_WORDS,
        targets=targets(evidence.study),
        version=__version__,
    )


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """evidence.json: the same for programs; `rows` holds as many as the page, evidence.csv all of them."""
    study, entry = evidence.study, evidence.run.entry
    shown = [*shown_documents(evidence), *shown_questions(evidence)]
    return {
        "format": FORMAT,
        "palu": __version__,
        "study": study.index.study,
        "benchmark": study.index.benchmark,
        "model": study.index.model,
        "about": {
            "model_folder": evidence.model_folder,
            "fingerprint": evidence.run.facts.get("model"),
            "evaluation": entry.evaluation,
            "evaluation_is_of_this_model": evidence.is_of_this_model,
            "method": entry.method,
            "label": entry.label,
            "tagger": entry.tagger,
            "seed": entry.seed,
            "settings": entry.settings,
            "training": entry.training,
            "chosen_by": evidence.chosen_by,
        },
        "asked": {
            "rows": len(study.items),
            "groups": len({item.group for item in study.items}),
            "validation_rows": study.validation_rows,
            "rows_without_span": sum(not item.spans for item in study.items),
            "tagger": study.index.display_tagger,
        },
        "rows": [_row_facts(row) for row in rows(evidence, shown)],
        "all_rows": "evidence.csv",
        "answers_that_repeat": [vars(each) for each in evidence.repetitions],
        "forgetting": [_change_facts(change) for change in evidence.forgetting],
        "cost": [_change_facts(change) for change in evidence.cost],
        "verdict": {
            "headline": evidence.verdict.headline,
            "checks": [
                {"title": check.title, "status": check.status, "sentence": check.sentence}
                for check in evidence.verdict.checks
            ],
        },
        "not_measured": [
            {"reason": each.reason, "metrics": list(each.metrics), "models": list(each.models)}
            for each in evidence.unmeasured
        ],
        "needs_a_retain_model": evidence.without_retain,
        "shown_instead": evidence.substitutes if evidence.without_retain else [],
        "fingerprints": dict(evidence.fingerprints),
        "commands": list(evidence.commands),
        "checks": list(evidence.checks),
    }


def _row_facts(row: Row) -> dict[str, Any]:
    item = row.item
    return {
        "example_id": item.example_id,
        "part": item.part,
        "group": item.group,
        "prompt": item.prompt,
        "true_reply": item.reply,
        "spans": [list(span) for span in item.spans],
        "before": row.before,
        "after": row.after,
        "repeated_before": row.repeated_before,
        "repeated_after": row.repeated_after,
    }


def _change_facts(change: Change) -> dict[str, Any]:
    interval = change.interval
    return {
        "metric": change.metric,
        "before": change.before.value,
        "after": change.after.value,
        "difference": change.difference,
        "retain_model": change.retain,
        "seeds": interval.count if interval else 1,
        "mean_difference": interval.mean if interval else None,
        "interval_95": [interval.low, interval.high] if interval else None,
    }


def write_rows(evidence: Evidence, path: Path) -> None:
    """evidence.csv: every row, one at a time; safe to open in a spreadsheet."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows(evidence, all_items(evidence.study)):
            item = row.item
            sensitive = [visible(item.reply[start:end]) for start, end in item.spans]
            cells = [item.example_id, item.part, item.group, item.prompt, item.reply, canonical_json(sensitive)]
            cells += [row.before or "", row.after or ""]
            cells += [canonical_json([visible(each) for each in told]) for told in _told(row)]
            writer.writerow([spreadsheet_safe(cell) for cell in cells])


def _told(row: Row) -> tuple[list[str], list[str]]:
    return row.repeated_before, row.repeated_after
