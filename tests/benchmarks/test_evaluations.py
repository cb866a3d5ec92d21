"""The study that makes examples/evaluations, and the files that it made."""

import json
import re

import numpy as np

from benchmarks.facts import ROOT
from benchmarks.studies import evaluations

FILES = sorted((ROOT / "examples" / "evaluations").rglob("results_*.json"))


def test_code_keeps_no_comments_and_no_docstrings():
    source = '"""Prose."""\n\ndef f(x):\n    """More prose."""\n    return [x, "text"]  # a comment\n'
    assert evaluations.without_prose(source) == "pass\n\ndef f(x):\n    pass\n    return [x, 'text']"


def test_the_right_choice_continues_the_context():
    text = bytes(range(32, 127)) * 5
    for each in evaluations.questions(text, np.random.default_rng(0)):
        assert (each["context"] + each["choices"][each["label"]]).encode() in text


def test_the_files_of_the_example_tell_nothing_about_the_machine():
    assert len(FILES) == 24
    for path in FILES:
        document = json.loads(path.read_text(encoding="utf-8"))
        assert not document.keys() & set(evaluations.MACHINE)
        assert not re.search(r'"(?:/|[A-Z]:\\|~)', path.read_text(encoding="utf-8")), (
            f"{path.name} has an absolute path"
        )
