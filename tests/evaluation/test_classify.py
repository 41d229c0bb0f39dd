from types import SimpleNamespace

import pytest
import torch
from transformers import BatchEncoding, LlamaConfig, LlamaForSequenceClassification

from palu import tables
from palu.errors import UserError
from palu.evaluation.classify import MAX_LENGTHS, classify, probabilities
from palu.evaluation.settings import FluencySettings
from palu.models import load_tokenizer
from palu.models.encoders import load_encoder
from tests.evaluation import cases


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
    together = probabilities(model, tokenizer, texts, 0, 32)
    assert together == pytest.approx([probabilities(model, tokenizer, [text], 0, 32)[0] for text in texts], rel=1e-5)


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


def test_the_classifier_reads_32_tokens_of_an_answer_and_512_of_a_document_as_openunlearnings_configs_say():
    assert MAX_LENGTHS == {"forget": 32, "verbmem": 512}


@pytest.mark.parametrize(
    ("part", "max_length", "words_read"),
    [("forget", None, 32), ("verbmem", None, 512), ("forget", 512, 512), ("verbmem", 32, 32), ("forget", 40, 40)],
    ids=["tofu-like", "muse", "tofu-like, set", "muse, set", "tofu-like, set to 40"],
)
def test_the_limit_follows_the_benchmark_unless_it_is_set(tmp_path, monkeypatch, part, max_length, words_read):
    read = []

    class Tokenizer:
        def __call__(self, texts, max_length, **_):
            read.append(max_length)
            count = torch.tensor([[min(len(text.split()), max_length)] for text in texts])
            return BatchEncoding({"input_ids": count})

    class Classifier(torch.nn.Module):
        device = "cpu"

        def forward(self, input_ids):
            return SimpleNamespace(logits=torch.cat([input_ids.log(), torch.zeros(len(input_ids), 1)], -1))

    monkeypatch.setattr("palu.evaluation.classify.load_encoder", lambda *_: (Classifier(), Tokenizer()))
    monkeypatch.setattr("palu.evaluation.classify.class_index", lambda *_: 0)
    rows, answers, out = (tmp_path / f"{name}.parquet" for name in ("rows", "generations", "fluency"))
    tables.write(rows, "examples", [cases.row(f"{part}/0/original/0")], {"benchmark": "made-up"})
    same = {"model": "m", "examples": tables.content_digest(rows)}
    said = [{"example_id": f"{part}/0/original/0", "generation": "a " * 600, "token_count": 600}]
    tables.write(answers, "generations", said, same)
    classify(rows, answers, out, FluencySettings(classifier="x", max_length=max_length))
    (found,) = tables.rows(out, "scores", {"model": "m", "max_length": str(words_read)})
    # logits log n and 0: n / (n + 1), where n words were read
    assert found["value"] == pytest.approx(words_read / (words_read + 1))
    assert read == [words_read]


def test_another_limit_is_another_table_of_the_study():
    keys = {FluencySettings(max_length=length).key for length in (None, 32, 512)}
    assert len(keys) == 3
