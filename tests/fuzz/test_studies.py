"""Whatever a study file holds, it is read or refused in one line."""

import copy
import json
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from palu import cli, plain
from palu.cli.values import assignments, read_mapping
from palu.errors import UserError
from palu.planning import jobs
from palu.study import Study
from tests.fuzz.outcomes import ANY_TEXT, JSON_VALUES, damaged, examples, refusal

STUDIES = sorted((Path(__file__).parents[2] / "config").glob("*.yaml"))
# Values that a YAML text can have and a JSON text cannot, and those that a parser stumbles over.
YAML_TEXTS = st.sampled_from(
    [
        *("!!bool 3", "!!int ''", "!!float x", "!!timestamp x", "2020-99-99", "2020-01-01", "!!binary x"),
        *("!!set {a, b}", "!!python/object:os.system {}", "!!python/tuple [1]", "!x y", "&a [*a]", "*none"),
        *("? [1]\n: 2", "{1: 2}", "{null: 1}", "{true: 1}", "0x" + "f" * 4000, "1" * 5000, ".nan", "-.inf", "1e999"),
        *("1:30:00", "0o7_7", "'\\0'", '"\\ud800"', '"\\0"', '"\\e[2J"', "|\n  a\n  b", "[" * 500, "{a: " * 500),
        *("a: 1\na: 2", "{a: 1, a: 2}", "<<: 1", "{<<: [{a: 1}, {b: 2}]}", "%YAML 9.9", "--- 1\n--- 2", "\t"),
        *("\x07", "\ufeffa: 1", "a: b: c", "'", "@", "`", "!", "&"),
    ]
)


