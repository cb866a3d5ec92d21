"""The file written for each loader, read back by a parser in this file, and by the loader itself if it is installed."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixfast import Mixture, MixtureSchedule, exporters, readers
from mixfast._text.audience import commanded
from mixfast.errors import AlignmentError, MixfastWarning
from mixfast.exporters import ExportError
from mixfast.exporters._grain import grain_shares

MIXTURE = Mixture(["web", "code", "books", "none"], [0.62, 0.3, 0.08, 0.0])
TOKENS = {"web": 10_000, "code": 2_000, "books": 500, "none": 7}
DOCUMENTS = {"web": 100, "code": 5, "books": 1, "none": 7}
PATTERN = "/data/{domain}"
CODE = ("grain", "huggingface", "litdata", "seqio", "torchdata", "webdataset")


def wanted(to, **given):
    """Return the arguments that a format requires, with sequences of equal length."""
    takes = exporters.options(to)
    if "paths" in takes:
        given.setdefault("paths", PATTERN)
    if to == "axolotl":
        given.update(tokens=TOKENS, documents=DOCUMENTS)
    elif "unit" in takes:
        given.setdefault("unit", "sequences")
    return given


def executed(text):
    namespace = {}
    exec(compile(text, "exported", "exec"), namespace)
    return namespace


def pairs(words):
    """Split alternating shares and prefixes, as Megatron-LM's get_blend_from_list does."""
    return {prefix.removeprefix("/data/"): float(share) for share, prefix in zip(words[::2], words[1::2], strict=True)}


def read(to, text):
    """Return the numbers of an export by domain, with names from paths if the format has no others."""
    if to in CODE:
        return executed(text)["SHARES"]
    if to == "megatron":
        return pairs(text.split())
    document = json.loads(text) if to in ("doremi", "maxtext") else yaml.safe_load(text)

    def domain(path):
        return path.removeprefix("/data/")

    match to:
        case "axolotl":
            return {domain(d["path"]): int(d["split"][len("train[:") : -1]) for d in document["datasets"]}
        case "doremi":
            return document["train_domain_weights"]
        case "energon":
            return {domain(entry["path"]): entry["weight"] for entry in document["splits"]["train"]["blend"]}
        case "levanter":
            return document["data"]["train_weights"]
        case "llama-factory":
            probabilities = map(float, document["interleave_probs"].split(","))
            return dict(zip(document["dataset"].split(","), probabilities, strict=True))
        case "maxtext":
            return {name: entry["weight"] for name, entry in document.items()}
        case "nanotron":
            data = document["data_stages"][0]["data"]["dataset"]
            return dict(zip(map(domain, data["dataset_folder"]), data["dataset_weights"], strict=True))
        case "nemo":
            return pairs(document["paths"])
        case "olmix":
            return {name: entry["weight"] for name, entry in document["mix"].items()}
        case "olmo-core":
            return {source["source_name"]: source["target_ratio"] for source in document["sources"]}
        case "regmix":
            return {name.removeprefix("train_"): share for name, share in document["train"].items()}
        case "streaming":
            return {name: entry["proportion"] for name, entry in document["streams"].items()}
        case "trl":
            return {domain(entry["path"]): entry["fraction"] for entry in document["datasets"]}
    raise AssertionError(f"no parser for {to}")


# All formats.


@pytest.mark.parametrize("to", exporters.FORMATS)
def test_numbers_read_back_bit_by_bit(to):
    written = exporters.export(MIXTURE, to, **wanted(to))
    found = read(to, written.text)
    assert found == dict(written.values)
    assert written.format == to
    assert list(found) == ["web", "code", "books"]
    assert "left out, with a share of 0: none" in written.notes
    if to != "axolotl":
        assert all(type(share) is float for share in found.values())
        assert {name: MIXTURE[name] for name in found} == found
        assert math.fsum(found.values()) == 1.0


# Names that would lead out of a folder of paths are refused; another test holds it.
def allowed(name: str) -> bool:
    return bool(name.strip()) and not name.startswith("train_") and {".", ".."}.isdisjoint(name.split("/"))


names = st.text(min_size=1, max_size=12).map(lambda drawn: drawn if allowed(drawn) else f"x{drawn}x".replace("/", "x"))
shares = st.floats(min_value=1e-6, max_value=1.0)


