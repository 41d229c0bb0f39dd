"""All that a GPU has to say, in one run of at most ten minutes: `python -m tests.timing.gpu --out FOLDER`.

    python -m tests.timing.gpu --out FOLDER
    python -m tests.timing.gpu --dry-run --out FOLDER                       tiny shapes, on the CPU
    python -m tests.timing.gpu --tofu-smollm2 FILES --out FOLDER            then a study's trainings at full size

steps: time and peak memory of one PALU step at the shapes of Llama-3.2-1B and Llama-3.1-8B with random weights
(`tests/benchmarks/step.py`): ours; a plain fine-tuning of the same tokens (`finetune`); the products that no method
can leave out (`bound`); the formula as it is written, with a second model and dense logits (`authors`); ours with an
adapter (`lora`).
parity: each mean of ours in bfloat16 autocast on float32 weights beside that of `authors` in float32, of a model that
differs from its reference.
trainings: FILES holds `model` (the base checkpoint), `examples.parquet` and `spans.parquet`; the study's original is
trained on them, its reference is cached, and each method's first run is trained, by the code of the stages.

A part that the time left is too short for is skipped with a line, and so is one that the memory is too small for.
Written: FOLDER/gpu.csv (part, way, measure, value) and FOLDER/gpu.md, the same as tables, which are printed too.
Needed: torch, transformers, accelerate, peft, pyarrow, pydantic, PyYAML.
"""

from __future__ import annotations

import argparse
import csv
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.state import AcceleratorState

from palu import plain
from palu.models import ModelSettings
from palu.study import Study
from tests.benchmarks import step

# A run at a learning rate changes the weights by about this share of their spread
NOISE = 0.05


class Part(NamedTuple):
    """least_seconds: what must be left to begin it, by a guess that no GPU has confirmed."""

    name: str
    way: str
    least_seconds: float
    measured: Callable[[], dict[str, float]]


class Cell(NamedTuple):
    """One number. value: a text says why there is none."""

    part: str
    way: str
    measure: str
    value: float | str


def step_options(dry_run: bool, way: str, **changes: Any) -> argparse.Namespace:
    """The options of `tests/benchmarks/step.py`."""
    device = {"device": "cpu"} if dry_run else {"device": "cuda", "dtype": "bfloat16", "repeats": 5}
    sizes = {"shape": "tiny", "rows": 4, "micro_rows": 4} if dry_run else {}
    options = step.parser().parse_args([])
    vars(options).update(device | changes | sizes | {"way": "ours" if way == "lora" else way, "lora": way == "lora"})
    return options


def step_parts(dry_run: bool) -> Iterator[Part]:
    """1B with all 32 + 32 rows of a step at once, 8B with 8 + 8: both models of `authors` fit beside their logits."""
    for shape, micro_rows, seconds in (("llama-3.2-1b", 32, 20), ("llama-3.1-8b", 8, 60)):
        for way in ("ours", "finetune", "bound", "authors", "lora"):
            options = step_options(dry_run, way, shape=shape, micro_rows=micro_rows)
            yield Part(shape + dry_run * " (dry run)", way, seconds, lambda options=options: _step(options))


def _step(options: argparse.Namespace) -> dict[str, float]:
    found = step.measure(options)
    return {
        "seconds": found["seconds"],
        "tokens/s": found["tokens"] / found["seconds"],
        "peak GiB": (found["bytes"] + found["own_bytes"]) / 2**30,
        "GiB beyond weights and gradients": found["bytes"] / 2**30,
    }


def parity(dry_run: bool) -> dict[str, float]:
    """Each term and the norm of all gradients: ours in bfloat16 autocast, `authors` in float32, and how far apart."""
    found = {}
    for way, kind, precision in (("bf16", step.Ours, "bf16"), ("float32", step.Authors, "no")):
        options = step_options(dry_run, "ours", shape="llama-3.2-1b", dtype="float32", mixed_precision=precision)
        made = kind(options)
        _shake(made.model)
        means = made.run()
        norms = [p.grad.float().norm() for p in made.model.parameters() if p.grad is not None]
        found[way] = means | {"gradient norm": torch.stack(norms).norm().item()}
        del made
        _forget_all()
    return {
        f"{name}: {measure}": value
        for name, exact in found["float32"].items()
        for measure, value in (
            ("ours, bf16", found["bf16"][name]),
            ("dense, float32", exact),
            ("relative difference", abs(found["bf16"][name] - exact) / abs(exact)),
        )
    }


@torch.no_grad()
def _shake(model: Any) -> None:
    """Change the weights by noise: the KL of a model to itself is 0."""
    for parameter in model.parameters():
        if parameter.ndim == 2:
            draw = torch.Generator(parameter.device).manual_seed(parameter.numel())
            noise = torch.randn(parameter.shape, generator=draw, device=parameter.device)
            parameter.add_(noise.to(parameter.dtype), alpha=NOISE * parameter.std().item())


