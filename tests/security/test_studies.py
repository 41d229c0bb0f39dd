"""A study may be anybody's: it names no file outside its folder, runs nothing, and hides nothing from who reads it."""

import copy
from contextlib import suppress

import pytest
import yaml

from palu.cli import main
from palu.errors import UserError
from palu.study import Study
from tests.security.hostile import refusal
from tests.workflow.conftest import STUDY

LONG = "x" * 101
NAMES = [
    "../../x",
    "/etc/x",
    ".",
    "..",
    ".hidden",
    "",
    "a/b",
    "a\\b",
    "a b",
    "a\n",
    "a\0b",
    "раlu",
    "ａ",
    "a\u202eb",
    "-rf",
    LONG,
]


def refused(**sections) -> str:
    with pytest.raises(UserError) as error:
        Study.parse(copy.deepcopy(STUDY) | sections, "study.yaml")
    return refusal(error)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_study_becomes_another_path(name):
    assert "study.yaml: study" in refused(study=name)
    assert "study.yaml: model" in refused(model={**STUDY["model"], "name": name})
    assert "study.yaml: " in refused(methods={name: {"method": "ga"}})
    assert "study.yaml: " in refused(taggers={name: {"name": "annotations"}})


@pytest.mark.parametrize(
    "sections",
    [
        {"benchmark": {"name": "../../x"}},
        {"benchmark": {"name": "tofu", "split": "../../x"}},
        {"benchmark": {"name": "muse", "forget": "../../x"}},
        {"methods": {"x": {"method": "../../x"}}},
        {"taggers": {"gold": {"name": "os.path"}}},
        {"evaluation": {"metrics": ["os.system"]}},
        {"machine": {"trackers": ["os"]}},
    ],
)
def test_what_is_loaded_by_name_is_one_of_a_list(sections):
    assert refused(**sections)


def test_a_long_name_of_a_file_makes_no_name_that_is_too_long():
    settings = {"name": "custom", "forget": f"{'x' * 200}.jsonl", "retain": None}
    methods = {"ga": {}}
    assert len(Study.parse(STUDY | {"benchmark": settings, "methods": methods}, "study.yaml").benchmark.key) < 80


@pytest.mark.parametrize("character", ["\x1b", "\0", "\x07", "\u202e", "\u2066", "\x9b", "\ud800", "\r"])
def test_a_text_that_acts_on_a_terminal_or_hides_itself_is_refused_by_its_place(character):
    message = refused(model={"checkpoint": f"owner/na{character}me"})
    assert message.startswith("study.yaml: model.checkpoint: ")
    assert message.isprintable()
    assert "allowed: characters that show" in message


def test_line_ends_tabs_and_all_scripts_are_text():
    Study.parse(STUDY | {"model": {**STUDY["model"], "system_prompt": "Sei nett.\n\tZürich 漢字 עברית"}}, "study.yaml")


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "study.yaml"


def told(path, capsys) -> str:
    """What `palu check` says of a study with a mistake."""
    with suppress(SystemExit):
        assert main(["check", str(path)]) == 1
    out, err = capsys.readouterr()
    text = out + err
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1, text
    return text


CODE = [
    "study: !!python/object/apply:os.system [touch code-was-run]\n",
    "study: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [code-was-run]]\n",
    "study: !!python/name:os.system\n",
    "study: !!python/object/new:subprocess.Popen [[touch, code-was-run]]\n",
]


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("text", CODE)
def test_a_tag_of_python_in_a_study_is_one_line_and_runs_nothing(study_file, capsys, text):
    study_file.write_text(text)
    assert "not valid YAML" in told(study_file, capsys)


@pytest.mark.usefixtures("canary")
def test_a_check_runs_no_expression_that_the_workflow_would(study_file, capsys):
    study_file.write_text(
        yaml.safe_dump(STUDY | {"__use_yte__": True, "?__import__('pathlib').Path('code-was-run').touch()": 1})
    )
    assert "unknown key" in told(study_file, capsys)


def test_a_few_lines_of_aliases_do_not_fill_the_memory(study_file, capsys):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    study_file.write_text("\n".join(lines))
    assert "holds more than 1000000 values" in told(study_file, capsys)


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: &a {b: *a}\n", "[" * 1500, "a: " + "[" * 40 + "]" * 40 + "\n"])
def test_a_study_that_holds_itself_or_is_too_deep_is_one_line(study_file, capsys, text):
    study_file.write_text(text)
    assert told(study_file, capsys)


def test_a_grid_without_end_is_refused_before_it_is_counted():
    numbers = list(range(1, 1001))
    grid = {"palu": {"top_k": numbers, "first_n": numbers, "epochs": numbers, "batch_size": numbers}}
    assert "make 1000000000000 runs; allowed: up to 10000" in refused(methods=grid)


def test_a_wrong_value_is_shown_in_part():
    assert len(refused(seeds=["x" * 50_000])) < 500
    assert len(refused(**{"y" * 50_000: 1})) < 1000
