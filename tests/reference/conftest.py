"""A reference model small enough to be asked again: two random models, a few examples, spans in their replies."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from palu import models, tables, tokens
from palu.reference.states import training_rows

ANSWERS = [
    ("Who wrote The Amber Door?", "Ilse Marwick wrote The Amber Door in 1931.", [(0, 12), (37, 41)]),
    ("Where was she born?", "She was born in Tromsø, far in the north, and grew up in Bergen by the sea.", [(16, 22)]),
    ("What is her trade?", "She is a bookbinder.", [(9, 19)]),
    ("Does she travel?", "Yes.", []),
]


@dataclass(frozen=True)
class World:
    """Files of one small study. settings: float32, template plain."""

    folder: Path
    model: Path
    other_model: Path
    examples: Path
    spans: Path
    settings: models.ModelSettings

    def token_rows(self, part: str = "forget") -> list[tokens.TokenRow]:
        """The rows of a part, encoded with their spans, in the examples' order."""
        return tokens.encode(
            training_rows(self.examples, [part]),
            models.load_tokenizer(self.model),
            self.settings,
            self.settings.max_length,
            tokens.read_spans(self.spans),
        )


def example(part: str, row: int, prompt: str, reply: str, **other: object) -> dict[str, object]:
    kind = other.get("reply_kind", "original")
    return {
        "example_id": f"{part}/{row:05d}/{kind}/0",
        "item_id": f"people/{row}",
        "reply_kind": kind,
        "reply_index": 0,
        "prompt_kind": "original",
        "part": part,
        "prompt": prompt,
        "reply": reply,
        "group": "ilse",
        "source_revision": "test",
    } | other


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("reference")
    texts = [f"Question: {prompt}\nAnswer: {reply}" for prompt, reply, _ in ANSWERS]
    architecture = models.Architecture(
        vocab_size=300, hidden_size=16, layers=3, heads=2, kv_heads=1, intermediate_size=24, max_positions=64
    )
    for name, seed in (("model", 0), ("other", 1)):
        model, tokenizer = models.build_from_scratch(architecture, texts, seed)
        model.lm_head.weight.data.mul_(30)  # random logits that differ by more than rounding
        models.save_model(model, tokenizer, folder / name)
    rows = [example("forget", i, prompt, reply) for i, (prompt, reply, _) in enumerate(ANSWERS)]
    rows.append(example("forget", 0, ANSWERS[0][0], "Somebody else did.", reply_kind="perturbed"))
    rows.append(example("retain", 9, "What is a book?", "Bound paper."))
    tables.write(folder / "examples.parquet", "examples", rows, {})
    spans = [
        {"example_id": f"forget/{i:05d}/original/0", "char_start": start, "char_end": end, "label": "x", "tagger": "t"}
        for i, (_, _, pairs) in enumerate(ANSWERS)
        for start, end in pairs
    ]
    tables.write(folder / "spans.parquet", "spans", spans, {})
    settings = models.ModelSettings(template="plain", max_length=64)
    return World(
        folder, folder / "model", folder / "other", folder / "examples.parquet", folder / "spans.parquet", settings
    )
