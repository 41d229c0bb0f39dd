"""Where a reply ends, and which day it is, by chat templates of our own making."""

import pytest

from palu import models
from palu.errors import UserError
from palu.models import TemplateSettings
from palu.tokens import encode
from tests.tokens.cases import TEXTS, example

CHAT = TemplateSettings(template="chat")
MARKS = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>"]
ASK = "{% if add_generation_prompt %}"
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
ROLES = "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + END + '\n' }}{% endfor %}"
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}"
    "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
# name -> (template, what it puts after a reply)
TEMPLATES = {
    "ChatML": (CHATML + ASK + "{{ '<|im_start|>assistant\n' }}{% endif %}", "<|im_end|>"),
    "ChatML that always asks for a reply": (CHATML + "{{ '<|im_start|>assistant\n' }}", "<|im_end|>"),
    "Gemma": (
        "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) "
        "+ '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
        + ASK
        + "{{ '<start_of_turn>model\n' }}{% endif %}",
        "<end_of_turn>",
    ),
    "Phi-3": (
        ROLES.replace("END", "'<|end|>'") + ASK + "{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        "<|end|>",
    ),
    "an end on a line of its own": (
        ROLES.replace("END", "'\n\n<|end|>'") + ASK + "{{ '<|assistant|>\n' }}{% endif %}",
        "\n\n<|end|>",
    ),
    "Zephyr": (ROLES.replace("END", "eos_token") + ASK + "{{ '<|assistant|>\n' }}{% endif %}", "</s>"),
    "Llama-2": (INST, " </s>"),
    "a thought before the last reply": (
        CHATML.replace("m.content", "('Hm.\n\n' if m.role == 'assistant' else '') + m.content")
        + ASK
        + "{{ '<|im_start|>assistant\n' }}{% endif %}",
        "<|im_end|>",
    ),
    "nothing": (ROLES.replace(" + END + '\n'", "") + ASK + "{{ '<|assistant|>\n' }}{% endif %}", "</s>"),
    "nothing, and always asks for a reply": (
        ROLES.replace(" + END + '\n'", "") + "{{ '<|assistant|>\n' }}",
        "</s>",
    ),
    "nothing that is a token": (ROLES.replace("END", "'\n###'") + ASK + "{{ '<|assistant|>' }}{% endif %}", "</s>"),
}


def chatty(template, special=True):
    tokenizer = models.train_tokenizer(TEXTS, 320)
    tokenizer.add_tokens(MARKS, special_tokens=special)
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_reply_ends_with_what_the_template_puts_after_it(name):
    template, end = TEMPLATES[name]
    tokenizer = chatty(template)
    assert tokenizer.decode(models.end_tokens(CHAT, tokenizer)) == end
    assert models.end_tokens(TemplateSettings(template="chat", system_prompt=""), tokenizer)[-1:] == [
        tokenizer.convert_tokens_to_ids(end.split()[-1])
    ]


def test_an_end_on_a_line_of_its_own_has_a_token_for_each_line_end():
    tokenizer = chatty(TEMPLATES["an end on a line of its own"][0])
    line_end = tokenizer.convert_tokens_to_ids("Ċ")
    assert models.end_tokens(CHAT, tokenizer) == [line_end, line_end, tokenizer.convert_tokens_to_ids("<|end|>")]


def test_an_added_token_that_is_not_marked_special_ends_a_reply_too():
    tokenizer = chatty(TEMPLATES["ChatML"][0], special=False)
    tokenizer.add_tokens(["\n"])
    assert tokenizer.decode(models.end_tokens(CHAT, tokenizer)) == "<|im_end|>"


@pytest.mark.parametrize("name", ["ChatML", "Gemma", "Phi-3", "an end on a line of its own", "Zephyr"])
def test_the_tokens_of_a_row_are_those_of_the_whole_conversation_up_to_its_end(name):
    template, end = TEMPLATES[name]
    tokenizer = chatty(template)
    (row,) = encode([example("Ada wrote it.", "Who?")], tokenizer, CHAT, 512)
    conversation = [
        {"role": "system", "content": CHAT.system_prompt},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ada wrote it."},
    ]
    text = tokenizer.apply_chat_template(conversation, tokenize=False)
    whole = text[: text.index(end, text.index("Ada wrote it.")) + len(end)]
    assert row.input_ids.tolist() == tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert row.end_count == len(models.end_tokens(CHAT, tokenizer))


