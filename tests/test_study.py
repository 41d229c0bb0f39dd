"""A study is checked whole before anything runs; what is wrong is one line: file, key, value, what is allowed."""

import copy

import pytest
import yaml

from palu.errors import UserError
from palu.study import Study

BASE = {
    "study": "s",
    "benchmark": {"name": "village"},
    "taggers": {"gold": {"name": "annotations"}, "rules": {"name": "spacy"}},
    "methods": {"palu": {"tagger": "gold", "top_k": 50}, "npo": None},
}


def parse(**changes):
    return Study.parse(copy.deepcopy(BASE) | changes, "s.yaml")


def refusal(**changes):
    with pytest.raises(UserError) as caught:
        parse(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lists_are_grids_and_every_combination_meets_every_seed():
    study = parse(methods={"palu": {"tagger": "gold", "first_n": [1, None], "top_k": [10, 20]}}, seeds=[0, 1])
    assert [(run.settings.first_n, run.settings.top_k, run.seed) for run in study.runs] == [
        (n, k, seed) for n in (1, None) for k in (10, 20) for seed in (0, 1)
    ]
    assert study.runs[0].varied == {"first_n": 1, "top_k": 10}


def test_a_method_may_have_seeds_of_its_own():
    study = parse(methods={"npo": {"seeds": [3, 4]}, "gd": {}}, seeds=[0, 1, 2])
    assert [(run.label, run.seed) for run in study.runs] == [("npo", 3), ("npo", 4), ("gd", 0), ("gd", 1), ("gd", 2)]
    assert study.runs[0].varied == {}


def test_a_method_may_stand_twice_under_its_own_labels():
    study = parse(methods={"short": {"method": "palu", "tagger": "gold", "first_n": 1}, "palu": {"tagger": "rules"}})
    assert [(run.label, run.method, run.tagger.label) for run in study.runs] == [
        ("short", "palu", "gold"),
        ("palu", "palu", "rules"),
    ]


def test_a_method_overrides_the_shared_training():
    study = parse(training={"epochs": 4, "learning_rate": "1e-3"}, methods={"npo": {"learning_rate": 5e-4}})
    assert (study.runs[0].training.epochs, study.runs[0].training.learning_rate) == (4, 5e-4)


def test_equal_settings_share_a_path_and_different_ones_do_not():
    keys = [parse(methods={"npo": {"beta": beta}}).runs[0].key for beta in (0.1, 0.1, 0.2)]
    assert keys[0] == keys[1] != keys[2]
    swapped = [
        parse(methods={"gd": {"forget_weight": a, "retain_weight": b}}).runs[0].key
        for a, b in ((1.0, 2.0), (2.0, 1.0))
    ]
    assert swapped[0] != swapped[1]


def test_a_grid_over_alpha_sets_both_of_palus_weights():
    study = parse(methods={"palu": {"tagger": "gold", "top_k": 50, "alpha": [0.2, 1, 5]}})
    assert [(run.settings.common_weight, run.settings.retain_weight) for run in study.runs] == [
        (0.2,) * 2,
        (1, 1),
        (5,) * 2,
    ]
    assert [run.varied for run in study.runs] == [{"alpha": 0.2}, {"alpha": 1}, {"alpha": 5}]
    assert study.runs[1].key == parse().runs[0].key
    message = refusal(methods={"palu": {"tagger": "gold", "top_k": 50, "alpha": [1, 2], "retain_weight": 1}})
    assert "s.yaml: methods.palu" in message
    assert "has both alpha and retain_weight" in message


def test_a_last_step_names_a_run_only_where_it_is_not_the_default():
    keys = [parse(training=training).runs[0].key for training in ({}, {"last_step": "short"}, {"last_step": "drop"})]
    # as before there was a choice
    assert keys[0] == keys[1] == "b60af1aa"
    assert keys[2] != keys[0]


@pytest.mark.parametrize(
    ("taggers", "changes", "expected"),
    [
        (["rules"], {}, "rules"),
        (["rules", "gold"], {}, "gold"),
        (["rules", "gold", "other"], {"tagging": {"gold": "other"}}, "other"),
        (["rules", "gold"], {"evaluation": {"tagger": "rules"}}, "rules"),
    ],
)
def test_the_evaluation_reads_the_tagger_that_it_names_else_gold_spans_else_the_first(taggers, changes, expected):
    kinds = {"rules": {"name": "spacy"}, "gold": {"name": "annotations"}}
    kinds["other"] = {"name": "annotations", "path": "mine.jsonl"}
    study = parse(taggers={name: kinds[name] for name in taggers}, methods={"npo": {}}, **changes)
    assert study.evaluation_tagger.label == expected


def test_the_only_tagger_is_the_default():
    study = parse(taggers={"gold": {"name": "annotations"}}, methods={"palu": {"top_k": 5}})
    assert study.runs[0].tagger.label == "gold"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"benchmrak": {}}, ["s.yaml", "unknown key 'benchmrak' (did you mean 'benchmark'?)"]),
        ({"benchmark": {"name": "tofuu"}}, ["s.yaml: benchmark.name", "'tofuu' (did you mean 'tofu'?)", ", tofu"]),
        ({"benchmark": {}}, ["benchmark: name is missing"]),
        ({"benchmark": {"name": "tofu", "split": "forget07"}}, ["benchmark.split", "'forget07'", "'forget05'"]),
        ({"methods": {"plau": {}}}, ["s.yaml: methods", "unknown method 'plau' (did you mean 'palu'?)"]),
        ({"methods": {}}, ["methods: is empty"]),
        ({"methods": {"npo": {"betta": 1.0}}}, ["methods.npo", "unknown key 'betta' (did you mean 'beta'?)"]),
        ({"methods": {"npo": {"beta": "0.1"}}}, ["methods.npo.beta", "'0.1'", "write it without quotes"]),
        ({"methods": {"npo": {"beta": []}}}, ["methods.npo.beta", "has no value to try"]),
        ({"methods": {"npo": {"tagger": "gold"}}}, ["methods.npo.tagger", "reads no spans"]),
        (
            {"methods": {"palu": {"tagger": "gold", "top_k": 0}}},
            ["methods.palu.top_k", "0", "greater than or equal to 1"],
        ),
        ({"methods": {"palu": {"tagger": "gold", "first_n": 0}}}, ["methods.palu.first_n", "0"]),
        ({"methods": {"palu": {}}}, ["methods.palu.tagger", "is missing", "gold, rules"]),
        ({"methods": {"palu": {"tagger": "glod"}}}, ["unknown tagger 'glod' (did you mean 'gold'?)"]),
        ({"methods": {"palu": {"tagger": "gold", "top_k": 6000}}}, ["6000 exceeds", "reference.top_k = 5000"]),
        ({"methods": {"../palu": {"method": "palu"}}}, ["'../palu' cannot be a folder"]),
        ({"taggers": {"x": {"name": "spicy"}}}, ["taggers.x.name", "unknown tagger 'spicy' (did you mean 'spacy'?)"]),
        ({"model": {"template": "plane"}}, ["model.template", "'plane'", "'plain'"]),
        ({"study": "../x"}, ["study", "'../x'"]),
        ({"seeds": [1, 1]}, ["seeds", "1 stands twice"]),
        ({"methods": {"npo": {"seeds": [2, 2]}}}, ["methods.npo.seeds", "2 stands twice"]),
        ({"methods": {"npo": {"seeds": 1}}}, ["methods.npo", "seeds", "list"]),
        ({"seeds": ["1"]}, ["seeds.0", "'1'", "without quotes"]),
        ({"training": {"learning_rate": 0}}, ["training.learning_rate", "greater than 0"]),
        ({"training": {"optimizer": "sgd"}}, ["training.optimizer", "'sgd'", "'paged_adamw_8bit'"]),
        ({"training": {"lora": {"rnk": 8}}}, ["training.lora", "unknown key 'rnk' (did you mean 'rank'?)"]),
        ({"training": {"lora": {"targets": []}}}, ["training.lora.targets", "names no layer", "all-linear"]),
        ({"machine": {"micro_batch_tokens": 0}}, ["machine.micro_batch_tokens", "0", "greater than or equal to 1"]),
        ({"machine": {"trackers": ["mlflow"]}}, ["machine.trackers.0", "'mlflow'", "'tensorboard' or 'wandb'"]),
        ({"methods": {"npo": {"packed": False}}}, ["methods.npo", "unknown key 'packed'"]),
        ({"trajectory_epochs": [10]}, ["trajectory_epochs", "10", "allowed: 1 to 9"]),
        ({"evaluation": {"tagger": "x"}}, ["evaluation.tagger", "'x'", "gold, rules"]),
        ({"benchmark": "village"}, ["benchmark", "'village'"]),
    ],
)
def test_a_bad_study_is_one_line(changes, parts):
    message = refusal(**changes)
    for part in parts:
        assert part in message, message


