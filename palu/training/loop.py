"""The training loop that finetuning and unlearning share: micro-batches, optimiser, checkpoints, log, progress."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from palu import models
from palu.progress import progress_bar
from palu.training.checkpoints import Checkpoints, State, leave_out_frozen
from palu.training.log import StepFacts, StepLog, check_finite
from palu.training.objective import MicroBatch, Objective, micro_batch
from palu.training.optimizers import build_optimizer, build_scheduler
from palu.training.plan import Plan, RowGroup, StepRows, cut
from palu.training.processes import (
    ddp_options,
    gathers_in,
    is_alone,
    is_sharded,
    make_deterministic,
    whole_number,
    whole_weights,
)
from palu.training.settings import MachineSettings, TrainingSettings
from palu.training.stop import Stop
from palu.training.trackers import check_trackers, tracked_values, tracking

if TYPE_CHECKING:
    from torch import Tensor

    from palu.tokens import TokenRow

logger = logging.getLogger(__name__)

# Called with an epoch and, where processes hold the model in parts, its gathered weights
SaveModel = Callable[[int, "dict[str, Tensor] | None"], None]


@dataclass(frozen=True)
class Rows:
    """What a plan's indices mean: items are forget rows (or all rows of a finetuning), partners are retain rows.

    alternates: the other replies of each item, as many for each, or none at all.
    """

    items: Sequence[TokenRow]
    partners: Sequence[TokenRow]
    pad_id: int
    alternates: Sequence[Sequence[TokenRow]] = ()

    def whole(self) -> RowGroup:
        """All rows, each item beside its first alternate."""
        return RowGroup(list(self.items), list(self.partners), [choices[0] for choices in self.alternates])

    def group(self, chosen: StepRows) -> RowGroup:
        """The rows of these indices."""
        return RowGroup(
            [self.items[i] for i in chosen.items],
            [self.partners[i] for i in chosen.partners],
            [self.alternates[i][k] for i, k in zip(chosen.items, chosen.alternates, strict=False)],
        )


class Machine(MachineSettings):
    """The same, with what only a program can say. after_step: called with the number of finished steps."""

    after_step: Callable[[int], None] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """log: every step, also those before an interruption. resumed_from: steps that were already done, 0 for none.

    epochs: those that were trained. validation: see `palu.training.stop`, after each of them; empty where nothing is
    watched. packed: whether rows shared lines; packing_fault: why the model does not allow it, where it was asked for.
    is_main_process: whether this process writes the results. processes: how many trained. weights: of the
    model, where the processes hold it in parts.
    """

    log: StepLog
    resumed_from: int
    epochs: int
    validation: list[float]
    packed: bool
    packing_fault: str | None
    is_main_process: bool
    processes: int
    weights: dict[str, Tensor] | None


class Loop:
    """One run: the steps of `plan` on `objective.model`, in place, from the newest checkpoint where there is one."""

    def __init__(
        self,
        objective: Objective,
        rows: Rows,
        plan: Plan,
        settings: TrainingSettings,
        checkpoints: Checkpoints,
        machine: Machine,
        log_folder: Path = Path("logs"),
        stop: Stop | None = None,
    ) -> None:
        """log_folder: where the machine's trackers write, if it has any. stop: what may end training early."""
        self.objective, self.rows, self.plan, self.settings = objective, rows, plan, settings
        self.checkpoints, self.stop = checkpoints, stop
        # a method may change its weights from step to step
        self.weights = objective.weights
        check_trackers(machine.trackers)
        if machine.gradient_checkpointing:
            models.recompute_blocks(objective.model)
        self.log_folder = log_folder
        if machine.deterministic:
            make_deterministic()
        self.accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            # accelerate would step the schedule once per process, not once per step
            step_scheduler_with_optimizer=False,
            kwargs_handlers=[ddp_options(objective.uses_all_parameters)],
            log_with=list(machine.trackers) or None,
            project_dir=log_folder,
        )
        # both are measured on the whole model, before processes cut it up
        models.output_head(objective.model)
        self.packing_fault = models.packing_fault(objective.model) if machine.packed else None
        packed = self._agreed(machine.packed and self.packing_fault is None)
        self.machine = machine.model_copy(update={"packed": packed})
        if self.packing_fault and self.accelerator.is_main_process:
            logger.warning("machine.packed: off, each row takes a line of its own: %s", self.packing_fault)
        objective.adds_to_grad = is_alone(self.accelerator)
        leave_out_frozen(self.accelerator)
        optimizer = build_optimizer(objective, settings, self.accelerator.device, is_sharded(self.accelerator))
        scheduler = build_scheduler(optimizer, settings, plan.steps_per_epoch)
        self.module, self.optimizer, self.scheduler = self.accelerator.prepare(objective, optimizer, scheduler)
        if is_sharded(self.accelerator):
            gathers_in(objective, "row_log_probs")

    def run(self, keep_epochs: Collection[int], save_model: SaveModel) -> TrainingResult:
        """Train to the end of the plan, or until `stop` is reached.

        save_model: called in the main process at the end of each epoch of `keep_epochs` (1 = the first).
        Raises UserError for a loss that is not finite and for a disk that is full.
        """
        plan, is_main = self.plan, self.accelerator.is_main_process
        restored = self.checkpoints.restore(self.accelerator, keep_epochs, plan.steps_per_epoch)
        first_step, log, validation = restored.step, restored.log, restored.validation
        self.weights |= restored.weights or {}
        is_over, saved_at = self._is_over(validation), time.monotonic()
        tracked = tracking(self.accelerator, self.settings, self.log_folder, first_step)
        with tracked, progress_bar("training", plan.step_count, "step", first_step, is_silent=not is_main) as bar:
            for index in range(first_step, plan.step_count):
                if is_over:
                    break
                facts = self._step(index)
                log.add(facts)
                self.accelerator.log(tracked_values(facts), facts.step)
                bar.set_postfix(loss=f"{facts.loss:.4g}", lr=f"{facts.learning_rate:.2g}", refresh=False)
                bar.update()
                epoch, rest = divmod(facts.step, plan.steps_per_epoch)
                if rest == 0:
                    validation += self._validated()
                    is_over = self._is_over(validation)
                if rest == 0 and epoch in keep_epochs:
                    weights = whole_weights(self.accelerator, self.module)
                    if is_main:
                        save_model(epoch, weights)
                if self._agreed(time.monotonic() - saved_at >= self.machine.checkpoint_seconds):
                    self.checkpoints.save(self.accelerator, State(facts.step, log, self.weights, validation))
                    saved_at = time.monotonic()
                if self.machine.after_step is not None:
                    self.machine.after_step(facts.step)
        return TrainingResult(
            log=log,
            resumed_from=first_step,
            epochs=log.steps // plan.steps_per_epoch,
            validation=validation,
            packed=self.machine.packed,
            packing_fault=self.packing_fault,
            is_main_process=is_main,
            processes=self.accelerator.num_processes,
            weights=whole_weights(self.accelerator, self.module),
        )

    def _validated(self) -> list[float]:
        """The mean probability of the rows that training is stopped on, if there are any."""
        if self.stop is None:
            return []
        return [self.stop.mean_probability(self.accelerator, self.objective, self.rows.pad_id, self.machine)]

    def _is_over(self, validation: Sequence[float]) -> bool:
        return self.stop is not None and self._agreed(self.stop.is_reached(validation))

    def _step(self, index: int) -> StepFacts:
        """Optimiser step `index` (0-based): gradients of all its micro-batches, then one update of the weights."""
        started_at = time.monotonic()
        chosen = self.plan.step(index)
        totals, units = self.accumulate(chosen)
        limit = self.settings.max_grad_norm if self.settings.max_grad_norm is not None else math.inf
        grad_norm = whole_number(self.accelerator.clip_grad_norm_(self.module.parameters(), limit))
        learning_rate: float = self.scheduler.get_last_lr()[0]
        weights = self.weights
        weighted = {term: total for term, total in totals.items() if weights[term] and units[term]}
        check_finite(weighted | {"gradient norm": grad_norm}, index + 1, self.plan.step_count, learning_rate)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        epoch = (index + 1) / self.plan.steps_per_epoch
        means = {term: totals[term] / units[term] for term in totals if units[term]}
        changed = self.objective.next_weights(weights, means, epoch)
        # sums are taken in the order of the terms, which a resumed run must repeat
        self.weights = {term: changed[term] for term in weights}
        return StepFacts(
            step=index + 1,
            epoch=epoch,
            totals=totals,
            units=units,
            weights=weights,
            item_count=len(chosen.items),
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            seconds=time.monotonic() - started_at,
        )

    def accumulate(self, chosen: StepRows) -> tuple[dict[str, float], dict[str, int]]:
        """Add the gradient of one step's loss to the parameters; return each term's sum and units over the step."""
        batches, units, passes = self._micro_batches(chosen)
        return self._pass_back(batches, units, passes), units

    def _micro_batches(self, chosen: StepRows) -> tuple[list[MicroBatch], dict[str, int], int]:
        """This process's micro-batches of a step, the units of each term over the step in all processes, and how many
        passes of the model each process makes.

        Every process knows the whole plan, so they agree on both without a message.
        """
        processes, mine = self.accelerator.num_processes, self.accelerator.process_index
        shares: list[list[MicroBatch]] = []
        units = Counter(dict.fromkeys(self.objective.weights, 0))
        for process in range(processes):
            groups = self._cut(self.rows.group(chosen.share(process, processes)))
            shares.append([self._laid_out(group) for group in groups])
            for batch in shares[-1]:
                units.update(self.objective.units(batch))
        # sharded processes gather each other's weights in each pass; others meet in the last one, for the gradients
        waiting = shares if is_sharded(self.accelerator) else [shares[mine]]
        return shares[mine], dict(units), max(1, *map(len, waiting))

    def _pass_back(self, batches: list[MicroBatch], units: dict[str, int], passes: int) -> dict[str, float]:
        """Run the micro-batches forward and backward; return each term's sum over the step, in all processes."""
        accelerator, weights = self.accelerator, self.weights
        # distributed training averages the gradients of the processes, and a step's loss is their sum
        processes = accelerator.num_processes
        scale = {t: processes * weights[t] / units[t] if units[t] else 0.0 for t in weights}
        sums = torch.zeros(len(weights), dtype=torch.float64, device=accelerator.device)
        for nth in range(passes):
            has_rows = nth < len(batches)
            # a pass that this process has no rows for adds nothing: some row, no factor
            batch = batches[nth] if has_rows else self._laid_out(self.rows.group(self.plan.step(0).first()))
            factors = scale if has_rows else dict.fromkeys(scale, 0.0)
            # a step without a unit of any weighted term still takes its (empty) part in the schedule
            terms = [term for term in factors if factors[term]] or list(factors)
            with nullcontext() if nth == passes - 1 else accelerator.no_sync(self.module):
                totals = self.module(batch, factors)
                loss = torch.stack([factors[term] * totals[term] for term in terms]).sum()
                if loss.requires_grad:
                    accelerator.backward(loss)
            if has_rows:
                sums += torch.stack([totals[term].detach().double() for term in weights])
        if processes > 1:
            sums = accelerator.reduce(sums, reduction="sum")
        return dict(zip(weights, sums.tolist(), strict=True))

    def _cut(self, group: RowGroup) -> list[RowGroup]:
        return cut(group, self.machine.micro_batch_tokens, self.machine.packed)

    def _laid_out(self, group: RowGroup) -> MicroBatch:
        return micro_batch(group, self.rows.pad_id, self.machine.packed)

    def _agreed(self, wish: bool) -> bool:
        """The main process's wish: clocks and rounding differ, and all processes must do the same."""
        if self.accelerator.num_processes == 1:
            return wish
        answer = [wish]
        broadcast_object_list(answer)
        return answer[0]