def training_parts(study: Study, files: Path, out: Path) -> Iterator[Part]:
    """The original, its reference, and the first run of each method that needs nothing else of the reference."""
    from palu.reference.cache import ReferencePaths
    from palu.reference.states import write_states
    from palu.reference.topk import write_topk
    from palu.training.data import Examples
    from palu.training.finetune import finetune
    from palu.training.loop import Machine
    from palu.training.unlearn import unlearn

    examples, spans, original = files / "examples.parquet", files / "spans.parquet", out / "original"
    model = ModelSettings.parse(study.model.model_dump() | {"base_revision": None}, "model")
    machine = Machine(**study.machine.model_dump())
    parts = Examples(examples).parts_of("original")
    yield Part(study.name, "original", 60, lambda: _timed(
        finetune, model_settings=model, settings=study.finetune, examples_path=examples, parts=parts, seed=0,
        out=original, base=files / "model", machine=machine,
    ))  # fmt: skip
    folder = original / "model"
    precisions = {run.training.mixed_precision for run in study.runs}
    paths = {each: ReferencePaths(out / f"states-{each}.parquet", out / f"topk-{each}.parquet") for each in precisions}
    for each, path in sorted(paths.items()):
        yield Part(study.name, f"states, {each}", 20, lambda path=path, each=each: _timed(
            write_states, folder, examples, path.states, model, mixed_precision=each
        ))  # fmt: skip
        yield Part(study.name, f"top-K, {each}", 20, lambda path=path, each=each: _timed(
            write_topk, path.states, spans, examples, folder, study.reference.top_k, path.topk, model,
            first_n=study.indexed_first_n, mixed_precision=each,
        ))  # fmt: skip
    for run in {run.label: run for run in reversed(study.runs)}.values():
        if run.settings.needs <= {"states", "top_k", "log_probs"}:
            yield Part(study.name, run.label, 60, lambda run=run: _timed(
                unlearn, model_folder=folder, model_settings=model, examples_path=examples, method_name=run.method,
                method_settings=run.settings, settings=run.training, seed=0, out=out / run.label,
                spans_path=spans, reference_paths=paths[run.training.mixed_precision], machine=machine,
            ))  # fmt: skip


def _timed(stage: Callable[..., None], *arguments: Any, **named: Any) -> dict[str, float]:
    started_at = time.monotonic()
    stage(*arguments, **named)
    return {"seconds": time.monotonic() - started_at}


def _forget_all() -> None:
    """Free what the part held; a training of another precision must be allowed afterwards."""
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measured(parts: Iterator[Part], ends_at: float) -> Iterator[Cell]:
    """Run the parts one after the other; say each number as it comes."""
    for part in parts:
        left = ends_at - time.monotonic()
        if left < part.least_seconds:
            found: dict[str, float | str] = {"skipped": f"{left:.0f} s left, begun with {part.least_seconds:.0f}"}
        else:
            try:
                found = dict(part.measured())
            except torch.OutOfMemoryError:
                found = {"skipped": "the GPU's memory is too small"}
        _forget_all()
        for measure, value in found.items():
            cell = Cell(part.name, part.way, measure, value)
            print(*cell, sep=", ", flush=True)
            yield cell


def markdown(cells: list[Cell]) -> str:
    """A table of each part: ways down, measures across; parity's measures are `term: number`."""
    tables = []
    for part in dict.fromkeys(cell.part for cell in cells):
        values = {}
        for _, way, measure, value in (cell for cell in cells if cell.part == part):
            line, _, column = measure.rpartition(": ") if part == "parity" else (way, "", measure)
            values[line, column] = value
        lines, columns = (list(dict.fromkeys(names)) for names in zip(*values, strict=True))
        rows = [[part, *columns], ["---"] * (len(columns) + 1)]
        rows += [[line, *(_shown(values.get((line, column), "")) for column in columns)] for line in lines]
        tables.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(tables) + "\n"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tofu-smollm2", type=Path, metavar="FILES")
    parser.add_argument("--study", type=Path, default=Path("config/tofu-smollm2.yaml"))
    options = parser.parse_args(arguments)
    ends_at = time.monotonic() + 60 * options.minutes
    device = "cpu" if options.dry_run else torch.cuda.get_device_name()
    cells = [Cell("machine", device, "torch", torch.__version__)]
    cells += measured(step_parts(options.dry_run), ends_at)
    cells += measured(iter([Part("parity", "", 30, lambda: parity(options.dry_run))]), ends_at)
    if options.tofu_smollm2:
        study = Study.parse(plain.read(options.study), str(options.study))
        with tempfile.TemporaryDirectory() as folder:
            cells += measured(training_parts(study, options.tofu_smollm2, Path(folder)), ends_at)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "gpu.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Cell._fields, *cells])
    (options.out / "gpu.md").write_text(markdown(cells), encoding="utf-8")
    print(markdown(cells))


if __name__ == "__main__":
    main()
