"""Folders of parts for tests of sharded tables, and sums over their blocks."""

from itertools import pairwise

import numpy as np

from mixfast.tables._whole import listed, stamped

DOMAINS = ["web", "code", "math", "news", "books"]


def made(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "loglik": (rng.standard_normal((n, 5)) - 9.0).astype(np.float32),
        "length": rng.integers(1, 100, n),
        "group": rng.integers(0, 3, n),
        "sequence": np.repeat(np.arange(n // 10), 10),
        "bytes": rng.integers(1, 400, n),
    }


def write_parts(folder, arrays, cuts=(0, 1200, 1300, 3000), orders=True):
    """Write the arrays as npz parts, each with its own order of the domains."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for number, (first, last) in enumerate(pairwise(cuts)):
        order = rng.permutation(5) if orders and number else np.arange(5)
        part = {key: array[first:last] for key, array in arrays.items()}
        part["loglik"] = np.ascontiguousarray(part["loglik"][:, order])
        np.savez(folder / f"part-{number}.npz", domains=np.array(DOMAINS)[order], **part)
    return folder


def block_sums(block, w):
    table, order = block.table, slice(None) if block.columns is None else block.columns
    losses = -np.log(np.exp(table.loglik[:, order].astype(np.float64)) @ w)
    return np.array([table.row_weight @ losses, table.row_weight.sum(), len(table)])


def rows_of(block):
    """Return what identifies the rows of a block: their sequence, group and weight."""
    table = block.table
    return np.stack([table.sequence, table.group, table.row_weight])


def listed_by(state, folder):
    """List the parts as ranks that do not see the same files would: rank 1 lacks the last one."""
    return listed(folder)[: -1 if state["rank"] == 1 else None]


def digest_by(state, folder, token):
    return repr(listed_by(state, folder)).encode()


def see_other_inodes(state, folder):
    """Replace the files by copies, which only this rank notes."""
    if state["rank"] == 1:
        for path in folder.iterdir():
            path.with_suffix(".new").write_bytes(path.read_bytes())
            path.with_suffix(".new").rename(path)
        for key in [key for key in state if isinstance(key, tuple)]:
            state[key] = stamped(folder)
