"""Text of rows and models reaches a terminal, a log, a page or a spreadsheet as text alone."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from palu.cli import main, stages
from palu.errors import UserError
from palu.inert import hidden_character, spreadsheet_safe, visible
from tests.security.hostile import ESCAPES

HOSTILE = f"{ESCAPES}\u202eevil"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_starts_a_formula(start):
    assert spreadsheet_safe(f"{start}cmd|' /C calc'!A0").startswith("'")


def test_what_is_shown_hides_no_character():
    assert hidden_character(visible(f"a\nb\tc{HOSTILE}")) is None
    assert hidden_character("ab\x1bc") == "\x1b"


@pytest.mark.parametrize("key", [HOSTILE, f"a\n{HOSTILE}"])
def test_a_mistake_in_a_row_is_shown_without_what_the_row_would_do_to_the_terminal(tmp_path, capsys, key):
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps({"prompt": "?", "reply": "!", key: 1}) + "\n")
    words = ["--set", f"forget={path}", "--set", "retain=null", "--out", "rows.parquet", "--gold-out", "g.parquet"]
    assert main(["benchmark", "--name", "custom", *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()


def test_an_error_of_ours_is_one_line_whatever_it_names(monkeypatch, capsys):
    def fail(_):
        raise UserError(f"{HOSTILE}\nsecond line")

    monkeypatch.setattr(stages, "merge", fail)
    monkeypatch.setattr("palu.cli.parser", lambda: SimpleNamespace(parse_args=lambda _: SimpleNamespace(stage=fail)))
    monkeypatch.setattr("palu.cli.gpus_of", lambda _: 0)
    assert main(["merge"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()


def test_a_traceback_goes_to_a_log_without_escape_sequences():
    code = (
        "import palu.cli.stages\n"
        "def fail(_): raise ValueError(HOSTILE)\n"
        "fail.__name__ = 'merge'; palu.cli.stages.merge = fail\n"
        "palu.cli.main(['merge', '--model', 'm', '--out', 'o'])\n"
    )
    done = subprocess.run([sys.executable, "-c", f"HOSTILE = {HOSTILE!r}\n{code}"], capture_output=True, check=False)
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("ValueError: ")
    assert "evil" in lines[-1]
    assert all(line.isprintable() for line in lines)


def test_a_score_for_a_terminal_shows_hostile_replies_as_letters(monkeypatch, capsys):
    mistake = {"before": HOSTILE, "text": HOSTILE, "after": "", "count": 1}
    scores = {"rows": 1, "rows_without_gold": 0, "rows_without_gold_marked": 0, "rows_without_prediction": 0}
    monkeypatch.setattr("palu.tagging.scoring.score_tags", lambda *_: scores | {"units": {}, "misses": [mistake]})
    assert main(["score-tags", "--predicted", "p", "--gold", "g", "--examples", "e"]) == 0
    shown = capsys.readouterr().out
    assert "evil" in shown
    assert all(line.isprintable() for line in shown.splitlines())