@settings(max_examples=30)
@given(st.dictionaries(names, shares, min_size=1, max_size=6))
def test_any_name_and_any_share_survive(raw):
    total = math.fsum(raw.values())
    mixture = Mixture(tuple(raw), [share / total for share in raw.values()])
    for to in exporters.FORMATS:
        if to == "axolotl":
            continue
        try:
            written = exporters.export(mixture, to, **wanted(to))
        except ExportError as problem:
            refused = {
                "megatron": "white space", "nemo": "white space", "llama-factory": "commas", "regmix": "rename",
            }  # fmt: skip
            if refused.get(to, "never") in str(problem):
                continue
            raise
        found = read(to, written.text)
        if to in (
            "energon",
            "trl",
            "nanotron",
        ):  # domains are identified by their paths, which this test makes from the names
            assert list(found.values()) == list(mixture.values())
        else:
            assert found == dict(mixture)


@pytest.mark.parametrize("to", exporters.FORMATS)
def test_every_format_says_what_it_was_written_for(to):
    document = exporters.FORMATS[to].__doc__
    assert document.startswith(("Write ",))
    assert "ritten for " in document
    written = exporters.export(MIXTURE, to, **wanted(to))
    if written.suffix in (".yaml", ".py"):
        for note in written.notes:
            assert f"# note: {note}\n" in written.text


def test_comments_hold_any_name():
    mixture = Mixture(["a\nb: 1", "c\x00\u2028d"], [1.0, 0.0])
    for to in ("levanter", "huggingface"):
        written = exporters.export(mixture, to)
        assert read(to, written.text) == {"a\nb: 1": 1.0}


def test_an_export_is_saved_as_it_is(tmp_path):
    written = exporters.doremi(MIXTURE)
    written.save(tmp_path / "doremi.json")
    assert (tmp_path / "doremi.json").read_bytes().decode() == written.text
    assert repr(written) == "Export(doremi: 3 domains, 2 notes)"


# Units.


@pytest.mark.parametrize("to", [to for to in exporters.FORMATS if "unit" in exporters.options(to)])
def test_shares_of_tokens_become_shares_of_documents(to):
    given = {"unit": None, "tokens": TOKENS, "documents": DOCUMENTS}
    found = read(to, exporters.export(MIXTURE, to, **wanted(to, **given)).text)
    # 100, 400 and 500 tokens per document.
    parts = {"web": 0.62 / 100, "code": 0.3 / 400, "books": 0.08 / 500}
    assert found == pytest.approx({name: part / sum(parts.values()) for name, part in parts.items()}, rel=1e-14)
    assert math.fsum(found.values()) == 1.0
    # Documents sampled with these shares, times their lengths, give the wanted tokens.
    length = {name: TOKENS[name] / DOCUMENTS[name] for name in found}
    read_tokens = sum(found[name] * length[name] for name in found)
    assert {n: found[n] * length[n] / read_tokens for n in found} == pytest.approx({n: MIXTURE[n] for n in found})


@pytest.mark.parametrize("to", ["llama-factory", "trl", "energon", "maxtext", "seqio"])
def test_loaders_of_raw_documents_need_counts(to):
    given = wanted(to)
    del given["unit"]
    with pytest.raises(ExportError, match=r"needs tokens.*shares of documents.*unit sequences"):
        exporters.export(MIXTURE, to, **given)
    with pytest.raises(ExportError, match="needs documents, the number of documents"):
        exporters.export(MIXTURE, to, **given, tokens=TOKENS)


def test_other_loaders_say_what_shares_count():
    assert any("for documents give tokens and documents" in note for note in exporters.huggingface(MIXTURE).notes)
    with pytest.raises(ExportError, match="needs documents"):
        exporters.huggingface(MIXTURE, tokens=TOKENS)
    with pytest.raises(ExportError, match="leave them out"):
        exporters.huggingface(MIXTURE, unit="sequences", tokens=TOKENS)


def test_axolotl_keeps_the_rows_that_make_the_shares():
    written = exporters.axolotl(MIXTURE, paths=PATTERN, tokens=TOKENS, documents=DOCUMENTS)
    # books: 500 tokens are 8 %, so 6250 in total; web 3875 of 10000 tokens, code 1875 of 2000.
    assert written.values == {"web": 39, "code": 5, "books": 1}
    assert "6250 tokens in all" in " ".join(written.notes)
    half = exporters.axolotl(MIXTURE, paths=PATTERN, tokens=TOKENS, documents=DOCUMENTS, budget=3000)
    assert half.values == {"web": 19, "code": 2, "books": 1}
    with pytest.raises(ExportError, match=r"books 1\.12 times; the largest budget without repetition is 6250"):
        exporters.axolotl(MIXTURE, paths=PATTERN, tokens=TOKENS, documents=DOCUMENTS, budget=7000)


