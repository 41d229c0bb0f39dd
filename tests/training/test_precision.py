"""bfloat16, as mixed precision on float32 weights and as the weights' own dtype."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from palu import models
from palu.heads import ChunkedHead
from palu.training.settings import TrainingSettings
from tests.training.tiny import Tiny, fresh_accelerate, losses, make_tiny, weights

METHODS = ["palu", "npo", "gd"]


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    with fresh_accelerate():
        yield


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The same world with a model in bfloat16."""
    return make_tiny(tmp_path_factory.mktemp("half"), "bfloat16")


@pytest.fixture
def head_results(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, torch.dtype]]:
    """Name and dtype of everything that a head returned while a test ran."""
    found: list[tuple[str, torch.dtype]] = []
    for name in ("log_prob", "kl", "logits_at", "mean_logit"):
        real = getattr(ChunkedHead, name)

        def watched(*given: Any, name: str = name, real: Any = real) -> torch.Tensor:
            result: torch.Tensor = real(*given)
            found.append((name, result.dtype))
            return result

        monkeypatch.setattr(ChunkedHead, name, watched)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_mixed_precision_trains_float32_weights_with_float32_reductions(
    tiny: Tiny, tmp_path: Path, method: str, head_results: list[tuple[str, torch.dtype]]
) -> None:
    rows = tiny.unlearn(tmp_path, method, {"mixed_precision": "bf16", "epochs": 4, "learning_rate": 5e-3})
    assert losses(rows)[-1] < losses(rows)[0]
    assert {dtype for _, dtype in head_results} == {torch.float32}
    assert {value.dtype for value in weights(tmp_path / "model").values()} == {torch.float32}


def test_mixed_precision_differs_from_float32_by_rounding_only(tiny: Tiny, tmp_path: Path) -> None:
    exact = losses(tiny.unlearn(tmp_path / "exact"))
    with fresh_accelerate():
        mixed = losses(tiny.unlearn(tmp_path / "mixed", training={"mixed_precision": "bf16"}))
    assert exact != mixed == pytest.approx(exact, rel=2e-2)


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_weights_train_with_float32_reductions(
    half: Tiny, tmp_path: Path, method: str, head_results: list[tuple[str, torch.dtype]]
) -> None:
    rows = half.unlearn(tmp_path, method, {"epochs": 4, "learning_rate": 5e-3})
    assert losses(rows)[-1] < losses(rows)[0]
    assert {dtype for _, dtype in head_results} == {torch.float32}
    assert {value.dtype for value in weights(tmp_path / "model").values()} == {torch.bfloat16}


def test_a_bfloat16_head_sums_in_float32(half: Tiny) -> None:
    weight, _ = models.output_head(models.load_model(half.model, "bfloat16"))
    h = torch.randn(7, weight.shape[1], generator=torch.Generator().manual_seed(0)).bfloat16()
    ids = torch.arange(7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ChunkedHead(weight).log_prob(h, ids)
    expected = (h @ weight.T).float().log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mixed_precision_keeps_its_weights_in_float32(dtype: str) -> None:
    assert TrainingSettings(mixed_precision="bf16").weights_dtype(dtype) == "float32"
    assert TrainingSettings().weights_dtype(dtype) == dtype
