"""The layout of OpenUnlearning's per-item logs (TOFU_EVAL.json, MUSE_EVAL.json): read into item scores, written from
them.

    entry: {"agg_value": number, "value_by_index": {"0": {field: value, ...}, "1": ...}}

Index i is the part's i-th item. The entries of wrong replies hold a list per field, one value per reply. Losses are
called `avg_loss`; a value that cannot be had is null. An attack holds such an entry for each of the two sides that it
tells apart, `forget` and `holdout`, beside its `auc`.
"""

import json
import math
import re
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palu.errors import UserError
from palu.evaluation.base import ItemScores, Missing, Value, mean
from palu.evaluation.columns import ScoreColumn
from palu.evaluation.evidence import Evidence
from palu.evaluation.items import KNOWMEM, SIDES, VERBMEM, Example, Item, attacked_parts, prompted_part
from palu.evaluation.knowledge import names as knowledge_names
from palu.evaluation.knowledge import own_answer
from palu.evaluation.membership import item_metric
from palu.evaluation.verbatim import STEMMED as VERBATIM
from palu.files import atomic, read_json

# The peer's abbreviation of each part, and the parts whose probability it normalises over the options
PREFIXES = {"forget": "forget", "retain": "retain", "real_authors": "ra", "world_facts": "wf"}
NORMALISED = ("real_authors", "world_facts")
OVERLAPS = ("rouge1_recall", "rougeL_f1", "rougeL_recall")
ATTACKS = ("loss", "zlib", "min_k", "min_k_plus_plus", "reference", "gradnorm")
# Entries that are a number and nothing else
PLAIN = ("privleak",)
# What a file must hold to be read as a log
LAYOUT = 'OpenUnlearning\'s TOFU_EVAL.json or MUSE_EVAL.json, {"forget_Q_A_Prob": {"value_by_index": {"0": ...}}, ...}'
# No probability, loss or overlap is as large; what is cannot be summed.
LARGEST = 1e100
PLAIN_OF_QUESTIONS = ("forget_quality", "model_utility")

Items = Mapping[str, Sequence[Item]]


class Column(NamedTuple):
    """Where the peer keeps one of our item scores: `entry`.value_by_index[i].`field`, or that under `entry`.`side`."""

    entry: str
    field: str
    metric: str
    part: str
    reply_kind: str = "original"
    side: str = ""


def columns(parts: Container[str] | None) -> Iterator[Column]:
    """Every column that both layouts have, of a benchmark with these parts; None = not known: of every benchmark.

    One of the peer's columns may hold two of ours.
    """
    is_muse = parts is not None and VERBMEM in parts
    if not is_muse:
        yield from _question_columns()
        yield Column("forget_Q_A_gibberish", "score", "fluency", "forget")
    if parts is None or is_muse:
        yield from _document_columns()
        yield Column("forget_gibberish", "score", "fluency", VERBMEM)
    for metric in ("exact_memorization", "extraction_strength"):
        yield Column(metric, "score", metric, prompted_part(parts or ()))
    for attack in ATTACKS:
        for side, part in attacked_parts(parts or ()).items():
            yield Column(f"mia_{attack}", "score", item_metric(attack, side), part, side=side)


def _document_columns() -> Iterator[Column]:
    """MUSE's: the ROUGE of its texts and of the answers about them, with the peer's stemmer."""
    yield Column("forget_verbmem_ROUGE", "rougeL_f1", VERBATIM, VERBMEM)
    for side, part in KNOWMEM.items():
        yield Column(f"{side}_knowmem_ROUGE", "rougeL_f1", knowledge_names(side)[1], part)


def _question_columns() -> Iterator[Column]:
    """TOFU's."""
    for part, prefix in PREFIXES.items():
        yield Column(f"{prefix}_Q_A_Prob", "avg_loss", "loss", part)
        yield Column(f"{prefix}_Q_A_PARA_Prob", "avg_loss", "loss", part, "paraphrase")
        yield Column(f"{prefix}_Q_A_PERT_Prob", "avg_loss", "loss", part, "perturbed")
        suffix = "_normalised" if part in NORMALISED else ""
        yield Column(f"{prefix}_Q_A_Prob{suffix}", "prob", f"{part}_probability", part)
        yield Column(f"{prefix}_Q_A_ROUGE", "rougeL_recall", f"{part}_rouge", part)
        for overlap in OVERLAPS:
            yield Column(f"{prefix}_Q_A_ROUGE", overlap, overlap, part)
        entry = "forget_truth_ratio" if part == "forget" else f"{prefix}_Truth_Ratio"
        yield Column(entry, "score", f"{part}_truth_ratio", part)
    for overlap in OVERLAPS:
        yield Column("forget_Q_A_PARA_ROUGE", overlap, overlap, "forget", "paraphrase")


