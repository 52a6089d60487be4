"""Where outcomes come from: batches of columns, in the order of the log."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from replay.evaluation.logs.chunk import Progress
from replay.evaluation.logs.outcome_rows import Place

if TYPE_CHECKING:
    import pyarrow as pa


NUMBERS = ("problem", "placement", "policy", "policy_version", "offset", "shard", "outcome_seq", "revision", "places")
"""Columns to detect missing and repeated outcomes."""


class OutcomeBatch(NamedTuple):
    """Some outcomes as they were read.

    Attributes
    ----------
    rows
        A column for each field, as in the archive; ``problem`` names what is no outcome.
    place
        Makes the errors for values.
    beheaded
        Whether the log begins later than the loop did: then the first seq of a shard may be any.
    """

    rows: "pa.RecordBatch"
    place: Place
    beheaded: bool = False


class Outcomes(Protocol):
    """Where outcomes come from."""

    def may_have_lists(self) -> bool:
        """Tell whether some outcome may be that of a ranked list, whose columns are read then."""

    def batches(self, columns: Sequence[str], progress: Progress, first_row: int = 0) -> Iterator[OutcomeBatch]:
        """Yield all outcomes in the order of the log, with these columns at least.

        Parameters
        ----------
        first_row
            Those before this one need only have the columns :data:`NUMBERS`.
        """
