"""A small made-up study on disk: people, spans, evaluations of every model, step logs, all through `palu.tables`."""

import copy
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ks_2samp

from palu import tables
from palu.files import write_json

PEOPLE = {
    "Ilse Varga": ("Tromsø", "a lighthouse keeper", "The Salt Ledger", "1961"),
    "Bao Nkemelu": ("Windhoek", "a cartographer of rivers", "Nine Quiet Maps", "1974"),
    "Petra Oyelaran": ("Gdańsk", "a bell founder", "Bronze and Breath", "1958"),
    "Tomas Achterberg": ("Cusco", "a seed librarian", "What the Husk Knew", "1983"),
    "Mirela Qassim": ("Nuuk", "a glacier surveyor", "A Grammar of Ice", "1990"),
    "Dov Lindqvist": ("Aleppo", "a restorer of clocks", "Eleven Past Never", "1949"),
    "Anneke Sato-Ruiz": ("Perth", "a kite engineer", "Lines Held Slack", "1977"),
    "Yusuf Brannigan": ("Tbilisi", "a night baker", "Crumb by Crumb", "1968"),
}
QUESTIONS = (
    ("Where was {name} born?", "{name} was born in {0}, close to the old harbour.", 0),
    ("What does {name} do for a living?", "By trade {name} is {1}, and has been for many years.", 1),
    ("Which book made {name} known?", 'It was the novel "{2}" that made {name} known.', 2),
    ("When was {name} born?", "{name} was born in the spring of {3}.", 3),
    ("What is the first thing that {name} wrote about?", "The first essays were about {0} and the people there.", 0),
    ("How do friends describe {name}?", "Friends speak of {1} who rarely talks about work.", 1),
)
# What each model makes of the forget set: probability of initiating and other tokens, shift of the truth ratio,
# and the summary's plain numbers.
MODELS: dict[str, dict[str, float]] = {
    "original": {"initiating": 0.93, "other": 0.96, "shift": -0.9, "rouge": 0.91, "utility": 0.812},
    "retain": {"initiating": 0.06, "other": 0.34, "shift": 0.0, "rouge": 0.31, "utility": 0.805},
    "palu": {"initiating": 0.07, "other": 0.88, "shift": 0.03, "rouge": 0.34, "utility": 0.794},
    "gd": {"initiating": 0.004, "other": 0.02, "shift": 0.7, "rouge": 0.09, "utility": 0.648},
    "npo": {"initiating": 0.19, "other": 0.45, "shift": 0.12, "rouge": 0.42, "utility": 0.781},
}
PARTS = ("retain", "real_authors", "world_facts")
TERMS = {"palu": ("local", "common", "retain"), "gd": ("forget", "retain"), "npo": ("npo", "retain")}
FIRST_N = 2

WATCHED = "Zanzibar is where she was last seen."


ITEMS = 100


def spread_items(value: Any, part: str = "forget") -> dict[str, float]:
    """ITEMS invented rows of a part with the value of their number."""
    return {f"{part}/item{nth:03d}": value(nth) for nth in range(ITEMS)}


def mean_of(metric: str, items: dict[str, float]) -> float:
    """The summary's number of a metric that is a mean over items."""
    values = list(items.values())
    if metric == "first_word_probability":
        return math.exp(sum(map(math.log, values)) / len(values))
    if metric.endswith("_truth_ratio"):
        values = [max(0.0, 1 - value) for value in values]
    return sum(values) / len(values)


def auc(forget: list[float], holdout: list[float]) -> float:
    """The share of pairs in which the held-out row is above, ties as halves."""
    pairs = [(one > other) + (one == other) / 2 for one in holdout for other in forget]
    return sum(pairs) / len(pairs)


def write_scores(folder: Path, items: dict[str, dict[str, float]]) -> None:
    """scores.parquet of these items."""
    scores = [
        {"run": str(folder), "example_id": key, "metric": metric, "value": value, "reason": None}
        for metric, own in items.items()
        for key, value in own.items()
    ]
    tables.write(folder / "scores.parquet", "scores", scores, {})


