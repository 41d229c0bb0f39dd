"""The training loop that finetuning and unlearning share: micro-batches, optimiser, checkpoints, log, progress."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list
from torch import nn
from tqdm import tqdm
from transformers import get_scheduler

from palu.training.checkpoints import Checkpoints, State
from palu.training.log import StepFacts, StepLog, check_finite
from palu.training.objective import MicroBatch, Objective, micro_batch
from palu.training.plan import Plan, RowGroup, StepRows, cut
from palu.training.settings import TrainingSettings

if TYPE_CHECKING:
    from palu.tokens import TokenRow

# transformers' names of our schedules; all of them begin with the warm-up
_SCHEDULES = {"linear": "linear", "constant": "constant_with_warmup", "cosine": "cosine"}


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


@dataclass(frozen=True)
class Machine:
    """Knobs that leave the result alone, but for rounding.

    micro_batch_tokens: tokens that go through the model at once, padding included. packed: whether rows share lines,
    without padding (see `palu.tokens`). checkpoint_seconds: time between two saved
    states (0: after every step). after_step: called with the number of finished steps.
    """

    micro_batch_tokens: int = 4096
    packed: bool = True
    checkpoint_seconds: float = 300.0
    after_step: Callable[[int], None] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """log: every step, also those before an interruption. resumed_from: steps that were already done, 0 for none.

    is_main_process: whether this process writes the results.
    """

    log: StepLog
    resumed_from: int
    is_main_process: bool


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only, not on the scales of norms and on biases."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> Any:
    """The learning rate of step s (0-based): s / warm-up steps while warming up, then the schedule until the end."""
    return get_scheduler(
        _SCHEDULES[settings.schedule],
        optimizer,
        num_warmup_steps=round(settings.warmup_epochs * steps_per_epoch),
        num_training_steps=settings.epochs * steps_per_epoch,
    )


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
    ) -> None:
        self.objective, self.rows, self.plan, self.settings = objective, rows, plan, settings
        self.checkpoints, self.machine = checkpoints, machine
        # a method may change its weights from step to step
        self.weights = objective.weights
        self.accelerator = Accelerator(
            mixed_precision=settings.mixed_precision,
            # accelerate would step the schedule once per process, not once per step
            step_scheduler_with_optimizer=False,
            # our buffers are constants: to send them at each pass is waste
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        optimizer = build_optimizer(objective, settings)
        scheduler = build_scheduler(optimizer, settings, plan.steps_per_epoch)
        self.module, self.optimizer, self.scheduler = self.accelerator.prepare(objective, optimizer, scheduler)

    def run(self, keep_epochs: Collection[int], save_model: Callable[[int], None]) -> TrainingResult:
        """Train to the end of the plan.

        save_model: called in the main process at the end of each epoch of `keep_epochs` (1 = the first).
        Raises UserError for a loss that is not finite and for a disk that is full.
        """
        plan, is_main = self.plan, self.accelerator.is_main_process
        restored = self.checkpoints.restore(self.accelerator, keep_epochs, plan.steps_per_epoch)
        first_step, log = restored.step, restored.log
        self.weights = restored.weights or self.weights
        saved_at = time.monotonic()
        with self._progress_bar(first_step) as bar:
            for index in range(first_step, plan.step_count):
                facts = self._step(index)
                log.add(facts)
                bar.set_postfix(loss=f"{facts.loss:.4g}", lr=f"{facts.learning_rate:.2g}", refresh=False)
                bar.update()
                epoch, rest = divmod(facts.step, plan.steps_per_epoch)
                if rest == 0 and epoch in keep_epochs and is_main:
                    save_model(epoch)
                if self._agreed(time.monotonic() - saved_at >= self.machine.checkpoint_seconds):
                    self.checkpoints.save(self.accelerator, State(facts.step, log, self.weights))
                    saved_at = time.monotonic()
                if self.machine.after_step is not None:
                    self.machine.after_step(facts.step)
        return TrainingResult(log, first_step, is_main)

    def _step(self, index: int) -> StepFacts:
        """Optimiser step `index` (0-based): gradients of all its micro-batches, then one update of the weights."""
        started_at = time.monotonic()
        chosen = self.plan.step(index)
        totals, units = self.accumulate(chosen)
        limit = self.settings.max_grad_norm if self.settings.max_grad_norm is not None else math.inf
        grad_norm = float(self.accelerator.clip_grad_norm_(self.module.parameters(), limit))
        learning_rate: float = self.scheduler.get_last_lr()[0]
        weights = self.weights
        weighted = {term: total for term, total in totals.items() if weights[term] and units[term]}
        check_finite(weighted | {"gradient norm": grad_norm}, index + 1, self.plan.step_count, learning_rate)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        epoch = (index + 1) / self.plan.steps_per_epoch
        means = {term: totals[term] / units[term] for term in totals if units[term]}
        self.weights = self.objective.next_weights(weights, means, epoch)
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
        batches, units = self._micro_batches(chosen)
        return self._pass_back(batches, units), units

    def _micro_batches(self, chosen: StepRows) -> tuple[list[MicroBatch], dict[str, int]]:
        """This process's micro-batches of a step, and the units of each term over the step in all processes.

        Every process knows the whole plan, so they agree on the units without a message.
        """
        processes, mine = self.accelerator.num_processes, self.accelerator.process_index
        own: list[MicroBatch] = []
        units = Counter(dict.fromkeys(self.objective.weights, 0))
        for process in range(processes):
            group = self.rows.group(chosen.share(process, processes))
            groups = cut(group, self.machine.micro_batch_tokens, self.machine.packed)
            batches = [self._laid_out(group) for group in groups]
            for batch in batches:
                units.update(self.objective.units(batch))
            if process == mine:
                own = batches
        return own, dict(units)

    def _pass_back(self, batches: list[MicroBatch], units: dict[str, int]) -> dict[str, float]:
        """Run the micro-batches forward and backward; return each term's sum over the step, in all processes."""
        accelerator, weights = self.accelerator, self.weights
        # distributed training averages the gradients of the processes, and a step's loss is their sum
        processes = accelerator.num_processes
        scale = {t: processes * weights[t] / units[t] if units[t] else 0.0 for t in weights}
        sums = torch.zeros(len(weights), dtype=torch.float64, device=accelerator.device)
        has_rows = bool(batches)
        if not has_rows:
            # a short step leaves this process without rows, but the others wait for its gradients: they are zero
            batches, scale = (
                [self._laid_out(self.rows.group(self.plan.step(0).share(0, 1)))],
                dict.fromkeys(scale, 0.0),
            )
        # a step without a unit of any weighted term still takes its (empty) part in the schedule
        terms = [term for term in scale if scale[term]] or list(scale)
        for batch in batches:
            with nullcontext() if batch is batches[-1] else accelerator.no_sync(self.module):
                totals = self.module(batch, scale)
                loss = torch.stack([scale[term] * totals[term] for term in terms]).sum()
                if loss.requires_grad:
                    accelerator.backward(loss)
            if has_rows:
                sums += torch.stack([totals[term].detach().double() for term in weights])
        if processes > 1:
            sums = accelerator.reduce(sums, reduction="sum")
        return dict(zip(weights, sums.tolist(), strict=True))

    def _laid_out(self, group: RowGroup) -> MicroBatch:
        return micro_batch(group, self.rows.pad_id, self.machine.packed)

    def _agreed(self, wish: bool) -> bool:
        """The main process's wish: clocks differ, and all processes must save together."""
        if self.accelerator.num_processes == 1:
            return wish
        answer = [wish]
        broadcast_object_list(answer)
        return answer[0]

    def _progress_bar(self, first_step: int) -> tqdm[Any]:
        return tqdm(
            total=self.plan.step_count,
            initial=first_step,
            desc="training",
            unit="step",
            # a log file gets a line twice a minute
            mininterval=0.2 if sys.stderr.isatty() else 30.0,
            disable=not self.accelerator.is_main_process,
        )
