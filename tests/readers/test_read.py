"""Mixtures in files of any loader, read by one function: exports are read back, ambiguous files are refused."""

import warnings

import pytest

from mixfast import Mixture, exporters, readers
from mixfast.errors import MixfastError, MixtureError

MIXTURE = Mixture(["web", "code", "wiki_en"], [0.62, 0.3, 0.08])
PATHS = "/data/{domain}_text_document"
# Options of a format for which its numbers are shares of tokens.
OPTIONS = {
    "axolotl": {
        "paths": PATHS,
        "tokens": dict.fromkeys(MIXTURE, 10_000),
        "documents": dict.fromkeys(MIXTURE, 100),
    },
    **{to: {"paths": PATHS} for to in ("megatron", "nemo", "nanotron", "olmo-core")},
    **{to: {"paths": PATHS, "unit": "sequences"} for to in ("energon", "maxtext", "trl")},
    **{to: {"unit": "sequences"} for to in ("llama-factory", "seqio")},
    "streaming": {"paths": PATHS},
}
MODULES = {"grain", "huggingface", "litdata", "seqio", "torchdata", "webdataset"}


@pytest.mark.parametrize("to", exporters.FORMATS)
def test_what_is_exported_is_read_back(to, tmp_path):
    written = exporters.export(MIXTURE, to, **OPTIONS.get(to, {}))
    file = tmp_path / f"file{written.suffix}"
    written.save(file)
    if to == "axolotl":
        with pytest.raises(MixtureError, match=r"file.yaml: axolotl's data sets hold numbers of rows \('train\[:"):
            readers.read(file)
        return
    found = readers.read(file)
    assert found.format == ("python" if to in MODULES else to)
    names = [f"train_{name}" for name in MIXTURE] if to == "regmix" else list(MIXTURE)
    assert dict(found.mixture) == dict(zip(names, MIXTURE.weights.tolist(), strict=True))
    assert readers.read(file, found.format) == found


def test_own_files_are_read_bit_by_bit(tmp_path):
    for name in ("a.yaml", "a.json"):
        MIXTURE.save(tmp_path / name)
        found = readers.read(tmp_path / name)
        assert (found.format, found.notes) == ("mixfast", ())
        assert found.mixture == MIXTURE
    (tmp_path / "flat.txt").write_text("web: 70%\ncode: 0.3\n")
    assert dict(readers.read(tmp_path / "flat.txt").mixture) == {"web": 0.7, "code": 0.3}


# Small invented files in the forms that configurations of loaders have.
OTHERS = {
    "levanter": [
        "train_weights: {web: 7, code: 3}\n",
        "data:\n  configs: {web: {}}\n  train_weights: [[0, {web: 7, code: 3}]]\n",
    ],
    "megatron": [
        "0.7 /d/web_text_document 0.3 /d/code_text_document\n",
        "70 web\n30 code\n",
        '[0.7, "/d/web_text_document", 0.3, "/d/code_text_document"]',
        '{"train": ["0.7", "/d/web", "0.3", "/d/code"], "valid": ["1", "/d/val"], "test": null}',
    ],
    "mixfast": ["web: 70%\ncode: 30%\n"],
    "nemo": [
        "model:\n  data:\n    data_prefix: [0.7, /d/web_text_document, 0.3, /d/code_text_document]\n",
        "paths:\n  train: ['7', /d/web/part, '3', /d/code/part]\n  validation: ['1', /v/web]\n",
    ],
    "nanotron": ["data_stages:\n- data: {dataset: {dataset_folder: {/d/web: 7, /d/code: 3}}}\n"],
    "streaming": [
        "train_loader:\n  dataset:\n    streams:\n      web: {proportion: 7}\n      code: {proportion: 3}\n"
        "eval_loader:\n  dataset:\n    streams:\n      x: {proportion: 1}\n"
    ],
    "olmo-core": ["dataset:\n  sources:\n  - {name: web, target_ratio: 0.7}\n  - {name: code, target_ratio: 0.3}\n"],
    "olmix": ['[{"domain": "web", "weight": 0.7}, {"domain": "code", "weight": 0.3}]'],
    "doremi": ['{"train_domain_weights": {"web": 0.7, "code": 0.3}, "eval_domain_weights": {"web": 0.5, "code": 0.5}}'],
    "energon": [
        "splits:\n  train:\n    blend:\n    - {weight: 7, path: ./web}\n    - {weight: 3, path: ./code}\n  val: {path: ./web}\n"
    ],
}


@pytest.mark.parametrize(("form", "text"), [(form, text) for form, texts in OTHERS.items() for text in texts])
def test_loaders_files_are_recognised_by_what_they_hold(form, text, tmp_path):
    (tmp_path / "anything").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = readers.read(tmp_path / "anything")
    assert (found.format, dict(found.mixture)) == (form, pytest.approx({"web": 0.7, "code": 0.3}))


