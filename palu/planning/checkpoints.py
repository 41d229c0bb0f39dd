"""Whether the local models that a study names can be loaded and can read its rows: what the first stages would say.

Nothing is judged here. The stages' own functions are called, on the models' structure instead of their numbers, so
that `palu check` and a stage end with the same line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palu.errors import UserError
from palu.models.gguf import is_gguf
from palu.models.settings import ModelSettings
from palu.planning.data import Rows, Spans
from palu.study import Study

# Stands in for the rows of a benchmark that is on the hub
MADE_UP_ROW = {"example_id": "a made-up row", "prompt": "Where was Ann born?", "reply": "Ann was born in Oslo."}


def problems(study: Study, rows: Rows | None) -> tuple[list[str], list[str]]:
    """What keeps the study from running with the checkpoints that it names, and what runs otherwise than asked for
    with them, one line each.

    Those of the hub are not asked for. rows: none = not known.
    """
    samples = list(rows.samples) if rows else [(MADE_UP_ROW, [])]
    found: list[str] = []
    notes: list[str] = []
    if None in study.checkpoints.values():
        try:
            study.finetune.check_start(study.model)
        except UserError as error:
            found.append(str(error))
    for source in local_checkpoints(study):
        try:
            notes += check_checkpoint(source, study.model, samples)
        except UserError as error:
            found.append(str(error))
    return found, notes


def local_checkpoints(study: Study) -> list[str | Path]:
    """The local ones among the original, retain and base checkpoint and those that taggers compare with: folders, and
    GGUF files as the study names them."""
    model = study.model
    named = [model.checkpoint, model.retain_checkpoint, model.base_checkpoint]
    named += [tagger.against for tagger in study.taggers.values()]
    found = [name if is_gguf(name) else Path(name).expanduser() for name in named if name]
    return list(dict.fromkeys(each for each in found if isinstance(each, str) or each.is_dir()))


def check_checkpoint(
    source: str | Path, settings: ModelSettings, samples: Sequence[tuple[Mapping[str, Any], Spans]]
) -> list[str]:
    """Every check of a model, in the order of the stages: files, tokenizer, structure, rows as its tokens, self-check.

    Returns the notes of the self-check. Raises UserError as the stages do.
    """
    from palu import models, tokens
    from palu.models.storage import weight_files

    if isinstance(source, Path):
        weight_files(source)
    tokenizer = models.load_tokenizer(source)
    if isinstance(source, Path):
        models.tokenizer_fingerprint(source)
    model = models.check_model(source)
    rows: list[Mapping[str, Any]] = [row for row, _ in samples]
    spans = {row["example_id"]: [(span["char_start"], span["char_end"]) for span in own] for row, own in samples}
    tokens.encode(rows, tokenizer, settings, settings.max_length, spans)
    return models.structure_notes(model)