def test_axolotl_says_what_whole_rows_make_of_the_shares():
    mixture = Mixture(["web", "code", "books"], [0.5, 0.3, 0.2])
    known = {"tokens": dict.fromkeys(mixture, 10**6), "documents": {"web": 1000, "code": 1000, "books": 20}}
    written = exporters.axolotl(mixture, paths=PATTERN, budget=100_000, **known)
    assert written.values == {"web": 50, "code": 30, "books": 1}
    said = [note for note in written.notes if "whole rows" in note]
    assert ["130000 tokens in all: books becomes 0.384615, not 0.2" in note for note in said] == [True]
    exact = exporters.axolotl(mixture, paths=PATTERN, budget=500_000, **known)
    assert exact.values == {"web": 250, "code": 150, "books": 2}
    assert not any("whole rows" in note for note in exact.notes)


def test_repetition_is_written_where_it_is_known():
    known = {"tokens": TOKENS, "budget": 12_500}
    mix = yaml.safe_load(exporters.olmix(MIXTURE, **known).text)["mix"]
    assert {name: entry["repetition_factor"] for name, entry in mix.items()} == {
        "web": 1.0, "code": 1.89, "books": 2.01,
    }  # fmt: skip
    written = exporters.olmo_core(MIXTURE, paths=PATTERN, **known)
    assert "domains read more than once, in epochs: code 1.875, books 2" in written.notes
    assert "max_repetition_ratio" not in exporters.olmo_core(MIXTURE, paths=PATTERN).text.partition("sources:")[2]
    with pytest.raises(ExportError, match="needs budget"):
        exporters.olmo_core(MIXTURE, paths=PATTERN, tokens=TOKENS)
    with pytest.raises(ExportError, match="needs tokens"):
        exporters.olmix(MIXTURE, budget=10)


@given(
    st.lists(st.tuples(shares, st.integers(1000, 10**12)), min_size=1, max_size=5),
    st.integers(10**4, 10**13),
)
def test_olmo_core_finds_enough_tokens(domains, budget):
    total = math.fsum(share for share, _ in domains)
    tokens = {f"d{place}": count for place, (_, count) in enumerate(domains)}
    mixture = Mixture(tuple(tokens), [share / total for share, _ in domains])
    sources = yaml.safe_load(exporters.olmo_core(mixture, paths=PATTERN, tokens=tokens, budget=budget).text)["sources"]
    assert np.allclose(np.sum([source["target_ratio"] for source in sources]), 1.0)
    for source in sources:
        # The check in SourceMixtureDatasetConfig.build.
        most = int(tokens[source["source_name"]] * 1.0 * source["max_repetition_ratio"])
        assert most >= int(budget * source["target_ratio"])
        assert source["max_repetition_ratio"] >= 1


def levanter_blocks(shares, block_size):
    """Return the sequences of each domain in a block, as MixtureDataset counts them."""
    counts = np.zeros(len(shares), dtype=np.int32)
    total = sum(shares.values())
    for place, share in enumerate(shares.values()):
        counts[place] = share / total * block_size
    counts[np.argmax(counts)] += block_size - counts.sum()
    return dict(zip(shares, counts.tolist(), strict=True))


def test_levanter_names_what_a_block_leaves_out_and_rounds():
    mixture = Mixture(["big", "small"], [0.9999, 0.0001])
    assert any("never trained on: small; a block size of 10000" in n for n in exporters.levanter(mixture).notes)
    assert exporters.levanter(mixture, block_size=10_000).notes == ()
    tiny = Mixture(["big", "small"], [1 - 1e-5, 1e-5])
    assert "has no sequence of some: drop or merge them" in exporters.levanter(tiny, block_size=65_535).notes[0]
    for wrong in (0, 2.5, True, 65_536):
        with pytest.raises(ExportError, match=r"block_size must be a whole number .* at most 65535"):
            exporters.levanter(mixture, block_size=wrong)
    uneven = Mixture(["big", "small"], [0.9, 0.1])
    assert exporters.levanter(uneven).notes == ()
    assert levanter_blocks(dict(uneven), 19) == {"big": 18, "small": 1}
    (note,) = exporters.levanter(uneven, block_size=19).notes
    assert f"small becomes {1 / 19:.6g}, not 0.1; larger blocks" in note


@given(st.lists(shares, min_size=1, max_size=8), st.integers(1, 65_535))
def test_notes_on_levanter_are_what_its_blocks_hold(raw, block_size):
    mixture = Mixture([f"d{place}" for place in range(len(raw))], np.array(raw) / math.fsum(raw))
    written = exporters.levanter(mixture, block_size=block_size)
    counts = levanter_blocks(written.values, block_size)
    notes = " ".join(written.notes)
    never = [name for name, count in counts.items() if count == 0]
    assert (f"never trained on: {', '.join(never)};" in notes) == bool(never)
    worst = max(abs(count / block_size / mixture[name] - 1) for name, count in counts.items() if count)
    assert ("rounds to whole" in notes) == (worst > 1e-2)


