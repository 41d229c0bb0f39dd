import pytest

from palu.reporting.answers import answered, speakers
from palu.reporting.load import collect
from palu.reporting.texts import repetition
from tests.reporting.kinds import neighbours_index


def test_each_item_has_the_reply_and_every_models_answer(small_index):
    study = collect(small_index)
    found = answered(study.questions, speakers(study))
    assert [answer.speaker.name for answer in found[0].answers] == ["original", "retain model", "palu", "npo"]
    assert [answer.speaker.colour is None for answer in found[0].answers] == [True, True, False, False]
    assert {segment.kind for segment in found[0].reply} == {"", "span"}
    assert {segment.kind for item in found for answer in item.answers for segment in answer.segments} == {
        "", "repeated",
    }  # fmt: skip


def test_repetitions_are_counted_over_all_items(small_index):
    study = collect(small_index)
    counts = {each.name: repetition(study.questions, each.answers) for each in speakers(study)}
    assert counts["original"][0] > counts["npo"][0] >= counts["retain model"][0]
    assert {items for _, items in counts.values()} == {12}


def test_without_spans_nothing_is_counted_or_marked(small_index):
    small_index["spans"], small_index["display_tagger"] = {}, None
    study = collect(small_index)
    assert {repetition(study.questions, each.answers) for each in speakers(study)} == {(0, 0)}
    assert {segment.kind for item in answered(study.questions, speakers(study)) for segment in item.reply} == {""}


@pytest.mark.usefixtures("workplace")
def test_neighbours_that_turned_wrong_are_those_that_the_original_alone_has_right():
    study = collect(neighbours_index())
    found = answered(study.neighbours, speakers(study))
    lost = [each for each in found if each.is_lost]
    assert [each.item.example_id for each in lost] == ["near/00000/original/0", "far/00000/original/0"]
    assert [[answer.is_right for answer in each.answers] for each in lost] == [
        [True, False, False],
        [True, True, False],
    ]
    assert [segment.text for segment in lost[1].reply if segment.kind == "span"] == ["Norway"]
    assert [segment.text for segment in lost[1].answers[1].segments if segment.kind == "span"] == ["Norway"]
