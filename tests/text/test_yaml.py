"""YAML and JSON files: values stay text, no key occurs twice, and other parsers read written files in the same way."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mixfast._text.json import read_json
from mixfast._text.yaml import read_yaml, write_yaml

AWKWARD = [
    "no",
    "1e3",
    "a: b",
    "- a",
    "#x",
    "it's",
    '"',
    "\\",
    "é\u2028\x85\ufeff",
    "\U0001f600",
    "",
    " ",
    "null",
    "<<",
    "*a",
]
names = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
values = names | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
documents = st.dictionaries(
    names, values | st.lists(names, min_size=1) | st.dictionaries(names, values, min_size=1), min_size=1
)


def test_every_value_is_text():
    text = "\ufeff# c\n---\nno: 1_000\nweb: ~\ndate: 2026-01-01\nlist: [yes, 1e9, 'a b']\nnest:\n  deep: 0x1\nempty:\n"
    assert read_yaml(text, ValueError) == {
        "no": "1_000",
        "web": "~",
        "date": "2026-01-01",
        "list": ["yes", "1e9", "a b"],
        "nest": {"deep": "0x1"},
        "empty": "",
    }


@given(documents)
def test_what_is_written_comes_back(document):
    def as_text(value):
        if isinstance(value, dict):
            return {name: as_text(each) for name, each in value.items()}
        if isinstance(value, list):
            return list(map(as_text, value))
        return value if isinstance(value, str) else yaml.BaseLoader(write_yaml({"x": value})).get_single_data()["x"]

    assert read_yaml(write_yaml(document), ValueError) == as_text(document)
    assert yaml.safe_load(write_yaml(document)) == document
    assert read_yaml(write_yaml(document, quoted=True), ValueError, plain=json.loads) == document


def test_blocks_are_as_people_write_them():
    document = {"format": "x-1", "rows": [{"a": 1.0, "b": ["c", "no"]}, {"a": 1e-5}], "none": {}}
    assert write_yaml(document) == (
        'format: x-1\nrows:\n  - a: 1.0\n    b:\n      - c\n      - "no"\n  - a: 1.0e-05\nnone: {}\n'
    )
    assert write_yaml(document, quoted=True) == (
        'format: "x-1"\nrows:\n  - a: 1.0\n    b: ["c", "no"]\n  - a: 1.0e-05\nnone: {}\n'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is given twice"),
        ("a:\n  1: x\n  '1': y\n", "line 3: '1' is given twice"),
        ("? [a]\n: 1\n", "line 1: a key must be a name"),
        ("a: [1\n", "not YAML"),
        ("a: 1\n\tb: 2\n", "line 2 is not YAML"),
        ("a: &x [*x]\n", "recursive"),
        (
            "a: 1\n---\nb: 1\n",
            "line 2 is not YAML: expected a single document in the stream, but found another document",
        ),
        ("a: '1\n", "not YAML: while scanning a quoted scalar, found unexpected end of stream"),
        ("a: \x00\n", "not YAML"),
        ("[" * 5000, "nested more than 100 levels deep"),
        ("# nothing\n", "empty"),
    ],
)
def test_refusals_name_the_line(text, message):
    with pytest.raises(LookupError, match=message):
        read_yaml(text, LookupError)


def test_values_that_are_not_quoted_can_be_converted():
    assert read_yaml("{a: 1, b: 'x', c: \"1\", d: null}", ValueError, plain=json.loads) == {
        "a": 1, "b": "x", "c": "1", "d": None,
    }  # fmt: skip
    with pytest.raises(LookupError, match="line 2: cannot read 'x'"):
        read_yaml("a: 1\nb: x\n", LookupError, plain=json.loads)


def test_json_has_no_name_twice():
    with pytest.raises(LookupError, match="given twice: a"):
        read_json('{"b": {"a": 1, "a": 1}}', LookupError)
    with pytest.raises(LookupError, match="not JSON"):
        read_json("{", LookupError)


def test_json_numbers_keep_their_digits_as_text():
    assert read_json('{"a": 12345678901234567890, "b": [1.50]}', ValueError, as_text=True) == {
        "a": "12345678901234567890", "b": ["1.50"],
    }  # fmt: skip
    assert read_json('{"a": 1, "b": 1.5}', ValueError) == {"a": 1, "b": 1.5}
