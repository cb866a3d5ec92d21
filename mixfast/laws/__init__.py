"""Regression laws from mixtures to metrics: `fit`, and what it returns."""

from mixfast.laws._fit import fit
from mixfast.laws._fitted import Fit
from mixfast.laws._report import MetricReport

__all__ = ["Fit", "MetricReport", "fit"]