def test_other_templates_end_with_the_tokenizers_end_token_and_raw_with_none():
    tokenizer = chatty(TEMPLATES["ChatML"][0])
    ends = {name: models.end_tokens(TemplateSettings(template=name), tokenizer) for name in models.TEMPLATES}
    assert ends == {
        "plain": [2],
        "llama2-chat": [2],
        "chat": [tokenizer.convert_tokens_to_ids("<|im_end|>")],
        "raw": [],
    }


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{% if messages[-1].role == 'assistant' %}{{ raise_exception('no replies here') }}{% endif %}",
            r"^template 'chat': the tokenizer's chat template fails on a reply: no replies here$",
        ),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            r"^template 'chat': the tokenizer's chat template leaves a reply out; allowed: ",
        ),
    ],
)
def test_a_chat_template_that_has_no_place_for_a_reply_is_one_line(template, message):
    with pytest.raises(UserError, match=message):
        encode([example("Ada wrote it.")], chatty(template), CHAT, 512)


def test_a_document_asks_no_chat_template_for_an_end():
    (row,) = encode([example("Ada wrote it.", prompt="")], chatty("{{ raise_exception('asked') }}"), CHAT, 512)
    assert row.end_count == 0


def today(form, date="10 Apr 2025"):
    tokenizer = chatty("{{ strftime_now(" + repr(form) + ") }}")
    return models.render_prompt("chat", "Who?", tokenizer, date=date).text


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%B %d, %Y", "April 10, 2025"),
        ("%Y-%m-%d", "2025-04-10"),
        ("%-d %b %y, %A, day %j", "10 Apr 25, Thursday, day 100"),
        ("%H:%M:%S", "00:00:00"),
        ("%D is 100%% of %%d", "04/10/25 is 100% of %d"),
        ("no code", "no code"),
    ],
)
def test_a_template_that_asks_for_the_date_gets_that_of_the_settings_in_its_own_form(form, expected):
    assert today(form) == expected


@pytest.mark.parametrize("date", ["3 May 2024", "03 May 2024", "2024-05-03"])
def test_a_date_may_be_written_in_several_forms(date):
    assert today("%-d/%-m/%Y", date) == "3/5/2024"
    assert today("%d %B", "3 September 2024") == "03 September"


def test_a_date_that_is_none_is_refused_only_where_a_template_asks_for_one():
    with pytest.raises(
        UserError, match=r"date: 'soon': .* asks for the date; allowed: such as 10 Apr 2025 or 2025-04-10$"
    ):
        today("%Y", "soon")
    tokenizer = chatty(
        "{% if date_string is not defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string }}"
    )
    assert models.render_prompt("chat", "Who?", tokenizer, date="soon").text == "soon"


def test_a_date_can_be_asked_for_anywhere_and_reckoned_with():
    tokenizer = chatty(
        "{% macro year() %}{{ strftime_now('%Y') }}{% endmacro %}{% if strftime_now is defined %}"
        "{% for m in messages %}{{ year() }}:{{ strftime_now('%d') | int - 1 }} {% endfor %}{% endif %}"
    )
    assert models.render_prompt("chat", "Who?", tokenizer, system_prompt="").text == "2025:9 "


def test_the_date_changes_nothing_else_of_a_template():
    bare = "  \n  {% if true %}\n a{{ messages[0].content }}\n{% endif %}\n\n"
    found = [
        models.render_prompt("chat", "Who?", chatty(bare + clock), system_prompt="").text
        for clock in ("2025", "{{ strftime_now('%Y') }}")
    ]
    assert found == ["  \n a" + "Who?" + "\n\n2025"] * 2
