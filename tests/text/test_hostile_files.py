"""Files made to exhaust a reader: every reader finishes in time proportional to the file, with an answer or a refusal."""

import faulthandler
import gzip
import json
import random
import sys
import warnings

import pytest

from mixfast import ExpertTable, Mixture, MixtureSchedule, Swarm, readers
from mixfast._text.kinds import described, kind_of
from mixfast._text.names import did_you_mean, misspelt
from mixfast.cli import _reading
from mixfast.designs import Design
from mixfast.errors import MixfastError
from mixfast.laws import Fit
from mixfast.reuse import Ledger

READERS = {
    "kind_of": kind_of,
    "described": described,
    "read": readers.read,
    "Mixture": Mixture.load,
    "Ledger": Ledger.load,
    "Fit": Fit.load,
    "ExpertTable": ExpertTable.load,
    "Swarm": lambda path: Swarm.from_csv(path, path),
    "Design": Design.from_csv,
    "schedule": lambda path: MixtureSchedule.from_json(path.read_text("utf-8", "replace")),
    "numbers": lambda path: _reading.numbers(str(path), float),
    "groups": lambda path: _reading.groups(str(path)),
    "olmix_config": readers.olmix_config,
    "olmix_generate": readers.olmix_generate,
}
_LENGTH = 200_000
HEAVY = {
    "blanks": "a: 1\n" + " " * _LENGTH + "x\n",
    "blanks alone": " " * _LENGTH,
    "tabs": "a: 1\n" + "\t" * _LENGTH + "x\n",
    "digits": "a:" + "1" * _LENGTH + "x",
    "points": "run,a\n0," + "1." * (_LENGTH // 2) + "x\n1,0.5\n",
    "digits of a cell": "run,a\n0," + "1" * _LENGTH + "xx\n1,0.5\n",
    "blanks in a cell": "run,a,b\n0,0.5," + "1 " * (_LENGTH // 2) + "x;\n",
    "underscores": "a:1" + "_" * _LENGTH + "x",
    "brackets": "[" * _LENGTH,
    "braces": "{" * _LENGTH,
    "dashes": "- " * _LENGTH,
    "marks": "? " * _LENGTH,
    "objects": '{"a":' * _LENGTH,
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)),
    "keys": "".join(f"k{i}: 0.1\n" for i in range(20_000)),
    "commas": "," * _LENGTH,
    "quotes": '"' * _LENGTH,
    "one word": "a" * _LENGTH,
    "parentheses": "run," + "(" * _LENGTH + "\n0,1\n",
}
VALID = [
    "format: mixfast-mixture-1\nmixture:\n  web: 0.5\n  code: 0.5\n",
    "run,web,code\nr0,0.5,0.5\nr1,0.25,0.75\nr2,0.1,0.9\n",
    "run;web;code\nr0;0,5;0,5\nr1;0,25;0,75\n",
    "0.5 /d/web_text_document 0.5 /d/code_text_document\n",
    json.dumps({"sources": [{"name": "web", "target_ratio": 0.5}, {"name": "code", "target_ratio": 0.5}]}),
    json.dumps(
        {"format": "mixfast-schedule-1", "sample_tokens": None, "changes": [{"start": 0, "mixture": {"web": 1.0}}]}
    ),
    "SHARES = {\n    'web': 0.5,\n    'code': 0.5,\n}\n",
    "mix:\n  web: 0.5\n  code:\n    weight: 0.5\n    c: 1.0\nlist: &a [1, *a]\n",
]
PIECES = ["\x00", "\x1b[2J", "\u202e", "\n", "\r", "\t", ":", ": ", ",", ";", '"', "'", "[", "]", "{", "}", "- ", "? ", "&a ", "*a", "<<", "!", "|", ">",
          "%", "#", "nan", "inf", "-1", "1e999", "9" * 5000, "  " * 50, "é", "\ud800", "1_000", "null", "~", "=", "0x1"]  # fmt: skip


