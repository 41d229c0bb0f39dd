"""The loss of one step and its gradient norms, on a batch of tokens from a file: what `palu loss` prints.

It takes the path that training takes (`Loop.accumulate`: rows packed, `Head`, the reference's facts written to
Parquet and read back), so that numbers which other programs print for the same batch check all of it.

The file (safetensors) holds `forget`, `retain` and, for some methods, `forget_tagged` and `alternate*`; each has
`.input_ids`, `.attention_mask` and `.labels`, (B, T), padded on the right. A label is -100 where nothing is predicted;
in `forget_tagged` it is -200 at a common reply token, and any other marks a sensitive one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from palu import methods, models
from palu.errors import UserError
from palu.heads.projection import Projection
from palu.methods.base import MethodSettings
from palu.reference.cache import ReferencePaths, References
from palu.reference.states import Kept, write_states_of
from palu.reference.topk import write_topk_of
from palu.roles import COMMON, PROMPT, SENSITIVE
from palu.spans import run_offsets
from palu.tokens import TokenRow, collate
from palu.training.checkpoints import Checkpoints
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import UnlearnObjective
from palu.training.plan import Plan, StepRows
from palu.training.settings import TrainingSettings

NO_LABEL, COMMON_LABEL = -100, -200
# No state of the padding is read
PAD_ID = 0


def step_loss(
    method_name: str, settings: MethodSettings, policy_folder: Path, reference_folder: Path, batch_path: Path
) -> dict[str, Any]:
    """loss, terms (the unweighted mean of each), grad_norm and grad_norm_by_parameter (2-norms), in float32.

    policy_folder, reference_folder: the current model, and the frozen one.
    Raises UserError for a file that lacks what the method reads, and what loading a model raises.
    """
    batch_file = _BatchFile(batch_path)
    forget = batch_file.rows("forget_tagged" if settings.localized else "forget")
    retain = batch_file.rows("retain")
    alternates = batch_file.rows(batch_file.alternate_name()) if "alternates" in settings.needs else []
    policy, reference = (models.load_model(folder, "float32") for folder in (policy_folder, reference_folder))
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"forget": forget, "retain": retain, "alternate": alternates}
        paths = _write_reference(Path(folder), reference, kinds, settings)
        objective = UnlearnObjective(
            policy,
            methods.load(method_name),
            settings,
            References(
                settings.needs,
                paths,
                {},
                getattr(settings, "top_k", None),
                settings.reads_layer,
                getattr(settings, "first_n", None),
            ),
            models.output_head(reference),
        )
        loop = Loop(
            objective,
            Rows(forget, retain, PAD_ID, [[row] for row in alternates]),
            Plan(0, len(forget), len(retain), len(forget), 1, alternate_count=bool(alternates)),
            TrainingSettings(),
            Checkpoints(Path(folder), {}),
            Machine(),
        )
        chosen = StepRows([*range(len(forget))], [*range(len(retain))], [0] * len(alternates))
        totals, units = loop.accumulate(chosen)
    means = {term: totals[term] / units[term] for term in totals if units[term]}
    norms = {
        name: 0.0 if parameter.grad is None else parameter.grad.norm().item()
        for name, parameter in policy.named_parameters()
    }
    return {
        "loss": sum(settings.weights[term] * mean for term, mean in means.items()),
        "terms": means,
        "grad_norm": float(np.linalg.norm(list(norms.values()))),
        "grad_norm_by_parameter": norms,
    }


class _BatchFile:
    """The tensors of a batch file; every error names it."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        self.path = path
        try:
            self._tensors: dict[str, Tensor] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not a readable safetensors file: {error}") from None

    def alternate_name(self) -> str:
        """The one name of other replies; `alternate` where there is none."""
        found = {key.split(".")[0] for key in self._tensors if key.startswith("alternate")}
        return min(found, default="alternate")

    def rows(self, name: str) -> list[TokenRow]:
        """The rows of part `name`, their roles read from the labels.

        Raises UserError when the part is missing or a row's labels are not its last tokens.
        """
        try:
            columns = [self._tensors[f"{name}.{key}"].numpy() for key in ("input_ids", "attention_mask", "labels")]
        except KeyError as error:
            held = ", ".join(sorted({key.split(".")[0] for key in self._tensors}))
            raise UserError(f"{self.path}: holds no tensor {error}; its parts are {held}") from None
        return [self._row(name, i, *row) for i, row in enumerate(zip(*columns, strict=True))]

    def _row(self, name: str, index: int, input_ids: Any, mask: Any, labels: Any) -> TokenRow:
        length = int(mask.sum())
        labels = labels[:length]
        reply_start = int((labels != NO_LABEL).argmax())
        if not mask[:length].all() or (labels[reply_start:] == NO_LABEL).any():
            raise UserError(f"{self.path}: row {index} of {name!r}: allowed: padding on the right, labels at the end")
        is_sensitive = (labels != NO_LABEL) & (labels != COMMON_LABEL) & (name == "forget_tagged")
        role = np.where(is_sensitive, SENSITIVE, COMMON).astype(np.int8)
        role[:reply_start] = PROMPT
        nowhere = np.zeros(length, dtype=np.int32)
        return TokenRow(
            example_id=f"{name}/{index}",
            input_ids=input_ids[:length].astype(np.int32),
            reply_start=reply_start,
            role=role,
            span_offset=run_offsets(is_sensitive),
            char_start=nowhere,
            char_end=nowhere,
            truncated=False,
        )


def _write_reference(
    folder: Path, reference: Any, rows: dict[str, list[TokenRow]], settings: MethodSettings
) -> ReferencePaths:
    """What the method needs of the frozen model, as files."""
    facts = {"dtype": "float32"}
    needs = settings.needs

    def states(name: str, kept: Kept) -> Path:
        path = folder / f"{name}.{kept.layer}.parquet"
        write_states_of(reference, [collate(rows[name], PAD_ID)], path, facts, kept)
        return path

    paths: dict[str, Path] = {}
    if needs & {"states", "log_probs", "top_k"}:
        paths["states"] = states("forget", Kept())
    if "top_k" in needs:
        paths["topk"] = folder / "topk.parquet"
        head = Projection(*models.output_head(reference))
        first_n = getattr(settings, "first_n", None)
        write_topk_of([rows["forget"]], paths["states"], head, len(head.weight), paths["topk"], facts, first_n)
    if "retain_states" in needs:
        paths["retain_states"] = states("retain", Kept())
    if "retain_layer_states" in needs:
        paths["retain_layer_states"] = states("retain", Kept(settings.reads_layer))
    if "alternates" in needs:
        paths["alternates"] = states("alternate", Kept(hidden=False))
    return ReferencePaths(**paths)
