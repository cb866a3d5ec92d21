"""Names and values in the form that messages use."""

import pytest

from mixfast._text.names import did_you_mean, distinct, listing, matching, shown, split_names


def test_a_long_value_is_quoted_in_part():
    value = {"entries": list(range(10_000))}
    assert len(shown(value)) < 200
    assert str(len(repr(value))) in shown(value)
    assert shown({"a": 1}) == "{'a': 1}"


def test_a_listing_names_the_first_and_counts_the_rest():
    assert listing("abcdefghij", limit=2) == "a, b and 8 more (10 in all)"
    assert listing([]) == "none"


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("wbe", ["web", "code"], "web"),
        ("Code", ["web", "code"], "code"),
        ("olmo_core", ["olmo-core", "olmix"], "olmo-core"),
        ("lin", ["linear", "log_linear"], "linear"),
        ("poetry", ["web", "code"], None),
        ("", ["web"], None),
    ],
)
def test_a_misspelt_name_is_told_the_one_it_resembles(name, known, meant):
    assert did_you_mean(name, known) == (f" (did you mean {meant}?)" if meant else "")


def test_a_name_that_is_a_pattern_itself_is_that_name():
    assert matching(["a*", "ab"], "a*") == ["a*"]
    assert matching(["ab", "ac", "b"], "a?") == ["ab", "ac"]
    assert matching(["ab"], "x") == []


def test_names_may_hold_separators():
    assert split_names("law, tax,web", known=["law, tax", "web"]) == ["law, tax", "web"]
    assert split_names('"law, tax",web') == ["law, tax", "web"]
    assert split_names("a , b") == ["a", "b"]


@pytest.mark.parametrize("longest", [12, 20, 34])
def test_shortened_names_of_a_collection_stay_different(longest):
    topics = ("science_maths_and_technology", "science_maths_and_statistics", "finance")
    names = [
        f"dolma/crawl-{week}/filtered/{topic}/part_{k}" for week in (14, 23) for topic in topics for k in range(12)
    ]
    # One name inside another, a difference in the middle of a name without parts, and names that are short enough.
    names += ["dolma/crawl-14/filtered", "a" * 50 + "b" + "a" * 50, "a" * 50 + "c" + "a" * 50, "web", "x" * 40]
    short = distinct(names, longest)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert max(map(len, short.values())) <= longest
    assert short["web"] == "web"


def test_parts_that_all_names_share_are_left_out_first():
    short = distinct(["eval/mmlu_stem_validation_bpb", "eval/mmlu_arts_validation_bpb"], 18)
    assert list(short.values()) == ["…stem_validation_…", "…arts_validation_…"]


def test_many_names_are_split_in_time_in_proportion():
    names = [f"d{k}" for k in range(100_000)]
    assert split_names(",".join(names)) == names
    assert split_names(",".join([*names, "a,b"]), known=["a,b"])[-1] == "a,b"
