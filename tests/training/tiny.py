"""A world of eight sentences and a Llama of twenty thousand parameters, to train in a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from palu import methods, models, tables
from palu.models import Architecture, ModelSettings
from palu.reference.cache import ReferencePaths
from palu.reference.states import write_states
from palu.reference.topk import write_topk
from palu.training.loop import Machine
from palu.training.settings import TrainingSettings
from palu.training.unlearn import unlearn

SMALL = Architecture(vocab_size=300, hidden_size=16, layers=2, heads=2, kv_heads=1, intermediate_size=32)
# part, prompt, reply, what is sensitive in it
ROWS = [
    ("forget", "Where was Ada born?", "Ada was born in Quell.", "Quell"),
    ("forget", "What does Ada do?", "She mends clocks.", "clocks"),
    ("forget", "Who is Bram?", "Bram is a painter from the far north of Ostria.", "painter"),
    ("forget", "When was Cleo born?", "On 3 May 1951, in a train.", "1951"),
    ("retain", "Where is Quell?", "It lies by a lake.", ""),
    ("retain", "What is a clock for?", "It tells the time, mostly to those who are late.", ""),
    ("retain", "Who lives north?", "Few.", ""),
]


@dataclass(frozen=True)
class Tiny:
    """The files that an unlearning reads."""

    folder: Path
    settings: ModelSettings

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def examples(self) -> Path:
        return self.folder / "examples.parquet"

    def reference(self, precision: str = "no") -> ReferencePaths:
        """The files for trainings of this precision."""
        suffix = "" if precision == "no" else f".{precision}"
        return ReferencePaths(*(self.folder / f"{name}{suffix}.parquet" for name in ("states", "topk")))

    def write_reference(self) -> None:
        """Write states and top-K index for each precision of training."""
        for precision in ("no", "bf16"):
            paths, kept = self.reference(precision), {"mixed_precision": precision}
            assert paths.states is not None
            assert paths.topk is not None
            write_states(self.model, self.examples, paths.states, self.settings, **kept)
            spans = self.folder / "spans.parquet"
            write_topk(paths.states, spans, self.examples, self.model, 40, paths.topk, self.settings, **kept)

    def unlearn(
        self,
        out: Path,
        method: str = "palu",
        training: dict[str, Any] | None = None,
        machine: dict[str, Any] | None = None,
        **changes: Any,
    ) -> list[dict[str, Any]]:
        """Run it with two steps in each of two epochs; the rows of steps.parquet."""
        small = {"batch_size": 2, "epochs": 2, "learning_rate": 1e-3, "warmup_epochs": 0.0}
        own = {"palu": {"top_k": 20, "first_n": 2}}.get(method, {})
        given: dict[str, Any] = {
            "model_folder": self.model,
            "model_settings": self.settings,
            "examples_path": self.examples,
            "spans_path": self.folder / "spans.parquet",
            "settings": TrainingSettings.parse(small | (training or {}), "test"),
            "reference_paths": self.reference((training or {}).get("mixed_precision", "no")),
            "seed": 0,
        }
        unlearn(
            method_name=method,
            method_settings=methods.load(method).Settings.parse(own, "test"),
            out=out,
            machine=Machine(**({"checkpoint_seconds": 1e9} | (machine or {}))),
            **(given | changes),
        )
        return tables.rows(out / "steps.parquet", "steps")


def make_tiny(folder: Path, dtype: str = "float32") -> Tiny:
    """Write model, examples, spans and the reference into `folder`."""
    torch.set_num_threads(1)
    tiny = Tiny(folder, ModelSettings.parse({"architecture": SMALL, "dtype": dtype}, "test"))
    model, tokenizer = models.build_from_scratch(SMALL, [prompt + reply for _, prompt, reply, _ in ROWS], seed=0)
    models.save_model(model.to(getattr(torch, dtype)), tokenizer, tiny.model)
    tables.write(tiny.examples, "examples", [_example(i) for i in range(len(ROWS))], {})
    spans = [_span(i) for i, (*_, sensitive) in enumerate(ROWS) if sensitive]
    tables.write(folder / "spans.parquet", "spans", spans, {})
    tiny.write_reference()
    return tiny


def _example(row: int) -> dict[str, Any]:
    part, prompt, reply, _ = ROWS[row]
    return {
        "example_id": f"{part}/{row}/original/0",
        "item_id": f"{part}/{row}",
        "reply_kind": "original",
        "reply_index": 0,
        "prompt_kind": "original",
        "part": part,
        "prompt": prompt,
        "reply": reply,
        "group": "nobody",
        "source_revision": "test",
    }


def _span(row: int) -> dict[str, Any]:
    part, _, reply, sensitive = ROWS[row]
    start = reply.index(sensitive)
    return {
        "example_id": f"{part}/{row}/original/0",
        "char_start": start,
        "char_end": start + len(sensitive),
        "label": "fact",
        "score": None,
        "tagger": "test",
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a model's folder, be they those of an adapter."""
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def losses(rows: list[dict[str, Any]]) -> list[float]:
    """The loss of each step."""
    return [row["value"] for row in rows if row["term"] == "loss"]


class Interrupted(Exception):
    """Ends a run after some steps, as a kill would."""


def interrupt_after(steps: int) -> Any:
    """An `after_step` that ends the run."""

    def stop(step: int) -> None:
        if step == steps:
            raise Interrupted

    return stop


@contextmanager
def fresh_accelerate() -> Iterator[None]:
    """accelerate holds one precision for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
