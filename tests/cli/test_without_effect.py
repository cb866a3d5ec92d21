"""Options without effect are refused or reported; suggested commands can be run as printed."""

import argparse
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from mixfast import ExpertTable, Mixture, Swarm, fit
from mixfast.cli._main import build_parser

DOMAINS = ["web", "code", "books"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("without effect")
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(3), 20)
    values = np.column_stack([ratios @ [1.0, 2.0, 3.0], ratios @ [0.5, 0.2, 0.7]])
    for name, columns, numbers in (
        ("ratios.csv", DOMAINS, ratios),
        ("metrics.csv", ["news_loss", "quiz_acc"], values),
    ):
        rows = [",".join(map(repr, [run, *row])) for run, row in enumerate(numbers.tolist())]
        (path / name).write_text("\n".join([",".join(["run", *columns]), *rows]) + "\n")
    one = Swarm(ratios, values[:, :1], domains=DOMAINS, metric_names=["news_loss"])
    fit(one, "log_linear", folds=0).save(path / "law.json")
    two = Swarm(ratios, np.exp(values), domains=DOMAINS, metric_names=["news_loss", "mail_loss"])
    fit(two, "log_linear", folds=0).save(path / "losses.json")
    ExpertTable.from_loglik(-rng.exponential(size=(60, 3)), domains=DOMAINS).save(path / "table.npz")
    (path / "pool.csv").write_text("run,web,code,books\na,0.3,0.3,0.4\nb,0.1,0.8,0.1\nc,0.8,0.1,0.1\n")
    (path / "own.yaml").write_text("web: 0.5\ncode: 0.3\nbooks: 0.2\n")
    (path / "blend.txt").write_text("2 /data/v1/web_text 1 /data/v1/code_text 1 /data/v1/books_text\n")
    (path / "names.yaml").write_text("".join(f"{name}: /data/v1/{name}_text\n" for name in DOMAINS))
    (path / "a.txt").write_text("one\ntwo\n")
    (path / "b.jsonl").write_text('{"text": "one"}\n')
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


NEXT = ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "1", "--among", "pool.csv")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--folds", "0", "--seed", "1"), "--seed has no effect"),
        (("solve", "table.npz", "--seed", "1", "--no-intervals"), "--seed has no effect"),
        (("solve", "table.npz", "--seed", "1", "--objective", "worst"), "--seed has no effect"),
        (("report", "table.npz", "--seed", "1", "--no-intervals", "--out", "x.html"), "--seed has no effect"),
        ((*NEXT, "--seed", "1"), "--seed has no effect: law.json holds fitted laws"),
        (("solve", "table.npz", "--method", "eg-paper", "--replicates", "9"), "--replicates has no effect with --method eg-paper"),
        (("solve", "table.npz", "--method", "eg-paper", "--seed", "9"), "--seed has no effect"),
        (("propose", "law.json", "--mixture-paths", "/data/v1/{domain}_text"), "--mixture-paths has no effect without --prior FILE"),
        (("propose", "law.json", "--kl", "1", "--prior", "own.yaml", "--mixture-paths", "/{domain}"), "own.yaml has names of domains"),
        (("score", "--experts", "a=x", "--texts", "a.txt", "--field", "body", "--out", "t.npz"), "--field names fields of .jsonl"),
        (("score", "--experts", "a=x", "--texts", "a.txt", "--prompt-field", "q", "--out", "t.npz"), "--prompt-field names fields"),
        (("score", "--experts", "a=x", "--texts", "b.jsonl", "--lines", "--out", "t.npz"), "--lines applies to .txt files, but there are none"),
        (("info", "law.json", "--task", "x"), "--task has no effect: law.json is not a folder of experts"),
        (("info", "own.yaml", "--conditional"), "--conditional has no effect: own.yaml is not a folder of experts"),
        (("report", "table.npz", "--without", "r7", "--out", "x.html"), "--without has no effect here: this needs laws that are fitted now, to RATIOS METRICS"),
        (("report", "--law", "law.json", "--without", "r7", "--out", "x.html"), "--without has no effect here"),
        # Another spelling is the same option.
        (("report", "table.npz", "--normalize", "--out", "x.html"), "--normalise has no effect here"),
        (("report", "table.npz", "--normalise", "--folds", "3", "--out", "x.html"), "--normalise, --folds have no effect here"),
    ],
)  # fmt: skip
def test_options_without_effect_are_refused(refused, words, said):
    assert said in refused(*words)


def test_a_seed_of_an_exact_proposal_is_said_to_change_nothing(run):
    _, _, err = run("propose", "law.json", "--seed", "3")
    assert err == "mixfast: note: --seed had no effect: the exact proposal uses no random numbers\n"


def test_a_seed_of_a_page_with_an_exact_proposal_is_said_to_change_nothing(run, folder):
    _, _, err = run("report", "--law", "law.json", "--seed", "3", "--no-ranges", "--out", folder / "x.html")
    assert (
        err.splitlines(keepends=True)[0]
        == "mixfast: note: --seed had no effect: the exact proposal uses no random numbers\n"
    )


@pytest.mark.parametrize("more", [("levanter",), ("nanotron", "--paths", "/data/{domain}")])
def test_a_batch_size_of_one_mixture_is_said_to_change_nothing(run, more):
    _, _, err = run("export", "own.yaml", "--batch-size", "8", "--to", *more)
    assert "--batch-size 8 has no effect: it converts positions of a schedule to steps, and this is one mixture" in err


