"""Generate configurations of Olmix: the result of each key, and refusals with their reasons."""

from __future__ import annotations

import pytest

from mixfast.designs import Olmix, design
from mixfast.errors import AlignmentError, InfeasibleError
from mixfast.readers import olmix_generate
from mixfast.readers._olmix_values import OlmixConfigError

# Invented, with the structure of the published files: free and fixed topics, qualities, a flat source, a topic with a colon in its name.
FILE = """\
name: invented
data:
  dtype: uint32
  sources:
    - name: web
      topics:
        - name: sport
          paths: ["s3://nowhere/sport/**/*.npy"]
        - name: news
          quality:
            - {name: high, paths: [a]}
            - {name: low, paths: [b]}
    - name: existing
      topics:
        - {name: "old:c", paths: [c], weight: 0.25}
        - {name: "old:go", paths: [d], weight: 0.75}
    - name: books
      paths: [e]
priors:
  relative_sizes:
    books: 0.1
    existing:old:c: 0.1
    existing:old:go: 0.2
    web:news:high: 0.1
    web:news:low: 0.2
    web:sport: 0.3
  token_counts:
    books: 1000000000
    existing:old:c: 1000000000
    existing:old:go: 2000000000
    web:news:high: 1000000000
    web:news:low: 2000000000
    web:sport: 3000000000
swarm:
  seed: 7
  variants: 12
  min_strength: 1
  max_strength: 20
  min_topic_strength: 2
  topic_mix_temperature: 0.5
  minimum_weight: 0.0001
  minimum_topic_weight: 0.002
  nonzero_weight: [books, "web:sport"]
  manual_prior: {existing: 0.7, web: 0.2}
  sample_multiplier: 20
  repetition_factor: 2
  enable_bound: false
max_tokens: 5000000000
"""


@pytest.fixture
def read(tmp_path):
    def of(*changes):
        text = FILE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "generate.yaml"
        path.write_text(text, encoding="utf-8")
        return olmix_generate(path)

    return of


def test_a_generate_configuration_gives_the_region_and_the_sampler(read):
    given = read()
    assert (given.runs, given.seed, given.existing) == (12, 7, None)
    region = given.region
    assert region.domains == (
        "books",
        "existing:old:c",
        "existing:old:go",
        "web:news:high",
        "web:news:low",
        "web:sport",
    )
    assert region.prior.tolist() == pytest.approx([0.1, 0.1, 0.2, 0.1, 0.2, 0.3])
    # Two epochs of a proxy run of 5B tokens.
    assert region.cap.tolist() == pytest.approx([0.4, 0.4, 0.8, 0.4, 0.8, 1.0])
    assert given.sampler == Olmix(
        strength=(1.0, 20.0),
        topic_strength=(2.0, 20.0),
        topic_temperature=0.5,
        minimum=(0.0001, 0.002),
        source_prior={"existing": 0.7, "web": 0.2},
        topic_share={"existing:old:c": 0.25, "existing:old:go": 0.75},
        nonzero=("books", "web:sport"),
        nonzero_in="draws",
        proxy_tokens=5 * 10**9,
        max_epochs=2.0,
        bound=False,
        multiplier=20,
    )
    assert len(given.notes) == 1
    found = design(region, given.runs, seed=given.seed, method=given.sampler)
    assert found.ratios.shape == (12, 6)
    assert found.ratios[:, 2] == pytest.approx(3 * found.ratios[:, 1])


def test_what_is_not_given_has_the_values_of_olmix_code(read):
    start = FILE.index("swarm:")
    given = read((FILE[start : FILE.index("max_tokens")], ""))
    assert (given.runs, given.seed, given.notes) == (1, 42, ())
    sampler = given.sampler
    assert (sampler.strengths, sampler.temperatures, sampler.minima) == (((0.1, 5.0),) * 2, (1.0, 1.0), (0.002, 0.002))
    assert (sampler.multiplier, sampler.max_epochs, sampler.bound) == (10, 1.0, True)


def test_zero_is_as_if_not_given(read):
    given = read(
        ("  minimum_topic_weight: 0.002\n", "  minimum_topic_weight: 0\n"),
        ("sample_multiplier: 20", "sample_multiplier: 0"),
    )
    assert given.sampler.minima == (0.0001, 0.0001)
    assert given.sampler.multiplier == 10


