"""ExpertTable: what every expert says about every row, checked once and never changed afterwards."""

from mixfast.tables._table import ExpertTable

__all__ = ["ExpertTable"]
