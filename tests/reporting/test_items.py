import pytest

from palu.reporting.collect import collect
from palu.reporting.items import PROMPT_CHARACTERS, ForgetItem, questions
from palu.reporting.marking import COPIED_WORDS, repeated, secrets
from palu.tables import EXAMPLES
from tests.reporting.kinds import ARTICLE, muse_index, requests_index

pytestmark = pytest.mark.usefixtures("workplace")


def item(prompt, reply="r", part="forget"):
    return ForgetItem("a", "g", prompt, reply, (), part)


def test_documents_are_asked_for_by_the_rows_that_continue_and_question_them():
    study = collect(muse_index())
    assert [one.part for one in study.items] == ["forget", "forget"]
    assert [one.part for one in study.questions] == ["verbmem", "knowmem_forget", "knowmem_forget"]


def test_documents_that_nothing_asks_for_stand_for_themselves():
    rows = [ForgetItem("a", "g", "", "text", ())]
    assert questions(rows, EXAMPLES.empty_table()) == tuple(rows)


def test_rows_with_prompts_are_their_own_questions():
    study = collect(requests_index())
    assert study.questions == study.items


def test_a_document_is_named_by_its_length_and_a_long_prompt_by_its_end():
    assert item("", "x" * 1234).shown_prompt == "document of 1,234 characters"
    shown = item("start " + "y" * 1000 + " end").shown_prompt
    assert shown.startswith("… ")
    assert shown.endswith(" end")
    assert len(shown) == PROMPT_CHARACTERS + 2


def test_of_examples_before_a_question_the_question_alone_is_shown():
    prompt = "Question: One?\nAnswer: Yes.\n\nQuestion: Two?\nAnswer: "
    assert item(prompt, part="knowmem_forget").shown_prompt == "Two?"
    assert item("No form at all", part="knowmem_forget").shown_prompt == "No form at all"


def test_a_copied_stretch_of_a_document_is_repeated_and_a_shorter_one_is_not():
    words = ARTICLE.split()
    wanted = secrets(item("On day", ARTICLE, "verbmem"))
    copied = "So: " + " ".join(words[20 : 22 + COPIED_WORDS]) + ", he said"
    assert repeated(copied, wanted) == [" ".join(words[20 : 22 + COPIED_WORDS])]
    assert repeated(" ".join(words[20 : 19 + COPIED_WORDS]), wanted) == []
