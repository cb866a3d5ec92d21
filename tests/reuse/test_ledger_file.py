"""The file of a ledger: of two concurrent updates one is saved, and the file stays whole whatever happens to the writer."""

import copy
import errno
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from mixfast import Region
from mixfast.errors import MixfastError
from mixfast.reuse import Add, Ledger, Partition, Remove, ReuseError, _ledger_file, full, resume
from mixfast.reuse import _ledger as room
from mixfast.reuse._ledger_file import checksum

OLD = {"web": 0.75, "code": 0.25}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "life.yaml"
    Ledger.start(OLD, why="first", when="2026-01-31").save(path)
    return path


def more(ledger, why):
    """Return the ledger with one more update."""
    return replace(ledger, entries=(*ledger.entries, replace(ledger.entries[0], why=why)))


def planned(ledger, name):
    """Return the ledger with an open plan."""
    plan = full(ledger.mixture, Add([name]), Region([*ledger.mixture, name]))
    return ledger.begin(plan, why=f"{name} came", when="2026-02-01")


def recorded(ledger, name):
    """Return the ledger with an update of the mixture."""
    plan = full(ledger.mixture, Add([name]), Region([*ledger.mixture, name]))
    return ledger.record(plan, {"existing": 0.9, name: 0.1}, why=f"{name} is in", when="2026-02-02")


UPDATES = {
    "plan": lambda ledger: planned(ledger, "maths"),
    "other plan": lambda ledger: planned(ledger, "poetry"),
    "record": lambda ledger: recorded(ledger, "maths"),
    "other record": lambda ledger: recorded(ledger, "poetry"),
    "no plan": lambda ledger: replace(ledger, pending=None),
}


# While a plan is open, only that plan can be recorded.
PAIRS = [
    (first, second, open_plan)
    for first in UPDATES
    for second in UPDATES
    for open_plan in (False, True)
    if not (open_plan and "other record" in (first, second))
]


@pytest.mark.parametrize(("first", "second", "open_plan"), PAIRS)
def test_of_two_updates_of_one_state_the_second_is_refused(path, first, second, open_plan):
    if open_plan:
        planned(Ledger.load(path), "maths").save(path)
    one, other = Ledger.load(path), Ledger.load(path)
    saved, late = UPDATES[first](one), UPDATES[second](other)
    saved.save(path)
    if saved == other:
        # The state is unchanged, so saving loses nothing.
        late.save(path)
        return
    with pytest.raises(ReuseError, match=r"life\.yaml was changed since this ledger was read from it"):
        late.save(path)
    # A writer that still has the old state cannot save it over the new one.
    with pytest.raises(ReuseError, match="was changed since"):
        other.save(path)
    assert Ledger.load(path) == saved


def test_within_one_process_too(path):
    base = Ledger.load(path)
    one, other = planned(base, "maths"), planned(base, "poetry")
    one.save(path)
    with pytest.raises(ReuseError, match=r"it has an open plan of 2026-02-01 \(maths came\)"):
        other.save(path)
    with pytest.raises(ReuseError, match="repeat the update on top of it, or save this ledger elsewhere"):
        base.save(path)
    other.save(path.with_name("other.yaml"))
    one.save(path)
    assert Ledger.load(path) == one


def test_a_whole_life_is_saved_step_by_step(path):
    """A successor of the saved state replaces it, also after a copy, a pickle, or several updates between saves."""
    ledger = planned(Ledger.load(path), "maths")
    after = recorded(ledger, "maths")
    ledger.save(path)
    after.save(path)
    after = pickle.loads(pickle.dumps(planned(after, "poetry")))
    after.save(path)
    after = copy.deepcopy(planned(after, "law"))
    after.save(path)
    replace(after, pending=None).save(path)
    more(more(Ledger.load(path), "b"), "c").save(path)
    assert [entry.why for entry in Ledger.load(path).entries] == ["first", "maths is in", "b", "c"]


