"""The scorecard: every number stands in the page and the spreadsheet, and hostile text stays text."""

import copy
import csv
import io
import re

import pytest

from palu.errors import UserError
from palu.files import write_json
from palu.reporting.scorecard import score_text, write_scorecard

HOSTILE = "</td><script>alert(1)</script>\u202e\x1b[31m"


def facts(**changes):
    base = {"rows": 40, "rows_without_span": 4, "fallback_rows": 3, "spans": 90, "marked_characters": 500}
    return base | {"characters": 2000, "seconds": 0.2, "tagger": "t"} | changes


def unit(hits, predicted, gold, total):
    shares = {"precision": hits / predicted, "recall": hits / gold, "f1": 2 * hits / (predicted + gold)}
    return shares | {"hits": hits, "predicted": predicted, "gold": gold, "total": total}


def scores(hits=300, mistake="Oslo"):
    place = {"count": 7, "example_id": "e/1", "before": "In ", "text": mistake, "after": " they say"}
    return {
        "rows": 40,
        "rows_without_gold": 5,
        "rows_without_gold_marked": 2,
        "rows_without_prediction": 4,
        "units": {
            "character": unit(hits, 500, 400, 1600),
            "word": unit(60, 100, 80, 400),
            "span": unit(10, 90, 50, None) | {"precision": None},
        },
        "misses": [place],
        "false_alarms": [],
    }


@pytest.fixture
def card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entries = []
    for label, own in {"=worse": scores(200), "better": scores(mistake=HOSTILE)}.items():
        place = label.strip("=")
        write_json(tmp_path / f"{place}.facts.json", facts())
        write_json(tmp_path / f"{place}.json", own)
        files = {"facts": f"{place}.facts.json", "scores": f"{place}.json"}
        entries.append({"label": label, "name": "spacy", "settings": {"fallback": "first_clause"}, **files})
    entries[0]["of"] = ["a", "b"]
    return {
        "study": "s",
        "gold": "gold",
        "sets": [
            {"name": "village", "benchmark": {"name": "village"}, "taggers": entries},
            {"name": "elsewhere", "skipped": "spans.jsonl: no such file"},
        ],
    }


def page(card, tmp_path):
    write_scorecard(card, tmp_path / "out")
    return (tmp_path / "out" / "taggers.html").read_text(encoding="utf-8")


def words_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("</style>")[2]).split())


def test_the_page_orders_taggers_by_f1_and_shows_every_measure(card, tmp_path):
    text = words_of(page(card, tmp_path))
    assert text.index("better spacy") < text.index("=worse spacy: of a, b")
    assert "0.600 0.750 0.667 0.600 0.750 0.667 – 0.200 0.143 25.0% 4 of 40 3 by first_clause 2 of 5 5.00" in text
    assert "40 annotated replies, 5 of them without any gold span" in text


def test_marking_everything_stands_beside_it(card, tmp_path):
    assert "every character for comparison 0.250 1.000 0.400 0.200 1.000 0.333 – – –" in words_of(page(card, tmp_path))


def test_rows_that_were_left_out_have_their_reason(card, tmp_path):
    assert "Left out: spans.jsonl: no such file" in words_of(page(card, tmp_path))
    rows = list(csv.DictReader((tmp_path / "out" / "taggers.csv").open(encoding="utf-8")))
    assert [(row["rows_of"], row["tagger"], row["skipped"]) for row in rows][2:] == [
        ("elsewhere", "", "spans.jsonl: no such file")
    ]


def test_hostile_text_stays_text(card, tmp_path):
    html = page(card, tmp_path)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert not re.search(r'(src|href)="https?://', html)
    table = list(csv.reader(io.StringIO((tmp_path / "out" / "taggers.csv").read_text(encoding="utf-8"))))
    assert table[2][2] == "'=worse"


def test_the_spreadsheet_has_all_digits(card, tmp_path):
    page(card, tmp_path)
    rows = list(csv.DictReader((tmp_path / "out" / "taggers.csv").open(encoding="utf-8")))
    assert float(rows[0]["character_f1"]) == 2 * 300 / 900
    assert rows[0]["span_precision"] == rows[0]["token_f1"] == ""
    assert float(rows[0]["seconds_per_1000_replies"]) == 5
    assert len(set(map(len, csv.reader((tmp_path / "out" / "taggers.csv").open(encoding="utf-8"))))) == 1


def test_the_same_index_gives_the_same_bytes(card, tmp_path):
    assert page(copy.deepcopy(card), tmp_path) == page(card, tmp_path)


def test_a_missing_file_a_missing_key_and_no_tagger_are_one_line(card, tmp_path):
    write_json(tmp_path / "better.json", {"rows": 1})
    with pytest.raises(UserError, match=r"better\.json: rows_without_gold: is missing"):
        write_scorecard(card, tmp_path / "out")
    (tmp_path / "better.json").unlink()
    with pytest.raises(UserError, match=r"better\.json: no such file"):
        write_scorecard(card, tmp_path / "out")
    card["sets"][0]["taggers"] = []
    with pytest.raises(UserError, match="village: has no tagger besides the gold one"):
        write_scorecard(card, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_terminal_gets_lines_without_control_characters():
    text = score_text(scores(mistake=HOSTILE))
    assert "character      0.600   0.750  0.667" in text
    assert "span               –   0.200  0.143" in text
    assert "missed 7×  In [</td>" in text
    assert "\x1b" not in text