def test_yaml_reads_a_bare_exponent_as_text_and_the_study_as_a_number():
    values = yaml.safe_load("learning_rate: 1e-5")
    assert isinstance(values["learning_rate"], str)
    assert parse(training=values).runs[0].training.learning_rate == 1e-5


STOP = {"stop": {"probability": 0.1}}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"training": STOP}, ["s.yaml: methods.palu: stop watches", "set benchmark.validation_people above 0"]),
        ({"methods": {"npo": STOP}}, ["s.yaml: methods.npo: stop watches rows of part 'validation'"]),
        ({"training": STOP, "benchmark": {"name": "tofu"}}, ["set benchmark.validation: a split", "forget10"]),
        ({"training": {"stop": {"probability": 0}}}, ["s.yaml: training.stop.probability", "greater than 0"]),
        ({"training": {"stop": {"probability": 1}}}, ["s.yaml: training.stop.probability", "less than 1"]),
        ({"training": {"stop": {}}}, ["s.yaml: training.stop.probability: is missing"]),
        ({"methods": {"npo": {"stop": 0.1}}}, ["s.yaml: methods.npo.stop: 0.1"]),
        ({"finetune": STOP}, ["s.yaml: finetune.stop", "is for unlearning; allowed here: null"]),
        (
            {"benchmark": {"name": "village", "validation_people": 40}},
            [
                "s.yaml: benchmark.validation_people: 40",
                "allowed: forget_from + forget_people + validation_people <= 40",
            ],
        ),
    ],
)
def test_a_stop_that_nothing_could_reach_is_one_line(changes, parts):
    message = refusal(**changes)
    for part in parts:
        assert part in message, message


