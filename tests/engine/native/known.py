"""Compute the numbers that check.c expects of the C core, with numpy and exact fractions: `python known.py > known.h`."""

import itertools
from bisect import bisect_right
from fractions import Fraction
from math import floor

import numpy as np

Q = 1 << 62
BITS64 = (1 << 64) - 1


# ---- rows: the sums of rows/rows.h ----

N, K, M = 1000, 5, 9


def rows():
    i, k = np.arange(N)[:, None], np.arange(K)
    loglik = -((7 * i + 13 * k + i * k % 5) % 29) / 8
    weight = (1 + np.arange(N) % 3) / 1024
    mixtures = (1 + (np.arange(M)[:, None] + 2 * k) % 7) / 32
    mixture = mixtures[3] / 2
    prob = np.exp(loglik)
    scaled = prob / (prob @ mixture)[:, None]
    totals = prob @ mixtures.T
    return {
        "known_mixture": mixture,
        "known_value": -weight @ np.log(prob @ mixture),
        "known_gradient": -weight @ scaled,
        "known_hessian": (scaled * weight[:, None]).T @ scaled,
        "known_losses": -weight @ np.log(totals),
        "known_gradients": np.stack([-(weight / totals[:, j]) @ prob for j in range(M)]),
        "known_extremes": np.array([loglik.max(), loglik.min(), loglik.max(axis=1).min()]),
        "known_counts": np.bincount((np.arange(8) * 0x1FFFFFFF * 8) >> 32, minlength=8),
    }


# ---- simplex: small problems by search ----


def simplex():
    n = 5
    point = np.array([0.9, -0.4, 0.3, 0.25, 0.1])
    low, high = np.array([0.0, 0.05, 0.0, 0.1, 0.0]), np.array([0.5, 0.6, 0.3, 0.2, 1.0])
    left, right = -10.0, 10.0
    for _ in range(200):  # find the shift of the projection by bisection
        shift = (left + right) / 2
        left, right = (shift, right) if np.clip(point - shift, low, high).sum() > 1 else (left, shift)
    projection = np.clip(point - shift, low, high)
    vertex = low.copy()
    for k in np.argsort(point, kind="stable"):
        vertex[k] += min(high[k] - low[k], 1 - vertex.sum())
    factor = np.array([[(3 * i + 5 * j) % 7 - 2 for j in range(n)] for i in range(n)]) / 4
    hessian, gradient = factor @ factor.T + np.eye(n) / 2, np.array([-1.0, 0.5, 0.25, -0.75, 0.125])
    start = np.array([0.3, 0.2, 0.2, 0.15, 0.15])
    step, level, state = newton_step(hessian, gradient, start, low, high)
    moved = np.array([0.25, -0.125, 0.0, -0.25, 0.125])
    return {
        "simplex_point": point, "simplex_low": low, "simplex_high": high, "known_projection": projection,
        "known_vertex": vertex, "qp_hessian": hessian, "qp_gradient": gradient, "qp_start": start, "known_step": step,
        "known_level": level, "known_state": state, "bfgs_moved": moved, "bfgs_change": 1.5 * hessian @ moved,
    }  # fmt: skip


def newton_step(hessian, gradient, start, low, high):
    """Return step, multiplier and states of the active set with a feasible solution and multipliers of the right sign."""
    n = len(start)
    for state in itertools.product((-1, 0, 1), repeat=n):
        state = np.array(state)
        free = np.flatnonzero(state == 0)
        step = np.where(state < 0, low, high) - start
        step[free] = 0.0
        system = np.zeros((len(free) + 1, len(free) + 1))
        system[:-1, :-1] = hessian[np.ix_(free, free)]
        system[-1, :-1] = system[:-1, -1] = 1
        if not len(free):
            continue
        solution = np.linalg.solve(system, np.append(-(gradient + hessian @ step)[free], -step.sum()))
        step[free], level = solution[:-1], solution[-1]
        slope = gradient + hessian @ step + level
        inside = np.all((start + step >= low - 1e-12) & (start + step <= high + 1e-12))
        if inside and np.all(slope[state < 0] >= 0) and np.all(slope[state > 0] <= 0):
            return step, level, state
    raise ValueError("the problem has no solution")


# ---- stream: the definitions of stream/blend.h in exact fractions ----

D, COUNT, SHOWN = 6, 1000, 200
STEP, STEPS = 100, 64


