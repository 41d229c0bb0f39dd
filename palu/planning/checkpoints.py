"""Whether the local models that a study names can be loaded and can read its rows: what the first stages would say.

Nothing is judged here. The stages' own functions are called, on the models' structure instead of their numbers, so
that `palu check` and a stage end with the same line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palu.errors import UserError
from palu.models.settings import ModelSettings
from palu.planning.data import Rows, Spans
from palu.study import Study

# Stands in for the rows of a benchmark that is on the hub
MADE_UP_ROW = {"example_id": "a made-up row", "prompt": "Where was Ann born?", "reply": "Ann was born in Oslo."}


def problems(study: Study, rows: Rows | None) -> list[str]:
    """What keeps the study from running with the checkpoints that it names, one line each.

    Those of the hub are not asked for. rows: none = not known.
    """
    samples = list(rows.samples) if rows else [(MADE_UP_ROW, [])]
    found: list[str] = []
    if None in study.checkpoints.values():
        try:
            study.finetune.check_start(study.model)
        except UserError as error:
            found.append(str(error))
    for folder in local_folders(study):
        try:
            check_checkpoint(folder, study.model, samples)
        except UserError as error:
            found.append(str(error))
    return found


def local_folders(study: Study) -> list[Path]:
    """The folders of the original, retain and base checkpoint and of those that taggers compare with."""
    model = study.model
    named = [model.checkpoint, model.retain_checkpoint, model.base_checkpoint]
    named += [tagger.against for tagger in study.taggers.values()]
    folders = [Path(name).expanduser() for name in named if name]
    return list(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def check_checkpoint(
    folder: Path, settings: ModelSettings, samples: Sequence[tuple[Mapping[str, Any], Spans]]
) -> None:
    """Every check of a model, in the order of the stages: files, tokenizer, structure, head, and rows as its tokens.

    Raises UserError as the stages do.
    """
    from palu import models, tokens
    from palu.models.storage import weight_files

    weight_files(folder)
    tokenizer = models.load_tokenizer(folder)
    models.tokenizer_fingerprint(folder)
    model = models.check_model(folder)
    models.output_head(model)
    rows: list[Mapping[str, Any]] = [row for row, _ in samples]
    spans = {row["example_id"]: [(span["char_start"], span["char_end"]) for span in own] for row, own in samples}
    tokens.encode(rows, tokenizer, settings, settings.max_length, spans)
