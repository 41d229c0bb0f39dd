"""Outside of a terminal progress is plain lines, and short work leaves none."""

import re

from palu.progress import followed, progress_bar


def test_a_log_gets_whole_lines_with_stage_step_loss_and_time_left(capsys):
    with progress_bar("training", 4, "step", done=1, line_seconds=0.0, quiet_seconds=0.0) as bar:
        for _ in range(3):
            bar.set_postfix(loss="0.5", refresh=False)
            bar.update()
    text = capsys.readouterr().err
    assert "\r" not in text
    lines = text.splitlines()
    assert len(lines) >= 4
    assert re.fullmatch(r"training: step 4/4, loss=0.5, [\d:]+ so far, [\d:]+ left", lines[-1])


def test_lines_are_seconds_apart(capsys):
    with progress_bar("training", 1000, "step", line_seconds=3600.0, quiet_seconds=0.0) as bar:
        for _ in range(1000):
            bar.update()
    # the start and the end
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_short_work_is_silent(capsys):
    assert list(followed("abc", "tagging", 3, "reply")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_without_a_total_what_is_done_is_told(capsys):
    with progress_bar("top k", None, "batch", line_seconds=0.0, quiet_seconds=0.0) as bar:
        bar.update(7)
    assert re.fullmatch(r"top k: batch 7, [\d:]+ so far", capsys.readouterr().err.splitlines()[-1])
