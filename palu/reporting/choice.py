"""The setting that a grid recommends for each method, by a rule that is the same for all, and the rows that chose it.

Among the settings that keep the utility target (or, where none surely does, that do not surely miss it), those that
meet the most targets; among them the one with the smallest distance: how far the leak that is farthest above the
retain model's (without one, above 0) is from it. Where every setting misses utility, the one with the highest. The
answers are those to the study's own validation rows where its evaluations measure these, and then never those to the
reported rows. A study without such rows is ranked by its reported ones: its choice is for another study, since
numbers that chose a setting say little about it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from palu import tables
from palu.evaluation.metrics import LEVEL_TOLERANCE, Metric
from palu.reporting.checks import MET, MISSED, NOT_MEASURED
from palu.reporting.load import Study
from palu.reporting.numbers import counted
from palu.reporting.resampling import Bootstrap
from palu.reporting.targets import FORGET
from palu.reporting.verdict import Judged, judge, together

RULE = (
    "Among the settings that keep the utility target, those that meet the most targets; among them the one with the "
    "smallest distance, of the leak that is farthest above its goal. A setting whose utility is undecided comes after "
    "those that keep it; where every setting misses utility, the one with the highest is taken."
)

UTILITY_NOTE = (
    "Model utility has no rows of its own for choosing: it is measured on the same rows when a setting is chosen and "
    "when it is reported."
)


@dataclass(frozen=True)
class Choice:
    """A method's recommended setting. distance: of its farthest leak from its goal."""

    method: str
    arm: str
    distance: float
    keeps_utility: bool
    tried: int


@dataclass(frozen=True)
class Selection:
    """What chose the settings. part: whose rows rank this study's grid, None without a grid; items: these rows in a
    few words; words: for the page; warning: what a reader must know beforehand, None where all is well."""

    part: str | None
    items: str
    words: str
    warning: str | None
    choices: tuple[Choice, ...]


def select(study: Study, bootstrap: Bootstrap, verdicts: Sequence[Judged]) -> Selection:
    """Rank the grid and say by which rows. verdicts: on the reported rows, used where there are no others."""
    note = study.index.selection.note if study.index.selection else None
    if not any(arm.varied for arm in study.arms):
        return _without_grid(study, note)
    if _watched(study):
        return _by_validation(study, bootstrap, note)
    choices = tuple(choose(verdicts))
    idle = "" if choices else f" {_nothing_judged(verdicts)}"
    items = f"the {len(study.items)} reported rows"
    if study.validation_rows:
        own = f"The study has {_validation(study)}, but its evaluations measure none."
    else:
        own = "The study has no validation rows."
    ranks = f"{own} Below, {items} rank the grid: a recommendation is for another study, on other rows.{idle}"
    if note:
        return Selection(FORGET, items, f"{note.rstrip('.')}. {ranks}", None, choices)
    warning = (
        f"The reported items themselves rank the grid: several settings of a method are reported on the same items, "
        f"and nothing says which other items chose among them. {own} Picking the best row here would be choosing on "
        f"the reported items.{idle}"
    )
    return Selection(FORGET, items, "", warning, choices)


def _watched(study: Study) -> list[Metric]:
    """What is gone, of the validation rows."""
    return study.targets.on(tables.VALIDATION, study.metrics.__contains__)[0]


def _without_grid(study: Study, note: str | None) -> Selection:
    idle = f" Its {_validation(study)} chose nothing: each method has one setting." if study.validation_rows else ""
    if note:
        return Selection(None, "", note + idle, None, ())
    warning = "The study does not say which items chose the settings: they are in its file." + idle
    return Selection(None, "", "", warning, ())


def _by_validation(study: Study, bootstrap: Bootstrap, note: str | None) -> Selection:
    items = _validation(study) if study.validation_rows else "the validation rows"
    words = (
        f"The study's own validation rows ({study.validation_rows or 'an unknown number'} in all): they are to be "
        f"forgotten like the others, and no text or verdict of this page is about them. Settings are judged by what "
        f"is measured there ({', '.join(metric.title for metric in _watched(study))}); the reported items had "
        f"no say."
    )
    if any(run.entry.training.get("stop") for run in study.runs):
        words += " The same rows also say when a run stops."
    words += f" {note}" if note else ""
    own = [judge(study, bootstrap, arm, tables.VALIDATION) for arm in study.arms]
    warning = _known_to_retain(study)
    choices = () if warning else tuple(choose(own))
    if not warning and not choices:
        warning = f"{_nothing_judged(own)} That is of the validation rows; the reported ones choose nothing."
    return Selection(tables.VALIDATION, items, words, warning, choices)


def _validation(study: Study) -> str:
    return counted(study.validation_rows, "validation row")


def _nothing_judged(verdicts: Sequence[Judged]) -> str:
    """Why no setting is recommended: the first target that could not be judged."""
    lacking = next(check for each in verdicts for check in each.checks if check.status == NOT_MEASURED)
    return f"No setting is recommended. {lacking.title}: {lacking.sentence}."


def _known_to_retain(study: Study) -> str | None:
    """Why the retain model's level on the validation rows is no goal: it answers them as the original does."""
    if study.retain is None:
        return None
    known = []
    for metric in _watched(study):
        before = study.original.measured(metric.name).value
        after = study.retain.measured(metric.name).value
        if before is not None and after is not None:
            if abs(before - after) > LEVEL_TOLERANCE:
                return None
            known.append(f"{metric.title} {after:.3f}, original {before:.3f}")
    if not known:
        return None
    return (
        f"On the validation rows the retain model is where the original is ({'; '.join(known)}), as one that was "
        f"trained on them would be: they do not say what forgetting should reach, and no setting is recommended."
    )


def choose(verdicts: Iterable[Judged]) -> list[Choice]:
    """One choice for each method of a grid, in the order of the study; a setting with a target that cannot be judged
    is passed over."""
    by_method: dict[str, list[Judged]] = {}
    for verdict in verdicts:
        by_method.setdefault(verdict.arm.method, []).append(verdict)
    choices = []
    for method, own in by_method.items():
        can_be_judged = [each for each in own if all(check.status != NOT_MEASURED for check in each.checks)]
        if can_be_judged and any(verdict.arm.varied for verdict in own):
            best = min(can_be_judged, key=_rank)
            choices.append(Choice(method, best.arm.name, best.distance, best.keeps_utility, len(own)))
    return choices


def _rank(verdict: Judged) -> tuple[int, int, float]:
    utility = together(verdict.utility)
    if utility == MISSED:
        return 2, 0, -verdict.kept
    return int(utility != MET), -verdict.met, verdict.distance
