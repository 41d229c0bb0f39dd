"""Replies about fictitious authors that somebody annotated, and the measure in which taggers have targets."""

import json

import numpy as np


def annotated_replies(shared):
    """Rows of examples, twenty to an author, and example_id -> spans."""
    rows, gold = [], {}
    path = shared / "data" / "tofu-spans" / "forget10-minus-forget05.jsonl"
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        record = json.loads(line)
        name = f"forget/{number:05d}/original/0"
        rows.append(
            {
                "example_id": name,
                "prompt": record["question"],
                "reply": record["answer"],
                "group": f"author {number // 20}",
            }
        )
        gold[name] = [(span["start"], span["end"]) for span in record["spans"]]
    return rows, gold


def counts_by_author(rows, gold, spans) -> dict[str, tuple[int, int]]:
    """Author -> twice the characters that both mark, and those that either marks, of what is no white space."""
    marked = {}
    for span in spans:
        marked.setdefault(span["example_id"], []).append((span["char_start"], span["char_end"]))
    counts = {}
    for row in rows:
        solid = {place for place, character in enumerate(row["reply"]) if not character.isspace()}
        true, found = (
            {place for start, end in own.get(row["example_id"], ()) for place in range(start, end)} & solid
            for own in (gold, marked)
        )
        both, either = counts.get(row["group"], (0, 0))
        counts[row["group"]] = both + 2 * len(true & found), either + len(true) + len(found)
    return counts


def character_f1(rows, gold, spans) -> float:
    """Over the characters of all replies that are no white space."""
    both, either = map(sum, zip(*counts_by_author(rows, gold, spans).values(), strict=True))
    return both / either


def f1_by_author(rows, gold, spans) -> str:
    """F1 of all replies, its 95% interval over resampled authors, and the F1 of each author from least to most."""
    counts = np.array(list(counts_by_author(rows, gold, spans).values()))
    drawn = counts[np.random.default_rng(0).integers(len(counts), size=(10_000, len(counts)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    both, either = counts.sum(axis=0)
    authors = " ".join(f"{own:.3f}" for own in sorted(counts[:, 0] / counts[:, 1]))
    return f"{both / either:.3f} [{low:.3f}, {high:.3f}], authors {authors}"
