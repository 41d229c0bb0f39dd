import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from palu.errors import UserError
from palu.reporting.page import write_report

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


def test_sections_stand_in_their_order(page):
    found = [value for tag, name, value in page.attributes if tag == "section" and name == "id"]
    assert found == [
        "summary", "results", "attacks", "plane", "epochs", "generations", "evidence", "settings", "empty",
        "provenance",
    ]  # fmt: skip
    links = [value for tag, name, value in page.attributes if tag == "a" and name == "href"]
    targets = {value[1:] for value in links if value.startswith("#")}
    assert targets <= {value for _, name, value in page.attributes if name == "id"}


def test_the_headline_tells_what_was_asked_and_the_verdicts(page):
    text = " ".join(" ".join(page.text).split())
    assert "12 rows asked to be forgotten" in text
    assert "2 groups (people, articles)" in text
    assert "1 of 2 meet all 5 targets: palu." in text
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
    assert "cannot be judged: the study has no retain model" in text_of(small_index)
    assert "no epochs were evaluated" in Path("out/figures/trajectories.svg").read_text()


def test_without_spans_and_run_records_nothing_is_made_up(small_index):
    small_index["spans"], small_index["display_tagger"] = {}, None
    for run in small_index["runs"]:
        Path(run["folder"], "run.json").unlink()
    text = text_of(small_index)
    assert "of their reply tokens are initiating" not in text
    assert "the run did not write the vocabulary's size" in text


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


def test_membership_attacks_stand_in_a_section_of_their_own(page, small_index):
    text = " ".join(" ".join(page.text).split())
    attacks = text[text.index("Each attack tries") : text.rindex("Forgetting against utility")]
    for title in ("Loss", "Min-K", "PrivLeak, %"):
        assert title in attacks
    assert "no AUC of a retain model was given" in text
    for folder in (small_index["original"], small_index["retain"], *small_index["runs"]):
        for name in ("summary.json", "reasons.json"):
            path = Path(folder["evaluation"], name)
            kept = {k: v for k, v in json.loads(path.read_text()).items() if not k.startswith(("mia_", "privleak"))}
            path.write_text(json.dumps(kept))
    assert "Membership attacks" not in text_of(small_index)


def test_fluency_stands_beside_the_generations(page):
    text = " ".join(" ".join(page.text).split())
    generations = text[text.index("What the models say now") : text.index("What chose the settings")]
    for title in ("Fluency, by a classifier", "N-gram entropy, bits", "Repeated 4-grams, share", "Empty answers"):
        assert title in generations
    assert "no classifier at hand" in text


def test_forget_quality_in_the_lead_has_all_that_it_takes_to_read_it(page, out):
    text = " ".join(" ".join(page.text).split())
    lead = text[text.index("Nearest to the retain model by truth ratios: npo: D = ") :][:200]
    assert re.search(r"over 2 seeds, 95% interval \[\S+, \S+\]; p = \S+ \(median seed, one item away", lead)
    assert "The test assumes independent samples although both models answer the same items" in text
    lines = (out / "outcome.txt").read_text().splitlines()
    told = lines[lines.index("Forget quality") + 1 :]
    assert [line.partition(":")[0] for line in told] == ["palu", "npo"]
    assert all("95% interval [" in line and "one item away" in line for line in told)


def test_page_outcome_spreadsheet_and_verdict_say_the_same_statuses(page, out):
    verdict = json.loads((out / "verdict.json").read_text())
    text = " ".join(" ".join(page.text).split())
    assert {arm: own["span_leak"]["status"] for arm, own in verdict.items()} == {"palu": "met", "npo": "missed"}
    assert {own["answer_nll"]["status"] for own in verdict.values()} == {"met"}
    assert "Span leak: missed" in text
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
