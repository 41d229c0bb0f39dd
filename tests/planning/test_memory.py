"""What `palu check` says of a run's memory is what a step of the real code holds, counted without the memory."""

import pytest

from tests.benchmarks.memory import CASES, SHAPES, Case, counted, predicted


def is_near(shape: dict[str, int], case: Case) -> None:
    assert sum(predicted(shape, case).values()) == pytest.approx(counted(shape, case), rel=0.1)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("llama-2-7b", Case("float32", {"mixed_precision": "bf16"}, recomputed=True)),
        ("llama-3.1-8b", Case("bfloat16", {"lora": {"rank": 16}})),
    ],
    ids=["7b", "8b"],
)
def test_two_blocks_take_what_was_predicted(name: str, case: Case) -> None:
    is_near(SHAPES[name] | {"layers": 2}, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_a_whole_model_takes_what_was_predicted(name: str, case: Case) -> None:
    is_near(SHAPES[name], case)
