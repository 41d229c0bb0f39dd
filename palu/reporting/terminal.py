"""The study's outcome as a few plain lines, for the terminal that ran it."""

from collections.abc import Iterator, Mapping, Sequence

from palu.inert import visible
from palu.reporting.checks import MET
from palu.reporting.choice import Selection
from palu.reporting.load import Study
from palu.reporting.numbers import metric_text
from palu.reporting.quality import Quality
from palu.reporting.tables import metric_of
from palu.reporting.targets import P_VALUE, STATISTIC
from palu.reporting.texts import Item
from palu.reporting.verdict import Judged, overview

# Shown next to the targets, as far as a line has room for it
SHOWN = ("first_word_probability", STATISTIC, P_VALUE)
# A line, and at most of a model's name and of an answer
WIDTH, NAME_WIDTH, ANSWER_WIDTH = 110, 24, 90
# Arms whose answers are shown; more arms than the second have no lines of their own but for those recommended
ANSWERING_ARMS, DETAILED_ARMS = 3, 9
KEY = "✓ met, ✗ missed, ? undecided: the 95% interval over items and seeds reaches both sides of the target"

Answers = Mapping[str, str]


def outcome(study: Study, verdicts: Sequence[Judged], selection: Selection, quality: Mapping[str, Quality]) -> str:
    """The study's questions with their answers before and after; the overview sentence; a table of the targets with
    their statuses; per arm what is not met, and what is no target; forget quality with what it takes to read it; and
    what a grid recommends, by which items.

    A cell without a number is a dash. Of many arms only those that a grid recommends have lines of their own.
    """
    detailed = main_arms(verdicts, selection)
    has_quality = any(its.statistics or its.p_values for its in quality.values())
    read = [f"{each.arm.name}: {quality[each.arm.name].words}" for each in detailed] if has_quality else []
    recommended = [
        f"Of {choice.tried} settings of {choice.method}, by {selection.items}: {choice.arm}"
        for choice in selection.choices
    ]
    models = [("original", study.original.generations)]
    models += [(each.arm.name, each.arm.first.evaluation.generations) for each in detailed[:ANSWERING_ARMS]]
    blocks = [
        *answer_lines(study.shown, models),
        [overview(verdicts)],
        [*_table(study, verdicts), KEY],
        *(list(_lines(verdict)) for verdict in detailed),
        ["Forget quality", *read] if read else [],
        [selection.warning] if selection.warning else [],
        recommended,
    ]
    return "\n\n".join("\n".join(map(visible, block)) for block in blocks if block) + "\n"


def main_arms(verdicts: Sequence[Judged], selection: Selection) -> list[Judged]:
    """All verdicts where they are few; else each method's recommended setting, or its only one."""
    if len(verdicts) <= DETAILED_ARMS:
        return list(verdicts)
    chosen = {choice.arm for choice in selection.choices}
    several = {choice.method for choice in selection.choices}
    return [each for each in verdicts if each.arm.name in chosen or each.arm.method not in several]


def answer_lines(
    questions: Mapping[str, Sequence[Item]], models: Sequence[tuple[str, Answers]]
) -> Iterator[list[str]]:
    """A block of lines for each heading that has questions. models: names, each with example id -> answer."""
    width = min(NAME_WIDTH, max(len(name) for name, _ in models))
    room = min(ANSWER_WIDTH, WIDTH - width - 6)
    for title, items in questions.items():
        lines = [title]
        for item in items:
            lines.append(f"  {_cut(item.prompt, WIDTH - 2)}")
            for name, answers in models:
                text = answers.get(item.example_id)
                said = "(not asked)" if text is None else _cut(text, room) or "(nothing)"
                lines.append(f"    {_cut(name, width):{width}}  {said}")
        if items:
            yield lines


def _cut(text: str, limit: int) -> str:
    """A text in one line, its end left out where it is longer than `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _table(study: Study, verdicts: Sequence[Judged]) -> list[str]:
    """The targets, and behind them what is no target, as far as a line has room for it."""
    targets = [metric.name for metric in study.targets.all]
    columns = [*targets, *(metric for metric in SHOWN if metric in study.measured)]
    while True:
        cells = list(_cells(study, verdicts, targets, columns))
        widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
        aligned = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in cells)
        lines = ["  ".join(row).rstrip() for row in aligned]
        if max(map(len, lines)) <= WIDTH or columns == targets:
            return lines
        columns.pop()


def _cells(
    study: Study, verdicts: Sequence[Judged], targets: Sequence[str], columns: Sequence[str]
) -> Iterator[list[str]]:
    """The head and the rows; behind the numbers of targets is room for a sign."""
    room = ["  " if metric in targets else "" for metric in columns]
    yield ["", *(metric_of(metric).short + space for metric, space in zip(columns, room, strict=True))]
    for name, evaluation in study.models:
        texts = [metric_text(metric, evaluation.measured(metric).value) for metric in columns]
        yield [name, *(text + space for text, space in zip(texts, room, strict=True))]
    for verdict in verdicts:
        yield [verdict.arm.name, *(_cell(verdict, metric) for metric in columns)]


def _cell(verdict: Judged, metric: str) -> str:
    if metric == P_VALUE:
        values = sorted(verdict.arm.measured(metric)[0])
        return metric_text(metric, values[(len(values) - 1) // 2] if values else None)
    check = verdict.of(metric)
    text = metric_text(metric, check.value if check else None)
    return text if metric in SHOWN or check is None else f"{text} {check.sign}"


def _lines(verdict: Judged) -> Iterator[str]:
    """What an arm does not meet, and what is no target."""
    headline = verdict.headline[:1].lower() + verdict.headline[1:]
    yield f"{verdict.arm.name}: {headline}; {verdict.met} of {len(verdict.checks)} targets met"
    for check in verdict.checks:
        if check.status != MET:
            yield f"  {check.status:13} {check.title}: {check.sentence}"
    by_status: dict[str, list[str]] = {}
    for check in verdict.shown:
        by_status.setdefault(check.status, []).append(check.title)
    for status, titles in by_status.items():
        yield f"  {'no target':13} {status}: {'; '.join(titles)}"
