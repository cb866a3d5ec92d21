"""Tables for pandas, which is imported only when one is requested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixfast._text.optional import needed


def data_frame(
    columns: Mapping[str, Any],
    index: Sequence[object],
    name: str,
    error: type[Exception],
    *,
    repeated: Sequence[str] = (),
) -> Any:
    """Return a pandas DataFrame with these columns and labels; ``name`` is the name of the labels.

    Raise ``error`` if pandas is missing, or if ``repeated`` holds names that two columns would share.
    """
    with needed("to_pandas", "pandas", "mixfast[pandas]", error):
        import pandas
    if repeated:
        from mixfast._text.names import listing

        raise error(f"two columns would have one name: {listing(repeated)}; rename one of them first")
    return pandas.DataFrame(dict(columns), index=pandas.Index(list(index), name=name))


def data_series(values: Any, index: Sequence[object], name: str, label: str, error: type[Exception]) -> Any:
    """Return a pandas Series of values with these labels; ``name`` is the name of the labels, ``label`` that of the values."""
    return data_frame({label: values}, index, name, error)[label]
