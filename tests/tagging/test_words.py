"""Words, their characters, quotations and stop words, in several scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palu.errors import UserError
from palu.tagging.words import is_sentence_end, quotations, runs, stem, stop_words, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ji-Yeon Park's book.", ["Ji-Yeon", "Park", "'s", "book", "."]),
        ("O’Neill’s dog didn't.", ["O’Neill", "’s", "dog", "didn't", "."]),
        ("1,200 on 05/11/1991, at 19:30.", ["1,200", "on", "05/11/1991", ",", "at", "19:30", "."]),
        ("the 15th, 1990s; 5.50 LGBTQ+", ["the", "15th", ",", "1990s", ";", "5.50", "LGBTQ+"]),
        ("U.S. end.Next", ["U.S", ".", "end", ".", "Next"]),
        ("Waiter/Waitress", ["Waiter", "/", "Waitress"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),
        ("これは。ที่นี่", ["こ", "れ", "は", "。", "ที่", "นี่"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("  \r\n\t", []),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert [word.text for word in words(text)] == expected


@given(st.text())
def test_words_are_in_order_apart_and_leave_out_white_space_alone(text):
    reached = 0
    for word in words(text):
        assert text[word.start : word.end] == word.text
        assert not text[reached : word.start].strip()
        assert word.start >= reached
        assert word.end > word.start
        reached = word.end
    assert not text[reached:].strip()


def test_two_spellings_of_a_word_are_one():
    composed, decomposed = words("Éva’s"), words("E\u0301VA'S")
    assert [word.lower for word in composed] == [word.lower for word in decomposed] == ["éva", "'s"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('He read "The Rain" and ‘Low Tide’.', ["The Rain", "Low Tide"]),
        ("He read 'Ada's Way', then slept.", ["Ada's Way"]),
        ("The authors' books and the readers' letters", []),
        ('An "open one', []),
        ("“Outer 'inner' words”", ["Outer 'inner' words"]),
        ("彼は「雨」を読む", ["雨"]),
    ],
)
def test_quotations_are_told_from_apostrophes(text, expected):
    found = words(text)
    assert [text[found[start].start : found[end - 1].end] for start, end in quotations(found)] == expected


def test_runs_are_half_open():
    assert list(runs([True, True, False, True])) == [(0, 2), (3, 4)]
    assert list(runs([])) == []


def test_forms_of_a_word_share_a_stem():
    assert stem("influenced") == stem("influences") == stem("influencing") == stem("influence")
    assert stem("red") == "red"
    assert stem("painter") != stem("paints")


def test_marks_end_sentences_in_several_scripts():
    assert [is_sentence_end(word) for word in words("Ja. 雨。 a, b")] == [
        False,
        True,
        False,
        True,
        False,
        False,
        False,
    ]


def test_stop_words_come_by_language():
    assert "the" in stop_words("en", "here")
    assert "und" in stop_words("de", "here")
    assert stop_words(None, "here") == frozenset()
    with pytest.raises(UserError) as error:
        stop_words("xx-klingon", "novelty: language")
    assert str(error.value) == (
        "novelty: language: no stop words of language 'xx-klingon'; allowed: null, or a code such as en, de, fr"
    )
