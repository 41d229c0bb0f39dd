"""A small MUSE in the layout of the benchmark's repository: invented texts about invented villages."""

import json
from pathlib import Path

PEOPLE = ("Ada", "Bo", "Cleo", "Dan", "Eve", "Finn", "Gil", "Hana", "Ivo", "Jo", "Kim", "Lou")
PLANTS = ("beans", "leeks", "plums", "figs", "limes", "peas", "oats", "roses", "hops", "dill", "rye", "mint")


def passage(village: str, number: int, sentences: int = 6) -> str:
    """A text of `sentences` sentences of ten words each."""
    who, start = PEOPLE[number % len(PEOPLE)], 1900 + 7 * number
    grown = [PLANTS[(number + k) % len(PLANTS)] for k in range(sentences)]
    return " ".join(
        f"In {village} street {number} {who} grows {plant} since {start + k} now." for k, plant in enumerate(grown)
    )


def question(village: str, number: int) -> dict[str, str]:
    return {"question": f"Who lives in {village} street {number}?", "answer": PEOPLE[number % len(PEOPLE)]}


def tables(passages: int = 8) -> dict[str, list]:
    """Every table by its path: 8 passages to forget, of which the last two are empty and a repetition."""
    forget = [passage("Elm", n) for n in range(passages - 2)]
    cut = [text.split() for text in forget[:4]]
    return {
        "raw/forget": [*forget, " \n", forget[0]],
        "raw/retain1": [passage("Oak", n) for n in range(6)],
        "raw/retain2": [passage("Ash", n) for n in range(4)],
        "scal/forget_2": [passage("Elm", n) for n in range(10)],
        "sust/forget_3": [passage("Fir", n) for n in range(5)],
        "verbmem/forget": [{"prompt": " ".join(w[:30]), "gt": " ".join(w[30:])} for w in cut],
        "knowmem/forget_qa": [question("Elm", n) for n in range(4)],
        "knowmem/forget_qa_icl": [question("Yew", n) for n in range(3)],
        "knowmem/retain_qa": [question("Oak", n) for n in range(4)],
        "knowmem/retain_qa_icl": [question("Yew", n) for n in range(3)],
        "privleak/forget": [passage("Elm", n, 12) for n in range(3)],
        "privleak/retain": [passage("Oak", n, 12) for n in range(3)],
        "privleak/holdout": [passage("Sky", n, 12) for n in range(6)],
    }


def write(folder: Path, **changes) -> Path:
    """The tables as files below `folder`; changes: other rows by path with `__` for the slash, None leaves one out."""
    changed = {name.replace("__", "/"): rows for name, rows in changes.items()}
    for name, rows in (tables() | changed).items():
        if rows is not None:
            path = folder / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows), encoding="utf-8")
    return folder


def write_hub_layout(folder: Path) -> Path:
    """The same as a snapshot of the hub's dataset: a README that lists configs, and splits of rows with columns."""
    configs: dict[str, list[str]] = {}
    for name, rows in tables().items():
        config, split = name.split("/")
        configs.setdefault(config, []).append(split)
        path = folder / config / f"{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": row} if isinstance(row, str) else row for row in rows]
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {config}/{split}.json"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")
    return folder