def test_a_stop_is_a_setting_of_a_run_and_may_be_a_grid():
    watched = {"benchmark": {"name": "village", "validation_people": 4}}
    study = parse(training=STOP, methods={"npo": {"stop": [None, {"probability": "5e-2"}]}, "gd": None}, **watched)
    assert [run.training.stop and run.training.stop.probability for run in study.runs] == [None, 0.05, 0.1]
    assert len({run.key for run in study.runs}) == 3
    assert study.runs[1].values["training"]["stop"] == {"probability": 0.05}
    assert study.benchmark.key != parse().benchmark.key
    assert parse(**watched).runs[0].training.stop is None, "further people alone stop nothing"


def test_the_roles_of_a_study_follow_what_it_gives():
    assert parse().checkpoints == {"original": None, "retain": None}
    given = parse(model={"checkpoint": "owner/full"})
    assert given.checkpoints == {"original": "owner/full"}
    both = parse(model={"checkpoint": "owner/full", "retain_checkpoint": "owner/retain"})
    assert both.checkpoints == {"original": "owner/full", "retain": "owner/retain"}
    base = parse(model={"base_checkpoint": "owner/base"})
    assert base.checkpoints == {"original": None, "retain": None}


def test_what_leaves_the_model_alone_leaves_its_path_alone():
    assert parse().model_key == parse(seeds=[3], training={"epochs": 3}).model_key
    assert parse().model_key != parse(finetune={"epochs": 3}).model_key
    given = {"checkpoint": "owner/full"}
    assert parse(model=given).model_key == parse(model=given, finetune={"epochs": 3}).model_key


def test_the_machine_leaves_every_path_and_description_alone():
    plain, other = parse(), parse(machine={"micro_batch_tokens": 64, "gradient_checkpointing": True})
    assert other.machine.micro_batch_tokens == 64
    assert plain.description() == other.description()
    assert [run.description() for run in plain.runs] == [run.description() for run in other.runs]
    assert plain.model_key == other.model_key


