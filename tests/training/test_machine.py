"""What fits a training to a machine leaves its result alone: recomputed activations, trackers, and the option."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from palu import cli, models
from palu.cli.values import machine_values
from palu.errors import UserError
from palu.models import LoraSettings
from palu.tokens import collate, encode
from palu.training import trackers
from palu.training.checkpoints import Checkpoints
from palu.training.data import Examples
from palu.training.loop import Loop, Machine, Rows
from palu.training.objective import LikelihoodObjective
from palu.training.plan import Plan
from palu.training.settings import MachineSettings, TrainingSettings
from tests.training.tiny import Interrupted, Tiny, fresh_accelerate, interrupt_after, losses, weights


@pytest.fixture
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


def one_step(
    tiny: Tiny, folder: Path, machine: Machine, lora: bool = False, precision: str = "no"
) -> tuple[float, dict[str, torch.Tensor], int]:
    """The loss of one step over all rows, its gradients, and how often a block's attention ran."""
    model, tokenizer = models.load_model(tiny.model), models.load_tokenizer(tiny.model)
    if lora:
        models.add_adapter(model, LoraSettings(rank=2), models.AdapterBase("", None, ""), seed=0)
    rows = encode(Examples(tiny.examples).of(["forget", "retain"]), tokenizer, tiny.settings, 512)
    plan = Plan(0, len(rows), 0, len(rows), 1)
    settings = TrainingSettings.parse({"mixed_precision": precision}, "test")
    data, checkpoints = Rows(rows, [], tokenizer.pad_token_id), Checkpoints(folder, {})
    loop = Loop(LikelihoodObjective(model), data, plan, settings, checkpoints, machine)
    # from now on: the loop has put the model to its self-check
    calls: list[object] = []
    for name, part in model.named_modules():
        if name.endswith(".self_attn"):
            part.register_forward_pre_hook(lambda *_: calls.append(None))
    totals, _ = loop.accumulate(plan.step(0))
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    return totals["nll"], gradients, len(calls)


@pytest.mark.usefixtures("_fresh_accelerate")
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("packed", [True, False])
def test_with_checkpointing_every_block_runs_twice_and_loss_and_gradients_keep_their_bits(
    tiny: Tiny, tmp_path: Path, packed: bool, lora: bool, precision: str
) -> None:
    kept, again = (
        one_step(tiny, tmp_path, Machine(packed=packed, gradient_checkpointing=wanted), lora, precision)
        for wanted in (False, True)
    )
    assert kept[0] == again[0]
    assert kept[1].keys() == again[1].keys()
    assert all(torch.equal(kept[1][name], again[1][name]) for name in kept[1])
    # two blocks, one micro-batch: once forward, once more in backward
    assert (kept[2], again[2]) == (2, 4)


def test_checkpointing_leaves_states_and_generation_alone(tiny: Tiny) -> None:
    model, tokenizer = models.load_model(tiny.model), models.load_tokenizer(tiny.model)
    rows = encode(Examples(tiny.examples).of(["forget"]), tokenizer, tiny.settings, 512)
    batch = collate(rows, tokenizer.pad_token_id, packed=True)
    before = [state.detach() for state in models.hidden_and_layer_states(model, batch, 0)]
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    said = model.generate(torch.tensor([[1, 40]]), **options)
    models.recompute_blocks(model)
    after = models.hidden_and_layer_states(model, batch, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    after[1].sum().backward()
    assert model.base_model.layers[0].mlp.up_proj.weight.grad is not None
    assert torch.equal(model.generate(torch.tensor([[1, 40]]), **options), said)


def test_checkpointing_keeps_fewer_numbers_for_backward(tiny: Tiny) -> None:
    kept = []
    for wanted in (False, True):
        model, tokenizer = models.load_model(tiny.model), models.load_tokenizer(tiny.model)
        if wanted:
            models.recompute_blocks(model)
        rows = encode(Examples(tiny.examples).of(["forget"]), tokenizer, tiny.settings, 512)
        batch = collate(rows, tokenizer.pad_token_id, packed=True)
        own = {parameter.data_ptr() for parameter in model.parameters()}
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor, own: set[int] = own, sizes: dict[int, int] = sizes) -> torch.Tensor:
            if tensor.data_ptr() not in own:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = models.hidden_states(model, batch)
        assert states.requires_grad
        kept.append(sum(sizes.values()))
    assert kept[1] < 0.3 * kept[0]


def test_a_run_with_other_knobs_ends_in_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    tiny.unlearn(tmp_path / "plain")
    tiny.unlearn(tmp_path / "other", machine={"gradient_checkpointing": True, "checkpoint_seconds": 0})
    plain, other = weights(tmp_path / "plain" / "model"), weights(tmp_path / "other" / "model")
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_a_deterministic_run_refuses_other_operations_and_ends_in_the_same_bits(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    tiny.unlearn(tmp_path / "plain")
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        tiny.unlearn(tmp_path / "asked", machine={"deterministic": True})
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
    plain, asked = weights(tmp_path / "plain" / "model"), weights(tmp_path / "asked" / "model")
    assert all(torch.equal(plain[name], asked[name]) for name in plain)


def shown(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would draw of a run: name -> (step, value)."""
    events = EventAccumulator(str(folder / "logs" / trackers.PROJECT)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_is_told_of_every_step_also_of_a_resumed_run(tiny: Tiny, tmp_path: Path) -> None:
    machine = {"trackers": ["tensorboard"]}
    stop = {"after_step": interrupt_after(3), "checkpoint_seconds": 0}
    with pytest.raises(Interrupted):
        tiny.unlearn(tmp_path, machine=machine | stop)
    rows = tiny.unlearn(tmp_path, machine=machine)
    found = shown(tmp_path)
    assert set(found) == {
        "loss",
        "term/local",
        "term/common",
        "term/retain",
        "learning_rate",
        "grad_norm",
    }
    assert [step for step, _ in found["loss"]] == [1, 2, 3, 4]
    assert [value for _, value in found["loss"]] == pytest.approx(losses(rows), rel=1e-6)
    assert [value for _, value in found["grad_norm"]] == pytest.approx(
        [row["grad_norm"] for row in rows if row["term"] == "loss"], rel=1e-6
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "model", "run.json", "steps.parquet"]


def test_by_default_nothing_is_tracked(tiny: Tiny, tmp_path: Path) -> None:
    assert MachineSettings().trackers == []
    tiny.unlearn(tmp_path)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_without_its_library_is_one_line(
    tiny: Tiny, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=f"machine.trackers: '{name}' needs the library {name}, which is missing"):
        tiny.unlearn(tmp_path / "run", machine={"trackers": [name]})
    assert not (tmp_path / "run").exists()


def test_the_option_is_checked_as_a_study_s_section_is() -> None:
    command = ["finetune", "--examples", "x", "--out", "y", "--role", "retain", "--machine", "{micro_batch_token: 1}"]
    options = cli.parser().parse_args(command)
    with pytest.raises(
        UserError, match=r"machine: unknown key 'micro_batch_token' \(did you mean 'micro_batch_tokens'"
    ):
        machine_values(options)
    good = cli.parser().parse_args([*command[:-1], '{"micro_batch_tokens": 64, "gradient_checkpointing": true}'])
    machine = Machine(**machine_values(good))
    assert (machine.micro_batch_tokens, machine.gradient_checkpointing, machine.packed) == (64, True, True)
    assert Machine(**machine_values(cli.parser().parse_args(command[:-2]))) == Machine()
