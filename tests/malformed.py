"""Make malformed files from good ones by a seed, and run the commands that read them.

`tests/cli/test_malformed.py` runs some of them. To run many: `python tests/malformed.py SEED COUNT`, in an empty folder.
"""

import contextlib
import copy
import io
import json
import random
import re
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from mixfast import ExpertTable, Mixture, MixtureSchedule, Swarm, cli, exporters, fit
from mixfast.reuse import Ledger

DOMAINS = ["web", "code_c", "code_py", "books"]
# Replacements for a number, a name or any other value.
_NUMBERS = "1e308 -1 nan inf -inf 1e-400 0 -0.0 1e999999999 true null yes 0x10 1_000 1,5 20% 1T 1e 9223372036854775808 ٣ 0.1.2 ~"
_MARKS = ["", " ", "[]", "{}", "'x'", '"', "[" * 300, "- " * 300, "&a [*a]", "*a"]
ODD_NUMBERS = [*_NUMBERS.split(), *_MARKS, "9" * 400, "9" * 5000, "-" + "1" * 5000, "1" + "0" * 310]
ODD_NAMES = [
    "",
    " ",
    "é",
    "=1+1",
    "../../x",
    "x" * 5000,
    "\u202e",
    "\x1b[31m",
    "a\tb",
    "{domain}",
    "%s",
    "\\",
    "web",
    "None",
    "0",
    "\ufeff",
    "a:b",
    "#",
    "*",
]
ODD_BYTES = [
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\r",
    b"\n\n",
    b'"',
    b"[",
    b"{",
    b",",
    b":",
    b"\x1a",
    b"\xe2\x80\xa8",
    b"PK\x03\x04",
]
ODD_VALUES = [
    None, True, -1, 0, 1e308, -1e308, float("nan"), float("inf"), 10**30, 10**400, 2**63, "", "x", "1e5", [], {}, [[]], {"a": 1}, [1, 2], ["x"] * 3,
    {"array": "none"}, "\x1b[31m", "x" * 3000, [[[[1]]]], 0.5,
]  # fmt: skip


