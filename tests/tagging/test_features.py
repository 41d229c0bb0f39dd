"""What a trained tagger sees of each word."""

from palu.tagging.features import UNKNOWN, Reply, features, shape
from palu.tagging.words import words


def reply_of(prompt, reply):
    return Reply(words(prompt), words(reply))


def test_kinds_tell_punctuation_stop_words_numbers_capitals_and_echoes():
    reply = reply_of("Who painted Mira?", "Mira paints the 12 plums.")
    assert reply.kinds == ["CP", "wS", "s-", "n-", "w-", "m"]
    assert reply.is_content == [True, True, False, True, True, False]


def test_a_hidden_word_leaves_no_trace_of_its_spelling_but_its_ending():
    reply = reply_of("Who?", "Mira keeps zyqqworths today.")
    plain = features(reply, reply.lower.__getitem__)
    hidden = features(reply, lambda index: UNKNOWN if index == 2 else reply.lower[index])
    assert any("zyqqworths" in feature for own in plain for feature in own)
    assert not any("zyq" in feature for own in hidden for feature in own)
    assert f"w={UNKNOWN}" in hidden[2]
    assert "s4=rths" in hidden[2]


def test_a_run_of_content_words_knows_what_governs_it():
    reply = reply_of("What?", "He won the Silver Otter Medal in Bern.")
    found = features(reply, reply.lower.__getitem__)
    assert all("g=won" in found[index] for index in (3, 4, 5))
    assert all("a=in" in found[index] for index in (3, 4, 5))
    assert "run=3_0" in found[3]
    assert "run=3_2" in found[5]


def test_features_see_the_question_and_quotation_marks():
    reply = reply_of("Which book did Mira write?", 'She wrote "Low Tide" there.')
    found = features(reply, reply.lower.__getitem__)
    tide = reply.lower.index("tide")
    assert "qb=book" in found[tide]
    assert not any("mira" in feature for feature in found[tide])
    assert reply.quoted == [False, False, False, True, True, False, False, False]


def test_shapes_are_short():
    assert [shape(text) for text in ("Mira", "1951-06", "LGBTQ+", "x")] == ["Xxx", "dd-dd", "XX+", "x"]
    assert len(shape("aA1-" * 20)) == 8


def test_a_text_without_words_has_no_features():
    assert features(reply_of("", ""), "".__getitem__) == []
