"""A whole evaluation on a small MUSE, from an untrained model to the summary."""

import json
import zlib

import pytest
from rouge_score.rouge_scorer import RougeScorer

from palu import benchmarks, tables
from palu.cli import main
from palu.evaluation.evaluate import evaluate
from palu.evaluation.knowledge import own_answer
from palu.evaluation.score import score_log
from palu.evaluation.settings import EvaluationSettings, FluencySettings
from palu.models import Architecture, ModelSettings, build_from_scratch, load_model, load_tokenizer, save_model
from tests import muse_layout

MODEL = ModelSettings(template="raw", max_length=256)
SETTINGS = EvaluationSettings(
    verbmem_new_tokens=20, knowmem_new_tokens=6, max_new_tokens=3, fluency=FluencySettings(classifier=None)
)


@pytest.fixture(scope="module")
def examples_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("muse")
    settings = benchmarks.load("muse").Settings(source=str(muse_layout.write(folder / "source")), icl_examples=1)
    benchmarks.prepare("muse", settings, folder / "examples.parquet", folder / "gold.parquet")
    return folder / "examples.parquet"


@pytest.fixture(scope="module")
def model_path(examples_path, tmp_path_factory):
    texts = [row["prompt"] + row["reply"] for row in tables.rows(examples_path, "examples")]
    architecture = Architecture(vocab_size=300, hidden_size=32, intermediate_size=48, max_positions=512)
    model, tokenizer = build_from_scratch(architecture, texts, seed=3)
    # An untrained model of the usual small weights finds all tokens alike
    for parameter in model.parameters():
        parameter.data.mul_(8 if parameter.dim() > 1 else 1)
    folder = tmp_path_factory.mktemp("untrained") / "model"
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(model_path, examples_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    scored = evaluate(model_path, examples_path, folder, MODEL, SETTINGS)
    return folder, scored


def test_each_part_is_asked_for_its_own_number_of_tokens_and_documents_for_none(evaluated, examples_path):
    folder, _ = evaluated
    part = {row["example_id"]: row["part"] for row in tables.rows(examples_path, "examples")}
    longest = {}
    for row in tables.rows(folder / "generations.parquet", "generations"):
        name = part[row["example_id"]]
        longest[name] = max(longest.get(name, 0), row["token_count"])
    assert longest == {"verbmem": 20, "knowmem_forget": 6, "knowmem_retain": 6}


def test_the_metrics_are_what_the_packages_scorer_gives_for_the_same_texts(evaluated, examples_path, model_path):
    folder, scored = evaluated
    tokenizer = load_tokenizer(model_path)
    said = {row["example_id"]: row["generation"] for row in tables.rows(folder / "generations.parquet", "generations")}
    found = {name: [] for name in ("verbmem", "knowmem_forget", "knowmem_retain")}
    peers = {name: [] for name in found}
    plain, stemmed = (RougeScorer(["rougeL"], use_stemmer=use) for use in (False, True))
    for row in tables.rows(examples_path, "examples"):
        if row["part"] not in found:
            continue
        answer, true = said[row["example_id"]], row["reply"]
        if row["part"] == "verbmem":
            true = tokenizer.decode(tokenizer(true, add_special_tokens=False)["input_ids"][:20])
        else:
            answer = own_answer(answer)
        found[row["part"]].append(plain.score(true, answer)["rougeL"].fmeasure)
        peers[row["part"]].append(stemmed.score(row["reply"], answer)["rougeL"].fmeasure)
    names = {
        "verbmem": "verbatim_memorization",
        "knowmem_forget": "knowledge_memorization_forget",
        "knowmem_retain": "knowledge_memorization_retain",
    }
    for part, name in names.items():
        assert scored.summary[name] == pytest.approx(sum(found[part]) / 4, rel=1e-12)
        assert scored.summary[f"{name}_stemmed"] == pytest.approx(sum(peers[part]) / 4, rel=1e-12)


def test_the_peers_names_read_the_texts_tokens_and_no_end_token(evaluated, examples_path, model_path):
    folder, _ = evaluated
    tokenizer, model = load_tokenizer(model_path), load_model(model_path)
    scores = {
        (row["metric"], row["example_id"]): row["value"] for row in tables.rows(folder / "scores.parquet", "scores")
    }
    seen = 0
    for row in tables.rows(examples_path, "examples"):
        if row["part"] not in ("verbmem", "privleak_forget"):
            continue
        ids = tokenizer(row["prompt"] + row["reply"], return_tensors="pt")["input_ids"]
        first = len(tokenizer(row["prompt"])["input_ids"])
        log_p = model(ids).logits[0, first - 1 : -1].log_softmax(-1)
        labels = ids[0, first:]
        own = log_p.gather(1, labels[:, None])[:, 0]
        hits = (log_p.argmax(1) == labels)[:-1].tolist()
        if row["part"] == "verbmem":
            known = next(k for k in range(len(hits)) if all(hits[k:]) or k == len(hits) - 1)
            expected = {"exact_memorization": sum(hits) / len(hits), "extraction_strength": 1 - known / len(hits)}
        else:
            worst = own[:-1].sort().values[: int(0.4 * (len(own) - 1))]
            loss = -float(own.detach().mean())
            packed = len(zlib.compress(row["reply"].encode()))
            expected = {"loss": loss, "zlib": loss / packed, "min_k": -float(worst.detach().mean())}
            expected = {f"forget_mia_{name}": value for name, value in expected.items()}
        for name, value in expected.items():
            assert scores[name, row["example_id"]] == pytest.approx(value, rel=1e-4), name
            seen += 1
    assert seen == 4 * 2 + 3 * 3


def test_what_documents_cannot_tell_is_null_with_its_reason(evaluated):
    _, scored = evaluated
    assert scored.reasons["forget_rouge"] == "a document has no prompt to answer"
    assert scored.reasons["forget_quality"] == "benchmark muse has no perturbed replies in part forget"
    assert scored.reasons["model_utility"] == "benchmark muse tells utility by knowledge_memorization_retain"
    assert scored.reasons["privleak"].startswith("no scores of a retain model were given")
    for name in ("forget_probability", "exact_memorization", "extraction_strength", "empty_answers"):
        assert scored.summary[name] is not None


def test_attacks_compare_the_texts_that_the_benchmark_has_for_them(evaluated):
    folder, scored = evaluated
    rows = tables.rows(folder / "scores.parquet", "scores")
    for side, count in (("forget", 3), ("holdout", 6)):
        ids = [row["example_id"] for row in rows if row["metric"] == f"{side}_mia_min_k"]
        assert len(ids) == count
        assert all(example_id.startswith(f"privleak_{side}/") for example_id in ids)
    assert all(scored.summary[f"mia_{name}"] is not None for name in ("loss", "zlib", "min_k", "min_k_plus_plus"))
    assert scored.summary["mia_gradnorm"] is not None


@pytest.mark.parametrize("name", ["scores.parquet", "open_unlearning.json"])
def test_privleak_of_a_model_against_itself_is_zero(evaluated, examples_path, model_path, tmp_path, name):
    folder, _ = evaluated
    for table in ("generations", "logprobs", "gradient_norms"):
        (tmp_path / f"{table}.parquet").write_bytes((folder / f"{table}.parquet").read_bytes())
    scored = evaluate(model_path, examples_path, tmp_path, MODEL, SETTINGS, retain_scores_path=folder / name)
    assert scored.summary["privleak"] == 0
    assert scored.summary["mia_reference"] == 0.5


def test_the_peers_layout_has_its_names_and_is_read_back(evaluated, tmp_path):
    folder, scored = evaluated
    log = json.loads((folder / "open_unlearning.json").read_text())
    assert set(log) == {
        "forget_verbmem_ROUGE",
        "forget_knowmem_ROUGE",
        "retain_knowmem_ROUGE",
        "forget_gibberish",
        "exact_memorization",
        "extraction_strength",
        "privleak",
        *(f"mia_{attack}" for attack in ("loss", "zlib", "min_k", "min_k_plus_plus", "reference", "gradnorm")),
    }
    assert log["forget_knowmem_ROUGE"]["agg_value"] == scored.summary["knowledge_memorization_forget_stemmed"]
    cell = log["forget_verbmem_ROUGE"]["value_by_index"]["0"]
    assert set(cell) == {"rougeL_f1", "input", "ground_truth", "generation"}
    assert cell["input"] + " " + cell["ground_truth"] == muse_layout.passage("Elm", 0)
    again = score_log(folder / "open_unlearning.json", tmp_path, folder / "open_unlearning.json")
    same = (
        "verbatim_memorization_stemmed",
        "knowledge_memorization_retain_stemmed",
        "exact_memorization",
        "mia_min_k",
    )
    assert {name: again.summary[name] for name in same} == {
        name: pytest.approx(scored.summary[name], rel=1e-12) for name in same
    }
    assert again.reasons["verbatim_memorization"] == "the peer's log has the ROUGE of stemmed words alone"
    assert again.summary["privleak"] == 0


def test_the_command_asks_verbatim_and_refuses_another_template(model_path, tmp_path, capsys):
    source = muse_layout.write(tmp_path / "source")
    command = ["evaluate", "--model", str(model_path), "--benchmark", "muse", "--data", str(source)]
    command += ["--max-length", "256", "--forget-split", "sust_3", "--set", "verbmem_words=20"]
    settings = {**SETTINGS.model_dump(mode="json"), "gradient_norms": False, "parts": ["verbmem", "knowmem_retain"]}
    assert main([*command, "--template", "plain", "--out", str(tmp_path / "no")]) == 1
    assert "--template: 'plain'; allowed for benchmark muse: raw" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert main([*command, "--settings", json.dumps(settings), "--out", str(tmp_path / "out")]) == 0
    assert "knowledge_memorization_retain " in capsys.readouterr().out
    facts = tables.provenance(tmp_path / "out" / "logprobs.parquet")
    assert (facts["template"], facts["max_length"]) == ('{"template":"raw"}', "256")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["verbatim_memorization"] is not None
    assert summary["mia_loss"] is None
