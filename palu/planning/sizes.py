"""How much memory a run takes and how much disk a study writes, in bytes, by formulas that name what they leave out.

GB are 10^9 bytes. Not counted: the libraries themselves (about half a GB), a GPU's context, and what its allocator
cannot use.
"""

from __future__ import annotations

from palu.planning.model import ModelFacts
from palu.study import Run, Study
from palu.training.settings import MachineSettings, TrainingSettings

BYTES = {"float32": 4, "bfloat16": 2}
# Positions in a block of logits, of which an operation holds three, and its least bytes (`palu.heads.projection`).
LOGIT_ROWS, LOGIT_BLOCKS = 192, 3
LOGIT_BYTES = {"cpu": 32 * 2**20, "cuda": 512 * 2**20}
# What 8-bit states take for a number, their scales included.
SMALL_MOMENT_BYTES = 2.03
# An adapter's blocks keep more: `tests/benchmarks/activations.py` prints 302 KB a token beside 209.
ADAPTER_SHARE = 1.45
# A row of the states table besides its state: position, token, log-probability, and the id, which compresses well.
STATE_ROW_BYTES = 12


def run_memory(run: Run, model: ModelFacts, study: Study, device: str = "cpu") -> dict[str, float]:
    """What -> bytes, at the same time, while one run trains. With P weights of b bytes, T trained numbers of b':

        weights     P b                                   b = 2 for bfloat16 without mixed precision, else 4
        casts       2 for each number of the blocks' matrices, under mixed precision: autocast keeps what it has cast
                    until the forward pass ends; of weights that are not trained, what is kept for the backward pass
        trained     an adapter's T b'                     b' = 4 there
        gradients   T b'
        moments     2 T b'; of paged_adamw 8 T, which a full GPU pages out; of 8 bits: 2.03 T, and 8 bytes for each
                    number of a trained embedding
        head        V D 4 for its gradient's sum, V D 2 for the same in bfloat16, and V D b for its frozen copy, where
                    the head is trained
        logits      3 blocks of max(192, 2^23 / V) x V numbers of 4 bytes; on a GPU max(192, 2^27 / V)
        activations see `activations`

    The frozen reference's states and indices are read from files. DDP adds nothing: gradients are views of its
    buckets. device: cpu or cuda. `tests/benchmarks/memory.py` prints this beside what a step is counted to hold.
    """
    training = run.training
    wide = BYTES[training.weights_dtype(study.model.dtype)]
    lora = training.lora
    trained, each = (model.adapter_parameters(lora), 4) if lora else (model.parameters, wide)
    head = model.embedding_parameters
    found: dict[str, float] = {
        "weights": model.parameters * wide + (trained * each if lora else 0),
        "casts": _casts(training, study.machine) * model.block_parameters,
        "gradients": trained * each,
        "moments": _moments(training, model, trained, each),
        "head": 0
        if lora
        else head
        * (4 + (wide if wide < 4 else 0) + (wide if run.settings.needs & {"states", "retain_states"} else 0)),
        "logits": LOGIT_BLOCKS * max(LOGIT_ROWS * 4 * model.vocab_size, LOGIT_BYTES[device]),
        "activations": activations(model, training, study.machine, study.model.max_length, wide),
    }
    return found


def _casts(training: TrainingSettings, machine: MachineSettings) -> int:
    """Bytes of each block weight's copy in bfloat16 that is there at the peak."""
    freed = training.lora is not None and machine.gradient_checkpointing
    return 0 if training.mixed_precision == "no" or freed else 2


def _moments(training: TrainingSettings, model: ModelFacts, trained: int, each: int) -> float:
    if training.optimizer == "paged_adamw":
        return 8 * trained
    if "8bit" not in training.optimizer:
        return 2 * trained * each
    wide = 0 if training.lora else model.embedding_parameters
    return SMALL_MOMENT_BYTES * (trained - wide) + 8 * wide


def activations(
    model: ModelFacts, training: TrainingSettings, machine: MachineSettings, max_length: int, wide: int
) -> float:
    """Bytes that the blocks keep for the backward pass, of n tokens that go through the model at once:

        n L (11 D + 4 D_kv + 4 I) a                a = 2 under bfloat16 or mixed precision, else 4
        n L D a + n (11 D + 4 D_kv + 4 I) a        with gradient checkpointing: each block's input, and one block

    n is `micro_batch_tokens`, but not more than a step has: its forget and retain rows, of `max_length` each. 11 is
    what `tests/benchmarks/activations.py` measures, once the products and their inputs are counted: 209 KB a token and
    block of Llama-3.1-8B. An adapter keeps 1.45 times as much. The attention keeps no matrix of scores.
    """
    step_rows = training.batch_size * (2 if training.last_step == "merge" else 1)
    tokens = min(max(machine.micro_batch_tokens, max_length), (1 + training.retain_ratio) * step_rows * max_length)
    narrow = 2 if training.mixed_precision == "bf16" else wide
    block: float = (11 * model.hidden_size + 4 * model.key_value_size + 4 * model.inner_size) * narrow
    block *= ADAPTER_SHARE if training.lora else 1.0
    if machine.gradient_checkpointing:
        return tokens * (model.layers * model.hidden_size * narrow + block)
    return tokens * model.layers * block


def states_bytes(tokens: float, model: ModelFacts, dtype: str) -> float:
    """A states table: per predicted token D numbers, as they are in memory, and 12 bytes of where and what it is."""
    return tokens * (model.hidden_size * BYTES[dtype] + STATE_ROW_BYTES)


def top_k_bytes(tokens: float, top_k: int, model: ModelFacts) -> float:
    """A table of the K best tokens: 4 bytes for each index, at every sensitive token; at most, since only the first
    tokens of each run are there."""
    return tokens * 4 * min(top_k, model.vocab_size)


def model_bytes(run: Run | None, model: ModelFacts, study: Study) -> float:
    """A written model: its weights, P b; of a run with an adapter, that alone. None: the original, trained here."""
    training = study.finetune if run is None else run.training
    if training.lora is not None and run is not None:
        return 4 * model.adapter_parameters(training.lora)
    return model.parameters * BYTES[training.weights_dtype(study.model.dtype)]


def checkpoint_bytes(run: Run, model: ModelFacts, study: Study) -> float:
    """A run's saved states: what is trained with its moments, twice, as the next is written before the last goes."""
    memory = run_memory(run, model, study)
    return 2 * (memory["gradients"] + memory["moments"])
