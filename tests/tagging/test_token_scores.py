"""From a number per token to spans of words."""

import numpy as np
import pytest

from palu import models, tables, tokens
from palu.errors import UserError
from palu.tagging.base import Resources
from palu.tagging.phrases import units
from palu.tagging.token_scores import (
    ScoreSettings,
    encoded,
    otsu,
    read_scores,
    spans_of_scores,
    threshold,
    word_scores,
)
from tests.tagging import model_world

TOKENIZER = models.train_tokenizer(["Question: Who?\nAnswer: Ada Lovelace wrote it in Oslo."] * 3, 300)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return model_world.build(tmp_path_factory.mktemp("scores"))


def row_of(reply, prompt="Who?"):
    rows = [{"example_id": "e", "prompt": prompt, "reply": reply}]
    return tokens.encode(rows, TOKENIZER, models.TemplateSettings(), 512)[0]


def marked(reply, high, settings, prompt="Who?"):
    """The spans where the tokens that touch the texts of `high` score 5, others 0.1."""
    row = row_of(reply, prompt)
    scores = np.full(len(row), 0.1)
    for word in high:
        start, end = reply.index(word), reply.index(word) + len(word)
        # a blank before a word is part of its token
        scores[(row.char_end > start) & (row.char_start < end)] = 5.0
    rows = [{"example_id": "e", "prompt": prompt, "reply": reply}]
    found = spans_of_scores(rows, [row], [scores], settings, "entropy")
    return [reply[span["char_start"] : span["char_end"]] for span in found]


def otsu_by_hand(values):
    """The definition: the largest variance between the two classes, over every split."""
    best = (-1.0, np.inf)
    ordered = sorted(values)
    for i in range(1, len(ordered)):
        if ordered[i - 1] == ordered[i]:
            continue
        low, high = ordered[:i], ordered[i:]
        share = len(low) / len(ordered)
        between = share * (1 - share) * (sum(high) / len(high) - sum(low) / len(low)) ** 2
        best = max(best, (between, (ordered[i - 1] + ordered[i]) / 2), key=lambda pair: pair[0])
    return best[1]


@pytest.mark.parametrize("seed", range(5))
def test_otsus_threshold_is_that_of_its_definition(seed):
    values = np.random.default_rng(seed).choice([0.0, 0.5, 1.0, 3.0, 3.5, 9.0], size=30)
    assert otsu(values) == pytest.approx(otsu_by_hand(values.tolist()))


def test_three_scores_by_hand():
    # between: split after 1: 1/3 2/3 (5.5 - 1)^2 = 4.5; after 5: 2/3 1/3 (6 - 3)^2 = 2
    assert otsu(np.array([6.0, 1.0, 5.0])) == 3.0


def test_equal_scores_have_no_threshold():
    settings = ScoreSettings()
    assert otsu(np.array([2.0, 2.0])) == otsu(np.array([2.0])) == np.inf
    for scores in ([], [0.0, 0.0], [2.0, 2.0]):
        assert threshold(np.array(scores), settings) == np.inf


def test_otsu_splits_the_same_words_in_any_unit():
    scores = np.array([0.01, 0.02, 0.05, 0.1, 4.0, 9.0, 20.0])
    limit = threshold(scores, ScoreSettings())
    assert 0.1 < limit < 4
    assert threshold(scores / 1000, ScoreSettings()) == pytest.approx(limit / 1000)


def test_share_and_nats_are_what_they_say():
    scores = np.arange(1, 11, dtype=float)
    assert (scores > threshold(scores, ScoreSettings(threshold="share", share=0.3))).sum() == 3
    assert threshold(scores, ScoreSettings(threshold="nats", nats=2.5)) == 2.5


def test_a_word_has_the_largest_score_of_its_tokens():
    reply = "Ada Lovelace wrote"
    row = row_of(reply)
    scores = np.linspace(-1, 2, len(row))
    found = units(reply)
    for word, score in zip(found, word_scores(found, row, scores), strict=True):
        own = [
            scores[i]
            for i in range(len(row))
            if any(word.start <= c < word.end for c in range(row.char_start[i], row.char_end[i]))
        ]
        assert score == max(0, *own)


@pytest.mark.parametrize(
    ("reply", "high", "expected"),
    [
        ("it is Ada Lovelace, in Oslo.", ["Ada", "Lovelace", "Oslo"], ["Ada Lovelace", "Oslo"]),
        ("it was Jose\u0301 then", ["Jose\u0301"], ["Jose\u0301"]),
        ("she is 👩\u200d🔬!", ["👩\u200d🔬"], ["👩\u200d🔬"]),
        ("ولدت في أوسلو", ["أوسلو"], ["أوسلو"]),
        ("その人は東京", ["東", "京"], ["東京"]),
        ("well-known,\r\n 1,200", ["known", "1,200"], ["well-known", "1,200"]),
    ],
)
def test_spans_are_whole_words_in_any_script(reply, high, expected):
    assert marked(reply, high, ScoreSettings(threshold="nats")) == expected


