import pytest

from palu.evaluation.words import contains, words_of


def test_a_script_without_spaces_has_a_word_in_each_character_also_behind_a_latin_letter():
    found = words_of("東京に住む x線 Anna-Lena, ¿qué? 12_3")
    assert found == [*"東京に住む", "x", "線", "anna", "lena", "qué", "12", "3"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("STRASSE", "straße"), ("Émile", "E\u0301mile"), ("ﬁve", "FIVE"), ("Ⅻ", "xii")],
)
def test_spellings_of_a_word_are_one(one, other):
    assert words_of(one) == words_of(other)
    assert len(words_of(one)) == 1


@pytest.mark.parametrize(
    ("part", "expected"), [("new york", True), ("York City", True), ("new city", False), ("or", False), ("10", False)]
)
def test_a_text_contains_words_only_whole_and_one_after_the_other(part, expected):
    assert contains(words_of("From New York-City, 1010!"), words_of(part)) is expected
