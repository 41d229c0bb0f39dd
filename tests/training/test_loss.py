"""`palu loss` prints what the peers' trainers print for the same batch, models and settings."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from palu import methods
from palu.cli import main
from palu.errors import UserError
from palu.training.loss import step_loss

FIRST_N = {"1": 1, "3": 3, "-1": None}

# case of the oracle -> method and settings
CASES = {
    "ga": ("ga", {}),
    "gd": ("gd", {}),
    "npo": ("npo", {"beta": 0.1}),
    "simnpo": ("simnpo", {"beta": 4.5, "delta": 0.0, "forget_weight": 0.125}),
    "simnpo_delta1": ("simnpo", {"beta": 3.5, "delta": 1.0, "forget_weight": 0.125}),
    "dpo_idk": ("dpo", {"beta": 0.1}),
    "wga": ("wga", {"beta": 1.0}),
    "satimp": ("satimp", {"beta1": 5.0, "beta2": 1.0, "forget_weight": 1.0}),
    "ceu": ("ceu", {}),
}
# The peer's cross-entropy over (B, V, T) logits sums in an order that costs it this much in the gradient of
# model.norm.weight: the same code in float64 gives our number
PARAMETER_TOLERANCE = {"npo": 2e-4}


def printed(shared, policy, file):
    text = (shared / "oracles" / "loss-parity" / f"policy-{policy}" / file).read_text(encoding="utf-8")
    return json.loads(text)


def found(shared, policy, method, settings, batch=None):
    """What the command computes for one of the two pairs of models."""
    models = shared / "oracles" / "tofu-eval-tiny"
    reference = {"full": "retain", "retain": "full"}[policy]
    return step_loss(
        method,
        methods.load(method).Settings.parse(settings, method),
        models / f"model-{policy}",
        models / f"model-{reference}",
        batch or shared / "oracles" / "loss-parity" / f"policy-{policy}" / "batch.safetensors",
    )


def assert_same(ours, theirs, parameter_tolerance=1e-4):
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5, abs=0)
    assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4, abs=0)
    expected = {
        name: pytest.approx(norm, rel=parameter_tolerance, abs=0)
        for name, norm in theirs["grad_norm_by_parameter"].items()
    }
    assert ours["grad_norm_by_parameter"] == expected


@pytest.mark.parametrize("case", CASES)
def test_the_peers_trainers_print_the_same(shared, case):
    method, settings = CASES[case]
    ours = found(shared, "full", method, settings)
    assert_same(ours, printed(shared, "full", "losses_ou.json")[case], PARAMETER_TOLERANCE.get(case, 1e-4))


PALU_CASES = [(k, n, "kl") for k in (1, 50, 500, 2048) for n in FIRST_N] + [(500, "3", "nll")]


@pytest.mark.parametrize(("top_k", "first_n", "constraint"), PALU_CASES)
def test_the_authors_palu_prints_the_same(shared, top_k, first_n, constraint):
    theirs = printed(shared, "retain", "losses_palu.json")[f"palu_K{top_k}_N{first_n}_{constraint}"]
    settings = {"top_k": top_k, "first_n": FIRST_N[first_n], "common_constraint": constraint}
    assert_same(found(shared, "retain", "palu", settings), theirs)


def test_the_command_prints_one_json_object(shared, capsys):
    oracles = shared / "oracles"
    arguments = {
        "--method": "simnpo",
        "--policy": oracles / "tofu-eval-tiny" / "model-full",
        "--reference": oracles / "tofu-eval-tiny" / "model-retain",
        "--batch": oracles / "loss-parity" / "policy-full" / "batch.safetensors",
        "--set": "forget_weight=0.125",
    }
    assert main(["loss", *(str(part) for pair in arguments.items() for part in pair)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() == {"loss", "terms", "grad_norm", "grad_norm_by_parameter"}
    assert facts["loss"] == pytest.approx(0.125 * facts["terms"]["forget"] + facts["terms"]["retain"])


def test_a_bad_batch_is_one_line_that_names_the_file_and_the_row(shared, tmp_path):
    tensors = load_file(shared / "oracles" / "loss-parity" / "policy-full" / "batch.safetensors")
    damaged = tmp_path / "batch.safetensors"
    save_file({key: value for key, value in tensors.items() if key.startswith("forget")}, damaged)
    with pytest.raises(UserError, match=r"batch.safetensors: holds no tensor 'retain.input_ids'"):
        found(shared, "full", "ga", {}, damaged)
    tensors["forget.attention_mask"][2] = torch.flip(tensors["forget.attention_mask"][2], [0])
    save_file(tensors, damaged)
    with pytest.raises(UserError, match="row 2 of 'forget': allowed: padding on the right"):
        found(shared, "full", "ga", {}, damaged)
    damaged.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        found(shared, "full", "ga", {}, damaged)