def test_fixed_sources_and_fixed_qualities(read):
    given = read(
        ("    - name: web\n", "    - name: web\n      weight: 0.5\n"),
        ("    - name: existing\n", "    - name: existing\n      weight: 0.4\n"),
        ("    - name: books\n", "    - name: books\n      weight: 0.1\n"),
        ("        - name: sport\n", "        - name: sport\n          weight: 0.6\n"),
        ("        - name: news\n", "        - name: news\n          weight: 0.4\n"),
    )
    assert given.sampler.source_share == {"books": 0.1, "existing": 0.4, "web": 0.5}
    # The weight of a topic is divided among its qualities by the prior, 1 to 2.
    assert given.sampler.topic_share == pytest.approx(
        {
            "existing:old:c": 0.25,
            "existing:old:go": 0.75,
            "web:news:high": 0.4 / 3,
            "web:news:low": 0.8 / 3,
            "web:sport": 0.6,
        }
    )
    weighed = read(
        ("        - name: sport\n", "        - name: sport\n          weight: 0.6\n"),
        ("        - name: news\n", "        - name: news\n          weight: 0.4\n"),
        ("{name: high, paths: [a]}", "{name: high, paths: [a], weight: 3}"),
    )
    assert weighed.sampler.topic_share["web:news:high"] == pytest.approx(0.4)
    assert weighed.sampler.topic_share["web:news:low"] == 0.0


def test_sources_that_are_topics_in_the_priors_are_told_so(read):
    start, end = FILE.index("    - name: web\n"), FILE.index("    - name: existing\n")
    flat = "    - {name: sport, paths: [a]}\n"
    with pytest.raises(OlmixConfigError, match="make them topics of a source 'web'"):
        read((FILE[start:end], flat))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    books: 0.1\n", "    books: 0.1\n    books2: 0.0\n", "different domains, .*Only in priors.relative_sizes: books2"),
        ("    - name: books\n", "    - name: libri\n", "Only in data.sources: libri"),
        ("    books: 1000000000\n", "", "Only in data.sources: books. Only in priors.token_counts"),
        ("  variants: 12\n", "  variant: 12\n", "swarm has the unknown key 'variant' .did you mean 'variants'"),
        ("  variants: 12\n", "  variants: many\n", "swarm.variants must be a whole number"),
        ('        - {name: "old:c", paths: [c], weight: 0.25}\n', '        - {name: "old:c", paths: [c]}\n', "some topics of 'existing'"),
        ("weight: 0.25", "weight: 0.5", "the topics of 'existing' sum to 1.25, expected 1"),
        ("    - name: books\n", "    - name: books\n      weight: 0.1\n", "some sources have a weight and existing, web has none"),
        ("      paths: [e]\n", "", "'books' must have exactly one of paths, quality, topics"),
        ("  sample_multiplier: 20\n", "  manual_topic_prior: {web:sport: 1}\n", "but not web:news, so Olmix's code ignores it"),
        ("  sample_multiplier: 20\n", "  manual_topic_prior: {web:nosuch: 1}\n", "manual_topic_prior names web:nosuch"),
        ("  manual_prior: {existing: 0.7, web: 0.2}\n", "  manual_prior: {wiki: 0.7}\n", "manual_prior names wiki"),
        ("max_tokens: 5000000000\n", "", "max_tokens must be a whole number"),
        ("  min_strength: 1\n", "  min_strength: -1\n", "min_strength must be a number of at least 0"),
        ("{name: low,", "{name: high,", "names a domain twice: web:news:high"),
    ],
)  # fmt: skip
def test_what_olmix_code_would_stop_at_or_pass_over_is_refused(read, old, new, said):
    with pytest.raises(OlmixConfigError, match=f"generate.yaml: .*{said}"):
        read((old, new))


def test_too_few_tokens_are_refused_with_the_name_of_the_file(read):
    with pytest.raises(InfeasibleError, match=r"generate\.yaml"):
        read(("max_tokens: 5000000000", "max_tokens: 50000000000"))


def test_what_olmix_code_does_otherwise_is_noted(read):
    given = read(
        (
            "  seed: 7\n",
            "  seed: 7\n  min_source_strength: 20\n  source_mix_temperature: 2\n  existing_mix_file: old.pkl\n",
        ),
        ("    books: 0.1\n", ""),
        ("    web:sport: 0.3\n", "    web:sport: 0.3\n    books: 0.1\n"),
        ("{name: high, paths: [a]}", "{name: high, paths: [a], weight: 3}"),
    )
    assert given.existing == "old.pkl"
    assert given.sampler.source_strength == (20.0, 20.0)
    assert given.sampler.temperatures == (1.0, 0.5)
    assert given.region.domains[-1] == "books"
    for words in (
        "aligned by name",
        "temperatures above 1",
        "source strength are equal",
        "ignores the weights of web:news:high",
        "draws",
    ):
        assert any(words in note for note in given.notes), (words, given.notes)


def test_a_misspelt_source_that_must_be_used_is_refused_when_it_is_drawn(read):
    given = read(("nonzero_weight: [books,", "nonzero_weight: [boks,"))
    with pytest.raises(AlignmentError, match="boks"):
        design(given.region, 2, seed=0, method=given.sampler)
