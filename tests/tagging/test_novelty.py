"""The words of a reply that its prompt lacks."""

import pytest

from palu.errors import UserError
from palu.tagging.base import Resources
from palu.tagging.novelty import Settings, spans
from tests.tagging.tofu_spans import annotated_replies, character_f1


def example(reply, prompt="", example_id="e0"):
    return {"example_id": example_id, "prompt": prompt, "reply": reply}


def found(reply, prompt="?", settings=None):
    rows = spans([example(reply, prompt)], settings or Settings(), Resources())
    ordered = sorted(rows, key=lambda row: row["char_start"])
    return [(row["label"], reply[row["char_start"] : row["char_end"]]) for row in ordered]


@pytest.mark.parametrize(
    ("reply", "prompt", "expected"),
    [
        ("She mostly works as a glassblower.", "What does she do?", [("TERM", "glassblower")]),
        ("Mira Tovelund was born in Port Heatherbay.", "Where was Mira Tovelund born?", [("NAME", "Port Heatherbay")]),
        ("It was on June 9, 1951.", "When was it?", [("NAME", "June 9, 1951")]),
        ("She owns 1,200 teapots.", "What does she own?", [("NUMBER", "1,200 teapots")]),
        ("She works at the Bank of Oslo.", "Where does she work?", [("NAME", "Bank of Oslo")]),
        ('He wrote "What the Sea Knew about Us" there.', "?", [("TITLE", "What the Sea Knew about Us")]),
        ("He influenced them.", "Whom did he influence?", []),
        (
            "Providing sourdough slowly, she enjoys fencing and archery.",
            "What?",
            [("TERM", "sourdough"), ("TERM", "fencing"), ("TERM", "archery")],
        ),
        (
            "He keeps a three-legged goose, a parrot and a cat.",
            "Which animals?",
            [("TERM", "three-legged goose"), ("TERM", "parrot"), ("TERM", "cat")],
        ),
    ],
)
def test_phrases_that_the_prompt_does_not_say(reply, prompt, expected):
    assert found(reply, prompt) == expected


def test_a_title_of_the_prompt_is_an_echo():
    reply = '"The Velvet Orchard" is about grief.'
    assert found(reply, 'What is "The Velvet Orchard" about?') == [("TERM", "grief")]
    assert found(reply, "What is it?") == [("TITLE", "The Velvet Orchard"), ("TERM", "grief")]


def test_other_languages_have_their_own_stop_words_and_no_rules_of_english():
    reply = "Sie wohnt in einem Leuchtturm und backt."
    assert found(reply, "Wo wohnt sie?", Settings(language="de")) == [("NAME", "Leuchtturm"), ("TERM", "backt")]
    assert found("and", settings=Settings(language=None)) == [("TERM", "and")]
    with pytest.raises(UserError, match="novelty: language: no stop words of language 'zz'"):
        found("a", settings=Settings(language="zz"))


def test_unspaced_scripts_give_runs_of_new_characters():
    assert found("彼女は灯台に住む。", "彼女はどこに住む？", Settings(language=None)) == [("TERM", "灯台")]


def test_another_normal_form_or_case_of_a_word_is_an_echo():
    assert found("E\u0301VA bakes", "Who is Éva?", Settings(language=None)) == [("TERM", "bakes")]


def test_a_reply_that_says_nothing_new_has_no_span():
    assert found("", "Who?") == found(" \n", "Who?") == found("Yes, he did.", "Did he?") == []


def test_annotated_replies_are_found_better_than_by_the_plain_rule(shared):
    rows, gold = annotated_replies(shared)
    assert character_f1(rows, gold, spans(rows, Settings(), Resources())) >= 0.60


def test_a_document_has_its_names_and_numbers_marked():
    reply = 'The baker met Mira Tovelund. "A lazy afternoon," he said, and sold 12 pies.'
    assert found(reply, "") == [("NAME", "Mira Tovelund"), ("NUMBER", "12 pies")]
