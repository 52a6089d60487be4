"""The estimates as a table of Arrow's, of pandas' or of polars'."""

from typing import Any, Literal

import msgspec
import pyarrow as pa

from records.errors import WrongConfiguration
from records.extras import needed_by
from replay.evaluation.result import Result

Library = Literal["pandas", "polars", "arrow"]
_TEXTS = ("estimator", "reference", "interval")
_SCHEMA = ("estimator", "value", "low", "high", "interval", "resampled_low", "resampled_high", "reference")


def frame(answer: Result, library: Library = "pandas") -> Any:
    """Return the estimates, one a row, in the answer's order; what is unknown is null (in pandas: NaN).

    Parameters
    ----------
    answer
        What an evaluation found.
    library
        ``pandas``, ``polars`` or ``arrow``: whose frame it shall be. The library must be installed
        (the extras ``pandas`` and ``polars``).

    Raises
    ------
    WrongConfiguration
        There is no such library, or it is not installed.
    """
    rows = [msgspec.to_builtins(each) for each in answer.estimates]
    schema = pa.schema([(name, pa.string() if name in _TEXTS else pa.float64()) for name in _SCHEMA])
    table = pa.Table.from_pylist(rows, schema=schema)
    match library:
        case "arrow":
            return table
        case "pandas":
            with needed_by('frame("pandas")', "pandas"):
                import pandas  # noqa: F401

            return table.to_pandas()
        case "polars":
            with needed_by('frame("polars")', "polars"):
                import polars

            return polars.from_arrow(table)
        case _:
            raise WrongConfiguration(f"library: found {library!r}, expected pandas, polars or arrow")
