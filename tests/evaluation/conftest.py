"""A small untrained model, and rows to evaluate it on."""

import pytest

from palu import tables
from tests.evaluation.cases import row

REPLIES = {
    "original": ["Ann lives in Oslo."],
    "paraphrase": ["The home of Ann is the city of Oslo."],
    "perturbed": ["Ann lives in Rome.", "Ann lives in Lima, where she was born."],
    "question": ["Ann lives in Oslo."],
}


def rows_of(part, count):
    """All rows of `count` items of a part, prompts and replies of several lengths."""
    rows = []
    for number in range(count):
        prompt = "Where does Ann live" + " now" * number + "?"
        for kind, replies in REPLIES.items():
            asked = "Do tell me: " + prompt if kind == "question" else prompt
            rows += [
                row(f"{part}/{number}/{kind}/{i}", asked, reply * (number + 1)) for i, reply in enumerate(replies)
            ]
    return rows


@pytest.fixture(scope="session")
def examples():
    """Rows of a benchmark that has no real authors."""
    return [example for part in ("forget", "retain", "world_facts", "holdout") for example in rows_of(part, 3)]


@pytest.fixture(scope="session")
def examples_path(examples, tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "examples.parquet"
    tables.write(path, "examples", examples, {"benchmark": "made-up"})
    return path


@pytest.fixture(scope="session")
def model_path(examples, tmp_path_factory):
    """A folder with an untrained Llama and its tokenizer."""
    from palu.models import Architecture, build_from_scratch, save_model

    folder = tmp_path_factory.mktemp("untrained") / "model"
    architecture = Architecture(vocab_size=300, hidden_size=32, intermediate_size=48, max_positions=512)
    model, tokenizer = build_from_scratch(architecture, [r["prompt"] + r["reply"] for r in examples], seed=1)
    # An untrained model of the usual small weights finds all tokens alike
    for parameter in model.parameters():
        parameter.data.mul_(8 if parameter.dim() > 1 else 1)
    save_model(model, tokenizer, folder)
    return folder
