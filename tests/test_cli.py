"""Every stage is a plain command: its settings are text, its errors are one line."""

import json

import pytest

from palu import cli, tables
from palu.cli import values
from palu.errors import UserError


def run(capsys, *arguments):
    status = cli.main([str(argument) for argument in arguments])
    return status, capsys.readouterr().err


def test_settings_come_from_a_file_from_text_and_from_single_keys(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("beta: 0.5\nforget_weight: 2.0\n")
    parser = cli.parser()
    base = ["score", "--examples", "x", "--evaluation", "y"]
    options = parser.parse_args([*base, "--settings", str(path), "--set", "beta=0.1", "--set", "first_n=null"])
    assert values.merged(options) == {"beta": 0.1, "forget_weight": 2.0, "first_n": None}
    options = parser.parse_args([*base, "--settings", '{"beta": 3}'])
    assert values.merged(options) == {"beta": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent.yaml", "--settings: absent.yaml: no such file"),
        ("{a: ", "--settings: not valid YAML"),
        ("{1, 2}: 3", "--settings: not valid YAML"),
    ],
)
def test_unreadable_settings_are_one_line(text, message):
    with pytest.raises(UserError) as caught:
        values.read_mapping(text, "--settings")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pair", ["beta", "=1", "beta=[1"])
def test_a_broken_assignment_is_refused(pair):
    with pytest.raises(UserError, match="--set"):
        values.assignments([pair])


def test_a_users_mistake_is_one_line_and_exit_status_1(tmp_path, capsys):
    out = ("--out", tmp_path / "e.parquet", "--gold-out", tmp_path / "g.parquet")
    status, error = run(capsys, "benchmark", "--name", "vilage", *out)
    assert status == 1
    allowed = "allowed: custom, muse, tofu, village"
    assert error == f"palu: error: --name: unknown benchmark 'vilage' (did you mean 'village'?); {allowed}\n"
    status, error = run(capsys, "benchmark", "--name", "village", "--set", "people=0", *out)
    assert status == 1
    assert error.startswith("palu: error: benchmark village: people: 0 should be greater than or equal to")
    assert list(tmp_path.iterdir()) == []


def test_benchmark_and_tag_run_as_the_readme_says(tmp_path, capsys):
    examples, gold, spans = (tmp_path / f"{name}.parquet" for name in ("rows", "gold", "spans"))
    run(capsys, "benchmark", "--name", "village", "--set", "people=12", "--out", examples, "--gold-out", gold)
    status, error = run(capsys, "tag", "--tagger", "spacy", "--examples", examples, "--out", spans)
    assert (status, error) == (0, "")
    tagged = {row["example_id"] for row in tables.rows(spans, "spans")}
    forget = {
        row["example_id"]
        for row in tables.rows(examples, "examples")
        if row["part"] == "forget" and row["reply_kind"] == "original" and row["prompt_kind"] == "original"
    }
    assert tagged <= forget
    assert len(tagged) > 0.9 * len(forget)


def test_a_missing_model_is_one_line_at_every_stage_that_loads_one(tmp_path, capsys):
    examples = tmp_path / "rows.parquet"
    run(capsys, "benchmark", "--name", "village", "--set", "people=8", "--set", "forget_people=1", "--out", examples,
        "--gold-out", tmp_path / "gold.parquet")  # fmt: skip
    common = ("--model", tmp_path / "absent", "--examples", examples)
    for stage in (
        ("reference", *common, "--out", tmp_path / "states.parquet"),
        ("infer", *common, "--out", tmp_path / "evaluation"),
        ("unlearn", *common, "--method", "gd", "--out", tmp_path / "run"),
    ):
        status, error = run(capsys, *stage)
        assert status == 1
        assert f"{tmp_path / 'absent'}: no such model folder" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "states.parquet").exists()
    assert not (tmp_path / "run" / "model").exists()


