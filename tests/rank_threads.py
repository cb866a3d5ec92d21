"""Ranks that are threads of one process: cheap, and every collective operation is checked for equal sizes."""

from threading import Barrier, Thread

from mixfast.ranks import Team


class Board:
    """What the threads exchange."""

    def __init__(self, size):
        self.entries = [b""] * size
        self.barrier = Barrier(size, timeout=60)


class ThreadRanks:
    def __init__(self, board, rank):
        self.board, self.rank, self.size = board, rank, len(board.entries)

    def all_gather(self, data):
        self.board.entries[self.rank] = data
        self.board.barrier.wait()
        every = list(self.board.entries)
        self.board.barrier.wait()
        assert len({len(entry) for entry in every}) == 1
        return every

    def broadcast(self, data):
        return self.all_gather(data)[0]


def in_threads(size, work):
    """Call ``work(ranks)`` on every rank; return the results or the errors in order of rank."""
    board, found = Board(size), [None] * size

    def one(rank):
        ranks = ThreadRanks(board, rank)
        try:
            found[rank] = work(ranks)
        except Exception as error:
            found[rank] = error
        Team.of(ranks).close()

    threads = [Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found