def shares_of(numbers):
    """Return integers divided by their sum, in units of 1/Q, rounded so that they sum to Q."""
    ends = [(total << 62) // sum(numbers) for total in itertools.accumulate(numbers)]
    return [end - before for end, before in zip(ends, [0, *ends], strict=False)]


class Line:
    """The exact count of a node whose share is a + c (2u + 1) over Q in step u; constant shares are one infinite step."""

    def __init__(self, a, c=0, steps=1):
        self.a, self.c, self.steps = a, c, steps
        self.at_steps = [STEP * (a * u + c * u * u) for u in range(steps)]

    def __add__(self, other):
        return Line(self.a + other.a, self.c + other.c, self.steps)

    def share(self, u):
        return self.a + self.c * (2 * u + 1)

    def count(self, time):
        """Return the count at a time, in units of 1/Q."""
        u = min(int(time // STEP), self.steps - 1)
        return self.at_steps[u] + self.share(u) * (time - u * STEP)

    def time(self, count):
        """Return the time at which the node has had `count` samples."""
        u = max(bisect_right(self.at_steps, count * Q) - 1, 0)
        return u * STEP + Fraction(count * Q - self.at_steps[u], self.share(u))


class Node:
    def __init__(self, line, leaves, children=()):
        self.line, self.leaves, self.children, self.known = line, leaves, children, {}

    def left(self, count):
        """Return how many of `count` samples went to the left child."""
        if count not in self.known:
            time = self.line.time(count)
            self.known[count] = floor(self.children[0].line.count(time) / Q + Fraction(1, 2))
        return self.known[count]


def tree(leaves, weights, lines):
    """Build a tree over leaves, heaviest first: each goes to the side that is lighter so far."""
    if len(leaves) == 1:
        return Node(lines[leaves[0]], leaves)
    sides = [], []
    for leaf in leaves:
        sides[sum(weights[k] for k in sides[0]) > sum(weights[k] for k in sides[1])].append(leaf)
    children = [tree(side, weights, lines) for side in sides]
    return Node(children[0].line + children[1].line, leaves, children)


def find(node, count):
    """Return (leaf, its earlier count) of the sample that follows the node's first `count` samples."""
    while node.children:
        left = node.left(count)
        goes_left = node.left(count + 1) > left
        node, count = (node.children[0], left) if goes_left else (node.children[1], count - left)
    return node.leaves[0], count


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & BITS64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & BITS64
    return x ^ x >> 31


def scramble(x):
    x = (x ^ x >> 16) * 0x7FEB352D & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
    return x ^ x >> 16


def permuted(key, size, epoch, at):
    """Return the image of `at` under the permutation of [0, size) given by key and epoch: a Feistel network with cycle walking."""
    bits = ((size - 1).bit_length() + 1) // 2
    mask = (1 << bits) - 1
    n_rows = size + mask >> bits
    golden = 0x9E3779B97F4A7C15
    state = mix(key + golden * epoch & BITS64)
    keys = []
    for _ in range(3):
        state = state + golden & BITS64
        keys += [mix(state) & 0xFFFFFFFF, mix(state) >> 32]
    while True:
        low, row = at & mask, at >> bits
        for r in (0, 2, 4):
            low = (low ^ scramble(row ^ keys[r])) & mask
            row += scramble(low ^ keys[r + 1]) * n_rows >> 32
            row -= n_rows if row >= n_rows else 0
        at = row << bits | low
        if at < size:
            return at


def hashed(value, numbers):
    """Return the FNV-1a hash of 64-bit numbers."""
    for byte in b"".join(number.to_bytes(8, "little") for number in numbers):
        value = (value ^ byte) * 0x100000001B3 & BITS64
    return value


def samples(root, first, shuffle):
    """Return domains, indices and epochs of COUNT samples."""
    found = []
    for i in range(first, first + COUNT):
        domain, count = find(root, i)
        size = 40 + 7 * domain
        epoch, place = divmod(count, size)
        found.append((domain, permuted(mix(domain + 1), size, epoch, place) if shuffle else place, epoch))
    return list(zip(*found, strict=True))


def stream():
    begin, end = shares_of(range(D, 0, -1)), shares_of(range(1, D + 1))
    slopes = [
        int(Fraction((b - a) * STEP, 2 * STEP * STEPS)) for a, b in zip(begin, end, strict=True)
    ]  # rounded towards 0
    roots = {
        "": tree(range(D), begin, [Line(a) for a in begin]),
        "ramp_": tree(range(D), begin, [Line(a, c, STEPS) for a, c in zip(begin, slopes, strict=True)]),
    }
    known = {}
    for name, root in roots.items():
        plain, shuffled = samples(root, 0, False), samples(root, 1_000_000_007, True)
        known[f"known_{name}order"] = np.array(plain[0][:SHOWN])
        value = 0xCBF29CE484222325
        for column in (*plain, *shuffled):
            value = hashed(value, column)
        known[f"known_{name}hash"] = value
    return known


def written(name, value):
    """Return a definition in C."""
    if isinstance(value, int):
        return f"static const uint64_t {name} = {value:#x}u;"
    numbers = np.ravel(value)
    kind = "int64_t" if numbers.dtype.kind == "i" else "double"
    text = ", ".join(repr(number.item()) for number in numbers)
    return f"static const {kind} {name}{f'[{numbers.size}]' if np.ndim(value) else ''} = {f'{{{text}}}' if np.ndim(value) else text};"


def header():
    sizes = {
        "ROWS_N": N,
        "ROWS_K": K,
        "ROWS_M": M,
        "QP_N": 5,
        "STREAM_D": D,
        "STREAM_COUNT": COUNT,
        "STREAM_SHOWN": SHOWN,
    }
    lines = [
        "/* Written by known.py. */",
        "/* clang-format off */",
        *(f"#define {name} {size}" for name, size in sizes.items()),
    ]
    lines += [written(name, value) for name, value in {**rows(), **simplex(), **stream()}.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(header(), end="")
