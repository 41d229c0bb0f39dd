"""What stands in a page or a spreadsheet is the text that went in, with what an eye would miss as symbols."""

import csv
import html
import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palu.files import write_json
from palu.inert import spreadsheet_safe, visible
from palu.reporting.page import write_report
from palu.reporting.scorecard import write_scorecard
from palu.reporting.templates import render
from palu.reporting.texts import Item, marked_generation, marked_reply, repeated, secrets
from palu.tables import read
from tests.fuzz.outcomes import ANY_TEXT, IS_THOROUGH, JSON_VALUES, ODD_PIECES, TEXT, examples, refusal_that_leaves
from tests.reporting.conftest import StudyBuilder
from tests.reporting.test_page import Reader

PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4)


class Texts(Reader):
    """Also the text of each question and of each true reply, in order."""

    SHOWN = frozenset({("p", "question"), ("dd", "truth")})

    def __init__(self):
        super().__init__()
        self.found, self._classes = [], []

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if len(self.open) > len(self._classes):
            self._classes.append((tag, dict(attrs).get("class")))
            self.found += [""] if self._classes[-1] in self.SHOWN else []

    def handle_endtag(self, tag):
        super().handle_endtag(tag)
        del self._classes[len(self.open) :]

    def handle_data(self, data):
        super().handle_data(data)
        if self.SHOWN & set(self._classes):
            self.found[-1] += data


@examples(120)
@given(ANY_TEXT)
def test_visible_text_stays_as_long_and_is_its_own_visible_text(text):
    shown = visible(text)
    assert len(shown) == len(text)
    assert visible(shown) == shown
    shown.encode("utf-8")
    assert not [each for each in shown if ord(each) < 32 and each not in "\t\n"]


@examples(120)
@given(st.lists(ANY_TEXT, min_size=1, max_size=4))
@example(["\r\n", '"', "=1", ",", "\n"])
def test_a_line_of_a_spreadsheet_is_read_back_to_the_letter(tmp_path_factory, cells):
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerow([spreadsheet_safe(cell) for cell in cells])
    with path.open(encoding="utf-8", newline="") as handle:
        (found,) = csv.reader(handle)
    assert [cell.removeprefix("'") for cell in found] == [visible(cell).removeprefix("'") for cell in cells]
    assert not [cell for cell in found if cell[:1] in tuple("=+-@\t\r")]


@examples(80)
@given(ANY_TEXT, ANY_TEXT, PAIRS)
def test_marks_lose_no_letter_of_a_reply_or_a_generation(reply, generation, pairs):
    spans = tuple((start, end) for start, end in pairs if start < end <= len(reply))
    item = Item("e0", "a", "Who?", reply, spans)
    assert "".join(part.text for part in marked_reply(item)) == visible(reply)
    wanted = secrets(item)
    parts = marked_generation(generation, wanted, 10**6)
    assert "".join(part.text for part in parts) == visible(generation)
    marked = "".join(part.text for part in parts if part.kind == "repeated")
    assert marked == visible("".join(each for each in _every(generation, wanted)))


def _every(generation, wanted):
    """The marked stretches in order, not each once as `repeated` has them."""
    inside = [part for part in marked_generation(generation, wanted, 10**6) if part.kind == "repeated"]
    assert {part.text for part in inside} == {visible(text) for text in repeated(generation, wanted)}
    return (part.text for part in inside)


@examples(20)
@given(ANY_TEXT)
def test_a_template_escapes_any_text_once(text):
    page = render("scorecard.html.j2", card={"study": text, "gold": text}, sets=[])
    title = page.partition("<title>")[2].partition("</title>")[0]
    assert visible(text) in html.unescape(title)
    assert "<" not in title


def odd_text(chance):
    """A text with a letter, of pieces that have made trouble somewhere; a table can hold it."""
    pieces = chance.choices([*ODD_PIECES, "Ada", "Lyon ", " ", "1843"], k=chance.randint(0, 7))
    return "".join([*pieces, "x"]).encode("utf-8", "replace").decode().replace("\0", "")


