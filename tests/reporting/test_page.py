import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from palu.errors import UserError
from palu.evaluation.metrics import SECTIONS
from palu.reporting.page import ITEM_LIMIT, write_report

HOSTILE = "<script>alert(1)</script><img src=x onerror=y> \x1b[31m \u202e\" onclick='z'"


class Reader(HTMLParser):
    """Tags, attributes and text of a page; open tags that are never closed."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "path", "use"})

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def text_of(index):
    """The words of the report of `index`, in one line."""
    write_report(index, Path("out"))
    return " ".join(" ".join(read(Path("out/report.html")).text).split())


@pytest.fixture(scope="module")
def out(finished_study, tmp_path_factory):
    """The report of the finished study."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_study[0])
        write_report(finished_study[1], folder)
    return folder


@pytest.fixture(scope="module")
def page(out):
    return read(out / "report.html")


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_outputs_are_the_pages_the_spreadsheets_the_outcome_and_three_figures(out):
    evidence = ["evidence.csv", "evidence.html", "evidence.json"]
    figures = ["figures/losses.svg", "figures/plane.svg", "figures/trajectories.svg"]
    assert list(files(out)) == [*evidence, *figures, "outcome.txt", "report.html", "results.csv", "verdict.json"]


def test_the_same_index_gives_the_same_bytes(small_index, out):
    write_report(small_index, Path("again"))
    assert files(Path("again")) == files(out)


def test_the_page_asks_nothing_of_the_network_and_runs_no_script(page, out):
    assert "script" not in page.tags
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in {"src", "href", "xlink:href", "data", "action"}:
            assert value.startswith("#") or value == "evidence.html", (tag, name, value)
    text = (out / "report.html").read_text()
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


def test_rows_that_a_run_is_stopped_on_are_nowhere_in_the_report(out):
    for path in out.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "Zanzibar" not in text, path.name
            assert "validation/" not in text, path.name


def test_the_page_answers_first_and_folds_the_rest(page, out):
    found = [value for tag, name, value in page.attributes if tag == "section" and name == "id"]
    assert found == ["answer", "arms", "picture", "questions", "everything"]
    folded = [value for tag, name, value in page.attributes if tag == "details" and name == "id"]
    assert folded == ["targets", "metrics", "epochs", "answers", "settings", "provenance"]
    assert not [name for tag, name, _ in page.attributes if tag == "details" and name == "open"]
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    targets = {value[1:] for value in links if value.startswith("#")}
    assert targets <= {value for _, name, value in page.attributes if name == "id"}
    questions = (out / "report.html").read_text().partition('id="questions"')[2].partition('id="everything"')[0]
    assert questions.count('class="question"') == 6
    assert questions.count(">palu</dt>") == questions.count(">retain model</dt>") == 6
    assert '<mark class="span">' in questions


def test_the_headline_says_what_was_asked_and_the_verdicts(page):
    text = " ".join(" ".join(page.text).split())
    assert "village: 1 of 2 meet all 5 targets: palu." in text
    assert "12 rows of 2 groups" in text
    assert "2 settings, 2 seeds" in text
    assert "Not forgotten, language kept, utility kept" in text
    assert "24 held-out people of the village, none of whom is reported here" in text


def test_hostile_text_is_shown_and_does_nothing(builder):
    builder.examples, builder.spans = builder.examples[:3], builder.spans[:3]
    builder.add_item(HOSTILE, f"Question {HOSTILE}", f"Reply {HOSTILE} secret", "secret")
    index = builder.index(seeds=1, rivals=())
    index["study"] = f"study {HOSTILE}"
    index["runs"][0]["label"] = HOSTILE
    index["selection"] = {"note": HOSTILE}
    write_report(index, Path("out"))
    page = read(Path("out/report.html"))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    raw = Path("out/report.html").read_text(encoding="utf-8")
    assert "\x1b" not in raw
    assert "\u202e" not in raw
    assert "<script>alert(1)</script>" in "".join(page.text)


def test_without_a_retain_model_and_epochs_the_report_says_so(small_index):
    small_index["retain"] = None
    for run in small_index["runs"]:
        run["trajectory"], run["training"] = [], {}
    text = text_of(small_index)
    assert "The study has no retain model, so that nothing says" in text.partition("Everything else")[0]
    assert "the study has no retain model" in text.partition("Why a cell is empty")[2]
    assert "no epochs were evaluated" in Path("out/figures/trajectories.svg").read_text()


def test_without_run_records_nothing_is_made_up(small_index):
    for run in small_index["runs"]:
        Path(run["folder"], "run.json").unlink()
    assert "the run did not write the vocabulary's size" in text_of(small_index)


def test_metrics_that_a_run_lacks_are_dashes_with_a_reason(small_index):
    for run in small_index["runs"]:
        Path(run["evaluation"], "summary.json").write_text("{}")
    text = text_of(small_index)
    assert "None of 2 meets all 5 targets; most met: 0 (palu; npo)." in text
    assert "not among this evaluation's metrics" in text


def test_several_settings_without_a_word_on_the_choice_are_warned_about(builder):
    index = builder.index(seeds=1, top_ks=(50, 2048), rivals=())
    index["selection"] = None
    text = text_of(index)
    assert "Picking the best row here would be choosing on the reported items." in text
    assert "Each setting was run with one seed only" in text
    assert "palu, top_k=2048: K is the whole vocabulary" in text


