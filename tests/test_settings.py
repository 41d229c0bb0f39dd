"""A bad setting is one line that names the key, the place, the value and what is allowed."""

from typing import Literal

import pytest

from palu.errors import UserError
from palu.settings import PositiveCount, PositiveNumber, Settings


class Inner(Settings):
    size: PositiveCount = 1


class Outer(Settings):
    rate: PositiveNumber = 0.1
    first_n: PositiveCount | None = 3
    mode: Literal["mean", "zero"] = "mean"
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratte": 1.0}, "a.yaml: x: unknown key 'ratte' (did you mean 'rate'?); allowed: first_n, inner, mode, rate"),
        ({"rate": "0.1"}, "a.yaml: x.rate: '0.1' should be a valid number, not text: write it without quotes"),
        ({"rate": 0.0}, "a.yaml: x.rate: 0.0 should be greater than 0"),
        ({"rate": float("inf")}, "a.yaml: x.rate: inf should be a finite number"),
        ({"first_n": 0}, "a.yaml: x.first_n: 0 should be greater than or equal to 1"),
        ({"first_n": True}, "a.yaml: x.first_n: True should be a valid integer"),
        ({"mode": "median"}, "a.yaml: x.mode: 'median' should be 'mean' or 'zero'"),
        ({"inner": {"sise": 2}}, "a.yaml: x.inner: unknown key 'sise' (did you mean 'size'?); allowed: size"),
        ({"inner": {"size": 0}}, "a.yaml: x.inner.size: 0 should be greater than or equal to 1"),
        ({"inner": 3}, "a.yaml: x.inner: 3 should be a valid dictionary or instance of Inner"),
    ],
)
def test_a_bad_value_is_told_in_one_line(values, message):
    with pytest.raises(UserError) as caught:
        Outer.parse(values, "a.yaml: x")
    assert str(caught.value) == message


def test_an_exponent_that_yaml_takes_for_text_is_a_number():
    assert Outer.parse({"rate": "1e-5"}, "a.yaml").rate == 1e-5
    assert Outer.parse({"rate": 2}, "a.yaml").rate == 2.0


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        Outer().rate = 2.0


def test_a_text_where_a_section_belongs_is_refused():
    with pytest.raises(UserError, match=r"a\.yaml: 'palu' is not a mapping"):
        Outer.parse("palu", "a.yaml")