# Schedules.

EARLY, LATE = Mixture(["web", "code", "books"], [0.7, 0.3, 0.0]), Mixture(["web", "books"], [0.5, 0.5])
SCHEDULE = MixtureSchedule(EARLY).then(LATE, at=8_192).then(EARLY, at=40_960)


def drawn_by_stages(stages, batch_size, samples):
    """Return the shares in force at each sample; stages are pairs of step and shares."""
    return [next(shares for step, shares in reversed(stages) if step * batch_size <= sample) for sample in samples]


def test_schedules_go_to_levanter():
    written = exporters.levanter(SCHEDULE, block_size=1024, batch_size=256)
    data = yaml.safe_load(written.text)["data"]
    assert [step for step, _ in data["train_weights"]] == [0, 32, 160]
    assert written.values == {"web": 0.7, "code": 0.3}
    samples = (0, 8_191, 8_192, 40_959, 40_960, 10**6)
    assert drawn_by_stages(data["train_weights"], 256, samples) == [
        SCHEDULE.at(sample).drop_zeros()[0].as_dict() for sample in samples
    ]
    # What MixtureDataset asserts about the starts, after rescale_mixture_schedule_for_batch_schedule.
    assert all(step * 256 % data["mixture_block_size"] == 0 for step, _ in data["train_weights"])
    assert yaml.safe_load(exporters.levanter(EARLY, batch_size=256).text)["data"]["train_weights"] == written.values


def test_schedules_go_to_nanotron():
    written = exporters.nanotron(SCHEDULE, paths={"web": "/w", "code": "/c", "books": "/b"}, batch_size=512)
    stages = yaml.safe_load(written.text)["data_stages"]
    assert [stage["name"] for stage in stages] == ["mixture 1", "mixture 2", "mixture 3"]
    parts = [
        (
            stage["start_training_step"] - 1,
            dict(
                zip(
                    stage["data"]["dataset"]["dataset_folder"], stage["data"]["dataset"]["dataset_weights"], strict=True
                )
            ),
        )
        for stage in stages
    ]
    assert drawn_by_stages(parts, 512, (0, 8_191, 8_192, 40_960)) == [
        {"/w": 0.7, "/c": 0.3}, {"/w": 0.7, "/c": 0.3}, {"/w": 0.5, "/b": 0.5}, {"/w": 0.7, "/c": 0.3},
    ]  # fmt: skip
    assert "stage 2, the order of the list: web, books" in written.notes
    with pytest.raises(AlignmentError, match="Only in the mixture: books"):
        exporters.nanotron(SCHEDULE, paths={"web": "/w", "code": "/c"}, batch_size=512)


@pytest.mark.parametrize("to", [to for to in exporters.FORMATS if to not in ("levanter", "nanotron")])
def test_other_loaders_refuse_schedules(to):
    with pytest.raises(
        ExportError, match=f"{to} takes one mixture for the whole run.*levanter and nanotron.*each part"
    ):
        exporters.export(SCHEDULE, to, **wanted(to))


def test_schedules_that_loaders_cannot_follow():
    for wrong in (None, 0, 2.5, True):
        with pytest.raises(ExportError, match="batch_size must be the number of sequences in a global batch"):
            exporters.levanter(SCHEDULE, batch_size=wrong)
    with pytest.raises(
        ExportError,
        match=r"between batches of 1000 sequences, and a change is at sample 8192; move it to 8000 or 9000",
    ):
        exporters.nanotron(SCHEDULE, paths=PATTERN, batch_size=1000)
    with pytest.raises(ExportError, match=r"batches of 256 and blocks of 16384 .*; move it to 16384"):
        exporters.levanter(SCHEDULE, batch_size=256, block_size=16_384)
    ramp = MixtureSchedule(EARLY).ramp(LATE, start=8_192, stop=16_384)
    with pytest.raises(
        ExportError,
        match=r"no ramps, and the schedule has one from sample 8192 to 16384; replace it by steps in Python: \.then\(",
    ):
        exporters.levanter(ramp, batch_size=256)
    # A domain that never has a share is left out, and a note says so.
    never = MixtureSchedule(Mixture(["web", "none"], [1.0, 0.0]))
    assert "left out, with a share of 0: none" in exporters.levanter(never, batch_size=1).notes


# Names and counts.