def read_log(path: Path, own_items: Items | None = None) -> ItemScores:
    """Item scores of a log. Entries that are not there are left out.

    own_items: the benchmark's items, which the log's then are: their example ids name the scores. None: ids are made
    of part and index.
    Raises UserError naming the file, the entry and the index of a value that is not a number, a file that holds none
    of the peer's entries, and a log of another number of items than the benchmark has.
    """
    log = read_json(path)
    if not isinstance(log, dict):
        raise UserError(f"{path}: is no log: expected a mapping of metrics at the top; allowed: {LAYOUT}")
    items: dict[str, dict[str, Value]] = {}
    parts = {part for part, known in own_items.items() if known} if own_items else None
    for column in columns(parts):
        by_index = cells(log, column, path)
        known = own_items.get(column.part, ()) if own_items else ()
        if known and by_index and {int(index) for index in by_index} != set(range(len(known))):
            raise UserError(
                f"{path}: {column.entry} has {len(by_index)} items, the benchmark {len(known)} in part {column.part}: "
                f"allowed: a log of the same split"
            )
        for index, cell in by_index.items():
            place = f"{path}: {column.entry}.value_by_index.{index}.{column.field}"
            values = cell.get(column.field)
            names = _rows(known[int(index)], column.reply_kind) if known else None
            for k, value in enumerate(values if isinstance(values, list) else [values]):
                own = names[k]["example_id"] if names and k < len(names) else None
                example_id = own or f"{column.part}/{int(index):05d}/{column.reply_kind}/{k}"
                items.setdefault(column.metric, {})[example_id] = _number(value, place)
    if not items:
        raise UserError(f"{path}: is no log: it holds no score of an item; allowed: {LAYOUT}")
    return items


def cells(log: Mapping[str, Any], column: Column, path: Path) -> Mapping[str, Any]:
    """The cells of a column's entry by index; none where the log has no such entry. Raises UserError for others."""
    place = f"{column.entry}.{column.side}" if column.side else column.entry
    content = log.get(column.entry)
    if content is None:
        return {}
    if column.side and isinstance(content, dict):
        content = content.get(column.side)
    by_index = content.get("value_by_index") if isinstance(content, dict) else None
    if not isinstance(by_index, dict) or not all(
        re.fullmatch("0|[1-9][0-9]{0,8}", index) and isinstance(cell, dict) for index, cell in by_index.items()
    ):
        raise UserError(f"{path}: {place} has no value_by_index that maps indices to values")
    return by_index


def _number(value: Any, place: str) -> Value:
    if value is None:
        return Missing(f"{place} is null")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place}: {value!r} is not a number")
    # NaN and infinity are what a collapsed model gives
    if math.isfinite(number := _float(value)) and abs(number) > LARGEST:
        raise UserError(f"{place}: {number:g} is no score; allowed: numbers up to {LARGEST:g} on either side of 0")
    return number


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        # a whole number of hundreds of digits
        return sys.float_info.max


def write_log(path: Path, evidence: Evidence, items: ItemScores, summary: Mapping[str, float | None]) -> None:
    """Write one model's scores in the peer's layout. `input` is the bare prompt, without the template around it."""
    log: dict[str, Any] = {}
    parts = evidence.scope.parts
    of_entry: dict[tuple[str, str], list[Column]] = {}
    for column in columns(parts):
        of_entry.setdefault((column.entry, column.side), []).append(column)
    for (name, side), own in of_entry.items():
        cells = _Cells(own, evidence, items)
        if not cells:
            continue
        content = log.setdefault(name, {"agg_value": None})
        (content.setdefault(side, {"agg_value": None}) if side else content)["value_by_index"] = cells
    for name, content in log.items():
        content["agg_value"] = _aggregate(name, content.get("value_by_index", {}), summary, parts)
        for side in content.keys() & set(SIDES):
            content[side]["agg_value"] = _average("score", content[side]["value_by_index"], name)
            content["auc"] = content["agg_value"]
    for name in PLAIN if VERBMEM in parts else (*PLAIN_OF_QUESTIONS, *PLAIN):
        log[name] = {"agg_value": summary.get(name)}
    # Not `files.write_json`, which sorts keys: the order of the items is their order as numbers
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        json.dump(log, handle, indent=1, allow_nan=False)


