"""Memory and disk: one case by hand, one beside real files."""

import pytest

from palu import benchmarks, models
from palu.heads.projection import block_rows
from palu.models import Architecture
from palu.planning import data, sizes
from palu.planning.check import disk_parts
from palu.planning.model import of_architecture, of_checkpoint
from palu.reference.states import Kept, write_states
from palu.study import Study


def study(model: dict, **training) -> Study:
    values = {
        "study": "s",
        "benchmark": {"name": "village"},
        "taggers": {"gold": {"name": "annotations"}},
        "model": model,
        "methods": {"palu": {}},
        "training": training,
    }
    return Study.parse(values, "study.yaml")


# Llama-3.1-8B, of which docs/training.md tells what it takes, in GB.
LLAMA_8B = Architecture(
    vocab_size=128256,
    hidden_size=4096,
    layers=32,
    heads=32,
    kv_heads=8,
    intermediate_size=14336,
    max_positions=8192,
)


@pytest.mark.parametrize(
    ("training", "recomputed", "expected"),
    [
        (
            {"optimizer": "adamw_8bit"},
            True,
            {
                "weights": 16.1,
                "gradients": 16.1,
                "moments": 19.4,
                "casts": 0,
                "head": 4.2,
                "logits": 1.6,
                "activations": 2.0,
            },
        ),
        (
            {"optimizer": "adamw_8bit"},
            False,
            {
                "weights": 16.1,
                "gradients": 16.1,
                "moments": 19.4,
                "casts": 0,
                "head": 4.2,
                "logits": 1.6,
                "activations": 28.1,
            },
        ),
        (
            {"optimizer": "paged_adamw"},
            True,
            {
                "weights": 16.1,
                "gradients": 16.1,
                "moments": 64.2,
                "casts": 0,
                "head": 4.2,
                "logits": 1.6,
                "activations": 2.0,
            },
        ),
        (
            {"lora": {"rank": 16}},
            True,
            {
                "weights": 16.2,
                "gradients": 0.17,
                "moments": 0.34,
                "casts": 0,
                "head": 0,
                "logits": 1.6,
                "activations": 2.3,
            },
        ),
    ],
)
def test_an_8b_model_takes_what_the_documentation_works_out_by_hand(training, recomputed, expected):
    asked = study({"checkpoint": "someone/llama", "dtype": "bfloat16", "max_length": 512}, **training)
    machine = asked.machine.model_copy(update={"gradient_checkpointing": recomputed})
    object.__setattr__(asked, "machine", machine)
    found = sizes.run_memory(asked.runs[0], of_architecture(LLAMA_8B), asked, "cuda")
    assert {name: value / 1e9 for name, value in found.items()} == pytest.approx(expected, rel=0.03)


def test_a_tiny_model_by_hand():
    asked = study({"checkpoint": "x/y", "max_length": 8}, batch_size=1)
    tiny = of_architecture(
        Architecture(vocab_size=259, hidden_size=4, layers=1, heads=1, kv_heads=1, intermediate_size=8)
    )
    parameters = 2 * 259 * 4 + 4 * 4 * 4 + 3 * 4 * 8 + 3 * 4
    found = sizes.run_memory(asked.runs[0], tiny, asked)
    assert found == {
        "weights": 4 * parameters,
        "casts": 0,
        "gradients": 4 * parameters,
        "moments": 8 * parameters,
        "head": 259 * 4 * (4 + 4),
        "logits": 3 * 32 * 2**20,
        "activations": 16 * (44 + 16 + 32) * 4,  # one forget and one retain row of 8 tokens
    }


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("vocabulary", [259, 32000, 128256, 10**6])
def test_the_blocks_of_logits_are_those_of_the_head(device, vocabulary):
    asked = study({"checkpoint": "x/y"})
    facts = of_architecture(LLAMA_8B.model_copy(update={"vocab_size": vocabulary}))
    found = sizes.run_memory(asked.runs[0], facts, asked, device)["logits"]
    held = 3 * 4 * vocabulary * block_rows(device, vocabulary)
    assert held <= found <= held + 3 * 4 * vocabulary, "of the last position, which does not fit"


@pytest.mark.parametrize(
    ("training", "recomputed", "bytes_each"),
    [({}, True, 2), ({}, False, 2), ({"lora": {"rank": 2}}, False, 2), ({"lora": {"rank": 2}}, True, 0)],
)
def test_mixed_precision_keeps_a_cast_of_each_weight_of_the_blocks(training, recomputed, bytes_each):
    asked = study({"checkpoint": "x/y"}, mixed_precision="bf16", **training)
    object.__setattr__(asked, "machine", asked.machine.model_copy(update={"gradient_checkpointing": recomputed}))
    found = sizes.run_memory(asked.runs[0], of_architecture(LLAMA_8B), asked)
    per_block = 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert found["casts"] == bytes_each * 32 * per_block


def test_each_precision_of_training_has_a_reference_of_its_own_on_the_disk(own, checkpoint):
    asked = Study.parse(own, "study.yaml")
    facts = of_checkpoint(checkpoint)
    rows = data.read(asked.benchmark, data.tokenizer_of(checkpoint), asked.model.max_length)
    label, values = next((label, values) for label, values in own["methods"].items() if label == "palu")
    both = own | {"methods": {label: {**(values or {}), "mixed_precision": ["no", "bf16"]}}}
    one, two = (disk_parts(Study.parse(each, "study.yaml"), facts, rows) for each in (own, both))
    assert two["states"] == 2 * one["states"]
    assert two["top-K"] == 2 * one["top-K"]


def test_files_on_disk_are_within_a_fifth_of_what_was_estimated(own, checkpoint, tmp_path):
    asked = Study.parse(own, "study.yaml")
    facts = of_checkpoint(checkpoint)
    rows = data.read(asked.benchmark, data.tokenizer_of(checkpoint), asked.model.max_length)
    examples, states = tmp_path / "examples.parquet", tmp_path / "states.parquet"
    benchmarks.prepare("custom", asked.benchmark.settings, examples, tmp_path / "gold.parquet")
    write_states(
        model_folder=checkpoint,
        examples_path=examples,
        out=states,
        settings=asked.model,
        parts=["forget"],
        kept=Kept(None, hidden=True),
    )
    estimated = disk_parts(asked, facts, rows)
    assert states.stat().st_size == pytest.approx(estimated["states"], rel=0.2)
    models.save_model(models.load_model(checkpoint), models.load_tokenizer(checkpoint), tmp_path / "saved")
    written = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert written == pytest.approx(estimated["models"], rel=0.2), "one run, whose model is as large as the original"


def test_checkpoints_and_kept_epochs_count(own, checkpoint):
    facts = of_checkpoint(checkpoint)
    plain = disk_parts(Study.parse(own, "study.yaml"), facts, None)
    longer = own | {"training": {"epochs": 3}, "trajectory_epochs": [1, 2], "seeds": [0, 1]}
    more = disk_parts(Study.parse(longer, "study.yaml"), facts, None)
    assert more["models"] == 6 * plain["models"]
    passing = longer | {"machine": {"keep_epoch_models": False}}
    fewer = disk_parts(Study.parse(passing, "study.yaml"), facts, None)
    assert fewer["models"] == 4 * plain["models"], "two runs, and the two epochs of the one that is evaluated"
    assert plain["checkpoints"] == more["checkpoints"] == 2 * 3 * 4 * facts.parameters