def test_regmix_refuses_names_whose_files_are_also_those_of_others():
    for both, what in (
        (["web", "web-code"], "'web' and 'web-code'"),
        (["train_web", "web-code"], "'web' and 'web-code'"),
        (["a*", "b"], r"rename 'a\*'"),
    ):
        with pytest.raises(ExportError, match=what):
            exporters.regmix(Mixture(both, [0.5, 0.5]))
    exporters.regmix(Mixture(["web", "webcode", "code-web"], [0.5, 0.25, 0.25]))


@pytest.mark.parametrize("to", ["huggingface", "axolotl"])
def test_more_documents_than_tokens_are_refused(to):
    given = wanted(to, unit=None) if to == "huggingface" else wanted(to)
    with pytest.raises(ExportError, match=r"more documents than tokens .*web: 10000 documents, 100 tokens.* swapped"):
        exporters.export(MIXTURE, to, **given | {"tokens": DOCUMENTS, "documents": TOKENS})


def test_grain_says_what_it_rounds():
    shares = {"a": 0.3, "b": 0.7}
    assert grain_shares(shares) == {"a": 100 / 333, "b": 233 / 333}
    notes = exporters.grain(Mixture(*zip(*shares.items(), strict=True))).notes
    assert any("a becomes 0.3003, not 0.3" in note for note in notes)
    assert not any("rounds" in note for note in exporters.grain(Mixture(["a", "b"], [0.5, 0.5])).notes)


# Paths and counts.


def test_paths_by_domain_and_by_pattern():
    by_name = {"web": "s3://x/web", "code": Path("/y"), "books": "z", "none": "unused"}
    streams = yaml.safe_load(exporters.streaming(MIXTURE, paths=by_name).text)["streams"]
    assert [stream.get("remote") for stream in streams.values()] == ["s3://x/web", None, None]
    assert [stream.get("local") for stream in streams.values()] == [None, "/y", "z"]
    several = by_name | {"web": ["a/*.npy", "b.npy"]}
    sources = yaml.safe_load(exporters.olmo_core(MIXTURE, paths=several).text)["sources"]
    assert sources[0]["paths"] == ["a/*.npy", "b.npy"]
    more = exporters.megatron(MIXTURE, paths=by_name | {"extra": "e"})
    assert "paths also names domains that the mixture does not have: extra" in more.notes
    assert "extra" not in more.text


