"""Readers of other projects' files, and their refusals. The tests of the exporters read exports back."""

import json

import pytest

from mixfast import readers
from mixfast.errors import MixfastError, MixfastWarning, MixtureError


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
        (readers.doremi, "{train_domain_weights: {a: 0.5, b: 0.4}}\n", r"file.yaml: shares must sum to 1"),
        (readers.olmo_core, "sources: [{source_name: a, target_ratio: 0.5}]\n", r"file.yaml: shares must sum to 1"),
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


def test_shares_are_divided_by_their_sum_where_the_loader_does(tmp_path):
    """Two of RegMix's four published mixtures sum to .81 and .79; nested mixes of Olmix may omit part of a source."""
    (tmp_path / "human.yaml").write_text("train:\n  train_a: 0.6\n  train_b: 0.2\nvalid: {valid_a: 1.0}\n")
    (tmp_path / "nested.yaml").write_text("mix:\n  dclm:\n    weight: 0.8\n    code: 0.5\n    math: {weight: 0.25}\n")
    with pytest.warns(MixfastWarning, match="human.yaml: shares sum to 0.8 and were divided by it"):
        assert dict(readers.regmix(tmp_path / "human.yaml")) == pytest.approx({"train_a": 0.75, "train_b": 0.25})
    with pytest.warns(MixfastWarning, match="nested.yaml: shares sum to 0.6"):
        assert dict(readers.olmix(tmp_path / "nested.yaml")) == pytest.approx({"dclm:code": 2 / 3, "dclm:math": 1 / 3})


def test_a_cookbook_recipe_is_read_as_olmo_core_is(tmp_path):
    recipe = """\
name: "small-run"
max_tokens: 3_800_000_000
dataset:
  sources:
  - name: web
    target_ratio: 0.7
    repetition_factor: 1.0
    paths: [s3://bucket/web/*.npy]
  - name: code
    target_ratio: 0.3
    paths: [s3://bucket/code/*.npy]
"""
    (tmp_path / "recipe.yaml").write_text(recipe)
    assert dict(readers.olmo_core(tmp_path / "recipe.yaml")) == {"web": 0.7, "code": 0.3}


def test_readers_refuse_broken_json(tmp_path):
    for text, message in [("{", "not JSON"), ('{"train_domain_weights": {"a": 1, "a": 0}}', "given twice: a")]:
        (tmp_path / "file.json").write_text(text)
        with pytest.raises(MixfastError, match=message):
            readers.doremi(tmp_path / "file.json")
