"""Text tables."""

from __future__ import annotations

from mixfast._text.table import text_table


def test_the_first_column_is_left_and_the_others_right():
    shown = text_table(["name", "n", "loss"], [["a", "10", "0.5"], ["a longer one", "9", ""]])
    assert shown == "name           n  loss\na             10   0.5\na longer one   9"


def test_facts_need_no_header_and_texts_stay_left():
    assert text_table(None, [["a", "x y"], ["bcd", ""]], left=(0, 1), indent="  ") == "  a    x y\n  bcd"


def test_a_header_alone_is_a_table():
    assert text_table(["a", "bc"], []) == "a  bc"
