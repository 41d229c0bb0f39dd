"""What the result of a training depends on, besides data, model, method and seed. Loads no torch.

Knobs that leave the result alone (tokens per micro-batch, how often a checkpoint is saved) are arguments of the
functions in `finetune.py` and `unlearn.py`, not settings.
"""

from typing import Literal

from palu.settings import NonNegativeNumber, PositiveCount, PositiveNumber, Settings


class TrainingSettings(Settings):
    """The optimiser and its schedule. The defaults are the recipe of the paper's authors (2601.03190, section 4).

    batch_size: forget rows per optimiser step, each with one retain row drawn beside it; the last step of an epoch
    is short. warmup_epochs: the learning rate rises linearly from 0, then `schedule` takes over until the end.
    max_grad_norm: the 2-norm to which a step's gradient is clipped; null never clips. 1 is not in the paper: it is
    what the authors' code inherits from its trainer. mixed_precision: bf16 computes in bfloat16 on float32 weights.
    """

    learning_rate: PositiveNumber = 1e-5
    weight_decay: NonNegativeNumber = 0.01
    epochs: PositiveCount = 10
    batch_size: PositiveCount = 32
    warmup_epochs: NonNegativeNumber = 1.0
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    optimizer: Literal["adamw"] = "adamw"
    max_grad_norm: PositiveNumber | None = 1.0
    mixed_precision: Literal["no", "bf16"] = "no"


class FinetuneSettings(TrainingSettings):
    """The same for training a model on its examples; the defaults make a model of 0.35 M parameters know 640 rows."""

    learning_rate: PositiveNumber = 5e-3
    epochs: PositiveCount = 25
    batch_size: PositiveCount = 16
    schedule: Literal["linear", "constant", "cosine"] = "cosine"