def test_an_adapter_is_part_of_a_run_and_can_be_one_value_of_a_grid():
    study = parse(methods={"npo": {"lora": [None, {"rank": 4}]}})
    assert [run.values["training"]["lora"] for run in study.runs] == [
        None,
        {"rank": 4, "alpha": 32.0, "targets": "all-linear"},
    ]
    assert study.runs[0].key != study.runs[1].key


def test_what_only_the_arithmetic_reads_leaves_the_evaluations_path_alone():
    assert parse().evaluation_key == parse(evaluation={"first_n": 1, "tagger": "rules"}).evaluation_key
    assert parse().evaluation_key != parse(evaluation={"max_new_tokens": 20}).evaluation_key


def test_a_benchmark_whose_prompts_are_whole_texts_allows_no_template_around_them():
    muse = {"benchmark": {"name": "muse"}, "methods": {"npo": None}}
    assert refusal(**muse) == (
        "s.yaml: model.template: 'plain' would write around the prompts of benchmark muse, which are whole texts; "
        "allowed: raw"
    )
    assert parse(**muse, model={"template": "raw"}).model.template == "raw"


NO_RETAIN = {"name": "custom", "forget": "forget.jsonl", "retain": None}


@pytest.mark.parametrize(
    ("method", "use"),
    [
        ("npo", "the retain term, of weight 1,"),
        ("pdu", "the retain term, of weight 100,"),
        ("rmu", "the reference's hidden states after one block at the retain rows"),
    ],
)
def test_a_method_that_needs_retain_rows_is_refused_where_there_are_none(method, use):
    assert refusal(benchmark=NO_RETAIN, methods={method: None}) == (
        f"s.yaml: methods.{method}: {use} needs retain rows, and benchmark.retain is null; "
        "allowed: a file of them, a weight of 0, or another method"
    )


def test_without_retain_rows_methods_run_without_that_term_and_no_retain_model_is_trained():
    study = parse(benchmark=NO_RETAIN, methods={"npo": {"retain_weight": 0}, "ga": None})
    assert [run.method for run in study.runs] == ["npo", "ga"]
    assert study.checkpoints == {"original": None}
    assert study.description()["notes"][0].startswith("no retain rows were given")
    given = parse(
        benchmark=NO_RETAIN, methods={"ga": None}, model={"checkpoint": "mine", "retain_checkpoint": "without"}
    )
    assert given.checkpoints == {"original": "mine", "retain": "without"}


def test_the_evidence_is_about_a_method_of_the_study():
    assert parse(report={"evidence": "palu"}).description()["evidence"] == "palu"
    assert parse().description()["evidence"] is None
    with pytest.raises(UserError, match=r"s\.yaml: report\.evidence: unknown method 'plau'.*allowed: .*palu"):
        parse(report={"evidence": "plau"})


def test_each_run_of_a_grid_has_the_learning_rate_of_what_it_trains() -> None:
    adapter = {"rank": 4}
    study = parse(methods={"npo": {"lora": [None, adapter]}})
    assert [run.training.learning_rate for run in study.runs] == [1e-5, 1e-4]
    asked = parse(training={"learning_rate": 1e-4}, methods={"npo": {"lora": adapter}})
    assert asked.runs[0].key == study.runs[1].key != study.runs[0].key
    shared = parse(
        training={"lora": adapter}, methods={"npo": {}, "gd": {"lora": None}, "ga": {"learning_rate": 3e-5}}
    )
    assert [run.training.learning_rate for run in shared.runs] == [1e-4, 1e-5, 3e-5]


@pytest.mark.parametrize(
    ("asked", "reference", "indexed"),
    [(1, {}, 5), ([2, 7], {}, 7), ([3, None], {}, None), (3, {"first_n": 2}, 3), (3, {"first_n": 9}, 9)],
)
def test_the_ranking_is_kept_at_as_many_tokens_of_a_run_as_any_method_reads(asked, reference, indexed):
    study = parse(methods={"palu": {"tagger": "gold", "first_n": asked}, "npo": None}, reference=reference)
    assert study.indexed_first_n == indexed
