"""What the items of a log in the peer's layout are: whether two logs are of the same, and what their losses imply."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from palu.errors import UserError
from palu.evaluation.aggregates import PARAPHRASE
from palu.evaluation.base import ItemScores, Missing, Value
from palu.evaluation.open_unlearning import OVERLAPS, Column, Items, cells, columns
from palu.evaluation.probability import probability
from palu.evaluation.truth_ratio import PROB_MEAN, truth_share
from palu.evaluation.words import words_of
from palu.files import read_json

# Entry and index -> the words of the true answer
Answers = Mapping[str, Sequence[str]]


def true_answers(path: Path) -> Answers:
    """The true answers to the forget prompts that a log holds beside its generations."""
    log = read_json(path)
    return {
        f"{column.entry}.{index}": words_of(cell["ground_truth"])
        for column in _answered()
        for index, cell in cells(log, column, path).items()
        if isinstance(cell.get("ground_truth"), str)
    }


def check_answers(path: Path, own_items: Items) -> None:
    """Raise UserError where a log's true answers are not those of the benchmark's items."""
    own = {
        f"{column.entry}.{index}": words_of(item.original["reply"])
        for column in _answered()
        for index, item in enumerate(own_items.get(column.part, ()))
    }
    if place := other_answers(own, true_answers(path)):
        raise UserError(f"{path}: {place} is not answered as in the benchmark; allowed: a log of the same split")


def other_answers(own: Answers, others: Answers) -> str | None:
    """The first place whose answer differs, where more than half of those that both have differ; else None.

    A tokenizer that decodes an answer may change a few of its words.
    """
    shared = [place for place in own if place in others]
    differing = [place for place in shared if own[place] != others[place]]
    return differing[0] if 2 * len(differing) > len(shared) else None


def derived(losses: Mapping[str, Value]) -> ItemScores:
    """What the peer's log has no entry for, of each forget item: the paraphrase's probability, the share of the truth.

    losses: by the ids that `read_log` makes, `{part}/{index}/{reply kind}/{reply index}`.
    """
    replies: dict[str, tuple[list[Value], list[Value]]] = {}
    for example_id, loss in losses.items():
        item, kind, _ = example_id.rsplit("/", 2)
        if item.startswith("forget/") and kind != "original":
            replies.setdefault(item, ([], []))[kind == "perturbed"].append(loss)
    found: dict[str, dict[str, Value]] = {PARAPHRASE: {}, PROB_MEAN: {}}
    for item, (right, wrong) in replies.items():
        if right:
            found[PARAPHRASE][f"{item}/original/0"] = probability(right[0])
        if right and wrong:
            found[PROB_MEAN][f"{item}/original/0"] = _truth_share(right[0], wrong)
    return found


def _answered() -> list[Column]:
    """The columns whose cells hold an answer to a forget prompt, each entry once."""
    found = {
        column.entry: column
        for column in columns(None)
        if column.field in OVERLAPS and column.reply_kind == "original" and column.entry.startswith("forget_")
    }
    return list(found.values())


def _truth_share(right: Value, wrong: Sequence[Value]) -> Value:
    if missing := next((loss for loss in (right, *wrong) if isinstance(loss, Missing)), None):
        return missing
    own, *others = (loss for loss in (right, *wrong) if not isinstance(loss, Missing))
    return truth_share(own, others)
