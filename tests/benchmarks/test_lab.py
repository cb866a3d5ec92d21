"""The laboratory: models are causal and independent, streams repeat tokens when needed, and interrupted work resumes."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mixfast

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'mixfast[score]'")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: pip install 'mixfast[score]'")

from benchmarks.lab import claims, judge, stages  # noqa: E402
from benchmarks.lab.corpora import DOMAINS, Corpora, Text  # noqa: E402
from benchmarks.lab.evidence import OBJECTIVES  # noqa: E402
from benchmarks.lab.laboratory import METRICS, Laboratory  # noqa: E402
from benchmarks.lab.methods import Choice  # noqa: E402
from benchmarks.lab.model import Models, Shape  # noqa: E402
from benchmarks.lab.scales import SCALES, Recipe  # noqa: E402
from benchmarks.lab.store import Job, Store  # noqa: E402
from benchmarks.lab.train import loss_per_byte, score, train  # noqa: E402

SMALL = Shape(vocabulary=11, window=6, width=8, layers=2, heads=2, hashes=13)


@pytest.fixture(autouse=True)
def _eager():
    with torch.compiler.set_stance("force_eager"):
        yield


def test_models_are_causal_and_sum_to_one() -> None:
    models = Models(SMALL, [0, 1])
    tokens = torch.randint(0, 11, (2, 3, 7), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, :, 4] = (changed[:, :, 4] + 1) % 11
    before, after = models(tokens), models(changed)
    # log p of tokens 1..3 does not depend on token 4; log p of token 4 and later tokens does.
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3:] != after[:, :, 3:]).all()
    every = tokens[:, :1].repeat(1, 11, 1)
    every[:, :, -1] = torch.arange(11)
    assert models(every)[:, :, -1].exp().sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_a_model_does_not_depend_on_those_beside_it() -> None:
    recipe = Recipe("proxy", SMALL, steps=40, batch=4, rate=1e-2)
    texts = _texts()
    web, code = mixfast.Mixture(["web"], [1.0]), mixfast.Mixture(["web", "code"], [0.25, 0.75])
    pools = {"web": 20, "code": 5}
    together = train(recipe, texts, [web, code, code], pools, [0, 1, 2], "cpu")
    alone = train(recipe, texts, [code], pools, [1], "cpu")
    for name, both in together.named_parameters():
        assert torch.allclose(both[1:2], dict(alone.named_parameters())[name], atol=2e-4), name
    losses = loss_per_byte(together, texts["code"], slice(0, 10))
    # A model trained on code predicts code best, and different seeds give different models.
    assert losses[1] < losses[0] - 0.1
    assert losses[1] != losses[2]
    assert losses[1] == pytest.approx(-score(together, texts["code"].held[:10])[:, :, 1].sum() / 120, rel=1e-6)


def test_a_text_is_cut_once_and_nothing_held_out_is_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    words = ["solver", "mixture", "domain", "größe", "token", "of", "the"]
    for name in ("code_c", "target_foldoc"):
        text = " ".join(rng.choice(words, 30_000))
        (tmp_path / f"{name}.txt.xz").write_bytes(lzma.compress(text.encode()))
    made = Corpora(tmp_path, tmp_path / "cache", vocabulary=300, window=16)
    # The vocabulary is normally learned from all domains; here from one.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.lab.corpora.NATURAL", {"code_c": 1})
        text, target = made["code_c"], made["target_foldoc"]
    assert len(target.train) == 0
    assert len(target.held) > 100
    blocks = sum(len(part) for part in (text.train, text.held))
    assert 0.03 < len(text.held) / blocks < 0.07
    # The bytes of a row are those of its tokens.
    tokens = [made._tokenizer.id_to_token(i) for i in text.held[0][1:].tolist()]
    assert len(tokenizers.decoders.ByteLevel().decode(tokens).encode()) == pytest.approx(text.held_bytes[0], abs=4)
    assert (made["code_c"].train == text.train).all()


def test_the_store_goes_on_where_it_stopped(tmp_path: Path) -> None:
    mixture = mixfast.Mixture(["web", "code"], [0.1, 0.9])
    facts = {"windows": 8, "operations": 1e9, "seconds": 0.5}
    store = Store(tmp_path, ["code", "web", "new"], ["loss", "other"])
    store.add(Job("a", "dense", "proxy", mixture, 0), {"loss": 1.25, "other": 2.0}, **facts)
    # A run without written metrics counts as not done.
    with (tmp_path / "runs.csv").open("a") as file:
        file.write("b,dense,proxy,0,8,1e9,0.5\n")
    again = Store(tmp_path, ["code", "web", "new"], ["loss", "other"])
    assert "a" in again
    assert "b" not in again
    assert again.runs(lambda row: row["kind"] == "dense") == ["a"]
    swarm = again.swarm(["a"], ["web", "code"])
    assert swarm.ratios.tolist() == [[0.1, 0.9]]
    assert swarm.values.tolist() == [[1.25, 2.0]]
    again.add(Job("b", "dense", "proxy", mixture, 0), {"loss": 1.5, "other": 2.0}, **facts)
    assert Store(tmp_path, ["code", "web", "new"], ["loss", "other"]).metric("b", "loss") == 1.5


def test_methods_are_judged_against_natural_seed_by_seed(tmp_path: Path) -> None:
    store = Store(tmp_path, DOMAINS, METRICS)
    natural = mixfast.Mixture(DOMAINS, np.full(14, 1 / 14))
    better = mixfast.Mixture(DOMAINS, [0.35, *[0.05] * 13])
    objective = next(iter(OBJECTIVES))
    chosen = [Choice(objective, "natural", True, natural, 0), Choice(objective, "ours", True, better, 14)]
    for seed, base in enumerate((2.0, 4.0)):
        for mixture, factor in ((natural, 1.0), (better, 0.9)):
            job = Job(stages.final_run(mixture, seed), "final", "final", mixture, seed)
            store.add(job, dict.fromkeys(METRICS, base * factor), windows=1, operations=1, seconds=1)
    stages.save(chosen, tmp_path / "choices.csv")
    assert stages.load(tmp_path / "choices.csv") == chosen
    rows = judge.verdicts(chosen, store, dict.fromkeys(DOMAINS, 100), 1400)
    ours = rows[1]
    assert (ours.changes, ours.loss) == (pytest.approx((-10.0, -10.0)), pytest.approx(2.7))
    # The seeds agree on the difference between mixtures, although their losses differ.
    assert ours.half == pytest.approx(0.0, abs=1e-9)
    assert ours.epochs == pytest.approx(4.9)
    judge.save(rows, tmp_path / "verdicts.csv")
    assert "| ours | 14 | **-10.0 ± 0.0** |" in judge.table(rows, capped=True)


def test_methods_are_compared_seed_by_seed() -> None:
    rows = [
        judge.Verdict(objective, method, True, 14, 2.0, changes, 1.0)
        for objective in OBJECTIVES
        for method, changes in (("ours", (-3.0, 1.0)), ("theirs", (-2.0, 2.5)), ("other seeds", (-2.0,)))
    ]
    # Each seed changes both losses by the same amount; the remaining difference is within a quarter point around 1.25.
    assert judge.pooled_half([np.array([1.0, 1.5])]) == pytest.approx(judge.half_interval([1.0, 1.5]))
    # Two groups with the same spread: the mean of their variances, by Student's t with two degrees of freedom.
    assert judge.pooled_half([np.array([1.0, 1.5]), np.array([0.0, 0.1])]) == pytest.approx(
        4.303 * np.sqrt((0.125 + 0.005) / 2 / 2), rel=1e-3
    )
    assert judge.against(rows, "ours").splitlines()[2:] == ["| theirs | " + " | ".join(["-1.2 ± 3.2"] * 6) + " |"]


@pytest.mark.parametrize("name", SCALES)
def test_models_of_either_scale_can_be_trained(name: str) -> None:
    scale = SCALES[name]
    assert scale.final.operations >= 4 * scale.proxy.operations
    for recipe in (scale.proxy, scale.final):
        tokens = np.random.default_rng(0).integers(0, recipe.shape.vocabulary, (6, recipe.shape.window + 1))
        text = Text(tokens[:4], tokens[4:], np.full(2, 100))
        web = mixfast.Mixture(["web"], [1.0])
        models = train(replace(recipe, steps=2, batch=1), {"web": text}, [web, web], {"web": 4}, [0, 1], "cpu")
        assert sum(p[0].numel() for p in models.parameters()) == recipe.shape.parameters
        losses = loss_per_byte(models, text, slice(0, 2)) * 100 / recipe.shape.window
        assert losses == pytest.approx([np.log(recipe.shape.vocabulary)] * 2, rel=0.1)


def test_too_little_text_is_refused_by_name(tmp_path: Path) -> None:
    lab = Laboratory(SCALES["cpu"], tmp_path, tmp_path / "results", tmp_path / "cache")
    needed = SCALES["cpu"].proxy.windows
    lab._suffices("code_c", needed)
    lab._suffices("target_foldoc", 0)  # no model is trained on it
    with pytest.raises(ValueError, match=f"code_c has {needed - 1} windows of text, and a run at scale cpu"):
        lab._suffices("code_c", needed - 1)


def test_ways_to_follow_updates_are_compared_by_seed(tmp_path: Path) -> None:
    lines = [
        f"{way},{runs},{update},{seed},2.0,{change * seed}"
        for way, runs, change in (("natural", 0, 0.0), ("frozen", 9, -1.0))
        for update in ("add", "remove")
        for seed in (1, 2, 3)
    ]
    (tmp_path / "life.csv").write_text("\n".join(["way,runs,update,seed,nats_per_byte,change_percent", *lines, ""]))
    natural, frozen = claims.updates(tmp_path / "life.csv")
    assert (natural.case, natural.value) == ("natural", 0.0)
    assert (frozen.runs, frozen.value, frozen.error) == (9, -2.0, pytest.approx(1 / np.sqrt(3)))
    assert claims.updates(tmp_path / "nothing.csv") == []


def _texts() -> dict[str, Text]:
    """Return texts in two languages of eleven tokens: one counts up, one counts down, both with errors."""
    rng = np.random.default_rng(1)
    texts = {}
    for name, way in (("web", 1), ("code", -1)):
        start = rng.integers(0, 11, (60, 1))
        tokens = (start + way * np.arange(7) + (rng.random((60, 7)) < 0.05)) % 11
        texts[name] = Text(tokens[:40], tokens[40:], np.full(20, 12))
    return texts
