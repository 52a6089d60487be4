"""Tables, which contain the probabilities of the target and of the policy to compare with in their columns."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.log_formats.log_format import UNIFORM, LogFormat
from records.errors import WrongConfiguration

if TYPE_CHECKING:
    from replay.evaluation.logs.chunk import Log, Progress
    from replay.evaluation.logs.columns import Columns
    from replay.evaluation.logs.numbered import Names
    from replay.evaluation.scan import PolicyLog, PolicyLogs

TARGET, AGAINST = "target", "against"
"""Default names of a table's target and of the policy that it is compared with."""
OF_OTHER = {"against": "target", "against_pmf": "target_pmf"}
"""Columns of a table with the probabilities of the compared policy, and the field of the target that each replaces."""
NO_COLUMN = (
    "found no column mean_propensity, expected the average over all loggers, by their shares of the rows, of the "
    "probability of the logged action (docs/logs.md)"
)


class TableFormat(LogFormat):
    """Opens tables."""

    takes = frozenset({"columns"})

    def log(self, request: LogRequest, progress: "Progress") -> "Log":
        """Return the log without a target of its own."""
        from replay.evaluation.logs.table_files import table_log

        return table_log(Path(request.path), table_columns(request)[0], progress)

    def target(self, request: EvaluationRequest) -> "PolicyLog":
        """Return the log opened for the target."""
        from replay.evaluation.scan import PolicyLog

        columns, _ = table_columns(request)
        return PolicyLog(target_of_table(request), _Table(request.path, columns))

    def against(self, request: EvaluationRequest, target: "PolicyLog") -> "PolicyLog | None":
        """Return the log opened for the policy to compare with."""
        from replay.evaluation.scan import PolicyLog

        _, others = table_columns(request)
        if others is not None:
            return PolicyLog(request.against or AGAINST, _Table(request.path, others))
        if request.against is not None:
            expected = "expected --column against=..."
            raise WrongConfiguration(
                f"--against: found {request.against} and no column of its probabilities, {expected}"
            )
        return None

    def with_all_loggers(
        self, request: EvaluationRequest, logs: "PolicyLogs", stages: "Callable[[str], Progress]"
    ) -> "PolicyLogs":
        """Return the same logs: the probabilities of all loggers are a column, if there are any."""
        return logs._replace(lacks=NO_COLUMN)


def target_of_table(request: EvaluationRequest) -> str:
    """Return the name of the target of a log that contains the target's probabilities.

    Raises
    ------
    WrongConfiguration
        The name is that of a policy that would have to be computed.
    """
    if request.target is not None and request.target.endswith(".npy"):
        expected = "a name for the policy of the column target (or target_pmf, action_dist): it is not computed"
        raise WrongConfiguration(f"--target: found {request.target}, expected {expected}")
    return request.target or TARGET


def needs_target(log: str) -> WrongConfiguration:
    """Return the error for a log without the target's probabilities."""
    return WrongConfiguration(
        f"--target: found no column target, target_pmf or weight in {log}, expected one: name it with --column "
        "target=..., in Python columns={'target': ...}; a bandit feedback has action_dist"
    )


def table_columns(request: LogRequest) -> "tuple[Columns, Columns | None]":
    """Return the columns of a table for the target, and those for the compared policy, if there are any.

    Raises
    ------
    WrongConfiguration
        There is no such field.
    """
    from replay.evaluation.logs.columns import IGNORED, Columns

    given, fields = request.columns or {}, [*Columns.fields(), *OF_OTHER]
    if unknown := [name for name in given if name not in fields]:
        raise WrongConfiguration(f"--column: found {unknown[0]}, expected a field: one of {', '.join(fields)}")
    of_target: dict[str, Any] = {name: column for name, column in given.items() if name not in OF_OTHER}
    columns = replace(Columns(segments=tuple(request.segments)), **of_target)
    named = {name: column for name, column in given.items() if column not in ("", IGNORED)}
    of_other = {field: named[name] for name, field in OF_OTHER.items() if name in named}
    others = columns.for_other(**of_other) if of_other else None
    if not isinstance(request, EvaluationRequest):
        return columns, others
    if request.against == UNIFORM:
        others = replace(columns.for_other(), uniform=True)
    return replace(columns, uniform=request.target == UNIFORM), others


@dataclass(frozen=True, slots=True)
class _Table:
    """Open a table; it can be pickled for other processes."""

    path: str
    columns: "Columns"

    def __call__(self, wanted: Collection[str], for_target: bool, names: "Names | None" = None) -> "Log":
        from replay.evaluation.logs.table_files import table_log

        log = table_log(Path(self.path), self.columns, names=names)
        if not log.has_target:
            raise needs_target(Path(self.path).name)
        return log


FORMAT = TableFormat()
