"""Replies about fictitious authors that somebody annotated, and the measure in which taggers have targets."""

import json


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


def character_f1(rows, gold, spans) -> float:
    """Over the characters of all replies that are no white space."""
    marked = {}
    for span in spans:
        marked.setdefault(span["example_id"], []).append((span["char_start"], span["char_end"]))
    both = either = 0
    for row in rows:
        solid = {place for place, character in enumerate(row["reply"]) if not character.isspace()}
        true, found = (
            {place for start, end in own.get(row["example_id"], ()) for place in range(start, end)} & solid
            for own in (gold, marked)
        )
        both += len(true & found)
        either += len(true) + len(found)
    return 2 * both / either
