"""Documents that would overflow a stack, a float or memory are refused when they are read, in one line."""

import pytest

from mixfast import Mixture, Region
from mixfast._text.json import json_value, read_json
from mixfast._text.nesting import MOST_LEVELS
from mixfast._text.numbers import number, total
from mixfast._text.yaml import read_yaml
from mixfast.errors import MixtureError, RegionError
from mixfast.sampler import MixtureSchedule


class Refused(Exception):
    pass


MANY = 200_000
DEEP = {
    "lists of JSON": (read_json, "[" * MANY),
    "closed lists of JSON": (read_json, "[" * 500 + "]" * 500),
    "mappings of JSON": (read_json, '{"a":' * MANY),
    "rows of blocks": (read_yaml, "- " * MANY + "1\n"),
    "keys of blocks": (read_yaml, "? " * MANY + "1\n"),
    "blocks behind tabs": (read_yaml, "-\t" * MANY + "1\n"),
    "brackets": (read_yaml, "[" * MANY),
    "closed brackets": (read_yaml, "[" * 500 + "]" * 500),
    "braces": (read_yaml, "{a: " * MANY),
    "indented blocks": (read_yaml, "".join(f"{' ' * level}a:\n" for level in range(1500))),
    "indented blocks, other line ends": (read_yaml, "".join(f"{' ' * level}a:\r" for level in range(1500))),
    "lists in mappings": (read_yaml, "".join(f"{' ' * level}a:\n{' ' * level}-\n" for level in range(800))),
    "aliases, one in the other": (
        read_yaml,
        "a0: &a0 [1]\n" + "".join(f"a{level}: &a{level} [*a{level - 1}]\n" for level in range(1, 2000)),
    ),
}


@pytest.mark.parametrize(("read", "text"), DEEP.values(), ids=list(DEEP))
def test_deep_nesting_is_refused(read, text):
    with pytest.raises(Refused, match=f"nested more than {MOST_LEVELS} levels deep|not YAML"):
        read(text, Refused)


@pytest.mark.parametrize("levels", [1, 10, MOST_LEVELS - 1])
def test_what_is_nested_less_is_read(levels):
    for text in ("[" * levels + "1" + "]" * levels, '{"a": ' * levels + "1" + "}" * levels):
        assert str(read_json(text, Refused)).replace("'", "") == str(read_yaml(text, Refused)).replace("'", "")
    found = read_yaml("".join(f"{' ' * level}a:\n" for level in range(levels)) + " " * levels + "b: 1", Refused)
    for _ in range(levels):
        found = found["a"]
    assert found == {"b": "1"}


def test_lines_of_marks_are_no_levels():
    assert read_yaml("a: 1\n# " + "-" * 5000 + "\n" + " " * 5000 + "\nb: '" + " " * 500 + "'\n", Refused) == {
        "a": "1",
        "b": " " * 500,
    }


def test_aliases_are_read_until_they_repeat_too_much():
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n"
        if level == 2:
            assert len(read_yaml(text, Refused)["a2"][0][0]) == 9
    with pytest.raises(Refused, match="aliases repeat so much"):
        read_yaml(text, Refused)


@pytest.mark.parametrize("digits", [301, 4000, 5000, 100_000])
def test_integers_of_many_digits_are_refused(digits):
    with pytest.raises(Refused, match=f"a number of {digits} digits"):
        read_json('{"a": ' + "9" * digits + "}", Refused)
    with pytest.raises(ValueError, match="digits"):
        json_value("9" * digits)
    # As text; the code that parses the text refuses it.
    assert read_json("9" * digits, Refused, as_text=True) == "9" * digits


def test_numbers_whose_sums_overflow_are_refused():
    assert total([0.1] * 10) == 1.0
    assert total([1e308, 1e308]) == float("inf")
    for text in ("1e101", "-1e300", "9" * 200):
        with pytest.raises(ValueError, match="beyond 1e\\+100"):
            number(text)
    assert number("inf") == float("inf")
    with pytest.raises(MixtureError, match="sum to 1"):
        Mixture({"a": 1e308, "b": 1e308})
    with pytest.raises(MixtureError, match="must be numbers"):
        Mixture({"a": 10**400, "b": 0.0})
    with pytest.raises(RegionError, match="finite sum"):
        Region(["a", "b"], prior=[1e308, 1e308])
    with pytest.raises(MixtureError, match="sum to 1"):
        Mixture.from_yaml("a: 1e308\nb: 1e308\n")


def test_a_schedule_is_read_by_the_same_reader():
    for text in ("[" * MANY, '{"format": 1, "format": 2}', "9" * 5000):
        with pytest.raises(ValueError, match="a schedule is"):
            MixtureSchedule.from_json(text)
