"""What an evaluation costs, pass by pass: `python tests/benchmarks/evaluate.py --model DIR --reference-model DIR`.

Without --model the village's rows are read by an untrained model of their size. Prints for each pass its rows, how
many rows went through the model for each (equal rows are judged once, a generated token is one more step), the
seconds and rows per second, and its share; then the whole command's seconds, imports and benchmark included.
--backward also times the gradient norms row by row, in turns with the vectorised pass.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palu import benchmarks, tables
from palu.evaluation import gradnorm, infer
from palu.evaluation.evidence import EvidencePaths
from palu.evaluation.infer import Subject
from palu.evaluation.items import Items, asked_rows, attacked_among, attacked_rows, read_rows
from palu.evaluation.score import score
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.models import Architecture, ModelSettings, build_from_scratch, save_model
from palu.stored import StoredRows

SETTINGS = EvaluationSettings(fluency=FluencySettings(classifier=None))


def untrained(folder: Path, examples: list[dict[str, Any]]) -> Path:
    """A model of the village's size that has learnt nothing."""
    architecture = Architecture(vocab_size=2048, hidden_size=64, intermediate_size=176, max_positions=512)
    model, tokenizer = build_from_scratch(architecture, [row["prompt"] + row["reply"] for row in examples], seed=0)
    save_model(model, tokenizer, folder)
    return folder


@contextmanager
def counted(model: Any) -> Iterator[list[int]]:
    """Rows that went through the model's body."""
    passed: list[int] = []
    hook = model.base_model.register_forward_pre_hook(
        lambda _module, _args, values: passed.append(values["input_ids"].shape[0]), with_kwargs=True
    )
    try:
        yield passed
    finally:
        hook.remove()


def timed(title: str, rows: int, subject: Subject | None, run: Callable[[], object]) -> tuple[str, int, float, float]:
    """The pass's title, rows, rows through the model for each row, and seconds."""
    if subject is None:
        start = time.perf_counter()
        run()
        return title, rows, 0.0, time.perf_counter() - start
    with counted(subject.model) as passed:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    return title, rows, sum(passed) / max(rows, 1), seconds


def show(results: list[tuple[str, int, float, float]]) -> None:
    """Print the table of passes."""
    whole = sum(seconds for *_, seconds in results)
    print(f"{'pass':30}{'rows':>7}{'passes/row':>12}{'s':>8}{'rows/s':>9}{'share':>8}")
    for title, rows, passes, seconds in results:
        told = f"{passes:12.2f}" if passes else f"{'-':>12}"
        print(f"{title:30}{rows:7}{told}{seconds:8.2f}{rows / seconds:9.0f}{seconds / whole:8.0%}")
    print(f"{'all passes':49}{whole:8.2f}")


def main() -> None:
    """Time every pass, then the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--reference-model", type=Path)
    parser.add_argument("--data", help="a folder in TOFU's layout; none = the village's rows")
    parser.add_argument("--forget-split", default="forget05")
    parser.add_argument("--template", default="llama2-chat")
    parser.add_argument("--backward", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        name = "tofu" if options.data else "village"
        values = {"source": options.data, "split": options.forget_split} if options.data else {}
        settings = benchmarks.load(name).Settings.parse(values, name)
        start = time.perf_counter()
        benchmarks.prepare(name, settings, folder / "examples.parquet", folder / "gold.parquet")
        prepared = time.perf_counter() - start
        examples = tables.rows(folder / "examples.parquet", "examples")
        model = options.model or untrained(folder / "model", examples)
        results = passes(model, options.reference_model or model, folder, options.template, options.backward)
        show([("benchmark's rows", len(examples), 0.0, prepared), *results])
        command = ["--model", str(model), "--benchmark", name, "--template", options.template]
        command += ["--reference-model", str(options.reference_model or model), "--out", str(folder / "whole")]
        command += ["--data", options.data, "--forget-split", options.forget_split] if options.data else []
        command += ["--settings", "fluency: {classifier: null}"]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "palu", "evaluate", *command], check=True, capture_output=True)
        print(f"palu evaluate, the whole command: {time.perf_counter() - start:.1f} s")


def passes(
    model: Path, reference: Path, folder: Path, template: str, backward: bool
) -> list[tuple[str, int, float, float]]:
    """Time each pass once."""
    path = folder / "examples.parquet"
    examples: StoredRows[dict[str, Any]] = StoredRows(path, "examples")
    found = Items(examples)
    items = {part: found.of(part) for part in SETTINGS.parts}
    every = [item for own in items.values() for item in own]
    read, asked, attacked = (
        list(rows) for rows in (read_rows(every, SETTINGS), asked_rows(every, SETTINGS), attacked_rows(items))
    )
    told = ModelSettings(template=template)
    subject, other = (Subject(each, path, told, SETTINGS, None) for each in (model, reference))
    out = {
        "logprobs": folder / infer.LOGPROBS_NAME,
        "generations": folder / infer.GENERATIONS_NAME,
        "gradient_norms": folder / infer.GRADIENT_NORMS_NAME,
        "reference": folder / infer.REFERENCE_NAME,
    }
    results = [
        timed(
            "log-probabilities",
            len(read),
            subject,
            lambda: subject.write_logprobs(out["logprobs"], lambda: iter(read), attacked_among(items)),
        ),
        timed(
            "generations",
            len(asked),
            subject,
            lambda: subject.write_generations(out["generations"], lambda: iter(asked)),
        ),
        timed(
            "gradient norms (and backward)",
            len(attacked),
            None,
            lambda: subject.write_gradient_norms(out["gradient_norms"], lambda: iter(attacked)),
        ),
        timed(
            "reference's log-probabilities",
            len(attacked),
            other,
            lambda: other.write_logprobs(out["reference"], lambda: iter(attacked), []),
        ),
        timed("arithmetic", len(examples), None, lambda: score(EvidencePaths(path, **out), folder, SETTINGS)),
    ]
    if backward:
        rows = subject.encoded(attacked)
        for title, run in (("row by row", gradnorm.one_by_one), ("vectorised", None)):
            start = time.perf_counter()
            if run is None:
                gradnorm.gradient_norms(subject.model, rows)
            else:
                for row in rows:
                    run(subject.model, [row])
            print(f"gradient norms of {len(rows)} rows, {title}: {time.perf_counter() - start:.2f} s")
    return results


if __name__ == "__main__":
    main()
