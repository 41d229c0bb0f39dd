from palu.reporting.initiating import ReplyTokens
from palu.reporting.items import ForgetItem
from palu.reporting.marking import choose_items, marked_generation, marked_reply, repetition, secrets
from palu.spans import run_offsets, sensitive_tokens


def item(reply, spans, prompt="Who?", example_id="a", group="g"):
    return ForgetItem(example_id, group, prompt, reply, tuple(spans))


def tokens_of(reply, spans, pieces):
    starts, ends, place = [], [], 0
    for piece in pieces:
        starts.append(place)
        place += len(piece)
        ends.append(place)
    offsets = run_offsets(sensitive_tokens(reply, starts, ends, spans)[0]).tolist()
    return ReplyTokens(starts, ends, offsets)


def pairs(segments):
    return [(segment.text, segment.kind) for segment in segments]


def test_a_span_is_marked_and_its_first_tokens_stronger():
    reply, spans = "He is a night baker here", [(6, 19)]
    tokens = tokens_of(reply, spans, ["He", " is", " a", " night", " bak", "er", " here"])
    assert pairs(marked_reply(item(reply, spans), tokens, 2)) == [
        ("He is ", ""),
        ("a night", "initiating"),
        (" baker", "span"),
        (" here", ""),
    ]
    assert pairs(marked_reply(item(reply, spans), tokens, None))[1] == ("a night baker", "initiating")


def test_without_tokens_only_spans_are_marked():
    assert pairs(marked_reply(item("born in Oslo.", [(8, 12)]), None, 3)) == [
        ("born in ", ""),
        ("Oslo", "span"),
        (".", ""),
    ]


def test_marks_stay_on_their_characters_after_controls_and_wide_characters():
    reply = "\x1b🙂 Oslo"
    assert pairs(marked_reply(item(reply, [(3, 7)]), None, 3)) == [("␛🙂 ", ""), ("Oslo", "span")]


def test_a_secret_is_what_the_question_does_not_tell():
    asked = item("Ann Lee, of Oslo, of Oslo", [(0, 7), (12, 16), (21, 25)], prompt="Where does ann lee live?")
    assert secrets(asked) == ["Oslo"]


def test_repetitions_are_whole_words_in_any_case():
    found = pairs(marked_generation("In OSLO, not Oslovia.", ["Oslo"], 100))
    assert found == [("In ", ""), ("OSLO", "repeated"), (", not Oslovia.", "")]


def test_a_pattern_in_a_secret_is_taken_literally():
    assert pairs(marked_generation("axb a.b", ["a.b"], 100)) == [("axb ", ""), ("a.b", "repeated")]


def test_a_long_generation_is_cut_and_says_so():
    assert pairs(marked_generation("x" * 12, [], 10)) == [("x" * 10, ""), (" … (2 more characters)", "cut")]


def test_repetition_counts_items_that_have_a_secret_and_a_generation():
    items = [
        item("It is Oslo", [(6, 10)], example_id="a"),
        item("It is Rome", [(6, 10)], example_id="b"),
        item("No span", [], example_id="c"),
        item("It is Lima", [(6, 10)], example_id="d"),
    ]
    assert repetition(items, {"a": "oslo!", "b": "Paris", "c": "No span"}) == (1, 2)


def test_items_are_chosen_group_by_group_each_from_its_own_start():
    items = [item("r", [], example_id=f"{group}{nth}", group=group) for group in "ba" for nth in range(3)]
    assert [chosen.example_id for chosen in choose_items(items, 4)] == ["a0", "b1", "a1", "b2"]
    assert sorted(chosen.example_id for chosen in choose_items(items, 99)) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert choose_items([], 5) == []


def test_uneven_groups_give_each_item_once():
    items = [item("r", [], example_id=f"a{nth}", group="a") for nth in range(5)]
    items += [item("r", [], example_id="b0", group="b")]
    chosen = [each.example_id for each in choose_items(items, 60)]
    assert sorted(chosen) == ["a0", "a1", "a2", "a3", "a4", "b0"]
    assert chosen[:2] == ["a0", "b0"]