def test_words_of_the_prompt_and_bridges_follow_the_settings():
    reply, high = "Ada saw Oslo of Norway", ["Ada", "Oslo", "Norway"]
    nats = {"threshold": "nats"}
    assert marked(reply, high, ScoreSettings(**nats), "Is Ada there?") == ["Oslo of Norway"]
    assert marked(reply, high, ScoreSettings(**nats, bridge=0), "Is Ada there?") == ["Oslo", "Norway"]
    assert marked(reply, high, ScoreSettings(**nats, bridge=0, prompt_words=True), "Is Ada there?") == [
        "Ada",
        "Oslo",
        "Norway",
    ]


def test_the_threshold_is_printed(capsys):
    marked("it is Oslo", ["Oslo"], ScoreSettings())
    assert "entropy: threshold" in capsys.readouterr().out


def test_scores_are_read_by_example_and_position_whatever_the_tables_order(world, tmp_path):
    rows = encoded(world.examples, world.resources(), "entropy")
    value = lambda batch: batch.column("log_prob").to_numpy().astype(float)  # noqa: E731
    found = read_scores(world.path("states.parquet"), rows, value)
    table = tables.read(world.path("states.parquet"), "states")
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    tables.write(tmp_path / "s.parquet", "states", shuffled, facts(world), schema=table.schema)
    again = read_scores(tmp_path / "s.parquet", rows, value)
    for row, a, b in zip(rows, found, again, strict=True):
        assert np.isnan(a[: row.first_target]).all()
        np.testing.assert_array_equal(a, b)
    keys = zip(
        table["example_id"].to_pylist(), table["position"].to_pylist(), table["log_prob"].to_pylist(), strict=True
    )
    place = {row.example_id: i for i, row in enumerate(rows)}
    for name, position, log_prob in keys:
        assert found[place[name]][position + 1] == log_prob


def facts(world):
    own = tables.provenance(world.path("states.parquet"))
    return {key: value for key, value in own.items() if key not in {"table", "version"}}


def test_a_missing_row_and_another_token_are_named(world, tmp_path):
    rows = encoded(world.examples, world.resources(), "entropy")
    value = lambda batch: np.zeros(len(batch))  # noqa: E731
    table = tables.read(world.path("states.parquet"), "states")
    out = tmp_path / "s.parquet"
    tables.write(out, "states", table.slice(0, len(table) - 1), facts(world), schema=table.schema)
    with pytest.raises(UserError, match=r"no row for example 'forget/0000\d/original/0', position \d+: make it anew"):
        read_scores(out, rows, value)
    ids = table["token_id"].to_numpy().copy()
    ids[0] += 1
    changed = table.set_column(table.schema.get_field_index("token_id"), table.schema.field("token_id"), [ids])
    tables.write(out, "states", changed, facts(world), schema=table.schema)
    with pytest.raises(UserError, match=r"example '.*' has other tokens now: make it anew"):
        read_scores(out, rows, value)


def test_files_of_another_model_or_other_examples_are_refused(world):
    with pytest.raises(UserError, match="entropy: reads the model, but no file of it is given"):
        encoded(world.examples, Resources(), "entropy")
    with pytest.raises(UserError, match="surprisal: reads the other model's log-probabilities, but no file"):
        encoded(world.examples, world.resources(other_states_path=None), "surprisal", other=True)
    with pytest.raises(UserError, match=r"states\.parquet: made with model"):
        encoded(world.examples, world.resources(model_path=world.path("other")), "entropy")
    with pytest.raises(UserError, match=r"states\.parquet: made with examples"):
        encoded(world.examples, world.resources(examples_digest="0" * 16), "entropy")
    with pytest.raises(UserError, match=r"own_again\.parquet: made by the original itself; allowed: another model"):
        resources = world.resources(other_states_path=world.path("own_again.parquet"))
        encoded(world.examples, resources, "surprisal", other=True)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"threshold": "otso"}, "threshold: 'otso' should be 'otsu', 'share' or 'nats'"),
        ({"share": 1.0}, "share: 1.0 should be less than 1"),
        ({"nats": 0}, "nats: 0 should be greater than 0"),
        ({"bridge": -1}, "bridge: -1 should be greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_one_line(values, complaint):
    with pytest.raises(UserError) as error:
        ScoreSettings.parse(values, "study: taggers.entropy")
    assert complaint in str(error.value)


@pytest.mark.parametrize("seed", range(10))
def test_a_words_score_is_the_largest_of_the_tokens_that_share_a_character_with_it(seed):
    draw = np.random.default_rng(seed)
    reply = "Ada Lovelace's programme, 1843: 東京で " + "".join(draw.choice(list("ab ,."), size=30)) + "x"
    row, found = row_of(reply), units(reply)
    scores = draw.choice([np.nan, -1.0, 0.5, 2.0, 3.0], size=len(row))
    expected = [
        max(
            [0.0]
            + [
                float(score)
                for start, end, score in zip(row.char_start, row.char_end, scores, strict=True)
                if max(start, word.start) < min(end, word.end) and score > 0
            ]
        )
        for word in found
    ]
    assert word_scores(found, row, scores).tolist() == expected