@pytest.mark.parametrize("seed", range(10 if IS_THOROUGH else 1))
def test_pages_and_spreadsheets_of_a_study_hold_its_texts_to_the_letter(tmp_path_factory, seed):
    chance = random.Random(seed)
    rows = [tuple(odd_text(chance) for _ in range(4)) for _ in range(12)]
    folder = tmp_path_factory.mktemp("texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        builder = StudyBuilder(people=0)
        for group, prompt, reply, _ in rows:
            builder.add_item(group, prompt, reply, reply.split()[0])
        index = builder.index(seeds=1, rivals=("npo",))
        index["study"], index["runs"][0]["label"] = rows[0][3], rows[1][3]
        write_report(index, Path("out"))
        items = read(Path("data/village.parquet"), "examples").to_pylist()
    originals = [row for row in items if row["part"] == "forget" and row["reply_kind"] == "original"]
    with (folder / "out/evidence.csv").open(encoding="utf-8", newline="") as handle:
        lines = list(csv.DictReader(handle))
    expected = [(spreadsheet_safe(row["prompt"]), spreadsheet_safe(row["reply"])) for row in originals]
    assert [(line["prompt"], line["true_reply"]) for line in lines] == expected
    reader = Texts()
    reader.feed((folder / "out/evidence.html").read_text(encoding="utf-8"))
    asked = [visible(row[key]) for row in originals for key in ("prompt", "reply")]
    assert reader.found == asked
    page = Texts()
    page.feed((folder / "out/report.html").read_text(encoding="utf-8"))
    assert sorted(page.found) == sorted(asked)
    assert not {"script", "img", "b>"} & set(reader.tags + page.tags)
    facts = json.loads((folder / "out/evidence.json").read_text(encoding="utf-8"))
    assert [(row["prompt"], row["true_reply"]) for row in facts["rows"]] == [
        (row["prompt"], row["reply"]) for row in originals
    ]


FACTS = {"rows": 2, "rows_without_span": 0, "fallback_rows": 0, "spans": 2, "marked_characters": 3, "characters": 9}
UNIT = {"precision": 0.5, "recall": 1.0, "f1": None, "hits": 1, "predicted": 2, "gold": 1, "total": 9}
MISTAKE = {"count": 1, "example_id": "forget/0", "before": "a", "text": "b", "after": "c"}
SCORES = {"rows": 2, "rows_without_gold": 0, "rows_without_gold_marked": 0, "rows_without_prediction": 0}


@examples(60)
@given(
    st.sampled_from(["facts", "scores"]),
    st.sampled_from([*FACTS, "seconds", *SCORES, "units", "misses"]),
    st.one_of(JSON_VALUES, st.builds(lambda value: {"character": UNIT | {"gold": value}}, JSON_VALUES)),
    TEXT,
)
def test_any_scores_of_a_tagger_are_shown_or_refused_in_one_line(tmp_path_factory, which, key, value, text):
    folder = tmp_path_factory.getbasetemp() / "scorecard"
    folder.mkdir(exist_ok=True)
    mistakes = [MISTAKE | {"text": text}]
    files = {
        "facts": FACTS | {"seconds": 0.5},
        "scores": SCORES | {"units": {"character": UNIT, "span": UNIT}, "misses": mistakes, "false_alarms": []},
    }
    files[which] = files[which] | {key: value}
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    entry = {
        "label": text,
        "name": "spacy",
        "facts": str(folder / "facts.json"),
        "scores": str(folder / "scores.json"),
    }
    index = {"study": text, "gold": "gold", "sets": [{"name": text, "taggers": [entry]}]}
    told = refusal_that_leaves(folder, lambda: write_scorecard(index, folder / "out"))
    assert told is None or told.startswith(str(folder))
    if told is None:
        page = Texts()
        page.feed((folder / "out/taggers.html").read_text(encoding="utf-8"))
        assert "script" not in page.tags
        with (folder / "out/taggers.csv").open(encoding="utf-8", newline="") as handle:
            assert next(csv.DictReader(handle))["tagger"] == spreadsheet_safe(text)
    for path in folder.glob("out/*"):
        path.unlink()


def test_a_summary_with_nan_in_it_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "summary.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