def test_a_ledger_of_another_making_replaces_only_its_own_past(path):
    base = Ledger.load(path)
    rebuilt = Ledger(more(base, "by hand").entries)
    rebuilt.save(path)
    with pytest.raises(ReuseError, match=r"has updates that this ledger lacks, the last of 2026-01-31 \(by hand\)"):
        Ledger(more(base, "too late").entries).save(path)
    planned(Ledger.load(path), "maths").save(path)
    with pytest.raises(ReuseError, match=r"has updates that this ledger lacks, it has an open plan"):
        Ledger(more(rebuilt, "again").entries).save(path)
    # Started again, as in a notebook with cells that run twice.
    other = path.with_name("again.json")
    for _ in range(2):
        Ledger.start(OLD, why="first", when="2026-01-31").save(other)
    with pytest.raises(ReuseError, match="has updates that this ledger lacks"):
        Ledger.start(OLD, why="other", when="2026-01-31").save(other)
    # Saved to one file, it is not known to another file.
    base.save(path.with_name("new.yaml"))
    more(base, "x").save(other)


@pytest.mark.parametrize("equal", [True, False])
def test_who_waits_while_the_file_is_replaced_and_a_newcomer_are_not_both_inside(path, tmp_path, monkeypatch, equal):
    """Three writers: one replaces the file, one waits for the replaced file, and one comes later."""
    fcntl = pytest.importorskip("fcntl")
    base = Ledger.load(path)
    real, inside, leave = room.write_text, threading.Event(), threading.Event()
    said: dict[str, str] = {}

    def slow(target, text):
        if threading.current_thread().name == "waiter":
            inside.set()
            leave.wait(60)
        real(target, text)

    monkeypatch.setattr(room, "write_text", slow)

    def save(ledger):
        try:
            ledger.save(path)
            said[threading.current_thread().name] = "saved"
        except ReuseError as problem:
            said[threading.current_thread().name] = str(problem)

    first = os.open(path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    asked, flock = threading.Event(), fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda *given: (asked.set(), flock(*given))[1])
    waiter = threading.Thread(target=save, args=(more(base, "waiter"),), name="waiter")
    waiter.start()
    assert asked.wait(60)
    (tmp_path / "new").write_text((base if equal else more(base, "first saver")).to_yaml())
    os.replace(tmp_path / "new", path)
    os.close(first)
    if equal:
        assert inside.wait(60)
    newcomer = threading.Thread(target=save, args=(more(base, "newcomer"),), name="newcomer")
    newcomer.start()
    newcomer.join(0.2)
    assert newcomer.is_alive() == equal
    leave.set()
    waiter.join()
    newcomer.join()
    assert "was changed since" in said["newcomer"]
    assert said["waiter"] == "saved" if equal else "was changed since" in said["waiter"]
    assert [entry.why for entry in Ledger.load(path).entries] == ["first", "waiter" if equal else "first saver"]


