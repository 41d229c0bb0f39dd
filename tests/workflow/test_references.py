"""A method that reads more of the frozen reference, or other replies, gets them: made once, and only then."""

import re
import shutil

from tests.workflow.conftest import ROOT

MORE = {
    "dpo": {},
    "dpo-b": {"method": "dpo", "beta": 0.5},
    "gd": {},
    "gd-kl": {"method": "gd", "retain_loss": "kl"},
}


def test_the_reference_is_asked_for_what_the_methods_read_and_for_no_more(project, study):
    (project.folder / "data").mkdir(exist_ok=True)
    shutil.copy(ROOT / "data" / "refusals.txt", project.folder / "data")
    assert "cache_retain_states" not in project.planned(study | {"methods": study["methods"] | {"gd": {}}})
    more = study | {"methods": study["methods"] | MORE}
    plan = project.planned(more)
    once = {"draw_alternates": 1, "cache_alternates": 1, "cache_retain_states": 1}
    assert {rule: count for rule, count in plan.items() if rule in once} == once
    assert plan["unlearn_model"] == len(MORE)
    assert "cache_states" not in plan
    done = project.snakemake(more, "--until", "unlearn_model")
    assert done.returncode == 0, done.stderr
    other_list = more | {"reference": study["reference"] | {"alternates": 2}}
    changed = project.planned(other_list)
    assert changed["draw_alternates"] == changed["cache_alternates"] == 1
    assert "cache_retain_states" not in changed


def test_a_layer_that_is_asked_for_is_cached_under_its_number(project, study):
    plan = project.planned(study | {"methods": {"rmu": {"layer": [0, 1]}}})
    assert plan["cache_layer_states"] == 2
    assert plan["unlearn_model"] == 2


def test_trainings_in_mixed_precision_read_a_reference_of_their_own(project, study):
    both = study["methods"]["palu"] | {"mixed_precision": ["no", "bf16"]}
    # the reference of the default is there already
    plan = project.planned(study | {"methods": {"palu": both}})
    assert {rule: plan[rule] for rule in ("cache_states", "index_top_k", "unlearn_model")} == {
        "cache_states": 1,
        "index_top_k": 1,
        "unlearn_model": 1,
    }
    shown = project.snakemake(study | {"methods": {"palu": both}}, "--dry-run", "--printshellcmds")
    command = r"palu reference .* --mixed-precision bf16 --out \S*/reference-bf16/states\.parquet"
    assert re.search(command, shown.stdout + shown.stderr)


def test_more_tokens_of_a_run_than_are_indexed_widen_the_index(project, study):
    assert "index_top_k" not in project.planned(
        study | {"methods": {"palu": study["methods"]["palu"] | {"first_n": 4}}}
    )
    wider = study | {"methods": {"palu": study["methods"]["palu"] | {"first_n": 6}}}
    assert project.planned(wider)["index_top_k"] == 1
