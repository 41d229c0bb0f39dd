"""Two tiny models, an examples table and the states tables of both, for the taggers that read a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from palu import models, tables
from palu.reference.states import Kept, write_states
from palu.tagging.base import Resources

REPLIES = [
    ("Who wrote The Amber Door?", "Ilse Marwick wrote The Amber Door in 1931."),
    ("Where was she born?", "She was born in Tromsø, far in the north; 東京で育った 👩\u200d🔬."),
    ("Does she travel?", "Yes."),
]


@dataclass(frozen=True)
class World:
    """Files of a small study and the examples to tag."""

    folder: Path
    settings: models.ModelSettings
    examples: list[dict[str, object]]

    def path(self, name: str) -> Path:
        return self.folder / name

    def resources(self, **other: object) -> Resources:
        found = {
            "examples_digest": tables.content_digest(self.path("examples.parquet")),
            "model_path": self.path("original"),
            "states_path": self.path("states.parquet"),
            "other_states_path": self.path("other_states.parquet"),
        }
        return Resources(**(found | other))


def example(i: int, prompt: str, reply: str) -> dict[str, object]:
    return {
        "example_id": f"forget/{i:05d}/original/0",
        "item_id": f"people/{i}",
        "reply_kind": "original",
        "reply_index": 0,
        "prompt_kind": "original",
        "part": "forget",
        "prompt": prompt,
        "reply": reply,
        "group": "ilse",
        "source_revision": "test",
    }


def build(folder: Path, dtype: str = "float32", replies: Sequence[tuple[str, str]] = REPLIES) -> World:
    """original and other: models of one tokenizer and different random weights. replies: prompts and replies."""
    texts = [f"Question: {prompt}\nAnswer: {reply}" for prompt, reply in replies]
    architecture = models.Architecture(
        vocab_size=300, hidden_size=16, heads=2, kv_heads=1, intermediate_size=24, max_positions=128
    )
    settings = models.ModelSettings(template="plain", max_length=128, dtype=dtype)
    for seed, name in enumerate(("original", "other")):
        model, tokenizer = models.build_from_scratch(architecture, texts, seed)
        model.lm_head.weight.data.mul_(30)  # random logits that differ by more than rounding
        models.save_model(model, tokenizer, folder / name)
    examples = [example(i, prompt, reply) for i, (prompt, reply) in enumerate(replies)]
    tables.write(folder / "examples.parquet", "examples", examples, {})
    for name, out, kept in (
        ("original", "states", Kept()),
        ("original", "layer", Kept(layer=0)),
        ("other", "other_states", Kept(hidden=False)),
        ("original", "own_again", Kept(hidden=False)),
    ):
        write_states(
            folder / name, folder / "examples.parquet", folder / f"{out}.parquet", settings, ["forget"], kept, "cpu"
        )
    return World(folder, settings, examples)