REFUSED = [
    ("nope", {}, ExportError, "'nope' is not known; known formats: axolotl, doremi"),
    ("megatron", {}, ExportError, "megatron needs the path prefix"),
    ("megatron", {"paths": "/data"}, ExportError, r"must contain \{domain\}"),
    ("megatron", {"paths": {"web": "a", "cdoe": "b", "books": "c"}}, AlignmentError, "Only in paths: cdoe"),
    ("megatron", {"paths": {"web": "a b", "code": "b", "books": "c"}}, ExportError, "white space.*web: 'a b'"),
    ("megatron", {"paths": {"web": ["a", "b"], "code": "b", "books": "c"}}, ExportError, r"several for: web \(2\)"),
    ("olmo-core", {"paths": {"web": [], "code": "b", "books": "c"}}, ExportError, "path of 'web'"),
    ("nanotron", {"paths": {"web": 3, "code": "b", "books": "c"}}, ExportError, "path of 'web'"),
    ("nanotron", {"paths": ["a", "b", "c"]}, ExportError, "paths must be a mapping by domain, got list"),
    ("grain", {"unit": "bytes"}, ExportError, "unit is 'bytes'"),
    ("grain", {"budget": 3}, ExportError, "grain takes unit, tokens, documents; it does not take budget"),
    ("grain", {"tokens": TOKENS | {"web": -1}, "documents": DOCUMENTS}, ExportError, "above 0.*got web=-1"),
    ("grain", {"tokens": TOKENS | {"web": 0.5}, "documents": DOCUMENTS}, ExportError, "web=0.5"),
    ("grain", {"tokens": TOKENS | {"web": math.nan}, "documents": DOCUMENTS}, ExportError, "web=nan"),
    ("grain", {"tokens": TOKENS | {"web": "many"}, "documents": DOCUMENTS}, ExportError, "web='many'"),
    ("grain", {"tokens": TOKENS, "documents": {"web": 1}}, AlignmentError, "Only in the mixture: books, code"),
    ("olmix", {"tokens": TOKENS, "budget": 0}, ExportError, "budget must be a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("to", "given", "error", "message"), REFUSED)
def test_refusals(to, given, error, message):
    with pytest.raises(error, match=message):
        exporters.export(MIXTURE, to, **given)


def test_a_name_with_a_comma_is_refused_where_it_separates():
    with pytest.raises(ExportError, match="splits its list of names at commas and strips them; rename 'a,b'"):
        exporters.llama_factory(Mixture(["a,b", "c"], [0.5, 0.5]), unit="sequences")


def test_a_solution_is_not_a_mixture():
    with pytest.raises(ExportError, match=r"a solution has it as \.mixture"):
        exporters.export({"web": 1.0}, "doremi")


def test_more_data_sets_than_megatron_counts():
    many = Mixture([f"d{place}" for place in range(32_768)], np.full(32_768, 1 / 32_768))
    with pytest.raises(ExportError, match="at most 32767"):
        exporters.megatron(many, paths=PATTERN)


# The loaders themselves, if installed.


def loader(module):
    """Import a loader, or skip the test with the reason."""
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        pytest.skip(f"{module} is not installed: {problem}")


def counts_of(drawn):
    found, number = np.unique(drawn, return_counts=True)
    return dict(zip(found.tolist(), (number / len(drawn)).tolist(), strict=True))


@pytest.fixture
def mixed():
    """Return the function of an export, for a mixture of three domains without zeros."""
    mixture, _ = MIXTURE.drop_zeros()

    def build(to):
        namespace = executed(exporters.export(mixture, to, **wanted(to)).text)
        return namespace.get("mix") or namespace["register"]

    return build


KEPT = {"web": 0.62, "code": 0.3, "books": 0.08}


def test_hugging_face_datasets_draws_the_shares(mixed):
    datasets = loader("datasets")
    # In another order than in the mixture: names decide.
    sources = {n: datasets.Dataset.from_dict({"from": [n] * 400}) for n in ("books", "web", "code")}
    drawn = mixed("huggingface")(sources, seed=1)["from"]
    assert counts_of(drawn) == pytest.approx(KEPT, abs=0.03)
    assert set(drawn) == set(KEPT)
    with pytest.raises(ValueError, match="sources must be given for"):
        mixed("huggingface")({"web": sources["web"]})


@settings(max_examples=10)
@given(st.lists(shares, min_size=2, max_size=24))
def test_hugging_face_datasets_accepts_the_sum(raw):
    datasets = loader("datasets")
    total = math.fsum(raw)
    mixture = Mixture([f"d{place}" for place in range(len(raw))], [share / total for share in raw])
    namespace = executed(exporters.huggingface(mixture).text)
    sources = {name: datasets.Dataset.from_dict({"x": [1]}) for name in mixture}
    namespace["mix"](sources, stopping_strategy="first_exhausted")


def test_axolotl_rows_are_those_that_datasets_reads(tmp_path):
    datasets = loader("datasets")
    for name, rows in DOCUMENTS.items():
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a"}\n' * rows)
    pattern = f"{tmp_path}/{{domain}}.jsonl"
    written = exporters.axolotl(MIXTURE, paths=pattern, tokens=TOKENS, documents=DOCUMENTS)
    for entry, rows in zip(yaml.safe_load(written.text)["datasets"], written.values.values(), strict=True):
        found = datasets.load_dataset(
            "json", data_files=entry["path"], split=entry["split"], cache_dir=str(tmp_path / "cache")
        )
        assert len(found) == rows


def test_trl_reads_its_datasets(tmp_path):
    utils = loader("trl.scripts.utils")
    if "fraction" not in utils.DatasetConfig.__dataclass_fields__:
        pytest.skip("this version of trl has no fractions")
    for name in KEPT:
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(f'{{"text": "{name}"}}\n' * 100)
    written = exporters.trl(MIXTURE, paths=f"{tmp_path}/{{domain}}", unit="sequences")
    rows = utils.get_dataset(utils.DatasetMixtureConfig(**yaml.safe_load(written.text)))["train"]["text"]
    assert counts_of(rows) == pytest.approx(KEPT, abs=0.01)


def test_torchdata_draws_the_shares(mixed):
    nodes = loader("torchdata.nodes")
    sources = {name: nodes.IterableWrapper([name] * 10) for name in ("books", "web", "code")}
    sampler = iter(nodes.Loader(mixed("torchdata")(sources, seed=1, rank=0, world_size=1)))
    assert counts_of([next(sampler) for _ in range(3000)]) == pytest.approx(KEPT, abs=0.03)


def test_grain_mixes_by_the_shares_that_the_note_names(mixed):
    grain = loader("grain")
    sources = {name: grain.MapDataset.source([name]).repeat() for name in ("books", "web", "code")}
    whole = mixed("grain")(sources)
    # The smallest share becomes 100, so a multiple of this number of elements has whole numbers of each domain.
    period = sum(int(share * (100 / 0.08)) for share in KEPT.values())
    expected = grain_shares(KEPT)
    assert counts_of([whole[place] for place in range(period)]) == pytest.approx(expected, rel=1e-12)
    stream = iter(mixed("grain")({name: source.to_iter_dataset() for name, source in sources.items()}))
    assert counts_of([next(stream) for _ in range(period)]) == pytest.approx(expected, rel=1e-12)


def test_litdata_takes_the_weights(mixed, tmp_path):
    litdata = loader("litdata")
    sources = {}
    for name in ("books", "web", "code"):
        folder = tmp_path / name
        folder.mkdir()
        writer = litdata.streaming.writer.BinaryWriter(str(folder), chunk_size=200)
        for place in range(400):
            writer.add_item(place, name)
        writer.done()
        writer.merge()
        sources[name] = litdata.StreamingDataset(str(folder))
    combined = mixed("litdata")(sources, seed=1)
    drawn = [item for item, _ in zip(combined, range(300), strict=False)]
    assert counts_of(drawn) == pytest.approx(KEPT, abs=0.08)


def test_webdataset_draws_the_shares(mixed):
    loader("webdataset")
    sources = {name: [name] * 2000 for name in ("books", "web", "code")}
    drawn = [item for item, _ in zip(mixed("webdataset")(sources), range(2000), strict=False)]
    assert counts_of(drawn) == pytest.approx(KEPT, abs=0.06)


def test_streaming_takes_the_proportions(tmp_path):
    streaming = loader("streaming")
    mixture, _ = MIXTURE.drop_zeros()
    for name in mixture:
        with streaming.MDSWriter(out=str(tmp_path / name), columns={"from": "str"}) as writer:
            for _ in range(100):
                writer.write({"from": name})
    written = exporters.streaming(mixture, paths=f"{tmp_path}/{{domain}}")
    streams = [streaming.Stream(**stream) for stream in yaml.safe_load(written.text)["streams"].values()]
    drawn = [row["from"] for row in streaming.StreamingDataset(streams=streams, epoch_size=100, batch_size=1)]
    assert counts_of(drawn) == pytest.approx(KEPT, abs=1e-12)


def test_megatron_reads_the_blend():
    utils = loader("megatron.core.datasets.utils")
    mixture = Mixture(["web", "code", "books"], [0.62, 0.38 - 8e-5, 8e-5])
    want = (["/data/web", "/data/code", "/data/books"], list(mixture.values()))
    assert utils.get_blend_from_list(exporters.megatron(mixture, paths=PATTERN).text.split()) == want
    words = yaml.safe_load(exporters.nemo(mixture, paths=PATTERN).text)["paths"]
    assert utils.get_blend_from_list(words) == want


def test_olmo_core_finds_its_tokens(tmp_path):
    module = loader("olmo_core.data.source_mixture")
    mixture, _ = MIXTURE.drop_zeros()
    tokens = {"web": 100_000, "code": 20_000, "books": 5_000}
    for name, count in tokens.items():
        np.zeros(count, dtype=np.uint16).tofile(tmp_path / f"{name}.npy")
    known = {"tokens": tokens, "budget": 125_000}
    exporters.olmo_core(mixture, paths=f"{tmp_path}/{{domain}}.npy", **known).save(tmp_path / "mix.yaml")
    config = module.SourceMixtureDatasetConfig(
        source_list=module.SourceMixtureList.from_yaml(str(tmp_path / "mix.yaml")),
        requested_tokens=125_000,
        global_batch_size=1024,
        render_tables=False,
    )
    built = config.build(npdtype=np.uint16, sequence_length=64)
    had = {source.name: sum(path.tokens for path in source.path_tokens) for source in built.sources}
    assert {name: n / sum(had.values()) for name, n in had.items()} == pytest.approx(dict(mixture), abs=0.002)


def test_levanter_takes_its_weights():
    module = loader("levanter.data.mixture")
    data = yaml.safe_load(exporters.levanter(SCHEDULE, block_size=1024, batch_size=256).text)["data"]
    stages = [(256 * step, shares) for step, shares in data["train_weights"]]
    mixed = module.MixtureDataset(dict.fromkeys(SCHEDULE.domains), stages, data["mixture_block_size"], key=0)
    for part, (_, shares) in zip(mixed._counts_per_block_per_stage, stages, strict=True):
        counts = dict(zip(mixed.dataset_index, part.tolist(), strict=True))
        assert {name: n for name, n in counts.items() if n} == levanter_blocks(shares, 1024)


def test_energon_reads_the_weights(tmp_path):
    config, paths = loader("megatron.energon.dataset_config"), loader("megatron.energon.epathlib")
    module = loader("megatron.energon.metadataset.metadataset_v2")
    mixture = Mixture(["web", "code", "books"], [0.62, 0.38 - 8e-5, 8e-5])
    exporters.energon(mixture, paths="/data/{domain}", unit="sequences").save(tmp_path / "mix.yaml")
    path = paths.EPath(str(tmp_path / "mix.yaml"))
    found = config.load_config(path, default_type=module.MetadatasetV2, default_kwargs={"path": path})
    blend = found.splits["train"].blend
    assert [(str(entry.path), entry.weight) for entry in blend] == [(f"/data/{n}", w) for n, w in mixture.items()]


def test_llama_factory_reads_the_probabilities(tmp_path):
    module, transformers = loader("llamafactory.hparams.data_args"), loader("transformers")
    for mixture in (MIXTURE.drop_zeros()[0], Mixture(["web"], [1.0])):
        exporters.llama_factory(mixture, unit="sequences").save(tmp_path / "mix.yaml")
        (found,) = transformers.HfArgumentParser(module.DataArguments).parse_yaml_file(str(tmp_path / "mix.yaml"))
        assert dict(zip(found.dataset, found.interleave_probs, strict=True)) == dict(mixture)
        assert found.mix_strategy == "interleave_over"


def test_maxtext_mixes_the_shares(tmp_path):
    grain = loader("grain")
    mixture, _ = MIXTURE.drop_zeros()
    exporters.maxtext(mixture, paths="{domain}", unit="sequences").save(tmp_path / "mix.json")
    # What get_datasets in its grain_data_processing does with the file.
    config = json.loads((tmp_path / "mix.json").read_text())
    weights = [float(entry["weight"]) for entry in config.values()]
    sources = {
        name: grain.MapDataset.source([entry["path"]]).repeat().to_iter_dataset() for name, entry in config.items()
    }
    scaled = {name: weight / sum(weights) for name, weight in zip(config, weights, strict=True)}
    stream = iter(grain.IterDataset.mix(sources, scaled))
    period = sum(int(share * (100 / 0.08)) for share in KEPT.values())
    assert counts_of([next(stream) for _ in range(period)]) == pytest.approx(grain_shares(KEPT), rel=1e-12)


def test_seqio_gets_the_rates(mixed, monkeypatch):
    """seqio itself needs TensorFlow; a stand-in is called as its documentation shows."""
    calls = []

    class Registry:
        @staticmethod
        def add(name, tasks):
            calls.append((name, tasks))

    monkeypatch.setitem(sys.modules, "seqio", type("seqio", (), {"MixtureRegistry": Registry}))
    mixed("seqio")("mine")
    mixed("seqio")("other", {"web": "c4", "code": "stack", "books": "pg19"})
    assert calls == [
        ("mine", [("web", 0.62), ("code", 0.3), ("books", 0.08)]),
        ("other", [("c4", 0.62), ("stack", 0.3), ("pg19", 0.08)]),
    ]


# Exports read by the readers.


@pytest.mark.parametrize(
    ("to", "reader"),
    [("olmix", readers.olmix), ("olmo-core", readers.olmo_core), ("doremi", readers.doremi)],
)
def test_mixtures_come_back(to, reader, tmp_path):
    written = exporters.export(MIXTURE, to, **wanted(to))
    path = tmp_path / f"file{written.suffix}"
    written.save(path)
    assert reader(path) == MIXTURE.drop_zeros()[0]


def test_regmix_comes_back_with_its_names(tmp_path):
    mixture = Mixture(["train_the_pile_arxiv", "train_the_pile_github"], [1e-5, 1 - 1e-5])
    exporters.regmix(mixture).save(tmp_path / "a.yaml")
    assert readers.regmix(tmp_path / "a.yaml") == mixture
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["valid"]["valid_the_pile_arxiv"] == 1.0
    # Five decimals, as printed by RegMix's own script.
    (tmp_path / "b.yaml").write_text("train:\n  train_a: 0.33333\n  train_b: 0.66666\nvalid:\n  valid_a: 1.0\n")
    with pytest.warns(MixfastWarning, match="sum to 0.99999"):
        assert readers.regmix(tmp_path / "b.yaml")["train_a"] == pytest.approx(1 / 3, abs=1e-9)


def test_notes_of_commands_name_options():
    mixture = Mixture({"web": 0.6, "code": 0.4})
    with commanded():
        assert "for documents give --tokens and --documents" in exporters.export(mixture, "huggingface").notes[-1]
        with pytest.raises(ExportError, match="give --unit sequences"):
            exporters.export(mixture, "seqio")
    assert "for documents give tokens and documents" in exporters.export(mixture, "huggingface").notes[-1]