def test_a_thread_for_each_update_and_one_is_saved(path):
    base, said = Ledger.load(path), Counter()
    updates = [more(base, f"thread {k}") for k in range(8)]
    start = threading.Barrier(len(updates))

    def save(ledger):
        start.wait(60)
        try:
            ledger.save(path)
            said["saved"] += 1
        except ReuseError:
            said["refused"] += 1

    threads = [threading.Thread(target=save, args=(ledger,)) for ledger in updates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {"saved": 1, "refused": 7}
    assert len(Ledger.load(path).entries) == 2


def test_a_ledger_that_another_process_keeps_is_not_waited_for_without_end(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(_ledger_file, "_PATIENCE", 0.0)
    ledger, before = more(Ledger.load(path), "late"), path.read_bytes()
    with path.open() as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        with pytest.raises(
            ReuseError, match=r"life\.yaml is in use by another process: .* Nothing was written; end that"
        ):
            ledger.save(path)
    assert path.read_bytes() == before
    ledger.save(path)


RACE = """
import sys
from dataclasses import replace
from mixfast.reuse import Ledger, ReuseError

path, me, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
saved = 0
while saved < rounds:
    ledger = Ledger.load(path)
    # Each update names the state it was made of: that many updates, the last by that process.
    why = f"{me}.{saved} on {len(ledger.entries)} {ledger.entries[-1].why.split()[0]}"
    try:
        replace(ledger, entries=(*ledger.entries, replace(ledger.entries[0], why=why))).save(path)
    except ReuseError as problem:
        assert "was changed since" in str(problem), problem
    else:
        saved += 1
print("done")
"""


@pytest.mark.process
def test_of_eight_processes_one_wins_each_state(path):
    rounds, given = 3, {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", RACE, path, f"p{k}", str(rounds)], **given) for k in range(8)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (out, process.returncode) == ("done\n", 0), err
    told = [entry.why.split() for entry in Ledger.load(path).entries]
    # Every update reported as saved is in the file once, in order.
    assert sorted(words[0] for words in told[1:]) == sorted(f"p{k}.{n}" for k in range(8) for n in range(rounds))
    for place, words in enumerate(told[1:], 1):
        assert words[1:] == ["on", str(place), told[place - 1][0]]
    assert os.listdir(path.parent) == ["life.yaml"]


def kill_while_saving(path, kills, seed):
    """Kill a process that saves continuously, at random moments; the ledger is whole and unlocked each time. Return its updates."""
    draw = random.Random(seed)
    for _ in range(kills):
        before = len(Ledger.load(path).entries)
        process = subprocess.Popen(
            [sys.executable, "-c", RACE, path, "killed", "1000000"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        process.stdout.readline()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        time.sleep(draw.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        ledger = Ledger.load(path)
        assert len(ledger.entries) >= before
        more(ledger, "survivor").save(path)
    return Ledger.load(path).entries


@pytest.mark.process
def test_a_kill_leaves_the_ledger_whole_and_free(path):
    entries = kill_while_saving(path, kills=5, seed=0)
    assert sum(entry.why == "survivor" for entry in entries) == 5


FULL = """
import resource, signal, sys
from dataclasses import replace
from mixfast.reuse import Ledger

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, most = sys.argv[1], int(sys.argv[2])
ledger = Ledger.load(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    replace(ledger, entries=(*ledger.entries, replace(ledger.entries[0], why="x" * 100_000))).save(path)
except OSError as problem:
    print(problem.errno)
"""


@pytest.mark.process
@pytest.mark.parametrize("most", [0, 50_000])
def test_a_full_disk_leaves_the_old_ledger_and_nothing_else(path, most):
    """A limit on file sizes stands for a full disk: writes fail midway with an error."""
    pytest.importorskip("resource")
    before = path.read_bytes()
    found = subprocess.run(
        [sys.executable, "-c", FULL, path, str(most)], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == f"{errno.EFBIG}\n", found.stderr
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["life.yaml"]


@pytest.mark.parametrize("name", ["life.yaml", "life.json"])
def test_json_and_yaml_are_compared_alike(tmp_path, name):
    path = tmp_path / name
    base = Ledger.start(OLD, why="first", when="2026-01-31")
    base.save(path)
    # Comments and spaces are not part of the state.
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text)) if name.endswith("json") else f"# by hand\n{text}")
    one, other = more(base, "one"), more(base, "other")
    one.save(path)
    with pytest.raises(ReuseError, match="was changed since"):
        other.save(path)


def test_through_a_link_it_is_the_same_file(path, tmp_path):
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    one, other = Ledger.load(path), Ledger.load(link)
    more(one, "one").save(path)
    with pytest.raises(ReuseError, match="was changed since"):
        more(other, "other").save(link)
    more(Ledger.load(path), "two").save(link)
    assert link.is_symlink()
    assert [entry.why for entry in Ledger.load(path).entries] == ["first", "one", "two"]


def test_what_is_no_file_is_no_ledger(tmp_path):
    pipe, folder = tmp_path / "pipe.yaml", tmp_path / "folder.json"
    os.mkfifo(pipe)
    folder.mkdir()
    for path, said in ((pipe, "is not a regular file"), (folder, "is a folder")):
        with pytest.raises(ReuseError, match=rf"{path.name} {said}, expected a ledger"):
            Ledger.load(path)
        with pytest.raises(ReuseError, match=f"{said}, expected a ledger"):
            Ledger.start(OLD, why="first").save(path)


# Fields of other types, with a correct checksum.

ODD = [
    None, True, 0, -1, 2.5, 10**30, -1e308, float("nan"), "", "x", "\x1b[2J", [], {}, [1], [[]], {"a": 1}, {"a": "b"}, "9" * 5000, [None],
    [{}], [{"change": "add"}], [{"change": "add", "domains": 5}], [{"change": []}],
]  # fmt: skip


def places(value, at=()):
    """Yield the path to every value inside a document."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from places(each, (*at, key))


def test_ledgers_with_odd_fields_are_refused_when_they_are_loaded(tmp_path):
    """Any value at any place, or none: a loaded ledger can be shown and resumed, or is refused as a plan; otherwise loading raises ReuseError."""
    counts = {"web": 100, "code": 50, "maths": 20}
    base = Ledger.start(OLD, why="first", when="2026-01-31", tokens={"web": 100, "code": 50}, budget=50)
    limited = Region.from_tokens(counts, 50, bounds={("web", "maths"): (0.1, None)})
    base = base.record(full(base.mixture, Add(["maths"]), limited), {"existing": 0.9, "maths": 0.1}, why="x")
    changes = [Partition("code", ["c", "d"]), Remove(["maths"]), Add(["law"])]
    open_plan = base.begin(full(base.mixture, changes, Region(["web", "c", "d", "law"])), why="y")
    good = json.loads(open_plan.to_json())
    path, draw, said = tmp_path / "life.json", random.Random(16), Counter()
    everywhere = list(places({name: good[name] for name in ("updates", "pending")}))
    for _ in range(400):
        document = copy.deepcopy(good)
        *way, last = draw.choice(everywhere)
        holder = document
        for key in way:
            holder = holder[key]
        if draw.random() < 0.2:
            del holder[last]
        else:
            holder[last] = draw.choice(ODD)
        document["checksum"] = checksum({name: document[name] for name in ("updates", "pending") if name in document})
        path.write_text(json.dumps(document))
        try:
            found = Ledger.load(path)
        except ReuseError as problem:
            said[
                "refused" if str(problem).startswith(f"{path}: ") and str(problem).isprintable() else str(problem)
            ] += 1
            continue
        said["loaded"] += 1
        assert repr(found)
        if found.pending is not None:
            try:
                resume(found)
            except MixfastError:
                said["not resumed"] += 1
    assert set(said) == {"refused", "loaded", "not resumed"}
    assert said["refused"] > 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["updates"][0].update(loss="1"), "the loss of update 1 of the ledger is '1', expected a number or null"),
        (lambda d: d["updates"][0].update(tokens={"web": 1.5}), "tokens of update 1 .* expected whole numbers by domain"),
        (lambda d: d["updates"][0].update(why=None), "why of update 1 of the ledger is None, expected a text"),
        (lambda d: d["pending"]["changes"][0].pop("domains"), "change 1 of the open plan of the ledger has no domains"),
        (lambda d: d["pending"]["changes"][0].update(change="drop"), "is of kind 'drop', expected one of add, remove"),
        (lambda d: d["pending"]["region"].pop("bounds"), "the region of the open plan of the ledger has no bounds"),
        (lambda d: d["pending"]["region"].update(cap=3), "the cap of the region of the open plan .* is 3"),
        (lambda d: d["pending"]["region"]["bounds"].append({}), "limit 1 of the region of the open plan .* has no name"),
    ],
)  # fmt: skip
def test_the_odd_field_is_named(tmp_path, change, said):
    document = json.loads(planned(Ledger.start(OLD, why="first"), "maths").to_json())
    change(document)
    document["checksum"] = checksum({name: document[name] for name in ("updates", "pending")})
    path = tmp_path / "life.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ReuseError, match=rf"life\.json: .*{said}"):
        Ledger.load(path)
