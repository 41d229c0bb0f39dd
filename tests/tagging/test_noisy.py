"""Gold spans with mistakes of a stated extent."""

import random
from itertools import takewhile

import pytest

from palu import tables, tagging
from palu.errors import UserError
from palu.tagging import Resources
from palu.tagging.noisy import Settings, _end_near, spans
from palu.tagging.scoring import score_tags
from tests.tagging.tables_of import example, unmarked, write_examples, write_spans

PLACES = ["Oslo", "Upper Brimholt", "Vesterlo am See", "Lirren"]
TEXT = (
    "After many years of work by the sea she moved to [{}] with her dog, and in [{}] she is still seen on quiet days."
)


@pytest.fixture
def village(tmp_path):
    """60 rows with two spans each; their examples table and gold table."""
    rows, gold = [], {}
    for number in range(60):
        reply, marks = unmarked(TEXT.format(PLACES[number % 4], 1900 + number))
        rows.append(example(number, "Where?", reply))
        gold[rows[-1]["example_id"]] = marks
    examples = write_examples(tmp_path / "examples.parquet", rows)
    return rows, gold, examples, write_spans(tmp_path / "gold.parquet", examples, gold)


def degraded(village, rows=None, **settings):
    resources = Resources(tables.content_digest(village[2]), gold_path=village[3])
    found = spans(rows or village[0], Settings(**settings), resources)
    return sorted((row["example_id"], row["char_start"], row["char_end"], row["label"]) for row in found)


@pytest.mark.parametrize(("precision", "recall"), [(0.5, 0.5), (0.9, 0.3), (1.0, 0.7), (0.6, 1.0), (0.3, 0.4)])
def test_the_stated_precision_and_recall_are_reached(village, tmp_path, precision, recall):
    out = tmp_path / "noisy.parquet"
    settings = Settings(precision=precision, recall=recall)
    tagging.tag("noisy", settings, village[2], Resources(gold_path=village[3]), out)
    found = score_tags(out, village[3], village[2])["units"]["character"]
    assert found["precision"] == pytest.approx(precision, abs=0.02)
    assert found["recall"] == pytest.approx(recall, abs=0.02)


def test_without_mistakes_it_is_the_gold(village):
    found = degraded(village, precision=1.0, recall=1.0)
    assert [row[:3] for row in found] == sorted((name, *span) for name, own in village[1].items() for span in own)


def test_false_spans_are_whole_words_apart_from_every_gold_span_and_each_other(village):
    found = degraded(village, precision=0.4, recall=0.6)
    replies = {row["example_id"]: row["reply"] for row in village[0]}
    false = [row for row in found if row[3] == "false"]
    assert len(false) > 30
    for name, start, end, _ in false:
        reply = replies[name]
        assert not (reply[start - 1 : start] + reply[end : end + 1]).strip(" .,")
        assert reply[start].isalnum()
        assert reply[end - 1].isalnum()
        others = [*village[1][name], *((a, b) for other, a, b, _ in false if other == name and a != start)]
        assert all(end < a or start > b for a, b in others)


def test_false_spans_are_as_long_as_gold_ones(village):
    found = degraded(village, precision=0.4, recall=1.0)
    lengths = {
        kind: [end - start for _, start, end, label in found if (label == "false") == kind] for kind in (True, False)
    }
    means = [sum(own) / len(own) for own in lengths.values()]
    assert means[0] == pytest.approx(means[1], rel=0.3)


def test_a_seed_makes_the_same_mistakes_in_any_order_of_rows_and_another_seed_others(village):
    settings = {"precision": 0.5, "recall": 0.5}
    first = degraded(village, **settings, seed=1)
    rows = list(village[0])
    random.Random(0).shuffle(rows)
    assert degraded(village, rows, **settings, seed=1) == first
    assert degraded(village, **settings, seed=2) != first


def test_what_was_reached_is_printed(village, capsys):
    degraded(village, precision=0.5, recall=0.5)
    assert "recall 0.50" in capsys.readouterr().out


def test_a_precision_for_which_there_is_no_room_is_one_line(village):
    with pytest.raises(UserError) as error:
        degraded(village, precision=0.05, recall=1.0)
    message = str(error.value)
    assert "precision 0.05 at recall 1.0 needs" in message
    assert "\n" not in message
    least = float(message.split("a precision of at least ")[1].split(",")[0])
    assert 0.05 < least < 0.4
    degraded(village, precision=least + 0.01, recall=1.0)


def test_a_script_without_spaces_has_false_spans_too(tmp_path):
    reply, marks = unmarked("彼女は長い年月を海辺で過ごし、その後[東京]に移り住んで犬と暮らしている。")
    rows = [example(0, "?", reply)]
    examples = write_examples(tmp_path / "e.parquet", rows)
    gold = write_spans(tmp_path / "g.parquet", examples, {rows[0]["example_id"]: marks})
    found = degraded((rows, None, examples, gold), precision=0.5, recall=1.0)
    assert len(found) == 2


@pytest.mark.parametrize("values", [{"precision": 0, "recall": 1}, {"precision": 1, "recall": 1.1}, {"recall": 1}])
def test_shares_outside_0_to_1_and_missing_ones_are_refused(values):
    with pytest.raises(UserError, match=r"^study: taggers\.noisy\.(precision|recall): "):
        Settings.parse(values, "study: taggers.noisy")


@pytest.mark.parametrize("seed", range(30))
def test_a_stretch_ends_where_a_search_over_all_ends_says(seed):
    draw = random.Random(seed)
    borders = sorted(draw.sample(range(100), 24))
    pieces = list(zip(borders[::2], borders[1::2], strict=True))
    taken = sorted(draw.sample(range(100), 6))
    blocked = list(zip(taken[::2], taken[1::2], strict=True))
    for place, (start, _) in enumerate(pieces):
        length = draw.randint(1, 60)
        limit = min((first for first, last in blocked if last >= start), default=None)
        ends = takewhile(lambda end, limit=limit: limit is None or end < limit, (end for _, end in pieces[place:]))
        expected = min(ends, key=lambda end, start=start, length=length: abs(end - start - length), default=None)
        assert _end_near(pieces, place, length, blocked) == expected