class _Cells(dict[str, dict[str, Any]]):
    """index -> cell of one entry, made as they are asked for: `json.dump` takes what `items` yields one by one."""

    def __init__(self, own: Sequence[Column], evidence: Evidence, scores: ItemScores) -> None:
        super().__init__()
        self._evidence = evidence
        self._columns = [(column, scores[column.metric]) for column in own if scores.get(column.metric)]
        self._items = evidence.items.get(own[0].part, ())

    def __len__(self) -> int:
        return sum(1 for _ in self.items())

    def __bool__(self) -> bool:
        return any(True for _ in self.items())

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:  # type: ignore[override]
        """Those that the first column has, then what the next ones add."""
        later: list[tuple[int, int]] = []
        for i, item in enumerate(self._items):
            first, cell = self._cell(item)
            if first == 0:
                yield str(i), cell
            elif cell:
                later.append((first, i))
        yield from ((str(i), self._cell(self._items[i])[1]) for _, i in sorted(later))

    def values(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return (cell for _, cell in self.items())

    def _cell(self, item: Item) -> tuple[int, dict[str, Any]]:
        """The number of the first column that has the item, and what all of them say of it."""
        parts = [_cell(column, item, scores, self._evidence) for column, scores in self._columns]
        first = next((number for number, part in enumerate(parts) if part), len(parts))
        return first, {field: value for part in parts for field, value in part.items()}


def _rows(item: Item, reply_kind: str) -> list[Example]:
    if reply_kind == "perturbed":
        return list(item.perturbed)
    row = item.original if reply_kind == "original" else item.paraphrase
    return [] if row is None else [row]


def _cell(column: Column, item: Item, scores: Mapping[str, Value], evidence: Evidence) -> dict[str, Any]:
    rows = [row for row in _rows(item, column.reply_kind) if row["example_id"] in scores]
    if not rows:
        return {}
    numbers = [_finite(scores[row["example_id"]]) for row in rows]
    cell: dict[str, Any] = {column.field: numbers if column.reply_kind == "perturbed" else numbers[0]}
    if column.metric == "loss":
        probabilities = [None if number is None else math.exp(-number) for number in numbers]
        cell["prob"] = probabilities if column.reply_kind == "perturbed" else probabilities[0]
    if column.field in OVERLAPS and item.example_id in evidence.generations:
        said = evidence.generations[item.example_id]
        cell["input"] = item.original["prompt"]
        cell["ground_truth"] = rows[0]["reply"].strip()
        cell["generation"] = (own_answer(said) if column.part in KNOWMEM.values() else said).strip()
    return cell


def _finite(value: Value) -> float | None:
    return None if isinstance(value, Missing) or not math.isfinite(value) else value


def _aggregate(
    entry: str, by_index: Mapping[str, Any], summary: Mapping[str, float | None], parts: Container[str]
) -> float | None:
    """The peer's aggregate of an entry: its metric's, or the mean where it is none of ours."""
    if entry in summary:
        return summary[entry]
    own = [column for column in columns(parts) if column.entry == entry]
    for column in own:
        if column.metric in summary:
            return summary[column.metric]
    fields = {column.field for column in own}
    return _average(next((name for name in ("rougeL_recall", "rougeL_f1") if name in fields), "prob"), by_index, entry)


def _average(field: str, by_index: Mapping[str, Any], what: str) -> float | None:
    flat = enumerate(value for cell in by_index.values() for value in _listed(cell.get(field)))
    values = ScoreColumn((str(i), Missing("null") if value is None else value) for i, value in flat)
    return _finite(mean(values, what))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
