"""Work that is divided among background threads: results in order, the first error, and immediate reaction to Ctrl-C."""

import signal
import threading
import time

import pytest

from mixfast._engine.backend import each, thread_count


def test_answers_are_in_the_order_of_the_items():
    def work(item):
        time.sleep(0.002 * (item % 3))
        return item * item

    for threads in (1, 2, 7):
        assert each(work, range(20), threads=threads) == [i * i for i in range(20)]
    assert each(work, []) == []


def test_the_first_error_by_the_order_of_the_items_is_raised():
    def work(item):
        if item >= 3:
            time.sleep(0.05 / item)
            raise ValueError(item)
        return item

    with pytest.raises(ValueError, match="3"):
        each(work, range(20), threads=4)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that sends signals")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_signal_does_not_wait_for_work_that_looks_at_none(threads):
    release, begun = threading.Event(), []

    def work(item):
        begun.append(item)
        release.wait(60)

    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        start = time.perf_counter()
        with pytest.raises(Alarm):
            each(work, range(10), threads=threads)
        assert time.perf_counter() - start < 30
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        release.set()
    for thread in threading.enumerate():
        if thread.name == "mixfast work":
            thread.join(30)
    # Started items finish, and no others start.
    assert len(begun) == threads


def test_processes_on_one_machine_divide_its_cpus(monkeypatch):
    monkeypatch.delenv("MIXFAST_NUM_THREADS", raising=False)
    for cpus, ranks, threads in ((8, "", 8), (8, "1", 8), (8, "3", 2), (2, "8", 1), (64, "2", 16), (4, "x", 4)):
        monkeypatch.setattr("mixfast._engine.backend.threads.available_cpus", lambda cpus=cpus: cpus)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        assert thread_count(None) == threads
    monkeypatch.setenv("MIXFAST_NUM_THREADS", "5")
    assert thread_count(None) == 5