def test_validation_rows_choose_and_the_page_says_so(builder):
    builder.is_validated = True
    index = builder.index(seeds=1, top_ks=(50, 2048), rivals=())
    index["selection"] = None
    text = text_of(index)
    assert "The study's own validation rows (1 in all): they are to be forgotten like the others" in text
    assert "Recommended by 1 validation row." in text
    assert "Model utility has no rows of its own for choosing" in text
    assert "Validation span leak" in text
    assert "Picking the best row" not in text
    assert "of palu, by 1 validation row: palu, top_k=" in Path("out/outcome.txt").read_text()


def test_each_section_of_the_table_of_metrics_is_a_table_where_some_model_has_a_number(page, small_index):
    text = " ".join(" ".join(page.text).split())
    attacks = text[text.index(SECTIONS["membership"]) : text.index("Why a cell is empty")]
    for title in ("Loss ≈", "Min-K ≈", "PrivLeak, % ≈"):
        assert title in attacks
    language = text[text.rindex(SECTIONS["language"]) : text.rindex(SECTIONS["utility"])]
    for title in ("N-gram entropy, bits ↑", "Repeated 4-grams ↓", "Empty answers ↓"):
        assert title in language
    assert "no classifier at hand: fluency" in text
    for folder in (small_index["original"], small_index["retain"], *small_index["runs"]):
        for name in ("summary.json", "reasons.json"):
            path = Path(folder["evaluation"], name)
            kept = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith(("mia_", "privleak"))}
            path.write_text(json.dumps(kept))
        edit_summary = Path(folder["evaluation"], "summary.json")
        edit_summary.write_text(json.dumps(json.loads(edit_summary.read_text()) | {"made_up": 0.5}))
    text = text_of(small_index)
    assert SECTIONS["membership"] not in text
    assert "made up ≈" in text[text.index("Further") :]


def test_forget_quality_has_all_that_it_takes_to_read_it(page, out):
    text = " ".join(" ".join(page.text).split())
    lead = text[text.index("Nearest to the retain model by truth ratios: npo: D = ") :][:200]
    assert re.search(r"over 2 seeds, 95% interval \[\S+, \S+\]; p = \S+ \(median seed, one item away", lead)
    lines = (out / "outcome.txt").read_text().splitlines()
    quality = lines[lines.index("Forget quality") + 1 :]
    assert [line.partition(":")[0] for line in quality] == ["palu", "npo"]
    assert all("95% interval [" in line and "one item away" in line for line in quality)


def test_what_is_not_shown_at_first_is_bounded(builder):
    for nth in range(80):
        builder.add_item(f"group {nth % 7}", f"Question {nth}?", f"The answer is fact{nth}.", f"fact{nth}")
    index = builder.index(seeds=1, rivals=())
    for wanted, shown in ((500, ITEM_LIMIT), (14, 14)):
        write_report(index | {"generations": wanted}, Path("out"))
        answers = (
            Path("out/report.html").read_text().partition('<details id="answers">')[2].partition("<details id=")[0]
        )
        assert answers.count('class="question"') == shown


FACTS = {
    "rows": 10, "rows_without_span": 2, "fallback_rows": 2, "spans": 12, "marked_characters": 30, "characters": 120,
}  # fmt: skip


def test_what_a_tagger_marked_its_policy_and_its_warning_are_on_the_page(small_index):
    path = Path("tags/gold.json")
    path.write_text(json.dumps(FACTS | {"warning": "marks 36% of the words"}))
    small_index["taggers"] = {"gold": {"name": "annotations", "fallback": "first_clause"}}
    text = text_of(small_index)
    assert "12 spans over 25.0% of the characters of 10 replies" in text
    assert "2 of them have no span: their first clause counts as sensitive (2 served so)" in text
    assert "Warning : it marks 36% of the words." in text
    path.write_text("[]")
    with pytest.raises(UserError, match=r"gold\.json: not a tagger's coverage"):
        write_report(small_index, Path("out"))


def test_provenance_has_settings_versions_digests_and_commands(small_index):
    small_index["commands"] = ["snakemake --cores 2"]
    text = text_of(small_index)
    provenance = text[text.index("Where the numbers come from") :]
    for words in ("snakemake --cores 2", "people: 32", "first_n: 2", "vocabulary: 2048", "scipy", "tags/gold.parquet"):
        assert words in provenance
    assert provenance.count("summary.json") == 2 + 4


def test_page_outcome_spreadsheet_and_verdict_say_the_same_statuses(page, out):
    verdict = json.loads((out / "verdict.json").read_text())
    text = " ".join(" ".join(page.text).split())
    assert {arm: own["span_leak"]["status"] for arm, own in verdict.items()} == {"palu": "met", "npo": "missed"}
    assert {own["answer_nll"]["status"] for own in verdict.values()} == {"met"}
    assert "✗ Span leak: missed" in text
    assert "  missed        Span leak: 0.200 [" in (out / "outcome.txt").read_text()
    lines = (out / "results.csv").read_text().splitlines()
    place = lines[0].split(",").index("span_leak_verdict")
    assert lines[-1].split(",")[place] == "missed" or ",missed," in lines[-1]


def test_the_page_stays_small_enough_to_open_at_once(out):
    assert (out / "report.html").stat().st_size < 400_000


def test_a_damaged_input_leaves_the_former_report_as_it_was(small_index):
    (Path("out") / "figures").mkdir(parents=True)
    for name in ("report.html", "figures/plane.svg"):
        Path("out", name).write_text("former")
    before = files(Path("out"))
    Path(small_index["runs"][0]["evaluation"], "generations.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"generations\.parquet"):
        write_report(small_index, Path("out"))
    assert files(Path("out")) == before
