"""Everything about a study that can be said before it runs: is it sound, what will it do, and will it fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palu.errors import UserError
from palu.planning import checkpoints, data, jobs, lacking, sizes
from palu.planning.machine import Room, room
from palu.planning.model import ModelFacts, starting_model
from palu.study import Run, Study
from palu.training.settings import steps_per_epoch

# More lines than these of one kind are counted, not shown.
SHOWN_PROBLEMS = 20
# What a tagger other than the benchmark's own spans is taken to mark.
SENSITIVE_SHARE = 0.3


@dataclass
class Findings:
    """What `check` found: lines to read, and problems, each in one line, that keep the study from running."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def told(self) -> str:
        """All of it as text that ends in a newline."""
        more = len(self.problems) - SHOWN_PROBLEMS
        listed = [f"problem: {problem}" for problem in self.problems[:SHOWN_PROBLEMS]]
        listed += [f"problem: and {more} more"] if more > 0 else []
        return "\n".join([*self.lines, *listed, "nothing is wrong" if not self.problems else ""]).rstrip() + "\n"


def check(values: Mapping[str, Any], place: str, here: Room | None = None) -> Findings:
    """Validate a study, its data and its local models, count its jobs and estimate what they need; nothing is run or
    downloaded.

    values: the study's plain values; place: its file, for errors. here: the machine (default: this one).
    """
    found = Findings()
    try:
        study = Study.parse(values, place)
    except UserError as error:
        found.problems.append(str(error))
        return found
    found.lines.append(f"study {study.name} ({place})")
    model = _model(study, found)
    rows = _rows(study, model, found)
    _check_taggers(study, rows, found)
    problems, notes = checkpoints.problems(study, rows)
    found.problems += [line for line in problems if line not in found.problems]
    found.lines += [f"note: {note}" for note in notes]
    found.problems += lacking.problems(study)
    found.lines += [f"warning: {line}" for line in lacking.warnings(study)]
    if not found.problems:
        try:
            found.lines.append(_jobs_line(jobs.planned(values)))
        except UserError as error:
            found.problems.append(str(error))
    if rows is not None and not any(facts.documents for facts in rows.forget):
        count = sum(facts.rows for facts in rows.forget)
        found.lines += [_steps_line(run, count) for run in _first_of_each(study.runs)]
    if model is not None:
        _estimate(study, model, rows, here or room(Path()), found)
    return found


def _model(study: Study, found: Findings) -> ModelFacts | None:
    try:
        facts = starting_model(study.model)
    except UserError as error:
        found.problems.append(str(error))
        return None
    if isinstance(facts, str):
        found.lines.append(f"model {study.model.name}: not measured: {facts}")
        return None
    origin = "up to " if facts.folder is None else ""
    found.lines.append(
        f"model {study.model.name}: {origin}{_count(facts.parameters)} parameters, {study.model.dtype}, "
        f"{'trained here from nothing' if facts.folder is None else str(facts.folder)}"
    )
    return facts


def _rows(study: Study, model: ModelFacts | None, found: Findings) -> data.Rows | None:
    benchmark = study.benchmark
    try:
        found.problems += data.problems(benchmark)
        tokenizer = data.tokenizer_of(model.folder if model else None)
        rows = (
            None if found.problems else data.read(benchmark, tokenizer, study.model.max_length, study.model.template)
        )
    except UserError as error:
        found.problems.append(str(error))
        return None
    if not isinstance(rows, data.Rows):
        found.lines.append(f"benchmark {benchmark.name}: {rows or 'not counted: see the problems'}")
        return None
    counts = ", ".join(f"{part} {facts.rows}" for part, facts in rows.parts.items() if facts.rows)
    found.lines.append(f"benchmark {benchmark.name}: rows: {counts} ({rows.source})")
    found.lines += [f"note: {note}" for note in benchmark.settings.notes]
    kind = (
        "by the model's tokenizer"
        if tokenizer
        else f"at {data.CHARACTERS_PER_TOKEN} characters each: no tokenizer here"
    )
    counts = ", ".join(f"{part} {facts.tokens}" for part, facts in rows.parts.items() if facts.rows)
    found.lines.append(f"tokens of replies: {counts} ({kind})")
    for part, facts in rows.parts.items():
        if facts.span_rows:
            share = facts.span_characters / facts.characters
            found.lines.append(
                f"spans of {part}: in {facts.span_rows} of {facts.rows} rows, over {share:.1%} of their characters"
            )
        if part == "forget" and 0 < facts.wrong_rows < facts.rows:
            found.lines.append(
                f"note: {facts.wrong_rows} of {facts.rows} rows to forget have wrong replies: only these are evaluated"
            )
    return rows


