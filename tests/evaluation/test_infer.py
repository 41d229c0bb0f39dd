import pytest

from palu import tables
from palu.errors import UserError
from palu.evaluation import infer as inference
from palu.evaluation.infer import infer
from palu.evaluation.settings import EvaluationSettings
from palu.models import ModelSettings
from tests.evaluation.cases import row

MODEL = ModelSettings(template="llama2-chat", max_length=200)
SETTINGS = EvaluationSettings(max_new_tokens=4)


@pytest.fixture(scope="module")
def evaluated(model_path, examples_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    infer(model_path, examples_path, folder, MODEL, SETTINGS)
    return folder


@pytest.fixture
def loads(monkeypatch):
    """The folders that models were loaded from."""
    found = []
    real = inference.load_model
    monkeypatch.setattr(inference, "load_model", lambda folder, dtype: found.append(folder) or real(folder, dtype))
    return found


def test_every_reply_is_read_and_every_prompt_asked_the_paraphrased_ones_of_the_forget_part_alone(evaluated, examples):
    read = tables.rows(evaluated / "logprobs.parquet", "logprobs")
    asked = tables.rows(evaluated / "generations.parquet", "generations")
    wanted = [r for r in examples if r["prompt_kind"] == "original" or r["part"] == "forget"]
    assert {r["example_id"] for r in read} == {r["example_id"] for r in wanted}
    prompts = [r["example_id"] for r in wanted if r["reply_kind"] == "original" and r["part"] != "holdout"]
    assert [r["example_id"] for r in asked] == prompts


def test_a_second_call_loads_no_model(evaluated, model_path, examples_path, loads):
    infer(model_path, examples_path, evaluated, MODEL, SETTINGS)
    assert loads == []


def test_a_killed_evaluation_goes_on_with_what_is_missing(evaluated, model_path, examples_path, loads):
    logprobs_digest = tables.content_digest(evaluated / "logprobs.parquet")
    modified = (evaluated / "logprobs.parquet").stat().st_mtime_ns
    generations = (evaluated / "generations.parquet").read_bytes()
    (evaluated / "generations.parquet").write_bytes(generations[:100])
    infer(model_path, examples_path, evaluated, MODEL, SETTINGS)
    assert len(loads) == 1
    assert (evaluated / "generations.parquet").read_bytes() == generations
    assert tables.content_digest(evaluated / "logprobs.parquet") == logprobs_digest
    assert (evaluated / "logprobs.parquet").stat().st_mtime_ns == modified


def test_another_setting_makes_the_tables_anew(evaluated, model_path, examples_path, tmp_path, loads):
    for name in ("logprobs.parquet", "generations.parquet"):
        (tmp_path / name).write_bytes((evaluated / name).read_bytes())
    infer(model_path, examples_path, tmp_path, MODEL, EvaluationSettings(max_new_tokens=3))
    assert len(loads) == 1
    assert {r["token_count"] for r in tables.rows(tmp_path / "generations.parquet", "generations")} == {3}


def test_mixed_precision_differs_by_rounding_only_and_is_recorded(evaluated, model_path, examples_path, tmp_path):
    settings = EvaluationSettings(max_new_tokens=4, mixed_precision="bf16")
    bfloat16 = ModelSettings(template="llama2-chat", max_length=200, dtype="bfloat16")
    infer(model_path, examples_path, tmp_path, bfloat16, settings)
    exact, rounded = (tables.rows(folder / "logprobs.parquet", "logprobs") for folder in (evaluated, tmp_path))
    differences = [
        abs(one - other)
        for row, same in zip(exact, rounded, strict=True)
        for one, other in zip(row["log_probs"], same["log_probs"], strict=True)
    ]
    assert 0 < max(differences) < 0.5
    assert sum(differences) / len(differences) < 0.05
    norms = [tables.rows(folder / "gradient_norms.parquet", "scores") for folder in (evaluated, tmp_path)]
    assert [row["value"] for row in norms[1]] == pytest.approx([row["value"] for row in norms[0]], rel=0.1)
    facts = tables.provenance(tmp_path / "logprobs.parquet")
    assert '"mixed_precision":"bf16"' in facts["settings"].replace(" ", "")
    assert facts["dtype"] == "float32", "weights stay in float32, as in training"


def test_paraphrased_questions_are_neither_asked_nor_read_where_they_are_not_wanted(
    model_path, examples_path, tmp_path
):
    settings = EvaluationSettings(max_new_tokens=1, paraphrased_questions=False, parts=["forget"])
    infer(model_path, examples_path, tmp_path, MODEL, settings)
    for name in ("logprobs", "generations"):
        found = {r["example_id"] for r in tables.rows(tmp_path / f"{name}.parquet", name)}
        assert "forget/0/original/0" in found
        assert not any("question" in example_id or example_id.startswith("retain") for example_id in found)


def test_parts_without_a_row_are_an_error(model_path, examples_path, tmp_path):
    settings = EvaluationSettings(parts=["real_authors", "validation"])
    with pytest.raises(UserError, match=r"examples.parquet: no row of the parts real_authors, validation"):
        infer(model_path, examples_path, tmp_path, MODEL, settings)


def test_a_folder_without_a_model_is_an_error_and_nothing_is_written(examples_path, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        infer(tmp_path / "empty", examples_path, tmp_path / "out", MODEL, SETTINGS)
    assert not (tmp_path / "out").exists()


def test_a_row_that_cannot_be_read_is_an_error_and_nothing_is_written(model_path, tmp_path):
    path = tmp_path / "examples.parquet"
    tables.write(path, "examples", [row("forget/0/original/0", prompt="why " * 300)], {"benchmark": "made-up"})
    with pytest.raises(UserError, match=r"'forget/0/original/0'.*no room"):
        infer(model_path, path, tmp_path / "out", MODEL, SETTINGS)
    assert not list(tmp_path.glob("out/*"))


def test_a_document_in_pieces_is_one_row_of_every_table(model_path, tmp_path):
    text = "Ann lives in Oslo, by the sea. " * 5
    rows = [row(f"{part}/0/original/0", prompt="", reply=text + part) for part in ("forget", "holdout")]
    tables.write(tmp_path / "examples.parquet", "examples", rows, {"benchmark": "made-up"})
    settings = EvaluationSettings(max_new_tokens=1, gradient_norms=True)
    short = ModelSettings(template="raw", max_length=24)
    infer(model_path, tmp_path / "examples.parquet", tmp_path / "out", short, settings)
    names = ["forget/0/original/0", "holdout/0/original/0"]
    read = tables.rows(tmp_path / "out" / "logprobs.parquet", "logprobs")
    norms = tables.rows(tmp_path / "out" / "gradient_norms.parquet", "scores")
    assert [entry["example_id"] for entry in read] == [entry["example_id"] for entry in norms] == names
    assert all(len(entry["token_ids"]) > 48 for entry in read)
    assert all(entry["value"] > 0 for entry in norms)