def make(folder):
    """Write good files of every kind that a command reads."""
    rng = np.random.default_rng(0)
    ratios = rng.dirichlet(np.ones(4), 24)
    values = 1 + ratios @ rng.uniform(0.1, 1, (4, 2))
    names = ["news_loss", "mail_loss"]
    swarm = Swarm(ratios, values, domains=DOMAINS, metric_names=names)
    swarm.to_csv(folder / "ratios.csv", folder / "metrics.csv")
    for kind in ("linear", "log_linear", "autoscale", "bimix", "gp"):
        fit(swarm, kind, folds=2).save(folder / f"{kind}.json")
    fit(swarm, "linear", folds=2).save(folder / "law.npz")
    loglik = -rng.exponential(size=(60, 4)) * 3
    more = {"group": np.repeat(["a", "b"], 30), "sequence": np.arange(60) // 2, "length": np.arange(60) // 2 % 5 + 1}
    ExpertTable.from_loglik(loglik, domains=DOMAINS, **more).save(folder / "table.npz")
    np.savez_compressed(folder / "packed.npz", loglik=loglik, domains=np.array(DOMAINS))
    ExpertTable.from_predictions(loglik, loglik.mean(axis=1), domains=DOMAINS).save(folder / "predictions.npz")
    np.save(folder / "table.npy", loglik.astype(np.float32))
    mixture = Mixture(DOMAINS, [0.4, 0.3, 0.2, 0.1])
    mixture.save(folder / "mixture.yaml")
    mixture.save(folder / "mixture.json")
    (folder / "counts.yaml").write_text("web: 2B\ncode_c: 300_000_000\ncode_py: 0.2B # small\nbooks: 1e9\n")
    (folder / "counts.json").write_text('{"books": 1000000000, "web": "2B", "code_py": 2e8, "code_c": 300000000}')
    (folder / "grown.yaml").write_text("web: 2B\ncode_c: 300M\ncode_py: 0.2B\nbooks: 1e9\nnew: 1e9\n")
    (folder / "groups.yaml").write_text("old:\n  web: 0.7\n  books: 0.3\n")
    (folder / "paths.yaml").write_text("".join(f"{name}: [/data/{name}_text]\n" for name in DOMAINS))
    (folder / "schedule.json").write_text(
        MixtureSchedule(mixture).then(Mixture(DOMAINS, [0.25] * 4), at=2048).to_json()
    )
    (folder / "pool.csv").write_text("run,web,code_c,code_py,books\na,.3,.3,.2,.2\nb,.1,.7,.1,.1\nc,.7,.1,.1,.1\n")
    ledger = Ledger.start(mixture, tokens=dict.fromkeys(DOMAINS, 10**9), budget=10**9, why="first")
    ledger.save(folder / "ledger.yaml")
    ledger.save(folder / "ledger.json")
    for to in ("megatron", "olmix", "levanter", "doremi", "olmo-core", "nanotron", "nemo"):
        options = {"paths": "/data/{domain}"} if "paths" in exporters.options(to) else {}
        with contextlib.suppress(ValueError):
            (folder / f"blend.{to}.yaml").write_text(exporters.export(mixture, to, **options).text)
    (folder / "fit.yaml").write_text(
        "swarm: {ratios: ratios.csv, metrics: metrics.csv}\n"
        "priors:\n  token_counts: {web: 2000000000, code_c: 300000000, code_py: 200000000, books: 1000000000}\n"
        "eval:\n  type: explicit\n  tasks: {news: [news_loss], mail: [mail_loss]}\n"
        "regression: {type: log_linear, seed: 0}\nproposer: {type: exact, kl_reg: 0.05}\n"
        "constraints: {enabled: true, target_tokens: 1000000000, repetition_factor: 4}\n"
    )
    (folder / "generate.yaml").write_text(
        "name: x\ndata:\n  sources:\n  - name: web\n    paths: [a]\n  - name: code\n    topics:\n    - {name: c, paths: [b]}\n"
        "    - {name: py, paths: [c]}\n"
        "priors:\n  relative_sizes: {web: 0.6, 'code:c': 0.3, 'code:py': 0.1}\n  token_counts: {web: 600, 'code:c': 300, 'code:py': 100}\n"
        "swarm: {variants: 4, seed: 1, min_strength: 0.1, max_strength: 5, minimum_weight: 0.002}\nmax_tokens: 100\n"
    )
    return folder


# The commands that read each kind of file; FILE stands for the malformed file.
LIMITS = ["--tokens", "counts.yaml", "--budget", "1B"]
TABLES = [
    ["info", "FILE"],
    ["solve", "FILE", "--replicates", "4"],
    ["report", "FILE", "--no-intervals", "--out", "page.html"],
]
MIXTURES = [["info", "FILE"], ["export", "FILE", "--to", "olmix"], ["solve", "table.npz", "--no-intervals", "--kl", "0.1", "--prior", "FILE"],
            ["reuse", "start", "new.yaml", "--mixture", "FILE"], ["report", "--mixture", "FILE", "--out", "page.html"]]  # fmt: skip
COUNTS = [["solve", "table.npz", "--no-intervals", "--tokens", "FILE", "--budget", "1B"], ["design", "--tokens", "FILE", "--budget", "1B", "--runs", "3"],
          ["design", "--prior", "FILE", "--runs", "3"], ["export", "mixture.yaml", "--to", "olmo-core", "--paths", "/d/{domain}", "--tokens", "FILE", "--budget", "1B"]]  # fmt: skip
RUNS = [["fit", "FILE", "metrics.csv", "--law", "linear"], ["fit", "ratios.csv", "FILE", "--law", "linear"], ["compare", "FILE", "metrics.csv", "--folds", "2"],
        ["next", "ratios.csv", "metrics.csv", "--runs", "2", "--among", "FILE"], ["design", "--extend", "FILE", "--runs", "2"], ["info", "FILE"],
        ["fit", "FILE", "--domains", "web", "--domains", "code_*", "--domains", "books", "--law", "linear"]]  # fmt: skip
LAWS = [["info", "FILE"], ["propose", "FILE", "--objective", "news_loss"], ["propose", "FILE", "--objective", "worst", *LIMITS, "--json"],
        ["next", "ratios.csv", "metrics.csv", "FILE", "--runs", "2"], ["report", "ratios.csv", "metrics.csv", "--law", "FILE", "--out", "page.html"],
        ["reuse", "add", "ledger.yaml", "new", "--law", "FILE", "--tokens", "grown.yaml"]]  # fmt: skip
LEDGERS = [["reuse", "show", "FILE"], ["reuse", "remove", "FILE", "web"], ["reuse", "add", "FILE", "new", "--tokens", "grown.yaml"],
           ["report", "--ledger", "FILE", "--out", "page.html"], ["reuse", "propose", "FILE", "ratios.csv", "metrics.csv"]]  # fmt: skip
READ_BY = {
    "table.npz": TABLES, "packed.npz": TABLES, "predictions.npz": TABLES, "table.npy": TABLES,
    "mixture.yaml": MIXTURES, "mixture.json": MIXTURES, "counts.yaml": COUNTS, "counts.json": COUNTS,
    "groups.yaml": [["design", "--domains", "web,books,new", "--frozen", "FILE", "--runs", "3"]],
    "paths.yaml": [["export", "mixture.yaml", "--to", "olmo-core", "--paths", "FILE"], ["export", "blend.megatron.yaml", "--mixture-paths", "FILE", "--to", "olmix"]],
    "schedule.json": [["export", "FILE", "--to", "levanter", "--batch-size", "8"], ["report", "--schedule", "FILE", "--out", "page.html"]],
    "pool.csv": RUNS[3:6], "ratios.csv": RUNS, "metrics.csv": [RUNS[1], *RUNS],
    "ledger.yaml": LEDGERS, "ledger.json": LEDGERS,
    **{f"{kind}.json": LAWS for kind in ("linear", "log_linear", "autoscale", "bimix", "gp")}, "law.npz": LAWS,
    **{f"blend.{to}.yaml": MIXTURES for to in ("megatron", "olmix", "levanter", "doremi", "olmo-core", "nanotron", "nemo")},
    "fit.yaml": [["fit", "--olmix-config", "FILE"], ["propose", "log_linear.json", "--olmix-config", "FILE"]],
    "generate.yaml": [["design", "--olmix-config", "FILE"]],
}  # fmt: skip


def damaged(data, name, rng):
    """Return a damaged copy of the bytes of a file."""
    suffix = Path(name).suffix
    if suffix == ".npz" and rng.random() < 0.7:
        return _archive(data, rng)
    if suffix == ".json" and rng.random() < 0.6:
        return _tree(data, rng)
    if suffix not in (".npz", ".npy") and rng.random() < 0.7:
        return _words(data.decode(), rng).encode("utf-8", "surrogatepass")
    return _bytes(data, rng)


def _bytes(data, rng):
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, size = rng.randrange(len(data) + 1), rng.choice([1, 1, 4, 40])
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + data[at + size :]
        elif kind == 2:
            data = data[:at] + rng.choice(ODD_BYTES) + data[at:]
        elif kind == 3:
            data = data[:at] + bytes(rng.randrange(256) for _ in range(size)) + data[at + size :]
        elif kind == 4:
            data = data[:at] + data[at : at + size] * 3 + data[at + size :]
        else:
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if at < len(data) else data
    return data


def _words(text, rng):
    """Replace numbers and names, and drop, repeat or move lines."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        kind = rng.randrange(5)
        found = list(re.finditer(r"[-+]?[0-9][\w.+-]*" if kind < 2 else r"[A-Za-z_][\w.:-]*", text))
        lines = text.split("\n")
        if kind < 4 and found:
            one = rng.choice(found)
            new = rng.choice(ODD_NUMBERS if kind < 2 or rng.random() < 0.3 else ODD_NAMES)
            text = text[: one.start()] + new + text[one.end() :]
        elif kind == 4:
            at = rng.randrange(len(lines))
            lines[at : at + 1] = rng.choice(
                [
                    [],
                    [lines[at]] * 2,
                    [" " + lines[at]],
                    [lines[at], "- x"],
                    [lines[at] + ","],
                    [lines[at][: len(lines[at]) // 2]],
                ]
            )
            text = "\n".join(lines)
    return text


def _tree(data, rng):
    """Replace, drop or repeat a value of a JSON document."""
    document = json.loads(data)
    for _ in range(rng.choice([1, 1, 2])):
        document = _one_change(document, rng)
    text = json.dumps(document)
    return (re.sub(r'("\w+": )', r"\1 1, \1", text, count=1) if rng.random() < 0.03 else text).encode()


def _one_change(document, rng):
    document = copy.deepcopy(document)
    parents, at = [], document
    while isinstance(at, (dict, list)) and at and (not parents or rng.random() < 0.85):
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        parents.append((at, key))
        at = at[key]
    if not parents:
        return rng.choice(ODD_VALUES)
    holder, key = parents[-1]
    kind = rng.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(ODD_NAMES)] = holder.pop(key)
    elif kind == 1:
        holder.insert(key, holder[key])
    else:
        holder[key] = rng.choice(ODD_VALUES)
    return document


def _archive(data, rng):
    """Change arrays of an npz file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = dict(file)
    key = rng.choice(list(arrays))
    array, kind = arrays[key], rng.randrange(12)
    if kind == 0:
        del arrays[key]
    elif kind == 1:
        arrays[
            rng.choice(
                [
                    "junk",
                    "domains",
                    "experts",
                    "prediction",
                    "target",
                    "weight",
                    "bytes",
                    "n_outputs",
                    "head",
                    "group_names",
                    "condition",
                ]
            )
        ] = array
    elif kind == 2:
        arrays[key] = array.astype(rng.choice(["O", "U4", "S3"]))
    elif kind == 3 and array.dtype.kind in "fiu":
        arrays[key] = array.astype(rng.choice(["f2", "f4", "c16", "i1", "u8", "?", "f8", ">f8"]))
    elif kind == 4:
        arrays[key] = array[: len(array) // 2] if array.ndim else array
    elif kind == 5:
        arrays[key] = array.reshape(-1) if array.ndim > 1 else np.array([array, array])
    elif kind == 6:
        arrays[key] = np.zeros(rng.choice([(), (0,), (0, 4), (60, 0), (1, 1), (60, 4, 2), (3,) * 5]), array.dtype)
    elif kind < 10 and array.dtype.kind == "f" and array.size:
        array = array.copy()
        array.flat[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 0.0])
        arrays[key] = array
    elif array.dtype.kind in "iu" and array.size:
        array = array.copy()
        array.flat[rng.randrange(array.size)] = rng.choice([-1, 0, 10**9, 2**31 - 1])
        arrays[key] = array
    elif array.dtype.kind == "U" and array.size:
        array = array.astype(object)
        array.flat[rng.randrange(array.size)] = (
            _words(str(array.flat[0]), rng) if key == "head" else rng.choice(ODD_NAMES)
        )
        arrays[key] = array.astype(str)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def run(folder, name, rng):
    """Damage a good file and run a command that reads it; return the command line and what is wrong with its outcome."""
    file = "bad" + name[name.index(".") :]
    words = [file if word == "FILE" else word for word in rng.choice(READ_BY[name])]
    (folder / file).write_bytes(damaged((folder / name).read_bytes(), name, rng))
    (folder / "new.yaml").unlink(missing_ok=True)
    status, out, err = outcome(words)
    return words, complaint(words, file, status, out, err), err


# Refusals that do not concern one file: contradictions between files, or missing input for an option.
UNNAMED = re.compile(
    r"--[a-z]|law cannot|no mixture|loss of freezing|batch_size must be|frozen\['|the mixture and (tokens|paths) name|errors of this table|candidates are (left|in)"
)


class TooSlow(BaseException):
    """A command took longer than its input justifies."""


def outcome(words, seconds=20):
    """Run a command in this process; return its status, stdout and stderr, or the exception."""

    def late(number, frame):
        raise TooSlow

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(words)
    except (Exception, TooSlow):
        return None, out.getvalue(), traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return status, out.getvalue(), err.getvalue()


def complaint(words, file, status, out, err):
    """Say what is wrong with an outcome: nothing, if the command succeeded or refused the file in one line that names it."""
    if status is None:
        return "raised"
    if status not in (0, 1, 2):
        return f"status {status}"
    errors = [line for line in err.split("\n") if line.startswith("mixfast: error: ")]
    if status == 2 and len(errors) != 1:
        return "not one line"
    if status != 2 and errors:
        return "an error that is none"
    if "Traceback" in err or re.search(r"\.py:\d+", err):
        return "a place in the code"
    if (
        status == 2
        and not UNNAMED.search(errors[0])
        and not (file in errors[0] or any(Path(word).name in errors[0] for word in words if "." in word))
    ):
        return "no file named"
    if any(len(line) > 3000 for line in err.split("\n")):
        return "a line without an end"
    return ""


def main():
    """Run many cases in the current folder and print those with a bad outcome."""
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    folder = Path.cwd()
    if not (folder / "generate.yaml").exists():
        make(folder)
    found = Counter()
    for number in range(count):
        # If the process itself crashes, this shows where.
        (folder / "last").write_text(f"{seed} {number}")
        rng = random.Random(f"{seed} {number}")
        words, wrong, err = run(folder, rng.choice(list(READ_BY)), rng)
        found[words[0], wrong or "well"] += 1
        if wrong:
            print(f"--- {seed} {number}: {wrong}: {' '.join(words)}\n{err[-1500:]}", flush=True)
    print(*(f"{command}: {how}: {many}" for (command, how), many in sorted(found.items())), sep="\n")


if __name__ == "__main__":
    main()
