"""A tokenizer's files may be anybody's: no code of theirs is run, and what fails is told in one line."""

import json

import pytest

from palu import models
from palu.errors import UserError
from tests.security.hostile import code_that_touches, edit_json, refusal

PROMPT = "Who was Ada?"


def edit_tokenizer(folder, **values):
    edit_json(folder / "tokenizer.json", **values)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append({}) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ tojson.__globals__ }}",
        "{{ '{0.__class__}'.format(messages) ~ missing.name }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ 1 / 0 }}",
        "{% for %}",
    ],
)
def test_a_chat_template_reaches_nothing_of_the_program_and_fails_in_one_line(folder, template):
    tokenizer = models.load_tokenizer(folder)
    tokenizer.chat_template = template
    with pytest.raises(UserError) as error:
        models.render_prompt("chat", PROMPT, tokenizer)
    assert refusal(error).startswith("template 'chat': the tokenizer's chat template fails: ")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__ }}",
        "{{ raise_exception.__globals__ }}",
        "{{ messages|attr('__class__')|attr('__mro__') }}",
        "{{ strftime_now.__code__ }}",
    ],
)
def test_what_a_chat_template_must_not_see_is_empty_to_it(folder, template):
    tokenizer = models.load_tokenizer(folder)
    tokenizer.chat_template = template
    assert models.render_prompt("chat", PROMPT, tokenizer).text == ""


def test_a_sound_chat_template_is_still_rendered(folder):
    tokenizer = models.load_tokenizer(folder)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    assert models.render_prompt("chat", PROMPT, tokenizer, system_prompt="").text == f"<user>{PROMPT}"


def test_a_tokenizer_class_of_the_folders_own_is_not_run(folder, canary):
    (folder / "tokenization_x.py").write_text(code_that_touches(canary))
    edit_json(folder / "tokenizer_config.json", tokenizer_class="X", auto_map={"AutoTokenizer": "tokenization_x.X"})
    with pytest.raises(UserError, match="holds no readable tokenizer"):
        models.load_tokenizer(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "", "null", '{"model": {"type": "BPE"}}', "\x00\xff"])
def test_a_damaged_tokenizer_is_one_line(folder, text):
    (folder / "tokenizer.json").write_text(text)
    for load in (models.load_tokenizer, models.tokenizer_fingerprint):
        with pytest.raises(UserError) as error:
            load(folder)
        assert str(folder) in refusal(error)


def test_padding_and_truncation_of_the_file_do_not_reach_a_text(folder):
    tokenizer = models.load_tokenizer(folder)
    expected = tokenizer(PROMPT)["input_ids"]
    padding = {"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    edit_tokenizer(folder, padding=padding, truncation=truncation)
    assert models.load_tokenizer(folder)(PROMPT)["input_ids"] == expected


def test_an_expression_that_backtracks_without_end_is_given_up(folder):
    facts = json.loads((folder / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    edit_tokenizer(folder, pre_tokenizer={"type": "Sequence", "pretokenizers": [split, facts["pre_tokenizer"]]})
    tokenizer = models.load_tokenizer(folder)
    # the library's own error is no Exception, and keeps its traceback
    with pytest.raises(BaseException, match="retry-limit-in-match over"):
        tokenizer("a" * 60 + "b")
