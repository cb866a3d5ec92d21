"""Numbers in the form that people write and read."""

from __future__ import annotations

import pytest

from mixfast._text.numbers import count, decimals, number, percent, size, tokens


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0", 0), ("300", 300), ("2_000", 2000), ("1.5K", 1500), ("3m", 3 * 10**6), ("1.2B", 12 * 10**8), ("1T", 10**12)],
)
def test_counts(given, expected):
    assert count(given) == expected


def test_counts_are_exact():
    assert count("9007199254740993") == 9007199254740993
    assert count("1.000000000001T") == 1_000_000_000_001
    with pytest.raises(ValueError, match="whole"):
        count("1.0005K1".removesuffix("1"))
    for wrong in ("", "K", "-1", "nan", "inf", "1KK", "1e30", "9.3e18"):
        with pytest.raises(ValueError, match="below 2"):
            count(wrong)


def test_shares_may_be_percentages():
    assert number(" 20% ") == 0.2
    assert number("0.2") == 0.2
    for wrong in ("", "nan", "a fifth", "20%%"):
        with pytest.raises(ValueError, match="write it like"):
            number(wrong)


def test_numbers_are_shown_short():
    assert [percent(share) for share in (0.0, 1e-6, 0.25)] == ["0", "<0.01%", "25.00%"]
    assert [tokens(value) for value in (300, 1.5e12, 2_000)] == ["300", "1.5T", "2K"]
    assert [size(value) for value in (10, 2.5e6)] == ["10 B", "2.5 MB"]


def test_no_number_is_wider_than_a_column():
    for value in (-1.7e260, 1e5, 99999.4, -0.5, float("inf"), float("nan"), 5e-324):
        assert len(decimals(value, 3)) <= len("-1e+30")
    given = (0.98765, -0.5, -12.3456, -12345.678, -999999.4, -1e30, -1.7e260, float("inf"), float("-inf"), float("nan"))
    told = ["0.988", "-0.500", "-12.35", "-12346", "-1e+06", "-1e+30", "-inf", "inf", "-inf", "nan"]
    assert [decimals(value, 3) for value in given] == told
