import pytest

from palu.inert import spreadsheet_safe, visible


def test_controls_overrides_and_surrogates_become_symbols_of_the_same_length():
    text = "a\x1b[31mb\x00\x7f\x9b\u202ec\u2066\ud800\ufffe"
    shown = visible(text)
    assert shown == "a␛[31mb␀␡��c���"
    assert len(shown) == len(text)
    shown.encode("utf-8")


def test_line_ends_tabs_and_all_scripts_stay():
    text = "one\ttwo\nthree ü 漢字 🙂 עברית"
    assert visible(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\tx"])
def test_what_a_spreadsheet_takes_for_a_formula_gets_a_quote(text):
    assert spreadsheet_safe(text) == f"'{text}"


def test_plain_text_stays_for_a_spreadsheet():
    assert spreadsheet_safe("palu, top_k=5") == "palu, top_k=5"
    assert spreadsheet_safe("\r=1") == "␍=1"