REFUSED = {
    "web: 7\ncode: 3\n": "sum to 1 within 0.005, got 10.*put them under the key 'train_weights'",
    "train_weights: [[0, {a: 1}], [500, {a: 0.5, b: 0.5}]]\n": "'train_weights' has 2 mixtures, from the steps 0, 500",
    "data_stages: [{start_training_step: 1}, {start_training_step: 9}]\n": "'data_stages' has 2 mixtures, from the steps 1, 9",
    "a: {train_weights: {web: 1}}\nb: {train_weights: {web: 1}}\n": "has 'train_weights' 2 times, as a.train_weights",
    "train_weights: {web: 1}\nmix: {web: 1}\n": "fits several formats, levanter and olmix",
    "model: tiny\nseed: many\n": r"no known format of a mixture; its keys are model, seed. Mixtures are read in the formats: levanter \(",
    "web: high\ncode: 0.5\n": "the share of 'web' must be a number, got 'high'",
    "0.5 /d/web 0.5\n": "a blend alternates weights and paths, got 3 words",
    "0.5 0.5 /d/web /d/code\n": "word 2 is '0.5'",
    "streams: {web: {proportion: 1}, code: {repeat: 2}}\n": "it is missing for code: the shares of 'repeat' and 'choose'",
    "splits: {train: {blend_epochized: [{repetitions: 2, path: a}]}}\n": "gives the epochs of each data set",
    "dataset: a,b\ninterleave_probs: '0.5'\n": "'dataset' has 2 entries and 'interleave_probs' has 1",
    "run,web,code\nr0,0.5,0.5\n": r"is a csv file \('run,web,code'\), expected a mixture",
    "format: mixfast-reuse-1\nupdates: []\n": "it is a ledger; mixfast reuse show LEDGER --out mixture.yaml",
    "format: mixfast-mixture-9\nmixture: {web: 1}\n": "'mixfast-mixture-9' is not known",
    '{"mixfast_fit": 2}': "it holds fitted laws; mixfast propose LAW",
    "": "the file is empty",
    "train_weights: {web: -1, code: 2}\n": "shares must be finite and not negative, got web=-1.0",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_could_mean_two_things_is_refused(text, tmp_path):
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(MixtureError, match=f"file.yaml.*{REFUSED[text]}"):
        readers.read(tmp_path / "file.yaml")


def test_shares_of_documents_are_not_taken_for_shares_of_tokens(tmp_path):
    written = exporters.huggingface(
        MIXTURE, tokens=dict.fromkeys(MIXTURE, 1000), documents={"web": 10, "code": 20, "wiki_en": 30}
    )
    written.save(tmp_path / "mix.py")
    with pytest.raises(MixtureError, match="shares of documents, not of tokens"):
        readers.read(tmp_path / "mix.py")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("hf", ""), ("levnter", "levanter"), ("mosaicml", "streaming"), ("olmo_core", "olmo-core"), ("olmo", "olmo-core")],
)
def test_a_misspelt_format_is_answered_with_what_was_meant(given, meant, tmp_path):
    MIXTURE.save(tmp_path / "a.yaml")
    hint = rf" \(did you mean {meant}\?\)" if meant else ""
    with pytest.raises(MixtureError, match=f"the format '{given}' is not known{hint}; known formats: levanter, doremi"):
        readers.read(tmp_path / "a.yaml", given)


def test_domains_of_paths(tmp_path):
    file = tmp_path / "blend.txt"

    def names(*paths, **given):
        file.write_text(" ".join(f"1 {path}" for path in paths))
        return list(readers.read(file, **given).mixture)

    assert names("/d/web_text_document", "/d/code_text_document") == ["web", "code"]
    assert names("/d/web/train", "/d/code/train") == ["web", "code"]
    assert names("/a/web/x", "/b/web/y") == ["a/web/x", "b/web/y"]
    assert names("/d/web_text_document") == ["web"]
    assert names("/d/web_en", "/d/code_en", paths="/d/{domain}_en") == ["web", "code"]
    assert names("/d/a/a_x", "/d/b/b_x", paths="/d/{domain}/{domain}_x") == ["a", "b"]
    assert names("/1", "/2", paths={"web": "/2", "code": "/1"}) == ["code", "web"]
    for given, message in [("/d/{domain}", "do not match .*: /e/web"), ("/d/{name}", r"must contain \{domain\}")]:
        with pytest.raises(MixtureError, match=message):
            names("/d/web", "/e/web", paths=given)


def test_a_message_quotes_a_few_words_of_a_large_file(tmp_path):
    """The refusal of a blend with texts as entries once quoted the whole file, 5 924 characters."""
    entries = ", ".join(f'{{"name": "source_{i}", "share": 0.01}}' for i in range(200))
    for text in (f'{{"sources": [{entries}], "target_ratio": 1}}', f'{{"mix": [{entries}]}}', f"[{entries}]"):
        (tmp_path / "file.json").write_text(text)
        for format in (None, "olmo-core", "olmix", "streaming", "levanter"):
            with pytest.raises(MixfastError) as problem:
                readers.read(tmp_path / "file.json", format)
            assert len(str(problem.value)) < 200 + len(str(tmp_path)) + 900 * (format is None)


def test_a_module_is_parsed_and_never_run(tmp_path):
    (tmp_path / "mix.py").write_text("raise SystemExit\nSHARES = {'web': 1.0}\n")
    assert dict(readers.read(tmp_path / "mix.py").mixture) == {"web": 1.0}
    (tmp_path / "mix.py").write_text("SHARES = dict(web=1.0)\n")
    with pytest.raises(MixtureError, match="not a Python module with a literal table SHARES"):
        readers.read(tmp_path / "mix.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web: 3000000\ncode: 7000000\ntotal: 10000000\n", "'total' is the sum of the other counts"),
        ("web: 3000000\ncode: 7000000\nseed: 42\n", "shares must sum to 1"),
        ("web: 3B\ncode: 500\n", "shares must sum to 1"),
    ],
)
def test_counts_beside_a_total_or_a_setting_are_no_mixture(tmp_path, text, said):
    (tmp_path / "counts.yaml").write_text(text)
    with pytest.raises(MixtureError, match=said):
        readers.read(tmp_path / "counts.yaml")


def test_a_total_beside_available_tokens_is_no_domain(tmp_path):
    (tmp_path / "counts.yaml").write_text("available_tokens: {web: {a: 3B}, code: 2B}\ntotal: 5B\n")
    assert readers.token_counts(tmp_path / "counts.yaml") == {"web:a": 3_000_000_000, "code": 2_000_000_000}
