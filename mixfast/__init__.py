"""Certified, fast solvers for training-data mixtures."""
