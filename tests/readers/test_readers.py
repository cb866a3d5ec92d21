"""Readers: the files of other projects, and what is refused. That exports come back is tested with the exporters."""

import json

import pytest

from mixfast import readers
from mixfast.errors import MixfastError, MixtureError


def test_olmix_nested_and_proposed(tmp_path):
    nested = """\
mix:
  dclm:
    weight: 0.6
    science:
      weight: 0.25
      repetition_factor: 1.0
    code: 0.75
  wiki: {weight: 0.2, repetition_factor: 2.0}
  arxiv: {weight: 2e-1}
"""
    (tmp_path / "launch.yaml").write_text(nested)
    expected = {"dclm:science": 0.15, "dclm:code": 0.45, "wiki": 0.2, "arxiv": 0.2}
    assert dict(readers.olmix(tmp_path / "launch.yaml")) == pytest.approx(expected)
    (tmp_path / "a_optimal.json").write_text(json.dumps([{"domain": d, "weight": w} for d, w in expected.items()]))
    assert dict(readers.olmix(tmp_path / "a_optimal.json")) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (readers.olmix, "other: 1\n", "expected a mapping 'mix'"),
        (readers.olmix, "mix: {a: {weight: yes}}\n", "share of 'a' must be a number, got 'yes'"),
        (readers.olmix, "mix: {a: {b: {weight: x}}}\n", "share of 'a:b' must be a number"),
        (readers.olmix, "mix: {a: 0.5, a: 0.5}\n", "'a' is given twice"),
        (readers.olmix, "mix: [unclosed\n", "is not YAML"),
        (readers.olmix, "mix: {a: 0.5, b: 0.4}\n", r"file.yaml: shares must sum to 1"),
        (readers.olmo_core, "sources: {}\n", "a list 'sources'"),
        (readers.olmo_core, "sources: [{source_name: a}]\n", "entry 1 must hold 'source_name' and 'target_ratio'"),
        (readers.olmo_core, "- a\n", "a list 'sources'"),
        (readers.regmix, "train: {}\n", "expected a mapping 'train'"),
        (readers.doremi, "{}\n", "expected a mapping 'train_domain_weights'"),
    ],
)
def test_readers_refuse_other_files(reader, text, message, tmp_path):
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(MixtureError, match=message):
        reader(tmp_path / "file.yaml")


def test_readers_refuse_broken_json(tmp_path):
    for text, message in [("{", "not JSON"), ('{"train_domain_weights": {"a": 1, "a": 0}}', "given twice: a")]:
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(MixfastError, match=message):
            readers.doremi(tmp_path / "file.json")
