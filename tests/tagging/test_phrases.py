"""Symbols put together, echoes of the prompt, words in a row."""

import numpy as np
import pytest

from palu.tagging.phrases import echoes, is_candidate, phrases, units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 👩\u200d🔬 b", ["a", "👩\u200d🔬", "b"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("🇫🇮🇸🇪!", ["🇫🇮", "🇸🇪", "!"]),
        ("🏴\U000e0067\U000e0062\U000e007f.", ["🏴\U000e0067\U000e0062\U000e007f", "."]),
        ("Jose\u0301!", ["Jose\u0301", "!"]),
        ("!?", ["!", "?"]),
        ("東京は", ["東", "京", "は"]),
    ],
)
def test_symbols_of_several_characters_are_one_unit(text, expected):
    found = units(text)
    assert [unit.text for unit in found] == expected
    assert [text[unit.start : unit.end] for unit in found] == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("Oslo", True), ("1951", True), ("😀", True), ("€", True), (",", False)]
)
def test_words_and_symbols_can_tell_something_and_punctuation_cannot(text, expected):
    assert is_candidate(units(text)[0]) is expected


@pytest.mark.parametrize(
    ("reply", "prompt", "expected"),
    [
        ("Mira's dog", "Is MIRA there?", "Mira"),
        ("Jose\u0301 sang", "Did José?", "Jose\u0301"),
        # 京 stands in the prompt, but in another word
        ("東京です", "京都ですか", "です"),
        ("東京です", "東京は?", "東京"),
        ("dog", "", ""),
    ],
)
def test_a_word_of_the_prompt_is_an_echo_in_any_spelling(reply, prompt, expected):
    found = units(reply)
    known = echoes(found, prompt)
    assert "".join(word.text for word, echo in zip(found, known, strict=True) if echo) == expected


def runs(text, marked, bridge):
    found = units(text)
    mask = np.array([word.text in marked for word in found])
    return [text[found[a].start : found[b].end] for a, b in phrases(found, mask, bridge)]


def test_words_in_a_row_are_one_phrase_and_punctuation_parts_them():
    text = "Port of Oslo, and Bergen"
    assert runs(text, {"Port", "Oslo", "Bergen"}, 0) == ["Port", "Oslo", "Bergen"]
    assert runs(text, {"Port", "Oslo", "Bergen"}, 1) == ["Port of Oslo", "Bergen"]
    assert runs(text, {"Port", "of", "Oslo"}, 0) == ["Port of Oslo"]
    assert runs("a b c d", {"a", "d"}, 1) == ["a", "d"]
    assert runs("a b c d", {"a", "d"}, 2) == ["a b c d"]
    assert runs(text, set(), 5) == []