def test_a_methods_settings_and_the_optimisers_share_set(tmp_path, capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr("palu.training.unlearn.unlearn", lambda **arguments: seen.update(arguments))
    status, _ = run(
        capsys, "unlearn", "--model", tmp_path, "--examples", tmp_path, "--out", tmp_path, "--method", "npo",
        "--set", "beta=0.5", "--set", "epochs=3", "--training", json.dumps({"learning_rate": 0.1}),
        "--keep-epochs", "1,2",
    )  # fmt: skip
    assert status == 0
    assert seen["method_settings"].beta == 0.5
    assert (seen["settings"].epochs, seen["settings"].learning_rate) == (3, 0.1)
    assert seen["keep_epochs"] == [1, 2]


def test_every_file_of_the_reference_reaches_the_training_under_its_name(tmp_path, capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr("palu.training.unlearn.unlearn", lambda **arguments: seen.update(arguments))
    options = {
        "spans": "spans",
        "states": "states",
        "top-k-index": "topk",
        "retain-states": "retain_states",
        "retain-layer-states": "retain_layer_states",
        "alternate-states": "alternates",
        "alternates": "rows",
    }
    files = [part for option, name in options.items() for part in (f"--{option}", tmp_path / name)]
    common = ("--model", tmp_path, "--examples", tmp_path, "--out", tmp_path, "--method", "npo")
    assert run(capsys, "unlearn", *common, *files)[0] == 0
    assert seen["spans_path"] == tmp_path / "spans"
    assert seen["alternates_path"] == tmp_path / "rows"
    paths = vars(seen["reference_paths"])
    assert paths == {name: tmp_path / name for name in paths}
    assert run(capsys, "unlearn", *common)[0] == 0
    assert set(vars(seen["reference_paths"]).values()) == {seen["alternates_path"]} == {None}


def test_what_is_kept_of_the_reference_is_an_option(tmp_path, capsys, monkeypatch):
    seen = {}
    monkeypatch.setattr("palu.reference.states.write_states", lambda **arguments: seen.update(arguments))
    common = ("reference", "--model", tmp_path, "--examples", tmp_path, "--out", tmp_path)
    for more, parts, layer, hidden in (
        ((), ["forget", "validation"], None, True),
        (("--parts", "retain", "--layer", "3"), ["retain"], 3, True),
        (("--parts", "alternate", "--log-probs-only"), ["alternate"], None, False),
    ):
        assert run(capsys, *common, *more)[0] == 0
        assert (seen["parts"], seen["kept"].layer, seen["kept"].hidden) == (parts, layer, hidden)


def test_refusals_are_drawn_by_a_command(tmp_path, capsys):
    examples, out = tmp_path / "rows.parquet", tmp_path / "alternates.parquet"
    run(capsys, "benchmark", "--name", "village", "--set", "people=8", "--set", "forget_people=1", "--out", examples,
        "--gold-out", tmp_path / "gold.parquet")  # fmt: skip
    (tmp_path / "refusals.txt").write_text("No.\nWho knows?\n", encoding="utf-8")
    common = ("--examples", examples, "--refusals", tmp_path / "refusals.txt", "--out", out)
    assert run(capsys, "alternates", *common, "--count", "2") == (0, "")
    # sixteen questions about one person
    assert len(tables.rows(out, "examples")) == 32
    status, error = run(capsys, "alternates", *common, "--count", "3")
    assert (status, error.count("\n")) == (1, 1)
    assert "3 replies are asked for; allowed: up to 2, as it holds" in error


def test_a_published_log_is_aggregated_without_a_model(shared, tmp_path, capsys):
    logs = shared / "oracles" / "tofu-logs"
    status, error = run(
        capsys, "score-logs", "--logs", logs / "Llama-2-7b-chat-hf.full.forget05.json",
        "--retain-logs", logs / "Llama-2-7b-chat-hf.retain95.json", "--out", tmp_path,
    )  # fmt: skip
    assert (status, error) == (0, "")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["forget_quality"] == pytest.approx(5.86730162802883e-14, rel=1e-9)
    assert summary["model_utility"] == pytest.approx(0.6275553508047139, abs=1e-9)


def test_tags_are_combined_and_scored_as_the_documentation_says(tmp_path, capsys):
    examples, gold, rules, noisy, both = (
        tmp_path / f"{name}.parquet" for name in ("e", "g", "rules", "noisy", "both")
    )
    run(capsys, "benchmark", "--name", "village", "--set", "people=8", "--set", "forget_people=1", "--out", examples,
        "--gold-out", gold)  # fmt: skip
    tag = ("tag", "--examples", examples)
    assert run(capsys, *tag, "--tagger", "spacy", "--out", rules) == (0, "")
    mistakes = ("--set", "precision=0.8", "--set", "recall=0.5")
    assert run(capsys, *tag, "--tagger", "noisy", "--gold", gold, *mistakes, "--out", noisy) == (0, "")
    assert run(capsys, *tag, "--tagger", "union", "--inputs", rules, noisy, "--out", both) == (0, "")
    recall = {}
    for spans in (rules, noisy, both):
        capsys.readouterr()
        assert (
            cli.main(
                ["score-tags", "--predicted", str(spans), "--gold", str(gold), "--examples", str(examples), "--json"]
            )
            == 0
        )
        recall[spans] = json.loads(capsys.readouterr().out)["units"]["character"]["recall"]
    assert recall[both] >= max(recall[rules], recall[noisy])
    assert recall[noisy] == pytest.approx(0.5, abs=0.1)


def test_what_a_tagger_lacks_is_one_line(tmp_path, capsys):
    examples, gold = tmp_path / "e.parquet", tmp_path / "g.parquet"
    few = ("--set", "people=8", "--set", "forget_people=1")
    run(capsys, "benchmark", "--name", "village", *few, "--out", examples, "--gold-out", gold)
    tag = ("tag", "--examples", examples, "--out", tmp_path / "t.parquet", "--tagger")
    for name, what in (
        ("surprisal", "reads the model"),
        ("union", "0 spans tables are given to combine"),
        ("noisy", "precision: is missing"),
        ("annotations", "no gold spans were given"),
    ):
        status, error = run(capsys, *tag, name)
        assert status == 1
        assert error.count("\n") == 1
        assert what in error
    status, error = run(capsys, "train-tagger", "--tagger", "spacy", "--examples", examples, "--out", tmp_path / "f")
    assert (status, error) == (
        1,
        "palu: error: --tagger: 'spacy' is not trained; allowed: one that is, such as 'trained'\n",
    )
    assert not (tmp_path / "t.parquet").exists()
