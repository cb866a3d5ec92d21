"""Ranks that are threads of one process: the cheapest way to run the same work on 1, 2 and 3 ranks."""

from threading import Barrier, Thread

from mixfast.ranks import OneRank, run


class ThreadRanks:
    """One of several ranks that share a list and wait for each other."""

    def __init__(self, rank, size, slots, barrier):
        self.rank, self.size, self._slots, self._barrier = rank, size, slots, barrier

    def all_gather(self, data):
        self._slots[self.rank] = data
        self._barrier.wait()
        found = list(self._slots)
        self._barrier.wait()
        return found

    def broadcast(self, data):
        return self.all_gather(data)[0]


def on_ranks(size, call):
    """Call ``call(ranks)`` on each of `size` ranks and return the answers in order of rank; raise the first error."""
    if size == 1:
        return [call(OneRank())]
    slots, barrier = [b""] * size, Barrier(size, timeout=60.0)
    answers, errors = [None] * size, []

    def one(rank):
        try:
            answers[rank] = call(ThreadRanks(rank, size, slots, barrier))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [Thread(target=one, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers


def led_by(size, work):
    """Return what ``work(team)`` returns on rank 0 of `size` ranks while the others serve."""
    return on_ranks(size, lambda ranks: run(work, ranks))[0]
