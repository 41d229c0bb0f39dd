import pytest

from palu.reporting.numbers import deviation, metric_text, number_text, p_text, seed_interval, signed_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.1234, "0.123"),
        (5.867e-14, "5.9×10⁻¹⁴"),
        (12.345, "12.345"),
        (456.78, "456.8"),
        (32000, "32,000"),
    ],
)
def test_numbers_are_written_with_three_digits_that_say_something(value, text):
    assert number_text(value) == text


def test_p_values_keep_four_decimals_while_these_tell_neighbours_apart():
    assert (p_text(0.62843), p_text(0.0001)) == ("0.6284", "1.0×10⁻⁴")
    assert signed_text(-0.25) == "−0.250"


def test_a_metric_is_written_as_the_table_of_metrics_says():
    names = ("span_leak", "forget_quality", "privleak", "of_no_table")
    assert [metric_text(name, 0.00049) for name in names] == ["4.9×10⁻⁴", "4.9×10⁻⁴", "+0.0", "4.9×10⁻⁴"]
    assert [metric_text(name, 0.0125) for name in names] == ["0.013", "0.0125", "+0.0", "0.013"]
    assert metric_text("privleak", -12.34) == "−12.3"
    assert metric_text("span_leak", None) == "–"


def test_the_deviation_is_the_samples_and_one_seed_has_none():
    # mean 3: (4 + 1 + 9) / 2 = 7
    assert deviation([1.0, 2.0, 6.0]) == pytest.approx(7**0.5)
    assert deviation([0.5]) is deviation([]) is None


def test_the_interval_over_seeds_is_students():
    # t(0.975, 2) = 4.302653; s = 1, n = 3
    low, high = seed_interval([1.0, 2.0, 3.0])
    assert high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert 2 - low == pytest.approx(high - 2)
    assert seed_interval([0.5, 0.5]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="one value has no interval"):
        seed_interval([1.0])
