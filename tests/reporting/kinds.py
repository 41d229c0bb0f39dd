"""Small studies on disk that are not of questions about people: documents to forget, and a user's own requests."""

import json
from pathlib import Path
from typing import Any

from palu import tables
from palu.files import write_json
from tests.reporting.conftest import spread_items, write_scores

NO_RETAIN = "no scores of a retain model were given"
CONTEXT = "Question: Who opened the fair?\nAnswer: The mayor.\n\n"
# One made-up article, long enough to be shortened on a page.
ARTICLE = " ".join(
    f"On day {day} the ferry to Harrow Island left at {day % 12} with {7 * day} crates of lemons aboard."
    for day in range(1, 61)
)


def example(part: str, row: int, prompt: str, reply: str, group: str = "article 0") -> dict[str, Any]:
    """An original row of the examples table."""
    return {
        "example_id": f"{part}/{row:05d}/original/0", "item_id": f"{part}/{row}", "reply_kind": "original",
        "reply_index": 0, "prompt_kind": "original", "part": part, "prompt": prompt, "reply": reply, "group": group,
        "source_revision": "1",
    }  # fmt: skip


def evaluation(folder: str, values: dict[str, float | str], generations: dict[str, str]) -> str:
    """An evaluation folder; a text among the values is the reason why there is no number."""
    path = Path(folder) / "evaluation-ab12cd34"
    reasons = {name: value for name, value in values.items() if isinstance(value, str)}
    write_json(path / "summary.json", {name: None if name in reasons else value for name, value in values.items()})
    write_json(path / "reasons.json", reasons)
    rows = [{"example_id": key, "generation": text, "token_count": 3} for key, text in generations.items()]
    tables.write(path / "generations.parquet", "generations", rows, {"model": f"print of {folder}"})
    # every number is that of ITEMS rows with the same value; an attack's has none of its own
    items = {
        name: spread_items(lambda _, value=value: value)
        for name, value in values.items()
        if not isinstance(value, str) and not name.startswith(("mia_", "privleak"))
    }
    items |= {"span_count": dict.fromkeys(items["span_leak"], 1.0)} if "span_leak" in items else {}
    write_scores(path, items)
    return str(path)


def run(label: str, values: dict[str, float | str], generations: dict[str, str], **changes: Any) -> dict[str, Any]:
    """A run's entry in the index, with its files."""
    seed = changes.get("seed", 0)
    varied = changes.get("varied", {})
    folder = f"results/{label}/{'-'.join(map(str, varied.values())) or 'only'}/seed{seed}"
    tables.write(Path(folder) / "steps.parquet", "steps", [], {})
    identity = {"inputs": {"model": "print of results/original", "tokenizer": "0123", "examples": "4567"}}
    write_json(Path(folder) / "run.json", {"model": f"print of {folder}", "identity": identity})
    about = {"label": label, "method": label, "seed": seed, "settings": {}, "training": {}, "varied": varied}
    return about | {"folder": folder, "evaluation": evaluation(folder, values, generations)}


def muse_index(has_retain: bool = True) -> dict[str, Any]:
    """Two documents to forget, a beginning to continue and two questions; GA loses what NPO keeps."""
    rows = [example("forget", nth, "", f"{ARTICLE} End {nth}.", f"article {nth}") for nth in range(2)]
    rows += [example("retain", 0, "", "Something else is said here.")]
    rows += [example("verbmem", 0, ARTICLE[:900], ARTICLE[900:1800])]
    rows += [example("knowmem_forget", 0, f"{CONTEXT}Question: Where does the ferry go?\nAnswer: ", "Harrow Island")]
    rows += [example("knowmem_forget", 1, f"{CONTEXT}Question: What is aboard?\nAnswer: ", "crates of lemons")]
    rows += [example("knowmem_retain", 0, f"{CONTEXT}Question: Who sang?\nAnswer: ", "The choir")]
    tables.write(Path("data/muse.parquet"), "examples", rows, {"benchmark": "muse"})
    tables.write(Path("tags/rules.parquet"), "spans", [_span(rows[0], "Harrow Island")], {"tagger": "rules"})
    lacking: dict[str, float | str] = {
        "model_utility": "benchmark muse has no part real_authors", "forget_quality": "no truth ratios",
        "forget_quality_statistic": "no truth ratios", "forget_rouge": "documents are never asked",
    }  # fmt: skip

    def of(verbatim: float, forget: float, retain: float, leak: float | None) -> dict[str, float | str]:
        return lacking | {
            "verbatim_memorization": verbatim, "knowledge_memorization_forget": forget,
            "knowledge_memorization_retain": retain, "knowledge_memorization_forget_stemmed": forget,
            "privleak": "no AUC of a retain model was given" if leak is None else leak, "mia_min_k": 0.9,
            "repetition": 0.01, "empty_answers": float(verbatim == 0), "answer_nll": 1.0, "retain_answer_nll": 1.0,
        }  # fmt: skip

    says = {"verbmem/00000/original/0": ARTICLE[900:1700], "knowmem_forget/00000/original/0": "To harrow island."}
    gone = {"verbmem/00000/original/0": "the the the", "knowmem_forget/00000/original/0": "Nowhere."}
    leaks = (-99.0, 4.0, 80.0) if has_retain else (None, None, None)
    index: dict[str, Any] = {
        "study": "muse-small", "benchmark": {"name": "muse"}, "model": {"key": "m-1", "template": "raw"},
        "examples": "data/muse.parquet", "spans": {"rules": "tags/rules.parquet"}, "display_tagger": "rules",
        "original": {"evaluation": evaluation("results/original", of(0.58, 0.64, 0.55, leaks[0]), says)},
        "runs": [run("npo", of(0.22, 0.34, 0.54, leaks[1]), gone), run("ga", of(0.0, 0.0, 0.1, leaks[2]), gone)],
    }  # fmt: skip
    if has_retain:
        index["retain"] = {"evaluation": evaluation("results/retain", of(0.20, 0.33, 0.56, None), gone)}
    return index


