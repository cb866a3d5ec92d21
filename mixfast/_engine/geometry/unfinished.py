"""When a search among active sets is abandoned."""

# With up to this many domains, a search among active sets always runs to its end.
MANY_DOMAINS = 96
# Multiplications that one search may use, as in csrc/simplex/qp.c; no search among so few domains comes near.
MOST_WORK = 1e9


class UnfinishedStep(Exception):
    """No Newton step was found within the work limit of one step."""
