"""Measure how fast `mixfast` is, beside its peers and the limits of the machine: ``make bench``."""
