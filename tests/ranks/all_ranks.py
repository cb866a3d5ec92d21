"""Checks that every rank runs; `test_processes.py` starts it with torchrun."""

import json
import sys

import numpy as np
import pytest
import torch.distributed as distributed

from mixfast import ExpertTable, Region, solve, solver
from mixfast.errors import RankError, TableError
from mixfast.ranks import Team, TorchRanks, from_environment, run


def refused(state):
    if state["rank"] == 1:
        raise TableError("part-1.npz: row 5")


def errors(team):
    try:
        team.each(refused)
    except TableError as error:
        return str(error)


def solved(folder, ranks):
    """Every rank calls the functions of a table; return numbers that are equal to the last bit."""
    table = ExpertTable.load(folder, ranks=ranks)
    region = Region(table.domains, cap={"code": 0.2})
    answer = solve(table, region)
    return [
        *answer.mixture.weights.tolist(),
        answer.value,
        answer.gap,
        *(price.price for price in answer.shadow_prices),
        answer.unconstrained.value,
        *answer.losses(np.full((2, 3), 1 / 3)).tolist(),
        *solver.losses(table, np.eye(3)).tolist(),
        *(each.value for each in solver.path(table, kl=[0.1, 1.0])),
    ], answer


def main(folder):
    with from_environment() as ranks:
        found = {}
        for size in (1, 2, 3, 8):
            # All processes make the group; its members use it.
            group = distributed.new_group(range(size), backend="gloo")
            if ranks.rank < size:
                some = TorchRanks(group)
                found[size], answer = solved(folder, some)
                assert answer.table.team is Team.of(some)
                Team.of(some).close()
        if ranks.rank == 0:
            print(json.dumps({size: [value.hex() for value in values] for size, values in found.items()}))
        message = run(errors, ranks)
        assert message == "rank 1: part-1.npz: row 5", message
        table = ExpertTable.load(folder, ranks=ranks)
        if ranks.rank == 0:
            try:
                table.collect(len)
            except RankError as error:
                print("refused:", error)
        # The functions differ, so nobody waits.
        with pytest.raises(RankError, match="called solve and rank 0 losses"):
            solver.losses(table, np.eye(3)) if ranks.rank == 0 else solve(table)


if __name__ == "__main__":
    main(sys.argv[1])
