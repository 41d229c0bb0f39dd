import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from palu import tables
from palu.errors import UserError
from palu.evaluation.classify import classify, probabilities
from palu.evaluation.settings import FluencySettings
from palu.models import load_tokenizer
from palu.models.encoders import load_encoder


@pytest.fixture(scope="module")
def classifier(model_path, tmp_path_factory):
    """An untrained classifier with the classes clean and noise."""
    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = load_tokenizer(model_path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        id2label={0: "clean", 1: "noise"},
        label2id={"clean": 0, "noise": 1},
    )
    LlamaForSequenceClassification(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def generations_path(examples, examples_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("answers") / "generations.parquet"
    rows = [
        {"example_id": r["example_id"], "generation": r["reply"] * (i % 3), "token_count": 1}
        for i, r in enumerate(examples)
        if r["reply_kind"] == "original" and r["prompt_kind"] == "original"
    ]
    same = {"model": "m", "examples": tables.content_digest(examples_path)}
    tables.write(path, "generations", rows, same)
    return path


def classified(classifier, examples_path, generations_path, tmp_path, **settings):
    out = tmp_path / "fluency.parquet"
    classify(examples_path, generations_path, out, FluencySettings(classifier=str(classifier), **settings))
    return {row["example_id"]: row for row in tables.rows(out, "scores", {"model": "m"})}


def test_each_forget_generation_has_the_probability_of_the_class(
    classifier, examples_path, generations_path, tmp_path
):
    clean = classified(classifier, examples_path, generations_path, tmp_path)
    noise = classified(classifier, examples_path, generations_path, tmp_path, label="noise")
    assert set(clean) == {f"forget/{i}/original/0" for i in range(3)}
    for key, row in clean.items():
        assert row["reason"] is None
        assert row["value"] + noise[key]["value"] == pytest.approx(1)


def test_a_text_is_judged_alike_alone_and_in_a_batch(classifier):
    model, tokenizer = load_encoder("text classifier", classifier)
    texts = ["Ann lives in Oslo.", "Ann", "Ann lives in Lima, where she was born."]
    together = probabilities(model, tokenizer, texts, 0)
    assert together == pytest.approx([probabilities(model, tokenizer, [text], 0)[0] for text in texts], rel=1e-5)


def test_an_unknown_class_is_named_with_the_known_ones(classifier, examples_path, generations_path, tmp_path):
    with pytest.raises(UserError, match=r"unknown class 'tidy'.*0 \(clean\), 1 \(noise\)"):
        classified(classifier, examples_path, generations_path, tmp_path, label="tidy")


def test_a_classifier_that_cannot_be_had_gives_reasons_and_no_number(examples_path, generations_path, tmp_path):
    found = classified(tmp_path / "nowhere", examples_path, generations_path, tmp_path)
    assert len(found) == 3
    for row in found.values():
        assert row["value"] is None
        assert "the classifier cannot be had" in row["reason"]
        assert "nowhere" in row["reason"]


def test_a_language_model_is_no_classifier(model_path, examples_path, generations_path, tmp_path):
    found = classified(model_path, examples_path, generations_path, tmp_path)
    assert {"no text classifier" in row["reason"] for row in found.values()} == {True}