def requests_index(rows: int = 3, seeds: int = 1, has_retain_rows: bool = True) -> dict[str, Any]:
    """A user's own rows, without a retain model; `rows` of them."""
    examples = [example("forget", n, f"What is code {n}?", f"The code is X{n}Y.", f"g{n % 7}") for n in range(rows)]
    tables.write(Path("data/custom.parquet"), "examples", examples, {"benchmark": "custom"})
    spans = [_span(row, f"X{nth}Y") for nth, row in enumerate(examples)]
    tables.write(Path("tags/own.parquet"), "spans", spans, {"tagger": "own"})
    lacking = dict.fromkeys(("forget_quality", "forget_quality_statistic", "privleak"), NO_RETAIN)
    no_part = "benchmark custom has no part"

    def of(leak: float, rouge: float, kept: float) -> dict[str, float | str]:
        values: dict[str, float | str] = {"retain_probability": kept, "retain_rouge": kept - 0.02}
        if not has_retain_rows:
            values = dict.fromkeys(values, f"{no_part} retain")
        return lacking | values | {
            "span_leak": leak, "forget_probability": leak, "forget_rouge": rouge, "extraction_strength": leak,
            "repetition": 0.01, "empty_answers": 0.0, "answer_nll": 1.0, "retain_answer_nll": 1.0,
            "model_utility": f"{no_part} real_authors", "mia_loss": f"{no_part} holdout",
        }  # fmt: skip

    says = {row["example_id"]: row["reply"] for row in examples}
    gone = {row["example_id"]: "I do not know." for row in examples}
    runs = []
    for seed in range(seeds):
        runs += [run("palu", of(0.02, 0.4 + 0.01 * seed, 0.93), gone, seed=seed, varied={"top_k": 8})]
        runs += [run("palu", of(0.0, 0.2, 0.7), gone, seed=seed, varied={"top_k": 9})]
    return {
        "study": "mine", "benchmark": {"name": "custom"}, "model": {"key": "m-2", "template": "plain"},
        "examples": "data/custom.parquet", "spans": {"own": "tags/own.parquet"}, "display_tagger": "own",
        "original": {"evaluation": evaluation("results/original", of(0.96, 0.98, 0.95), says)}, "runs": runs,
        "commands": ["snakemake --cores all --configfile results/mine/study.yaml"],
    }  # fmt: skip


def neighbours_index() -> dict[str, Any]:
    """The same with neighbours: the original answers all but one; the first setting loses one that is near, and the
    second the one that is far too."""
    index = requests_index()
    rows = tables.rows(Path(index["examples"]), "examples")
    rows += [
        {
            **rows[n],
            "example_id": f"forget/{n:05d}/question/0",
            "prompt_kind": "paraphrase",
            "prompt": f"Code {n}, say?",
        }
        for n in range(3)
    ]
    near = [example("near", n, f"What is door {n}?", f"Door {n} is R{n}D.", f"d{n}") for n in range(2)]
    far = [example("far", 0, "Where is Oslo?", "Oslo is in Norway.", "f0")]
    tables.write(Path(index["examples"]), "examples", [*rows, *near, *far], {"benchmark": "custom"})
    texts = [*(f"R{n}D" for n in range(2)), "Norway"]
    spans = [_span(row, text) for row, text in zip([*near, *far], texts, strict=True)]
    tables.write(Path("data/custom.gold.parquet"), "spans", spans, {})
    ids = [row["example_id"] for row in (*near, *far)]
    rights = {"original": (1, 0, 1), "palu": (0, 0, 1), "second": (0, 0, 0)}
    entries = zip(rights.values(), (index["original"], *index["runs"]), strict=True)
    for (one, two, three), entry in entries:
        add_items(entry["evaluation"], "near_accuracy", {ids[0]: one, ids[1]: two})
        add_items(entry["evaluation"], "far_accuracy", {ids[2]: three})
        said = [
            row["reply"] if right else "I forgot." for row, right in zip([*near, *far], (one, two, three), strict=True)
        ]
        path = Path(entry["evaluation"]) / "generations.parquet"
        old = tables.rows(path, "generations")
        new = [{"example_id": key, "generation": text, "token_count": 3} for key, text in zip(ids, said, strict=True)]
        tables.write(path, "generations", [*old, *new], {})
    return index | {"gold": "data/custom.gold.parquet"}


def add_items(folder: str, metric: str, values: dict[str, float]) -> None:
    """Give an evaluation a metric that is a mean over items."""
    path = Path(folder)
    found: dict[str, dict[str, float]] = {metric: values}
    for row in tables.rows(path / "scores.parquet", "scores"):
        found.setdefault(row["metric"], {})[row["example_id"]] = row["value"]
    write_scores(path, found)
    summary = json.loads((path / "summary.json").read_text())
    write_json(path / "summary.json", summary | {metric: sum(values.values()) / len(values)})


def _span(row: dict[str, Any], text: str) -> dict[str, Any]:
    start = row["reply"].index(text)
    about = {"example_id": row["example_id"], "label": "fact", "score": None, "tagger": "test"}
    return about | {"char_start": start, "char_end": start + len(text)}
