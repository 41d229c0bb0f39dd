import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from palu import tables
from palu.reporting.drawing import PALETTE, looks, themed
from palu.reporting.figures import curve, draw_all, front
from palu.reporting.load import collect
from palu.reporting.verdict import draws, judge


def drawings(index):
    study = collect(index)
    bootstrap = draws(study)
    verdicts = [judge(study, bootstrap, arm) for arm in study.arms]
    return {drawing.name: drawing for drawing in draw_all(study, verdicts)}


@pytest.fixture(scope="module")
def drawn(finished_study):
    """The figures of the finished study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_study[0])
        return drawings(finished_study[1])


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_figure_is_there_and_the_same_twice(small_index, drawn):
    assert list(drawn) == ["plane", "trajectories", "losses"]
    assert drawings(small_index) == drawn


def test_axes_are_labelled(drawn):
    assert "Model utility (kept: further right)" in texts(drawn["plane"].svg)
    assert "Span leak (forgotten: further up)" in texts(drawn["plane"].svg)
    assert texts(drawn["trajectories"].svg).count("epoch") == 6
    assert "optimiser step" in texts(drawn["losses"].svg)


def test_a_grid_shows_the_fronts_of_its_methods_and_no_names_next_to_its_marks(builder, drawn):
    drawing = drawings(builder.index(seeds=1, top_ks=(50, 200), rivals=()))["plane"]
    assert "A line joins the settings of a method" in drawing.caption
    assert "A line joins" not in drawn["plane"].caption
    names = [text for text in texts(drawing.svg) if text.startswith("palu")]
    assert len(names) == len(set(names)) == 2


def test_a_front_holds_what_no_other_point_is_better_than_in_both():
    # (kept, left): the third leaves more than the second and keeps less, the last two leave the same
    assert front([(0.9, 0.5), (0.8, 0.2), (0.7, 0.3), (0.6, 0.1), (0.5, 0.1)]) == [(0.6, 0.1), (0.8, 0.2), (0.9, 0.5)]
    assert front([]) == []


def test_the_references_and_every_arm_stand_in_the_plane(drawn):
    assert {"original", "retain model", "palu", "npo"} <= set(texts(drawn["plane"].svg))


def test_a_curve_runs_from_the_original_to_the_end_of_training(small_index):
    study = collect(small_index)
    points = curve(study, study.arms[0], "forget_rouge")
    assert [epoch for epoch, _ in points] == [0, 2, 4, 6, 10]
    assert points[0][1] == [study.original.measured("forget_rouge").value]
    assert points[-1][1] == [run.evaluation.measured("forget_rouge").value for run in study.arms[0].runs]


def test_without_data_a_figure_says_so(small_index):
    for run in small_index["runs"]:
        run["trajectory"], run["training"] = [], {}
        tables.write(Path(run["folder"]) / "steps.parquet", "steps", [], {})
    found = drawings(small_index)
    assert texts(found["trajectories"].svg) == ["no epochs were evaluated"]
    assert texts(found["losses"].svg) == ["no steps were logged"]


def test_without_a_leak_the_plane_shows_what_is_measured_of_forgetting(small_index, edit_summary):
    for run in small_index["runs"]:
        edit_summary(run["evaluation"], {"span_leak": None})
    assert "KS statistic D (forgotten: further up)" in texts(drawings(small_index)["plane"].svg)


def test_a_loss_that_is_no_number_leaves_a_gap_and_a_negative_one_a_plain_scale(small_index):
    path = Path(small_index["runs"][0]["folder"]) / "steps.parquet"
    rows = tables.rows(path, "steps")
    rows[5]["value"], rows[6]["value"] = float("nan"), -1.0
    tables.write(path, "steps", rows, {})
    assert "nan" not in drawings(small_index)["losses"].svg.lower()


def test_names_are_text_in_a_figure_and_nothing_else(small_index):
    for run in small_index["runs"][:2]:
        run["label"] = "a$\\frac$<script>\x1b"
    for drawing in drawings(small_index).values():
        assert "<script>" not in drawing.svg
        assert "a$\\frac$<script>␛" in texts(drawing.svg)


def test_inside_the_page_a_figure_takes_the_pages_colours_and_its_own_ids(drawn):
    for drawing in drawn.values():
        svg = themed(drawing)
        assert "var(--ink)" in svg
        assert "#fefefe" not in svg
        root = ET.fromstring(svg)
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert ids
        assert all(name.startswith(f"{drawing.name}-") for name in ids)
        uses = [element.get("{http://www.w3.org/1999/xlink}href") for element in root.iter()]
        assert {use[1:] for use in uses if use} <= set(ids)
        assert root.get("aria-label") == drawing.title
        assert root.get("width") is None


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#171b20"])
def test_every_colour_of_the_palette_stands_out_on_light_and_dark(paper):
    for colour in PALETTE:
        light, dark = sorted([luminance(colour), luminance(paper)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_arms_of_one_method_share_its_colour_and_differ_in_dashes(builder):
    arms = collect(builder.index(seeds=1, top_ks=(50, 200), rivals=("npo",))).arms
    found = looks(arms)
    first, second, rival = (found[arm.name] for arm in arms)
    assert first.colour == second.colour != rival.colour
    assert first.dashes != second.dashes
