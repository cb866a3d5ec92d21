"""The command `baselines`: the mixtures of the library, side by side, as files and in one line if refused."""

import json
from pathlib import Path

import pytest

from mixfast import Mixture, Region, baselines
from mixfast.cli._main import build_parser
from mixfast.swarm import read_mixtures

TOKENS = {"web": 900, "code": 300, "books": 60}
RUN = ("baselines", "--tokens", "counts.yaml", "--budget", "1000")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counts.yaml").write_text("".join(f"{name}: {count}\n" for name, count in TOKENS.items()))
    (tmp_path / "one.yaml").write_text("web: 0.2\ncode: 0.9\nbooks: 0.5\n")
    (tmp_path / "two.yaml").write_text("web: {qa: 0.3, code: .1}\ncode: {qa: .1, code: 0.9}\nbooks: {qa: 1, code: 0}\n")


def found(run, *words):
    status, out, err = run(*RUN, *words, "--json")
    assert status == 0, err
    return {one["name"]: one for one in json.loads(out)["baselines"]}


def test_the_command_prints_the_baselines_of_the_library(run):
    given = found(
        run, "--max-epochs", "3", "--temperature", "2", "--cap", "web=0.4", "--utilities", "two.yaml", "--risk", "2"
    )
    region = Region.from_tokens(TOKENS, 1000, max_epochs=3, cap={"web": 0.4})
    utilities = {"web": {"qa": 0.3, "code": 0.1}, "code": {"qa": 0.1, "code": 0.9}, "books": {"qa": 1.0, "code": 0.0}}
    made = {
        "natural": baselines.natural(region),
        "uniform": baselines.uniform(region),
        "temperature": baselines.temperature(region, 2),
        "unimax": baselines.unimax(region),
        "utilimax": baselines.utilimax(region, utilities=utilities, risk=2.0),
    }
    assert list(given) == list(made)
    for name, mixture in made.items():
        assert given[name]["mixture"] == pytest.approx(mixture.as_dict(), abs=1e-12)
        assert given[name]["epochs"] == pytest.approx(region.epochs(mixture), abs=1e-12)
    assert given["natural"]["violation"] == pytest.approx(900 / 1260 - 0.4)
    assert given["unimax"]["violation"] == 0.0
    out = run(*RUN, "--max-epochs", "3", "--cap", "web=0.4")[1]
    assert "natural is outside the limits by up to 31.4 percentage points" in out
    assert out.splitlines()[0].split() == [
        "domain",
        "tokens",
        *(word for name in list(made)[:-1] for word in (name, "epochs")),
    ]


def test_one_number_for_each_domain_is_a_utility_too(run):
    region = Region.from_tokens(TOKENS, 1000)
    same = baselines.utilimax(region, utilities={"web": 0.2, "code": 0.9, "books": 0.5})
    assert found(run, "--utilities", "one.yaml")["utilimax"]["mixture"] == pytest.approx(same.as_dict(), abs=1e-12)


def test_all_are_written_as_runs_and_one_as_a_mixture(run):
    assert run(*RUN, "--out", "controls.csv")[0] == 0
    domains, runs, ratios = read_mixtures("controls.csv")
    assert (domains, runs) == (("web", "code", "books"), ("natural", "uniform", "temperature", "unimax"))
    assert ratios[0] == pytest.approx([count / 1260 for count in TOKENS.values()])
    assert run(*RUN, "--only", "unimax", "--out", "mixture.yaml")[0] == 0
    same = baselines.unimax(TOKENS, 1000)
    assert Mixture.load("mixture.yaml").as_dict() == pytest.approx(same.as_dict())
    assert run(*RUN, "--only", "unimax", "--out", "counts.yaml")[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("baselines",), "baselines follow from --tokens, the tokens of each domain, and --budget"),
        (("baselines", "--tokens", "counts.yaml"), "--budget, those of the run"),
        ((*RUN, "--only", "utilimax"), "--only utilimax needs --utilities FILE"),
        ((*RUN, "--risk", "2"), "--risk has no effect without --utilities"),
        ((*RUN, "--temperature", "0"), "expected a number above 0, or inf"),
        ((*RUN, "--only", "unimax", "--temperature", "2"), "--temperature has no effect with --only unimax"),
        ((*RUN, "--out", "x.yaml"), "a csv file of runs ends in .csv"),
        ((*RUN, "--utilities", "counts.csv"), "counts.csv"),
        ((*RUN, "--max-epochs", "0.1"), "tokens short"),
        ((*RUN, "--mixture-paths", "/x/{domain}"), "--mixture-paths has no effect"),
    ],
)
def test_wrong_options_are_refused_in_one_line(refused, words, said):
    assert said in refused(*words)


def test_every_option_is_tried_here():
    source = Path(__file__).read_text(encoding="utf-8")
    options = [option for action in build_parser().below["baselines"].arguments for option in action.option_strings]
    shared = ("--floor", "--limit", "--help", "--quiet", "--verbose", "--json", "--force")
    assert not [one for one in options if one.startswith("--") and one not in shared and f'"{one}"' not in source]