def test_every_option_of_every_command_is_tried_in_some_test():
    """An option without a test could be ignored unnoticed."""
    here = Path(__file__).resolve().parent
    tried = "".join(path.read_text(encoding="utf-8") for path in here.parent.rglob("test_*.py"))
    tried += "".join(path.read_text(encoding="utf-8") for path in (here.parent.parent / "docs").rglob("*.md"))
    untried = []
    commands = [((), build_parser())]
    for words, parser in commands:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                commands += [((*words, name), one) for name, one in action.choices.items()]
            elif action.option_strings:
                named = [option for option in action.option_strings if option.startswith("--")]
                if not any(re.search(rf"{re.escape(option)}[\"'= ]", tried) for option in named):
                    untried.append(f"{' '.join(words)} {named[0]}")
    assert not untried


def test_information_says_that_it_learns_all_metrics_alike(good):
    words = ("next", "ratios.csv", "metrics.csv", "losses.json", "--runs", "1", "--way", "information")
    alike = "all metrics weighted equally, as the objective worst has no weights"
    # The file has one of the losses, the law has both.
    assert alike in good(*words, "--objective", "worst", "--out", "next.csv")
    assert alike not in good(*words, "--objective", "news_loss", "--out", "next.csv")


def test_a_hold_that_holds_nothing_and_options_of_a_step_without_runs(run, refused, folder):
    Mixture({"web": 0.5, "code": 0.3, "books": 0.2}).save(folder / "mixture.yaml")
    assert run("reuse", "start", "life.yaml", "--mixture", "mixture.yaml")[0] == 0
    status, _, err = run("reuse", "remove", "life.yaml", "web", "--hold")
    assert (status, err) == (0, "mixfast: note: --hold had no effect: no frozen share is above its new cap\n")
    for options in (
        ("--seed", "1"),
        ("--runs", "3"),
        ("--objective", "news_loss"),
        ("--kl", "1", "--prior", "uniform"),
    ):
        assert f"leave out {options[0]}: this update needs no runs" in refused(
            "reuse", "remove", "life.yaml", "web", *options
        )
    assert "--like has no effect without --law" in refused("reuse", "add", "life.yaml", "maths", "--like", "maths=web")


def test_the_next_command_of_a_fit_can_be_run_as_it_stands(run, good):
    """Losses and accuracies have no common mean, so propose asks for an objective."""
    fitted = good("fit", "ratios.csv", "metrics.csv", "--law", "linear", "--out", "two units.json")
    line = next(line for line in fitted.splitlines() if line.startswith("next: "))
    assert line == "next: mixfast propose 'two units.json' --objective standardised"
    assert line in good("info", "two units.json")
    assert run(*shlex.split(line.removeprefix("next: mixfast ")))[0] == 0
    assert "next: mixfast propose law.json\n" in good("info", "law.json")


def test_the_next_command_asks_for_tokens_if_the_runs_share_no_rate(folder, good):
    """A law in epochs that is fitted to runs of different pools can predict no run until the target is known."""
    mixtures = np.random.default_rng(0).dirichlet(np.ones(3), 16)
    pools = np.full((16, 3), 100.0) * (1 + np.arange(16) % 2)[:, None]
    losses = 2.0 - np.log1p(mixtures / pools * 1000.0) @ [0.1, 0.2, 0.1]
    swarm = Swarm(
        mixtures, losses, domains=["web", "code", "books"], metric_names=["a_loss"], tokens=pools, budget=1000
    )
    fit(swarm, "epochs", folds=0).save(folder / "pools.json")
    assert "next: mixfast propose pools.json --tokens FILE --budget N\n" in good("info", "pools.json")


def test_a_mixture_given_for_a_ledger_and_a_short_supply_name_what_to_do(refused, folder):
    for name in ("mixture.yaml", "mixture.json"):
        Mixture({"web": 0.5, "code": 0.3, "books": 0.2}).save(folder / name)
        assert f"{name}: this is a mixture, expected a ledger; `mixfast reuse start" in refused("reuse", "show", name)
    (folder / "counts.yaml").write_text("web: 10\ncode: 10\nbooks: 10\n")
    line = refused("solve", "table.npz", "--tokens", "counts.yaml", "--budget", "1B")
    assert line.endswith("add data, allow more epochs or lower --budget\n")


@pytest.mark.parametrize("paths", ["/data/v1/{domain}_text", "names.yaml", None])
def test_paths_of_a_prior_are_named_as_those_of_a_mixture(run, paths):
    words = () if paths is None else ("--mixture-paths", paths)
    for command in (
        ("propose", "law.json", "--kl", "0.1"),
        ("solve", "table.npz", "--kl", "0.1"),
        ("design", "--runs", "4", "--out", "runs.csv"),
        ("report", "table.npz", "--kl", "0.1", "--out", "page.html"),
        ("next", "ratios.csv", "metrics.csv", "law.json", "--runs", "1", "--out", "next.csv"),
    ):
        status, _, err = run(*command, "--prior", "blend.txt", *words)
        if paths is None:
            # Without the option, domains are named by the differing parts: web_text, code_text, books_text.
            assert status == 2 or command[0] == "design"
        else:
            assert status == 0, err
            assert len(re.findall("blend.txt was read as megatron", err)) == 1, err