def taken(reader, path):
    """Read a file; return its answer, or a refusal, within ten seconds and a few hundred characters."""
    # A reader inside compiled code does not react to signals.
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            READERS[reader](path)
    except MixfastError as problem:
        said = str(problem)
    except ValueError as problem:
        # Laws and their files are refused by ValueError itself.
        if reader != "Fit":
            raise
        said = str(problem)
    else:
        said = ""
    finally:
        faulthandler.cancel_dump_traceback_later()
    if len(said) > 3000:
        raise AssertionError(said[:1000])


@pytest.mark.parametrize("reader", READERS)
def test_heavy_text_is_read_in_one_pass(reader, tmp_path):
    for what, text in HEAVY.items():
        for suffix in ("yaml", "json", "csv"):
            path = tmp_path / f"file.{suffix}"
            path.write_text(text)
            try:
                taken(reader, path)
            except Exception as problem:
                raise AssertionError(f"{what}, .{suffix}") from problem


@pytest.mark.parametrize("reader", READERS)
def test_damaged_text_is_refused_and_nothing_else(reader, tmp_path):
    random.seed(16)
    path = tmp_path / "file"
    for _ in range(150):
        text = random.choice(VALID)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text) + 1)
            text = (
                text[:at] + random.choice(PIECES) * random.choice([1, 1, 1, 3]) + text[at + random.choice([0, 1, 5]) :]
            )
        data = text.encode("utf-8", "surrogatepass")
        path = tmp_path / f"file.{random.choice(['yaml', 'json', 'csv', 'py', 'txt', 'npz'])}"
        path.write_bytes(gzip.compress(data) if random.random() < 0.1 else data)
        try:
            taken(reader, path)
        except Exception as problem:
            raise AssertionError(f"{path.name}: {data!r:.500}") from problem


def work(function):
    """Count the calls of Python functions and C functions during a call."""
    count = 0

    def one(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(one)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_calls_grow_with_the_columns_and_no_faster(tmp_path):
    def runs(columns):
        ratios, metrics = tmp_path / f"r{columns}.csv", tmp_path / f"m{columns}.csv"
        # Names that need closer inspection: they may be standard errors, or languages, or belong to a tracker.
        names = [("m{}_se", "x/{}_loss", "system/gpu.{}", "d{}_sd")[i % 4].format(i) for i in range(columns)]
        for path, cells in ((ratios, [repr(1 / columns)] * columns), (metrics, ["1.5"] * columns)):
            head = [f"d{i}" for i in range(columns)] if path == ratios else names
            path.write_text(f"run,{','.join(head)}\n" + "".join(f"r{r},{','.join(cells)}\n" for r in range(3)))
        return lambda: Swarm.from_csv(ratios, metrics)

    few, many = (work(runs(columns)) for columns in (200, 800))
    assert many < 5 * few


def test_a_name_is_compared_closely_with_few_of_many():
    known = [f"train_the_pile_{i}_{i * 7919 % 1000}" for i in range(5_000)]
    few = work(lambda: did_you_mean("train_the_pyle_77", known[:1_000]))
    assert work(lambda: did_you_mean("train_the_pyle_77", known)) < 6 * few
    assert did_you_mean("stackoverflw", [*known, "stack_overflow"]) == " (did you mean stack_overflow?)"
    assert len(misspelt(["x" * 10**6] * 9, known)) < 3000


@pytest.mark.parametrize("reader", ["read", "Mixture", "Ledger", "numbers", "groups", "olmix_config", "olmix_generate"])
def test_files_of_names_and_numbers_have_a_largest_size(reader, tmp_path):
    path = tmp_path / "file.yaml"
    with path.open("wb") as handle:
        handle.write(b"web: 0.5\n")
        handle.truncate(2**40)  # without using disk space
    with pytest.raises(MixfastError, match="more than 64 MB"):
        READERS[reader](path)
