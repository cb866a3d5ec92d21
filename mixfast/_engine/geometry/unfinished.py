"""When a step among active sets is given up."""

# Up to this many domains a search among active sets comes to its end.
MANY_DOMAINS = 96
# Multiplications that one may take, as in csrc/simplex/qp.c: no search among so few domains comes near.
MOST_WORK = 1e9


class UnfinishedStep(Exception):
    """No Newton step was found in the time that is given to one."""
