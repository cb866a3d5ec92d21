"""Names and values as messages show them."""

from mixfast._text.names import listing, shown


def test_a_long_value_is_quoted_in_part():
    value = {"entries": list(range(10_000))}
    assert len(shown(value)) < 200
    assert str(len(repr(value))) in shown(value)
    assert shown({"a": 1}) == "{'a': 1}"


def test_a_listing_names_the_first_and_counts_the_rest():
    assert listing("abcdefghij", limit=2) == "a, b and 8 more (10 in all)"
    assert listing([]) == "none"
