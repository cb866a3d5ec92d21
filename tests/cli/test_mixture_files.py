"""Every command that takes a mixture reads the file of any loader with the same code, and says which format it read."""

import gzip

import pytest

from mixfast import Mixture, exporters
from mixfast.reuse import Ledger

FILES = {
    "levanter.yaml": ("data:\n  train_weights:\n    web: 0.7\n    code: 0.3\n", "levanter"),
    "blend.txt": ("1.4 /d/web_text_document 0.6 /d/code_text_document\n", "megatron"),
    "doremi.json": ('{"train_domain_weights": {"web": 0.7, "code": 0.3}}', "doremi"),
    "streams.yaml": ("streams:\n  web:\n    proportion: 0.7\n  code:\n    proportion: 0.3\n", "streaming"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (text, _) in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_life_begins_with_what_the_running_job_reads(run, name):
    status, _, err = run("reuse", "start", "life.yaml", "--mixture", name)
    assert status == 0
    assert err.startswith(f"mixfast: note: {name} was read as {FILES[name][1]}")
    assert dict(Ledger.load("life.yaml").mixture) == pytest.approx({"web": 0.7, "code": 0.3})


@pytest.mark.parametrize("name", FILES)
def test_one_loaders_file_becomes_anothers(run, name):
    status, out, _ = run("export", name, "--to", "levanter")
    assert status == 0
    assert exporters.levanter(Mixture(["web", "code"], [0.7, 0.3])).text == out


def test_a_prior_is_what_is_trained_on_now(run, folder):
    import numpy as np

    np.savez("table.npz", loglik=np.log(np.full((4, 2), 0.5)), domains=["web", "code"])
    plain = ("solve", "table.npz", "--kl", "1", "--no-intervals", "--no-ranges", "--out", "mixture.yaml")
    assert run(*plain, "--prior", "levanter.yaml")[0] == 0
    assert dict(Mixture.load("mixture.yaml")) == pytest.approx({"web": 0.7, "code": 0.3})


def test_domains_of_a_blend_are_named_by_a_pattern_or_a_file(run, folder):
    (folder / "blend.txt").write_text("1 /d/web_en 1 /d/code_en\n")
    (folder / "paths.yaml").write_text("web: /d/web_en\ncode: /d/code_en\n")
    for paths in ("/d/{domain}_en", "paths.yaml"):
        status, out, _ = run("export", "blend.txt", "--to", "doremi", "--mixture-paths", paths)
        assert status == 0
        assert '"web": 0.5' in out


def test_what_is_no_mixture_is_named_with_the_formats_there_are(run, refused, folder):
    (folder / "swarm.csv").write_text("run,web\nr0,1\n")
    (folder / "mixture.yaml.gz").write_bytes(gzip.compress(b"web: 1\n"))
    (folder / "relative.yaml").write_text("web: 7\ncode: 3\n")
    (folder / "model.yaml").write_text("model: tiny\n")
    for name, words in [
        ("swarm.csv", "swarm.csv is a csv file ('run,web'), expected a mixture"),
        (
            "mixture.yaml.gz",
            "is a gzip file, expected a mixture (YAML, JSON, the text of a blend, or a module with SHARES); decompress",
        ),
        ("relative.yaml", "relative.yaml: shares must sum to 1 within 0.005, got 10"),
        ("model.yaml", "its keys are model. Mixtures are read in the formats: levanter ("),
    ]:
        assert words in refused("reuse", "start", "life.yaml", "--mixture", name)
        assert words in refused("export", name, "--to", "doremi")
        assert words in refused("report", "--mixture", name, "--out", "page.html")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("/d/{name}", "must contain {domain} in place of {name}, as in /d/{domain}"),
        ("/d/{}", "must contain {domain} in place of {}, as in /d/{domain}"),
        ("/d/web", "--paths /d/web: no such file of name: path exists, and a pattern must contain {domain}"),
    ],
)
def test_another_placeholder_is_said_to_be_domain(refused, folder, pattern, words):
    (folder / "mixture.yaml").write_text("web: 0.7\ncode: 0.3\n")
    assert words in refused("export", "mixture.yaml", "--to", "megatron", "--paths", pattern)
