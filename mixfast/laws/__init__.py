"""Regression laws from mixtures to metrics."""
