"""Mixture: shares that sum to 1, token counts, files that preserve every bit."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import yaml

from mixfast.errors import AlignmentError, MixfastWarning, MixtureError, UnknownDomainError
from mixfast.mixture import Mixture

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, pytest.importorskip("hypothesis.strategies")

AWKWARD = [
    "yes", "No", "null", "~", "1e3", "0x1F", "1_000", "12:30:45", "2001-12-14", ".5", "-x", "- x", "? x", "a: b",
    "a #b", "#a", "a:", "'", '"', "it's", 'say "x"', "back\\slash", "tab\there", "line\nbreak", "a\rb", " lead",
    "trail ", "{a}", "[a]", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a", "ünï", "日本語", "😀", "x\x85y", "x\u2028y",
    "\ufeff", "\x7f", "\x00", "dclm:code", "a,b", "mixture", "format", "=", "<<", "on", "NaN", "inf",
]  # fmt: skip

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).map(
    lambda drawn: drawn if drawn.strip() else f"{drawn}x"
)
domain_lists = st.lists(st.one_of(texts, st.sampled_from(AWKWARD)), min_size=1, max_size=8, unique=True)


@st.composite
def mixtures(draw):
    domains = draw(domain_lists)
    sizes = st.one_of(st.just(0.0), st.floats(1e-300, 1.0), st.floats(0.01, 1.0))
    raw = np.array(draw(st.lists(sizes, min_size=len(domains), max_size=len(domains))))
    if raw.sum() <= 1e-290:
        raw[0] = 1.0
    return Mixture(domains, raw / raw.sum())


@given(mixtures())
def test_shares_sum_to_one_and_stay_as_they_are(mixture):
    assert math.fsum(mixture.weights) == 1.0
    assert (mixture.weights >= 0.0).all()
    again = Mixture(mixture.domains, mixture.weights)
    assert again.weights.tobytes() == mixture.weights.tobytes()


@given(mixtures())
def test_files_give_back_every_bit(mixture):
    for again in (
        Mixture.from_yaml(mixture.to_yaml()),
        Mixture.from_json(mixture.to_json()),
        Mixture.from_dict(mixture.as_dict()),
        Mixture.from_json(json.dumps(mixture.as_dict())),
    ):
        assert again == mixture
        assert again.domains == mixture.domains
        assert again.weights.tobytes() == mixture.weights.tobytes()


@given(mixtures())
@hypothesis.example(Mixture(["small", "large"], [1e-5, 1.0 - 1e-5]))
@hypothesis.example(Mixture(AWKWARD, np.full(len(AWKWARD), 1.0 / len(AWKWARD))))
def test_yaml_is_what_a_yaml_library_reads(mixture):
    document = yaml.safe_load(mixture.to_yaml())
    assert document["format"] == "mixfast-mixture-1"
    assert document["mixture"] == mixture.as_dict()
    assert all(type(share) is float for share in document["mixture"].values())


@given(mixtures())
def test_reads_what_a_yaml_library_writes_in_block_style(mixture):
    plain = Mixture([f"name {index}" for index in range(len(mixture))], mixture.weights)
    written = yaml.safe_dump({"mixture": plain.as_dict()}, default_flow_style=False, sort_keys=False)
    assert Mixture.from_yaml(written) == plain


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names_survive(name, tmp_path):
    mixture = Mixture([name, "other"], [0.25, 0.75])
    for suffix in (".yaml", ".yml", ".json", ".YAML"):
        mixture.save(tmp_path / f"m{suffix}")
        assert Mixture.load(tmp_path / f"m{suffix}").domains == (name, "other")


def test_hand_written_yaml():
    text = "# ours\n---\nweb: 0.5   # half\n'it''s': .25\n\"a: b\" : 2.5e-1\n\n"
    assert Mixture.from_yaml(text) == {"web": 0.5, "it's": 0.25, "a: b": 0.25}
    assert Mixture.from_yaml("mixture:\n    web: 1\nformat: mixfast-mixture-1\n") == {"web": 1.0}
    assert Mixture.from_yaml("mixture: {web: 1.0}") == {"web": 1.0}
    assert Mixture.from_yaml("\ufeffweb: 1.0\r\n") == {"web": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web: 0.5\nweb: 0.5\n", "line 2: 'web' is given twice"),
        ("web: [1.0]\n", r"must be numbers, got web: \['1.0'\]"),
        ("web:\n", "must be numbers, got web: ''"),
        ("- web\n", "must map domains to shares, got a list"),
        ("mixture:\n  web: 1.0\nnote: 3\n", "unexpected keys.*note"),
        ("format: mixfast-mixture-9\nmixture:\n  web: 1.0\n", "mixfast-mixture-9"),
        ("format: mixfast-mixture-1\n  web: 1.0\n", "line 2 is not YAML"),
        ("mixture:\n  web: 1.0\nmixture:\n  code: 1.0\n", "given twice"),
        ("web: 1.0\n  code: 0.0\n", "line 2 is not YAML"),
        ('"we\\qb": 1.0\n', "line 1 is not YAML"),
        ("web: .nan\n", "must be numbers"),
        ("", "empty"),
    ],
)
def test_bad_yaml_is_refused(text, message):
    with pytest.raises(MixtureError, match=message):
        Mixture.from_yaml(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"web": 0.5, "web": 0.5}', "given twice: web"),
        ('{"web": true}', "numbers, got web: True"),
        ('{"web": "1.0"}', "numbers, got web: '1.0'"),
        ('{"web": NaN}', "finite"),
        ("[1.0]", "must map domains to shares, got a list"),
        ('{"web": 1.0', "not JSON"),
        ('{"format": "x", "mixture": {"web": 1.0}}', "format 'x'"),
        ("{}", "empty"),
    ],
)
def test_bad_json_is_refused(text, message):
    with pytest.raises(MixtureError, match=message):
        Mixture.from_json(text)


def test_files_are_chosen_by_suffix_and_named_in_errors(tmp_path):
    with pytest.raises(MixtureError, match=r"m\.txt: a mixture ends in \.yaml, \.yml or \.json"):
        Mixture(["a"], [1.0]).save(tmp_path / "m.txt")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe")
    with pytest.raises(MixtureError, match=r"bad\.json"):
        Mixture.load(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError):
        Mixture.load(tmp_path / "absent.yaml")


@given(mixtures(), st.one_of(st.integers(0, 10**4), st.integers(0, 10**15)))
def test_tokens_are_the_largest_remainder(mixture, budget):
    counts = mixture.tokens(budget)
    assert sum(counts.values()) == budget
    assert all(type(count) is int for count in counts.values())
    total = sum(map(Fraction, mixture.weights.tolist()))
    quotas = [Fraction(share) * budget / total for share in mixture.weights.tolist()]
    remainders = [quota - math.floor(quota) for quota in quotas]
    extra = [count - math.floor(quota) for count, quota in zip(counts.values(), quotas, strict=True)]
    assert set(extra) <= {0, 1}
    # Rounded up in the order of their remainders, equal ones in the order of the domains.
    order = sorted(range(len(quotas)), key=lambda index: (-remainders[index], index))
    assert [extra[index] for index in order] == sorted(extra, reverse=True)
    assert all(count == 0 for name, count in counts.items() if mixture[name] == 0.0)


def test_tokens_of_awkward_budgets():
    thirds = Mixture(["a", "b", "c"], [1 / 3] * 3)
    assert sum(thirds.tokens(10**15).values()) == 10**15
    assert max(thirds.tokens(10).values()) == 4
    assert thirds.tokens(1e3) == thirds.tokens(1000)
    for budget in (-1, 1.5, math.inf, math.nan, "ten", True, None):
        with pytest.raises(MixtureError, match="budget must be"):
            thirds.tokens(budget)


def test_many_domains():
    count = 20_000
    mixture = Mixture([f"d{index}" for index in range(count)], np.random.default_rng(0).dirichlet(np.ones(count)))
    assert math.fsum(mixture.weights) == 1.0
    assert sum(mixture.tokens(10**15).values()) == 10**15
    assert Mixture.from_yaml(mixture.to_yaml()) == mixture


def test_epochs():
    mixture = Mixture(["a", "b", "c"], [0.5, 0.5, 0.0])
    assert mixture.epochs({"a": 100, "b": 0, "c": 0, "more": 5}, 400) == {"a": 2.0, "b": math.inf, "c": 0.0}
    with pytest.raises(AlignmentError, match="Only in the mixture: c"):
        mixture.epochs({"a": 1, "b": 1}, 10)
    with pytest.raises(MixtureError, match="b=-1"):
        mixture.epochs({"a": 1, "b": -1, "c": 0}, 10)
    with pytest.raises(MixtureError, match="target_tokens"):
        mixture.epochs({"a": 1, "b": 1, "c": 0}, 0)


@pytest.mark.parametrize(
    ("domains", "weights", "message"),
    [
        (["a", "b"], [0.5, 0.4], "sum to 1 within 0.005, got 0.9"),
        (["a", "b"], [1.1, -0.1], r"b=-0\.1"),
        (["a", "b"], [math.nan, 1.0], "a=nan"),
        (["a", "b"], [math.inf, 1.0], "a=inf"),
        (["a", "b"], [1.0], r"2 domains, got shape \(1,\)"),
        (["a", "b"], [[0.5, 0.5]], r"shape \(1, 2\)"),
        (["a", "b"], ["x", "y"], "must be numbers"),
        (["a", "a"], [0.5, 0.5], r"'a' \(2 times\)"),
        (["a", "\ud800"], [0.5, 0.5], r"valid Unicode, got '\\ud800'"),
        ([], [], "empty"),
        ("ab", [0.5, 0.5], "single string"),
        (3, [1.0], "sequence of names, got int"),
    ],
)
def test_malformed_mixtures_are_refused(domains, weights, message):
    with pytest.raises(MixtureError, match=message):
        Mixture(domains, weights)


def test_sums_near_one_are_divided_and_said():
    with pytest.warns(MixfastWarning, match=r"sum to 1\.002"):
        mixture = Mixture(["a", "b"], [0.501, 0.501])
    assert mixture.weights.tolist() == [0.5, 0.5]
    quiet = Mixture(["a", "b", "c"], [0.5, 0.5 + 1e-10, -1e-13])
    assert quiet["c"] == 0.0
    assert not math.copysign(1.0, quiet["c"]) < 0.0


def test_is_a_read_only_mapping():
    mixture = Mixture(["a", "b"], [0.25, 0.75])
    assert (mixture["b"], len(mixture), list(mixture), "c" in mixture) == (0.75, 2, ["a", "b"], False)
    assert mixture == Mixture(["b", "a"], [0.75, 0.25])
    assert hash(mixture) == hash(Mixture(["b", "a"], [0.75, 0.25]))
    assert mixture != Mixture(["a", "c"], [0.25, 0.75])
    assert repr(mixture) == "Mixture(a 0.25, b 0.75)"
    with pytest.raises(KeyError):
        mixture["c"]
    with pytest.raises(AttributeError):
        mixture.weights = np.ones(2)
    with pytest.raises(ValueError, match="read-only"):
        mixture.weights[0] = 1.0


def test_align_and_drop_zeros():
    mixture = Mixture(["a", "b", "c"], [0.25, 0.0, 0.75])
    assert mixture.align(["c", "b", "a"]).weights.tolist() == [0.75, 0.0, 0.25]
    with pytest.raises(AlignmentError, match=r"Only in the mixture: c\. Only in the domains asked for: d"):
        mixture.align(["a", "b", "d"])
    kept, dropped = mixture.drop_zeros()
    assert (kept, dropped) == (Mixture(["a", "c"], [0.25, 0.75]), ("b",))
    assert mixture.drop_zeros(0.3) == (Mixture(["c"], [1.0]), ("a", "b"))
    assert kept.drop_zeros() == (kept, ())
    with pytest.raises(MixtureError, match="no share is above"):
        mixture.drop_zeros(0.9)


def test_distances():
    mixture = Mixture(["a", "b"], [0.25, 0.75])
    assert mixture.total_variation(Mixture(["b", "a"], [0.5, 0.5])) == 0.25
    assert mixture.total_variation([0.25, 0.75]) == 0.0
    assert mixture.kl({"b": 0.5, "a": 0.5}) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert mixture.kl(mixture) == 0.0
    assert mixture.kl([1.0, 0.0]) == math.inf
    assert Mixture(["a", "b"], [1.0, 0.0]).kl([0.5, 0.5]) == pytest.approx(math.log(2.0))
    with pytest.raises(AlignmentError):
        mixture.kl({"a": 1.0})


def test_a_mapping_is_a_mixture_of_its_shares():
    assert Mixture({"web": 0.5, "code": 0.5}) == Mixture(["web", "code"], [0.5, 0.5])
    for given in ((["web"],), ({"web": 1.0}, [1.0]), (3,)):
        with pytest.raises(MixtureError, match="shares"):
            Mixture(*given)


def test_a_domain_that_is_not_there_is_a_key_error_with_the_names():
    mixture = Mixture({"web": 0.5, "code": 0.5})
    with pytest.raises(
        UnknownDomainError, match=r"no domain 'cdoe' \(did you mean code\?\); its domains are: web, code$"
    ) as caught:
        mixture["cdoe"]
    assert isinstance(caught.value, KeyError)
    assert mixture.get("cdoe") is None
