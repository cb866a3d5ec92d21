"""Measure how fast `mixfast` is, compared with its peers and the limits of the machine: ``make bench``."""
