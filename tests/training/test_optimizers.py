"""Optimisers by name: what their steps are, that their states are small, that a run with them resumes bit for bit."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from palu.errors import UserError
from palu.files import read_json
from palu.training import optimizers
from palu.training.optimizers import build_optimizer, build_scheduler
from palu.training.settings import TrainingSettings
from tests.training.tiny import Interrupted, Tiny, interrupt_after, losses, weights

OF_BITSANDBYTES = ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"]


class Small(nn.Module):
    """An embedding and a linear layer, both large enough for 8-bit states."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 64)
        self.linear = nn.Linear(64, 128)


@pytest.mark.parametrize("name", OF_BITSANDBYTES)
def test_an_optimiser_of_bitsandbytes_is_refused_for_a_sharded_model(name: str) -> None:
    told = f"training.optimizer: '{name}' steps whole tensors, .* a share of each; allowed there: adamw"
    with pytest.raises(UserError, match=told):
        build_optimizer(Small(), settings(name), sharded=True)
    assert isinstance(build_optimizer(Small(), settings(), sharded=True), torch.optim.AdamW)


def settings(name: str = "adamw", **changes: Any) -> TrainingSettings:
    return TrainingSettings.parse({"optimizer": name, "learning_rate": 1e-2, **changes}, "test")


def steps(name: str, count: int = 5, **changes: Any) -> tuple[Small, Any]:
    """A model after some steps of fixed random gradients, and the optimiser."""
    torch.manual_seed(0)
    model = Small()
    optimizer = build_optimizer(model, settings(name, **changes))
    for _ in range(count):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return model, optimizer


def naive_adamw(decay: float, count: int = 5) -> dict[str, torch.Tensor]:
    """The same steps by the equations of Loshchilov and Hutter (1711.05101, algorithm 2), in float64.

    m = 0.9 m + 0.1 g;  v = 0.999 v + 0.001 g^2;  w = w - lr (m / (1 - 0.9^t) / (sqrt(v / (1 - 0.999^t)) + 1e-8) + d w)
    """
    torch.manual_seed(0)
    values = {name: parameter.detach().clone() for name, parameter in Small().named_parameters()}
    kept = {name: value.double() for name, value in values.items()}
    first = {name: torch.zeros_like(value) for name, value in kept.items()}
    second = {name: torch.zeros_like(value) for name, value in kept.items()}
    for t in range(1, count + 1):
        for name, value in values.items():
            gradient = torch.randn_like(value).double()
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            scaled = first[name] / (1 - 0.9**t) / ((second[name] / (1 - 0.999**t)).sqrt() + 1e-8)
            own_decay = decay if value.ndim >= 2 else 0.0
            kept[name] = kept[name] - 1e-2 * (scaled + own_decay * kept[name])
    return kept


