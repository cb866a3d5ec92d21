"""Asking and serving, with threads as ranks."""

import gc
import pickle

import numpy as np
import pytest
from rank_threads import ThreadRanks, in_threads

from mixfast.errors import RankError, TableError
from mixfast.ranks import MpiRanks, OneRank, Team, led, run


def scaled(state, values, factor):
    return values * factor + state["rank"]


def text_of(state, length):
    return "x" * (length + state["rank"])


def kept(state, key, value):
    state[key] = value
    return sorted(each for each in state if isinstance(each, int))


def failing(state, rank):
    if state["rank"] >= rank:
        raise TableError("part-3.npz: row 5 is NaN")
    return state["rank"]


def missing_file(state):
    raise FileNotFoundError(2, "No such file or directory", "part-1.npz")


def asking(state, team):
    return team.each(scaled, np.ones(2), 1.0)


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def unpicklable(state):
    raise Unpicklable("this", "that")


class Owner:
    pass


def test_a_process_without_ranks_answers_itself():
    team = Team.of(None)
    assert team.alone
    assert team.leading
    assert team.rank == 0
    assert team.size == 1
    (answer,) = team.each(scaled, np.arange(3.0), 2.0, expect=24)
    assert answer.tolist() == [0.0, 2.0, 4.0]
    assert run(lambda team: team.size) == run(lambda team: team.size, OneRank()) == 1
    with pytest.raises(TableError, match=r"^part-3.npz"):
        team.each(failing, 0)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_answers_come_in_order_of_rank_whatever_their_size(size):
    def work(team):
        vectors = team.each(scaled, np.arange(5.0), 3.0, expect=40)
        one_exchange = team.bytes_sent
        large = team.each(scaled, np.arange(5000.0), 3.0, expect=0)
        texts = [team.each(text_of, length) for length in (0, 1, 255, 256, 10_000)]
        return [each.tolist() for each in vectors], [each.size for each in large], texts, one_exchange, team.steps

    found = in_threads(size, lambda ranks: run(work, ranks))
    vectors, large, texts, one_exchange, steps = found[0]
    assert vectors == [[3.0 * i + rank for i in range(5)] for rank in range(size)]
    assert large == [5000] * size
    assert [[len(each) for each in texts_] for texts_ in texts] == [
        [length + rank for rank in range(size)] for length in (0, 1, 255, 256, 10_000)
    ]
    assert steps == 7
    assert one_exchange < 5000
    assert all(other == found[0] for other in found)


def test_an_error_names_its_rank_and_the_ranks_stay_in_step():
    def work(team):
        with pytest.raises(TableError, match=r"^rank 2: part-3.npz: row 5 is NaN$"):
            team.each(failing, 2)
        with pytest.raises(TableError, match=r"^rank 0: part-3.npz"):
            team.each(failing, 0)
        with pytest.raises(RankError, match=r"^rank 0: Unpicklable: this and that"):
            team.each(unpicklable)
        with pytest.raises(FileNotFoundError) as caught:
            team.each(missing_file)
        assert caught.value.filename == "part-1.npz"
        assert "rank 0" in caught.value.strerror
        with pytest.raises((AttributeError, pickle.PicklingError)):
            team.each(lambda state: 1)
        return [each.tolist() for each in team.each(scaled, np.zeros(1), 1.0)]

    assert in_threads(4, lambda ranks: run(work, ranks)) == [[[0.0], [1.0], [2.0], [3.0]]] * 4


def test_every_rank_returns_and_raises_the_same():
    def refused(team):
        raise TableError("table/ has no parts")

    found = in_threads(3, lambda ranks: run(refused, ranks))
    assert [(type(error), str(error)) for error in found] == [(TableError, "table/ has no parts")] * 3
    found = in_threads(2, lambda ranks: run(lambda team: lambda: 1, ranks))
    assert all(isinstance(error, RankError) and "cannot be sent" in str(error) for error in found)


def test_entries_of_an_owner_that_is_gone_are_removed_on_every_rank():
    def work(team):
        first, second = Owner(), Owner()
        one, two = team.key(first), team.key(second)
        team.each(kept, one, "large")
        assert team.each(kept, two, "large") == [[one, two]] * team.size
        del first
        gc.collect()
        return team.each(kept, two, "large"), [two]

    for size in (1, 3):
        answers, left = in_threads(size, lambda ranks: run(work, ranks))[0]
        assert answers == [left] * size


def test_rank_0_does_not_wait_for_ranks_that_do_not_serve():
    for rank, words in ((0, "do not serve now"), (1, "only rank 0 can ask")):
        ranks = ThreadRanks(type("Board", (), {"entries": [b"", b""]})(), rank)
        with pytest.raises(RankError, match=words):
            Team.of(ranks).each(failing, 5)
        Team.of(ranks).close()


def test_a_rank_that_answers_cannot_ask():
    def work(team):
        with pytest.raises(RankError, match="cannot ask other ranks while it answers"):
            team.each(asking, team)
        return len(team.each(scaled, np.zeros(1), 1.0))

    assert in_threads(2, lambda ranks: run(work, ranks)) == [2, 2]


class Table:
    def __init__(self, team):
        self.team = team


@led
def total(table, factor):
    return float(sum(each[0] for each in table.team.each(scaled, np.ones(1), factor)))


@led
def other(table):
    return 0.0


def test_every_rank_may_call_a_function_of_a_table():
    def work(ranks):
        table = Table(Team.of(ranks))
        return total(table, 2.0), total(table=table, factor=3.0)

    assert in_threads(3, work) == [(9.0, 12.0)] * 3
    assert total(Table(Team.of(None)), 2.0) == 2.0


def test_ranks_that_call_different_functions_are_told():
    def work(ranks):
        return (other if ranks.rank == 1 else lambda table: total(table, 1.0))(Table(Team.of(ranks)))

    for error in in_threads(3, work):
        assert isinstance(error, RankError)
        assert "rank 1 called other and rank 0 total" in str(error)


def test_a_team_that_is_sent_becomes_the_team_of_the_receiver():
    def work(ranks):
        answer = run(lambda team: Table(team), ranks)
        return answer.team is Team.of(ranks)

    assert in_threads(2, work) == [True, True]
    copy = pickle.loads(pickle.dumps(Team.of(OneRank())))
    assert copy.alone


def test_tables_loaded_within_run_belong_to_its_team():
    assert in_threads(2, lambda ranks: run(lambda team: Team.of(None) is team, ranks)) == [True, True]
    assert Team.of(None).alone


class Communicator:
    """The methods of a communicator of mpi4py that are used, for a thread."""

    def __init__(self, ranks):
        self.ranks = ranks

    def Get_rank(self):
        return self.ranks.rank

    def Get_size(self):
        return self.ranks.size

    def Allgather(self, mine, every):
        every[:] = b"".join(self.ranks.all_gather(bytes(mine)))

    def Bcast(self, buffer, root):
        buffer[:] = self.ranks.all_gather(bytes(buffer))[root]


def test_a_communicator_of_mpi_carries_the_ranks():
    def work(ranks):
        over_mpi = MpiRanks(Communicator(ranks))
        answer = run(lambda team: [each.tolist() for each in team.each(scaled, np.ones(1), 2.0)], over_mpi)
        Team.of(over_mpi).close()
        return answer

    assert in_threads(3, work) == [[[2.0], [3.0], [4.0]]] * 3
