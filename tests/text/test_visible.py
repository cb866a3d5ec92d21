"""Text from outside is shown without effect on the terminal: control characters are escaped, visible ones stay."""

import json
import shlex
import subprocess

import numpy as np
import pytest
import yaml

from mixfast import Mixture, Region, Swarm, design, fit, propose, solve
from mixfast._text.names import listing, named, shown
from mixfast._text.table import text_table
from mixfast._text.visible import in_lines, is_visible, quote, visible, visible_json, visible_yaml
from mixfast.errors import MixfastError, MixfastWarning, TableError, UnknownDomainError
from mixfast.reuse import Ledger
from mixfast.tables import ExpertTable

SEEN = [
    "web",
    "größer",
    "数学　二",
    "مثال",
    "हिन्दी",
    "👩‍💻",
    "❤️",
    "🏳️‍🌈",
    "1️⃣",
    "می‌خواهم",
    "क्‍ष",
    "👍🏽",
    "e\u0301",
    "a\u00a0b",
    "葛\U000e0100",
]
ACTING = [
    *map(chr, range(32)), "\x7f", *map(chr, range(0x80, 0xA0)), "\xad", "\u061c", "\u200b", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a",
    "\u202e", "\u2066", "\u2069", "\ufeff", "\ufffe", "\ud800", "\udc80", "\ue000", "\U000e0041", "\u034f", "\u115f", "\u3164",
]  # fmt: skip


@pytest.mark.parametrize("text", SEEN)
def test_what_is_seen_stays(text):
    assert visible(text) == text
    assert is_visible(text)


@pytest.mark.parametrize("character", ACTING, ids=ascii)
def test_what_acts_or_hides_is_escaped(character):
    text = f"a{character}b"
    got = visible(text)
    assert character not in got
    assert got.isascii()
    assert visible(got) == got
    assert got.encode().decode("unicode_escape").encode("utf-8", "surrogatepass") == text.encode(
        "utf-8", "surrogatepass"
    )
    if not "\ud800" <= character <= "\udfff":
        assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text
        assert yaml.safe_load(visible_yaml(json.dumps(text, ensure_ascii=False))) == text


def test_joiners_and_selectors_are_shown_where_they_join_nothing():
    assert visible("a\u200db") == r"a\u200db"
    assert visible("\u200c") == r"\u200c"
    assert visible("a\ufe0f") == r"a\ufe0f"
    assert visible("❤️\ufe01\ufe02") == "❤️" + r"\ufe01\ufe02"


def test_line_breaks_may_be_kept():
    assert visible("a\n\x1bb", keep="\n") == "a\n\\x1bb"
    assert in_lines(["a\nb", "c"]) == "a\\nb\nc"


def test_lists_tables_and_quotes_are_visible():
    assert listing(["a\nb", "c\u202e"]) == r"a\nb, c\u202e"
    assert text_table(None, [["a\nb", "1"], ["c", "2"]]) == "a\\nb  1\nc     2"
    assert len(named("x" * 10**6)) == 80
    assert shown("\u3164") == r"'\u3164'"
    assert "too large" in shown(10**5000)


@pytest.mark.parametrize("word", ["a b", "a\n'\\b", "\x1b[1m", "é\x85\u202e", "$HOME `id`\n"])
def test_quoted_words_can_be_pasted(word):
    assert is_visible(quote(word))
    got = subprocess.run(
        ["bash", "-c", f"printf %s {quote(word)}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert got.stdout.decode() == word
    assert quote("a b") == shlex.quote("a b")


@pytest.mark.parametrize("kind", [MixfastError, TableError, UnknownDomainError, MixfastWarning])
def test_errors_and_warnings_are_one_visible_line(kind):
    assert str(kind("a\nb\x1b")) == r"a\nb\x1b"


def test_what_python_prints_is_visible():
    names = [f"a\x1b[2J\nFAKE{k}\u202e" for k in range(3)]
    rng = np.random.default_rng(0)
    table = ExpertTable.from_loglik(-rng.uniform(1, 2, (20, 3)), domains=names)
    ratios = rng.dirichlet(np.ones(3), 20)
    swarm = Swarm(ratios, ratios @ [1.0, 2.0, 3.0], domains=names, metric_names=["m\nFAKE\x1b_loss"])
    region = Region(names, cap=0.6, bounds={f"both\nFAKE{names[0]}": (names[:2], 0.1, 0.9)})
    law = fit(swarm, "linear")
    mixture = Mixture(names, [0.5, 0.3, 0.2])
    found = solve(table, region)
    proposed = propose(law, region)
    for made in (
        table,
        swarm,
        swarm.report,
        region,
        law,
        mixture,
        found,
        proposed,
        design(region, 5, seed=0),
        Ledger.start(mixture, why=names[0]),
    ):
        for text in (repr(made), str(made)):
            assert is_visible(text, keep="\n")
            assert not [line for line in text.splitlines() if line.strip().startswith("FAKE")]
    for text in (mixture.to_json(), mixture.to_yaml(), Ledger.start(mixture, why=names[0]).to_json()):
        assert is_visible(text, keep="\n")
