"""What the result of a training depends on, besides data, model, method and seed. Loads no torch.

Knobs that leave the result alone stand apart, in `MachineSettings`: to change them runs nothing anew.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from palu.errors import UserError
from palu.files import canonical_json
from palu.models.settings import LoraSettings, ModelSettings, weights_dtype
from palu.settings import NonNegativeNumber, Number, PositiveCount, PositiveNumber, Settings

# At the paper's 1e-5 an adapter changes next to nothing in 60 steps: its B starts at zero
ADAPTER_LEARNING_RATE = 1e-4


def _learning_rate(of_all_weights: float) -> Any:
    """The field `learning_rate`, whose default depends on whether an adapter is trained."""
    return Field(default_factory=lambda given: of_all_weights if given["lora"] is None else ADAPTER_LEARNING_RATE)


LastStep = Literal["merge", "drop", "short"]


def steps_per_epoch(rows: int, batch_size: int, last_step: LastStep) -> int:
    """Optimiser steps of an epoch over so many rows: at least one, whatever `last_step` says."""
    full, rest = divmod(rows, batch_size)
    return full + bool(rest and (last_step == "short" or not full))


class StopSettings(Settings):
    """When an unlearning ends before its last epoch.

    After each epoch the mean over the rows of part `validation`, which are to be forgotten too but are not reported,
    of p(reply | prompt)^(1 / tokens) is compared with `probability`; at or below it training ends.
    """

    probability: Annotated[Number, Field(gt=0, lt=1)]


class TrainingSettings(Settings):
    """The optimiser and its schedule. The defaults are the recipe of the paper's authors (2601.03190, section 4).

    lora: trains a low-rank adapter instead of the weights. learning_rate: 1e-5, with an adapter 1e-4.
    batch_size: forget rows per optimiser step. retain_ratio: retain rows drawn for each of them. last_step: what
    becomes of the rows that are left when an epoch's steps are full: short = a step of their own, merge = part of the
    step before, drop = left out in that epoch, which makes as many steps as transformers' trainer. warmup_epochs: the
    learning rate rises linearly from 0, then `schedule` takes over until the end. max_grad_norm: the 2-norm to
    which a step's gradient is clipped; null never clips. 1 is not in the paper: it is what the authors' code
    inherits from its trainer. mixed_precision: bf16 computes in bfloat16 on float32 weights. optimizer: AdamW in
    full (torch), or of the library bitsandbytes: 8bit keeps its two moments in 8 bits each, paged moves them out
    of a GPU's memory when that is full. stop: null trains all epochs.
    """

    lora: LoraSettings | None = None
    learning_rate: PositiveNumber = _learning_rate(1e-5)
    weight_decay: NonNegativeNumber = 0.01
    epochs: PositiveCount = 10
    batch_size: PositiveCount = 32
    # left out of what names a run where it is the default, so that older runs keep their folders
    last_step: LastStep = Field(default="short", exclude_if=lambda value: value == "short")
    retain_ratio: PositiveCount = Field(default=1, exclude_if=lambda value: value == 1)
    warmup_epochs: NonNegativeNumber = 1.0
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = "adamw"
    max_grad_norm: PositiveNumber | None = 1.0
    mixed_precision: Literal["no", "bf16"] = "no"
    stop: StopSettings | None = None

    def weights_dtype(self, dtype: str) -> str:
        """The dtype that the weights are loaded in, from the model's."""
        return weights_dtype(dtype, self.mixed_precision)


class FinetuneSettings(TrainingSettings):
    """The same for training a model on its examples; the defaults make a model of 0.35 M parameters know 640 rows.

    learning_rate: 5e-3, with an adapter 1e-4: an adapter is of a base checkpoint, which has learnt before.
    """

    learning_rate: PositiveNumber = _learning_rate(5e-3)
    epochs: PositiveCount = 25
    batch_size: PositiveCount = 16
    schedule: Literal["linear", "constant", "cosine"] = "cosine"

    @field_validator("stop", "retain_ratio")
    @classmethod
    def _is_for_unlearning(cls, value: object, info: ValidationInfo) -> object:
        default = cls.model_fields[info.field_name or ""].default
        if value != default:
            raise ValueError(f"is for unlearning; allowed here: {canonical_json(default)}")
        return value

    def check_start(self, model: ModelSettings) -> None:
        """Raise UserError for what a model that starts from nothing cannot have: a base, and a chat template."""
        if model.base_checkpoint is None and self.lora is not None:
            raise UserError("finetune.lora: an adapter needs a base: allowed with model.base_checkpoint only")
        if model.base_checkpoint is None and model.template == "chat":
            raise UserError(
                "model.template: 'chat' needs a base_checkpoint with a chat template; from scratch: plain, llama2-chat"
            )


class MachineSettings(Settings):
    """What fits a training to a machine and leaves its result alone, but for rounding.

    micro_batch_tokens: tokens that go through the model at once, padding included. packed: whether rows share lines,
    without padding (see `palu.tokens`); the self-check turns it off for a model whose rows then see each other.
    gradient_checkpointing: a block's activations are computed again in the backward pass instead of kept.
    deterministic: on a GPU, only operations that give equal bytes each time, which are
    slower; on a CPU all are. checkpoint_seconds: time between two saved states (0: after every step). trackers:
    where each step's loss is shown while the run goes on; their files lie in `logs` in the run's folder.
    keep_epoch_models: whether the models of `trajectory_epochs` stay once they are evaluated; the workflow deletes
    them where not, and would train again for another evaluation of them.
    """

    micro_batch_tokens: PositiveCount = 4096
    packed: bool = True
    gradient_checkpointing: bool = False
    deterministic: bool = False
    checkpoint_seconds: NonNegativeNumber = 300.0
    trackers: list[Literal["tensorboard", "wandb"]] = Field(default_factory=list)
    keep_epoch_models: bool = True