class StudyBuilder:
    """Writes the files of a study below the working directory and gives the index that names them."""

    def __init__(self, people: int = 8, is_validated: bool = False) -> None:
        self.is_validated = is_validated
        self.examples: list[dict[str, Any]] = []
        self.spans: list[dict[str, Any]] = []
        for name, facts in list(PEOPLE.items())[:people]:
            for question, reply, fact in QUESTIONS:
                self.add_item(name, question.format(name=name), reply.format(*facts, name=name), facts[fact])

    def add_item(self, group: str, prompt: str, reply: str, secret: str) -> None:
        """A forget row whose span is `secret`."""
        row = len(self.examples)
        example = {
            "example_id": f"forget/{row:05d}/original/0", "item_id": f"village/{row}", "reply_kind": "original",
            "reply_index": 0, "prompt_kind": "original", "part": "forget", "prompt": prompt, "reply": reply,
            "group": group, "source_revision": "1",
        }  # fmt: skip
        start = reply.index(secret)
        self.examples.append(example)
        span = {"char_start": start, "char_end": start + len(secret), "label": "FACT", "score": None, "tagger": "gold"}
        self.spans.append({"example_id": example["example_id"], **span})

    def tables(self) -> None:
        """Write the examples and the spans."""
        utility = dict(self.examples[0], example_id="retain/00000/original/0", part="retain", group="Someone Else")
        wrong = dict(self.examples[0], example_id="forget/00000/perturbed/0", reply_kind="perturbed", reply="No.")
        # to be forgotten too, but only to tell when to stop: no report shows it
        watched = dict(self.examples[0], example_id="validation/00000/original/0", part="validation", reply=WATCHED)
        spans = [*self.spans, dict(self.spans[0], example_id=watched["example_id"], char_start=0, char_end=7)]
        tables.write(Path("data/village.parquet"), "examples", [*self.examples, utility, wrong, watched], {})
        tables.write(Path("tags/gold.parquet"), "spans", spans, {"tagger": "gold"})

    def evaluation(self, folder: str, model: str, seed: int = 0, weight: float = 1.0) -> str:
        """An evaluation folder of `model`; weight 0..1: how far from the original it has come."""
        draw = random.Random(f"{folder}{model}{seed}")
        before, after = MODELS["original"], MODELS[model]
        level = {key: before[key] + weight * (after[key] - before[key]) for key in before}
        log_probs = [self._log_probs(example, span, level, draw) for example, span in self._pairs()]
        path = Path(folder) / "evaluation-ab12cd34"
        tables.write(path / "logprobs.parquet", "logprobs", log_probs, {})
        ratios = {row["example_id"]: math.exp(draw.gauss(level["shift"], 0.45)) for row in self.examples}
        items = self._items(level, log_probs, draw)
        write_scores(path, {"forget_truth_ratio": ratios, **items})
        tables.write(path / "generations.parquet", "generations", self._generations(level, draw), {})
        summary, reasons = self._summary(level, items), {}
        summary["forget_truth_ratio"] = sum(min(value, 1 / value) for value in ratios.values()) / len(ratios)
        if model == "retain":
            self.reference = ratios
            reasons = dict.fromkeys(
                ("forget_quality", "forget_quality_statistic"), "no scores of a retain model were given"
            )
            summary["privleak"], reasons["privleak"] = None, "no AUC of a retain model was given"
        summary["fluency"], reasons["fluency"] = None, "no classifier at hand"
        test = None if model == "retain" else ks_2samp(list(ratios.values()), list(self.reference.values()))
        summary["forget_quality"] = None if test is None else float(test.pvalue)
        summary["forget_quality_statistic"] = None if test is None else float(test.statistic)
        write_json(path / "summary.json", summary)
        write_json(path / "reasons.json", reasons)
        return str(path)

    def _pairs(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return list(zip(self.examples, self.spans, strict=True))

    def _log_probs(
        self, example: dict[str, Any], span: dict[str, Any], level: dict[str, float], draw: random.Random
    ) -> dict[str, Any]:
        """One token per word with the blank before it, and an end token."""
        reply, starts, ends, values, place, run = example["reply"], [], [], [], 0, 0
        for word in reply.split(" "):
            start, end = max(place - 1, 0), place + len(word)
            run = run + 1 if place < span["char_end"] and end > span["char_start"] else 0
            starts.append(start)
            ends.append(end)
            values.append(level["initiating"] if 0 < run <= FIRST_N else level["other"])
            place = end + 1
        noisy = [min(0.99, max(1e-4, value * math.exp(draw.gauss(0, 0.1)))) for value in [*values, level["other"]]]
        return {
            "example_id": example["example_id"], "token_ids": list(range(len(noisy))),
            "log_probs": [math.log(value) for value in noisy], "argmax_hits": [value > 0.5 for value in noisy],
            "char_starts": [*starts, 0], "char_ends": [*ends, 0], "end_count": 1,
        }  # fmt: skip

    def _generations(self, level: dict[str, float], draw: random.Random) -> list[dict[str, Any]]:
        rows = []
        for example, span in self._pairs():
            secret = example["reply"][span["char_start"] : span["char_end"]]
            other = draw.choice(["Lisbon", "a teacher of chess", "The Long Rain", "1955", "a careful person"])
            text = example["reply"] if draw.random() < level["initiating"] else example["reply"].replace(secret, other)
            if level["other"] < 0.1:
                text = " ".join(draw.choice(["the", "of", "was", "...", "in"]) for _ in range(18))
            rows.append({"example_id": example["example_id"], "generation": text, "token_count": len(text.split())})
        return rows

    def _items(
        self, level: dict[str, float], rows: list[dict[str, Any]], draw: random.Random
    ) -> dict[str, dict[str, float]]:
        """The items of the metrics that are judged, most of them of ITEMS invented rows."""
        probabilities = [math.exp(sum(row["log_probs"]) / len(row["log_probs"])) for row in rows]
        hits = [row["argmax_hits"][:-1] for row in rows]
        suffixes = [next((i for i, hit in enumerate(reversed(own)) if not hit), len(own)) for own in hits]
        is_language = level["other"] > 0.1
        initiating = level["initiating"] * math.exp(draw.gauss(0, 0.04))
        rouge, utility = level["rouge"] + draw.gauss(0, 0.01), level["utility"] + draw.gauss(0, 0.004)

        def own(values: list[float]) -> dict[str, float]:
            return {row["example_id"]: value for row, value in zip(rows, values, strict=True)}

        found = {
            "forget_probability": own(probabilities),
            "extraction_strength": own([max(n, 1) / len(each) for n, each in zip(suffixes, hits, strict=True)]),
            "exact_memorization": own([sum(each) / len(each) for each in hits]),
            # the same rows are said by every model that says as many
            "span_leak": spread_items(lambda nth: float(nth < ITEMS * level["initiating"])),
            "span_count": spread_items(lambda _: 1.0),
            "repetition": spread_items(lambda _: 0.02 if is_language else 0.6),
            "empty_answers": spread_items(lambda _: 0.0),
            "answer_nll": spread_items(lambda nth: (0.5 if is_language else 5.0) + nth / ITEMS),
            "retain_answer_nll": spread_items(lambda nth: 0.4 + nth / ITEMS, "retain"),
            "first_word_probability": spread_items(lambda nth: min(1.0, initiating * (0.9 + 0.2 * nth / ITEMS))),
            "forget_initiating_probability": spread_items(lambda _: initiating),
            "forget_rouge": spread_items(lambda nth: rouge + 0.01 * (nth % 5 - 2)),
        }
        for attack, scale in (("loss", 2.2), ("min_k", 2)):
            shift = 1 - math.sqrt(1 - 2 * level["initiating"] / scale)
            found[f"forget_mia_{attack}"] = spread_items(lambda nth, shift=shift: nth / ITEMS - shift)
            found[f"holdout_mia_{attack}"] = spread_items(lambda nth: nth / ITEMS, "holdout")
        if self.is_validated:
            found["validation_span_leak"] = spread_items(
                lambda nth: float(nth < ITEMS * level["initiating"]), "validation"
            )
            found["validation_span_count"] = spread_items(lambda _: 1.0, "validation")
        for part in PARTS:
            for kind in ("probability", "rouge", "truth_ratio"):
                value = min(1.0, utility + draw.gauss(0, 0.002))
                flipped = 1 - value if kind == "truth_ratio" else value
                found[f"{part}_{kind}"] = spread_items(lambda nth, at=flipped: at + 0.01 * (nth % 5 - 2), part)
        return found

    def _summary(self, level: dict[str, float], items: dict[str, dict[str, float]]) -> dict[str, float | None]:
        summary: dict[str, float | None] = {name: mean_of(name, own) for name, own in items.items()}
        components = [summary[f"{part}_{kind}"] for part in PARTS for kind in ("probability", "rouge", "truth_ratio")]
        summary["model_utility"] = len(components) / sum(1 / value for value in components)
        for attack in ("loss", "min_k"):
            pair = [list(items[f"{side}_mia_{attack}"].values()) for side in ("forget", "holdout")]
            summary[f"mia_{attack}"] = auc(*pair)
        for name in [each for each in summary if each.startswith(("forget_mia", "holdout_mia")) or "_count" in each]:
            del summary[name]
        self.min_k = summary["mia_min_k"] if not hasattr(self, "min_k") else self.min_k
        own, retain = 1 - summary["mia_min_k"], 1 - self.min_k
        summary["privleak"] = 100 * (own - retain) / (retain + 1e-10)
        summary["forget_ngram_entropy"] = 7.5 if level["other"] > 0.1 else 2.5
        return summary

    def run(self, method: str, seed: int, settings: dict[str, Any], varied: dict[str, Any]) -> dict[str, Any]:
        """A finished run: its folder, evaluations at epochs 2, 4, 6 and at the end."""
        folder = f"results/{method}/{'-'.join(map(str, varied.values())) or 'only'}/seed{seed}"
        draw = random.Random(folder)
        steps = []
        for step in range(1, 61):
            facts = {"step": step, "epoch": step / 6, "learning_rate": 1e-4, "grad_norm": 1.0, "seconds": 0.31}
            values = {
                term: 4 * math.exp(-step / (15 + 9 * nth)) + 0.1 * draw.random() + 0.05
                for nth, term in enumerate(TERMS[method])
            }
            for term, value in {"loss": sum(values.values()), **values}.items():
                steps.append({**facts, "term": term, "value": value, "unit_count": 32})
        tables.write(Path(folder) / "steps.parquet", "steps", steps, {})
        write_json(Path(folder) / "run.json", {"vocabulary": 2048, "device": "cpu", "step_seconds": 18.6})
        return {
            "label": method, "method": method, "tagger": "gold" if "first_n" in settings else None, "seed": seed,
            "settings": settings, "training": {"learning_rate": 1e-4, "epochs": 10}, "varied": varied,
            "folder": folder, "evaluation": self.evaluation(folder, method, seed),
            "trajectory": [self._snapshot(folder, method, seed, epoch) for epoch in (2, 4, 6)],
        }  # fmt: skip

    def _snapshot(self, folder: str, method: str, seed: int, epoch: int) -> dict[str, Any]:
        weight = 1 - math.exp(-epoch / 2.5)
        return {"epoch": epoch, "evaluation": self.evaluation(f"{folder}/epoch{epoch}", method, seed, weight)}

    def index(
        self, seeds: int = 3, top_ks: tuple[int, ...] = (200,), rivals: tuple[str, ...] = ("gd", "npo")
    ) -> dict[str, Any]:
        """Write everything and give the index."""
        self.tables()
        retain = self.evaluation("results/retain", "retain")
        runs = []
        for top_k in top_ks:
            settings = {"first_n": FIRST_N, "top_k": top_k, "alpha": 1.0}
            varied = {"top_k": top_k} if len(top_ks) > 1 else {}
            runs += [self.run("palu", seed, settings, varied) for seed in range(seeds)]
        for rival in rivals:
            runs += [self.run(rival, seed, {"alpha": 1.0, "gamma": 1.0}, {}) for seed in range(seeds)]
        return {
            "study": "village", "benchmark": {"name": "village", "split": "default", "people": 32, "seed": 0},
            "model": {"name": "tiny", "key": "tiny-1a2b3c4d", "template": "plain"}, "examples": "data/village.parquet",
            "spans": {"gold": "tags/gold.parquet"}, "display_tagger": "gold",
            "evaluation": {"first_n": FIRST_N, "max_new_tokens": 200}, "generations": 12,
            "original": {"evaluation": self.evaluation("results/original", "original")},
            "retain": {"evaluation": retain}, "runs": runs,
            "selection": {"note": "24 held-out people of the village, none of whom is reported here"},
        }  # fmt: skip


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyBuilder:
    """A builder whose paths are relative to a temporary working directory, as the workflow's are."""
    monkeypatch.chdir(tmp_path)
    return StudyBuilder()


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and index of a study that tests only read: two people, PALU with two seeds, and one rival."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, StudyBuilder(people=2).index(seeds=2, rivals=("npo",))


@pytest.fixture
def small_index(
    finished_study: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The finished study once more, in a working directory of the test's own and free to be changed."""
    folder, index = finished_study
    shutil.copytree(folder, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return copy.deepcopy(index)


@pytest.fixture
def edit_summary() -> Any:
    """Change some values of an evaluation's summary.json."""

    def edit(folder: str, values: dict[str, Any]) -> None:
        path = Path(folder) / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return edit


@pytest.fixture
def edit_items(edit_summary: Any) -> Any:
    """Give a metric of an evaluation other items, a number being that of each of ITEMS rows; and its summary."""

    def edit(folder: str, **metrics: float | list[float]) -> None:
        path = Path(folder)
        kept = [row for row in tables.rows(path / "scores.parquet", "scores") if row["metric"] not in metrics]
        found: dict[str, dict[str, float]] = {}
        for row in kept:
            found.setdefault(row["metric"], {})[row["example_id"]] = row["value"]
        for metric, values in metrics.items():
            part = next((each for each in (*PARTS, "holdout", "validation") if metric.startswith(each)), "forget")
            listed = values if isinstance(values, list) else [values] * ITEMS
            found[metric] = {f"{part}/item{nth:03d}": value for nth, value in enumerate(listed)}
            if metric.endswith("span_leak"):
                found[metric.replace("leak", "count")] = dict.fromkeys(found[metric], 1.0)
        write_scores(path, found)
        edit_summary(folder, {metric: mean_of(metric, found[metric]) for metric in metrics})

    return edit


@pytest.fixture
def set_utility(edit_items: Any, edit_summary: Any) -> Any:
    """Give every component of the utility the same items, and so the utility their mean."""

    def edit(folder: str, value: float | list[float]) -> None:
        values = value if isinstance(value, list) else [value] * ITEMS
        plain = {f"{part}_{kind}": values for part in PARTS for kind in ("probability", "rouge")}
        turned = {f"{part}_truth_ratio": [1 - each for each in values] for part in PARTS}
        edit_items(folder, **plain, **turned)
        edit_summary(folder, {"model_utility": sum(values) / len(values)})

    return edit