@cache
def study(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def parse(values):
    """Everything that the workflow asks of a study before it starts a job."""
    found = Study.parse(values, "study.yaml")
    json.dumps(found.description())
    return [found.model_key, found.evaluation_key, found.benchmark.key, *(run.description() for run in found.runs)]


def places(values, path=()):
    """The path of every value in nested mappings and lists."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(draw, values):
    """A study with one of its values replaced, dropped, renamed or wrapped."""
    values = copy.deepcopy(values)
    *above, last = draw(st.sampled_from(sorted(places(values), key=str)))
    inside = values
    for key in above:
        inside = inside[key]
    kind = draw(st.sampled_from(["replace", "replace", "replace", "drop", "rename", "wrap", "add"]))
    if kind == "drop" or (kind in {"rename", "add"} and not isinstance(inside, dict)):
        inside.pop(last)
    elif kind == "rename":
        inside[draw(ANY_TEXT)] = inside.pop(last)
    elif kind == "add":
        inside[draw(ANY_TEXT)] = draw(JSON_VALUES)
    elif kind == "wrap":
        inside[last] = draw(
            st.sampled_from([[inside[last]], {"a": inside[last]}, [[inside[last]]], str(inside[last])])
        )
    else:
        inside[last] = draw(JSON_VALUES)
    return values


def plain_json(values):
    """As text that YAML reads back, also where a float has no JSON."""
    return json.dumps(values).replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")


@examples(120)
@given(st.data(), st.sampled_from(STUDIES))
def test_any_value_anywhere_in_a_study_is_read_or_refused_in_one_line(data, path):
    values = study(path)
    for _ in range(data.draw(st.integers(1, 3))):
        values = changed(data.draw, values)
        if not values:
            break
    told = refusal(lambda: parse(values))
    assert told is None or told.startswith("study.yaml")


@examples(60)
@given(st.data(), st.sampled_from(STUDIES), YAML_TEXTS)
def test_any_yaml_in_the_place_of_a_line_is_read_or_refused_in_one_line(data, path, text):
    lines = path.read_text(encoding="utf-8").splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[place].partition(":")
    lines[place] = data.draw(st.sampled_from([f"{key}{colon} {text}", text, f"{lines[place]}\n{lines[place]}"]))
    told = refusal(lambda: parse(plain.parse("\n".join(lines), "study.yaml")))
    assert told is None or told.startswith("study.yaml")


@examples(60)
@given(st.randoms(use_true_random=False), st.sampled_from(STUDIES))
def test_damaged_bytes_of_a_study_file_are_read_or_refused_in_one_line(tmp_path_factory, chance, path):
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    file.write_bytes(damaged(path.read_bytes(), chance))
    told = refusal(lambda: Study.parse(plain.read(file), str(file)))
    assert told is None or told.startswith(str(file))


@examples(40)
@given(st.binary(max_size=60))
def test_any_bytes_as_a_study_file_are_refused_in_one_line(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(content)
    assert refusal(lambda: Study.parse(plain.read(file), str(file))).startswith(str(file))


@examples(60)
@given(st.one_of(ANY_TEXT, YAML_TEXTS), st.one_of(ANY_TEXT, YAML_TEXTS, JSON_VALUES.map(plain_json)))
@example("a", "a\n? b")
@example("=", "1")
def test_any_assignment_is_read_or_refused_in_one_line(key, value):
    told = refusal(lambda: assignments([f"{key}={value}"]))
    assert told is None or told.startswith("--set")
    assert (refusal(lambda: read_mapping(value, "--settings")) or "--settings").startswith("--settings")


@examples(40)
@given(st.data(), st.sampled_from([path for path in STUDIES if path.stem in {"village", "custom", "taggers"}]))
def test_palu_check_says_what_is_wrong_with_any_study(tmp_path_factory, data, path):
    file = tmp_path_factory.getbasetemp() / "checked.yaml"
    file.write_text(plain_json(changed(data.draw, study(path))), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "planned", lambda _: {})
        patch.setenv("HF_HUB_OFFLINE", "1")
        with suppress(SystemExit):
            assert refusal(lambda: cli.main(["check", str(file)])) is None


@examples(40)
@given(ANY_TEXT)
def test_a_name_that_is_no_folder_is_refused_in_one_line(name):
    values = copy.deepcopy(study(STUDIES[0].with_name("village.yaml")))
    for changes in ({"study": name}, {"methods": {name: {"method": "npo"}}}, {"taggers": {name: {"name": "spacy"}}}):
        told = refusal(lambda changes=changes: Study.parse(values | changes, "study.yaml"))
        if told is None:
            assert name == Path(name).name
            assert not name.startswith(".")


def test_few_letters_that_stand_for_a_billion_values_are_refused(monkeypatch):
    monkeypatch.setattr(plain, "MOST_VALUES", 1000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "holds more than 1000 values" in refusal(lambda: plain.parse("\n".join(lines), "study.yaml"))


def test_merges_that_double_a_mapping_again_and_again_are_refused():
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]
    assert "merges more than 10000 keys" in refusal(lambda: plain.parse("\n".join(lines), "study.yaml"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3", "study.yaml: not valid YAML: the key 'a' stands twice"),
        ("a: &a [*a]", "study.yaml: a.0.0: is nested more than 40 levels deep"),
        ("a: {1: 2}", "study.yaml: a: the key 1 is no text; allowed: text in quotes"),
        ("a: 0x" + "f" * 5000, "study.yaml: a: a number of 20000 bits is too large"),
        ("a: [.nan]", "study.yaml: a.0: nan is not finite; allowed: finite numbers"),
        ("a: 2020-01-01", "study.yaml: a: a value of type date is not plain"),
        ('a: "\\0"', "study.yaml: a: '\\x00' holds the character"),
        ("a: !!bool 3", "study.yaml: not valid YAML: "),
    ],
)
def test_what_is_not_plain_is_named_with_its_place(text, complaint):
    assert refusal(lambda: plain.parse(text, "study.yaml")).startswith(complaint)


def test_a_merged_key_may_be_overwritten():
    assert plain.parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", "")["b"] == {"x": 1, "y": 3}


def test_a_grid_of_billions_of_runs_is_refused_before_it_is_counted_out():
    values = study(STUDIES[0].with_name("village.yaml"))
    grid = {key: [0.5, 1.0, 2.0] * 100 for key in ("local_weight", "common_weight", "retain_weight", "entropy_weight")}
    grid.pop("entropy_weight")
    told = refusal(lambda: Study.parse(values | {"methods": {"palu": {"tagger": "gold", **grid}}}, "s.yaml"))
    assert told == "s.yaml: methods.palu: its lists and the seeds make 27000000 runs; allowed: up to 10000"


@pytest.mark.parametrize("section", ["methods", "taggers"])
def test_a_name_that_is_a_list_is_an_unknown_name(section):
    values = study(STUDIES[0].with_name("village.yaml"))
    key = {"methods": "method", "taggers": "name"}[section]
    with pytest.raises(UserError, match=rf"s.yaml: {section}.x.{key}: unknown \w+ \['a'\]"):
        Study.parse({**values, section: {"x": {key: ["a"]}}}, "s.yaml")
