"""The study's outcome as a few plain lines, for the terminal that ran it."""

from collections.abc import Iterator, Sequence

from palu.inert import visible
from palu.reporting.aims import P_VALUE, STATISTIC
from palu.reporting.before_after import WIDTH, answer_lines
from palu.reporting.cells import number_text, p_text
from palu.reporting.checks import MET
from palu.reporting.choice import Selection
from palu.reporting.collect import Study
from palu.reporting.quality import Qualities
from palu.reporting.sections import cards
from palu.reporting.verdict import Verdict, overview

HEADINGS = {
    "span_leak": "leak",
    "span_leak_paraphrase": "paraphrased",
    "verbatim_memorization": "verbatim",
    "knowledge_memorization_forget": "knowledge",
    "repetition": "repeated",
    "empty_answers": "empty",
    "answer_nll": "answer NLL",
    "model_utility": "utility",
    "knowledge_memorization_retain": "retained",
    "retain_probability": "retain probability",
    "retain_rouge": "retain ROUGE",
    "near_accuracy": "near",
    "far_accuracy": "far",
    "first_word_probability": "first word",
    STATISTIC: "KS D",
    P_VALUE: "p",
}
NOTICED = ("first_word_probability", STATISTIC, P_VALUE)
# Arms whose answers are shown
MOST_ARMS = 3
KEY = "✓ met, ✗ missed, ? undecided: the 95% interval over items and seeds reaches both sides of the target"


def outcome(study: Study, verdicts: Sequence[Verdict], selection: Selection, quality: Qualities) -> str:
    """The study's questions with their answers before and after; the overview sentence; a table of the targets with
    their statuses; per arm what is not met, and what is no target; forget quality with what it takes to read it; and
    what a grid recommends, by which items.

    A cell without a number is a dash. Of many arms only those that a grid recommends have lines of their own.
    """
    shown = [verdict for _, verdict in cards(verdicts, selection.choices).shown]
    read = [f"{each.arm.name}: {quality.words(each.arm.name)}" for each in shown] if quality.is_measured else []
    recommended = [
        f"Of {choice.tried} settings of {choice.method}, by {selection.items}: {choice.arm}"
        for choice in selection.choices
    ]
    speakers = [("original", study.original.generations)]
    speakers += [(each.arm.name, each.arm.first.evaluation.generations) for each in shown[:MOST_ARMS]]
    blocks = [
        *answer_lines(study.shown, speakers),
        [overview(verdicts)],
        [*_table(study, verdicts), KEY],
        *(list(_lines(verdict)) for verdict in shown),
        ["Forget quality", *read] if read else [],
        [selection.warning] if selection.warning else [],
        recommended,
    ]
    return "\n\n".join("\n".join(map(visible, block)) for block in blocks if block) + "\n"


def _table(study: Study, verdicts: Sequence[Verdict]) -> list[str]:
    """The targets, and behind them what is no target, as far as a line has room for it."""
    targets = [measure.metric for measure in study.aims.targets]
    columns = [*targets, *(metric for metric in NOTICED if metric in study.measured)]
    while True:
        lines = _aligned(list(_cells(study, verdicts, targets, columns)))
        if max(map(len, lines)) <= WIDTH or columns == targets:
            return lines
        columns.pop()


def _cells(
    study: Study, verdicts: Sequence[Verdict], targets: Sequence[str], columns: Sequence[str]
) -> Iterator[list[str]]:
    yield ["", *(HEADINGS[metric] + ("  " if metric in targets else "") for metric in columns)]
    for name, evaluation in study.models:
        cells = [_text(metric, evaluation.measured(metric).value) for metric in columns]
        yield [
            name,
            *(cell + ("  " if metric in targets else "") for cell, metric in zip(cells, columns, strict=True)),
        ]
    for verdict in verdicts:
        yield [verdict.arm.name, *(_cell(verdict, metric) for metric in columns)]


def _cell(verdict: Verdict, metric: str) -> str:
    values, _ = verdict.arm.measured(metric)
    if metric == P_VALUE:
        return _text(metric, sorted(values)[(len(values) - 1) // 2] if values else None)
    check = verdict.of(metric)
    text = _text(metric, check.value if check else None)
    return text if metric in NOTICED or check is None else f"{text} {check.sign}"


def _text(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    return p_text(value) if metric == P_VALUE else number_text(value)


def _lines(verdict: Verdict) -> Iterator[str]:
    """What an arm does not meet, and what is no target."""
    headline = verdict.headline[:1].lower() + verdict.headline[1:]
    yield f"{verdict.arm.name}: {headline}; {verdict.met} of {len(verdict.checks)} targets met"
    for check in verdict.checks:
        if check.status != MET:
            yield f"  {check.status:13} {check.title}: {check.sentence}"
    by_status: dict[str, list[str]] = {}
    for check in verdict.noticed:
        by_status.setdefault(check.status, []).append(check.title)
    for status, titles in by_status.items():
        yield f"  {'no target':13} {status}: {'; '.join(titles)}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