@pytest.mark.parametrize(("name", "tolerance"), [("adamw", 1e-5), ("paged_adamw", 1e-5)])
def test_with_states_in_full_the_steps_are_adamw_s(name: str, tolerance: float) -> None:
    model, _ = steps(name, weight_decay=0.3)
    for key, value in naive_adamw(0.3).items():
        torch.testing.assert_close(dict(model.named_parameters())[key].double(), value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_with_8_bit_states_the_steps_are_near_adamw_s(name: str) -> None:
    model, _ = steps(name, weight_decay=0.3)
    expected = naive_adamw(0.3)
    found = dict(model.named_parameters())
    # five steps of at most 1e-2 each
    error = (found["linear.weight"].double() - expected["linear.weight"]).abs()
    assert error.mean() < 1e-3
    assert error.max() > 1e-6
    torch.testing.assert_close(found["embedding.weight"].double(), expected["embedding.weight"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["linear.bias"].double(), expected["linear.bias"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_8bit"])
def test_8_bit_states_take_a_quarter_of_the_space_but_for_embeddings_and_vectors(name: str) -> None:
    model, optimizer = steps(name)
    kinds = {
        key: {optimizer.state[parameter][state].dtype for state in ("state1", "state2")}
        for key, parameter in model.named_parameters()
    }
    assert kinds == {
        "embedding.weight": {torch.float32},
        "linear.weight": {torch.uint8},
        "linear.bias": {torch.float32},
    }


@pytest.mark.parametrize("name", ["adamw", *OF_BITSANDBYTES])
def test_frozen_parameters_are_left_out_and_decay_spares_vectors(name: str) -> None:
    model = Small()
    model.embedding.weight.requires_grad_(False)
    groups = build_optimizer(model, settings(name, weight_decay=0.3)).param_groups
    assert {tuple(p.shape): group["weight_decay"] for group in groups for p in group["params"]} == {
        (128, 64): 0.3,
        (128,): 0.0,
    }
    assert sum(len(group["params"]) for group in groups) == 2


@pytest.mark.parametrize("name", OF_BITSANDBYTES)
def test_a_run_lowers_the_loss_and_resumes_bit_for_bit(tiny: Tiny, tmp_path: Path, name: str) -> None:
    training = {"optimizer": name, "epochs": 3}
    rows = tiny.unlearn(tmp_path / "whole", training=training)
    assert losses(rows)[-1] < losses(rows)[0]
    stop = {"after_step": interrupt_after(4), "checkpoint_seconds": 0}
    with pytest.raises(Interrupted):
        tiny.unlearn(tmp_path / "resumed", training=training, machine=stop)
    (saved,) = (tmp_path / "resumed").glob(".checkpoint/step*/optimizer.bin")
    assert (b"ByteStorage" in saved.read_bytes()) == ("8bit" in name)
    again = tiny.unlearn(tmp_path / "resumed", training=training)
    record = read_json(tmp_path / "resumed" / "run.json")
    assert record["resumed_from_step"] == 4
    assert "bitsandbytes" in record["identity"]["versions"]
    assert losses(again) == losses(rows)
    resumed, whole = weights(tmp_path / "resumed" / "model"), weights(tmp_path / "whole" / "model")
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


@pytest.mark.parametrize("name", OF_BITSANDBYTES)
def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # what Python takes for a module that is not installed
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(
        UserError, match=f"'{name}' needs the library bitsandbytes, which is missing; allowed: adamw, "
    ):
        build_optimizer(Small(), settings(name))


def test_an_optimizer_that_fails_on_the_device_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError("no kernel\nfor this device")

    real = optimizers._bitsandbytes_class("adamw_8bit")
    monkeypatch.setattr(real, "step", refuse)
    monkeypatch.setattr(optimizers, "_bitsandbytes_class", lambda _: real)
    with pytest.raises(UserError, match="does not run on cpu: no kernel for this device; allowed there: adamw"):
        build_optimizer(Small(), settings("adamw_8bit"))
    monkeypatch.setattr(real, "step", lambda _: None)
    with pytest.raises(UserError, match="changes nothing on cpu"):
        build_optimizer(Small(), settings("adamw_8bit"))


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine"])
@pytest.mark.parametrize("warmup_epochs", [0.0, 0.5, 1.0])
def test_the_rate_of_every_step_is_the_schedule_s(schedule: str, warmup_epochs: float) -> None:
    epochs, per_epoch = 3, 4
    given = settings(schedule=schedule, warmup_epochs=warmup_epochs, epochs=epochs, learning_rate=2.0)
    optimizer = build_optimizer(nn.Linear(2, 2), given)
    scheduler = build_scheduler(optimizer, given, per_epoch)
    warmup, total = int(warmup_epochs * per_epoch), epochs * per_epoch
    for step in range(total):
        share = (step - warmup) / (total - warmup)
        later = {"linear": 1 - share, "constant": 1.0, "cosine": (1 + math.cos(math.pi * share)) / 2}[schedule]
        assert scheduler.get_last_lr()[0] == pytest.approx(2.0 * (step / warmup if step < warmup else later)), step
        optimizer.step()
        scheduler.step()
