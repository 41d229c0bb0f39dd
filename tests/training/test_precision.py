"""bfloat16, as mixed precision on float32 weights and as the weights' own dtype."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from palu import models, tables
from palu.errors import UserError
from palu.heads import Head
from palu.reference.cache import ReferencePaths
from palu.reference.states import Kept, write_states
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
        real = getattr(Head, name)

        def watched(*given: Any, name: str = name, real: Any = real) -> torch.Tensor:
            result: torch.Tensor = real(*given)
            found.append((name, result.dtype))
            return result

        monkeypatch.setattr(Head, name, watched)
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


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def sharp(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Tiny:
    """The same world with larger weights, so that rounding to bfloat16 shows in the logits."""
    folder = tmp_path_factory.mktemp(f"sharp-{request.param}")
    made = make_tiny(folder, request.param)
    model, tokenizer = models.load_model(made.model, request.param), models.load_tokenizer(made.model)
    for parameter in model.model.layers.parameters():
        parameter.data.mul_(10 if parameter.ndim == 2 else 1)
    model.lm_head.weight.data.mul_(30)
    models.save_model(model, tokenizer, made.model)
    made.write_reference()
    return made


def first_kl(rows: list[dict[str, Any]]) -> float:
    """The mean KL of the first step of PALU, before any update."""
    return next(float(row["value"]) for row in rows if row["term"] == "common")


@pytest.mark.parametrize("packed", [True, False])
def test_the_reference_computes_as_mixed_precision_does(sharp: Tiny, tmp_path: Path, packed: bool) -> None:
    rows = sharp.unlearn(tmp_path, training={"mixed_precision": "bf16"}, machine={"packed": packed})
    assert first_kl(rows) < 1e-6


def test_a_reference_in_another_precision_is_refused(sharp: Tiny, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"states\.parquet: made with (dtype|mixed_precision) '\w+', but '\w+' is in use"
    ):
        sharp.unlearn(tmp_path, training={"mixed_precision": "bf16"}, reference_paths=sharp.reference())


def test_a_reference_in_float32_would_be_another_model_at_the_first_step(sharp: Tiny, tmp_path: Path) -> None:
    paths, own = sharp.reference("bf16"), sharp.reference().states
    facts = tables.provenance(paths.states or tmp_path)
    if sharp.settings.dtype != "float32":
        pytest.skip("its states are stored in bfloat16")
    table = tables.read(own or tmp_path, "states")
    stated = {key: value for key, value in facts.items() if key not in {"table", "version"}}
    tables.write(tmp_path / "states.parquet", "states", table, stated, table.schema.remove_metadata())
    swapped = ReferencePaths(tmp_path / "states.parquet", paths.topk)
    rows = sharp.unlearn(tmp_path, training={"mixed_precision": "bf16"}, reference_paths=swapped)
    assert first_kl(rows) > 1e-4


@pytest.mark.parametrize("kept", [Kept(), Kept(0), Kept(hidden=False)], ids=["last", "layer", "log-probs"])
def test_every_kind_of_fact_is_that_of_the_model_under_autocast(sharp: Tiny, tmp_path: Path, kept: Kept) -> None:
    tables_by_precision = {}
    for precision in ("no", "bf16"):
        path = tmp_path / f"{precision}.parquet"
        write_states(sharp.model, sharp.examples, path, sharp.settings, ["retain"], kept, mixed_precision=precision)
        tables_by_precision[precision] = tables.read(path, "states")
    facts = tables.provenance(tmp_path / "bf16.parquet")
    assert (facts["dtype"], facts["mixed_precision"]) == ("float32", "bf16")
    own, mixed = (tables_by_precision[precision]["log_prob"].to_numpy() for precision in ("no", "bf16"))
    assert 0 < abs(own - mixed).max() < 2
    if kept.hidden:
        assert str(tables_by_precision["bf16"].schema.field("hidden").type.value_type) == "float"


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_weights_train_with_float32_reductions(
    half: Tiny, tmp_path: Path, method: str, head_results: list[tuple[str, torch.dtype]]
) -> None:
    rows = half.unlearn(tmp_path, method, {"epochs": 4, "learning_rate": 5e-3})
    assert losses(rows)[-1] < losses(rows)[0]
    assert {dtype for _, dtype in head_results} == {torch.float32}
    assert {value.dtype for value in weights(tmp_path / "model").values()} == {torch.bfloat16}


def test_a_bfloat16_head_sums_in_float32(half: Tiny) -> None:
    weight, _, _ = models.output_head(models.load_model(half.model, "bfloat16"))
    h = torch.randn(7, weight.shape[1], generator=torch.Generator().manual_seed(0)).bfloat16()
    ids = torch.arange(7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Head(weight).log_prob(h, ids)
    expected = (h @ weight.T).float().log_softmax(-1).gather(-1, ids[:, None])[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mixed_precision_keeps_its_weights_in_float32(dtype: str) -> None:
    assert TrainingSettings(mixed_precision="bf16").weights_dtype(dtype) == "float32"
    assert TrainingSettings().weights_dtype(dtype) == dtype