def _check_taggers(study: Study, rows: data.Rows | None, found: Findings) -> None:
    for tagger in study.taggers.values():
        lacking = [path for path in tagger.settings.files if not Path(path).exists()]
        found.problems += [f"taggers.{tagger.label}: {path}: no such file" for path in lacking]
        reads_gold = tagger.name == "annotations" and not tagger.settings.files
        if reads_gold and rows and not any(facts.span_rows for facts in rows.forget):
            found.problems.append(
                f"taggers.{tagger.label}: reads the benchmark's own spans, and no row to forget has any; allowed: "
                "spans in the rows, annotations.path, or another tagger"
            )


def _steps_line(run: Run, rows: int) -> str:
    training = run.training
    each = steps_per_epoch(rows, training.batch_size, training.last_step)
    return f"steps of one run of {run.label}: {each * training.epochs} ({each} in each of {training.epochs} epochs)"


def _jobs_line(planned: Mapping[str, int]) -> str:
    if not planned:
        return "jobs: nothing to do: all is there"
    listed = ", ".join(f"{rule} {count}" for rule, count in planned.items())
    return f"jobs: {sum(planned.values())}: {listed}"


def _estimate(study: Study, model: ModelFacts, rows: data.Rows | None, here: Room, found: Findings) -> None:
    limit, whose = (here.gpu_memory, "GPU") if here.gpu_memory else (here.memory, "machine")
    for run in _first_of_each(study.runs):
        parts = sizes.run_memory(run, model, study, "cuda" if here.gpu_memory else "cpu")
        need = sum(parts.values())
        listed = ", ".join(f"{name} {_size(value)}" for name, value in parts.items() if value)
        found.lines.append(f"memory of one run of {run.label}: {_size(need)} ({listed})")
        if need > limit:
            found.lines.append(f"warning: {run.label} needs {_size(need)}, and the {whose} has {_size(limit)}")
    disk = disk_parts(study, model, rows)
    need = sum(disk.values())
    listed = ", ".join(f"{name} {_size(value)}" for name, value in disk.items() if value)
    lacking = "" if rows else "; without the reference's states, whose rows are not known"
    found.lines.append(f"disk: {_size(need)} ({listed}{lacking}); free: {_size(here.free_disk)}")
    if need > here.free_disk:
        found.lines.append(f"warning: the files need {_size(need)}, and {_size(here.free_disk)} are free here")


def disk_parts(study: Study, model: ModelFacts, rows: data.Rows | None) -> dict[str, float]:
    """What -> bytes that the study's files take, done or not: models that are trained here, the kept epochs among
    them (of one run where they do not stay), one run's checkpoints, and what is cached of the reference. Tables of
    text size are left out."""
    epochs = len(study.trajectory_epochs)
    trained = sum(source is None for source in study.checkpoints.values())
    written = [sizes.model_bytes(run, model, study) for run in study.runs]
    epoch_models = sum(written) if study.machine.keep_epoch_models else max(written, default=0.0)
    found = {
        "models": trained * sizes.model_bytes(None, model, study) + sum(written) + epochs * epoch_models,
        "checkpoints": max((sizes.checkpoint_bytes(run, model, study) for run in study.runs), default=0.0),
    }
    if rows is None:
        return found
    forget = sum(facts.tokens for facts in rows.forget)
    # each precision of training has its own reference; taggers read that of the default
    precisions = {run.training.mixed_precision: run.training.weights_dtype(study.model.dtype) for run in study.runs}
    for precision, dtype in ({"no": study.model.dtype} | precisions).items():
        runs = [run for run in study.runs if run.training.mixed_precision == precision]
        needs = frozenset[str]().union(*(run.settings.needs for run in runs))
        is_tagged = any("states" in tagger.settings.needs for tagger in study.taggers.values()) and precision == "no"
        layers = {run.settings.reads_layer for run in runs if "retain_layer_states" in run.settings.needs}
        for part, tokens, tables in (
            ("states", forget, bool(needs & {"states", "log_probs", "top_k"} or is_tagged)),
            ("retain states", rows.tokens("retain"), len(layers) + ("retain_states" in needs)),
        ):
            found[part] = found.get(part, 0) + tables * sizes.states_bytes(tokens, model, dtype)
    ranked = {
        (run.tagger.key, run.training.mixed_precision): run.tagger
        for run in study.runs
        if run.tagger and "top_k" in run.settings.needs
    }
    characters = sum(facts.characters for facts in rows.forget) or 1
    gold = sum(facts.span_characters for facts in rows.forget) / characters
    for tagger in ranked.values():
        share = gold if tagger.name == "annotations" and not tagger.settings.files else SENSITIVE_SHARE
        found["top-K"] = found.get("top-K", 0) + sizes.top_k_bytes(share * forget, study.reference.top_k, model)
    return found


def _first_of_each(runs: tuple[Run, ...]) -> list[Run]:
    """The first run under every name of `methods`: the others of a grid need as much, or nearly."""
    return list({run.label: run for run in reversed(runs)}.values())[::-1]


def _size(size: float) -> str:
    """Bytes in the unit that suits them, of powers of 1000."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} bytes"


def _count(number: int) -> str:
    for unit, name in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if number >= unit:
            return f"{number / unit:.2f}{name}"
    return str(number)
