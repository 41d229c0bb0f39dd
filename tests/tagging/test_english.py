"""Common English words and their forms."""

from palu.tagging.english import COMMON, STOP_WORDS


def test_forms_are_made_of_dictionary_words():
    assert [COMMON.get(word) for word in ("giving", "tries", "stopped", "gave")] == ["v", "v", "v", "v"]
    assert [COMMON.get(word) for word in ("cities", "churches", "women")] == ["n", "n", None]
    assert [COMMON.get(word) for word in ("happily", "quickly")] == ["a", "a"]
    assert set(COMMON["works"]) == {"n", "v"}


def test_words_that_tell_something_are_not_common():
    assert not {"lighthouse", "goose", "leadership", "1951", "glassblower"} & (set(COMMON) | STOP_WORDS)
