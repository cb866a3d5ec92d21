"""The shards, peers and runners of the benchmarks of scale, on tiny folders. No speed is measured here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale, shards, wire
from benchmarks.shards import Shards
from benchmarks.studies import largest, scale_model
from mixfast import ExpertTable, solve

TINY = Shards(3001, 5, parts=3, document=8)


@dataclass
class Case:
    folder: Path
    gap: float = 1e-3
    patience: float = 30.0
    processes: int = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of tiny shards."""
    place = tmp_path_factory.mktemp("shards") / "table"
    TINY.write(place, processes=1)
    return place


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_shards_depend_on_the_seed_only(tmp_path, folder, suffix):
    again = Shards(3001, 5, parts=3, document=8, suffix=suffix).write(tmp_path / "again", processes=2)
    assert [path.name for path in again] == [f"part-0000{k}{suffix}" for k in range(3)]
    for mine, other in zip(shards.paths(folder), again, strict=True):
        assert np.array_equal(shards.loglik(mine), shards.loglik(other))
    assert sum(len(shards.loglik(path)) for path in again) == TINY.rows


def test_the_optimum_of_the_shards_is_inside_of_a_face(tmp_path):
    made = Shards(200_000, 16, parts=2)
    shares = solve(ExpertTable.from_loglik(np.concatenate([made.part(0), made.part(1)]))).mixture.weights
    assert 4 <= (shares > 0.0).sum() < 16
    assert np.abs(shares - made.world()[1]).max() < 0.1


def test_the_gap_of_shards_is_that_of_all_rows(folder):
    table = np.concatenate([shards.loglik(path) for path in shards.paths(folder)])
    best = solve(ExpertTable.from_loglik(table)).mixture.weights
    assert shards.gap(folder, best, processes=1) <= 1.01e-8
    assert shards.gap(folder, np.full(5, 0.2), processes=2) > 1e-3


@pytest.mark.parametrize("name", ["torch_ranks_em", "torch_ranks_eg", "dask_slsqp"])
def test_peers_over_shards_reach_the_gap(folder, name):
    peer = importlib.import_module(f"benchmarks.peers.{name}")
    if reason := peer.reason():
        pytest.skip(reason)
    weights, note = peer.run(Case(folder))
    assert shards.gap(folder, weights, processes=1) <= 1.01e-3
    assert "all rows" in note


def test_a_solve_in_a_process_of_its_own_reports_what_it_took(folder):
    report = scale.run(folder, repeats=2)
    assert report["status"] == "optimal"
    assert (report["rows"], report["domains"], report["ranks"], len(report["seconds"])) == (3001, 5, 1, 2)
    assert report["sweeps"] > 0
    assert shards.gap(folder, np.array(report["weights"]), processes=1) <= 1.01e-8


def test_a_wire_delays_packets_or_says_why_there_is_none():
    if reason := wire.reason():
        pytest.skip(reason)
    with wire.wire(0.0) as nodes:
        assert len({node.namespace for node in nodes}) == len({node.address for node in nodes}) == 2


def test_the_page_has_a_place_for_every_table(capsys):
    scale_model.run()
    printed = capsys.readouterr().out
    assert [name for name in ("folders", "ranks", "peers", "largest") if name not in printed] == []


def test_the_largest_folder_is_removed_when_it_does_not_fit(tmp_path, capsys):
    assert largest.run(rows=1e15, folder=str(tmp_path)) == 1
    assert "do not fit" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
