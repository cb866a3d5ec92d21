"""Grain's closed form for the domain of one index, in Python integers."""

name, job = "grain's formula, Python", "draws"


def reason():
    """The formula is written here."""


def prepare(case):
    """Integer shares as grain makes them of weights, and how many samples to make."""
    return [int(p * 100 / case.weights.min()) for p in case.weights], max(100, 20_000 // len(case.weights))


def run(ready):
    """Domains of the samples."""
    shares, size = ready
    out = []
    for k in range(10**6, 10**6 + size):
        remaining, a, b, domain = sum(shares), k, k + 1, -1
        for share in shares:
            domain += 1
            a2, b2 = a * (remaining - share) // remaining, b * (remaining - share) // remaining
            if a - a2 != b - b2:
                break
            remaining, a, b = remaining - share, a2, b2
        out.append(domain)
    return out
