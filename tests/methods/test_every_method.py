"""What holds of each of the methods: light settings, no row no loss, and no product over the vocabulary twice."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from palu import methods
from palu.heads import Head, autograd
from palu.methods import METHODS
from palu.methods.base import NEEDS, Replies, ReplyStates
from tests.methods.oracle import PARTS, Problem, as_asked, empty

every_method = pytest.mark.parametrize("name", sorted(METHODS))

# Method and settings besides the defaults
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in sorted(METHODS)),
    ("ga", {"entropy_weighting": True}),
    ("gd", {"retain_loss": "kl"}),
    ("npo", {"entropy_weighting": True}),
    ("palu", {"target": "uniform"}),
    ("palu", {"common_constraint": "nll"}),
    ("palu", {"common_constraint": "none", "entropy_weighting": True}),
    ("simnpo", {"retain_weight": 0.0}),
    ("undial", {"retain_weight": 1.0}),
]
every_case = pytest.mark.parametrize(
    ("name", "values"), CASES, ids=[" ".join([name, *map(str, values)]) for name, values in CASES]
)


def of(name: str, values: dict[str, Any]) -> tuple[Any, Any]:
    method = methods.load(name)
    return method, method.Settings.parse(values, f"methods.{name}")


def parts_of(problem: Problem, *left_out: str, dtype: torch.dtype = torch.float64) -> Replies[ReplyStates]:
    """The replies of a problem, with gradients to its states; of the parts left out no row."""
    parts = []
    for name in PARTS:
        states = getattr(problem, name)
        cast = {
            key: value.to(dtype)
            for key, value in vars(states).items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        states = replace(states, **cast)
        states = empty(states) if name in left_out else states
        leaves = {key: getattr(states, key).detach().clone().requires_grad_() for key in ("hidden", "layer_hidden")}
        parts.append(replace(states, **leaves))
    return Replies(*parts)


def head_of(problem: Problem, dtype: torch.dtype = torch.float64) -> Head:
    weight, bias, *reference = (
        tensor.to(dtype).clone()
        for tensor in (problem.weight, problem.bias, problem.reference_weight, problem.reference_bias)
    )
    return Head(weight.requires_grad_(), bias.requires_grad_(), *reference, chunk_rows=3)


@pytest.fixture(scope="session")
def light_facts() -> dict[str, Any]:
    """What a process that never loads torch can tell of each method."""
    program = f"""
import json, sys
from palu import methods
facts = {{}}
for name in {sorted(METHODS)}:
    before = set(sys.modules)
    settings = methods.load(name).Settings.parse({{}}, name)
    facts[name] = {{
        "weights": settings.weights,
        "next": settings.next_weights(settings.weights, dict.fromkeys(settings.weights, 1.0), 9.0),
        "needs": sorted(settings.needs),
        "reads_layer": settings.reads_layer,
        "values": settings.model_dump(mode="json"),
        "heavy": sorted({{"torch", "transformers", "pyarrow"}} & set(sys.modules) - before),
    }}
print(json.dumps(facts))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@every_method
def test_settings_load_without_torch_and_say_what_the_method_weighs_and_needs(
    name: str, light_facts: dict[str, Any]
) -> None:
    facts = light_facts[name]
    assert facts["heavy"] == []
    assert facts["weights"]
    assert all(weight >= 0 for weight in facts["weights"].values())
    assert facts["next"].keys() == facts["weights"].keys()
    assert set(facts["needs"]) <= set(NEEDS)
    assert (facts["reads_layer"] is not None) == ("retain_layer_states" in facts["needs"])


@every_method
def test_settings_survive_a_run_of_the_workflow_as_plain_values(name: str, light_facts: dict[str, Any]) -> None:
    _, settings = of(name, {})
    assert settings.model_dump(mode="json") == light_facts[name]["values"]
    assert type(settings).parse(light_facts[name]["values"], name) == settings


@every_case
@pytest.mark.parametrize("left_out", [PARTS, ("forget", "alternate"), ("retain",)], ids="-".join)
def test_what_has_no_row_adds_nothing(
    problem: Problem, name: str, values: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    method, settings = of(name, values)
    replies = parts_of(problem, *left_out)
    units = method.units(replies, settings)
    assert units.keys() == settings.weights.keys()
    # as in a training: the units of the whole step, of which this micro-batch holds a part
    scale = {term: weight / (units[term] + 5) for term, weight in settings.weights.items()}
    head = head_of(problem)
    terms = method.loss(as_asked(settings, replies), head, settings, scale)
    assert terms.keys() == units.keys()
    for term, total in terms.items():
        assert total.shape == ()
        assert torch.isfinite(total)
        if not units[term]:
            assert total.item() == 0, term
    entering = [scale[term] * terms[term] for term in terms if scale[term]]
    loss = torch.stack(entering).sum()
    if loss.requires_grad:
        loss.backward()
    if left_out == PARTS:
        assert set(units.values()) == {0}
    for part in (replies.forget, replies.retain, replies.alternate):
        for leaf in (part.hidden, part.layer_hidden):
            assert leaf is not None
            assert leaf.grad is None or torch.isfinite(leaf.grad).all()


# How many operations have values that the loss bends row by row, squares, or weighs by themselves: what a value's
# gradient will be is not known before the value is, and its logits are computed anew in the backward pass.
TWICE = {"dpo": 2, "npo": 1, "satimp": 1, "simnpo": 1, "wga": 1}


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of each operation of a head over the whole vocabulary: its positions, and those that it was computed for."""
    calls: list[list[int]] = []
    per_row = autograd.per_row

    def counted(h: Tensor, token: Tensor, projection: Any, operation: Any, weight: Any, *rows: Tensor) -> Tensor:
        call = [len(h), 0]
        calls.append(call)

        def operate(z: Tensor, *arguments: Tensor) -> Any:
            call[1] += len(z)
            return operation(z, *arguments)

        return per_row(h, token, projection, operate, weight, *rows)

    monkeypatch.setattr(autograd, "per_row", counted)
    return calls


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_what_is_known_beforehand_is_computed_once(
    problem: Problem, name: str, values: dict[str, Any], dtype: torch.dtype, passes: list[list[int]]
) -> None:
    method, settings = of(name, values)
    replies, head = parts_of(problem, dtype=dtype), head_of(problem, dtype)
    units = method.units(replies, settings)
    scale = {term: weight / units[term] for term, weight in settings.weights.items()}
    terms = method.loss(as_asked(settings, replies), head, settings, scale)
    torch.stack([scale[term] * terms[term] for term in terms if scale[term]]).sum().backward()
    times = [computed / positions for positions, computed in passes if positions]
    twice = TWICE.get(name, 0) + (values.get("target") == "uniform")
    assert sorted(times) == [1.0] * (len(times) - twice) + [2.0] * twice
    assert times or name == "rmu", "every other method reads the vocabulary"
